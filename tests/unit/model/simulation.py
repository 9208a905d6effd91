"""A broker-free streamrec of learners and owners, with every delay and restart chosen by the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from services.contracts.inner import item_state
from services.model.config import ModelConfig
from services.model.events import EventBatch, event_seed, ragged
from services.model.layout import row_kind
from services.model.learner import Learner
from services.model.owner import ItemOwner
from services.model.rows import DeltaSet, RowChange
from services.model_update.wire import ITEM_ROW, row_record

MIXER = 0x9E3779B97F4A7C15
CATEGORY = 1 << 28


def item_hash(item: int) -> int:
    """A hash for the item with this number."""
    return ((item + 1) * MIXER) & 0xFFFF_FFFF_FFFF_FFFF


def plain_content(item: int) -> list[int]:
    """Content features of an item: one of five categories, and the item's number."""
    return [CATEGORY | item % 5, item]


def wire(change: RowChange) -> bytes | None:
    """An item row as its record; None for all else, which replicas take in row by row."""
    row = row_record(change, 7) if row_kind(change.key) == "item" else None
    return None if row is None else item_state.encode(row)


@dataclass(frozen=True)
class Event:
    """One event of the features log: numbers stand for users and items."""

    user: int
    item: int
    t_ms: int
    weight: float = 1.0
    context: tuple[int, ...] | None = None
    """Context features; None takes one of two by the user."""


def event_batch(
    learner: Learner,
    partition: int,
    first: int,
    events: list[Event],
    *,
    content: Callable[[int], list[int]] = plain_content,
) -> EventBatch:
    """Consecutive events of one features partition, from offset `first` on, as a learner takes them."""
    n = len(events)
    partitions = learner.config.item_partitions
    ptr, words = ragged([content(e.item) for e in events])
    around, context = ragged([[e.user % 2] if e.context is None else list(e.context) for e in events])
    return EventBatch(
        user=np.array([learner.users.slot(b"user-%d-%d" % (partition, e.user)) for e in events], np.int32),
        item=np.array([item_hash(e.item) for e in events], np.uint64),
        item_id=[f"item-{e.item}" for e in events],
        item_partition=np.array([e.item % partitions for e in events], np.int32),
        t_ms=np.array([e.t_ms for e in events], np.int64),
        weight=np.array([e.weight for e in events], np.float32),
        value=np.full(n, np.nan, np.float32),
        seed=np.array([event_seed(partition, first + i) for i in range(n)], np.uint64),
        content_ptr=ptr,
        content=words,
        context_ptr=around,
        context=context,
    )


def bits(deltas: DeltaSet) -> tuple[object, ...]:
    """Everything of a delta set, for comparison bit by bit."""
    blocks = sorted(deltas.blocks.items())
    return (
        tuple(deltas.ids),
        deltas.hashes.tobytes(),
        tuple(
            (name, b.rows.tobytes(), b.values.tobytes(), b"" if b.neighbours is None else b.neighbours.tobytes())
            for name, b in blocks
        ),
    )


@dataclass(slots=True)
class Seal:
    """One learning batch as the log has it."""

    shard: int
    epoch: int
    batch: int
    start: int
    events: list[Event]
    clock: list[int]
    deltas: dict[int, DeltaSet]
    users: dict[bytes, dict[str, bytes]]


@dataclass(slots=True)
class Sweep:
    """One sweep of one item partition."""

    changes: list[RowChange]
    clock: int
    folded: dict[int, tuple[int, int]]


@dataclass(slots=True)
class Shard:
    """One user shard: it owns the features partition of its number."""

    learner: Learner
    epoch: int
    clock: list[int]
    taken: list[int]
    batch: int = 0


@dataclass(slots=True)
class Partition:
    """One item partition: its log, its owner, and the sweeps published."""

    owner: ItemOwner
    log: list[tuple[int, int, int, DeltaSet]] = field(default_factory=list)
    """(shard, epoch, batch, deltas)"""
    folded_to: int = 0
    folded: dict[int, tuple[int, int]] = field(default_factory=dict)
    sweeps: list[Sweep] = field(default_factory=list)
    state: dict[int, RowChange] = field(default_factory=dict)
    """item-state after compaction: {hash: row}."""


class World:
    """Shards, owners and the logs between them."""

    def __init__(self, config: ModelConfig, shards: int, content: Callable[[int], list[int]] = plain_content) -> None:
        self.config = config
        self.content = content
        self.partitions = [Partition(ItemOwner(config, p)) for p in range(config.item_partitions)]
        self.shards = [self._shard(0) for _ in range(shards)]
        self.seals: list[Seal] = []
        self.users: list[dict[bytes, dict[str, bytes]]] = [{} for _ in range(shards)]
        """user-state after compaction, per shard."""
        self.seen: list[dict[tuple[bytes, int], bytes]] = [{} for _ in range(shards)]
        self.offsets = [0] * shards

    def _shard(self, epoch: int) -> Shard:
        n = self.config.item_partitions
        return Shard(Learner(self.config), epoch, [0] * n, [0] * n)

    def learn(self, number: int, events: list[Event]) -> None:
        """One learning batch of a shard: learn, append deltas and the seal, publish the user rows."""
        shard = self.shards[number]
        batch = event_batch(shard.learner, number, self.offsets[number], events, content=self.content)
        deltas = shard.learner.learn(batch, shard.batch)
        rows: dict[bytes, dict[str, bytes]] = {}
        for gone in shard.learner.evicted_users():
            self.users[number].pop(gone.user, None)
            for key in [k for k in self.seen[number] if k[0] == gone.user]:
                del self.seen[number][key]
        users = shard.learner.users
        for event in events:
            user = b"user-%d-%d" % (number, event.user)
            slot = users.find(user)
            if slot >= 0:
                (rows[user],) = users.dump(np.array([slot]))
                self.users[number][user] = rows[user]
                self.seen[number].update({(user, c): h for c, h in users.seen_changes(slot)})
        self.seals.append(
            Seal(number, shard.epoch, shard.batch, self.offsets[number], events, list(shard.clock), deltas, rows)
        )
        for partition, part in deltas.items():
            self.partitions[partition].log.append((number, shard.epoch, shard.batch, part))
        shard.batch += 1
        self.offsets[number] += len(events)

    def fold(self, partition: int, n: int) -> None:
        """The owner folds the next n delta records."""
        part = self.partitions[partition]
        for shard, epoch, batch, deltas in part.log[part.folded_to : part.folded_to + n]:
            part.owner.fold(deltas)
            part.folded[shard] = (epoch, batch)
        part.folded_to = min(part.folded_to + n, len(part.log))

    def sweep(self, partition: int) -> None:
        """The owner publishes what changed."""
        part = self.partitions[partition]
        changes = part.owner.sweep()
        for change in changes:
            part.state.pop(change.hash, None)
            if change.blocks is not None:
                part.state[change.hash] = change
        part.sweeps.append(Sweep(changes, part.folded_to, dict(part.folded)))

    def take(self, number: int, partition: int, n: int) -> None:
        """A shard takes in the next n sweeps of a partition, at once."""
        shard, part = self.shards[number], self.partitions[partition]
        sweeps = part.sweeps[shard.taken[partition] : shard.taken[partition] + n]
        if not sweeps:
            return
        changes = [change for sweep in sweeps for change in _last(sweep.changes)]
        epoch, batch = sweeps[-1].folded.get(number, (-1, -1))
        rows = {change.key: change for change in _last(changes)}
        replica = shard.learner.replica
        standing, others = replica.standing(partition, {key: wire(change) for key, change in rows.items()}, ITEM_ROW)
        folded = batch if epoch == shard.epoch else None
        replica.take(partition, [rows[key] for key in others], folded, standing)
        shard.taken[partition] += len(sweeps)
        shard.clock[partition] = sweeps[-1].clock

    def exchange(self, number: int, partition: int, n: int) -> None:
        """The next n delta records of a partition reach a shard."""
        self.fold(partition, n)
        self.sweep(partition)
        self.take(number, partition, len(self.partitions[partition].sweeps))

    def restart_shard(self, number: int, order: np.random.Generator) -> None:
        """A shard comes back with an empty memory and reads item-state and user-state, in any order."""
        shard = self._shard(self.shards[number].epoch + 1)
        self.shards[number] = shard
        for p, part in enumerate(self.partitions):
            if part.sweeps:
                rows = list(part.state.values())
                shard.learner.replica.take(p, [rows[i] for i in order.permutation(len(rows))], None)
                shard.taken[p] = len(part.sweeps)
                shard.clock[p] = part.sweeps[-1].clock
        users = list(self.users[number].items())
        for i in order.permutation(len(users)):
            shard.learner.users.load([users[i][0]], [users[i][1]])
        for (user, chunk), hashes in self.seen[number].items():
            shard.learner.users.load_seen([user], [chunk], [hashes])

    def restart_owner(self, partition: int, order: np.random.Generator) -> None:
        """An owner comes back from item-state and reads the deltas after its clock again."""
        part = self.partitions[partition]
        part.owner = ItemOwner(self.config, partition)
        rows = list(part.state.values())
        for i in order.permutation(len(rows)):
            part.owner.load(rows[i])
        part.folded_to = part.sweeps[-1].clock if part.sweeps else 0
        part.folded = dict(part.sweeps[-1].folded) if part.sweeps else {}

    def settle(self) -> None:
        """Everything is folded, published and taken."""
        for p, part in enumerate(self.partitions):
            self.fold(p, len(part.log))
            self.sweep(p)
            for number in range(len(self.shards)):
                self.take(number, p, len(part.sweeps))


def _last(changes: list[RowChange]) -> list[RowChange]:
    """The last change of every key, in log order."""
    by_key: dict[int, RowChange] = {}
    for change in changes:
        by_key.pop(change.hash, None)
        by_key[change.hash] = change
    return list(by_key.values())
