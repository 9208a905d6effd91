from __future__ import annotations

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.feature_extraction.kernels.rules import BAD_TIME, Bounds, event_time
from services.feature_extraction.timing import DAY_MS, OLDEST_SECONDS, YEAR_10000_MS, Timing, response_time

TIMING = Timing(max_future_ms=600_000, allowed_lateness_ms=DAY_MS)
BOUNDS = Bounds(
    max_future=600_000,
    allowed_lateness=DAY_MS,
    session_gap=1,
    dedup_span_s=1,
    dedup_chunks=1,
    attribution_window=1,
    idle=1,
    exactly_once=True,
    preference_size=1,
    preference_per_ms=1.0,
    rating_margin=1.0,
    rating_low=0.0,
)
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


@given(st.integers(0, OLDEST_SECONDS - 1) | st.integers(APPENDED // 1000 + 601, APPENDED))
def test_the_past_is_believed(stated: int) -> None:
    """However old an event is, its time is its time."""
    assert TIMING.event_time(stated, APPENDED) == stated


@pytest.mark.parametrize("stated", [-1, APPENDED * 1000, 2**63 - 1])
def test_another_unit_is_refused(stated: int) -> None:
    """Microseconds, or times before 1970, are a mistake that no policy can mend."""
    with pytest.raises(ValueError, match="not in milliseconds since 1970"):
        TIMING.event_time(stated, APPENDED)


@pytest.mark.parametrize("stated", [OLDEST_SECONDS, 978_300_760, APPENDED // 1000, APPENDED // 1000 + 600])
def test_seconds_are_refused(stated: int) -> None:
    """Who sends seconds, of now or of a log that is decades old, is told so and does not fill January 1970."""
    with pytest.raises(ValueError, match="looks like seconds"):
        TIMING.event_time(stated, APPENDED)


EDGES = (0, OLDEST_SECONDS, APPENDED // 1000 + 600, APPENDED + 600_000, YEAR_10000_MS)
MISSING = -(2**63)


@given(
    st.integers(MISSING + 1, 2**63 - 1) | st.builds(operator.add, st.sampled_from(EDGES), st.integers(-2, 2)),
)
def test_the_kernel_judges_alike(stated: int) -> None:
    """Whatever a producer states, in the range of its type, the kernel comes to the same time or refuses it too."""
    try:
        expected = TIMING.event_time(stated, APPENDED)
    except ValueError:
        expected = BAD_TIME
    assert event_time(stated, MISSING, APPENDED, BOUNDS) == expected


def test_lateness_is_relative_to_the_users_newest_event() -> None:
    """Up to the bound behind the newest event is in time, beyond it is late."""
    assert not TIMING.is_late(APPENDED - DAY_MS, APPENDED)
    assert TIMING.is_late(APPENDED - DAY_MS - 1, APPENDED)


def test_a_replayed_event_responds_when_it_is_appended() -> None:
    """Last year's event, played today, responds to what is served today."""
    assert response_time(APPENDED - 5000, APPENDED) == APPENDED - 5000
    assert response_time(APPENDED - DAY_MS - 1, APPENDED) == APPENDED
