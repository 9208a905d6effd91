from __future__ import annotations

import pytest

from services.feature_extraction.weights import Weights, parse_weights
from tests.unit.feature_extraction.driving import new_row


def weights(**configured: float) -> Weights:
    """A table with a margin of two standard deviations."""
    return Weights(configured, rating_margin=2.0)


@pytest.mark.parametrize("kind", ["view", "click", "purchase", "rating", "anything else"])
def test_positive_types_count_in_full(kind: str) -> None:
    """A stream of one positive type loses nothing, whatever the type is called."""
    assert weights().of(kind) == 1.0


def test_negative_feedback_and_impressions() -> None:
    """A dislike speaks against the item, an impression says nothing yet."""
    assert weights().of("dislike") < 0
    assert weights().of("hide") < 0
    assert weights().of("impression") == 0
    assert weights().unanswered < 0


def test_configured_weights_win_and_control_records_win_over_them() -> None:
    """A change applies until it is taken back, and then the configured table counts again."""
    table = weights(view=0.5)
    assert table.of("view") == 0.5
    table.change({"view": 0.25, "other": 0.75})
    assert (table.of("view"), table.of("click"), table.of("wave")) == (0.25, 1.0, 0.75)
    table.change(None)
    assert (table.of("view"), table.of("wave")) == (0.5, 1.0)


def test_a_rating_clearly_below_the_users_mean_is_low() -> None:
    """Only a rating far below the user's own mean, of enough ratings, is negative."""
    table, row = weights(), new_row()
    assert [table.of_rating(row, value) for value in (1, 4, 5, 4, 5)] == [1.0] * 5
    row = new_row()
    for value in (4, 4, 5, 4, 4, 5):
        table.of_rating(row, value)
    assert table.of_rating(row, 4) == 1.0
    assert table.of_rating(row, 1) < 0


def test_the_same_rating_again_and_again_is_not_low() -> None:
    """A user without any spread does not make every small difference a dislike."""
    table, row = weights(), new_row()
    for _ in range(20):
        assert table.of_rating(row, 8) == 1.0
    assert table.of_rating(row, 7) == 1.0
    assert table.of_rating(row, 2) < 0


def test_ratings_are_summarised_by_welford() -> None:
    """The row holds count, mean and squared deviations of the ratings."""
    table, row = weights(), new_row()
    for value in (2, 4, 6):
        table.of_rating(row, value)
    assert row["r"] == pytest.approx([3, 4.0, 8.0])


@pytest.mark.parametrize("text", ["view", "view=much", "=1", "view=nan", "view=1e9", "view=inf"])
def test_wrong_tables_are_refused(text: str) -> None:
    """A setting that is no table of finite weights is named in the error."""
    with pytest.raises(ValueError, match="event weights"):
        parse_weights(text)


def test_an_empty_table_is_a_table() -> None:
    """No entries mean the defaults."""
    assert parse_weights("") == {}
