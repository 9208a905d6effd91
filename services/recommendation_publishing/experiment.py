"""Experiment arms and explored positions: who is in which arm, and which positions are a draw.

Both are functions of ids alone, so that a list computed again after a crash is the same list.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


class ArmsError(ValueError):
    """The setting `experiment_arms` cannot be read. The message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Arms:
    """Arms of one experiment with the cumulated shares of users that they get."""

    experiment: str
    names: tuple[str, ...]
    bounds: tuple[float, ...]
    """Upper bounds of the arms' intervals in [0, 1), ascending; the last is 1."""

    @classmethod
    def parse(cls, experiment: str, text: str) -> Arms:
        """Read "name=weight,name=weight".

        Raises:
            ArmsError: no arm, a name twice, or a weight that is not a positive number.
        """
        weights: dict[str, float] = {}
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            name, _, weight = part.partition("=")
            try:
                value = float(weight or "1")
            except ValueError:
                value = 0.0
            if not name or name in weights or not 0.0 < value < float("inf"):
                raise ArmsError(f"experiment_arms: {part!r} is not name=weight with a new name and a weight above 0")
            weights[name] = value
        if not weights:
            raise ArmsError("experiment_arms: name at least one arm, for example control=1")
        cumulated = np.cumsum(list(weights.values())) / sum(weights.values())
        return cls(experiment, tuple(weights), (*map(float, cumulated[:-1]), 1.0))

    def of(self, user: bytes) -> str:
        """The arm of a user: a uniform hash of (experiment, user) against the shares."""
        if len(self.names) == 1:
            return self.names[0]
        place = _uniform(self.experiment.encode() + b"\x00" + user)
        return next(name for name, bound in zip(self.names, self.bounds, strict=True) if place < bound)


@dataclass(frozen=True, slots=True)
class Explorer:
    """Gives a share of list positions to items from below the list, and says with what probability."""

    share: float
    """Probability that a position is explored, 0..0.5."""
    pool: int
    """Items below the list that a draw takes from, uniformly and without replacement."""

    def draw(self, list_id: str, ranked: int, size: int) -> tuple[Sequence[int], Sequence[float | None]]:
        """Choose what stands at each position of a list.

        Args:
            list_id: seeds the draw.
            ranked: number of ranked items, best first, of which the first `size` are the list.
            size: positions of the list.

        Returns:
            For each position the index into the ranked items, and the propensity of an explored
            position (share / pool: the probability that this position shows this very item), else None.
        """
        size = min(size, ranked)
        order: list[int] = list(range(size))
        propensity: list[float | None] = [None] * size
        pool = min(self.pool, ranked - size)
        if self.share <= 0.0 or pool <= 0:
            return order, propensity
        random = np.random.default_rng(int.from_bytes(hashlib.blake2b(list_id.encode(), digest_size=8).digest()))
        explored = np.flatnonzero(random.random(size) < self.share)[:pool]
        for position, below in zip(explored, random.permutation(pool), strict=False):
            order[position] = size + int(below)
            propensity[position] = self.share / pool
        return order, propensity


def _uniform(data: bytes) -> float:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest()) / 2.0**64
