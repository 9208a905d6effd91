"""When a user's list is published: at once, but at most once per interval, and within a rate.

A user whose row changed is *owed* a list until it is published. The input position that a step may
commit is the first one still owed, so that a list owed at a crash is owed again after the restart.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

MOST_PER_STEP = 2048
"""Lists of one step. A step that made more would hold up the rows that come in meanwhile; made after them, a list
covers more events, and fewer lists are owed."""


class Debt(NamedTuple):
    """A list owed to a user."""

    user: bytes
    partition: int
    first: int
    """Offset of the oldest row that the list is owed for."""


@dataclass(slots=True)
class PublishingPolicy:
    """Who is owed a list, and who gets it now."""

    interval_ms: int
    max_lists_per_s: int
    _owed: dict[int, dict[bytes, int]] = field(default_factory=dict)
    """{partition: {user: offset of the oldest unpublished row}}, in order of that offset."""
    _due: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    """Heap of (due time, order of arrival, partition, user); one live entry per owed user."""
    _published: dict[bytes, int] = field(default_factory=dict)
    """{user: time of the last list}, oldest first, only within the interval."""
    _arrivals: int = 0
    _tokens: float = 0.0
    _filled_ms: int | None = None

    def owe(self, partition: int, user: bytes, offset: int, now_ms: int) -> None:
        """A row of the user changed; nothing more happens when a list is owed already."""
        owed = self._owed.setdefault(partition, {})
        if user in owed:
            return
        owed[user] = offset
        last = self._published.get(user)
        due = now_ms if last is None else max(now_ms, last + self.interval_ms)
        self._arrivals += 1
        heapq.heappush(self._due, (due, self._arrivals, partition, user))

    def take(self, now_ms: int) -> list[Debt]:
        """Up to MOST_PER_STEP users whose list is due, within the rate, longest due first. They are paid with this."""
        self._refill(now_ms)
        taken: list[Debt] = []
        while self._due and self._due[0][0] <= now_ms and self._tokens >= 1.0 and len(taken) < MOST_PER_STEP:
            _, _, partition, user = heapq.heappop(self._due)
            first = self._owed.get(partition, {}).pop(user, None)
            if first is None:
                continue
            self._tokens -= 1.0
            taken.append(Debt(user, partition, first))
        self.published((debt.user for debt in taken), now_ms)
        return taken

    def published(self, users: Iterable[bytes], now_ms: int) -> None:
        """Lists were published for these users (owed ones, or on request)."""
        for user in users:
            self._published.pop(user, None)
            self._published[user] = now_ms
        horizon = now_ms - self.interval_ms
        while self._published:
            oldest = next(iter(self._published))
            if self._published[oldest] > horizon:
                break
            del self._published[oldest]

    def wake_at(self, now_ms: int) -> int | None:
        """When the next list is due (Unix ms), or None when none is owed."""
        if not self._due:
            return None
        wait_ms = 0 if self._tokens >= 1.0 else int((1.0 - self._tokens) * 1000 / self.max_lists_per_s) + 1
        return max(self._due[0][0], now_ms + wait_ms)

    def position(self, partition: int, end: int) -> int:
        """The position that may be committed when input up to `end` was read."""
        owed = self._owed.get(partition)
        return next(iter(owed.values())) if owed else end

    def forget(self, partition: int, user: bytes) -> None:
        """Owe the user nothing: the user was erased."""
        self._owed.get(partition, {}).pop(user, None)
        self._published.pop(user, None)

    def close(self, partition: int) -> None:
        """Owe nothing for a partition that is no longer ours."""
        self._owed.pop(partition, None)
        self._due = [entry for entry in self._due if entry[2] != partition]
        heapq.heapify(self._due)

    def owed(self) -> int:
        """Number of users owed a list."""
        return sum(map(len, self._owed.values()))

    def _refill(self, now_ms: int) -> None:
        """Token bucket: `max_lists_per_s` a second, at most one second's worth saved up."""
        if self._filled_ms is None:
            self._tokens = float(self.max_lists_per_s)
        else:
            gained = (now_ms - self._filled_ms) * self.max_lists_per_s / 1000
            self._tokens = min(float(self.max_lists_per_s), self._tokens + gained)
        self._filled_ms = now_ms
