"""When lists that have grown old are made again."""

from __future__ import annotations

from services.recommendation_publishing.refresh import MOST_PER_STEP, Refresher


def test_a_list_is_refreshed_when_it_is_old_and_not_before() -> None:
    """A user who does nothing gets a new list after the configured time."""
    refresher = Refresher(after_ms=1000)
    refresher.published([(b"ann", 0)], now_ms=0)
    refresher.published([(b"bob", 1)], now_ms=400)
    assert refresher.wake_at() == 1000
    assert refresher.take(999) == []
    assert refresher.take(1000) == [(b"ann", 0)]
    assert refresher.wake_at() == 1400


def test_a_list_made_for_another_reason_postpones_the_refresh() -> None:
    """Only the age of the newest list counts."""
    refresher = Refresher(after_ms=1000)
    refresher.published([(b"ann", 0)], now_ms=0)
    refresher.published([(b"ann", 0)], now_ms=900)
    assert refresher.take(1500) == []
    assert refresher.take(1900) == [(b"ann", 0)]


def test_refreshes_come_in_bounded_waves() -> None:
    """A million old lists do not hold up the lists of new events."""
    refresher = Refresher(after_ms=1)
    refresher.published([(b"u%d" % n, 0) for n in range(3 * MOST_PER_STEP)], now_ms=0)
    assert len(refresher.take(10)) == MOST_PER_STEP
    assert refresher.wake_at() == 1


def test_refreshing_can_be_off_and_forgets_erased_users() -> None:
    """Nothing is remembered when refreshing is off; nothing is made for a forgotten user."""
    off = Refresher(after_ms=0)
    off.published([(b"ann", 0)], now_ms=0)
    assert off.wake_at() is None
    refresher = Refresher(after_ms=1)
    refresher.published([(b"ann", 0)], now_ms=0)
    refresher.forget(b"ann")
    assert refresher.take(100) == []
