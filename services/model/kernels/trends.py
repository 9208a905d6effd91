"""The most popular items at every half-life, kept in order while counts change.

Decay keeps the order of counts of one half-life, so an item's place is given by
log2(count) + anchor / half-life, which only its own events change.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from services.model.arrays import F32, F64, I32, I64, U64
from services.model.jit import allocating_kernel, kernel


class Trends(NamedTuple):
    """Per half-life the strongest rows, best first; of equals the lower hash first."""

    rows: I32
    """int32[m, limit] positions."""
    keys: F64
    """float64[m, limit] log2 of the count, carried to tick 0."""
    hashes: U64
    n: I64
    """int64[m]"""
    stale: I64
    """int64[m] 1 where a row that is not listed may belong in the list."""


@kernel
def trend_key(pop: F32, row: int, j: int, rate: F64) -> Any:
    """Place of a row in the order of half-life j; -inf when it has no events."""
    if pop[row, j] <= np.float32(0.0):
        return -np.inf
    return np.log2(np.float64(pop[row, j])) + np.float64(pop[row, len(rate)]) * rate[j]


@kernel
def _ahead(key: float, hash_: np.uint64, t: Trends, j: int, place: int) -> Any:
    other = t.keys[j, place]
    return key > other or (key == other and hash_ < t.hashes[j, place])


@kernel
def _move(t: Trends, j: int, to: int, source: int) -> None:
    t.rows[j, to], t.keys[j, to], t.hashes[j, to] = t.rows[j, source], t.keys[j, source], t.hashes[j, source]


@kernel
def _settle(t: Trends, j: int, place: int, row: int, key: float, hash_: np.uint64) -> int:
    """Put an entry that stands at `place` (whose content is lost) where it belongs."""
    while place > 0 and _ahead(key, hash_, t, j, place - 1):
        _move(t, j, place, place - 1)
        place -= 1
    while place + 1 < t.n[j] and not _ahead(key, hash_, t, j, place + 1):
        _move(t, j, place, place + 1)
        place += 1
    t.rows[j, place], t.keys[j, place], t.hashes[j, place] = row, key, hash_
    return place


@kernel
def _offer(t: Trends, j: int, row: int, key: float, hash_: np.uint64) -> None:
    """Take in a row that is not listed, if it is strong enough."""
    n, limit = t.n[j], t.rows.shape[1]
    if key == -np.inf or (n == limit and not _ahead(key, hash_, t, j, limit - 1)):
        return
    if n < limit:
        t.n[j] = n + 1
        n += 1
    _settle(t, j, n - 1, row, key, hash_)


@kernel
def _holds(ascending: I64, row: int) -> Any:
    at = np.searchsorted(ascending, row)
    return at < len(ascending) and ascending[at] == row


@allocating_kernel
def trend_updates(t: Trends, pop: F32, keys: U64, rows: I64, ascending: I64, rate: F64) -> None:
    """Put rows whose counts changed at their places in every list.

    Args:
        t: the lists.
        pop: float32[room, m + 1] counts and anchors.
        keys: uint64[room] hashes of the rows.
        rows: the rows, each once, by hash.
        ascending: the same by position.
        rate: float64[m] halvings per tick.
    """
    limit = t.rows.shape[1]
    old_rows, old_keys, old_hashes = np.empty(limit, np.int32), np.empty(limit), np.empty(limit, np.uint64)
    new_rows, new_keys = np.empty(len(rows), np.int64), np.empty(len(rows))
    for j in range(len(rate)):
        n = t.n[j]
        full = n == limit
        last_key, last_hash = -np.inf, np.uint64(0)
        if full:
            last_key, last_hash = t.keys[j, n - 1], t.hashes[j, n - 1]
        found = 0
        for row in rows:
            key = trend_key(pop, row, j, rate)
            # Behind the last entry of a full list there is no place.
            if key > last_key or (full and key == last_key and keys[row] <= last_hash):
                new_rows[found], new_keys[found] = row, -key
                found += 1
        order = np.argsort(new_keys[:found], kind="mergesort")
        kept = 0
        for i in range(n):
            if not _holds(ascending, t.rows[j, i]):
                old_rows[kept], old_keys[kept], old_hashes[kept] = t.rows[j, i], t.keys[j, i], t.hashes[j, i]
                kept += 1
        a = b = m = 0
        while m < limit and (a < kept or b < found):
            take_new = False
            if b < found:
                row, key = new_rows[order[b]], -new_keys[order[b]]
                take_new = a == kept or key > old_keys[a] or (key == old_keys[a] and keys[row] < old_hashes[a])
            if take_new:
                t.rows[j, m], t.keys[j, m], t.hashes[j, m] = row, key, keys[row]
                b += 1
            else:
                t.rows[j, m], t.keys[j, m], t.hashes[j, m] = old_rows[a], old_keys[a], old_hashes[a]
                a += 1
            m += 1
        t.n[j] = m
        if full and m < limit:
            # A listed row fell behind the last one, and perhaps behind rows that are not listed.
            t.stale[j] = 1


@kernel
def trend_remove(t: Trends, ascending: I64) -> None:
    """Forget rows, by position, that leave their positions."""
    for j in range(len(t.n)):
        n, kept = t.n[j], 0
        for i in range(n):
            if not _holds(ascending, t.rows[j, i]):
                _move(t, j, kept, i)
                kept += 1
        t.n[j] = kept
        if kept < n and n == t.rows.shape[1]:
            t.stale[j] = 1


@kernel
def trend_rename(t: Trends, rows: I64, new: I64) -> None:
    """Rows move to other positions with their counts."""
    for k in range(len(rows)):
        for j in range(len(t.n)):
            for i in range(t.n[j]):
                if t.rows[j, i] == rows[k]:
                    t.rows[j, i] = new[k]
                    break


@kernel
def trend_reset(t: Trends) -> bool:
    """Empty the stale lists; whether there was one."""
    any_stale = False
    for j in range(len(t.n)):
        if t.stale[j]:
            t.n[j] = 0
            any_stale = True
    return any_stale


@kernel
def trend_refill(t: Trends, pop: F32, keys: U64, start: int, end: int, rate: F64) -> None:
    """Offer the rows of a segment to the lists that were stale."""
    for j in range(len(rate)):
        if t.stale[j]:
            for row in range(start, end):
                if keys[row] != np.uint64(0):
                    _offer(t, j, row, trend_key(pop, row, j, rate), keys[row])
