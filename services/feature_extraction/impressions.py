"""Impressions: what was shown and not acted on is a weak negative, once it is clear that it was not."""

from __future__ import annotations

from services.contracts.inner.extraction_state import ExtractionRow, Pending
from services.contracts.inner.features import Attribution

IMPRESSION = "impression"


class Impressions:
    """Impressions that wait for a response."""

    def __init__(self, timeout_ms: int, pending: int) -> None:
        """Bound the wait.

        Args:
            timeout_ms: event time after which an impression counts as unanswered.
            pending: impressions that wait at once per user; the oldest are forgotten without a record.
        """
        self._timeout_ms = timeout_ms
        self._pending = pending

    def show(self, row: ExtractionRow, item: str, event_ms: int, event_id: str, served: Attribution | None) -> None:
        """An item was shown. Shown again, it goes on waiting from the first time."""
        waiting = row["im"]
        if not self._pending or any(one[0] == item for one in waiting):
            return
        row["im"] = [*waiting, [item, event_ms, event_id, served]][-self._pending :]

    def answer(self, row: ExtractionRow, item: str) -> None:
        """The user did something with an item, good or bad: that is the response."""
        row["im"] = [one for one in row["im"] if one[0] != item]

    def unanswered(self, row: ExtractionRow, event_ms: int, session_ended: bool) -> list[Pending]:
        """Take out the impressions that will get no response, as an event of the user at `event_ms` shows.

        Those older than the timeout, or all when the event begins a new session. There is no clock: without a further
        event of the user nothing is concluded, so a replay concludes the same.
        """
        waiting = row["im"]
        if session_ended:
            done, row["im"] = waiting, []
            return done
        horizon = event_ms - self._timeout_ms
        done = [one for one in waiting if one[1] < horizon]
        if done:
            row["im"] = [one for one in waiting if one[1] >= horizon]
        return done
