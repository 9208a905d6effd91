"""Lists by recent popularity alone: the fall-back of publishing, and the bar that the learner must clear."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from services.model.arrays import F32, I64, U64, Mask
from services.model.config import ModelConfig
from services.model.experts import POPULARITY
from services.model.kernels.serving import REASONS
from services.model.recommender import Query, Ranking
from services.model.replica import Replica
from services.model.users import UserTable

HALFLIFE_S = 86_400.0
"""The half-life that did best alone on most streams: a day."""

_NONE: U64 = np.zeros(0, np.uint64)


class Popular:
    """Ranks the items of a replica by their decayed counts."""

    def __init__(self, config: ModelConfig, item_rows: Replica, users: UserTable) -> None:
        self._replica = item_rows
        self._users = users
        self._which = int(np.argmin([abs((halflife or 1e12) - HALFLIFE_S) for halflife in config.halflives_s]))
        self._version = -1
        self._best: tuple[U64, F32] = (_NONE, np.zeros(0, np.float32))

    def recommend(self, queries: Sequence[Query], allowed: Callable[[U64], Mask] | None = None) -> list[Ranking]:
        """The most popular items that each query may list; scores are shares of all recent events."""
        hashes, shares = self._order()
        if allowed is not None:
            kept = allowed(hashes)
            hashes, shares = hashes[kept], shares[kept]
        return [self._list(query, hashes, shares) for query in queries]

    def _list(self, query: Query, hashes: U64, shares: F32) -> Ranking:
        own = self._users.seen(query.user) if query.user >= 0 and query.exclude_seen else _NONE
        excluded = np.concatenate([own, query.exclude])
        # As deep as every excluded item could push the list down, and no deeper.
        depth = query.k + len(excluded)
        at = np.flatnonzero(~np.isin(hashes[:depth], excluded))[: query.k]
        expert = np.full(len(at), POPULARITY, np.uint8)
        return Ranking(hashes[at], shares[at], expert, np.zeros((len(at), REASONS), np.uint64))

    def _order(self) -> tuple[U64, F32]:
        """(hashes, shares) of all items, most popular first. A count decays alike everywhere, so that the order does
        not depend on the moment."""
        if self._version != self._replica.version:
            table = self._replica.items.table
            at: I64 = np.concatenate([a + np.flatnonzero(table.keys[a:b]) for a, b in self._replica.items.segments()])
            store = table.stores["pop"]
            counts, anchors = store.data[at, self._which], store.data[at, -1]
            age = (anchors.max(initial=0.0) - anchors).astype(np.float64)
            now = counts * np.exp2(-age * store.rates[self._which])
            order = np.lexsort((table.keys[at], -now))
            shares = (now / max(float(now.sum()), 1e-30)).astype(np.float32)
            self._best = table.keys[at][order], shares[order]
            self._version = self._replica.version
        return self._best
