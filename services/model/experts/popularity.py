"""Recency-weighted popularity: p(x) = c(x) / sum c, with counts that decay at several half-lives."""

from __future__ import annotations

import numpy as np

from services.model.experts import FLOOR
from services.model.jit import kernel
from services.model.kernels.candidates import EXCLUDED, add
from services.model.kernels.vectors import LANES, exp_columns
from services.model.kernels.view import View, Work


@kernel
def prepare(v: View, w: Work) -> None:
    """The totals into facts[3..], and the tick that they are of into facts[2].

    A share is the same at every moment from the newest event on, so the moment of the query is not asked for: after a
    long silence both sides would be too small to divide.
    """
    m, row = len(v.rate), v.system[0]
    w.facts[2] = np.float64(v.totals[row, m])
    for j in range(m):
        w.facts[3 + j] = np.float64(v.totals[row, j])


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
    """Columns of the candidates [start, end); the columns of others up to LANES are scratch."""
    m, pop, facts, cand = len(v.rate), v.pop, w.facts, w.cand
    features, shares = w.features, w.shares
    rate, inverse = w.lane[0], w.lane[1]
    for j in range(m):
        rate[j] = np.float32(-np.log(2.0) * v.rate[j])
        inverse[j] = np.float32(1.0 / facts[3 + j]) if facts[3 + j] > 0.0 else np.float32(0.0)
    for i in range(start, end):
        row = cand[i]
        # Rows and totals come from different owners: an item may be a little newer; nothing grows for that.
        age = np.float32(max(facts[2] - np.float64(pop[row, m]), 0.0))
        for j in range(LANES):
            features[i, j] = rate[j] * age
    exp_columns(features, start, end)
    for i in range(start, end):
        row = cand[i]
        for j in range(m):
            p = pop[row, j] * features[i, j] * inverse[j]
            shares[i, j] = p
            features[i, j] = p + np.float32(FLOOR)
