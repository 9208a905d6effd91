"""A small map from hashes to ordinals for one query, emptied by raising a stamp."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from services.model.arrays import I32, I64, U64
from services.model.jit import kernel


class Spot(NamedTuple):
    """Open addressing; an entry counts while its stamp is the current one."""

    keys: U64
    stamps: I64
    places: I32
    stamp: I64
    """int64[1] the current stamp."""


def spot(entries: int) -> Spot:
    """Room for that many entries at half load."""
    size = 16
    while size < 2 * entries:
        size *= 2
    return Spot(np.zeros(size, np.uint64), np.zeros(size, np.int64), np.zeros(size, np.int32), np.ones(1, np.int64))


@kernel
def spot_clear(s: Spot) -> None:
    """Forget everything."""
    s.stamp[0] += 1


@kernel
def spot_find(s: Spot, key: np.uint64) -> Any:
    """Place of a key, or -1."""
    mask, stamp = np.uint64(len(s.keys) - 1), s.stamp[0]
    at = ((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)) & mask
    while s.stamps[at] == stamp:
        if s.keys[at] == key:
            return np.int64(s.places[at])
        at = (at + np.uint64(1)) & mask
    return np.int64(-1)


@kernel
def spot_put(s: Spot, key: np.uint64, place: int) -> Any:
    """Place of a key, which becomes `place` when the key is new."""
    mask, stamp = np.uint64(len(s.keys) - 1), s.stamp[0]
    at = ((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)) & mask
    while s.stamps[at] == stamp:
        if s.keys[at] == key:
            return np.int64(s.places[at])
        at = (at + np.uint64(1)) & mask
    s.stamps[at] = stamp
    s.keys[at] = key
    s.places[at] = place
    return np.int64(place)
