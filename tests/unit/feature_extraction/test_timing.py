from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.feature_extraction.timing import DAY_MS, Timing, response_time

TIMING = Timing(max_future_ms=600_000, allowed_lateness_ms=DAY_MS)
APPENDED = 1_700_000_000_000


def test_missing_event_time_is_the_append_time() -> None:
    """An event without a time happened when Kafka took it."""
    assert TIMING.event_time(None, APPENDED) == APPENDED


@pytest.mark.parametrize("ahead", [0, 1, 600_000])
def test_a_little_ahead_is_believed(ahead: int) -> None:
    """Clocks differ a little: such times stay as they are."""
    assert TIMING.event_time(APPENDED + ahead, APPENDED) == APPENDED + ahead


def test_far_ahead_is_the_append_time() -> None:
    """A producer whose clock runs fast cannot make its user's later events late."""
    assert TIMING.event_time(APPENDED + 600_001, APPENDED) == APPENDED


@given(st.integers(0, APPENDED).filter(lambda stated: abs(APPENDED - stated * 1000) > 400 * DAY_MS))
def test_the_past_is_believed(stated: int) -> None:
    """However old an event is, its time is its time."""
    assert TIMING.event_time(stated, APPENDED) == stated


@pytest.mark.parametrize("stated", [-1, APPENDED * 1000, 2**63 - 1])
def test_another_unit_is_refused(stated: int) -> None:
    """Microseconds, or times before 1970, are a mistake that no policy can mend."""
    with pytest.raises(ValueError, match="not in milliseconds since 1970"):
        TIMING.event_time(stated, APPENDED)


@pytest.mark.parametrize("age_s", [-600, 0, 300 * 86_400])
def test_seconds_of_now_are_refused(age_s: int) -> None:
    """A live producer that sends seconds is told so, and does not fill January 1970 with its events."""
    with pytest.raises(ValueError, match="looks like seconds"):
        TIMING.event_time(APPENDED // 1000 - age_s, APPENDED)


def test_lateness_is_relative_to_the_users_newest_event() -> None:
    """Up to the bound behind the newest event is in time, beyond it is late."""
    assert not TIMING.is_late(APPENDED - DAY_MS, APPENDED)
    assert TIMING.is_late(APPENDED - DAY_MS - 1, APPENDED)


def test_a_replayed_event_responds_when_it_is_appended() -> None:
    """Last year's event, played today, responds to what is served today."""
    assert response_time(APPENDED - 5000, APPENDED) == APPENDED - 5000
    assert response_time(APPENDED - DAY_MS - 1, APPENDED) == APPENDED
