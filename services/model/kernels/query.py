"""Who asks, and when: the user's newest items, the buckets, and the query vector of the factors.

z = P_u + a1[gap]·h1 + a2[gap]·h2        h_i = sum_k gamma_i^k V[h_k] / sqrt(sum_k gamma_i^k)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from services.model.arena import index_find
from services.model.jit import kernel
from services.model.kernels.users import UserArrays
from services.model.kernels.vectors import combine
from services.model.kernels.view import Setup, View, Work
from services.model.layout import GAPS

MINUTE, HOUR, DAY = 60, 3600, 86400
LOOKED_UP = 32
"""Newest items whose rows every query finds: as many as pairs may be counted with, and content reads fewer."""


@kernel
def length_bucket(n: int) -> int:
    """Bucket of history length: 0, 1-2, 3-5, 6-10, 11-20, 21-50, more."""
    if n == 0:
        return 0
    bucket = 1
    for end in (2, 5, 10, 20, 50):
        if n > end:
            bucket += 1
    return bucket


@kernel
def gap_bucket(seconds: int) -> int:
    """Bucket of the time since the user's last event: up to a minute, an hour, a day, a week, more."""
    bucket = 0
    for end in (MINUTE, HOUR, DAY, 7 * DAY):
        if seconds > end:
            bucket += 1
    return bucket


@kernel
def query(v: View, users: UserArrays, setup: Setup, user: int, second: int, w: Work) -> Any:
    """Fill the history and z of a user (-1: nobody); returns (items in the history, bucket, gap)."""
    width = v.v.shape[1]
    for j in range(width):
        w.z[0, j] = w.h1[0, j] = w.h2[0, j] = np.float32(0.0)
    if user < 0:
        return 0, GAPS - 1, GAPS - 1
    history = users.history
    length = int(history.length[user])
    found = min(length, len(w.rows))
    newest = history.where[user] + length - 1
    for k in range(found):
        w.hashes[k] = history.keys[newest - k]
        w.seconds[k] = np.int64(history.values[newest - k, 0])
    gap = GAPS - 1
    if found:
        gap = gap_bucket(second - w.seconds[0])
    bucket = length_bucket(length) * GAPS + gap
    short, long = np.float32(1.0), np.float32(1.0)
    short_total, long_total = np.float32(1e-9), np.float32(1e-9)
    used = min(found, setup.history)
    for k in range(used):
        row = index_find(v.index_keys, v.index_slots, w.hashes[k])
        w.rows[k] = row
        w.coefficient1[k] = short
        w.coefficient2[k] = long
        if row >= 0:
            combine(w.h1, 0, np.float32(1.0), v.v, row, short)
            combine(w.h2, 0, np.float32(1.0), v.v, row, long)
        short_total += short
        long_total += long
        short *= np.float32(setup.gamma)
        long *= np.float32(setup.gamma_long)
    # What experts read beyond the sums of a short history.
    for k in range(used, min(found, max(setup.near, LOOKED_UP))):
        w.rows[k] = index_find(v.index_keys, v.index_slots, w.hashes[k])
    short_norm, long_norm = np.float32(1.0) / np.sqrt(short_total), np.float32(1.0) / np.sqrt(long_total)
    gates = v.gates[v.system[0]]
    a1, a2 = gates[2 * gap], gates[2 * gap + 1]
    for k in range(used):
        w.coefficient1[k] *= short_norm * a1
        w.coefficient2[k] *= long_norm * a2
    for j in range(width):
        w.h1[0, j] *= short_norm
        w.h2[0, j] *= long_norm
        w.z[0, j] = users.vector[user, j] + a1 * w.h1[0, j] + a2 * w.h2[0, j]
    return found, bucket, gap
