"""What a list is compared with: the items that were popular lately."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_RESCALE_AT = 500.0
"""Half-lives after which weights are scaled down: far below the 1023 that a float64 can double."""


class Popularity:
    """Exponentially decayed counts of items and their top list, as forward decay: float64[n_items]."""

    def __init__(self, half_life_ms: float, depth: int = 200) -> None:
        """Start empty.

        Args:
            half_life_ms: event time in which a count halves.
            depth: longest top list that `top` can give, seen items included.
        """
        self._half_life_ms = half_life_ms
        self._depth = depth
        self._slots: dict[str, int] = {}
        self._items: list[str] = []
        self._weights: npt.NDArray[np.float64] = np.zeros(1024)
        self._landmark_ms: int | None = None
        self._top: list[str] = []
        self._stale = 0

    def add(self, item: str, time_ms: int) -> None:
        """Count one event."""
        if self._landmark_ms is None:
            self._landmark_ms = time_ms
        age = (time_ms - self._landmark_ms) / self._half_life_ms
        if age > _RESCALE_AT:
            self._weights *= 2.0**-age
            self._landmark_ms, age = time_ms, 0.0
        slot = self._slots.setdefault(item, len(self._slots))
        if slot == len(self._items):
            self._items.append(item)
            if slot >= len(self._weights):
                self._weights = np.concatenate([self._weights, np.zeros(len(self._weights))])
        self._weights[slot] += 2.0**age
        self._stale += 1

    def top(self, k: int, without: set[str], stale: int = 20) -> list[str]:
        """The k most popular items that are not in `without`.

        The order is up to `stale` events old: sorting after each event would cost more than the model.
        """
        if self._stale >= stale or not self._top:
            count = len(self._items)
            depth = min(self._depth, count)
            weights = self._weights[:count]
            best = np.argpartition(weights, count - depth)[count - depth :] if depth else np.zeros(0, np.int64)
            self._top = [self._items[slot] for slot in best[np.argsort(-weights[best], kind="stable")].tolist()]
            self._stale = 0
        found: list[str] = []
        for item in self._top:
            if item not in without:
                found.append(item)
                if len(found) == k:
                    break
        return found
