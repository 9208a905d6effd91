"""Co-visitation: items that people come to within a few events of the user's newest ones, in any order."""

from __future__ import annotations

import numpy as np

from services.model.experts import (
    F_COSINE,
    F_COSINE_LAST,
    F_COVISITATION,
    F_RECENT_COVISITATION,
    FLOOR,
    MIX_COVISITATION,
    MIX_RECENT,
)
from services.model.experts.neighbours import SMOOTHING
from services.model.jit import kernel
from services.model.kernels.candidates import add, strongest
from services.model.kernels.view import View, Work

LAST_FLOOR = 1e-3


@kernel
def offer(v: View, w: Work, touched: int, top: int, n: int) -> int:
    """The strongest by plain, cosine and decayed counts."""
    for channel in (0, 1, 6):
        for i in range(touched):
            row = w.near_row[i]
            w.values[i] = np.float32(0.0)
            if row >= 0:
                w.values[i] = w.near_sum[i, channel]
                if channel == 1:
                    w.values[i] /= np.sqrt(v.sums[row, 1] + np.float32(SMOOTHING))
        for i in range(strongest(w.values, touched, top, w.best, w.best_score)):
            n += max(add(v.keys, w.seen, w.listed, w.cand, w.near_row[w.best[i]], n), 0)
    return n


@kernel
def evidence(v: View, w: Work, start: int, end: int) -> None:
    """Columns of the candidates [start, end); w.place says where they stand in the neighbour sums, -1 = nowhere."""
    features, shares, sums, near, cand, where = w.features, w.shares, v.sums, w.near_sum, w.cand, w.place
    floor = np.float32(FLOOR)
    for i in range(start, end):
        place = where[i]
        if place < 0:
            features[i, F_COVISITATION] = features[i, F_RECENT_COVISITATION] = features[i, F_COSINE] = floor
            features[i, F_COSINE_LAST] = np.float32(LAST_FLOOR)
            shares[i, MIX_COVISITATION] = shares[i, MIX_RECENT] = np.float32(0.0)
            continue
        root = np.float32(1.0) / np.sqrt(sums[cand[i], 1] + np.float32(SMOOTHING))
        shares[i, MIX_COVISITATION], shares[i, MIX_RECENT] = near[place, 0], near[place, 6]
        features[i, F_COVISITATION] = near[place, 0] + floor
        features[i, F_RECENT_COVISITATION] = near[place, 6] + floor
        features[i, F_COSINE] = near[place, 1] * root + floor
        features[i, F_COSINE_LAST] = near[place, 2] * root + np.float32(LAST_FLOOR)
