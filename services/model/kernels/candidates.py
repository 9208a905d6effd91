"""The union of the experts' lists: positions of items, each once, without those the user may not get."""

from __future__ import annotations

from typing import Any

import numpy as np

from services.model.arrays import F32, I64, U64
from services.model.jit import kernel
from services.model.kernels.spot import Spot, spot_find, spot_put

NEW, ALREADY, EXCLUDED = 1, 0, -1


@kernel
def add(keys: U64, seen: Spot, listed: Spot, cand: I64, row: int, n: int) -> int:
    """Offer a row: NEW (it stands at cand[n]), ALREADY a candidate, or EXCLUDED."""
    key = keys[row]
    if spot_find(seen, key) >= 0 or n >= len(cand):
        return EXCLUDED
    if spot_put(listed, key, n) != n:
        return ALREADY
    cand[n] = row
    return NEW


@kernel
def strongest(values: F32, n: int, k: int, best: I64, score: F32) -> Any:
    """Ordinals of the k largest positive values[:n] into `best`, largest first, of equals the first."""
    m = 0
    for i in range(n):
        value = values[i]
        if value <= np.float32(0.0):
            continue
        if m < k:
            place = m
            m += 1
        elif value > score[m - 1]:
            place = m - 1
        else:
            continue
        while place > 0 and score[place - 1] < value:
            score[place] = score[place - 1]
            best[place] = best[place - 1]
            place -= 1
        score[place] = value
        best[place] = i
    return m
