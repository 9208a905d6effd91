"""The rules by which a delta becomes part of a row: the same kernels at owners, replicas and rebuilds.

    sum       x' = x + d;  where the row's sum passes a cap C: x' *= C / sum
    decayed   a' = max(a, ad);  c' = c 2^((a - a')·T/h) + d 2^((ad - a')·T/h)       T = TICK_S
    adagrad   A' = A + dA;  s = min(1, (sqrt(A_seen) + sqrt(A_seen - dA)) / (sqrt(A') + sqrt(A)))
              / (1 + c·(A' - A_seen) / sqrt(A'));  x' = x + s·d           (per group; c: Block.crowding)
    pairs     increments follow from (weight, place, tick); a full list gives way at its weakest entry
    replace   the new list

Every kernel skips deltas whose target row is -1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from services.model.arena import Lists, list_append, list_clear, list_reserve
from services.model.arrays import F32, F64, I64, U32, U64
from services.model.jit import kernel
from services.model.kernels.halves import from_halves, to_halves
from services.model.layout import TICK_S, Block


def rates(block: Block) -> F64:
    """float64[m] halvings per tick of a decayed or pairs block; 0 = no decay."""
    return np.array([TICK_S / h if h else 0.0 for h in block.halflives_s], np.float64)


def pack(deltas: F32, block: Block) -> F32:
    """Adagrad deltas as they travel: the parameter differences as float16, two in a float32's place."""
    if not block.packed:
        return deltas
    packed = np.empty((len(deltas), block.delta_width), np.float32)
    packed[:, block.width // 2 :] = deltas[:, block.width :]
    to_halves(deltas, block.width, packed.view(np.uint16))
    return packed


def unpack(deltas: F32, block: Block) -> F32:
    """The inverse of `pack`, at the precision that travelled."""
    if not block.packed:
        return deltas
    unpacked = np.empty((len(deltas), deltas.shape[1] + block.width - block.width // 2), np.float32)
    unpacked[:, block.width :] = deltas[:, block.width // 2 :]
    from_halves(np.ascontiguousarray(deltas).view(np.uint16), block.width, unpacked.view(np.uint32))
    return unpacked


@kernel
def decay(ticks: float, rate: float) -> np.float32:
    """2^(-ticks·rate) for ticks >= 0."""
    if rate == 0.0 or ticks == 0.0:
        return np.float32(1.0)
    return np.float32(np.exp2(-ticks * rate))


@kernel
def fold_sum(data: F32, rows: I64, deltas: F32, cap: float) -> None:
    """Add; cap > 0 bounds the sum of a row."""
    for i in range(len(rows)):
        row = rows[i]
        if row < 0:
            continue
        total = np.float32(0.0)
        for j in range(data.shape[1]):
            data[row, j] += deltas[i, j]
            total += data[row, j]
        if cap > 0.0 and total > np.float32(cap):
            scale = np.float32(cap) / total
            for j in range(data.shape[1]):
                data[row, j] *= scale


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
def fold_adagrad(data: F32, acc: F32, rows: I64, deltas: F32, crowding: float) -> None:
    """Add, rescaled to the accumulator that the owner has reached.

    Adagrad moves by the integral of g/sqrt(A) while A grows by g², that is by 2·(sqrt(A_end) - sqrt(A_start))
    for gradients of one direction. The scale is the ratio of that for the owner's A and for the sender's:
    many shards that push the same way end where one shard that saw all their events would have ended.

    Parameters that every event pulls towards an optimum need more than that: shards that start from the same row
    each go most of the way, and the sum overshoots. In a softmax the mean g² is the curvature, so what the others
    have gone of the way grows with their part of the accumulator, A' - A_seen, times the step 1/sqrt(A').
    """
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
                start = max(seen - deltas[i, width + g], np.float32(0.0))
                root = np.sqrt(grown)
                scale = min(scale, (np.sqrt(seen) + np.sqrt(start)) / (root + np.sqrt(acc[row, g])))
                scale /= np.float32(1.0) + np.float32(crowding) * (grown - seen) / root
            acc[row, g] = grown
            for j in range(g * size, (g + 1) * size):
                data[row, j] += scale * deltas[i, j]


PLACES = 32
"""Ceiling of places in a history that pairs are counted for."""
TRANSITIONS = 5
"""Newest places that count as transitions."""
REVERSE = 32
"""Added to the place in the entry that the later item keeps of the earlier one."""
_KEEP_ANCHOR = 4.0
"""Halvings that an anchor may lag behind before the list is brought up to date."""


@kernel
def pair_code(place: int, tick: int) -> np.uint32:
    """(place in the history, newest 0; tick) in 32 bits: what a pair's increments follow from."""
    return np.uint32((np.uint32(place) << np.uint32(24)) | np.uint32(tick & 0xFFFFFF))


@kernel
def _weakest(values: F32, shrunk: np.float32) -> Any:
    """The first entry float32[n, 6] with the lowest plain and decayed co-visits together; n >= 1, counts are >= 0."""
    # Floats that are not negative have the order of their bits: with the place behind them, the least is found without
    # a branch for each entry.
    weakest = np.int64(0x7FFF_FFFF_FFFF_FFFF)
    for i in range(len(values)):
        strength = np.float32(values[i, 0] + values[i, 4] * shrunk)
        weakest = min(weakest, (np.int64(strength.view(np.int32)) << 32) | i)
    return weakest & 0xFFFF_FFFF


@kernel
def pair_add(
    pool: Lists, data: F32, row: int, neighbour: np.uint64, weight: np.float32, code: np.uint32, rate: F64
) -> None:
    """Count one event of a pair in the list of `row`.

    data float32[rooms, 1 + m] holds the anchor and the sums over all neighbours. The counts are
    co-visits, h -> x at 1/(1+place), x -> h at 1/(1+place), strictly next, and the first two decayed.
    They are kept as of the anchor and newer events weigh more than 1, so that an event touches one
    entry; the list is brought up to date when the anchor lags behind by a few half-lives. A neighbour
    that finds the list full takes the place of the weakest entry (lowest plain and decayed co-visits
    together, the earliest of equals).
    """
    place, tick = np.int64(code >> np.uint32(24)), np.float64(code & np.uint32(0xFFFFFF))
    anchor = np.float64(data[row, 0])
    n, at = pool.length[row], pool.where[row]
    if anchor == 0.0:
        anchor = tick
        data[row, 0] = np.float32(tick)
    halvings = (tick - anchor) * rate[4]
    if halvings > _KEEP_ANCHOR:
        factor = np.float32(np.exp2(-halvings))
        data[row, 0] = np.float32(tick)
        for j in range(4, 6):
            data[row, 1 + j] *= factor
            for i in range(at, at + n):
                pool.values[i, j] *= factor
        halvings = 0.0
    grown = np.float32(np.exp2(max(halvings, -60.0)))
    step = np.float32(0.0)
    back = place >= REVERSE
    k = place - REVERSE if back else place
    if k < TRANSITIONS:
        step = weight / np.float32(1 + k)
    # Every key is looked at, so that the loop fills the lanes: faster than to stop where it is found.
    keys, found = pool.keys[at : at + n], -1
    for i in range(n):
        found = max(found, i if keys[i] == neighbour else -1)
    if found >= 0:
        found += at
    else:
        limit = pool.sizes[len(pool.sizes) - 1]
        if n < limit:
            found = list_append(pool, row, neighbour)
        else:
            found = at + _weakest(pool.values[at : at + n], np.float32(1.0) / grown)
            pool.keys[found] = neighbour
        for j in range(6):
            pool.values[found, j] = np.float32(0.0)
    pool.values[found, 0] += weight
    data[row, 1] += weight
    pool.values[found, 4] += weight * grown
    data[row, 5] += weight * grown
    if back:
        pool.values[found, 2] += step
        data[row, 3] += step
    else:
        pool.values[found, 1] += step
        data[row, 2] += step
        pool.values[found, 5] += step * grown
        data[row, 6] += step * grown
        if k == 0:
            pool.values[found, 3] += weight
            data[row, 4] += weight


@kernel
def fold_pairs(pool: Lists, data: F32, rows: I64, neighbours: U64, weights: F32, codes: U32, rate: F64) -> None:
    """Count pairs, in the order of the deltas."""
    for i in range(len(rows)):
        if rows[i] >= 0:
            pair_add(pool, data, rows[i], neighbours[i], weights[i], codes[i], rate)


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
