"""The control record that changes the event weights of a running system.

It lives in the items topic, which every feature extraction reads whole, under a key that no item can have. It is JSON,
so that it can be written by hand; a null value goes back to the configured weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

WEIGHTS_KEY = b"\x00weights"
RESERVED = b"\x00"
"""First byte of the keys in the items topic that are no items: readers of items skip them."""
LARGEST = 100.0
"""Weights are relative strengths; a larger one is a mistake and would blow up a learner."""


def encode(weights: Mapping[str, float]) -> bytes:
    """The control record's value; raises ValueError for a weight that is not allowed."""
    return json.dumps(checked(weights), sort_keys=True).encode()


def decode(value: bytes) -> dict[str, float]:
    """{event type: weight} of a control record.

    Raises:
        ValueError: not a JSON object of names and finite numbers of at most LARGEST.
    """
    try:
        weights = json.loads(value)
    except ValueError as error:
        raise ValueError(f"event weights: not JSON ({error})") from error
    if not isinstance(weights, dict):
        raise ValueError(  # noqa: TRY004 -- decoders signal a bad record by ValueError
            f'event weights: expected an object such as {{"view": 0.5}}, got {weights!r}'
        )
    return checked(weights)


def checked(weights: Mapping[str, float]) -> dict[str, float]:
    """A copy with every weight a float; raises ValueError naming the first that is not allowed."""
    out = {}
    for kind, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise ValueError(  # noqa: TRY004 -- as above
                f"event weights: the weight of {kind!r} must be a number, got {weight!r}"
            )
        if not math.isfinite(weight) or abs(weight) > LARGEST:
            raise ValueError(f"event weights: the weight of {kind!r} must be within ±{LARGEST:g}, got {weight!r}")
        out[str(kind)] = float(weight)
    return out
