"""What the demo measures, from the outside: freshness of lists, and hits of lists against popularity."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from services.cli.demo.popularity import Popularity

PASSIVE = frozenset(("impression",))
"""Shown, not acted on: nothing is learned from them before a response or its absence."""
NEGATIVE = frozenset(("dislike", "hide"))
_DAY_MS = 86_400_000


@dataclass(slots=True)
class Snapshot:
    """The figures at one moment."""

    events: int = 0
    lists: int = 0
    users: int = 0
    freshness_ms: dict[str, float] = field(default_factory=dict)
    """{"p50": ..., "p99": ..., "n": ...} over all events that a list has learned from."""
    scored: int = 0
    hits: int = 0
    popularity_hits: int = 0
    waiting: int = 0
    """Events that no list has learned from yet."""

    @property
    def hit_rate(self) -> float:
        """Share of scored events whose item was in the user's list."""
        return self.hits / self.scored if self.scored else 0.0

    @property
    def popularity_hit_rate(self) -> float:
        """The same for the most popular items."""
        return self.popularity_hits / self.scored if self.scored else 0.0


class Meter:
    """Follows the events that are sent and the lists that come back. Not thread-safe.

    **Freshness** of an event: from the moment it is handed to the producer to the moment a list that has
    learned from it (or from a later event of the user) is read by an outside consumer.

    **Hit rate**, prequential: before an event is sent, the last list that was published for its user is
    asked whether the item is among its first k, and so are the items that were the k most popular when that list
    came: what is compared is as old. Both are asked for items new to the user only, and both leave out what the user
    had seen.
    """

    def __init__(self, k: int, exclude_seen: bool = True, half_life_ms: float = _DAY_MS) -> None:
        """Start.

        Args:
            k: positions of a list that count.
            exclude_seen: score items new to the user only; False scores every event.
            half_life_ms: of the popularity that lists are compared with, in event time.
        """
        self.k = k
        self.lists: dict[str, Mapping[str, Any]] = {}
        """Newest list by user."""
        self._popular: dict[str, list[str]] = {}
        """What was popular when the list came, by user."""
        self._exclude_seen = exclude_seen
        self._popularity = Popularity(half_life_ms)
        self._seen: dict[str, dict[str, None]] = {}
        self._pending: dict[str, deque[tuple[str, float, bool]]] = {}
        self._freshness: list[float] = []
        self._waiting = 0
        self._totals = Snapshot()

    def before(self, event: Mapping[str, Any]) -> str | None:
        """Score an event that is about to be sent: the id of the user's list if the item is in it, else None."""
        user, item, kind = event["user_id"], event["item_id"], event["type"]
        current = self.lists.get(user)
        shown = next((each["rank"] for each in current["items"] if each["item_id"] == item), 0) if current else 0
        seen = self._seen.get(user, {})
        scored = kind not in PASSIVE and kind not in NEGATIVE and (not self._exclude_seen or item not in seen)
        # A user without a list has nothing to compare: the first event makes the first list.
        if scored and current is not None:
            self._totals.scored += 1
            self._totals.hits += 0 < shown <= self.k
            self._totals.popularity_hits += item in self._popular[user]
        return current["list_id"] if shown and current else None

    def sent(self, event: Mapping[str, Any], now_s: float) -> None:
        """An event was handed to the producer."""
        user, item, kind = event["user_id"], event["item_id"], event["type"]
        self._totals.events += 1
        passive = kind in PASSIVE
        self._pending.setdefault(user, deque()).append((event["event_id"], now_s, not passive))
        if passive:
            return
        self._waiting += 1
        self._seen.setdefault(user, {})[item] = None
        if kind not in NEGATIVE:
            self._popularity.add(item, event["event_time"] or 0)

    def received(self, user: str, record: Mapping[str, Any] | None, now_s: float) -> None:
        """A list was read; None withdraws the user's list."""
        if record is None:
            self.lists.pop(user, None)
            self._popular.pop(user, None)
            return
        self._totals.lists += 1
        self.lists[user] = record
        without = set(self._seen.get(user, {})) if self._exclude_seen else set()
        self._popular[user] = self._popularity.top(self.k, without)
        learned = record["learned_event_id"]
        pending = self._pending.get(user)
        if learned is None or not pending or not any(event_id == learned for event_id, _, _ in pending):
            return
        while pending:
            event_id, then_s, counts = pending.popleft()
            if counts:
                self._freshness.append(now_s - then_s)
                self._waiting -= 1
            if event_id == learned:
                break

    def history(self, user: str) -> list[str]:
        """Items the user has acted on, in order."""
        return list(self._seen.get(user, {}))

    def reset_freshness(self) -> None:
        """Forget the freshness of what came so far: of a prelude in which code was compiled."""
        self._freshness.clear()

    def snapshot(self, recent: int | None = None) -> Snapshot:
        """The figures now; freshness over the `recent` newest events, or all."""
        values = np.array(self._freshness if recent is None else self._freshness[-recent:])
        fresh = {"n": float(len(self._freshness))}
        if len(values):
            p50, p99 = np.percentile(values, [50, 99]).tolist()
            fresh.update(p50=p50 * 1000, p99=p99 * 1000)
        totals = self._totals
        return Snapshot(
            totals.events, totals.lists, len(self._seen), fresh, totals.scored, totals.hits, totals.popularity_hits,
            self._waiting,
        )  # fmt: skip
