"""Which users' lists have grown old: popularity moves on although the user does nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

MOST_PER_STEP = 200
"""Refreshed lists of one step: events and requests must not wait behind a wave of refreshes."""


@dataclass(slots=True)
class Refresher:
    """Times of the users' last lists, oldest first."""

    after_ms: int
    """A list this old is made again; 0 turns refreshing off."""
    _last: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    """{user: (time of the last list, partition)}, oldest first."""

    def published(self, users: Iterable[tuple[bytes, int]], now_ms: int) -> None:
        """These users, as (user, partition), have a fresh list, or were just taken over."""
        if not self.after_ms:
            return
        for user, partition in users:
            self._last.pop(user, None)
            self._last[user] = (now_ms, partition)

    def take(self, now_ms: int) -> list[tuple[bytes, int]]:
        """The users whose list is due for a refresh, as (user, partition)."""
        taken: list[tuple[bytes, int]] = []
        for user, (last, partition) in self._last.items():
            if last + self.after_ms > now_ms or len(taken) == MOST_PER_STEP:
                break
            taken.append((user, partition))
        self.published(taken, now_ms)
        return taken

    def wake_at(self) -> int | None:
        """When the next list is due for a refresh (Unix ms), or None."""
        return next((last + self.after_ms for last, _ in self._last.values()), None)

    def forget(self, user: bytes) -> None:
        """Refresh nothing for this user any more."""
        self._last.pop(user, None)
