"""The moment that a list is made for, in event time.

Popularity decays and gaps grow by the time that events carry, and a replay of last year's events is learned as of last
year. Asked as of today, all that it taught would have decayed to nothing. So lists are made as of the newest event that
was learned, and what has passed since it was appended: with live events that is now, less the producer's delay.
"""

from __future__ import annotations

import numpy as np

from services.model.arrays import I64


class EventClock:
    """Event time, told by the rows of the users."""

    def __init__(self) -> None:
        """Know no event."""
        self._newest_ms: int | None = None
        self._appended_ms = 0

    def learned(self, event_ms: I64, append_ms: I64) -> None:
        """Events of these times (int64[n], Unix ms), appended then, were learned from, in this order."""
        if not len(event_ms):
            return
        at = len(event_ms) - 1 - int(np.argmax(event_ms[::-1]))
        if self._newest_ms is None or event_ms[at] >= self._newest_ms:
            self._newest_ms, self._appended_ms = int(event_ms[at]), int(append_ms[at])

    def at(self, now_ms: int) -> int:
        """Event time at a moment of the wall clock, Unix ms; the same moment before any event is known."""
        if self._newest_ms is None:
            return now_ms
        return self._newest_ms + max(0, now_ms - self._appended_ms)
