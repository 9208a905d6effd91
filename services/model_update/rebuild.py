"""The rebuild: every parameter again, from the features log and the item-deltas log alone.

Batch by batch in the order of their seals: bring the shard's replica to the clock of the seal, learn the ranges of the
seal, compare the deltas with those in the log. That they are the same to the last bit is what makes the logs, and not
any process, the truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.contracts.inner.item_deltas import BatchSeal, Deltas
from services.model.arrays import F32
from services.model.config import ModelConfig
from services.model.owner import ItemOwner
from services.model.rows import RowChange
from services.model_update.learning import BatchLearner, Part
from services.model_update.mismatch import check_layout
from services.model_update.users import UserRows
from services.model_update.wire import delta_set, deltas_record

Records = Iterable[tuple[int, Any]]
"""(offset, record) in log order."""
_OWNER_SETTINGS = ("item_expiry_s", "probation")
"""What the owners' rows depend on besides the layout."""


class RebuildError(RuntimeError):
    """The logs cannot be rebuilt from: they do not begin at their start, or the settings changed between batches."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the recomputation and the log part."""

    topic: str
    partition: int
    offset: int
    message: str


@dataclass(slots=True)
class _Log:
    """One partition of item-deltas, read as far as it was needed."""

    source: Iterator[tuple[int, Any]]
    deltas: list[tuple[int, Deltas]] = field(default_factory=list)
    seals: list[tuple[int, BatchSeal]] = field(default_factory=list)
    places: dict[tuple[str, int, int], int] = field(default_factory=dict)
    """{(shard, epoch, batch): index in `deltas`} of the records that no seal was compared with yet."""

    def pull(self) -> bool:
        """Read one record; False at the end."""
        for offset, record in self.source:
            if record is None:
                continue
            if record["kind"] == "seal":
                self.seals.append((offset, record))
            else:
                self.places[record["s"], record["e"], record["b"]] = len(self.deltas)
                self.deltas.append((offset, record))
            return True
        return False

    def find(self, batch: tuple[str, int, int]) -> tuple[int, Deltas] | None:
        """The deltas of a learning batch, reading on until they come."""
        while batch not in self.places:
            if not self.pull():
                return None
        return self.deltas[self.places.pop(batch)]

    def at(self, index: int) -> tuple[int, Deltas] | None:
        """The deltas record with this ordinal."""
        while index >= len(self.deltas):
            if not self.pull():
                return None
        return self.deltas[index]


class _Owner:
    """An item partition folded up to some position."""

    def __init__(self, config: ModelConfig, partition: int) -> None:
        self.owner = ItemOwner(config, partition)
        self.position = 0
        self._next = 0

    def advance(self, log: _Log, position: int) -> list[Deltas]:
        """Fold the deltas before `position`; returns them."""
        folded = []
        while (found := log.at(self._next)) is not None and found[0] < position:
            self.owner.fold(delta_set(found[1]))
            folded.append(found[1])
            self._next += 1
        self.position = max(self.position, position)
        return folded


class _Shard:
    """A user shard: its replica at the clock of its last batch."""

    def __init__(self, users: UserRows, *, probe: bool) -> None:
        self._users = users
        self._probe = probe
        self._owners: dict[int, _Owner] = {}
        self.epoch = -1
        self.next_batch = 0

    def begin(self, config: ModelConfig, epoch: int) -> None:
        """A new incarnation: the replica is read anew from the owners."""
        self.epoch, self.next_batch = epoch, 0
        self.learner = BatchLearner(config, self._users, epoch, probe=self._probe)
        for partition, owner in self._owners.items():
            owner.owner.sweep()
            self.learner.learner.replica.take(partition, list(owner.owner.rows()), None)

    def tick(self, config: ModelConfig, logs: Mapping[int, _Log], seal: BatchSeal) -> None:
        """Bring the replica to the clock of a seal."""
        for name, position in seal["clock"].items():
            partition = int(name)
            owner = self._owners.setdefault(partition, _Owner(config, partition))
            if position < owner.position:
                raise RebuildError(
                    f"the clock of batch {seal['b']} of {seal['s']} goes back in item partition {partition}"
                )
            if position == owner.position:
                continue
            folded = owner.advance(logs[partition], position)
            mine = [record["b"] for record in folded if (record["s"], record["e"]) == (seal["s"], seal["e"])]
            changes = owner.owner.sweep()
            self.learner.learner.replica.take(partition, changes, max(mine, default=None))


class _Features:
    """One partition of the features log, read once from its start to its end."""

    def __init__(self, records: Records) -> None:
        self._source = iter(records)
        self._ahead: tuple[int, Any] | None = None
        self.position = 0

    def take(self, end: int) -> tuple[list[int], list[Any]]:
        """(offsets, records) from the position to `end`."""
        offsets, values = [], []
        while True:
            found = self._ahead or next(self._source, None)
            self._ahead = found
            if found is None or found[0] >= end:
                break
            self._ahead = None
            offsets.append(found[0])
            values.append(found[1])
        self.position = end
        return offsets, values


class Rebuild:
    """Recomputes all learning batches of two logs, and compares.

    The logs must be there from their start and written exactly-once. Memory: item-deltas as far as read, the user rows,
    and one copy of the item rows per user shard.
    """

    def __init__(self, features: Mapping[int, Records], deltas: Mapping[int, Records], *, probe: bool = False) -> None:
        """Make a rebuild.

        Args:
            features: records of every features partition, as they are in Kafka.
            deltas: decoded records of every item-deltas partition (services.model_update.decoders.deltas).
            probe: rank every observed item at the clock of its batch (`ranks`).
        """
        self._probe = probe
        self._features = {partition: _Features(records) for partition, records in features.items()}
        self._logs = {partition: _Log(iter(records)) for partition, records in deltas.items()}
        self._shards: dict[str, _Shard] = {}
        self._owners: dict[int, _Owner] = {}
        self._users: UserRows | None = None
        self._model: dict[str, Any] = {}
        self.config = ModelConfig()
        self.batches = 0
        self.events = 0
        self.ranks: list[F32] = []
        """With `probe`: the ranks of every batch, as services.evaluation.metrics takes them."""
        self.clocks: set[tuple[tuple[str, int], ...]] = set()
        """The clocks that batches were learned at: how often the shards and the owners have met."""
        self.user_records: dict[bytes, bytes] = {}
        """What user-state must hold, by key."""

    def run(self) -> Difference | None:
        """Recompute every sealed batch; returns the first difference, None when there is none.

        Raises:
            RebuildError: the logs are not whole, or the settings changed between two batches.
        """
        seals, log = 0, self._logs[0]
        while True:
            while seals >= len(log.seals):
                if not log.pull():
                    return self._unsealed()
            offset, seal = log.seals[seals]
            seals += 1
            difference = self._batch(offset, seal)
            if difference is not None:
                return difference

    def _batch(self, offset: int, seal: BatchSeal) -> Difference | None:
        config, users = self._configure(seal)
        shard = self._shards.setdefault(seal["s"], _Shard(users, probe=self._probe))
        if seal["e"] != shard.epoch:
            shard.begin(config, seal["e"])
        if seal["b"] != shard.next_batch:
            return Difference(
                "item-deltas", 0, offset, f"batch {seal['b']} of {_name(seal)} follows batch {shard.next_batch - 1}"
            )
        shard.next_batch += 1
        shard.tick(config, self._logs, seal)
        parts = []
        for name, (start, end) in seal["ranges"].items():
            features = self._features[int(name)]
            if start != features.position:
                return Difference(
                    "features", int(name), start, f"batch {seal['b']} of {_name(seal)} begins at {start}, "
                    f"the batches before it end at {features.position}",
                )  # fmt: skip
            parts.append(Part(int(name), start, end, *features.take(end)))
        learned = shard.learner.learn(parts, seal["b"])
        for _, keys, records in shard.learner.changes():
            for key, record in zip(keys, records, strict=True):
                if record is None:
                    self.user_records.pop(key, None)
                else:
                    self.user_records[key] = record
        self.batches += 1
        self.events += learned.events
        if self._probe:
            self.ranks.append(learned.ranks)
            self.clocks.add(tuple(sorted(seal["clock"].items())))
        if learned.events != seal["events"]:
            return Difference(
                "item-deltas", 0, offset, f"the seal counts {seal['events']} events, its ranges hold {learned.events}"
            )
        for partition, deltas in learned.deltas.items():
            found = self._logs[partition].find((seal["s"], seal["e"], seal["b"]))
            if found is None:
                return Difference(
                    "item-deltas", partition, -1, f"the deltas of batch {seal['b']} of {_name(seal)} are missing"
                )
            # Whether the shard was behind is not learned.
            behind = found[1].get("behind", False)
            ours = deltas_record(seal["s"], seal["e"], seal["b"], deltas, behind=behind)
            if found[1] != ours:
                return Difference("item-deltas", partition, found[0], _compare(ours, found[1]))
        return None

    def _configure(self, seal: BatchSeal) -> tuple[ModelConfig, UserRows]:
        if self._users is None:
            self.config, self._model = ModelConfig.from_record(seal["model"]), seal["model"]
            self._users = UserRows(self.config)
        elif seal["model"] != self._model:
            check_layout(self.config, seal["model"])
            changed = [name for name in _OWNER_SETTINGS if seal["model"].get(name) != self._model.get(name)]
            if changed:
                raise RebuildError(f"{', '.join(changed)} changed with batch {seal['b']} of {_name(seal)}")
            self._model = seal["model"]
        return ModelConfig.from_record(seal["model"]), self._users

    def _unsealed(self) -> Difference | None:
        for partition, log in self._logs.items():
            while log.pull():
                pass
            for (shard, epoch, batch), index in log.places.items():
                offset = log.deltas[index][0]
                return Difference(
                    "item-deltas", partition, offset, f"deltas of batch {batch} of {shard}/{epoch}: no such batch"
                )
        return None

    def item_rows(self, partition: int, position: int) -> Iterator[RowChange]:
        """The rows of an item partition with every delta before `position`; positions may only grow."""
        owner = self._owners.setdefault(partition, _Owner(self.config, partition))
        owner.advance(self._logs[partition], position)
        return owner.owner.rows()


def _name(seal: BatchSeal) -> str:
    return f"{seal['s']}/{seal['e']}"


def _compare(ours: Deltas, theirs: Deltas) -> str:
    """What differs, for people."""
    who = f"batch {ours['b']} of {ours['s']}/{ours['e']}"
    if ours["ids"] != theirs["ids"]:
        more = sorted(set(ours["ids"]) ^ set(theirs["ids"]))[:3]
        return f"{who} touches {len(theirs['ids'])} rows in the log, {len(ours['ids'])} recomputed (such as {more})"
    for name in sorted({*ours["blocks"], *theirs["blocks"]}):
        if ours["blocks"].get(name) != theirs["blocks"].get(name):
            return f"{who}: the deltas of block {name!r} differ"
    return f"{who}: the records differ"


__all__ = ["Difference", "Rebuild", "RebuildError"]
