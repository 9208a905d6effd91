"""Rank every event before learning from it, with N user shards that exchange deltas every K events.

Each shard is a Learner, each item partition an ItemOwner: the classes that the services run. Every K events of
all shards, the owners fold the shards' deltas, and every replica takes in the sweeps; sooner while several shards
share a young model, as in the services. Inside of a batch a shard learns event by event, so one shard's ranks are
strictly prequential whatever K is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from services.contracts.keys import partition_of
from services.evaluation.stream import Batches, Stream
from services.model.arrays import F32
from services.model.config import ModelConfig
from services.model.kernels.view import MIX
from services.model.learner import Learner
from services.model.owner import ItemOwner
from services.model.rows import DeltaSet
from services.model.young import exchange_after

DIVERGENCE_EVERY = 20
"""Exchanges between two looks at how far the replicas are apart."""


@dataclass(slots=True)
class Result:
    """Ranks by event: 1 is best, 0 missed, -1 not scored."""

    rank: F32
    """float32[n] in the learner's list."""
    factors: F32
    """float32[n] by the factors alone, in the full catalogue."""
    experts: F32
    """float32[n, MIX + 1] by each share of the mixture and by the mixture, inside the union of the lists."""
    bucket: npt.NDArray[np.int64]
    age: F32
    """float32[n] earlier events of the item."""
    delta_bytes: int = 0
    """Bytes of all delta records: arrays, ids and hashes."""
    block_bytes: dict[str, int] = field(default_factory=dict)
    divergence: list[float] = field(default_factory=list)
    """Mean relative distance of item vectors between replicas and owners just before an exchange."""


class Simulation:
    """Shards, owners, and the exchange between them."""

    def __init__(
        self, events: Stream, config: ModelConfig, shards: int, exchange_events: int, *, steady: bool = False
    ) -> None:
        """Make the shards.

        Args:
            events: the stream.
            config: of the model.
            shards: user shards.
            exchange_events: events of all shards between two exchanges.
            steady: exchange no sooner while several shards share a young model.

        Raises:
            ValueError: there is less than one shard, or one event between exchanges.
        """
        if shards < 1 or exchange_events < 1:
            raise ValueError("shards and exchange_events must be at least 1")
        self._stream = events
        self._exchange_events = exchange_events
        self.waits = shards > 1 and not steady
        """Whether shards exchange sooner while the model is young."""
        self.learners = [Learner(config) for _ in range(shards)]
        self.owners = [ItemOwner(config, p) for p in range(config.item_partitions)]
        self._batches = Batches(events, config.item_partitions)
        ids = [name.encode() for name in events.users]
        self._shard = np.array([partition_of(name, shards) for name in ids], np.int32)
        self._ids = ids
        n = len(events)
        self.result = Result(
            np.full(n, -1, np.float32),
            np.full(n, -1, np.float32),
            np.full((n, MIX + 1), -1, np.float32),
            np.zeros(n, np.int64),
            np.zeros(n, np.float32),
        )

    def run(self, *, rank_every: int = 1, progress: Callable[[int], None] | None = None) -> Result:
        """Run the stream.

        Args:
            rank_every: rank the events of every so manieth batch of `exchange_events`; 0 = of none.
            progress: told after every exchange how many events are done.
        """
        for done in self.exchanges(rank_every=rank_every):
            if progress is not None:
                progress(done)
        return self.result

    def exchanges(self, *, rank_every: int = 1) -> Iterator[int]:
        """Run the stream exchange by exchange: how many events are done after each."""
        n, batch, last = len(self._stream), -1, 0
        while last < n:
            first, batch = last, batch + 1
            last = min(first + self._between(first), n)
            probe = rank_every > 0 and batch % rank_every == 0
            self._exchange(batch, list(self._learn(batch, first, last, probe=probe)))
            yield last

    def _between(self, done: int) -> int:
        """Events until the next exchange."""
        young = exchange_after(done) if self.waits else None
        return self._exchange_events if young is None else min(self._exchange_events, young)

    def _learn(self, batch: int, first: int, last: int, *, probe: bool) -> Iterator[dict[int, DeltaSet]]:
        at = np.arange(first, last)
        shard = self._shard[self._stream.user[at]]
        for number, learner in enumerate(self.learners):
            mine = at[shard == number]
            if not len(mine):
                continue
            slots = [learner.users.slot(self._ids[u]) for u in self._stream.user[mine].tolist()]
            yield learner.learn(self._batches.take(mine, np.array(slots, np.int32)), batch, probe=probe)
            if probe:
                ranks, result = learner.ranks, self.result
                result.rank[mine], result.factors[mine] = ranks.rank, ranks.factors
                result.experts[mine], result.bucket[mine], result.age[mine] = ranks.experts, ranks.bucket, ranks.age

    def _exchange(self, batch: int, sets: list[dict[int, DeltaSet]]) -> None:
        for deltas in sets:
            for partition, part in deltas.items():
                self.owners[partition].fold(part)
                self._weigh(part)
        if batch % DIVERGENCE_EVERY == 0:
            self.result.divergence.append(self.divergence())
        for partition, owner in enumerate(self.owners):
            changes = owner.sweep()
            for learner in self.learners:
                learner.replica.take(partition, changes, batch)

    def _weigh(self, deltas: DeltaSet) -> None:
        size = sum(len(key) + 2 for key in deltas.ids) + deltas.hashes.nbytes
        for name, block in deltas.blocks.items():
            near = 0 if block.neighbours is None else block.neighbours.nbytes
            mine = block.rows.nbytes + block.values.nbytes + near
            self.result.block_bytes[name] = self.result.block_bytes.get(name, 0) + mine
            size += mine
        self.result.delta_bytes += size

    def divergence(self) -> float:
        """Mean over shards and items of |Q_shard - Q_owner| / |Q_owner|, for the items that both hold."""
        parts = []
        for owner in self.owners:
            table = owner.items
            slots = np.flatnonzero(table.keys)
            q = table.stores["q"].data[slots]
            norm = np.linalg.norm(q, axis=1) + 1e-9
            for learner in self.learners:
                mine = learner.replica.items.table
                rows = mine.index.find_many(table.keys[slots])
                known = rows >= 0
                apart = np.linalg.norm(mine.stores["q"].data[rows[known]] - q[known], axis=1)
                parts.append(apart / norm[known])
        joined = np.concatenate(parts) if parts else np.zeros(1)
        return float(joined.mean()) if len(joined) else 0.0
