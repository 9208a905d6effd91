"""When the next event is due: at a rate, at a multiple of real time, or at once."""

from __future__ import annotations

import re
from collections.abc import Callable

Clock = Callable[[], float]


class Pace:
    """Says how long to wait before an event is sent.

    Neither rate nor speed: never.
    """

    def __init__(self, clock: Clock, rate: float | None = None, speed: float | None = None) -> None:
        """Choose at most one.

        Args:
            clock: seconds, monotonic.
            rate: events per second.
            speed: event time that passes in a second, e.g. 10 for ten times real time.
        """
        self._clock = clock
        self._rate = rate
        self._speed = speed
        self._start: float | None = None
        self._first_ms: int | None = None
        self._sent = 0
        self.free = rate is None and speed is None
        """Whether nothing is ever waited for."""

    def wait_s(self, event_time_ms: int | None) -> float:
        """Seconds until the next event is due (0 or less: now). Call once per event."""
        now = self._clock()
        if self._start is None:
            self._start = now
        due = self._start
        if self._rate is not None:
            due += self._sent / self._rate
        elif self._speed is not None and event_time_ms is not None:
            if self._first_ms is None:
                self._first_ms = event_time_ms
            due += (event_time_ms - self._first_ms) / 1000 / self._speed
        self._sent += 1
        return due - now


def parse_speed(text: str) -> float:
    """`10x` or `10` -> 10.0.

    Raises:
        ValueError: not a positive number.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*x?\s*", text, re.IGNORECASE)
    speed = float(found.group(1)) if found else 0.0
    if speed <= 0:
        raise ValueError(f"a speed is a positive number such as 10x, not {text!r}")
    return speed
