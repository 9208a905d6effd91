"""A ranker for items that nobody has touched: log-linear over counts of content features, learned online.

Weights are learned by softmax of the observed first occurrence against 50 untouched items, Adagrad.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.model.arrays import F32, I32, I64, U32
from services.model.kernels.cold import AGES, COLUMNS, ColdView, age_of, evidence, forget_profile, profile, score_all

MEMORY = 1500
"""Half-life of the counts, in first occurrences."""
CONTRASTS = 50
RATE = 0.1
START = (0.5, 0.3, 0.3, 0.5, 1.0, 0.3, 0.3, 0.3, 0.5, 0.3)
"""Weights before anything was learned (kernels/cold.py has the columns)."""
_CATEGORY, _YEAR, _WORD = 1, 3, 5


class ColdRanker:
    """Ranks the untouched items of a catalogue for a user."""

    def __init__(self, ptr: I64, content: U32, seed: int = 0) -> None:
        """Take a catalogue.

        Args:
            ptr: int64[n + 1]; item i has content[ptr[i]:ptr[i + 1]].
            content: content features, kind in the high 4 bits.
            seed: of the draws of contrasts.
        """
        n = len(ptr) - 1
        names, feature = np.unique(content, return_inverse=True)
        kind = (names >> 28).astype(np.int32)
        features = len(names)
        of_item = np.repeat(np.arange(n), np.diff(ptr))
        year: I32 = np.zeros(n, np.int32)
        years = kind[feature] == _YEAR
        year[of_item[years]] = (content[years] & 0x0FFF_FFFF).astype(np.int32)
        having = np.bincount(feature, minlength=features).astype(np.float32)
        rarity = np.log((n + 1) / (having + 1)).astype(np.float32)
        words = kind[feature] == _WORD
        square = np.bincount(of_item[words], (rarity[feature[words]] ** 2).astype(np.float64), n)
        zeros = [np.zeros(features, np.float32) for _ in range(5)]
        self.view = ColdView(
            ptr.astype(np.int64), feature.astype(np.int32), kind, year,
            (1.0 / np.sqrt(square + 1e-6)).astype(np.float32), rarity, zeros[0], having.copy(),
            np.zeros(AGES, np.float32), np.zeros(AGES, np.float32), zeros[1], zeros[2], zeros[3], zeros[4],
            np.array([0, n, 0, 0, 0], np.float32),
        )  # fmt: skip
        self._year_now = 0
        self.untouched = np.ones(n, np.bool_)
        self.weights: F32 = np.array(START, np.float32)
        self._squares: F32 = np.ones(COLUMNS, np.float32)
        self._random = np.random.default_rng(seed)

    def set_year(self, year: int) -> None:
        """The present year: ages of releases follow from it."""
        if year != self._year_now:
            self._year_now = year
            ages = [age_of(y, year) for y in self.view.year[self.untouched].tolist()]
            self.view.untouched_age[:] = np.bincount(ages, minlength=AGES)

    def scores(self, candidates: I64, newest: Sequence[int]) -> F32:
        """float32[k] scores of untouched items for a user whose newest items (newest first) are given."""
        items = np.array(newest[:50], np.int64)
        out: F32 = np.zeros(len(candidates), np.float32)
        profile(self.view, items)
        score_all(self.view, candidates, self._year_now, self.weights, out)
        forget_profile(self.view, items)
        return out

    def learn(self, item: int, newest: Sequence[int]) -> None:
        """Learn from the first occurrence of an item; it is untouched no longer."""
        v, items = self.view, np.array(newest[:50], np.int64)
        pool = np.flatnonzero(self.untouched)
        drawn = pool[self._random.integers(0, len(pool), CONTRASTS)]
        chosen = np.concatenate([[item], drawn[drawn != item]])
        rows = np.zeros((len(chosen), COLUMNS), np.float32)
        profile(v, items)
        for i, each in enumerate(chosen.tolist()):
            evidence(v, each, self._year_now, rows[i])
        forget_profile(v, items)
        score = rows @ self.weights
        p = np.exp(score - score.max())
        p /= p.sum()
        p[0] -= 1.0
        gradient = (p @ rows).astype(np.float32)
        self._squares += gradient * gradient
        self.weights -= np.float32(RATE) * gradient / np.sqrt(self._squares)
        self._touch(item)

    def _touch(self, item: int) -> None:
        v = self.view
        self.untouched[item] = False
        mine = v.feature[v.ptr[item] : v.ptr[item + 1]]
        age = age_of(int(v.year[item]), self._year_now)
        decay = np.float32(0.5 ** (1.0 / MEMORY))
        np.multiply(v.recent, decay, out=v.recent)
        np.multiply(v.recent_age, decay, out=v.recent_age)
        np.multiply(v.wave, decay, out=v.wave)
        v.totals[0] = v.totals[0] * decay + 1
        v.totals[1] -= 1
        v.recent[mine] += 1
        v.untouched[mine] -= 1
        v.recent_age[age] += 1
        v.untouched_age[age] -= 1
        words = mine[v.kind[mine] == _WORD]
        v.wave[words] += v.rarity[words] * v.norm[item] * np.float32(0.2)


__all__ = ["ColdRanker"]
