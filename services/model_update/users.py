"""The user rows that a shard owns: the model's user table, and what each row has learned from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from services.contracts.inner.user_state import SeenChunk, UserRow, record_pieces, seen_key, split_key
from services.model.arrays import I32, I64
from services.model.config import ModelConfig
from services.model.kernels.packed_users import APPEND_MS, COUNT, EPOCH, EVENT_MS, OFFSET, PARTITION, SEEN
from services.model.packed_users import heads_of, user_form, write
from services.model.users import BLOCKS, SEEN_CHUNK, UserTable

USER_RECORD = user_form(record_pieces(BLOCKS))
"""The form in which records of user-state are written."""
_NOBODY = -1
_DUMPED = 1024
"""Users of a checkpoint whose records are made at once: with full sets of items seen they are 40 MB."""


class UserRows:
    """Rows of the user partitions that a shard owns, by slot of the user table.

    A row exists from the first event on that is learned; `next` is the features position up to which it includes
    every event of its user.
    """

    def __init__(self, config: ModelConfig) -> None:
        self.table = UserTable(config)
        self._meta = _empty(1024)
        """int64[room, 6] by slot: the numbers of the row, but for the items seen."""
        self._ids: list[bytes] = []
        """Of the newest event, by slot."""

    def __len__(self) -> int:
        """Number of users."""
        return len(self.table)

    def load(self, records: Iterable[tuple[bytes, UserRow | SeenChunk | None]]) -> None:
        """Take in (key, record) of user-state in order; None deletes, the last record of a key wins.

        Raises:
            ValueError: a row of another model's layout.
        """
        rows: dict[bytes, UserRow] = {}
        for key, record in records:
            user, chunk = split_key(key)
            if record is None:
                if chunk is None:
                    rows.pop(user, None)
                    self.drop(user)
            elif chunk is not None:
                (slot,) = self.table.load_seen([user], [chunk], [record["s"]])  # type: ignore[typeddict-item]  # the key says it is a chunk
                self._reserve(int(slot))
            else:
                rows[user] = record  # type: ignore[assignment]  # the key says it is a row
        if not rows:
            return
        slots = self.table.load(list(rows), [row["b"] for row in rows.values()])
        self._reserve(int(slots.max()))
        self._meta[slots] = [
            (row["p"], row["o"], row["e"], row["n"], row["t"], row["ts"]) for row in rows.values()
        ]  # fmt: skip
        for slot, row in zip(slots.tolist(), rows.values(), strict=True):
            self._ids[slot] = row["id"].encode()

    def slots(self, users: Sequence[bytes], partitions: I64) -> I32:
        """int32[n] slots of n different users of these features partitions, created where there are none."""
        slots = self.table.slots(users).astype(np.int32)
        self._reserve(int(slots.max(initial=0)))
        # Slots that other users have left, or new ones.
        new = np.flatnonzero(self._meta[slots, PARTITION] != partitions)
        for slot, partition in zip(slots[new].tolist(), partitions[new].tolist(), strict=True):
            self._meta[slot] = (partition, 0, 0, 0, 0, 0)
            self._ids[slot] = b""
        return slots

    def includes(self, slots: I32, offsets: Any) -> Any:
        """bool[n]: whether the users' rows include the events at these offsets already."""
        return self._meta[slots, OFFSET] > offsets

    def position(self, user: bytes) -> int:
        """The features position that a user's row includes; 0 for an unknown user."""
        slot = self.table.find(user)
        return int(self._meta[slot, OFFSET]) if slot >= 0 else 0

    def advance(self, slots: Any, positions: Any, epoch: int) -> None:
        """Note that the rows include every event before these positions (int64[n]), by this incarnation."""
        self._meta[slots, OFFSET] = positions
        self._meta[slots, EPOCH] = epoch

    def count(self, slots: Any, counts: Any, ids: Sequence[bytes], t_ms: I64, ts_ms: I64) -> None:
        """Note new events of n users: how many (int64[n]); id, event time and append time of each user's newest."""
        self._meta[slots, COUNT] += counts
        self._meta[slots, EVENT_MS] = t_ms
        self._meta[slots, APPEND_MS] = ts_ms
        for slot, event in zip(slots.tolist(), ids, strict=True):
            self._ids[slot] = event

    def partitions(self, slots: I64) -> I64:
        """int64[n] features partitions of users."""
        partitions: I64 = self._meta[slots, PARTITION]
        return partitions

    def changes(self, slots: I64, preferences: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
        """(keys, records) of users: the row of each, then its seen chunks that changed since this was last asked.

        Args:
            slots: int64[n] of different users.
            preferences: what came with the newest event of each.
        """
        return self._records(slots, preferences, self.table.seen_since(slots))

    def _records(
        self, slots: I64, preferences: Sequence[bytes], seen: tuple[I64, I64]
    ) -> tuple[list[bytes], list[bytes]]:
        numbers = np.column_stack([self._meta[slots], self.table.arrays.seen.length[slots]])
        ids = [self._ids[slot] for slot in slots.tolist()]
        return write(self.table, slots, heads_of(numbers, ids, preferences, seen), USER_RECORD)

    def drop(self, user: bytes) -> list[bytes]:
        """Forget a user; returns the keys of the seen chunks that the topic holds."""
        slot = self.table.find(user)
        if slot < 0:
            return []
        chunks = -(-self.table.seen_count(slot) // SEEN_CHUNK)
        self.forget(slot)
        self.table.drop(user)
        return [seen_key(user, chunk) for chunk in range(chunks)]

    def idle_since(self, partition: int, append_ms: int) -> list[bytes]:
        """Users of a partition whose newest event was appended before this time, Unix ms."""
        meta = self._meta[: len(self._ids)]
        slots = np.flatnonzero(
            (meta[:, PARTITION] == partition) & (meta[:, COUNT] > 0) & (meta[:, APPEND_MS] < append_ms)
        )
        return [self.table.name(slot) for slot in slots.tolist()]

    def idle(self, slots: I32, append_ms: Any, idle_ms: int) -> Any:
        """bool[n]: whether more than `idle_ms` passed between the users' newest events and new ones at int64[n]."""
        meta = self._meta[slots]
        return (meta[:, COUNT] > 0) & (append_ms - meta[:, APPEND_MS] > idle_ms)

    def forget(self, slot: int) -> None:
        """The table has evicted the user in a slot: nothing is known of it any more."""
        self._meta[slot] = (_NOBODY, 0, 0, 0, 0, 0)
        self._ids[slot] = b""

    def of_partition(self, partition: int) -> list[int]:
        """Slots of the users of a partition."""
        slots: list[int] = np.flatnonzero(self._meta[: len(self._ids), PARTITION] == partition).tolist()
        return slots

    def close(self, partition: int) -> None:
        """Forget the users of a partition."""
        for slot in self.of_partition(partition):
            self.drop(self.table.name(slot))

    def dump(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """(key, record) of everything in user-state of a partition, as `changes` writes it.

        Preferences are left out: they come with a user's next event, and no row is written without one.
        """
        slots = np.array(self.of_partition(partition), np.int64)
        for start in range(0, len(slots), _DUMPED):
            some = slots[start : start + _DUMPED]
            everything = np.zeros(len(some), np.int64), self.table.arrays.seen.length[some].astype(np.int64)
            yield from zip(*self._records(some, [b""] * len(some), everything), strict=True)

    def _reserve(self, slot: int) -> None:
        if slot >= len(self._meta):
            grown = _empty(max(slot + 1, len(self._meta) * 3 // 2))
            grown[: len(self._meta)] = self._meta
            self._meta = grown
        if slot >= len(self._ids):
            self._ids.extend([b""] * (slot + 1 - len(self._ids)))


def _empty(room: int) -> I64:
    meta = np.zeros((room, SEEN), np.int64)
    meta[:, PARTITION] = _NOBODY
    return meta
