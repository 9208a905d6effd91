"""Values from hashes: initial parameters and random draws that any process computes alike."""

from __future__ import annotations

import numpy as np

from services.model.arrays import F32, I64, U64
from services.model.jit import kernel


@kernel
def mix64(x: np.uint64) -> np.uint64:
    """splitmix64's finaliser: a bijection that looks random."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@kernel
def normal(seed: np.uint64) -> np.float32:
    """About N(0, 1): the sum of four 16-bit uniforms (exact in float32, no libm)."""
    bits = mix64(seed)
    low = np.uint64(0xFFFF)
    total = (bits & low) + ((bits >> np.uint64(16)) & low) + ((bits >> np.uint64(32)) & low) + (bits >> np.uint64(48))
    return np.float32((np.float64(total) / 65536.0 - 2.0 + 2.0 / 65536.0) * 1.7320508)


@kernel
def init_rows(data: F32, rows: I64, hashes: U64, salt: int, scale: float, start: float) -> None:
    """Initial values of rows, from the hashes of their keys: N(start, scale)."""
    width = data.shape[1]
    for i in range(len(rows)):
        base = mix64(hashes[i] ^ mix64(np.uint64(salt)))
        for j in range(width):
            value = np.float32(start)
            if scale != 0.0:
                value += np.float32(scale) * normal(base + np.uint64(j) * np.uint64(0x9E3779B97F4A7C15))
            data[rows[i], j] = value
