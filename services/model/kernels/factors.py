"""One step of sampled softmax on the sequence-aware factors, with few writes.

    p = softmax(b + z·Q) over the observed item and the drawn negatives          z: kernels/query.py

All negatives shape the gradient of z; only those of at least probability tau are written, and only
the newest few history rows. Row-wise Adagrad everywhere.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from services.model.arrays import F32, I64, U64
from services.model.jit import inline, kernel
from services.model.kernels.touched import Touched, keep
from services.model.kernels.vectors import adagrad_step, combine, dot, exp_all
from services.model.kernels.view import View, Work
from services.model.seeds import mix64

GATE_RATE = 0.05
"""Learning rate of the gates of the two history sums."""


class Logs(NamedTuple):
    """Before-copies of what a batch changes in the rows."""

    q: Touched
    b: Touched
    v: Touched
    pop: Touched
    totals: Touched
    pi: Touched
    w: Touched
    gates: Touched


class Step(NamedTuple):
    """Settings of the step."""

    negatives: int
    threshold: float
    written: int
    rate: float
    l2: float
    feedback: float
    salt: np.uint64


@kernel
def draw(keys: U64, bound: int, positive: int, seed: np.uint64, n: int, out: I64) -> int:
    """Draw up to n uniform negatives below `bound` into out[1:]; holes and the positive are skipped."""
    state = mix64(seed)
    m = 1
    for _ in range(n):
        state += np.uint64(0x9E3779B97F4A7C15)
        bits = mix64(state) >> np.uint64(32)
        row = np.int64((bits * np.uint64(bound)) >> np.uint64(32))
        if keys[row] != np.uint64(0) and row != positive:
            out[m] = row
            m += 1
    out[0] = positive
    return m


@inline
def logits(v: View, w: Work, m: int) -> np.float32:
    """Logits of w.negatives[:m]; returns the largest."""
    top = np.float32(-np.inf)
    for i in range(m):
        row = w.negatives[i]
        w.logits[i] = v.b[row, 0] + dot(w.z, 0, v.q, row)
        top = max(top, w.logits[i])
    return top


@kernel
def normaliser(w: Work, m: int, top: np.float32, items: float) -> Any:
    """Log of the softmax normaliser over all items, estimated from the negatives."""
    if m <= 1:
        return np.float64(w.logits[0])
    total = 0.0
    for i in range(1, m):
        total += np.exp(np.float64(w.logits[i] - top))
    return np.float64(top) + np.log(max(total * max(items, 1.0) / (m - 1), 1e-30))


@kernel
def factor_step(  # noqa: PLR0913, PLR0917  (arrays of three owners, which share no tuple)
    v: View,
    logs: Logs,
    vector: F32,
    acc: F32,
    user: int,
    positive: int,
    weight: float,
    m: int,
    top: np.float32,
    found: int,
    gap: int,
    step: Step,
    w: Work,
) -> None:
    """Learn one event; `query`, `draw` and `logits` have been called.

    weight > 0: one step up for the observed item, scaled by the weight. weight < 0: one mild step down
    for it, against the same negatives, which stay as they are.
    """
    if m == 1:
        return
    width = v.q.shape[1]
    for i in range(m):
        w.logits[i] -= top
    exp_all(w.logits, m)
    total = np.float32(0.0)
    for i in range(m):
        total += w.logits[i]
    inverse = np.float32(1.0) / total
    for j in range(width):
        w.gradient[0, j] = np.float32(0.0)
    for i in range(m):
        w.logits[i] *= inverse
    square = dot(w.z, 0, w.z, 0)
    if weight < 0.0:
        pushed = w.logits[0] * np.float32(-weight * step.feedback)
        for j in range(width):
            w.gradient[0, j] = pushed * v.q[positive, j]
        _write(v, logs, positive, square, pushed, step.rate, step.l2, w)
        slope = dot(w.gradient, 0, w.gradient, 0)
        adagrad_step(vector, acc, user, w.gradient, slope, 1.0, step.rate, step.l2)
        return
    w.logits[0] -= np.float32(1.0)
    for i in range(m):
        combine(w.gradient, 0, np.float32(1.0), v.q, w.negatives[i], w.logits[i])
    rate = step.rate * weight
    _write(v, logs, positive, square, w.logits[0], rate, step.l2, w)
    for i in range(1, m):
        if w.logits[i] >= np.float32(step.threshold):
            _write(v, logs, w.negatives[i], square, w.logits[i], rate, step.l2, w)
    slope = dot(w.gradient, 0, w.gradient, 0)
    for k in range(min(found, step.written)):
        row = w.rows[k]
        if row >= 0:
            keep(logs.v, v.v, v.v_acc, row)
            scale = w.coefficient1[k] + w.coefficient2[k]
            adagrad_step(v.v, v.v_acc, row, w.gradient, slope, scale, rate, step.l2)
    adagrad_step(vector, acc, user, w.gradient, slope, 1.0, rate, step.l2)
    if found:
        _gates(v, logs, gap, dot(w.gradient, 0, w.h1, 0), dot(w.gradient, 0, w.h2, 0))


@inline
def _write(v: View, logs: Logs, row: int, square: Any, error: Any, rate: float, l2: float, w: Work) -> None:
    keep(logs.q, v.q, v.q_acc, row)
    keep(logs.b, v.b, v.no_acc, row)
    adagrad_step(v.q, v.q_acc, row, w.z, square, error, rate, l2)
    v.b[row, 0] -= np.float32(rate) * np.float32(error) / np.sqrt(v.q_acc[row, 0])


@inline
def _gates(v: View, logs: Logs, gap: int, g1: Any, g2: Any) -> None:
    row = v.system[0]
    keep(logs.gates, v.gates, v.gates_acc, row)
    for at, g in ((2 * gap, g1), (2 * gap + 1, g2)):
        v.gates_acc[row, at] += g * g
        v.gates[row, at] -= np.float32(GATE_RATE) * g / np.sqrt(v.gates_acc[row, at])
