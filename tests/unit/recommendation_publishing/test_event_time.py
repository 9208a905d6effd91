"""The moment that lists are made for."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.recommendation_publishing.event_time import EventClock

YEAR_MS = 365 * 86_400_000
NOW = 1_700_000_000_000


def learn(clock: EventClock, *events: tuple[int, int]) -> None:
    """Events of (event time, append time), together."""
    times = np.array(events, np.int64).reshape(-1, 2)
    clock.learned(times[:, 0], times[:, 1])


def test_live_events_make_it_now_less_their_delay() -> None:
    """With events that come as they happen, lists are made for the moment."""
    clock = EventClock()
    assert clock.at(NOW) == NOW, "before any event"
    learn(clock, (NOW - 300, NOW))
    assert clock.at(NOW + 5_000) == NOW + 4_700


def test_a_replay_is_served_as_of_its_own_time() -> None:
    """While last year's events are replayed, last year's popularity is what is popular."""
    clock = EventClock()
    learn(clock, (NOW - YEAR_MS, NOW))
    assert clock.at(NOW + 1_000) == NOW - YEAR_MS + 1_000
    learn(clock, (NOW - YEAR_MS + 60_000, NOW + 10))
    assert clock.at(NOW + 1_000) == NOW - YEAR_MS + 60_990


def test_the_newest_event_counts_in_whatever_order_they_come() -> None:
    """An old event that comes late does not turn the clock back."""
    clock = EventClock()
    learn(clock, (NOW, NOW))
    learn(clock, (NOW - YEAR_MS, NOW + 10))
    assert clock.at(NOW + 1_000) == NOW + 1_000


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9))))
def test_events_together_are_events_one_by_one(events: list[tuple[int, int]]) -> None:
    """Of several newest events the last one tells the time, whether they come at once or in turn."""
    together, alone = EventClock(), EventClock()
    learn(together, *events)
    for event in events:
        learn(alone, event)
    newest = [append for event, append in events if event == max(events)[0]]
    wanted = max(events)[0] + 20 - newest[-1] if events else 20
    assert together.at(20) == alone.at(20) == wanted
