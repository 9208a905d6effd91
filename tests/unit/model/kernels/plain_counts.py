"""What learning counts, as the documents state it: every event is kept, and decayed when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from services.contracts.keys import KIND_CATEGORY, feature_kind
from services.model.config import ModelConfig
from tests.unit.model.simulation import Event, item_hash

TICK_S = 128
CATEGORY_DECAY = 0.97


def weight_at(weight: float, age_s: float, halflife_s: float) -> float:
    """What an event counts after a time; with a half-life of 0, the same for ever."""
    return weight * 2.0 ** (-age_s / halflife_s) if halflife_s else weight


@dataclass
class PlainPopularity:
    """The events of one row: (second, weight)."""

    events: list[tuple[int, float]] = field(default_factory=list)

    @property
    def anchor(self) -> int:
        """The tick of the newest event."""
        return max(second // TICK_S for second, _ in self.events)

    def counts(self, halflives_s: Iterable[float], tick: float) -> list[float]:
        """The decayed counts as of the beginning of a tick."""
        now = tick * TICK_S
        return [sum(weight_at(w, now - second, h) for second, w in self.events) for h in halflives_s]


@dataclass(frozen=True)
class Pair:
    """One event of a pair, in the list of one of the two."""

    tick: int
    weight: float
    place: int
    """Of the earlier item in the history, newest 0."""
    back: bool = False
    """Whether the list is the later item's."""


@dataclass
class PlainList:
    """A list of at most `limit` neighbours, in the order in which they took their places."""

    limit: int
    halflife_s: float
    order: list[int] = field(default_factory=list)
    pairs: dict[int, list[Pair]] = field(default_factory=dict)
    everything: list[Pair] = field(default_factory=list)
    """The pairs with all neighbours there ever were."""

    def counts(self, pairs: Sequence[Pair], tick: float) -> list[float]:
        """Co-visits, to the neighbour, from it, strictly next; co-visits and to the neighbour, decayed to a tick."""
        out = [0.0] * 6
        for pair in pairs:
            step = pair.weight / (1 + pair.place) if pair.place < 5 else 0.0
            now = weight_at(1.0, (tick - pair.tick) * TICK_S, self.halflife_s)
            out[0] += pair.weight
            out[4] += pair.weight * now
            if pair.back:
                out[2] += step
            else:
                out[1] += step
                out[3] += pair.weight if pair.place == 0 else 0.0
                out[5] += step * now
        return out

    def add(self, neighbour: int, pair: Pair) -> None:
        """Count; where the list is full, a new neighbour takes the place of the weakest, the earliest of equals."""
        self.everything.append(pair)
        if neighbour not in self.pairs:
            if len(self.order) < self.limit:
                self.order.append(neighbour)
            else:
                strength = [counts[0] + counts[4] for counts in self._all(pair.tick)]
                place = strength.index(min(strength))
                del self.pairs[self.order[place]]
                self.order[place] = neighbour
            self.pairs[neighbour] = []
        self.pairs[neighbour].append(pair)

    def _all(self, tick: float) -> list[list[float]]:
        return [self.counts(self.pairs[neighbour], tick) for neighbour in self.order]


@dataclass
class PlainCounter:
    """What a user has taken: newest items, categories, items seen."""

    config: ModelConfig
    history: list[tuple[int, int]] = field(default_factory=list)
    """(item, second), newest first."""
    categories: list[list[float]] = field(default_factory=list)
    """[category, count], in the order in which they took their places."""
    seen: list[int] = field(default_factory=list)
    """Oldest first."""

    def push(self, item: int, second: int) -> None:
        """The newest item; the oldest one past the ceiling is forgotten."""
        self.history = [(item, second), *self.history][: self.config.history_kept]

    def see(self, item: int) -> None:
        """An item joins those seen; past the ceiling the one that joined first is forgotten."""
        if item not in self.seen:
            self.seen = [*self.seen, item][-self.config.max_seen :]

    def like(self, categories: Sequence[int]) -> None:
        """Counts shrink with every event; where there is no room, the weakest category gives way."""
        for entry in self.categories:
            entry[1] *= CATEGORY_DECAY
        for category in categories:
            known = [entry for entry in self.categories if entry[0] == category]
            if known:
                known[0][1] += 1
            elif len(self.categories) < self.config.max_categories:
                self.categories.append([category, 1.0])
            else:
                weakest = min(self.categories, key=lambda entry: entry[1])
                weakest[:] = [category, 1.0]


class PlainCounts:
    """All counts of a stream of events."""

    def __init__(self, config: ModelConfig, content: Callable[[int], list[int]]) -> None:
        self.config = config
        self.content = content
        self.items: dict[int, PlainPopularity] = {}
        self.totals = PlainPopularity()
        self.near: dict[int, PlainList] = {}
        self.contexts: dict[int, PlainList] = {}
        self.features: dict[int, list[int]] = {}
        """{content feature: [events, items] that have it}; 0 = events with categories, items with content."""
        self.users: dict[tuple[int, int], PlainCounter] = {}
        self.described: set[int] = set()
        self.present: set[int] = set()
        """Items that have a row during a batch."""

    def user(self, shard: int, number: int) -> PlainCounter:
        """A user of a shard."""
        return self.users.setdefault((shard, number), PlainCounter(self.config))

    def learn(self, shard: int, events: Sequence[Event]) -> None:
        """Count one learning batch of a shard."""
        self.present = {*self.items, *(item_hash(e.item) for e in events if e.weight > 0)}
        teaching = {e.user for e in events if len(self.user(shard, e.user).history) <= self.config.context_history}
        for event in events:
            user, item = self.user(shard, event.user), item_hash(event.item)
            if event.weight > 0:
                self._count(event, user, item, teaches=event.user in teaching)
                user.push(item, event.t_ms // 1000)
                user.like([f for f in self.content(event.item) if feature_kind(f) == KIND_CATEGORY])
            if event.weight > 0 or event.weight <= self.config.dislike_weight:
                user.see(item)

    def forget(self, item: int) -> None:
        """An item's row is gone: should it come again, it begins anew."""
        del self.items[item]
        self.near.pop(item, None)
        self.described.discard(item)

    def _count(self, event: Event, user: PlainCounter, item: int, *, teaches: bool) -> None:
        second = event.t_ms // 1000
        tick = second // TICK_S
        for row in (self.items.setdefault(item, PlainPopularity()), self.totals):
            row.events.append((second, event.weight))
        for place, (earlier, _) in enumerate(user.history[: self.config.pairs_written]):
            if earlier != item:
                if earlier in self.present:
                    self._list(self.near, earlier).add(item, Pair(tick, event.weight, place))
                self._list(self.near, item).add(earlier, Pair(tick, event.weight, place, back=True))
        words = self.content(event.item)
        categories = [f for f in words if feature_kind(f) == KIND_CATEGORY]
        new = words if item not in self.described else []
        self.described |= {item} if words else set()
        for which, features in enumerate(([*categories, *[0][: len(categories)]], [*new, *[0][: len(new)]])):
            for f in features:
                self.features.setdefault(f, [0, 0])[which] += 1
        if teaches:
            for c in event.context or ():
                self._list(self.contexts, c).add(item, Pair(tick, event.weight, 0))

    def _list(self, lists: dict[int, PlainList], key: int) -> PlainList:
        return lists.setdefault(key, PlainList(self.config.max_neighbours, self.config.pair_halflife_s))
