"""When an event happened: event time, as far as it can be believed."""

from __future__ import annotations

YEAR_10000_MS = 253_402_300_800_000

DAY_MS = 86_400_000
OLDEST_SECONDS = 631_152_000
"""1990-01-01 in seconds. A number from here to now in seconds is taken for seconds: as milliseconds it is a time of
January 1970, before there was anything to recommend, and an export of old events is as likely in the wrong unit as a
live producer."""


class Timing:
    """The policy for missing, future and late event times. All times in Unix ms."""

    def __init__(self, max_future_ms: int, allowed_lateness_ms: int) -> None:
        """Set the two bounds."""
        self._max_future_ms = max_future_ms
        self._allowed_lateness_ms = allowed_lateness_ms

    def event_time(self, stated_ms: int | None, appended_ms: int) -> int:
        """The event time to use.

        None takes the append time. One that is ahead of the append time by more than the bound takes it too: a clock
        that runs a year fast would otherwise make all that the user does for a year late, and halve every decayed
        count of theirs many times over.

        Raises:
            ValueError: before 1970, after the year 9999, or the seconds of a time since 1990. That is no clock's error
                but another unit.
        """
        if stated_ms is None:
            return appended_ms
        if OLDEST_SECONDS <= stated_ms <= (appended_ms + self._max_future_ms) // 1000:
            raise ValueError(f"event_time {stated_ms} looks like seconds; it must be in milliseconds since 1970")
        if 0 <= stated_ms <= appended_ms + self._max_future_ms:
            return stated_ms
        if not 0 <= stated_ms < YEAR_10000_MS:
            raise ValueError(f"event_time {stated_ms} is not in milliseconds since 1970")
        return appended_ms

    def is_late(self, event_ms: int, newest_ms: int) -> bool:
        """Whether an event is too far behind the newest of its own user to be learned.

        Lateness is relative to the user and not to the clock or the topic, so that the past can be filled in: a batch
        of old events is late for nobody who has done nothing since.
        """
        return event_ms < newest_ms - self._allowed_lateness_ms


def response_time(event_ms: int, appended_ms: int) -> int:
    """The moment at which an event can have responded to what was served.

    The event time; but an event that is appended more than a day after it happened is a replay of the past, and what
    it plays happens now.
    """
    return event_ms if appended_ms - event_ms <= DAY_MS else appended_ms
