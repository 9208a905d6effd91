"""A ranker for items that nobody has touched: log-linear over counts of content features, learned online.

Weights are learned by softmax of the observed first occurrence against 50 untouched items, Adagrad.
"""

from __future__ import annotations

import numpy as np

from services.model.arena import HashIndex, list_bytes, list_clear, list_pool, reserve
from services.model.arrays import F32, I64, U32, Mask
from services.model.kernels.cold import (
    AGES,
    COLUMNS,
    NEWEST,
    ColdView,
    age_of,
    count_untouched,
    describe,
    evidence_of,
    first_occurrence,
    forget_profile,
    profile,
    score_all,
    weigh,
)
from services.model.kernels.untouched import Shelf, shelf_of

MEMORY = 1500
"""Half-life of the counts, in first occurrences."""
CONTRASTS = 50
RATE = 0.1
START = (0.5, 0.1, 0.1, 1.0, 1.5, 0.0, 0.3, 0.0, 0.7, 0.3)
"""Weights before anything was learned (kernels/cold.py has the columns): about what different streams agree on."""
CONSIDERED = 1000
"""Untouched items that lists look at: the best of them for a user without history, and up to as many newer ones."""
_DECAY = 0.5 ** (1.0 / MEMORY)
_STALE = 0.01
"""Change of the catalogue's size after which the rarity of words is computed anew."""
_ABSENT, _WAITING, _TOUCHED = 0, 1, 2


class ColdRanker:
    """Knows the content of a catalogue's items, by slot, and ranks those that nobody has touched for a user."""

    def __init__(self, items: int, features: int, limit: int, seed: int = 0) -> None:
        """Start empty.

        Args:
            items: ceiling of slots.
            features: ceiling of distinct content features; what comes beyond it says nothing.
            limit: content features of an item; more are cut off.
            seed: of the draws of contrasts.
        """

        def by_feature() -> F32:
            return reserve((features,), np.float32)

        self.view = ColdView(
            content=list_pool(items, limit, np.uint32, 0),
            year=reserve((items,), np.int32),
            norm=reserve((items,), np.float32),
            per_category=reserve((items,), np.float32),
            kind=reserve((features,), np.int32),
            having=by_feature(),
            rarity=by_feature(),
            recent=by_feature(),
            untouched=by_feature(),
            recent_age=np.zeros(AGES, np.float32),
            untouched_age=np.zeros(AGES, np.float32),
            wave=by_feature(),
            own=by_feature(),
            words=by_feature(),
            last=by_feature(),
            pull=reserve((features, 3), np.float32),
            totals=np.array([0, 0, 0, 0, 0, 1], np.float32),
        )
        self.weights: F32 = np.array(START, np.float32)
        self._squares: F32 = np.ones(COLUMNS, np.float32)
        self._random = np.random.default_rng(seed)
        self._features = HashIndex()
        self._state = reserve((items,), np.uint8)
        self._waiting: I64 = reserve((items,), np.int64)
        """The untouched items, in no order: the first `waiting` entries."""
        self._place: I64 = reserve((items,), np.int64)
        """Where an untouched item stands in it."""
        self.waiting = 0
        """Number of untouched items."""
        self._n = self._weighed = 0
        self.year = 0
        """The present year, from which ages of releases follow; 0 = not known yet."""
        self._changes = 0
        self._shelf = shelf_of(self.view, np.zeros(0, np.int64), np.zeros(0, np.float32))
        self._shelf_changes = -1
        self._fresh: list[int] = []
        """Untouched items that have come since the shelf was filled."""

    def put(self, item: int, content: U32) -> None:
        """Learn of an item, untouched, or replace what is known of it; what was touched stays so."""
        v = self.view
        features = self._ordinals(content[: v.content.sizes[-1]])
        at = int(v.content.where[item])
        old = v.content.keys[at : at + int(v.content.length[item])]
        if self._state[item] != _ABSENT and np.array_equal(old, features):
            return
        touched = self._state[item] == _TOUCHED
        self.remove(item)
        self._n += 1
        describe(v, item, content, features, self._n)
        self._state[item] = _TOUCHED
        if not touched:
            self.release(item)
        self._changes += 1

    def remove(self, item: int) -> None:
        """Forget an item; nothing happens when it is not there."""
        if self._state[item] == _ABSENT:
            return
        self._take(item)
        v = self.view
        at = int(v.content.where[item])
        v.having[v.content.keys[at : at + int(v.content.length[item])]] -= 1
        list_clear(v.content, item)
        self._state[item] = _ABSENT
        self._n -= 1
        self._changes += 1

    def touch(self, item: int) -> None:
        """An item has occurred: from its first occurrence on it is touched."""
        if self._state[item] == _WAITING:
            first_occurrence(self.view, item, self.year, _DECAY)
            self._take(item)

    def release(self, item: int) -> None:
        """An item is as if it had never been touched: new, or its row was evicted."""
        if self._state[item] == _TOUCHED:
            self._state[item] = _WAITING
            self._place[item] = self.waiting
            self._waiting[self.waiting] = item
            self.waiting += 1
            count_untouched(self.view, item, self.year, 1.0)
            self._changes += 1
            self._fresh.append(item)

    def untouched(self, items: I64) -> Mask:
        """bool[n] whether nobody has touched the items of slots."""
        return np.asarray(self._state[items] == _WAITING)

    def set_year(self, year: int) -> None:
        """The present year: ages of releases follow from it."""
        if year != self.year:
            self.year = year
            ages = [age_of(y, year) for y in self.view.year[self.candidates()].tolist()]
            self.view.untouched_age[:] = np.bincount(ages, minlength=AGES)
            self._changes += 1

    def candidates(self) -> I64:
        """int64[waiting] the untouched items, in no order."""
        return self._waiting[: self.waiting]

    def scores(self, candidates: I64, newest: I64) -> F32:
        """float32[k] scores of untouched items for a user whose newest items (newest first) are given."""
        self._weigh()
        out: F32 = np.zeros(len(candidates), np.float32)
        profile(self.view, newest[:NEWEST])
        score_all(self.view, candidates, self.year, self.weights, out)
        forget_profile(self.view, newest[:NEWEST])
        return out

    def shelf(self) -> Shelf:
        """The untouched items that lists look at."""
        if self._shelf_changes != self._changes:
            nobody = np.zeros(0, np.int64)
            items = np.unique(np.concatenate([self._shelf.items, np.array(self._fresh, np.int64)]))
            items = items[self._state[items] == _WAITING]
            if self.waiting <= CONSIDERED:
                items = self.candidates().copy()
            elif not CONSIDERED // 2 <= len(items) <= 2 * CONSIDERED:
                items = self.candidates()
                items = items[np.argsort(-self.scores(items, nobody), kind="stable")[:CONSIDERED]]
            self._shelf = shelf_of(self.view, items, self.scores(items, nobody))
            self._shelf_changes = self._changes
            self._fresh.clear()
        return self._shelf

    def learn(self, item: int, newest: I64) -> None:
        """Learn from the first occurrence of an item, for a user whose newest items are given; it is untouched no
        longer."""
        self._weigh()
        v = self.view
        drawn = self._waiting[self._random.integers(0, self.waiting, CONTRASTS)]
        chosen = np.concatenate([[item], drawn[drawn != item]])
        rows = np.zeros((len(chosen), COLUMNS), np.float32)
        profile(v, newest[:NEWEST])
        evidence_of(v, chosen, self.year, rows)
        forget_profile(v, newest[:NEWEST])
        score = rows @ self.weights
        p = np.exp(score - score.max())
        p /= p.sum()
        p[0] -= 1.0
        gradient = (p @ rows).astype(np.float32)
        self._squares += gradient * gradient
        self.weights -= np.float32(RATE) * gradient / np.sqrt(self._squares)
        self.touch(item)

    def nbytes(self) -> int:
        """Resident bytes."""
        return list_bytes(self.view.content) + self._features.nbytes + 29 * self._n + 48 * self._features.size

    def _take(self, item: int) -> None:
        """Out of the untouched items."""
        if self._state[item] != _WAITING:
            return
        count_untouched(self.view, item, self.year, -1.0)
        self._state[item] = _TOUCHED
        place, self.waiting = int(self._place[item]), self.waiting - 1
        last = int(self._waiting[self.waiting])
        self._waiting[place], self._place[last] = last, place
        self._changes += 1

    def _ordinals(self, content: U32) -> I64:
        """int64[m] ordinals of content features, in order, without those that found no room."""
        words = content.astype(np.uint64)
        ordinals = self._features.find_many(words)
        if ordinals.size and ordinals.min() >= 0:
            return ordinals
        new = np.unique(words[ordinals < 0])[: len(self.view.kind) - self._features.size]
        first = self._features.size
        self._features.insert(new, np.arange(first, first + len(new)))
        self.view.kind[first : first + len(new)] = new >> np.uint64(28)
        ordinals = self._features.find_many(words)
        return ordinals[ordinals >= 0]

    def _weigh(self) -> None:
        """Rarity follows the size of the catalogue in steps."""
        if abs(self._n - self._weighed) > _STALE * self._weighed:
            weigh(self.view, np.flatnonzero(self._state), np.arange(self._features.size), self._n)
            self._weighed = self._n


def year_of(second: int) -> int:
    """Calendar year of a Unix time, as near as ages of releases need it."""
    return 1970 + int(second / (365.2425 * 86_400))


__all__ = ["CONSIDERED", "START", "ColdRanker", "year_of"]
