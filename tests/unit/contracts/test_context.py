from __future__ import annotations

from services.contracts.context import MAX_ENTRIES, context_feature, context_features

MONDAY = 1_699_833_600_000
"""2023-11-13 00:00 UTC."""
HOUR_MS = 3_600_000


def test_hour_and_weekday_repeat_with_the_clock() -> None:
    """The same hour of the same weekday a week later has the same features; another hour or day has not."""
    monday_noon = context_features(MONDAY + 12 * HOUR_MS, {})
    assert context_features(MONDAY + (7 * 24 + 12) * HOUR_MS, {}) == monday_noon
    assert context_features(MONDAY + 13 * HOUR_MS, {})[0] != monday_noon[0]
    tuesday_noon = context_features(MONDAY + 36 * HOUR_MS, {})
    assert tuesday_noon[0] == monday_noon[0]
    assert tuesday_noon[1] != monday_noon[1]


def test_weekdays_count_from_monday() -> None:
    """Monday is day 0."""
    assert context_features(MONDAY, {})[1] == context_feature("\x00weekday", "0")


def test_entries_are_features_in_the_order_of_their_names() -> None:
    """The order in which a producer writes its map does not matter."""
    one = context_features(MONDAY, {"device": "phone", "page": "home"})
    assert one == context_features(MONDAY, {"page": "home", "device": "phone"})
    assert one[2:] == [context_feature("device", "phone"), context_feature("page", "home")]
    assert all(0 <= feature < 2**32 for feature in one)


def test_name_and_value_are_kept_apart() -> None:
    """Entries whose name and value read the same in one piece are different features."""
    assert context_feature("a", "bc") != context_feature("ab", "c")


def test_entries_are_bounded() -> None:
    """A producer that sends hundreds of entries does not blow up the records."""
    assert len(context_features(MONDAY, {f"n{number}": "x" for number in range(500)})) == 2 + MAX_ENTRIES
