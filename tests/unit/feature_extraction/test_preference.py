from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.feature_extraction.preference import Preferences
from tests.unit.feature_extraction.driving import DAY_MS, NOW, new_row


def test_a_preference_halves_with_event_time() -> None:
    """One half-life after an event its weight is a half, shared among the item's categories."""
    preferences, row = Preferences(half_life_days=30, size=5), new_row()
    preferences.add(row, [1, 2], 1.0, NOW)
    assert list(preferences.at(row, NOW)) == [(1, 0.5), (2, 0.5)]
    assert list(preferences.at(row, NOW + 30 * DAY_MS)) == [(1, 0.25), (2, 0.25)]


def test_strongest_first_and_bounded() -> None:
    """Only the strongest categories are kept, in order."""
    preferences, row = Preferences(half_life_days=30, size=2), new_row()
    for category, times in ((1, 1), (2, 3), (3, 2)):
        for _ in range(times):
            preferences.add(row, [category], 1.0, NOW)
    assert list(preferences.at(row, NOW)) == [(2, 3.0), (3, 2.0)]


def test_a_new_taste_gets_in() -> None:
    """A category that is new to a full table takes the place of the weakest old one, and can grow."""
    preferences, row = Preferences(half_life_days=30, size=2), new_row()
    for category in (1, 1, 1, 2, 2, 3, 3, 3):
        preferences.add(row, [category], 1.0, NOW)
    assert list(preferences.at(row, NOW)) == [(1, 3.0), (3, 3.0)]
    preferences.add(row, [5, 6, 7], 3.0, NOW)
    assert list(preferences.at(row, NOW)) == [(5, 1.0), (6, 1.0)]


def test_dislikes_take_away_and_never_below_nothing() -> None:
    """A negative weight lowers a category, and forgets it at nothing."""
    preferences, row = Preferences(half_life_days=30, size=5), new_row()
    preferences.add(row, [1], 1.0, NOW)
    preferences.add(row, [1, 2], -1.0, NOW)
    assert list(preferences.at(row, NOW)) == [(1, 0.5)]
    preferences.add(row, [1], -1.0, NOW)
    assert list(preferences.at(row, NOW)) == []


@given(st.permutations([0, 10, 20, 40]))
def test_order_of_arrival_does_not_matter(days: list[int]) -> None:
    """An event out of order counts as it would have counted in order."""
    preferences, row = Preferences(half_life_days=30, size=5), new_row()
    for day in days:
        preferences.add(row, [day % 20], 1.0, NOW + day * DAY_MS)
    at = dict(preferences.at(row, NOW + 40 * DAY_MS))
    assert at == pytest.approx({0: 2 ** (-40 / 30) + 2 ** (-20 / 30) + 1, 10: 0.5})


def test_items_without_categories_change_nothing() -> None:
    """Without metadata, and for events that are not learned, there is nothing to prefer."""
    preferences, row = Preferences(half_life_days=30, size=5), new_row()
    preferences.add(row, [], 1.0, NOW)
    preferences.add(row, [1], 0.0, NOW)
    assert row == new_row()
