"""Decayed preferences: which categories a user has been turning to, by event time.

Forward decay: an event at time t adds 2^((t - landmark) / half-life), so that what is stored never has to be touched
again and its order never changes by itself; read at time t, all of it is divided by the same factor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from services.contracts.inner.extraction_state import ExtractionRow

_DAY_MS = 86_400_000
SMALLEST = 1e-3
"""What a dislike leaves of a category below this is nothing: a thousandth of one event."""
REBASE_EXPONENT = 64.0
"""Half-lives after the landmark at which it moves: far from the range of a double, and rare."""


class Preferences:
    """Weights per category that halve with event time; the strongest few are kept."""

    def __init__(self, half_life_days: float, size: int) -> None:
        """Set the half-life and the number of categories kept per user."""
        self._per_ms = 1.0 / (half_life_days * _DAY_MS)
        self._size = size

    def at(self, row: ExtractionRow, event_ms: int) -> Iterable[tuple[int, float]]:
        """The preference at a moment: (category feature, weight) pairs, strongest first; to be read before it changes.

        A moment before the row's newest event sees the preference as it stands, without growing it back.
        """
        names = row["pc"]
        if not names:
            return ()
        factor = math.exp2((row["pt"] - max(event_ms, row["t"])) * self._per_ms)
        return zip(names, map(factor.__mul__, row["pw"]), strict=True)

    def add(self, row: ExtractionRow, categories: Sequence[int], weight: float, event_ms: int) -> None:
        """Take in an event on an item of these categories, which share its weight.

        An event out of order counts as what is left of it by now. A negative weight takes away; no category becomes
        negative.
        """
        if not categories or not weight:
            return
        names, weights = row["pc"], row["pw"]
        if not names:
            row["pt"] = event_ms
        exponent = (event_ms - row["pt"]) * self._per_ms
        if exponent > REBASE_EXPONENT:
            factor = math.exp2(-exponent)
            weights[:] = [old * factor for old in weights]
            row["pt"], exponent = event_ms, 0.0
        unit = math.exp2(exponent)
        share = unit * weight / len(categories)
        for name in categories:
            if name in names:
                place = names.index(name)
                changed = weights.pop(place) + share
                del names[place]
                if share < 0 and changed < SMALLEST * unit:
                    continue
            elif share < 0:
                continue
            else:
                changed = share
                place = len(names)
            while place > 0 and weights[place - 1] < changed:
                place -= 1
            while place < len(names) and weights[place] > changed:
                place += 1
            names.insert(place, name)
            weights.insert(place, changed)
        if len(names) > self._size:
            self._cut(names, weights, categories)

    def _cut(self, names: list[int], weights: list[float], touched: Sequence[int]) -> None:
        """Drop the weakest. The touched ones go last: a new taste begins below every old one."""
        excess = len(names) - self._size
        weakest = sorted(range(len(names)), key=lambda place: (names[place] in touched, -place))
        for place in sorted(weakest[:excess], reverse=True):
            del names[place], weights[place]
