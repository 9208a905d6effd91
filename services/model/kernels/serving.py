"""Lists for many users in one call: candidates, scores, the k best, and the earlier items behind each."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from services.model.arena import Lists as Pool
from services.model.arena import index_find
from services.model.arrays import F32, F64, I32, I64, U8, U32, U64
from services.model.experts import POPULARITY, context
from services.model.jit import allocating_kernel, inline, kernel
from services.model.kernels import ranking
from services.model.kernels.candidates import add
from services.model.kernels.query import query
from services.model.kernels.spot import spot_clear, spot_find, spot_put
from services.model.kernels.users import UserArrays
from services.model.kernels.vectors import dot, exp_one
from services.model.kernels.view import MIX, Setup, View, Work

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
    context_ptr: I64
    context: U32
    """Context features of query i: context[context_ptr[i]:context_ptr[i + 1]]."""


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


@allocating_kernel
def excluded_rows(  # noqa: PLR0913, PLR0917  (arrays of several owners, which share no tuple)
    index_keys: U64,
    index_slots: I32,
    seen: Pool,
    hidden: I64,
    named: U64,
    named_ptr: I64,
    blocked: I64,
    rows: I64,
    ptr: I64,
) -> None:
    """Ascending positions that each query must not list, each once, end to end in `rows`, with pointers.

    Args:
        index_keys: the index from hashes to positions.
        index_slots: its other half.
        seen: the users' lists of items seen.
        hidden: int64[n] user whose items seen are left out, -1 = nobody's.
        named: hashes that query i leaves out: named[named_ptr[i]:named_ptr[i + 1]].
        named_ptr: int64[n + 1]
        blocked: positions that nobody gets, -1 = none.
        rows: receives the positions; has room for all, duplicates included.
        ptr: int64[n + 1] receives the pointers.
    """
    end = 0
    for i in range(len(hidden)):
        start = end
        for at in range(named_ptr[i], named_ptr[i + 1]):
            rows[end] = index_find(index_keys, index_slots, named[at])
            end += 1
        if hidden[i] >= 0:
            first = seen.where[hidden[i]]
            for at in range(first, first + seen.length[hidden[i]]):
                rows[end] = index_find(index_keys, index_slots, seen.keys[at])
                end += 1
        rows[end : end + len(blocked)] = blocked
        end += len(blocked)
        rows[start:end].sort()
        kept = start
        for at in range(start, end):
            if rows[at] >= 0 and (kept == start or rows[at] != rows[kept - 1]):
                rows[kept] = rows[at]
                kept += 1
        ptr[i + 1] = end = kept


@kernel
def query_vectors(v: View, users: UserArrays, setup: Setup, user: I64, second: I64, w: Work, z: F32) -> None:
    """Z of every query into float32[n, d]."""
    for i in range(len(user)):
        query(v, users, setup, user[i], second[i], w)
        for j in range(z.shape[1]):
            z[i, j] = w.z[0, j]


@inline
def _shares(v: View, w: Work, listed: U64, found: int, out: F32) -> None:
    """How much each history item speaks for each listed one, into out float32[n, found]: 1 for the item itself, else
    its co-visits 0.8^k C[h_k, x] / sum C[h_k]. One pass over the neighbour lists serves all listed items."""
    n = len(listed)
    spot_clear(w.listed)
    for r in range(n):
        spot_put(w.listed, listed[r], r)
        for k in range(found):
            out[r, k] = np.float32(0.0)
    decayed = np.float32(1.0)
    for k in range(found):
        h = w.rows[k]
        if h >= 0:
            scale = decayed / max(v.sums[h, 1], np.float32(1e-9))
            at = v.near.where[h]
            for i in range(at, at + v.near.length[h]):
                r = spot_find(w.listed, v.near.keys[i])
                if r >= 0:
                    out[r, k] = scale * v.near.values[i, 0]
        r = spot_find(w.listed, w.hashes[k])
        if r >= 0:
            out[r, k] = np.float32(1.0)
        decayed *= np.float32(0.8)


@inline
def _reasons(v: View, w: Work, row: int, found: int, share: F32, out: U64) -> None:
    """The history items that speak most for an item by `share` float32[found]; or, where none does, by their part of
    its factor score."""
    total = np.float32(0.0)
    for k in range(found):
        total += share[k]
    if total <= np.float32(0.0):
        for k in range(found):
            if w.rows[k] >= 0:
                share[k] = (w.coefficient1[k] + w.coefficient2[k]) * dot(v.v, w.rows[k], v.q, row)
    for r in range(len(out)):
        best = -1
        for k in range(found):
            if share[k] > np.float32(0.0) and (best < 0 or share[k] > share[best]):
                best = k
        out[r] = np.uint64(0)
        if best >= 0:
            out[r] = w.hashes[best]
            for k in range(found):
                if w.hashes[k] == out[r]:
                    share[k] = np.float32(0.0)


@inline
def _better(scores: F32, keys: U64, cand: I64, a: Any, b: Any) -> Any:
    return scores[a] > scores[b] or (scores[a] == scores[b] and keys[cand[a]] < keys[cand[b]])


@kernel
def _select(scores: F32, keys: U64, cand: I64, n: int, k: int, order: I64) -> int:
    """Ordinals of the k best candidates, best first, of equals the lower hash first."""
    m = 0
    for i in range(n):
        if m < k:
            place = m
            m += 1
        elif m and _better(scores, keys, cand, i, order[m - 1]):
            place = m - 1
        else:
            continue
        while place > 0 and _better(scores, keys, cand, i, order[place - 1]):
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
    for i in range(len(asked.user)):
        user, second = asked.user[i], asked.second[i]
        mine = Setup(asked.repeats[i] == 1, setup.gamma, setup.gamma_long, setup.history, setup.near, setup.top)
        found, bucket, _ = query(v, users, mine, user, second, w)
        ranking.exclude(users, mine, user, w)
        for at in range(asked.ptr[i], asked.ptr[i + 1]):
            spot_put(w.seen, v.keys[asked.excluded[at]], 0)
        w.facts[0] = norms[i]
        context.prepare(v, asked.context, asked.context_ptr[i], asked.context_ptr[i + 1], found, w)
        touched, own = ranking.gather(v, mine, user, second, found, w)
        n = ranking.candidates(v, mine, touched, own, w)
        for j in range(by_size[i]):
            n += max(add(v.keys, w.seen, w.listed, w.cand, by_rows[i, j], n), 0)
        ranking.score(v, users, mine, user, bucket, w, 0, n)
        out.size[i] = _select(w.scores, v.keys, w.cand, n, asked.k[i], w.order)
        _fill(v, w, out, i, n, codes, min(found, setup.near))


@kernel
def _fill(v: View, w: Work, out: Lists, i: int, n: int, codes: I32, found: int) -> None:
    mass, size, order, share = np.float32(0.0), out.size[i], w.order, w.because
    if size == 0:
        return
    top, prior = w.scores[order[0]], w.prior
    for j in range(n):
        w.values[j] = exp_one(w.scores[j] - top)
    for j in range(n):
        mass += w.values[j]
    for r in range(size):
        out.items[i, r] = v.keys[w.cand[order[r]]]
        out.scores[i, r] = w.values[order[r]] / mass
    _shares(v, w, out.items[i, :size], found, share)
    for r in range(size):
        at: Any = order[r]
        best = 0
        for e in range(MIX):
            if prior[0, e] * w.shares[at, e] > prior[0, best] * w.shares[at, best]:
                best = e
        out.expert[i, r] = codes[best]
        if codes[best] != POPULARITY:
            _reasons(v, w, w.cand[at], found, share[r], out.because[i, r])
