"""Context features: the circumstances of an event, hashed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b

MAX_ENTRIES = 16
"""Context entries that become features, in the order of their names; further ones are ignored."""

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_EPOCH_WEEKDAY = 3
"""1970-01-01 was a Thursday; Monday is 0."""


@lru_cache(maxsize=1 << 14)
def context_feature(name: str, value: str) -> int:
    """Hash of one circumstance: uint32."""
    # The separator keeps ("a", "bc") and ("ab", "c") apart.
    return int.from_bytes(blake2b(f"{name}\x1f{value}".encode(), digest_size=4).digest(), "little")


_HOURS = [context_feature("\x00hour", str(hour)) for hour in range(24)]
_WEEKDAYS = [context_feature("\x00weekday", str(day)) for day in range(7)]
"""The names start with NUL, so that no producer's entry is taken for them."""


def context_features(event_ms: int, context: Mapping[str, str]) -> list[int]:
    """Hour of day (UTC), weekday (UTC) and the entries of the context map: uint32[2 to 18]."""
    features = [
        _HOURS[event_ms // _HOUR_MS % 24],
        _WEEKDAYS[(event_ms // _DAY_MS + _EPOCH_WEEKDAY) % 7],
    ]
    if context:
        features += [context_feature(name, value) for name, value in sorted(context.items())[:MAX_ENTRIES]]
    return features
