"""Learning weights: how strongly an event speaks for its item, or against it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from services.contracts.inner.extraction_state import ExtractionRow
from services.contracts.inner.weights import checked

RATING_LOW = "rating-low"
"""Weight of a rating clearly below its user's mean."""
UNANSWERED = "unanswered"
"""Weight of an impression without a response; 0 writes no such records."""
OTHER = "other"
"""Weight of a type that the table does not name."""

DEFAULTS: Mapping[str, float] = {
    # Whatever people do on their own accord says the same: this item, now. A stream of one type must lose nothing, and
    # on mixed streams an action's own type is no better a guess of the next action than the fact of it.
    "view": 1.0,
    "click": 1.0,
    "play": 1.0,
    "like": 1.0,
    "add-to-cart": 1.0,
    "purchase": 1.0,
    "rating": 1.0,
    OTHER: 1.0,
    # Only shown: no one has done anything yet.
    "impression": 0.0,
    "dislike": -1.0,
    "hide": -1.0,
    # Rated at all, it was used: a weak negative.
    RATING_LOW: -0.3,
    UNANSWERED: -0.1,
}

RATINGS_NEEDED = 5
"""A mean of fewer ratings is no standard to hold a rating against."""
SMALLEST_DEVIATION = 0.1
"""Share of the mean: a user who always gives the same rating has no deviation of their own."""


def parse_weights(text: str) -> dict[str, float]:
    """{type: weight} of "view=0.5,purchase=2".

    Raises:
        ValueError: an entry is not of the form type=number, or its weight is not allowed.

    >>> parse_weights("view=0.5, purchase=2")
    {'view': 0.5, 'purchase': 2.0}
    """
    weights: dict[str, float] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        kind, separator, weight = entry.partition("=")
        try:
            if not separator or not kind.strip():
                raise ValueError
            weights[kind.strip()] = float(weight)
        except ValueError:
            raise ValueError(f"event weights: expected type=number, got {entry!r}") from None
    return checked(weights)


class Weights:
    """The weight table, and the rule for ratings."""

    def __init__(self, configured: Mapping[str, float], rating_margin: float) -> None:
        """Start from the defaults.

        Args:
            configured: weights that differ from the defaults, by type.
            rating_margin: standard deviations below the user's mean from which a rating is low.
        """
        self._configured = {**DEFAULTS, **configured}
        self._margin = rating_margin
        self.change(None)

    def change(self, weights: Mapping[str, float] | None) -> None:
        """Take the weights of a control record over the configured ones; None takes none."""
        self.table: dict[str, float] = {**self._configured, **(weights or {})}
        self._other = self.table[OTHER]
        self.unanswered = self.table[UNANSWERED]

    def of(self, kind: str) -> float:
        """The weight of a type of event."""
        return self.table.get(kind, self._other)

    def of_rating(self, row: ExtractionRow, value: float) -> float:
        """The weight of a rating, against the user's earlier ratings; takes it into their mean.

        The mean and the sum of squared deviations are updated by Welford's method.
        """
        count, mean, squares = row["r"]
        weight = self.table["rating"]
        if count >= RATINGS_NEEDED:
            deviation = max(math.sqrt(squares / (count - 1)), SMALLEST_DEVIATION * abs(mean))
            if value < mean - self._margin * deviation:
                weight = self.table[RATING_LOW]
        count += 1
        step = value - mean
        mean += step / count
        row["r"] = [count, mean, squares + step * (value - mean)]
        return weight
