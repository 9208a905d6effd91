"""Recency-weighted popularity: p(x) = c(x) / sum c, with counts that decay at several half-lives."""

from __future__ import annotations

import numpy as np

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
            outcome = add(v.keys, w.seen, w.listed, w.cand, int(t.rows[j, i]), n)
            n += max(outcome, 0)
            taken += outcome != EXCLUDED
            if taken >= top:
                break
    return n


@kernel
def evidence(v: View, w: Work, start: int, end: int) -> None:
    """Columns of the candidates [start, end)."""
    m, pop, rate, facts, cand = len(v.rate), v.pop, v.rate, w.facts, w.cand
    features, shares = w.features, w.shares
    for i in range(start, end):
        row = cand[i]
        age = max(facts[2] - np.float64(pop[row, m]), -1.0)
        for j in range(m):
            p = np.float32(0.0)
            if facts[3 + j] > 0.0:
                p = np.float32(np.float64(pop[row, j]) * np.exp2(-age * rate[j]) / facts[3 + j])
            shares[i, j] = p
            features[i, j] = np.log(p + np.float32(FLOOR))
