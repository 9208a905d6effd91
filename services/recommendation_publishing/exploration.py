"""Explored positions: which positions of a list are a draw, and with what probability.

A function of the list's id alone, so that a list computed again after a crash is the same list.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from services.model.arena import pointers
from services.model.arrays import F64, I64


class Shown(NamedTuple):
    """What stands at the positions of n lists, m in all, list by list."""

    ptr: I64
    """int64[n + 1] the positions of list i are ptr[i]:ptr[i + 1] of the other columns."""
    chosen: I64
    """int64[m] index into the ranked items of all lists."""
    propensity: F64
    """float64[m] of an explored position the probability that it shows this very item, else nan."""


@dataclass(frozen=True, slots=True)
class Explorer:
    """Gives a share of list positions to items from below the list, and says with what probability."""

    share: float
    """Probability that a position is explored, 0..0.5."""
    pool: int
    """Items below the list that a draw takes from, uniformly and without replacement."""

    def draw(self, list_ids: Sequence[str], ranked: I64, sizes: I64) -> Shown:
        """Choose what stands at each position of each list.

        Args:
            list_ids: each seeds the draw of its list.
            ranked: int64[n] number of ranked items of each list, best first, of which the first `sizes` are the list.
            sizes: int64[n] positions of each list.
        """
        first, sizes = pointers(ranked)[:-1], np.minimum(sizes, ranked)
        ptr = pointers(sizes)
        chosen = np.arange(ptr[-1]) + np.repeat(first - ptr[:-1], sizes)
        shown = Shown(ptr, chosen, np.full(len(chosen), np.nan))
        if self.share > 0.0:
            below = np.minimum(self.pool, ranked - sizes)
            for i in np.flatnonzero(below).tolist():
                self._explore(list_ids[i], shown, i, int(first[i] + sizes[i]), int(below[i]))
        return shown

    def _explore(self, list_id: str, shown: Shown, i: int, first: int, pool: int) -> None:
        """Give positions of list i to some of the `pool` ranked items from `first` on."""
        random = np.random.default_rng(int.from_bytes(hashlib.blake2b(list_id.encode(), digest_size=8).digest()))
        start, end = shown.ptr[i : i + 2]
        explored = start + np.flatnonzero(random.random(end - start) < self.share)[:pool]
        shown.chosen[explored] = first + random.permutation(pool)[: len(explored)]
        shown.propensity[explored] = self.share / pool
