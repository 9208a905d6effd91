"""One step of sampled softmax on the sequence-aware factors, with few writes.

    z = P_u + sum_k gamma^k V1[h_k] / sqrt(sum_k gamma^k)        h = history, newest first
    p = softmax(b + z·Q) over the observed item and the drawn negatives

All negatives shape the gradient of z; only those of at least probability tau are written, and only
the newest few history rows. Row-wise Adagrad everywhere.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from services.model.arena import Lists, index_find
from services.model.arrays import F32, I32, I64, U64
from services.model.jit import kernel
from services.model.kernels.touched import Touched, keep
from services.model.kernels.vectors import adagrad_step, dot, exp_all
from services.model.seeds import mix64


class Factors(NamedTuple):
    """The item side of the factors, by position, and what a batch changes in it."""

    keys: U64
    """uint64[room] hash of the row at a position, 0 = hole."""
    index_keys: U64
    index_slots: I32
    q: F32
    q_acc: F32
    b: F32
    b_acc: F32
    v1: F32
    v1_acc: F32
    q_log: Touched
    b_log: Touched
    v1_log: Touched


class Scratch(NamedTuple):
    """Buffers of one step."""

    z: F32
    """float32[1, d]"""
    user: I64
    """int64[1]"""
    gradient: F32
    """float32[1, d]"""
    negatives: I64
    logits: F32
    history_rows: I64
    history_weights: F32


class Step(NamedTuple):
    """Settings of the step."""

    negatives: int
    threshold: float
    written: int
    rate: float
    l2: float
    gamma: float
    history: int
    feedback: float
    salt: np.uint64


def scratch(dim: int, negatives: int, history: int) -> Scratch:
    """Buffers for a step of that size."""
    return Scratch(
        np.zeros((1, dim), np.float32),
        np.zeros(1, np.int64),
        np.zeros((1, dim), np.float32),
        np.zeros(negatives + 1, np.int64),
        np.zeros(negatives + 1, np.float32),
        np.zeros(history, np.int64),
        np.zeros(history, np.float32),
    )


@kernel
def query_vector(  # noqa: PLR0913, PLR0917  (arrays of three owners, which share no tuple)
    index_keys: U64,
    index_slots: I32,
    v1: F32,
    vector: F32,
    users: I64,
    history: Lists,
    gamma: float,
    limit: int,
    rows: I64,
    weights: F32,
    z: F32,
) -> int:
    """The z of the user at users[0] into z[0]; returns how many history rows exist.

    `rows` and `weights` receive the positions of the history rows, newest first, and their factors in
    z. For users[i], i > 0, only z[i] is computed. A user of -1 has z = 0.
    """
    found = 0
    width = v1.shape[1]
    for i in range(len(users) - 1, -1, -1):
        user = users[i]
        found = 0
        for j in range(width):
            z[i, j] = np.float32(0.0)
        if user < 0:
            continue
        n = min(np.int64(history.length[user]), np.int64(limit))
        newest = history.where[user] + history.length[user] - 1
        weight, total = np.float32(1.0), np.float32(0.0)
        for k in range(n):
            row = index_find(index_keys, index_slots, history.keys[newest - k])
            if row >= 0:
                for j in range(width):
                    z[i, j] += weight * v1[row, j]
                rows[found] = row
                weights[found] = weight
                total += weight
                found += 1
            weight *= np.float32(gamma)
        norm = np.float32(1.0)
        if found:
            norm = np.float32(1.0) / np.sqrt(total)
        for k in range(found):
            weights[k] *= norm
        for j in range(width):
            z[i, j] = vector[user, j] + norm * z[i, j]
    return found


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
    return m


@kernel
def factor_step(  # noqa: PLR0913, PLR0917  (arrays of three owners, which share no tuple)
    f: Factors,
    vector: F32,
    acc: F32,
    user: int,
    positive: int,
    weight: float,
    seed: np.uint64,
    bound: int,
    found: int,
    step: Step,
    s: Scratch,
) -> None:
    """Learn one event; `query_vector` has been called.

    weight > 0: one step up for the observed item, scaled by the weight. weight < 0: one mild step down
    for it, against the same negatives, which stay as they are.
    """
    width = f.q.shape[1]
    m = draw(f.keys, bound, positive, seed ^ step.salt, step.negatives, s.negatives)
    s.negatives[0] = positive
    if m == 1:
        return
    top = np.float32(-np.inf)
    for i in range(m):
        row = s.negatives[i]
        s.logits[i] = f.b[row, 0] + dot(s.z, 0, f.q, row)
        top = max(top, s.logits[i])
    for i in range(m):
        s.logits[i] -= top
    exp_all(s.logits, m)
    total = np.float32(0.0)
    for i in range(m):
        total += s.logits[i]
    inverse = np.float32(1.0) / total
    for j in range(width):
        s.gradient[0, j] = np.float32(0.0)
    for i in range(m):
        s.logits[i] *= inverse
    square = dot(s.z, 0, s.z, 0)
    if weight < 0.0:
        pushed = s.logits[0] * np.float32(-weight * step.feedback)
        for j in range(width):
            s.gradient[0, j] = pushed * f.q[positive, j]
        _write(f, positive, square, pushed, step.rate, step.l2, s)
        adagrad_step(vector, acc, user, s.gradient, dot(s.gradient, 0, s.gradient, 0), 1.0, step.rate, step.l2)
        return
    s.logits[0] -= np.float32(1.0)
    for i in range(m):
        row, g = s.negatives[i], s.logits[i]
        for j in range(width):
            s.gradient[0, j] += g * f.q[row, j]
    rate = step.rate * weight
    _write(f, positive, square, s.logits[0], rate, step.l2, s)
    for i in range(1, m):
        if s.logits[i] >= np.float32(step.threshold):
            _write(f, s.negatives[i], square, s.logits[i], rate, step.l2, s)
    slope = dot(s.gradient, 0, s.gradient, 0)
    for k in range(min(found, step.written)):
        row = s.history_rows[k]
        keep(f.v1_log, f.v1, f.v1_acc, row)
        adagrad_step(f.v1, f.v1_acc, row, s.gradient, slope, s.history_weights[k], rate, step.l2)
    adagrad_step(vector, acc, user, s.gradient, slope, 1.0, rate, step.l2)


@kernel
def _write(f: Factors, row: int, square: Any, error: Any, rate: float, l2: float, s: Scratch) -> None:
    keep(f.q_log, f.q, f.q_acc, row)
    keep(f.b_log, f.b, f.b_acc, row)
    adagrad_step(f.q, f.q_acc, row, s.z, square, error, rate, l2)
    g = np.float32(error) + np.float32(l2) * f.b[row, 0]
    f.b_acc[row, 0] += g * g
    f.b[row, 0] -= np.float32(rate) * g / np.sqrt(f.b_acc[row, 0])
