"""The moment that lists are made for."""

from __future__ import annotations

from services.recommendation_publishing.event_time import EventClock

YEAR_MS = 365 * 86_400_000
NOW = 1_700_000_000_000


def test_live_events_make_it_now_less_their_delay() -> None:
    """With events that come as they happen, lists are made for the moment."""
    clock = EventClock()
    assert clock.at(NOW) == NOW, "before any event"
    clock.learned(NOW - 300, NOW)
    assert clock.at(NOW + 5_000) == NOW + 4_700


def test_a_replay_is_served_as_of_its_own_time() -> None:
    """While last year's events are replayed, last year's popularity is what is popular."""
    clock = EventClock()
    clock.learned(NOW - YEAR_MS, NOW)
    assert clock.at(NOW + 1_000) == NOW - YEAR_MS + 1_000
    clock.learned(NOW - YEAR_MS + 60_000, NOW + 10)
    assert clock.at(NOW + 1_000) == NOW - YEAR_MS + 60_990


def test_the_newest_event_counts_in_whatever_order_they_come() -> None:
    """An old event that comes late does not turn the clock back."""
    clock = EventClock()
    clock.learned(NOW, NOW)
    clock.learned(NOW - YEAR_MS, NOW + 10)
    assert clock.at(NOW + 1_000) == NOW + 1_000
