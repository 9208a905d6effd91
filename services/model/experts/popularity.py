"""Recency-weighted popularity: p(x) = c(x) / sum c, with counts that decay at several half-lives."""

from __future__ import annotations

import numpy as np

from services.model.arrays import F32
from services.model.experts import FLOOR
from services.model.jit import kernel
from services.model.kernels.candidates import EXCLUDED, add
from services.model.kernels.view import View, Work


@kernel
def prepare(v: View, second: int, w: Work) -> None:
    """The totals as of now, into facts[3..]."""
    m, row = len(v.rate), v.system[0]
    tick = np.float64(second) / 128.0
    for j in range(m):
        age = max(tick - np.float64(v.totals[row, m]), -1.0)
        w.facts[3 + j] = np.float64(v.totals[row, j]) * 2.0 ** (-age * v.rate[j])
    w.facts[2] = tick


@kernel
def offer(v: View, w: Work, top: int, n: int) -> int:
    """The most popular items at each half-life."""
    t = v.trends
    for j in range(len(v.rate)):
        taken = 0
        for i in range(t.n[j]):
            outcome = add(v, w, int(t.rows[j, i]), n)
            n += max(outcome, 0)
            taken += outcome != EXCLUDED
            if taken >= top:
                break
    return n


@kernel
def evidence(v: View, w: Work, row: int, features: F32, shares: F32) -> None:
    """Columns of one candidate."""
    m = len(v.rate)
    age = max(w.facts[2] - np.float64(v.pop[row, m]), -1.0)
    for j in range(m):
        p = np.float32(0.0)
        if w.facts[3 + j] > 0.0:
            p = np.float32(np.float64(v.pop[row, j]) * np.exp2(-age * v.rate[j]) / w.facts[3 + j])
        shares[j] = p
        features[j] = np.log(p + np.float32(FLOOR))
