"""Exact top-K of many users over all items: blocked matrix products and running thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from services.model.arrays import F32, F64, I64, U64
from services.model.jit import kernel
from services.model.kernels.vectors import LANES, dot, exp_one

BLOCK = 4096
"""Rows scored at a time: a block of scores for 64 users stays in the second-level cache."""

Segments = Sequence[tuple[int, int]]
"""Ranges of positions [start, end) that hold rows."""


class Best(NamedTuple):
    """The best items so far of each query: a min-heap, so that the weakest is at hand."""

    scores: F32
    """float32[n_queries, k]"""
    rows: I64
    """int64[n_queries, k]"""
    size: I64
    """int64[n_queries]"""
    peak: F32
    """float32[n_queries] highest score met, and float64 sum of exp(score - peak): the normaliser."""
    mass: F64


def best(queries: int, k: int) -> Best:
    """Nothing yet."""
    return Best(
        np.full((queries, k), -np.inf, np.float32),
        np.full((queries, k), -1, np.int64),
        np.zeros(queries, np.int64),
        np.full(queries, -np.inf, np.float32),
        np.zeros(queries, np.float64),
    )


@kernel
def _weaker(score: float, row: int, other_score: float, other_row: int) -> bool:
    """Order of the heap: the lower score, of equals the higher position."""
    return score < other_score or (score == other_score and row > other_row)


@kernel
def push(scores: F32, rows: I64, size: I64, query: int, score: float, row: int) -> None:
    """Keep an item if it is among the k best of a query."""
    k = scores.shape[1]
    s, r = scores[query], rows[query]
    if size[query] < k:
        at = size[query]
        size[query] += 1
        while at > 0:
            up = (at - 1) // 2
            if not _weaker(score, row, s[up], r[up]):
                break
            s[at], r[at] = s[up], r[up]
            at = up
        s[at], r[at] = score, row
        return
    if k == 0 or not _weaker(s[0], r[0], score, row):
        return
    at = 0
    while True:
        child = 2 * at + 1
        if child >= k:
            break
        if child + 1 < k and _weaker(s[child + 1], r[child + 1], s[child], r[child]):
            child += 1
        if not _weaker(s[child], r[child], score, row):
            break
        s[at], r[at] = s[child], r[child]
        at = child
    s[at], r[at] = score, row


@kernel
def excluded(lists: I64, start: int, end: int, row: int) -> bool:
    """Whether a sorted range holds a row."""
    while start < end:
        middle = (start + end) // 2
        if lists[middle] < row:
            start = middle + 1
        elif lists[middle] > row:
            end = middle
        else:
            return True
    return False


@kernel
def offer(found: Best, block: F32, first: int, ptr: I64, lists: I64) -> None:
    """Keep the best of the scores float32[n_queries, n] of the rows from `first` on.

    Rows come in ascending order, so a row that equals the weakest one kept loses to it. Holes have the
    score -inf. Excluded rows (sorted in lists[ptr[q]:ptr[q + 1]]) are not kept.
    """
    k = found.scores.shape[1]
    for q in range(block.shape[0]):
        floor = np.float32(-np.inf)
        if found.size[q] == k:
            floor = found.scores[q, 0]
        for i in range(block.shape[1]):
            if block[q, i] <= floor:
                continue
            if not excluded(lists, ptr[q], ptr[q + 1], first + i):
                push(found.scores, found.rows, found.size, q, block[q, i], first + i)
                if found.size[q] == k:
                    floor = found.scores[q, 0]


@kernel
def weigh(scores: F32, n: int, peak: F32, terms: F32, ones: F32, mass: F64) -> None:
    """Add the sum of exp(score - peak) over the first n scores of each query to its mass.

    Args:
        scores: float32[n_queries, block]; -inf counts as 1e-26.
        n: how many are there.
        peak: float32[n_queries] no score is higher.
        terms: float32[1, width] scratch; the width is that of a block, rounded up to whole lanes.
        ones: float32[1, width]
        mass: float64[n_queries]
    """
    for q in range(len(mass)):
        top = peak[q]
        for i in range(n):
            terms[0, i] = exp_one(scores[q, i] - top)
        for i in range(n, terms.shape[1]):
            terms[0, i] = np.float32(0.0)
        mass[q] += np.float64(dot(terms, 0, ones, 0))


def top_k(z: F32, q: F32, b: F32, keys: U64, segments: Segments, k: int, ptr: I64, lists: I64) -> Best:
    """The k best rows of each query by b + z·q, exactly, with the softmax normaliser over all rows.

    z float32[n_queries, d]; q float32[room, d]; b float32[room]; keys uint64[room] (0 = hole), of which
    the rows inside `segments` (ascending) count; the excluded rows of query i are
    lists[ptr[i]:ptr[i + 1]], sorted; they count in the normaliser. k >= 1.
    """
    found = best(len(z), k)
    scores = np.empty((len(z), BLOCK), np.float32)
    terms, ones = np.zeros((2, 1, -(-BLOCK // LANES) * LANES), np.float32)
    ones += 1.0
    for start, end in segments:
        for first in range(start, end, BLOCK):
            part = slice(first, min(first + BLOCK, end))
            n = part.stop - first
            block = scores[:, :n]
            np.matmul(z, q[part].T, out=block)
            block += b[part]
            holes = np.flatnonzero(keys[part] == 0)
            if len(holes) == n:
                continue
            block[:, holes] = -np.inf
            peak = np.maximum(found.peak, block.max(axis=1))
            found.mass[:] *= np.exp((found.peak - peak).astype(np.float64))
            found.peak[:] = peak
            weigh(scores, n, peak, terms, ones, found.mass)
            offer(found, block, first, ptr, lists)
    return found


def ranked(found: Best, query: int) -> tuple[F32, I64]:
    """(scores, rows) of a query, best first; of equals the lower position first."""
    n = int(found.size[query])
    scores, rows = found.scores[query, :n], found.rows[query, :n]
    order = np.lexsort((rows, -scores))
    return scores[order], rows[order]
