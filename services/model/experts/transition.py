"""Transition: items that people go to after the user's newest ones."""

from __future__ import annotations

import numpy as np

from services.model.experts import (
    F_NEXT,
    F_RECENT_TRANSITION,
    F_REVERSE,
    F_TRANSITION,
    F_TRANSITION2,
    F_TRANSITION3,
    FLOOR,
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
            features[i, F_TRANSITION] = features[i, F_TRANSITION2] = features[i, F_TRANSITION3] = floor
            features[i, F_NEXT] = features[i, F_RECENT_TRANSITION] = features[i, F_REVERSE] = floor
            shares[i, MIX_TRANSITION] = shares[i, MIX_NEXT] = np.float32(0.0)
            continue
        shares[i, MIX_TRANSITION], shares[i, MIX_NEXT] = near[place, 3], near[place, 8]
        features[i, F_TRANSITION] = near[place, 3] + floor
        features[i, F_TRANSITION2] = near[place, 4] + floor
        features[i, F_TRANSITION3] = near[place, 5] + floor
        features[i, F_NEXT] = near[place, 8] + floor
        features[i, F_RECENT_TRANSITION] = near[place, 7] + floor
        features[i, F_REVERSE] = near[place, 9] / max(sums[cand[i], 2], np.float32(1e-9)) + floor
