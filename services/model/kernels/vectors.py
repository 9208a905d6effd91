"""Vector arithmetic with a fixed order of summation that still fills the machine's lanes."""

from __future__ import annotations

import numpy as np

from services.model.arrays import F32
from services.model.jit import kernel


@kernel
def dot(a: F32, matrix: F32, row: int) -> np.float32:
    """a · matrix[row], summed in 8 lanes; the width is a multiple of 8."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = np.float32(0.0)
    for j in range(0, matrix.shape[1], 8):
        s0 += a[j] * matrix[row, j]
        s1 += a[j + 1] * matrix[row, j + 1]
        s2 += a[j + 2] * matrix[row, j + 2]
        s3 += a[j + 3] * matrix[row, j + 3]
        s4 += a[j + 4] * matrix[row, j + 4]
        s5 += a[j + 5] * matrix[row, j + 5]
        s6 += a[j + 6] * matrix[row, j + 6]
        s7 += a[j + 7] * matrix[row, j + 7]
    return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))


@kernel
def exp_all(x: F32, n: int) -> None:
    """x[i] = exp(x[i]) for x[i] <= 0, in place; below -60 it is exp(-60).

    exp(x) = p(x/64)^64 with p of degree 4: only multiplications and additions, so that the loop
    fills the lanes and gives the same bits everywhere. Relative error below 1e-5.
    """
    for i in range(n):
        y = max(x[i], np.float32(-60.0)) * np.float32(1.0 / 64.0)
        p = np.float32(1.0) + y * (
            np.float32(1.0)
            + y * (np.float32(0.5) + y * (np.float32(1.0 / 6.0) + y * np.float32(1.0 / 24.0)))
        )
        p *= p
        p *= p
        p *= p
        p *= p
        p *= p
        p *= p
        x[i] = p


@kernel
def adagrad_step(data: F32, acc: F32, row: int, gradient: F32, scale: float, rate: float, l2: float) -> None:
    """One row-wise Adagrad step: g = scale·gradient + l2·x; A += mean(g²); x -= rate·g/sqrt(A)."""
    width = data.shape[1]
    s, decay = np.float32(scale), np.float32(l2)
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = np.float32(0.0)
    for j in range(0, width, 8):
        g0 = s * gradient[j] + decay * data[row, j]
        g1 = s * gradient[j + 1] + decay * data[row, j + 1]
        g2 = s * gradient[j + 2] + decay * data[row, j + 2]
        g3 = s * gradient[j + 3] + decay * data[row, j + 3]
        g4 = s * gradient[j + 4] + decay * data[row, j + 4]
        g5 = s * gradient[j + 5] + decay * data[row, j + 5]
        g6 = s * gradient[j + 6] + decay * data[row, j + 6]
        g7 = s * gradient[j + 7] + decay * data[row, j + 7]
        s0 += g0 * g0
        s1 += g1 * g1
        s2 += g2 * g2
        s3 += g3 * g3
        s4 += g4 * g4
        s5 += g5 * g5
        s6 += g6 * g6
        s7 += g7 * g7
    total = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
    acc[row, 0] += total / np.float32(width)
    step = np.float32(rate) / np.sqrt(acc[row, 0])
    for j in range(width):
        data[row, j] -= step * (s * gradient[j] + decay * data[row, j])
