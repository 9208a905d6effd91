"""The replica's lists of the most popular items: always what its rows say, in whatever order they came."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.model.arrays import I64
from services.model.kernels.trends import (
    Trends,
    trend_refill,
    trend_remove,
    trend_rename,
    trend_reset,
    trend_updates,
)
from services.model.table import RowTable


class TrendLists:
    """The strongest rows of a table at every half-life of its block `pop`."""

    def __init__(self, table: RowTable, limit: int) -> None:
        self._table = table
        self._pop = table.stores["pop"]
        m = len(self._pop.rates)
        self.arrays = Trends(
            np.zeros((m, limit), np.int32),
            np.zeros((m, limit), np.float64),
            np.zeros((m, limit), np.uint64),
            np.zeros(m, np.int64),
            np.zeros(m, np.int64),
        )

    def update(self, rows: I64) -> None:
        """Rows whose counts changed; -1 is skipped."""
        ascending = np.sort(rows)
        ascending = ascending[np.diff(ascending, prepend=-1) > 0]
        if len(ascending):
            keys = self._table.keys
            by_hash = ascending[np.argsort(keys[ascending])]
            trend_updates(self.arrays, self._pop.data, keys, by_hash, ascending, self._pop.rates)

    def remove(self, rows: I64) -> None:
        """Rows that are about to go."""
        trend_remove(self.arrays, np.sort(rows))

    def rename(self, rows: I64, new: I64) -> None:
        """Rows that are about to move; `update` of their new positions follows."""
        trend_rename(self.arrays, rows, new)

    def refresh(self, segments: Sequence[tuple[int, int]]) -> None:
        """Fill the lists up from all rows where a listed row went or fell."""
        if trend_reset(self.arrays):
            for start, end in segments:
                trend_refill(self.arrays, self._pop.data, self._table.keys, start, end, self._pop.rates)
            self.arrays.stale[:] = 0
