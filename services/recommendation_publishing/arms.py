"""Experiment arms: who is in which arm.

A function of ids alone, so that a list computed again after a crash is the same list.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from itertools import accumulate


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
        *cumulated, total = accumulate(weights.values())
        if math.isinf(total):
            raise ArmsError("experiment_arms: the weights add up to more than a number can be")
        return cls(experiment, tuple(weights), (*(bound / total for bound in cumulated), 1.0))

    def of(self, user: bytes) -> str:
        """The arm of a user: a uniform hash of (experiment, user) against the shares."""
        if len(self.names) == 1:
            return self.names[0]
        place = _uniform(self.experiment.encode() + b"\x00" + user)
        return next(name for name, bound in zip(self.names, self.bounds, strict=True) if place < bound)


def _uniform(data: bytes) -> float:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest()) / 2.0**64
