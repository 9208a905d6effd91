"""The ranker of untouched items as the documents state it: everything is counted when somebody asks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.contracts.keys import (
    KIND_CATEGORY,
    KIND_CATEGORY_SET,
    KIND_TITLE_TOKEN,
    KIND_YEAR,
    feature_kind,
    feature_value,
)

HALFLIFE = 1500
"""First occurrences after which one counts half."""


def age_bucket(year: int, now_year: int) -> int:
    """0 = unknown, then two years ahead and more, next year, this year, ... the oldest together."""
    if not year:
        return 0
    return 1 + sum(now_year - year > end for end in (-2, -1, 0, 1, 2, 3, 5, 8, 12, 20, 30, 45, 60))


def lift(recent: float, among: float, share: float) -> float:
    """Log of a share among recent first occurrences, joined by three average ones, over that among the untouched."""
    return math.log((recent + 3 * share) / (among + 3) / share)


@dataclass
class PlainShop:
    """A catalogue, and what has occurred in it."""

    year: int
    content: dict[int, list[int]]
    waiting: set[int]
    """Items that nobody has touched."""
    occurred: list[int] = field(default_factory=list)
    """First occurrences, oldest first."""

    def of_kind(self, x: int, kind: int) -> list[int]:
        """An item's content features of one kind; of an item that is not here, none."""
        return [f for f in self.content.get(x, []) if feature_kind(f) == kind]

    def released(self, x: int) -> int:
        """Year of release, 0 where it is not known."""
        return next((feature_value(f) for f in self.of_kind(x, KIND_YEAR)), 0)

    def title(self, x: int) -> dict[int, float]:
        """The title's TF-IDF vector, of length 1."""
        having = Counter(f for words in self.content.values() for f in words)
        idf = {f: math.log((len(self.content) + 1) / (having[f] + 1)) for f in self.of_kind(x, KIND_TITLE_TOKEN)}
        length = math.sqrt(1e-6 + sum(value**2 for value in idf.values()))
        return {f: value / length for f, value in idf.items()}

    def columns(self, x: int, newest: Sequence[int]) -> list[float]:
        """The ten columns of an item for a user with these newest items, newest first."""
        memory = [(y, 0.5 ** (n / HALFLIFE)) for n, y in enumerate(reversed(self.occurred))]
        among = sum(weight for _, weight in memory)
        rest = len(self.waiting) + 3

        def of(feature: int) -> tuple[float, float]:
            """(share among the untouched, lift) of a content feature."""
            share = (sum(feature in self.content[y] for y in self.waiting) + 0.1) / rest
            return share, lift(sum(weight for y, weight in memory if feature in self.content[y]), among, share)

        bucket = age_bucket(self.released(x), self.year)
        alike = sum(age_bucket(self.released(y), self.year) == bucket for y in self.waiting)
        recent = sum(weight for y, weight in memory if age_bucket(self.released(y), self.year) == bucket)
        categories, words = self.of_kind(x, KIND_CATEGORY), self.of_kind(x, KIND_TITLE_TOKEN)
        taste = [0.9**k for k in range(len(newest[:50]))]
        own = sum(w for w, y in zip(taste, newest, strict=False) if self.of_kind(y, KIND_CATEGORY))
        tastes = []
        for f in categories:
            mine = sum(w for w, y in zip(taste, newest, strict=False) if f in self.of_kind(y, KIND_CATEGORY))
            share = of(f)[0]
            tastes.append(math.log((mine + 3 * share + 0.001) / (own + 3) / share))
        titles = [0.8**k * self._cosine(x, y) for k, y in enumerate(newest[:20])]
        wave = sum(weight * self._cosine(x, y) for y, weight in memory)
        years = [year for year in map(self.released, newest[:10]) if year]
        return [
            lift(recent, among, (alike + 1) / rest),
            _mean([of(f)[1] for f in categories]),
            _mean([of(f)[1] for f in words]),
            _mean(tastes),
            math.log(1 + 5 * sum(titles)),
            math.log(1 + wave),
            self._year_apart(x, _mean(years)),
            sum(of(f)[1] for f in self.of_kind(x, KIND_CATEGORY_SET)),
            math.log(1 + 5 * sum(titles[:1])),
            self._year_apart(x, self.released(newest[0]) if newest else 0),
        ]

    def score(self, x: int, newest: Sequence[int], weights: Sequence[float]) -> float:
        """The log-linear score."""
        return sum(weight * value for weight, value in zip(weights, self.columns(x, newest), strict=True))

    def _cosine(self, x: int, y: int) -> float:
        theirs = self.title(y)
        return sum(weight * theirs.get(f, 0.0) for f, weight in self.title(x).items())

    def _year_apart(self, x: int, year: float) -> float:
        """How far an item's year is from another, 0 where either is not known."""
        mine = self.released(x)
        return -min(abs(mine - year) / 10, 5.0) if mine and year else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def joined(
    listed: Sequence[int], scores: dict[int, float], average: float, k: int, every: int
) -> list[tuple[int, int | None]]:
    """A list with untouched items put in: (item, the place whose item it displaced or whose it is, or none).

    The last of every `every` places goes to the best untouched item that is left, if it is above the average;
    places at the end that nothing else takes go to any.

    Args:
        listed: the list without untouched items.
        scores: of the untouched items that may be listed.
        average: mean exp(score).
        k: places of the list.
        every: see above.
    """
    new = sorted(scores, key=lambda x: (-scores[x], x))
    out: list[tuple[int, int | None]] = []
    rest = list(enumerate(listed))
    while len(out) < k and (rest or new):
        turn = len(out) % every == every - 1
        if new and (not rest or (turn and math.exp(scores[new[0]]) > average)):
            out.append((new.pop(0), rest[0][0] if rest else None))
        elif rest:
            at, item = rest.pop(0)
            out.append((item, at))
    return out
