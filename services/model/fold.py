"""The rules by which a delta becomes part of a row: the same kernels at owners, replicas and rebuilds.

    sum       x' = x + d
    decayed   a' = max(a, ad);  c' = c 2^((a - a')·T/h) + d 2^((ad - a')·T/h)       T = TICK_S
    adagrad   s = min(1, sqrt(A_seen / (A + dA)));  x' = x + s·d;  A' = A + dA      (per group)
    pairs     the decayed rule per (row, neighbour); a full list gives way at its weakest entry
    replace   the new list

Every kernel skips deltas whose target row is -1.
"""

from __future__ import annotations

import numpy as np

from services.model.arena import Lists, list_append, list_clear, list_reserve
from services.model.arrays import F32, F64, I64, U32, U64
from services.model.jit import kernel
from services.model.layout import TICK_S, Block


def rates(block: Block) -> F64:
    """float64[m] halvings per tick of a decayed or pairs block; 0 = no decay."""
    return np.array([TICK_S / h if h else 0.0 for h in block.halflives_s], np.float64)


@kernel
def decay(ticks: float, rate: float) -> np.float32:
    """2^(-ticks·rate) for ticks >= 0."""
    if rate == 0.0 or ticks == 0.0:
        return np.float32(1.0)
    return np.float32(2.0 ** (-ticks * rate))


@kernel
def fold_sum(data: F32, rows: I64, deltas: F32) -> None:
    """Add."""
    for i in range(len(rows)):
        row = rows[i]
        if row >= 0:
            for j in range(data.shape[1]):
                data[row, j] += deltas[i, j]


@kernel
def decayed_add(stored: F32, delta: F32, rate: F64) -> None:
    """Fold one decayed delta float32[m + 1] into a stored row float32[m + 1]."""
    m = len(rate)
    anchor, other = stored[m], delta[m]
    newest = max(anchor, other)
    for j in range(m):
        stored[j] = stored[j] * decay(newest - anchor, rate[j]) + delta[j] * decay(newest - other, rate[j])
    stored[m] = newest


@kernel
def fold_decayed(data: F32, rows: I64, deltas: F32, rate: F64) -> None:
    """Bring both sides to the newer anchor and add."""
    for i in range(len(rows)):
        if rows[i] >= 0:
            decayed_add(data[rows[i]], deltas[i], rate)


@kernel
def fold_adagrad(data: F32, acc: F32, rows: I64, deltas: F32) -> None:
    """Add, rescaled to the accumulator that the owner has reached."""
    width, groups = data.shape[1], acc.shape[1]
    size = width // groups
    for i in range(len(rows)):
        row = rows[i]
        if row < 0:
            continue
        for g in range(groups):
            grown = acc[row, g] + deltas[i, width + g]
            seen = deltas[i, width + groups + g]
            scale = np.float32(1.0)
            if seen < grown:
                scale = np.sqrt(seen / grown)
            acc[row, g] = grown
            for j in range(g * size, (g + 1) * size):
                data[row, j] += scale * deltas[i, j]


@kernel
def pair_add(pool: Lists, anchors: F32, row: int, neighbour: np.uint64, delta: F32, rate: F64) -> None:
    """Fold one neighbour's counts float32[m + 1] into a list.

    A neighbour that finds the list full takes the place of the weakest entry (lowest first count,
    the earliest of equals) when it is at least as strong; otherwise it weakens that entry by its own
    strength, so that a newcomer that keeps coming gets in.
    """
    m = len(rate)
    limit = pool.sizes[len(pool.sizes) - 1]
    n, at = pool.length[row], pool.where[row]
    newest = max(anchors[row], delta[m])
    if newest > anchors[row]:
        for j in range(m):
            if rate[j] != 0.0:
                factor = decay(newest - anchors[row], rate[j])
                for i in range(at, at + n):
                    pool.values[i, j] *= factor
        anchors[row] = newest
    place = -1
    for i in range(at, at + n):
        if pool.keys[i] == neighbour:
            place = i
            break
    if place < 0 and n < limit:
        place = list_append(pool, row, neighbour)
        for j in range(m):
            pool.values[place, j] = np.float32(0.0)
    elif place < 0:
        weakest = at
        for i in range(at + 1, at + n):
            if pool.values[i, 0] < pool.values[weakest, 0]:
                weakest = i
        strength = delta[0] * decay(newest - delta[m], rate[0])
        if strength < pool.values[weakest, 0]:
            left = (pool.values[weakest, 0] - strength) / pool.values[weakest, 0]
            for j in range(m):
                pool.values[weakest, j] *= left
            return
        place = weakest
        pool.keys[place] = neighbour
        for j in range(m):
            pool.values[place, j] = np.float32(0.0)
    for j in range(m):
        pool.values[place, j] += delta[j] * decay(newest - delta[m], rate[j])


@kernel
def fold_pairs(pool: Lists, anchors: F32, rows: I64, neighbours: U64, deltas: F32, rate: F64) -> None:
    """Fold neighbour counts, in the order of the deltas."""
    for i in range(len(rows)):
        if rows[i] >= 0:
            pair_add(pool, anchors, rows[i], neighbours[i], deltas[i], rate)


@kernel
def fold_replace(pool: Lists, rows: I64, words: U32) -> None:
    """Set lists of uint32; the deltas of a row are consecutive."""
    limit = pool.sizes[len(pool.sizes) - 1]
    i = 0
    while i < len(rows):
        end = i + 1
        while end < len(rows) and rows[end] == rows[i]:
            end += 1
        row, n = rows[i], min(end - i, limit)
        if row >= 0:
            list_clear(pool, row)
            list_reserve(pool, row, n)
            for j in range(n):
                pool.keys[pool.where[row] + j] = words[i + j]
            pool.length[row] = n
        i = end
