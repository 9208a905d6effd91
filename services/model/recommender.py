"""What publishing runs: exact ranked lists for many users at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.model.arena import pointers
from services.model.arrays import F32, I64, U8, U32, U64
from services.model.catalogue import Catalogue
from services.model.config import ModelConfig
from services.model.experts import CONTENT, FACTORS, POPULARITY
from services.model.kernels.factors import query_vector
from services.model.replica import Replica
from services.model.topk import Best, best, ranked, top_k
from services.model.users import UserTable

Allowed = U64 | Callable[[U64], npt.NDArray[np.bool_]] | None
"""Items that may be listed: the blocked hashes, or a function from hashes to a mask of the allowed."""

_LIST = 2
"""Each expert offers this many times k items to the union."""
_POPULARITY_HALFLIFE_S = 86400.0


@dataclass(slots=True)
class Query:
    """One list to make."""

    user: int
    """Slot in the user table, -1 for a user never seen."""
    now_ms: int
    k: int
    exclude: U64
    """uint64[...] hashes that must not be listed."""
    context: U32
    exclude_seen: bool


@dataclass(slots=True)
class Ranking:
    """One list, best first."""

    items: U64
    """uint64[m] hashes, m <= k."""
    scores: F32
    """float32[m] probability under the mixture; 0 for items that nobody has touched."""
    expert: U8
    """uint8[m] the expert that is most responsible for the item (experts.NAMES)."""
    because: list[U64]
    """For each item, the user's earlier items behind it, strongest first."""


class Recommender:
    """Ranks the items of a replica for the users of a table. Reads both, changes neither."""

    def __init__(self, config: ModelConfig, replica: Replica, users: UserTable) -> None:
        self.config = config
        self.replica = replica
        self.users = users
        self.catalogue = Catalogue(config)
        self._version = -1
        self._popularity: tuple[I64, F32] = (np.zeros(0, np.int64), np.zeros(0, np.float32))

    def recommend(self, queries: Sequence[Query], allowed: Allowed = None) -> list[Ranking]:
        """Rank for many users at once.

        1. every user's vector; the exact best items of the factors, with the softmax normaliser;
        2. the most popular items that each query may list;
        3. the union of both, scored by the mixture; the k best of it;
        4. places that stay empty go to items that nobody has touched, by the user's categories.
        """
        if not queries:
            return []
        table = self.replica.items.table
        ptr, lists = self._excluded(queries, allowed)
        k = max(q.k for q in queries) * _LIST
        at, shares_of = self.popularity()
        slots = np.array([q.user for q in queries], np.int64)
        warm = slots >= 0
        warm[warm] = self.users.arrays.history.length[slots[warm]] > 0
        z = self.query_vectors(np.where(warm, slots, -1))
        q, b = table.stores["q"].data, table.stores["b"].data[:, 0]
        by_factors = top_k(z, q, b, table.keys, self.replica.items.segments(), k, ptr, lists)
        by_popularity = _most_popular(at, shares_of, k, ptr, lists)
        out = []
        for i, query in enumerate(queries):
            rows = ranked(by_popularity, i)[1]
            p_factors: F32 = np.zeros(len(rows), np.float32)
            if warm[i]:
                rows = np.unique(np.concatenate([rows, ranked(by_factors, i)[1]]))
                logits = q[rows] @ z[i] + b[rows]
                p_factors = (np.exp(logits - by_factors.peak[i]) / by_factors.mass[i]).astype(np.float32)
            share = np.float32(0.5 if warm[i] else 0.0)
            p_popularity = shares_of[np.searchsorted(at, rows)]
            shares = np.stack([(1 - share) * p_popularity, share * p_factors])
            out.append(self._ranking(query, rows, shares, z[i], allowed))
        return out

    def query_vectors(self, slots: I64) -> F32:
        """float32[n, d] z of each user; 0 for a slot of -1."""
        table = self.replica.items.table
        config, arrays = self.config, self.users.arrays
        z: F32 = np.empty((len(slots), config.dim), np.float32)
        query_vector(
            table.index.keys,
            table.index.slots,
            table.stores["v1"].data,
            arrays.vector,
            slots,
            arrays.history,
            config.decay_short,
            config.history,
            np.zeros(config.history, np.int64),
            np.zeros(config.history, np.float32),
            z,
        )
        return z

    def _ranking(self, query: Query, rows: I64, shares: F32, z: F32, allowed: Allowed) -> Ranking:
        table = self.replica.items.table
        scores = shares.sum(axis=0)
        hashes = table.keys[rows]
        order = np.lexsort((hashes, -scores))[: query.k]
        rows, hashes = rows[order], hashes[order]
        experts = np.array([POPULARITY, FACTORS], np.uint8)[shares[:, order].argmax(axis=0)]
        because = [_NONE] * len(rows)
        by_factors = np.flatnonzero(experts == FACTORS)
        for at, earlier in zip(by_factors.tolist(), self._because(query.user, rows[by_factors]), strict=True):
            because[at] = earlier
        scores = scores[order]
        if len(hashes) < query.k:
            more = self._untouched(query, hashes, allowed)
            hashes = np.concatenate([hashes, more])
            scores = np.concatenate([scores, np.zeros(len(more), np.float32)])
            experts = np.concatenate([experts, np.full(len(more), CONTENT, np.uint8)])
            because += [_NONE] * len(more)
        return Ranking(hashes, scores.astype(np.float32), experts, because)

    def _because(self, user: int, rows: I64) -> list[U64]:
        """For each item, up to two distinct items of the user's history with the largest positive share in its score.

        All items of a list at once: one product of history by items, and a maximum per column taken twice.
        """
        items = self.users.history(user)[0][: self.config.history] if len(rows) else _NONE
        if not len(items):
            return [_NONE] * len(rows)
        table = self.replica.items.table
        known = table.index.find_many(np.ascontiguousarray(items))
        weights = self.config.decay_short ** np.arange(len(items))
        shares = (table.stores["v1"].data[known] @ table.stores["q"].data[rows].T) * weights[:, None]
        shares[known < 0] = 0.0
        columns = np.arange(len(rows))
        first = shares.argmax(axis=0)
        largest = shares[first, columns]
        shares[items[:, None] == items[first]] = 0.0
        second = shares.argmax(axis=0)
        count = (largest > 0).astype(np.int64) + ((largest > 0) & (shares[second, columns] > 0))
        both = np.stack([items[first], items[second]], axis=1)
        return [pair[:n] for pair, n in zip(both, count.tolist(), strict=True)]

    def _untouched(self, query: Query, listed: U64, allowed: Allowed) -> U64:
        """Items known only from their metadata, nearest to the user's categories first."""
        own = _NONE if query.user < 0 or not query.exclude_seen else self.users.seen(query.user)
        candidates = self.catalogue.items()
        candidates = candidates[~np.isin(candidates, np.concatenate([listed, query.exclude, own]))]
        candidates = candidates[_allowed(candidates, allowed)]
        candidates = candidates[self.replica.items.table.index.find_many(candidates) < 0]
        affinity = self.catalogue.affinity(candidates, self.users, query.user)
        return candidates[np.lexsort((candidates, -affinity))][: query.k - len(listed)]

    def popularity(self) -> tuple[I64, F32]:
        """(positions in use, int64[n] ascending; their shares float32[n] of all recent events).

        The half-life is about a day. A count decays alike everywhere, so shares do not depend on the
        moment they are asked for.
        """
        if self._version != self.replica.version:
            table = self.replica.items.table
            at = np.concatenate([a + np.flatnonzero(table.keys[a:b]) for a, b in self.replica.items.segments()])
            which = int(np.argmin([abs((h or 1e12) - _POPULARITY_HALFLIFE_S) for h in self.config.halflives_s]))
            store = table.stores["pop"]
            counts, anchors = store.data[at, which], store.data[at, -1]
            age = (anchors.max(initial=0.0) - anchors).astype(np.float64)
            now = counts * np.exp2(-age * store.rates[which])
            shares = (now / max(float(now.sum()), 1e-30)).astype(np.float32)
            self._popularity = (at, shares)
            self._version = self.replica.version
        return self._popularity

    def _excluded(self, queries: Sequence[Query], allowed: Allowed) -> tuple[I64, I64]:
        """Sorted positions that each query must not list, end to end, with pointers."""
        table = self.replica.items.table
        if allowed is None or not callable(allowed):
            blocked: I64 = table.index.find_many(_NONE if allowed is None else allowed)
        else:
            at = self.popularity()[0]
            blocked = at[~allowed(table.keys[at])]
        parts = []
        for query in queries:
            own = [query.exclude]
            if query.exclude_seen and query.user >= 0:
                own.append(self.users.seen(query.user))
            rows = np.concatenate([blocked, table.index.find_many(np.concatenate(own))])
            parts.append(np.unique(rows[rows >= 0]))
        return pointers([len(p) for p in parts]), np.concatenate(parts)


_NONE: U64 = np.zeros(0, np.uint64)


def _allowed(hashes: U64, allowed: Allowed) -> npt.NDArray[np.bool_]:
    if allowed is None:
        return np.ones(len(hashes), np.bool_)
    return allowed(hashes) if callable(allowed) else ~np.isin(hashes, allowed)


def _most_popular(at: I64, shares: F32, k: int, ptr: I64, lists: I64) -> Best:
    """The k most popular rows of each query: one ordering, walked past what a query excludes."""
    found = best(len(ptr) - 1, k)
    deepest = k + int(np.diff(ptr).max(initial=0))
    order = np.arange(len(at))
    if deepest < len(at):
        order = np.argpartition(-shares, deepest)[: deepest + 1]
    order = order[np.lexsort((at[order], -shares[order]))]
    for i in range(len(ptr) - 1):
        kept = order[~np.isin(at[order], lists[ptr[i] : ptr[i + 1]])][:k]
        found.rows[i, : len(kept)] = at[kept]
        found.scores[i, : len(kept)] = shares[kept]
        found.size[i] = len(kept)
    return found
