"""Memory for rows: address space up to a ceiling, an id index, and pools of variable-length lists.

An arena reserves address space for its ceiling once and the operating system gives it pages as rows
are written. So a table never moves or copies itself when it grows, kernels keep valid pointers, and
resident memory is what the rows in use need.
"""

from __future__ import annotations

import mmap
import sys
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from services.model.arrays import I8, I32, I64, U64
from services.model.jit import allocating_kernel, kernel

_NORESERVE = 0x4000 if sys.platform == "linux" else 0
"""MAP_NORESERVE: pages that are never touched count against nothing."""
_FILL = 0.7
"""Fill of the id index at which it doubles."""
_TIDY_ENTRIES = 1 << 16
"""Idle entries below which a pool is left alone."""


def reserve(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array of zeros whose pages become resident when they are first written."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    if size == 0:
        return np.zeros(shape, kind)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        # A kernel without huge pages refuses the advice, which it does not need.
        with suppress(OSError):
            pages.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(pages, kind, size // kind.itemsize).reshape(shape)


@kernel
def index_find(keys: U64, slots: I32, key: np.uint64) -> Any:
    """Slot of a key, or -1. Linear probing; 0 marks an empty place."""
    mask = np.uint64(len(keys) - 1)
    mixed = key * np.uint64(0x9E3779B97F4A7C15)
    at = (mixed ^ (mixed >> np.uint64(32))) & mask
    while True:
        found = keys[at]
        if found == key:
            return np.int64(slots[at])
        if found == np.uint64(0):
            return np.int64(-1)
        at = (at + np.uint64(1)) & mask


@allocating_kernel
def index_find_many(keys: U64, slots: I32, wanted: U64) -> I64:
    """Slots of many keys."""
    out = np.empty(len(wanted), np.int64)
    for i in range(len(wanted)):
        out[i] = index_find(keys, slots, wanted[i])
    return out


@kernel
def _index_insert(keys: U64, slots: I32, new: U64, values: I64) -> int:
    """Insert or overwrite; returns how many keys were new."""
    mask = np.uint64(len(keys) - 1)
    added = 0
    for i in range(len(new)):
        mixed = new[i] * np.uint64(0x9E3779B97F4A7C15)
        at = (mixed ^ (mixed >> np.uint64(32))) & mask
        while keys[at] != np.uint64(0) and keys[at] != new[i]:
            at = (at + np.uint64(1)) & mask
        if keys[at] == np.uint64(0):
            added += 1
            keys[at] = new[i]
        slots[at] = values[i]
    return added


@kernel
def _index_remove(keys: U64, slots: I32, key: np.uint64) -> bool:
    """Remove by shifting the rest of the cluster back, so that no tombstones pile up."""
    mask = np.uint64(len(keys) - 1)
    one = np.uint64(1)
    mixed = key * np.uint64(0x9E3779B97F4A7C15)
    hole = (mixed ^ (mixed >> np.uint64(32))) & mask
    while keys[hole] != key:
        if keys[hole] == np.uint64(0):
            return False
        hole = (hole + one) & mask
    at = hole
    while True:
        at = (at + one) & mask
        if keys[at] == np.uint64(0):
            break
        mixed = keys[at] * np.uint64(0x9E3779B97F4A7C15)
        home = (mixed ^ (mixed >> np.uint64(32))) & mask
        if ((at - home) & mask) >= ((at - hole) & mask):
            keys[hole] = keys[at]
            slots[hole] = slots[at]
            hole = at
    keys[hole] = np.uint64(0)
    return True


@kernel
def _index_remove_many(keys: U64, slots: I32, gone: U64) -> int:
    """Remove keys; returns how many were there."""
    removed = 0
    for key in gone:
        removed += _index_remove(keys, slots, key)
    return removed


class HashIndex:
    """uint64 key -> int32 slot, open addressing. The key 0 cannot be stored."""

    def __init__(self, room: int = 64) -> None:
        size = 64
        while size * _FILL < room:
            size *= 2
        self.keys: U64 = np.zeros(size, np.uint64)
        self.slots: I32 = np.zeros(size, np.int32)
        self.size = 0

    def find(self, key: int) -> int:
        """Slot of one key, or -1."""
        return int(index_find(self.keys, self.slots, np.uint64(key)))

    def find_many(self, keys: U64) -> I64:
        """int64[n] slots, -1 where absent."""
        return index_find_many(self.keys, self.slots, keys)

    def insert(self, keys: U64, slots: I64) -> None:
        """Add or overwrite."""
        if (self.size + len(keys)) > _FILL * len(self.keys):
            old_keys, old_slots, size = self.keys, self.slots, len(self.keys)
            while (self.size + len(keys)) > _FILL * size:
                size *= 2
            self.keys, self.slots = np.zeros(size, np.uint64), np.zeros(size, np.int32)
            used = old_keys != 0
            _index_insert(self.keys, self.slots, old_keys[used], old_slots[used].astype(np.int64))
        self.size += _index_insert(self.keys, self.slots, keys, slots)

    def remove(self, keys: U64) -> int:
        """Forget keys; returns how many were there."""
        removed = _index_remove_many(self.keys, self.slots, keys)
        self.size -= removed
        return removed

    @property
    def nbytes(self) -> int:
        """Resident bytes."""
        return self.keys.nbytes + self.slots.nbytes


class Lists(NamedTuple):
    """The arrays of a list pool, in the form that kernels take.

    Row r has length[r] entries at where[r]. Entries of a size class lie together; a class has room
    for every row of the pool, so an allocation cannot fail.
    """

    where: I64
    length: I32
    size_class: I8
    """Size class + 1; 0 = no room yet."""
    sizes: I64
    bases: I64
    top: I64
    """Places handed out so far, per class."""
    free: I64
    """1 + ordinal of the first free place, per class; each free place names the next in its key."""
    idle: I64
    """Free places, per class."""
    keys: Any
    """uint32 or uint64[total]"""
    values: Any
    """float32 or uint32[total, m]"""


def size_classes(limit: int) -> list[int]:
    """Capacities of lists: steps of at most 1/2, so that little of a list stays empty."""
    sizes, size = [], 1
    while size < limit:
        sizes.append(size)
        size = max(size + 1, size * 5 // 4)
    return [*sizes, limit]


def list_pool(rows: int, limit: int, key: npt.DTypeLike, width: int, value: npt.DTypeLike = np.float32) -> Lists:
    """A pool of `rows` lists of at most `limit` entries: a key and `width` values each."""
    sizes = np.array(size_classes(limit), np.int64)
    bases = np.concatenate([[0], np.cumsum(sizes * rows)]).astype(np.int64)
    return Lists(
        reserve((rows,), np.int64),
        reserve((rows,), np.int32),
        reserve((rows,), np.int8),
        sizes,
        bases[:-1].copy(),
        np.zeros(len(sizes), np.int64),
        np.zeros(len(sizes), np.int64),
        np.zeros(len(sizes), np.int64),
        reserve((int(bases[-1]),), key),
        reserve((int(bases[-1]) if width else 0, width), value),
    )


def list_bytes(pool: Lists) -> int:
    """Resident bytes of the places handed out (freed ones included) and of a row header for each."""
    entry = int(pool.keys.itemsize + pool.values.itemsize * pool.values.shape[1])
    header = pool.where.itemsize + pool.length.itemsize + pool.size_class.itemsize
    return int((pool.top * pool.sizes).sum()) * entry + int(pool.top.sum()) * header


@kernel
def list_reserve(pool: Lists, row: int, n: int) -> None:
    """Give a row room for n entries (n <= limit), keeping its entries."""
    old = pool.size_class[row] - 1
    if old >= 0 and pool.sizes[old] >= n:
        return
    new = 0
    while pool.sizes[new] < n:
        new += 1
    if pool.free[new] > 0:
        ordinal = pool.free[new] - 1
        pool.free[new] = np.int64(pool.keys[pool.bases[new] + ordinal * pool.sizes[new]])
        pool.idle[new] -= 1
    else:
        ordinal = pool.top[new]
        pool.top[new] += 1
    to = pool.bases[new] + ordinal * pool.sizes[new]
    if old >= 0:
        source = pool.where[row]
        for i in range(pool.length[row]):
            pool.keys[to + i] = pool.keys[source + i]
            for j in range(pool.values.shape[1]):
                pool.values[to + i, j] = pool.values[source + i, j]
        pool.keys[source] = pool.free[old]
        pool.free[old] = 1 + (source - pool.bases[old]) // pool.sizes[old]
        pool.idle[old] += 1
    pool.where[row] = to
    pool.size_class[row] = new + 1


@kernel
def list_clear(pool: Lists, row: int) -> None:
    """Empty a row and give its room back."""
    old = pool.size_class[row] - 1
    if old >= 0:
        source = pool.where[row]
        pool.keys[source] = pool.free[old]
        pool.free[old] = 1 + (source - pool.bases[old]) // pool.sizes[old]
        pool.idle[old] += 1
    pool.size_class[row] = 0
    pool.length[row] = 0


@kernel
def _idle_entries(pool: Lists) -> Any:
    """Entries of free places when they are a fifth of all and worth the work, else 0."""
    total = idle = 0
    for c in range(len(pool.sizes)):
        total += pool.top[c] * pool.sizes[c]
        idle += pool.idle[c] * pool.sizes[c]
    return idle if idle * 5 > total and idle > _TIDY_ENTRIES else 0


@allocating_kernel
def _pack(pool: Lists) -> None:
    """Move lists from the ends of the classes into free places, so that the free ones are at the ends."""
    used = pool.top - pool.idle
    classes = len(used)
    open_places = np.zeros(classes + 1, np.int64)
    for c in range(classes):
        open_places[c + 1] = open_places[c] + min(used[c], pool.idle[c])
    holes = np.zeros(open_places[classes], np.int64)
    count = np.zeros(classes, np.int64)
    for c in range(classes):
        at = pool.free[c]
        while at > 0:
            if at - 1 < used[c]:
                holes[open_places[c] + count[c]] = at - 1
                count[c] += 1
            at = np.int64(pool.keys[pool.bases[c] + (at - 1) * pool.sizes[c]])
    for row in range(len(pool.where)):
        c = pool.size_class[row] - 1
        if c < 0:
            continue
        source = pool.where[row]
        if (source - pool.bases[c]) // pool.sizes[c] < used[c]:
            continue
        count[c] -= 1
        to = pool.bases[c] + holes[open_places[c] + count[c]] * pool.sizes[c]
        for i in range(pool.length[row]):
            pool.keys[to + i] = pool.keys[source + i]
            for j in range(pool.values.shape[1]):
                pool.values[to + i, j] = pool.values[source + i, j]
        pool.where[row] = to
    pool.top[:] = used
    pool.free[:] = 0
    pool.idle[:] = 0


def list_tidy(pool: Lists) -> None:
    """Give idle memory back to the system when much of the pool is free places.

    Lists that grow leave places behind in the smaller classes. Positions of entries change; what the
    lists hold does not. To be called between batches.
    """
    if not _idle_entries(pool):
        return
    _pack(pool)
    for array in (pool.keys, pool.values):
        width = array.itemsize * (array.shape[1] if array.ndim > 1 else 1)
        ends = pool.bases + pool.sizes * pool.top
        for start, end in zip(ends.tolist(), [*pool.bases[1:].tolist(), len(array)], strict=True):
            _release(array, start * width, end * width)


def _release(array: npt.NDArray[Any], start: int, end: int) -> None:
    """Give the whole pages of a byte range of a reserved array back; they read as zeros again."""
    pages: Any = array
    while isinstance(pages, np.ndarray) and pages.base is not None:
        pages = pages.base
    buffer = pages.obj if isinstance(pages, memoryview) else pages
    first, last = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
    if isinstance(buffer, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") and first < last:
        buffer.madvise(mmap.MADV_DONTNEED, first, last - first)


@kernel
def list_append(pool: Lists, row: int, key: Any) -> Any:
    """Append one entry below the limit; returns where it stands, for its values."""
    n = pool.length[row]
    list_reserve(pool, row, n + 1)
    at = pool.where[row] + n
    pool.keys[at] = key
    pool.length[row] = n + 1
    return at


@kernel
def list_room(pool: Lists, row: int, wanted: int) -> Any:
    """Give a row a new list of as many entries, at most the limit, to be filled in; returns (place, entries)."""
    n = min(wanted, pool.sizes[len(pool.sizes) - 1])
    list_clear(pool, row)
    if n > 0:
        list_reserve(pool, row, n)
        pool.length[row] = n
    return pool.where[row], n


@kernel
def lists_set(pool: Lists, rows: I64, ptr: I64, keys: Any) -> None:
    """Replace the lists of rows by keys[ptr[i]:ptr[i + 1]] (at most the limit of each)."""
    for i in range(len(rows)):
        at, n = list_room(pool, rows[i], ptr[i + 1] - ptr[i])
        for j in range(n):
            pool.keys[at + j] = keys[ptr[i] + j]


@kernel
def lists_get(pool: Lists, rows: I64, ptr: I64, keys: Any) -> None:
    """Copy the lists of rows to keys[ptr[i]:ptr[i + 1]], where ptr follows from `length`."""
    for i in range(len(rows)):
        at = pool.where[rows[i]]
        for j in range(ptr[i + 1] - ptr[i]):
            keys[ptr[i] + j] = pool.keys[at + j]


@kernel
def valued_set(pool: Lists, rows: I64, ptr: I64, keys: Any, values: Any) -> None:
    """`lists_set` with the one value of every entry; of lists past the limit the last entries stay."""
    for i in range(len(rows)):
        at, n = list_room(pool, rows[i], ptr[i + 1] - ptr[i])
        for j in range(n):
            pool.keys[at + j] = keys[ptr[i + 1] - n + j]
            pool.values[at + j, 0] = values[ptr[i + 1] - n + j]


@kernel
def valued_get(pool: Lists, rows: I64, ptr: I64, keys: Any, values: Any) -> None:
    """`lists_get` with the one value of every entry."""
    lists_get(pool, rows, ptr, keys)
    for i in range(len(rows)):
        at = pool.where[rows[i]]
        for j in range(ptr[i + 1] - ptr[i]):
            values[ptr[i] + j] = pool.values[at + j, 0]


def pointers(lengths: Any) -> I64:
    """int64[n + 1] offsets of consecutive lists."""
    ptr = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=ptr[1:])
    return ptr
