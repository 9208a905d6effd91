"""What a shard knows of its users: vector, history, category counts and the set of items seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from services.model.arena import (
    HashIndex,
    list_bytes,
    list_clear,
    list_pool,
    list_tidy,
    lists_set,
    pointers,
    reserve,
    valued_get,
    valued_set,
)
from services.model.arrays import I64, U32, U64
from services.model.buffers import buffer_of
from services.model.config import ModelConfig
from services.model.kernels.hashing import WORK, hash_ids
from services.model.kernels.seen import seen_set
from services.model.kernels.users import UserArrays, category_count, history_push, seen_add
from services.model.names import key_words, words_key
from services.model.seeds import init_rows
from services.model.table import MAX_KEY_BYTES

SEEN_CHUNK = 256
"""Hashes in one chunk of the set of items seen."""
VECTOR_SCALE = 0.01
"""Standard deviation of a new user's vector."""
_SALT = 0x75736572
_TIDY_LOADS = 4096
"""Loaded rows between two looks at the idle memory, for a process that only loads."""
BLOCKS = ("p", "at", "h", "ht", "c", "cn")
"""The blocks of a row's wire form."""
_SLACK = 1.25
"""Address space beyond the ceiling, for the users of one batch."""


class Evicted(NamedTuple):
    """A user that was forgotten at the ceiling."""

    user: bytes
    slot: int
    """Where the user stood; free now."""
    partition: int
    """Features partition of the user's newest event."""
    chunks: int
    """Seen chunks that the user had."""


class UserTable:
    """Users of one process, by slot."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        room = int(config.max_users * _SLACK) + 65536
        self._index = HashIndex()
        self._hashes: U64 = reserve((room,), np.uint64)
        self.names = list_pool(room, MAX_KEY_BYTES // 4 + 1, np.uint32, 0)
        self._free: list[int] = []
        self._top = 0
        self._calm = 0
        """Number of users up to which no partition can be past its ceiling."""
        self._loads = 0
        self.arrays = UserArrays(
            reserve((room, config.dim), np.float32),
            reserve((room, 1), np.float32),
            reserve((room,), np.uint64),
            list_pool(room, config.history_kept, np.uint64, 1, np.uint32),
            list_pool(room, config.max_categories, np.uint32, 1),
            list_pool(room, config.max_seen, np.uint64, 0),
            reserve((room,), np.uint32),
            reserve((room,), np.uint32),
        )

    def __len__(self) -> int:
        """Number of users."""
        return self._index.size

    def find(self, user: bytes) -> int:
        """Slot of a user, or -1."""
        return self._index.find(_hash(user))

    def find_many(self, users: Sequence[bytes]) -> I64:
        """int64[n] slots of users, -1 where there are none."""
        return self._index.find_many(_hashes(users))

    def slot(self, user: bytes) -> int:
        """Slot of a user, created with initial values from the id when there is none.

        Raises:
            ValueError: the id is too long.
        """
        slot = self.find(user)
        return slot if slot >= 0 else int(self.slots([user])[0])

    def slots(self, users: Sequence[bytes]) -> I64:
        """int64[n] slots of users, created in order where there are none.

        Raises:
            ValueError: an id is too long.
        """
        hashes = _hashes(users)
        found = self._index.find_many(hashes)
        missing = np.flatnonzero(found < 0)
        if len(missing):
            first = missing[np.sort(np.unique(hashes[missing], return_index=True)[1])]
            self._create([users[i] for i in first.tolist()], hashes[first])
            found[missing] = self._index.find_many(hashes[missing])
        return found

    def _create(self, users: Sequence[bytes], hashes: U64) -> None:
        if max(map(len, users)) > MAX_KEY_BYTES:
            raise ValueError(f"a user id is longer than {MAX_KEY_BYTES} bytes")
        again = min(len(self._free), len(users))
        slots = np.array([self._free.pop() for _ in range(again)] + [0] * (len(users) - again), np.int64)
        slots[again:] = np.arange(self._top, self._top + len(users) - again)
        self._top += len(users) - again
        self._index.insert(hashes, slots)
        self._hashes[slots] = hashes
        words = [key_words(user) for user in users]
        lists_set(self.names, slots, pointers([len(one) for one in words]), np.concatenate(words))
        arrays = self.arrays
        init_rows(arrays.vector, slots, hashes, _SALT ^ (self.config.seed << 32), VECTOR_SCALE, 0.0)
        arrays.acc[slots] = self.config.initial_accumulator
        arrays.touch[slots] = 0
        arrays.seen_total[slots] = 0
        arrays.saved[slots] = 0

    def load(self, users: Sequence[bytes], rows: Sequence[dict[str, bytes]]) -> I64:
        """Set users' rows from their wire form (`dump`); the seen chunks come by `load_seen`.

        Returns:
            int64[n] slots.

        Raises:
            ValueError: a row has another layout; nothing of the rows was taken.
        """
        try:
            columns = {name: [row[name] for row in rows] for name in BLOCKS}
        except KeyError as error:
            raise ValueError(f"a user row does not have the model's layout: {error} is missing") from error
        d = self.config.dim
        sizes = {name: np.fromiter(map(len, column), np.int64, len(rows)) for name, column in columns.items()}
        fits = (sizes["p"] == 4 * (d + 1)) & (sizes["at"] == 16) & (sizes["h"] % 8 == 0) & (sizes["c"] % 4 == 0)
        if not (fits & (2 * sizes["ht"] == sizes["h"]) & (sizes["cn"] == sizes["c"])).all():
            raise ValueError("a user row does not have the model's layout: a block has another size")
        slots = self.slots(users)
        raw = {name: b"".join(column) for name, column in columns.items()}
        vectors = np.frombuffer(raw["p"], np.float32).reshape(-1, d + 1)
        counts = np.frombuffer(raw["at"], np.uint64).reshape(-1, 2)
        arrays = self.arrays
        # Where a user comes twice, the last row stays: numpy assigns in order.
        arrays.vector[slots], arrays.acc[slots, 0] = vectors[:, :d], vectors[:, d]
        arrays.touch[slots], arrays.seen_total[slots] = counts[:, 0], counts[:, 1]
        arrays.saved[slots] = counts[:, 1]
        for pool, names in ((arrays.history, ("h", "ht")), (arrays.categories, ("c", "cn"))):
            keys = np.frombuffer(raw[names[0]], pool.keys.dtype)
            values = np.frombuffer(raw[names[1]], pool.values.dtype)
            valued_set(pool, slots, pointers(sizes[names[0]] // keys.itemsize), keys, values)
        self.loaded(len(rows))
        return slots

    def loaded(self, rows: int) -> None:
        """So many rows were set: give idle list memory back once in a while."""
        self._loads += rows
        if self._loads >= _TIDY_LOADS:
            self._loads = 0
            self.tidy()

    def dump(self, slots: I64) -> list[dict[str, bytes]]:
        """Users' rows without the seen chunks: p (vector, accumulator), at (newest event, items seen),
        h and ht (history oldest first: uint64 hashes, uint32 seconds), c and cn (category counts)."""
        arrays = self.arrays
        columns = [
            _cut(np.concatenate([arrays.vector[slots], arrays.acc[slots]], axis=1)),
            _cut(np.stack([arrays.touch[slots], arrays.seen_total[slots].astype(np.uint64)], axis=1)),
        ]
        for pool in (arrays.history, arrays.categories):
            ptr = pointers(pool.length[slots])
            keys, values = np.empty(int(ptr[-1]), pool.keys.dtype), np.empty(int(ptr[-1]), pool.values.dtype)
            valued_get(pool, slots, ptr, keys, values)
            columns += [_cut(keys, ptr), _cut(values, ptr)]
        return [dict(zip(BLOCKS, row, strict=True)) for row in zip(*columns, strict=True)]

    def load_seen(self, users: Sequence[bytes], chunks: Sequence[int], items: Sequence[bytes]) -> I64:
        """Take in seen chunks; returns int64[n] slots of their users. A row and its chunks may come in any order."""
        slots = self.slots(users)
        self.set_seen(slots, chunks, items)
        return slots

    def set_seen(self, slots: I64, chunks: Sequence[int], items: Sequence[bytes]) -> None:
        """`load_seen` of users in slots int64[n]."""
        first, ptr = np.array(chunks, np.int64) * SEEN_CHUNK, pointers([len(one) // 8 for one in items])
        seen_set(self.arrays.seen, slots, first, ptr, np.frombuffer(b"".join(items), np.uint64))

    def seen(self, slot: int) -> U64:
        """uint64[k] the items that a user has interacted with, in no particular order."""
        pool = self.arrays.seen
        at = int(pool.where[slot])
        return pool.keys[at : at + int(pool.length[slot])]  # type: ignore[no-any-return]  # Lists.keys is Any

    def seen_changes(self, slot: int) -> list[tuple[int, bytes]]:
        """(chunk number, hashes) of the seen chunks that changed since this was last asked."""
        return next(self.seen_changes_many(np.array([slot])))

    def seen_changes_many(self, slots: I64) -> Iterator[list[tuple[int, bytes]]]:
        """`seen_changes` of many users."""
        arrays, limit, ring = self.arrays, self.config.max_seen, self.arrays.seen
        totals, saved = arrays.seen_total[slots], arrays.saved[slots]
        arrays.saved[slots] = totals
        columns = (totals.tolist(), saved.tolist(), ring.where[slots].tolist(), ring.length[slots].tolist())
        for total, before, at, n in zip(*columns, strict=True):
            chunks = {entry % limit // SEEN_CHUNK for entry in range(max(before, total - limit), total)}
            starts = [(chunk, at + chunk * SEEN_CHUNK) for chunk in sorted(chunks)]
            yield [(chunk, ring.keys[start : min(start + SEEN_CHUNK, at + n)].tobytes()) for chunk, start in starts]

    def seen_since(self, slots: I64) -> tuple[I64, I64]:
        """Which entries of `seen` users have got since this or `seen_changes` was last asked.

        Returns:
            (int64[n] place of the first in the ring, int64[n] how many).
        """
        arrays, limit = self.arrays, self.config.max_seen
        totals, saved = arrays.seen_total[slots].astype(np.int64), arrays.saved[slots].astype(np.int64)
        arrays.saved[slots] = totals
        first = np.maximum(saved, totals - limit)
        return first % limit, totals - first

    def seen_chunks(self, slot: int) -> list[tuple[int, bytes]]:
        """(chunk number, hashes) of every seen chunk: for a checkpoint."""
        ring = self.seen(slot)
        return [(at // SEEN_CHUNK, ring[at : at + SEEN_CHUNK].tobytes()) for at in range(0, len(ring), SEEN_CHUNK)]

    def seen_count(self, slot: int) -> int:
        """Number of distinct items seen (at most config.max_seen)."""
        return int(self.arrays.seen.length[slot])

    def history(self, slot: int) -> tuple[U64, U32]:
        """(item hashes uint64[k], event times uint32[k] in seconds), newest first."""
        pool = self.arrays.history
        at = int(pool.where[slot])
        end = at + int(pool.length[slot])
        return pool.keys[at:end][::-1], pool.values[at:end, 0][::-1]

    def drop(self, user: bytes) -> None:
        """Forget a user; nothing happens when it is not there."""
        slot = self.find(user)
        if slot < 0:
            return
        self._calm = 0
        self._index.remove(self._hashes[slot : slot + 1])
        self._hashes[slot] = 0
        for pool in (self.names, self.arrays.history, self.arrays.categories, self.arrays.seen):
            list_clear(pool, slot)
        self._free.append(slot)

    def name(self, slot: int) -> bytes:
        """Id of the user in a slot."""
        n = int(self.names.length[slot])
        at = int(self.names.where[slot])
        return words_key(self.names.keys[at : at + n])

    def users(self) -> Iterator[bytes]:
        """Ids of all users."""
        for slot in np.flatnonzero(self._hashes[: self._top]).tolist():
            yield self.name(slot)

    def trim(self) -> list[Evicted]:
        """Enforce the ceiling per features partition; returns the users forgotten.

        The users whose newest events are the oldest in their partition's log go, down to 98 % of the
        ceiling. It depends on the log alone, and is called between learning batches.
        """
        self.tidy()
        if self._index.size <= self._calm:
            return []
        ceiling = self.config.users_per_partition
        slots = np.flatnonzero(self._hashes[: self._top])
        touch = self.arrays.touch[slots]
        gone: list[Evicted] = []
        most = 0
        partitions = (touch >> np.uint64(48)).astype(np.int64)
        for partition in np.unique(partitions).tolist():
            mine = slots[partitions == partition]
            most = max(most, len(mine))
            if len(mine) <= ceiling:
                continue
            excess = len(mine) - int(ceiling * 0.98)
            order = np.argsort(self.arrays.touch[mine], kind="stable")
            gone += [
                Evicted(self.name(slot), slot, partition, -(-self.seen_count(slot) // SEEN_CHUNK))
                for slot in mine[order[:excess]].tolist()
            ]
        for one in gone:
            self.drop(one.user)
        # No partition can pass its ceiling before the table has grown by what the fullest one has left.
        self._calm = 0 if gone else self._index.size + ceiling - most
        return gone

    def tidy(self) -> None:
        """Give idle list memory back; between batches, `trim` does it."""
        for pool in (self.names, self.arrays.history, self.arrays.categories, self.arrays.seen):
            list_tidy(pool)

    def nbytes(self) -> int:
        """Resident bytes of the users in use."""
        a = self.arrays
        pools = sum(list_bytes(pool) for pool in (self.names, a.history, a.categories, a.seen))
        fixed = a.vector.shape[1] * 4 + 4 + 8 + 4 + 4 + 8
        return int(self._index.nbytes + pools + len(self) * fixed)


def _cut(values: np.ndarray[Any, Any], ptr: I64 | None = None) -> list[bytes]:
    """The bytes of each row of a matrix, or of each values[ptr[i]:ptr[i + 1]]."""
    raw = values.tobytes()
    ends = (pointers([values.shape[1]] * len(values)) if ptr is None else ptr) * values.itemsize
    bounds = ends.tolist()
    return [raw[start:end] for start, end in pairwise(bounds)]


@lru_cache(maxsize=1 << 13)
def _hash(user: bytes) -> int:
    return int.from_bytes(blake2b(user, digest_size=8).digest(), "little") or 1


def _hashes(users: Sequence[bytes]) -> U64:
    """`_hash` of many users."""
    hashes = np.empty(len(users), np.uint64)
    hash_ids(*buffer_of(users), np.empty(WORK, np.uint64), hashes)
    return hashes


__all__ = ["BLOCKS", "SEEN_CHUNK", "UserArrays", "UserTable", "category_count", "history_push", "pointers", "seen_add"]
