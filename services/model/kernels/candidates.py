"""The union of the experts' lists: positions of items, each once, without those the user may not get."""

from __future__ import annotations

from typing import Any

import numpy as np

from services.model.arrays import F32, I64, U64
from services.model.jit import kernel
from services.model.kernels.spot import Spot, spot_find, spot_put
from services.model.kernels.vectors import bits

NEW, ALREADY, EXCLUDED = 1, 0, -1
_BLOCK = 32


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
    least = np.int32(0)
    for start in range(0, n, _BLOCK):
        end = min(start + _BLOCK, n)
        # Positive floats have the order of their bits, and a maximum of integers fills the lanes: few blocks hold a
        # value that is looked at alone.
        peak = np.int32(0)
        for i in range(start, end):
            peak = max(peak, bits(values[i]))
        if peak <= least:
            continue
        for i in range(start, end):
            value = values[i]
            if bits(value) <= least:
                continue
            place = m if m < k else m - 1
            m = place + 1
            while place > 0 and score[place - 1] < value:
                score[place] = score[place - 1]
                best[place] = best[place - 1]
                place -= 1
            score[place] = value
            best[place] = i
            if m == k:
                least = bits(score[m - 1])
    return m
