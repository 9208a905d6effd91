"""A small map from hashes to ordinals for one query, emptied by raising a stamp."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from services.model.arrays import U64
from services.model.jit import kernel

_PLACE_BITS = np.uint64(24)
_PLACE = np.uint64((1 << 24) - 1)


class Spot(NamedTuple):
    """Open addressing. A cell lies in one line of the cache: its key, and its stamp and place in one number."""

    cells: U64
    """uint64[size, 2] key; stamp << 24 | place. A cell counts while its stamp is the current one."""
    stamp: U64
    """uint64[1] the current stamp."""


def spot(entries: int) -> Spot:
    """Room for that many entries at half load; their places are below 2^24."""
    size = 16
    while size < 2 * entries:
        size *= 2
    return Spot(np.zeros((size, 2), np.uint64), np.ones(1, np.uint64))


@kernel
def spot_clear(s: Spot) -> None:
    """Forget everything."""
    s.stamp[0] += np.uint64(1)


@kernel
def spot_find(s: Spot, key: np.uint64) -> Any:
    """Place of a key, or -1."""
    mask, stamp = np.uint64(len(s.cells) - 1), s.stamp[0]
    at = ((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)) & mask
    while s.cells[at, 1] >> _PLACE_BITS == stamp:
        if s.cells[at, 0] == key:
            return np.int64(s.cells[at, 1] & _PLACE)
        at = (at + np.uint64(1)) & mask
    return np.int64(-1)


@kernel
def spot_put(s: Spot, key: np.uint64, place: int) -> Any:
    """Place of a key, which becomes `place` when the key is new."""
    mask, stamp = np.uint64(len(s.cells) - 1), s.stamp[0]
    at = ((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)) & mask
    while s.cells[at, 1] >> _PLACE_BITS == stamp:
        if s.cells[at, 0] == key:
            return np.int64(s.cells[at, 1] & _PLACE)
        at = (at + np.uint64(1)) & mask
    s.cells[at, 0] = key
    s.cells[at, 1] = stamp << _PLACE_BITS | np.uint64(place)
    return np.int64(place)
