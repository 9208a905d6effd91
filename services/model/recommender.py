"""What publishing runs: exact ranked lists for many users at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.model.arena import pointers
from services.model.arrays import F32, F64, I64, U8, U32, U64
from services.model.catalogue import Catalogue
from services.model.cold import year_of
from services.model.config import ModelConfig
from services.model.experts import MIXTURE
from services.model.kernels.serving import REASONS, Asked, Lists, excluded_rows, query_vectors, serve
from services.model.kernels.untouched import Known, add_untouched
from services.model.kernels.view import Work
from services.model.layout import TICK_S
from services.model.replica import Replica
from services.model.rows import RowChange
from services.model.topk import top_k
from services.model.users import UserTable
from services.model.views import buffers, create_system_rows, setup, view

Allowed = U64 | Callable[[U64], npt.NDArray[np.bool_]] | None
"""Items that may be listed: the blocked hashes, or a function from hashes to a mask of the allowed."""


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
    """float32[m] probability among the candidates; an item that nobody has touched has that of the item whose place
    it takes, or 0."""
    expert: U8
    """uint8[m] the expert that is most responsible for the item (experts.NAMES)."""
    because: U64
    """uint64[m, REASONS] for each item, the user's earlier items behind it, strongest first; 0 = none."""

    def rank_of(self, item: int) -> int:
        """Place of an item, from 1; 0 when it is not listed."""
        found = np.flatnonzero(self.items == np.uint64(item))
        return int(found[0]) + 1 if len(found) else 0


class Recommender:
    """Ranks the items of a replica for the users of a table. Reads both, changes neither."""

    def __init__(self, config: ModelConfig, replica: Replica, users: UserTable, new_every: int = 20) -> None:
        """Connect the parts.

        Args:
            config: the model's settings.
            replica: the item rows.
            users: the user rows.
            new_every: one place in so many goes to an item that nobody has touched, where one fits the user; 0 = none
                but those that nothing else fills.
        """
        self.config = config
        self.replica = replica
        self.users = users
        self.catalogue = Catalogue(config)
        self._work: Work | None = None
        self._room = 0
        # Past the end of every list where there is to be none.
        self._new_every = new_every or 1 << 30
        self._following = False

    def recommend(self, queries: Sequence[Query], allowed: Allowed = None) -> list[Ranking]:
        """Rank for many users at once.

        1. every user's vector; the exact best items of the factors, with the softmax normaliser;
        2. the union with every other expert's list, scored by the log-linear score; the k best of it;
        3. items that nobody has touched fill up, and get one place in `new_every` where one fits.
        """
        if not queries:
            return []
        create_system_rows(self.replica)
        top = max(self.config.list_length, *(q.k for q in queries))
        table, seen_by = self.replica.items.table, view(self.replica)
        ptr, lists = self._excluded(queries, allowed)
        work = self._buffers(top, int(np.diff(ptr).max()))
        q, b = table.stores["q"].data, table.stores["b"].data[:, 0]
        asked = Asked(
            np.array([query.user for query in queries], np.int64),
            np.array([query.now_ms // 1000 for query in queries], np.int64),
            np.array([not query.exclude_seen for query in queries], np.int64),
            np.array([query.k for query in queries], np.int64),
            ptr,
            lists,
            pointers([len(query.context) for query in queries]),
            np.concatenate([query.context for query in queries]),
        )
        z: F32 = np.empty((len(queries), self.config.dim), np.float32)
        settings = setup(self.config, repeats=False, top=top)
        query_vectors(seen_by, self.users.arrays, settings, asked.user, asked.second, work, z)
        found = top_k(z, q, b, table.keys, self.replica.items.segments(), top, ptr, lists)
        norms: F64 = found.peak.astype(np.float64) + np.log(np.maximum(found.mass, 1e-30))
        out = _lists(len(queries), top)
        serve(seen_by, self.users.arrays, settings, asked, found.rows, found.size, norms, _CODES, work, out)
        self.follow()
        if self.catalogue.cold.waiting:
            self._add_untouched(queries, asked, allowed, out)
        return [self._ranking(out, i) for i in range(len(queries))]

    def follow(self) -> None:
        """Tell the catalogue which items have rows, once, in the order of their slots: about that of their first
        occurrences. From then on `Catalogue.occurred` is to be told."""
        if not self._following:
            self._following = True
            self._date()
            table = self.replica.items.table
            for start, end in self.replica.items.segments():
                keys = table.keys[start:end]
                self.catalogue.occurred(keys[keys != 0])

    def rows_changed(self, changes: Sequence[RowChange]) -> None:
        """Tell the catalogue what a sweep says of its items; before `follow` there is nothing to tell."""
        if self._following and len(self.catalogue):
            self._date()
            here = [change.hash for change in changes if change.blocks is not None]
            gone = [change.hash for change in changes if change.blocks is None]
            self.catalogue.occurred(np.array(here, np.uint64))
            self.catalogue.gone(np.array(gone, np.uint64))

    def _date(self) -> None:
        """Until a query says what year it is, it is that of the newest event counted: first occurrences have an age."""
        row = self.replica.system_row()
        tick = int(self.replica.system.table.stores["totals"].data[row, -1]) if row >= 0 else 0
        if tick and not self.catalogue.cold.year:
            self.catalogue.cold.set_year(year_of(tick * TICK_S))

    def _add_untouched(self, queries: Sequence[Query], asked: Asked, allowed: Allowed, out: Lists) -> None:
        catalogue, cold, rows = self.catalogue, self.catalogue.cold, self.replica.items.table.index
        cold.set_year(year_of(queries[0].now_ms // 1000))
        shelf, hidden = cold.shelf(), [query.exclude for query in queries]
        known = Known(
            catalogue.hashes,
            catalogue.index.keys,
            catalogue.index.slots,
            rows.keys,
            rows.slots,
            pointers([len(each) for each in hidden]),
            np.concatenate(hidden),
        )
        is_open = _allowed(catalogue.hashes[shelf.items], allowed)
        room = _lists(1, out.items.shape[1])
        users, every = self.users.arrays, self._new_every
        add_untouched(cold.view, shelf, is_open, known, users, asked, cold.weights, every, room, out)

    def _buffers(self, top: int, excluded: int) -> Work:
        if self._work is None or len(self._work.best) <= top or excluded > self._room:
            self._room = max(2 * excluded, 1024)
            self._work = buffers(self.config, top, self._room)
        return self._work

    @staticmethod
    def _ranking(out: Lists, i: int) -> Ranking:
        n = int(out.size[i])
        return Ranking(out.items[i, :n], out.scores[i, :n], out.expert[i, :n], out.because[i, :n])

    def _excluded(self, queries: Sequence[Query], allowed: Allowed) -> tuple[I64, I64]:
        """Sorted positions that each query must not list, end to end, with pointers."""
        table = self.replica.items.table
        if allowed is None or not callable(allowed):
            blocked: I64 = table.index.find_many(_NONE if allowed is None else allowed)
        else:
            blocked = self._blocked(allowed)
        seen = self.users.arrays.seen
        hidden = np.array([query.user if query.exclude_seen else -1 for query in queries], np.int64)
        named_ptr = pointers([len(query.exclude) for query in queries])
        named = np.concatenate([query.exclude for query in queries])
        room = np.where(hidden >= 0, seen.length[hidden], 0) + np.diff(named_ptr) + len(blocked)
        rows = np.empty(int(room.sum()), np.int64)
        ptr = np.zeros(len(queries) + 1, np.int64)
        excluded_rows(table.index.keys, table.index.slots, seen, hidden, named, named_ptr, blocked, rows, ptr)
        return ptr, rows

    def _blocked(self, allowed: Callable[[U64], npt.NDArray[np.bool_]]) -> I64:
        """Positions of rows that may not be listed."""
        table = self.replica.items.table
        at = np.concatenate([a + np.flatnonzero(table.keys[a:b]) for a, b in self.replica.items.segments()])
        return at[~allowed(table.keys[at])]


_CODES = np.array(MIXTURE, np.int32)


def _lists(n: int, k: int) -> Lists:
    return Lists(
        np.zeros(n, np.int64),
        np.zeros((n, k), np.uint64),
        np.zeros((n, k), np.float32),
        np.zeros((n, k), np.uint8),
        np.zeros((n, k, REASONS), np.uint64),
    )


_NONE: U64 = np.zeros(0, np.uint64)


def _allowed(hashes: U64, allowed: Allowed) -> npt.NDArray[np.bool_]:
    if allowed is None:
        return np.ones(len(hashes), np.bool_)
    return allowed(hashes) if callable(allowed) else ~np.isin(hashes, allowed)
