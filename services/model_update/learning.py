"""The learning batch: a contiguous range of each features partition, learned in (partition, offset) order.

The user shard and the rebuild run the same code; what it computes is a function of the ranges, the user rows, the
item rows at the clock and the shard's pending deltas.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from services.contracts.inner import user_state
from services.contracts.inner.features import EventFeature
from services.contracts.inner.user_state import SeenChunk, UserRow, seen_key
from services.model.arrays import F32, I64
from services.model.config import ModelConfig
from services.model.learner import Learner
from services.model.rows import DeltaSet
from services.model_update.events import event_batch, seeds_of
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
    """Decoded feature records; None for a null value."""


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


@dataclass(slots=True)
class _Chosen:
    """The events of a batch that are learned from, in order."""

    records: list[EventFeature] = field(default_factory=list)
    slots: list[Any] = field(default_factory=list)
    seeds: list[Any] = field(default_factory=list)
    ends: list[Any] = field(default_factory=list)


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
        """Preferences that came with the newest event, by slot of the changed user."""
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
        events, chosen = 0, _Chosen()
        for part in sorted(parts, key=lambda one: one.partition):
            events += self._choose(part, chosen)
        deltas: dict[int, DeltaSet] = {}
        ranks = np.zeros(0, np.float32)
        if chosen.records:
            slots = np.concatenate(chosen.slots)
            arrays = event_batch(chosen.records, slots, np.concatenate(chosen.seeds), self.config.item_partitions)
            deltas = self.learner.learn(arrays, batch, probe=self._probe)
            ranks = self.learner.ranks.rank
            self._note(chosen.records, slots, np.concatenate(chosen.ends))
            for gone in self.learner.evicted_users():
                self.users.forget(gone.slot)
                self._changed.pop(gone.slot, None)
                self._gone(gone.user, gone.partition, [seen_key(gone.user, chunk) for chunk in range(gone.chunks)])
        ranges = {str(part.partition): [part.start, part.end] for part in parts if part.end > part.start}
        return Learned(deltas, ranges, events, ranks)

    def _choose(self, part: Part, chosen: _Chosen) -> int:
        """Append the part's events that are to be learned; returns how many there are in all."""
        places = [i for i, record in enumerate(part.values) if record is not None and record["kind"] != "batch"]
        erased: dict[str, int] = {}
        for i in places:
            if part.values[i]["kind"] == "erase" and self._erase(part, i):
                erased[part.values[i]["user"]] = i
        places = [i for i in places if part.values[i]["kind"] != "erase"]
        events = len(places)
        if erased:
            places = [i for i in places if i > erased.get(part.values[i]["user"], -1)]
        if not places:
            return events
        records = [part.values[i] for i in places]
        offsets = np.array([part.offsets[i] for i in places], np.int64)
        slots = self.users.slots([record["user"] for record in records], part.partition)
        old = self.users.includes(slots, offsets)
        if old.any():
            kept = np.flatnonzero(~old)
            records = [records[i] for i in kept.tolist()]
            offsets, slots = offsets[kept], slots[kept]
        slots = self._without_idle(part, records, slots)
        chosen.records += records
        chosen.slots.append(slots)
        chosen.seeds.append(seeds_of(part.partition, offsets))
        chosen.ends.append(np.full(len(records), part.end, np.int64))
        return events

    def _without_idle(self, part: Part, records: list[EventFeature], slots: Any) -> Any:
        """Let users who were idle for too long begin anew; returns the slots of the records' users.

        Append time decides when a user returns. Once in a while, at fixed positions, the others who would begin anew
        are forgotten too. The log alone determines both.
        """
        if not self._idle_ms or not records:
            return slots
        times = np.fromiter((record["ts"] for record in records), np.int64, len(records))
        first = np.unique(slots, return_index=True)[1]
        first = first[self.users.idle(slots[first], times[first], self._idle_ms)]
        gone = [records[i]["user"].encode() for i in first.tolist()]
        if part.start // _LOOK_EVERY != part.end // _LOOK_EVERY:
            returning = {record["user"].encode() for record in records}
            since = int(times[-1]) - self._idle_ms
            gone += [user for user in self.users.idle_since(part.partition, since) if user not in returning]
        for user in gone:
            self._changed.pop(self.users.table.find(user), None)
            self._gone(user, part.partition, self.users.drop(user))
        return self.users.slots([record["user"] for record in records], part.partition) if len(first) else slots

    def _erase(self, part: Part, at: int) -> bool:
        user = part.values[at]["user"].encode()
        if self.users.position(user) > part.offsets[at]:
            # A replay: the row was begun anew after this erasure.
            return False
        self._changed.pop(self.users.table.find(user), None)
        self._gone(user, part.partition, self.users.drop(user))
        return True

    def _gone(self, user: bytes, partition: int, chunks: list[bytes]) -> None:
        self._dropped.update(dict.fromkeys((user, *chunks), partition))

    def _note(self, records: list[EventFeature], slots: Any, ends: I64) -> None:
        """Note what the changed users' rows have learned from."""
        users, last = _last(slots)
        self.users.advance(users, ends[last], self._epoch)
        for slot, at in zip(users.tolist(), last.tolist(), strict=True):
            self._changed[slot] = records[at]["pref"]
        real = np.flatnonzero(np.fromiter((record["kind"] == "event" for record in records), bool, len(records)))
        if len(real):
            users, last = _last(slots[real])
            counts = np.bincount(np.searchsorted(users, slots[real]), minlength=len(users))
            self.users.count(users, counts, [records[at] for at in real[last].tolist()])

    def changes(self) -> Iterator[tuple[int, bytes, UserRow | SeenChunk | None]]:
        """(partition, key, record) of user-state since this was last asked; deletions (None) come first."""
        changed, self._changed = self._changed, {}
        dropped, self._dropped = self._dropped, {}
        for key, partition in dropped.items():
            yield partition, key, None
        for slot, row in zip(changed, self.users.rows(changed), strict=True):
            user = self.users.table.name(slot)
            yield row["p"], user, row
            for chunk, hashes in self.users.table.seen_changes(slot):
                yield row["p"], seen_key(user, chunk), {"v": user_state.VERSION, "s": hashes}


def _last(slots: Any) -> tuple[Any, Any]:
    """(distinct slots, ascending; where each occurs last)."""
    users, reverse = np.unique(slots[::-1], return_index=True)
    return users, len(slots) - 1 - reverse
