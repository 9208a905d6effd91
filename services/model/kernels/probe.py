"""Where the observed item stands among the candidates before it is learned from.

The prequential protocol: candidates are the items of all earlier events, less those that the user has
interacted with when repeats are not allowed. rank = 1 + #higher + 1/2·#equal. The learner's list is the
best of the union of every expert's exact top list; an item outside of it has rank 0 (missed).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from services.model.arrays import F32, I64
from services.model.jit import kernel
from services.model.kernels import ranking
from services.model.kernels.candidates import add
from services.model.kernels.spot import spot_find
from services.model.kernels.users import UserArrays
from services.model.kernels.vectors import dot
from services.model.kernels.view import MIX, Setup, View, Work

NOT_SCORED, MISSED = -1.0, 0.0


class Probe(NamedTuple):
    """What the probe reports of each event of a batch; empty arrays switch it off."""

    rank: F32
    """float32[n] rank in the learner's list; 0 missed, -1 not scored."""
    factors: F32
    """float32[n] rank by the factors alone, in the full catalogue."""
    experts: F32
    """float32[n, MIX + 1] rank in the union by each share of the mixture, and by the mixture."""
    bucket: I64
    """int64[n]"""
    age: F32
    """float32[n] earlier events of the item (weights)."""
    bound: I64
    """int64[4] segments of positions with rows: start, end, start, end."""


def probe_of(n: int, segments: list[tuple[int, int]]) -> Probe:
    """Room for n events; n = 0 switches it off."""
    bound = np.array([x for segment in segments for x in segment], np.int64)
    return Probe(
        np.full(n, NOT_SCORED, np.float32),
        np.full(n, NOT_SCORED, np.float32),
        np.full((n, MIX + 1), NOT_SCORED, np.float32),
        np.zeros(n, np.int64),
        np.zeros(n, np.float32),
        bound,
    )


@kernel
def offer_factors(p: Probe, v: View, w: Work, top: int, n: int, target: int, out: F32) -> int:
    """The exact best items of the factors; the normaliser into facts[0]; the rank of `target` into out[0]."""
    m = len(v.rate)
    found, peak, mass = 0, -1e30, 0.0
    own = v.b[target, 0] + dot(w.z, 0, v.q, target)
    higher, equal = 0, 0
    for segment in range(0, len(p.bound), 2):
        for row in range(p.bound[segment], p.bound[segment + 1]):
            if v.keys[row] == np.uint64(0) or v.pop[row, m - 1] <= np.float32(0.0):
                continue
            s = v.b[row, 0] + dot(w.z, 0, v.q, row)
            if s > peak:
                mass *= np.exp(peak - np.float64(s))
                peak = np.float64(s)
            if s > peak - 25.0:
                mass += np.exp(np.float64(s) - peak)
            if s < own and found == top and s <= w.best_score[found - 1]:
                continue
            if spot_find(w.seen, v.keys[row]) >= 0:
                continue
            if row != target:
                higher += s > own
                equal += s == own
            if found < top:
                place = found
                found += 1
            elif s > w.best_score[found - 1]:
                place = found - 1
            else:
                continue
            while place > 0 and w.best_score[place - 1] < s:
                w.best_score[place] = w.best_score[place - 1]
                w.best[place] = w.best[place - 1]
                place -= 1
            w.best_score[place] = s
            w.best[place] = row
    w.facts[0] = peak + np.log(max(mass, 1e-30))
    out[0] = np.float32(1.0 + higher + 0.5 * equal)
    for i in range(found):
        n += max(add(v.keys, w.seen, w.listed, w.cand, w.best[i], n), 0)
    return n


@kernel
def _rank(values: F32, n: int, at: int) -> np.float32:
    higher, equal = 0, 0
    for i in range(n):
        if i != at:
            higher += values[i] > values[at]
            equal += values[i] == values[at]
    return np.float32(1.0 + higher + 0.5 * equal)


@kernel
def probe(  # noqa: PLR0913, PLR0917  (arrays of several owners, which share no tuple)
    p: Probe,
    i: int,
    v: View,
    users: UserArrays,
    setup: Setup,
    user: int,
    row: int,
    bucket: int,
    second: int,
    found: int,
    known: bool,
    new: bool,
    w: Work,
) -> None:
    """Rank the observed item of event i, given its `query`, `exclude` and context."""
    p.bucket[i] = bucket
    p.age[i] = v.pop[row, len(v.rate) - 1]
    if not new:
        return
    p.rank[i] = p.factors[i] = MISSED
    p.experts[i, :] = np.float32(MISSED)
    if not known:
        return
    touched, own = ranking.gather(v, setup, user, second, found, w)
    n = ranking.candidates(v, setup, touched, own, w)
    n = offer_factors(p, v, w, setup.top, n, row, p.factors[i : i + 1])
    at = spot_find(w.listed, v.keys[row])
    if at < 0:
        return
    ranking.score(v, users, setup, user, bucket, w, 0, n)
    p.rank[i] = _rank(w.scores, n, at)
    for e in range(MIX):
        for j in range(n):
            w.values[j] = w.shares[j, e]
        if w.values[at] > np.float32(0.0):
            p.experts[i, e] = _rank(w.values, n, at)
    for j in range(n):
        w.values[j] = w.features[j, ranking.COLUMNS - 1]
    p.experts[i, MIX] = _rank(w.values, n, at)
