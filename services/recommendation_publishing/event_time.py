"""The moment that a list is made for, in event time.

Popularity decays and gaps grow by the time that events carry, and a replay of last year's events is learned as of last
year. Asked as of today, all that it taught would have decayed to nothing. So lists are made as of the newest event that
was learned, and what has passed since it was appended: with live events that is now, less the producer's delay.
"""

from __future__ import annotations


class EventClock:
    """Event time, told by the rows of the users."""

    def __init__(self) -> None:
        """Know no event."""
        self._newest_ms: int | None = None
        self._appended_ms = 0

    def learned(self, event_ms: int, append_ms: int) -> None:
        """An event of this time, appended then, was learned from (both Unix ms)."""
        if self._newest_ms is None or event_ms >= self._newest_ms:
            self._newest_ms, self._appended_ms = event_ms, append_ms

    def at(self, now_ms: int) -> int:
        """Event time at a moment of the wall clock, Unix ms; the same moment before any event is known."""
        if self._newest_ms is None:
            return now_ms
        return self._newest_ms + max(0, now_ms - self._appended_ms)
