"""The score of the candidates of one query: the experts' lists, their evidence, and the log-linear sum.

s(x) = (1 + w_m + v_m,b)·log(sum_e pi_b,e p_e(x) + 1e-9) + sum_f (w_f + v_f,b)·phi_f(x)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from services.model.experts import (
    F_FACTORS,
    F_MIXTURE,
    FLOOR,
    MIX_FACTORS,
    content,
    context,
    covisitation,
    neighbours,
    own_history,
    popularity,
    transition,
)
from services.model.jit import kernel
from services.model.kernels.spot import spot_clear, spot_find, spot_put
from services.model.kernels.users import UserArrays
from services.model.kernels.vectors import combine, dot, exp_one, log_columns, log_one
from services.model.kernels.view import MIX, Setup, View, Work
from services.model.layout import SCORE_FEATURES

COLUMNS = F_MIXTURE + 1
BUCKET_RATE = 0.2
"""Share of the learning rate at which a bucket's own weights step: a bucket sees few events, and what it takes for its
own difference is at first the noise of those."""


@kernel
def exclude(users: UserArrays, setup: Setup, user: int, w: Work) -> None:
    """Forget what was excluded before; leave out what the user has seen, unless repeats are allowed."""
    spot_clear(w.seen)
    if setup.repeats or user < 0:
        return
    at = users.seen.where[user]
    for i in range(at, at + users.seen.length[user]):
        spot_put(w.seen, users.seen.keys[i], 0)


@kernel
def gather(v: View, setup: Setup, user: int, second: int, found: int, w: Work) -> Any:
    """What every expert but context, which is given its features, knows of the user; returns how many items the
    neighbours and the own history name."""
    base = content.feature_row(v.feature_keys, v.feature_slots, np.uint32(0))
    w.facts[11] = w.facts[13] = 0.0
    if base >= 0:
        w.facts[13], w.facts[11] = np.float64(v.feature_n[base, 0]), np.float64(v.feature_n[base, 1])
    spot_clear(w.listed)
    popularity.prepare(v, w)
    touched = neighbours.prepare(v, w, min(found, setup.near))
    own = 0
    if setup.repeats:
        own = own_history.prepare(w, found, second)
    content.prepare(v, user, w, found)
    return touched, own


@kernel
def candidates(v: View, setup: Setup, touched: int, own: int, w: Work) -> int:
    """The union of the lists that need no look at every item; returns how many candidates there are."""
    n = popularity.offer(v, w, setup.top, 0)
    n = context.offer(v, w, setup.top, n)
    n = covisitation.offer(v, w, touched, setup.top, n)
    n = transition.offer(v, w, touched, setup.top, n)
    if setup.repeats:
        n = own_history.offer(v, w, own, setup.top, n)
    return n


@kernel
def score(v: View, users: UserArrays, setup: Setup, user: int, bucket: int, w: Work, start: int, end: int) -> None:
    """Evidence and score of the candidates [start, end); facts[0] is the log of the factors' normaliser."""
    shared, own = v.w[v.system[0]], v.w[v.system[1 + bucket]]
    pi = v.pi[v.system[1 + bucket]]
    total = np.float32(0.0)
    for e in range(MIX):
        total += pi[e]
    for e in range(MIX):
        w.prior[0, e] = pi[e] / total
    for f in range(COLUMNS):
        w.weights[0, f] = shared[f] + own[f]
    features, shares, cand, scores, b = w.features, w.shares, w.cand, w.scores, v.b
    norm = np.float32(w.facts[0])
    popularity.evidence(v, w, start, end)
    for i in range(start, end):
        row = cand[i]
        w.place[i] = spot_find(w.near, v.keys[row])
        p = exp_one(min(b[row, 0] + dot(w.z, 0, v.q, row) - norm, np.float32(0.0)))
        shares[i, MIX_FACTORS] = p
        features[i, F_FACTORS] = p + np.float32(FLOOR)
    covisitation.evidence(v, w, start, end)
    transition.evidence(v, w, start, end)
    own_history.evidence(v, w, setup.repeats, start, end)
    context.evidence(v, w, start, end)
    content.evidence(v, users.categories, user, w, start, end)
    log_columns(features, start, end)
    for i in range(start, end):
        mixture = log_one(dot(w.prior, 0, shares, i) + np.float32(1e-9))
        features[i, F_MIXTURE] = mixture
        scores[i] = mixture + dot(w.weights, 0, features, i)


@kernel
def learn_mixture(v: View, bucket: int, w: Work, at: int, cap: float) -> None:
    """One observed candidate: responsibilities into the bucket's mixture counts (w.slope receives them).

    r_e = 0.99 pi_e p_e / sum pi p + 0.01 / MIX, so that no expert is forgotten for good.
    """
    pi = v.pi[v.system[1 + bucket]]
    total = np.float32(1e-12)
    for e in range(MIX):
        total += pi[e] * w.shares[at, e]
    mass = np.float32(0.0)
    for e in range(MIX):
        share = np.float32(0.99) * pi[e] * w.shares[at, e] / total + np.float32(0.01 / MIX)
        w.slope[0, e] = share
    for e in range(MIX):
        pi[e] += w.slope[0, e]
        mass += pi[e]
    if mass > np.float32(cap):
        for e in range(MIX):
            pi[e] *= np.float32(cap) / mass


@kernel
def learn_score(v: View, bucket: int, w: Work, n: int, at: int, rate: float) -> None:
    """One softmax step of the log-linear weights on candidates [0, n), of which `at` was observed."""
    top = w.scores[0]
    for i in range(n):
        top = max(top, w.scores[i])
    total = np.float32(0.0)
    for i in range(n):
        w.values[i] = exp_one(w.scores[i] - top)
    for i in range(n):
        total += w.values[i]
    for f in range(w.slope.shape[1]):
        w.slope[0, f] = -w.features[at, f]
    inverse = np.float32(1.0) / total
    for i in range(n):
        combine(w.slope, 0, np.float32(1.0), w.features, i, w.values[i] * inverse)
    for row in (v.system[0], v.system[1 + bucket]):
        step = np.float32(rate) if row == v.system[0] else np.float32(BUCKET_RATE * rate)
        for f in range(COLUMNS):
            g = w.slope[0, f]
            v.w_acc[row, f] += g * g
            v.w[row, f] -= step * g / np.sqrt(v.w_acc[row, f])


__all__ = ["COLUMNS", "SCORE_FEATURES", "candidates", "exclude", "gather", "learn_mixture", "learn_score", "score"]
