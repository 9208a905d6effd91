"""The learning batch: a contiguous range of each features partition, learned in (partition, offset) order.

The user shard and the rebuild run the same code; what it computes is a function of the ranges, the user rows, the
item rows at the clock and the shard's pending deltas.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.contracts.inner.user_state import seen_key
from services.model.arrays import F32, I32, I64
from services.model.config import ModelConfig
from services.model.learner import Learner
from services.model.rows import DeltaSet
from services.model_update import columns
from services.model_update.columns import Features
from services.model_update.events import event_batch, seeds_of
from services.model_update.plain import ERASE, EVENT, ID, IMPLIED, PREFERENCE, USER
from services.model_update.users import UserRows

_LOOK_EVERY = 1 << 16
"""Positions of a partition between two looks at all its users for idle ones."""


@dataclass(slots=True)
class Part:
    """The records of [start, end) of one features partition."""

    partition: int
    start: int
    end: int
    offsets: Sequence[int] = ()
    values: Sequence[Any] = ()
    """Feature records as they are in Kafka, bytes; None for a null value."""


@dataclass(slots=True)
class Learned:
    """What a learning batch did."""

    deltas: dict[int, DeltaSet]
    """By item partition."""
    ranges: dict[str, list[int]]
    """{features partition: [from, to)} of the parts whose position moved."""
    events: int
    """Events and implied negatives in the ranges."""
    ranks: F32
    """float32[learned from] rank of each observed item before it was learned from; empty without `probe`."""
    appended_ms: I64
    """int64[n] append times of the interactions in the ranges."""
    refused: list[tuple[int, int, ValueError]]
    """(features partition, offset, why) of the records that are no features, in order."""


@dataclass(frozen=True, slots=True)
class _Records:
    """The n records of a learning batch in (partition, offset) order, a row each."""

    parts: Sequence[Part]
    features: Features
    partition: I64
    """int64[n] features partition."""
    offset: I64
    """int64[n]"""
    end: I64
    """int64[n] end of the part."""

    @classmethod
    def of(cls, parts: Sequence[Part]) -> _Records:
        """Read the records of some parts."""
        parts = sorted(parts, key=lambda one: one.partition)
        features = columns.read([value for part in parts for value in part.values])
        offsets = np.array([offset for part in parts for offset in part.offsets], np.int64)
        counts = np.array([len(part.offsets) for part in parts], np.int64)
        bounds = np.array([(part.partition, part.end) for part in parts], np.int64).reshape(-1, 2)
        partition, end = np.repeat(bounds, counts, axis=0).T
        return cls(parts, features, partition, offsets, end)

    def users(self, rows: I64) -> list[bytes]:
        """Ids of the users of some rows."""
        return self.features.parts(USER, rows)


class BatchLearner:
    """Learns batch after batch, and remembers which user rows they changed until these are written."""

    def __init__(self, config: ModelConfig, users: UserRows, epoch: int, *, probe: bool = False) -> None:
        """Make the learner of one incarnation; `probe` ranks what it learns from, which changes nothing else."""
        self.config = config
        self.users = users
        self.learner = Learner(config)
        # The rows outlive the learner: in a rebuild, several learners in turn work on the rows of a partition.
        self.learner.users = users.table
        self._epoch = epoch
        self._probe = probe
        self._idle_ms = int(config.user_idle_s * 1000)
        self._changed: dict[int, bytes] = {}
        """Preferences that came with the newest event of the changed users, by slot."""
        self._dropped: dict[bytes, int] = {}
        """Keys of user-state to delete and their partitions, in order."""

    def learn(self, parts: Sequence[Part], batch: int) -> Learned:
        """Learn one batch.

        1. users who asked to be forgotten are, with their events before that in this batch;
        2. events that a user's row includes already are left out (a replay after a crash, at-least-once);
        3. users who were idle for too long begin anew;
        4. the rest is learned in (partition, offset) order.

        Args:
            parts: at most one of each partition.
            batch: its number inside the epoch.
        """
        records = _Records.of(parts)
        features, kind = records.features, records.features.columns.kind
        rows = np.flatnonzero((kind == EVENT) | (kind == IMPLIED))
        events = len(rows)
        rows = self._without_erased(records, rows)
        slots = self._slots(records, rows)
        new = ~self.users.includes(slots, records.offset[rows])
        rows, slots = rows[new], slots[new]
        slots = self._without_idle(records, rows, slots)
        deltas: dict[int, DeltaSet] = {}
        ranks = np.zeros(0, np.float32)
        if len(rows):
            seeds = seeds_of(records.partition[rows], records.offset[rows])
            arrays = event_batch(features, rows, slots, seeds, self.config.item_partitions)
            deltas = self.learner.learn(arrays, batch, probe=self._probe)
            ranks = self.learner.ranks.rank
            self._note(records, rows, slots)
            for gone in self.learner.evicted_users():
                self.users.forget(gone.slot)
                self._changed.pop(gone.slot, None)
                self._gone(gone.user, gone.partition, [seen_key(gone.user, chunk) for chunk in range(gone.chunks)])
        return Learned(
            deltas,
            {str(part.partition): [part.start, part.end] for part in records.parts if part.end > part.start},
            events,
            ranks,
            features.columns.ts_ms[kind == EVENT],
            [(int(records.partition[row]), int(records.offset[row]), why) for row, why in features.refused],
        )

    def _slots(self, records: _Records, rows: I64) -> I32:
        """int32[n] slots of the users of some rows, created where there are none."""
        first, which = records.features.distinct(USER, rows)
        return self.users.slots(records.users(first), records.partition[first])[which]

    def _without_erased(self, records: _Records, rows: I64) -> I64:
        """Forget the users who ask for it; returns the rows without theirs before that."""
        erasures = np.flatnonzero(records.features.columns.kind == ERASE)
        erased: dict[bytes, int] = {}
        for row, user in zip(erasures.tolist(), records.users(erasures), strict=True):
            # Otherwise it is a replay: the row was begun anew after this erasure.
            if self.users.position(user) <= records.offset[row]:
                self._drop(user, int(records.partition[row]))
                erased[user] = row
        if not erased:
            return rows
        since = [erased.get(user, -1) for user in records.users(rows)]
        return rows[rows > np.array(since, np.int64)]

    def _without_idle(self, records: _Records, rows: I64, slots: I32) -> I32:
        """Let users who were idle for too long begin anew; returns the slots of the rows' users.

        Append time decides when a user returns. Once in a while, at fixed positions, the others who would begin anew
        are forgotten too. The log alone determines both.
        """
        if not self._idle_ms:
            return slots
        times, partition = records.features.columns.ts_ms, records.partition
        first = np.unique(slots, return_index=True)[1]
        idle = rows[first[self.users.idle(slots[first], times[rows[first]], self._idle_ms)]]
        gone = list(zip(records.users(idle), partition[idle].tolist(), strict=True))
        for part in records.parts:
            if part.start // _LOOK_EVERY == part.end // _LOOK_EVERY:
                continue
            mine = rows[partition[rows] == part.partition]
            if len(mine):
                returning = set(records.users(mine))
                asleep = self.users.idle_since(part.partition, int(times[mine[-1]]) - self._idle_ms)
                gone += [(user, part.partition) for user in asleep if user not in returning]
        for user, of in gone:
            self._drop(user, of)
        return self._slots(records, rows) if len(idle) else slots

    def _drop(self, user: bytes, partition: int) -> None:
        self._changed.pop(self.users.table.find(user), None)
        self._gone(user, partition, self.users.drop(user))

    def _gone(self, user: bytes, partition: int, chunks: list[bytes]) -> None:
        self._dropped.update(dict.fromkeys((user, *chunks), partition))

    def _note(self, records: _Records, rows: I64, slots: I32) -> None:
        """Note what the changed users' rows have learned from."""
        features, found = records.features, records.features.columns
        users, last = _last(slots)
        newest = rows[last]
        self.users.advance(users, records.end[newest], self._epoch)
        self._changed.update(zip(users.tolist(), features.parts(PREFERENCE, newest), strict=True))
        real = found.kind[rows] == EVENT
        rows, slots = rows[real], slots[real]
        users, last = _last(slots)
        newest = rows[last]
        counts = np.bincount(np.searchsorted(users, slots), minlength=len(users))
        self.users.count(users, counts, features.parts(ID, newest), found.t_ms[newest], found.ts_ms[newest])

    def changes(self) -> Iterator[tuple[int, Sequence[bytes], Sequence[bytes | None]]]:
        """(partition, keys, records) of user-state since this was last asked; deletions (None) come first."""
        changed, self._changed = self._changed, {}
        dropped, self._dropped = self._dropped, {}
        for partition in sorted(set(dropped.values())):
            keys = [key for key, of in dropped.items() if of == partition]
            yield partition, keys, [None] * len(keys)
        slots = np.array(list(changed), np.int64)
        preferences, partitions = list(changed.values()), self.users.partitions(slots)
        for partition in np.unique(partitions).tolist():
            mine = np.flatnonzero(partitions == partition)
            yield partition, *self.users.changes(slots[mine], [preferences[at] for at in mine.tolist()])


def _last(slots: Any) -> tuple[Any, Any]:
    """(distinct slots, ascending; where each occurs last)."""
    users, reverse = np.unique(slots[::-1], return_index=True)
    return users, len(slots) - 1 - reverse
