"""Co-visitation: items that people come to within a few events of the user's newest ones, in any order."""

from __future__ import annotations

import numpy as np

from services.model.arrays import F32
from services.model.experts import (
    F_COSINE,
    F_COSINE_LAST,
    F_COVISITATION,
    F_RECENT_COVISITATION,
    FLOOR,
    LOG_FLOOR,
    MIX_COVISITATION,
    MIX_RECENT,
)
from services.model.experts.neighbours import SMOOTHING
from services.model.jit import kernel
from services.model.kernels.candidates import add, strongest
from services.model.kernels.view import View, Work

LAST_FLOOR = 1e-3
LOG_LAST_FLOOR = -6.907755278982137


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
            n += max(add(v, w, w.near_row[w.best[i]], n), 0)
    return n


@kernel
def evidence(v: View, w: Work, row: int, place: int, features: F32, shares: F32) -> None:
    """Columns of one candidate, which stands at `place` of the neighbour sums, or -1."""
    if place < 0:
        features[F_COVISITATION] = features[F_RECENT_COVISITATION] = features[F_COSINE] = np.float32(LOG_FLOOR)
        features[F_COSINE_LAST] = np.float32(LOG_LAST_FLOOR)
        shares[MIX_COVISITATION] = shares[MIX_RECENT] = np.float32(0.0)
        return
    s, floor = w.near_sum[place], np.float32(FLOOR)
    root = np.float32(1.0) / np.sqrt(v.sums[row, 1] + np.float32(SMOOTHING))
    shares[MIX_COVISITATION], shares[MIX_RECENT] = s[0], s[6]
    features[F_COVISITATION] = np.log(s[0] + floor)
    features[F_RECENT_COVISITATION] = np.log(s[6] + floor)
    features[F_COSINE] = np.log(s[1] * root + floor)
    features[F_COSINE_LAST] = np.log(s[2] * root + np.float32(LAST_FLOOR))
