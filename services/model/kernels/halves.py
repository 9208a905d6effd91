"""Between float32 and float16 in loops that fill the lanes: numpy converts one number at a time.

Rounded to the nearest, of two as near to the even one, as IEEE 754 and numpy do.
"""

from __future__ import annotations

import numpy as np

from services.model.arrays import F32, U16, U32
from services.model.jit import kernel

# Bits of float32: the least normal half, the first number past the halves, infinity, and what moves the exponent by
# 15 - 127 and rounds the 13 bits that are cut off.
_NORMAL, _PAST, _INFINITE, _ROUND = 0x3880_0000, 0x4780_0000, 0x7F80_0000, 0xC800_0FFF
_INFINITE_HALF = 0x7C00


@kernel
def to_halves(values: F32, width: int, out: U16) -> None:
    """The first `width` numbers of rows float32[n, >= width] as bits of float16, out uint16[n, >= width]."""
    for i in range(len(values)):
        for j in range(width):
            bits = np.float32(values[i, j]).view(np.uint32)
            size = bits & np.uint32(0x7FFF_FFFF)
            # Below the normal halves all are multiples of 2^-24; adding 2^23 rounds to a whole number of them.
            scaled = min(abs(values[i, j]), np.float32(1.0)) * np.float32(2.0**24)
            few = np.uint32((scaled + np.float32(2.0**23)) - np.float32(2.0**23))
            near = (size + np.uint32(_ROUND) + ((size >> np.uint32(13)) & np.uint32(1))) >> np.uint32(13)
            past = np.uint32(_INFINITE_HALF) | (np.uint32(size > np.uint32(_INFINITE)) << np.uint32(9))
            half = few if size < np.uint32(_NORMAL) else (past if size >= np.uint32(_PAST) else near)
            out[i, j] = half | ((bits >> np.uint32(16)) & np.uint32(0x8000))


@kernel
def from_halves(halves: U16, width: int, out: U32) -> None:
    """The inverse: bits of float16, uint16[n, >= width], as bits of float32, out uint32[n, >= width]."""
    for i in range(len(halves)):
        for j in range(width):
            half = np.uint32(halves[i, j])
            size = half & np.uint32(0x7FFF)
            few = np.float32(np.float32(np.int32(size)) * np.float32(2.0**-24)).view(np.uint32)
            bits = few if size < np.uint32(0x0400) else (size << np.uint32(13)) + np.uint32(112 << 23)
            bits = bits if size < np.uint32(_INFINITE_HALF) else (size << np.uint32(13)) | np.uint32(_INFINITE)
            out[i, j] = bits | ((half & np.uint32(0x8000)) << np.uint32(16))
