"""Lists for many users in one call: candidates, scores, the k best, and the earlier items behind each."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from services.model.arrays import F32, F64, I32, I64, U8, U64
from services.model.experts import POPULARITY
from services.model.jit import kernel
from services.model.kernels import ranking
from services.model.kernels.candidates import add
from services.model.kernels.query import query
from services.model.kernels.spot import spot_put
from services.model.kernels.vectors import dot
from services.model.kernels.view import MIX, Setup, View, Work
from services.model.users import UserArrays

REASONS = 2
"""Earlier items named with an item."""


class Asked(NamedTuple):
    """The queries."""

    user: I64
    """int64[n] slot in the user table, -1 = nobody."""
    second: I64
    repeats: I64
    """int64[n] 1 where the user's own items may be listed."""
    k: I64
    ptr: I64
    excluded: I64
    """Positions that query i must not list: excluded[ptr[i]:ptr[i + 1]]."""


class Lists(NamedTuple):
    """The answers, best first."""

    size: I64
    items: U64
    """uint64[n, k]"""
    scores: F32
    """float32[n, k] softmax of the log-linear score over the candidates."""
    expert: U8
    because: U64
    """uint64[n, k, REASONS] hashes, 0 = none."""


@kernel
def query_vectors(v: View, users: UserArrays, setup: Setup, user: I64, second: I64, w: Work, z: F32) -> None:
    """Z of every query into float32[n, d]."""
    for i in range(len(user)):
        query(v, users, setup, user[i], second[i], w)
        for j in range(z.shape[1]):
            z[i, j] = w.z[0, j]


@kernel
def _reasons(v: View, w: Work, row: int, found: int, out: U64) -> None:
    """The history items that speak most for an item: itself; co-visits 0.8^k C[h_k, x] / sum C[h_k]; or,
    where it has none, their share of its factor score."""
    key = v.keys[row]
    total = np.float32(0.0)
    decayed = np.float32(1.0)
    for k in range(found):
        h = w.rows[k]
        share = np.float32(0.0)
        if w.hashes[k] == key:
            share = np.float32(1.0)
        elif h >= 0:
            at = v.near.where[h]
            for i in range(at, at + v.near.length[h]):
                if v.near.keys[i] == key:
                    share = decayed * v.near.values[i, 0] / max(v.sums[h, 1], np.float32(1e-9))
                    break
        w.values[k] = share
        decayed *= np.float32(0.8)
        total += share
    if total <= np.float32(0.0):
        for k in range(found):
            if w.rows[k] >= 0:
                w.values[k] = (w.coefficient1[k] + w.coefficient2[k]) * dot(v.v, w.rows[k], v.q, row)
    for r in range(len(out)):
        best = -1
        for k in range(found):
            if w.values[k] > np.float32(0.0) and (best < 0 or w.values[k] > w.values[best]):
                best = k
        out[r] = np.uint64(0)
        if best >= 0:
            out[r] = w.hashes[best]
            for k in range(found):
                if w.hashes[k] == out[r]:
                    w.values[k] = np.float32(0.0)


@kernel
def _better(v: View, w: Work, a: int, b: int) -> Any:
    if w.scores[a] != w.scores[b]:
        return w.scores[a] > w.scores[b]
    return v.keys[w.cand[a]] < v.keys[w.cand[b]]


@kernel
def _select(v: View, w: Work, n: int, k: int, order: I64) -> int:
    """Ordinals of the k best candidates, best first, of equals the lower hash first."""
    m = 0
    for i in range(n):
        if m < k:
            place = m
            m += 1
        elif m and _better(v, w, i, order[m - 1]):
            place = m - 1
        else:
            continue
        while place > 0 and _better(v, w, i, order[place - 1]):
            order[place] = order[place - 1]
            place -= 1
        order[place] = i
    return m


@kernel
def serve(  # noqa: PLR0913, PLR0917  (arrays of several owners, which share no tuple)
    v: View,
    users: UserArrays,
    setup: Setup,
    asked: Asked,
    by_rows: I64,
    by_size: I64,
    norms: F64,
    codes: I32,
    w: Work,
    out: Lists,
) -> None:
    """Answer every query.

    Args:
        v: the item rows.
        users: the user rows.
        setup: settings; `repeats` is each query's own.
        asked: the queries.
        by_rows: int64[n, top] the exact best rows of the factors, in any order, by_size[i] of them.
        by_size: int64[n]
        norms: float64[n] log of the factors' normaliser.
        codes: int32[MIX] expert behind each share of the mixture.
        w: buffers.
        out: receives the lists.
    """
    order = np.empty(out.items.shape[1], np.int64)
    for i in range(len(asked.user)):
        user, second = asked.user[i], asked.second[i]
        mine = Setup(asked.repeats[i] == 1, setup.gamma, setup.gamma_long, setup.history, setup.near, setup.top)
        found, bucket, _ = query(v, users, mine, user, second, w)
        ranking.exclude(users, mine, user, w)
        for at in range(asked.ptr[i], asked.ptr[i + 1]):
            spot_put(w.seen, v.keys[asked.excluded[at]], 0)
        w.facts[0] = norms[i]
        touched, own = ranking.gather(v, mine, user, second, found, w)
        n = ranking.candidates(v, mine, touched, own, w)
        for j in range(by_size[i]):
            n += max(add(v.keys, w.seen, w.listed, w.cand, by_rows[i, j], n), 0)
        ranking.score(v, users, mine, user, bucket, w, 0, n)
        out.size[i] = _select(v, w, n, asked.k[i], order)
        _fill(v, w, out, i, n, order, v.pi[v.system[1 + bucket]], codes, min(found, setup.near))


@kernel
def _fill(  # noqa: PLR0913, PLR0917  (one query's share of `serve`)
    v: View, w: Work, out: Lists, i: int, n: int, order: I64, pi: F32, codes: I32, found: int
) -> None:
    mass, size = 0.0, out.size[i]
    for j in range(n):
        mass += np.exp(np.float64(w.scores[j]) - np.float64(w.scores[order[0]]))
    for r in range(size):
        at: Any = order[r]
        out.items[i, r] = v.keys[w.cand[at]]
        out.scores[i, r] = np.exp(np.float64(w.scores[at]) - np.float64(w.scores[order[0]])) / mass
        best = 0
        for e in range(MIX):
            if pi[e] * w.shares[at, e] > pi[best] * w.shares[at, best]:
                best = e
        out.expert[i, r] = codes[best]
        if codes[best] != POPULARITY:
            _reasons(v, w, w.cand[at], found, out.because[i, r])
