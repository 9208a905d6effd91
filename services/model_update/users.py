"""The user rows that a shard owns: the model's user table, and what each row has learned from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from services.contracts.inner import user_state
from services.contracts.inner.user_state import SeenChunk, UserRow, seen_key, split_key
from services.model.arrays import I32, I64
from services.model.config import ModelConfig
from services.model.users import SEEN_CHUNK, UserTable

_META = np.dtype([("partition", "<i4"), ("next", "<i8"), ("epoch", "<i8"), ("n", "<i8"), ("t", "<i8"), ("ts", "<i8")])
_NOBODY = -1


class UserRows:
    """Rows of the user partitions that a shard owns, by slot of the user table.

    A row exists from the first event on that is learned; `next` is the features position up to which it includes
    every event of its user.
    """

    def __init__(self, config: ModelConfig) -> None:
        self.table = UserTable(config)
        self._meta: np.ndarray[Any, Any] = _empty(1024)
        self._ids: list[str] = []

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
            self._ids[slot] = row["id"]

    def slots(self, users: Sequence[bytes], partitions: I64) -> I32:
        """int32[n] slots of n different users of these features partitions, created where there are none."""
        slots = self.table.slots(users).astype(np.int32)
        self._reserve(int(slots.max(initial=0)))
        # Slots that other users have left, or new ones.
        new = np.flatnonzero(self._meta["partition"][slots] != partitions)
        for slot, partition in zip(slots[new].tolist(), partitions[new].tolist(), strict=True):
            self._meta[slot] = (partition, 0, 0, 0, 0, 0)
            self._ids[slot] = ""
        return slots

    def includes(self, slots: I32, offsets: Any) -> Any:
        """bool[n]: whether the users' rows include the events at these offsets already."""
        return self._meta["next"][slots] > offsets

    def position(self, user: bytes) -> int:
        """The features position that a user's row includes; 0 for an unknown user."""
        slot = self.table.find(user)
        return int(self._meta["next"][slot]) if slot >= 0 else 0

    def advance(self, slots: Any, positions: Any, epoch: int) -> None:
        """Note that the rows include every event before these positions (int64[n]), by this incarnation."""
        self._meta["next"][slots] = positions
        self._meta["epoch"][slots] = epoch

    def count(self, slots: Any, counts: Any, ids: Sequence[str], t_ms: I64, ts_ms: I64) -> None:
        """Note new events of n users: how many (int64[n]); id, event time and append time of each user's newest."""
        self._meta["n"][slots] += counts
        self._meta["t"][slots] = t_ms
        self._meta["ts"][slots] = ts_ms
        for slot, event in zip(slots.tolist(), ids, strict=True):
            self._ids[slot] = event

    def rows(self, slots: Sequence[int], preferences: Sequence[bytes]) -> Iterator[UserRow]:
        """Rows of users as they travel, with the preferences that came with the newest event of each."""
        at = np.array(slots, np.int64)
        seen = self.table.arrays.seen.length[at].tolist()
        for slot, preference, meta, blocks, count in zip(
            slots, preferences, self._meta[at].tolist(), self.table.dump(at), seen, strict=True
        ):
            partition, next_offset, epoch, n, t, ts = meta
            yield {
                "v": user_state.VERSION,
                "p": partition,
                "o": next_offset,
                "e": epoch,
                "n": n,
                "id": self._ids[slot],
                "t": t,
                "ts": ts,
                "b": blocks,
                "pref": preference,
                "seen": count,
            }

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
        slots = np.flatnonzero((meta["partition"] == partition) & (meta["n"] > 0) & (meta["ts"] < append_ms))
        return [self.table.name(slot) for slot in slots.tolist()]

    def idle(self, slots: I32, append_ms: Any, idle_ms: int) -> Any:
        """bool[n]: whether more than `idle_ms` passed between the users' newest events and new ones at int64[n]."""
        meta = self._meta[slots]
        return (meta["n"] > 0) & (append_ms - meta["ts"] > idle_ms)

    def forget(self, slot: int) -> None:
        """The table has evicted the user in a slot: nothing is known of it any more."""
        self._meta[slot] = (_NOBODY, 0, 0, 0, 0, 0)
        self._ids[slot] = ""

    def of_partition(self, partition: int) -> list[int]:
        """Slots of the users of a partition."""
        slots: list[int] = np.flatnonzero(self._meta["partition"][: len(self._ids)] == partition).tolist()
        return slots

    def close(self, partition: int) -> None:
        """Forget the users of a partition."""
        for slot in self.of_partition(partition):
            self.drop(self.table.name(slot))

    def dump(self, partition: int) -> Iterator[tuple[bytes, UserRow | SeenChunk]]:
        """Every user-state record of a partition, in a form that `load` takes.

        Preferences are left out: they come with a user's next event, and no row is written without one.
        """
        slots = self.of_partition(partition)
        for slot, row in zip(slots, self.rows(slots, [b""] * len(slots)), strict=True):
            user = self.table.name(slot)
            yield user, row
            for chunk, hashes in self.table.seen_chunks(slot):
                yield seen_key(user, chunk), {"v": user_state.VERSION, "s": hashes}

    def _reserve(self, slot: int) -> None:
        if slot >= len(self._meta):
            grown = _empty(max(slot + 1, len(self._meta) * 3 // 2))
            grown[: len(self._meta)] = self._meta
            self._meta = grown
        if slot >= len(self._ids):
            self._ids.extend([""] * (slot + 1 - len(self._ids)))


def _empty(room: int) -> np.ndarray[Any, Any]:
    meta = np.zeros(room, _META)
    meta["partition"] = _NOBODY
    return meta
