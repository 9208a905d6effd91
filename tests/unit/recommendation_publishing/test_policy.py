"""When lists are owed, paid and forgotten."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from services.recommendation_publishing.policy import MOST_PER_STEP, PublishingPolicy


def test_a_user_without_a_recent_list_is_served_at_once() -> None:
    """The first event of a user leads to a list in the same step."""
    policy = PublishingPolicy(interval_ms=500, max_lists_per_s=100)
    policy.owe(0, b"ann", 7, now_ms=1000)
    assert [debt.user for debt in policy.take(1000)] == [b"ann"]
    assert policy.owed() == 0


def test_a_second_list_waits_for_the_interval() -> None:
    """Events within the interval after a list are covered by one later list."""
    policy = PublishingPolicy(interval_ms=500, max_lists_per_s=100)
    policy.owe(0, b"ann", 7, now_ms=1000)
    policy.take(1000)
    policy.owe(0, b"ann", 8, now_ms=1100)
    policy.owe(0, b"ann", 9, now_ms=1200)
    assert policy.take(1499) == []
    assert policy.wake_at(1200) == 1500
    assert [(debt.user, debt.first) for debt in policy.take(1500)] == [(b"ann", 8)]
    assert policy.take(5000) == []


def test_a_list_on_request_starts_the_interval_too() -> None:
    """A user who was just answered on request is not sent a second list at once."""
    policy = PublishingPolicy(interval_ms=500, max_lists_per_s=100)
    policy.published([b"ann"], 1000)
    policy.owe(0, b"ann", 3, now_ms=1001)
    assert policy.take(1001) == []
    assert len(policy.take(1500)) == 1


def test_the_committed_position_never_passes_an_owed_list() -> None:
    """A list that is owed when the process dies is owed again after the restart."""
    policy = PublishingPolicy(interval_ms=500, max_lists_per_s=1)
    policy.owe(2, b"ann", 7, now_ms=0)
    policy.owe(2, b"bob", 9, now_ms=0)
    assert policy.position(2, end=20) == 7
    assert [debt.user for debt in policy.take(0)] == [b"ann"]
    assert policy.position(2, end=20) == 9
    assert [debt.user for debt in policy.take(1000)] == [b"bob"]
    assert policy.position(2, end=20) == 20


def test_a_step_makes_a_bounded_number_of_lists() -> None:
    """A burst of users is served in several steps, so that new rows are taken in between."""
    policy = PublishingPolicy(interval_ms=500, max_lists_per_s=10_000)
    for n in range(MOST_PER_STEP + 1):
        policy.owe(0, b"u%d" % n, n, now_ms=0)
    assert len(policy.take(0)) == MOST_PER_STEP
    assert policy.wake_at(0) == 0
    assert len(policy.take(0)) == 1


def test_a_closed_partition_owes_nothing() -> None:
    """Lists of a partition that moved away are published by its new owner only."""
    policy = PublishingPolicy(interval_ms=0, max_lists_per_s=10)
    policy.owe(0, b"ann", 1, now_ms=0)
    policy.owe(1, b"bob", 1, now_ms=0)
    policy.close(0)
    assert [debt.user for debt in policy.take(0)] == [b"bob"]


def test_an_erased_user_is_owed_nothing() -> None:
    """No list follows an erasure."""
    policy = PublishingPolicy(interval_ms=0, max_lists_per_s=10)
    policy.owe(0, b"ann", 1, now_ms=0)
    policy.forget(0, b"ann")
    assert policy.take(0) == []
    assert policy.position(0, 5) == 5


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 300)), max_size=60),
    st.integers(0, 400),
    st.integers(1, 50),
)
def test_every_row_is_covered_by_a_list_and_no_user_gets_two_in_an_interval(
    arrivals: list[tuple[int, int]], interval_ms: int, rate: int
) -> None:
    """Under any order of events, all are covered in the end, and the interval holds for each user."""
    policy = PublishingPolicy(interval_ms, rate)
    now, last_row, lists = 0, {}, []
    for offset, (user, wait) in enumerate(arrivals):
        now += wait
        name = b"u%d" % user
        policy.owe(0, name, offset, now)
        last_row[name] = now
        lists += [(debt.user, now) for debt in policy.take(now)]
    while policy.owed():
        wake = policy.wake_at(now)
        assert wake is not None
        now = max(now + 1, wake)
        lists += [(debt.user, now) for debt in policy.take(now)]
    for name, row_at in last_row.items():
        times = [at for user, at in lists if user == name]
        assert times[-1] >= row_at
        assert all(later - earlier >= interval_ms for earlier, later in itertools.pairwise(times))
