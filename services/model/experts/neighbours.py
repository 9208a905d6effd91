"""The neighbour lists behind co-visitation and transition: summing them for a user, and learning them.

For a user with history h_0 (newest), h_1, ... every item x in the lists of the newest items gets

    0 sum_k 0.8^k C[h_k, x] / sum C[h_k]              5 T[h_2 -> x] / sum T[h_2]
    1 sum_k 0.8^k C[h_k, x] / sqrt(sum C[h_k] + 5)    6 as 0, decayed counts
    2 C[h_0, x] / sqrt(sum C[h_0] + 5)                7 as 3, decayed counts
    3 T[h_0 -> x] / sum T[h_0]                        8 strictly next: N[h_0 -> x] / sum N[h_0]
    4 T[h_1 -> x] / sum T[h_1]                        9 T[x -> h_0]

where C counts co-visits, T transitions at 1/(1+place), N immediate transitions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from services.model.arena import index_find
from services.model.arrays import F32, I64, U32, U64
from services.model.fold import REVERSE, pair_add, pair_code
from services.model.jit import inline, kernel
from services.model.kernels.prefetch import fetch_list, prefetch
from services.model.kernels.spot import spot_clear, spot_find, spot_put
from services.model.kernels.view import CHANNELS, View, Work

DECAY = 0.8
"""Weight of one place further back in the history."""
SMOOTHING = 5.0
"""Added to the sums under the square root of the cosine."""


class PairLog(NamedTuple):
    """The pairs of a batch, in the order in which they were counted."""

    rows: I64
    neighbours: U64
    weights: F32
    codes: U32
    n: I64


@inline
def _inverse(total: np.float32) -> np.float32:
    return np.float32(1.0) / max(total, np.float32(1e-9))


@kernel
def prepare(v: View, w: Work, found: int) -> int:
    """Sum the lists of the newest `found` history items; returns how many items they name. Those that the user may not
    get have no row, as those that the replica does not hold."""
    spot_clear(w.near)
    touched = 0
    decayed = np.float32(1.0)
    for k in range(found):
        h = w.rows[k]
        if k + 1 < found:
            _fetch(v, w.rows[k + 1])
        if h >= 0 and v.near.length[h] > 0:
            plain = _inverse(v.sums[h, 1])
            root = np.float32(1.0) / np.sqrt(v.sums[h, 1] + np.float32(SMOOTHING))
            ahead, following = _inverse(v.sums[h, 2]), _inverse(v.sums[h, 4])
            recent, recent_ahead = _inverse(v.sums[h, 5]), _inverse(v.sums[h, 6])
            at = v.near.where[h]
            for i in range(at, at + v.near.length[h]):
                key = v.near.keys[i]
                place = spot_put(w.near, key, touched)
                s = w.near_sum[place]
                if place == touched:
                    w.near_hash[place] = key
                    touched += 1
                    for j in range(CHANNELS):
                        s[j] = np.float32(0.0)
                count = v.near.values[i, 0]
                s[0] += decayed * count * plain
                s[1] += decayed * count * root
                s[6] += decayed * v.near.values[i, 4] * recent
                if k == 0:
                    s[2] = count * root
                    s[3] = v.near.values[i, 1] * ahead
                    s[7] = v.near.values[i, 5] * recent_ahead
                    s[8] = v.near.values[i, 3] * following
                    s[9] = v.near.values[i, 2]
                elif k < 3:
                    s[3 + k] = v.near.values[i, 1] * ahead
        decayed *= np.float32(DECAY)
    for place in range(touched):
        key = w.near_hash[place]
        w.near_row[place] = -1 if spot_find(w.seen, key) >= 0 else index_find(v.index_keys, v.index_slots, key)
    return touched


@inline
def _fetch(v: View, row: int) -> None:
    """Ask for the list and the sums of an item, -1 = none."""
    if row >= 0:
        prefetch(v.sums, row * v.sums.shape[1])
        fetch_list(v.near, row)


@kernel
def fetch(v: View, w: Work, found: int) -> None:
    """Ask for the lists of the newest `found` history items, which `learn` will count in."""
    for k in range(found):
        _fetch(v, w.rows[k])


@kernel
def learn(v: View, w: Work, log: PairLog, row: int, item: np.uint64, found: int, weight: float, second: int) -> None:
    """Count the item with the newest `found` history items, in the lists of both, and note it."""
    tick = second // 128
    strength = np.float32(weight)
    for k in range(found):
        h, key = w.rows[k], w.hashes[k]
        if key == item:
            continue
        if h >= 0:
            code = pair_code(k, tick)
            pair_add(v.near, v.sums, h, item, strength, code, v.near_rate)
            _note(log, h, item, strength, code)
        code = pair_code(k + REVERSE, tick)
        pair_add(v.near, v.sums, row, key, strength, code, v.near_rate)
        _note(log, row, key, strength, code)


@inline
def _note(log: PairLog, row: int, neighbour: np.uint64, weight: np.float32, code: np.uint32) -> None:
    n = log.n[0]
    log.rows[n], log.neighbours[n], log.weights[n], log.codes[n] = row, neighbour, weight, code
    log.n[0] = n + 1
