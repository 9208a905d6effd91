"""Decayed preferences: which categories a user has been turning to, by event time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from services.contracts.inner.extraction_state import ExtractionRow

_DAY_MS = 86_400_000
_SMALLEST = 1e-3
"""A weight below this says nothing any more; it is a thousandth of one event."""


class Preferences:
    """Weights per category that halve with event time; the strongest few are kept."""

    def __init__(self, half_life_days: float, size: int) -> None:
        """Set the half-life and the number of categories kept per user."""
        self._per_ms = 1.0 / (half_life_days * _DAY_MS)
        self._size = size

    def at(self, row: ExtractionRow, event_ms: int) -> list[list[float]]:
        """The preference at a moment: [[category feature, weight], ...], strongest first.

        A moment before the row's newest event sees the preference as it stands, without growing it back.
        """
        names = row["pc"]
        if not names:
            return []
        factor = self._factor(event_ms - row["pt"])
        return [[name, weight * factor] for name, weight in zip(names, row["pw"], strict=True)]

    def add(self, row: ExtractionRow, categories: Sequence[int], weight: float, event_ms: int) -> None:
        """Take in an event on an item of these categories, which share its weight.

        A late event counts as what is left of it at the newest event. A negative weight takes away; no category
        becomes negative.
        """
        if not categories or not weight:
            return
        elapsed = event_ms - row["pt"]
        share = weight / len(categories)
        names, weights = row["pc"], row["pw"]
        if elapsed > 0:
            factor = self._factor(elapsed)
            weights = [old * factor for old in weights]
            row["pt"] = event_ms
        elif names:
            share *= self._factor(-elapsed)
        else:
            row["pt"] = event_ms
        table = dict(zip(names, weights, strict=True))
        for name in categories:
            table[name] = table.get(name, 0.0) + share
        # Ties are kept in the order of arrival: the sort is stable.
        kept = sorted([entry for entry in table.items() if entry[1] > _SMALLEST], key=_by_weight)
        if len(kept) > self._size:
            kept = self._cut(kept, categories)
        row["pc"] = [name for name, _ in kept]
        row["pw"] = [value for _, value in kept]

    def _cut(self, entries: list[tuple[int, float]], touched: Sequence[int]) -> list[tuple[int, float]]:
        """The strongest entries. The touched ones go last: a new taste begins below every old one."""
        excess = len(entries) - self._size
        weakest = sorted(range(len(entries)), key=lambda place: (entries[place][0] in touched, -place))
        out = set(weakest[:excess])
        return [entry for place, entry in enumerate(entries) if place not in out]

    def _factor(self, elapsed_ms: int) -> float:
        return math.exp2(-elapsed_ms * self._per_ms) if elapsed_ms > 0 else 1.0


def _by_weight(entry: tuple[int, float]) -> float:
    return -entry[1]
