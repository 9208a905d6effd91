from __future__ import annotations

from services.feature_extraction.session import Sessions
from tests.unit.feature_extraction.driving import MINUTE_MS, NOW, new_row

GAP_MS = 30 * MINUTE_MS


def run(*events: tuple[int, str | None]) -> list[list[int]]:
    """The session features of events at (minute, session id)."""
    sessions, row, out = Sessions(GAP_MS), new_row(), []
    for minute, session_id in events:
        at = NOW + minute * MINUTE_MS
        out.append(sessions.advance(row, at, session_id))
        row["t"] = max(row["t"], at)
        row["n"] += 1
    return out


def test_the_first_event_has_no_gap() -> None:
    """A user's first event opens session 0 and has no event before it."""
    assert run((0, None)) == [[0, 0, -1]]


def test_a_pause_longer_than_the_gap_ends_a_session() -> None:
    """Exactly the gap is still the same session; more is the next."""
    assert run((0, None), (30, None), (61, None)) == [
        [0, 0, -1],
        [0, 1, GAP_MS],
        [1, 0, 31 * MINUTE_MS],
    ]


def test_session_ids_decide_over_pauses() -> None:
    """Under one id a pause ends nothing, and a new id begins a session at once."""
    assert [one[:2] for one in run((0, "x"), (120, "x"), (121, "y"))] == [[0, 0], [0, 1], [1, 0]]


def test_events_with_and_without_id_are_told_apart_by_pauses() -> None:
    """An id says nothing about an event that carries none."""
    assert [one[:2] for one in run((0, None), (1, "x"), (2, None), (60, "x"))] == [[0, 0], [0, 1], [0, 2], [1, 0]]


def test_a_straggler_joins_the_current_session() -> None:
    """An event out of order has gap 0, ends nothing and does not move the session's end."""
    assert run((100, None), (10, None), (130, None)) == [[0, 0, -1], [0, 1, 0], [0, 2, GAP_MS]]
