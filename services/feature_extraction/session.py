"""Sessions: runs of a user's events without a long pause, or under one session id of the producer."""

from __future__ import annotations

from zlib import crc32

from services.contracts.inner.extraction_state import ExtractionRow

NO_ID = -1


class Sessions:
    """Numbers a user's sessions and the events in them."""

    def __init__(self, gap_ms: int) -> None:
        """Set the pause (event time) that ends a session."""
        self._gap_ms = gap_ms

    def advance(self, row: ExtractionRow, event_ms: int, session_id: str | None) -> list[int]:
        """Take an event into its session: [session number, position in it from 0, gap in ms].

        The gap is the event time since the user's newest event, 0 for an event out of order and -1 for the first.
        An event that carries a session id, after one that does too, is in the same session exactly if the ids are
        equal; otherwise a pause longer than the bound begins a new one. An event out of order joins the current one.
        """
        number, position, known = row["s"]
        mark = NO_ID if session_id is None else crc32(session_id.encode())
        if not row["n"]:
            row["s"] = [0, 0, mark]
            return [0, 0, -1]
        gap = event_ms - row["t"]
        if gap < 0:
            # A straggler does not end the session that came after it.
            row["s"] = [number, position + 1, known]
            return [number, position + 1, 0]
        new = mark != known if NO_ID not in (mark, known) else gap > self._gap_ms
        number, position = (number + 1, 0) if new else (number, position + 1)
        row["s"] = [number, position, mark]
        return [number, position, gap]
