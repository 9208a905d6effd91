from __future__ import annotations

from services.feature_extraction.impressions import Impressions
from tests.unit.feature_extraction.driving import MINUTE_MS, NOW, new_row

WAIT = Impressions(timeout_ms=10 * MINUTE_MS, pending=3)


def test_unanswered_after_the_timeout() -> None:
    """An impression is given up once an event is later than the timeout, and only once."""
    row = new_row()
    WAIT.show(row, "a", NOW, "e1", None)
    assert WAIT.unanswered(row, NOW + 10 * MINUTE_MS, session_ended=False) == []
    assert WAIT.unanswered(row, NOW + 10 * MINUTE_MS + 1, session_ended=False) == [["a", NOW, "e1", None]]
    assert WAIT.unanswered(row, NOW + 20 * MINUTE_MS, session_ended=False) == []


def test_all_are_given_up_when_the_session_ends() -> None:
    """What was not answered in its session will not be."""
    row = new_row()
    WAIT.show(row, "a", NOW, "e1", None)
    WAIT.show(row, "b", NOW + 1, "e2", None)
    assert [one[0] for one in WAIT.unanswered(row, NOW + 2, session_ended=True)] == ["a", "b"]
    assert row["im"] == []


def test_an_answer_cancels() -> None:
    """An event on the item takes its impression out."""
    row = new_row()
    WAIT.show(row, "a", NOW, "e1", None)
    WAIT.answer(row, "a")
    assert WAIT.unanswered(row, NOW, session_ended=True) == []


def test_shown_twice_waits_once() -> None:
    """An item on every page counts once, from the first time."""
    row = new_row()
    WAIT.show(row, "a", NOW, "e1", None)
    WAIT.show(row, "a", NOW + 1, "e2", None)
    assert row["im"] == [["a", NOW, "e1", None]]


def test_what_waits_is_bounded() -> None:
    """The oldest make room, and a bound of zero keeps none."""
    row = new_row()
    for name in "abcde":
        WAIT.show(row, name, NOW, name, None)
    assert [one[0] for one in row["im"]] == ["c", "d", "e"]
    Impressions(1, pending=0).show(row, "f", NOW, "f", None)
    assert [one[0] for one in row["im"]] == ["c", "d", "e"]
