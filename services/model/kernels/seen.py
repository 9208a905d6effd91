"""Chunks of the sets of items seen, put in their places."""

from __future__ import annotations

import numpy as np

from services.model.arena import Lists, list_reserve
from services.model.arrays import I64, U64
from services.model.jit import kernel


@kernel
def seen_set(seen: Lists, slots: I64, first: I64, ptr: I64, items: U64) -> None:
    """Put items[ptr[i]:ptr[i + 1]] at entry first[i] of a user's ring; entries before it that are missing are 0."""
    limit = seen.sizes[len(seen.sizes) - 1]
    for i in range(len(slots)):
        slot, start, n = slots[i], first[i], min(ptr[i + 1] - ptr[i], limit - first[i])
        if n <= 0:
            continue
        old = seen.length[slot]
        length = max(old, start + n)
        list_reserve(seen, slot, length)
        at = seen.where[slot]
        for j in range(old, start):
            seen.keys[at + j] = np.uint64(0)
        for j in range(n):
            seen.keys[at + start + j] = items[ptr[i] + j]
        seen.length[slot] = length
