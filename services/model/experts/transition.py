"""Transition: items that people go to after the user's newest ones."""

from __future__ import annotations

import numpy as np

from services.model.arrays import F32
from services.model.experts import (
    F_NEXT,
    F_RECENT_TRANSITION,
    F_REVERSE,
    F_TRANSITION,
    F_TRANSITION2,
    F_TRANSITION3,
    FLOOR,
    LOG_FLOOR,
    MIX_NEXT,
    MIX_TRANSITION,
)
from services.model.jit import kernel
from services.model.kernels.candidates import add, strongest
from services.model.kernels.view import View, Work


@kernel
def offer(v: View, w: Work, touched: int, top: int, n: int) -> int:
    """The strongest followers of the newest item, by plain and decayed counts."""
    for channel in (3, 7):
        for i in range(touched):
            w.values[i] = w.near_sum[i, channel] if w.near_row[i] >= 0 else np.float32(0.0)
        for i in range(strongest(w.values, touched, top, w.best, w.best_score)):
            n += max(add(v, w, w.near_row[w.best[i]], n), 0)
    return n


@kernel
def evidence(v: View, w: Work, row: int, place: int, features: F32, shares: F32) -> None:
    """Columns of one candidate, which stands at `place` of the neighbour sums, or -1."""
    if place < 0:
        low = np.float32(LOG_FLOOR)
        features[F_TRANSITION] = features[F_TRANSITION2] = features[F_TRANSITION3] = low
        features[F_NEXT] = features[F_RECENT_TRANSITION] = features[F_REVERSE] = low
        shares[MIX_TRANSITION] = shares[MIX_NEXT] = np.float32(0.0)
        return
    s, floor = w.near_sum[place], np.float32(FLOOR)
    shares[MIX_TRANSITION], shares[MIX_NEXT] = s[3], s[8]
    features[F_TRANSITION] = np.log(s[3] + floor)
    features[F_TRANSITION2] = np.log(s[4] + floor)
    features[F_TRANSITION3] = np.log(s[5] + floor)
    features[F_NEXT] = np.log(s[8] + floor)
    features[F_RECENT_TRANSITION] = np.log(s[7] + floor)
    features[F_REVERSE] = np.log(s[9] / max(v.sums[row, 2], np.float32(1e-9)) + floor)
