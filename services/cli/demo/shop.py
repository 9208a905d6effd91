"""A made-up shop: a seeded stream of what its customers do, for the demo and for tests.

The stream has what real ones have and what a recommender must cope with:

* **Themes.** Items belong to themes (two categories: department and theme), users like three themes at a time. What
  everybody buys is a poor guess for anyone.
* **Drifting tastes.** In one session of twelve a user's first theme is replaced. What a model knew of the user a week
  ago is partly wrong today; seasons move the themes that people turn to.
* **Sequences.** Every item has a few companions that are often looked at next.
* **New items.** Four in ten items appear while the stream runs, and are liked most when they are new.
* **Bursts.** Every day or so one item is talked about for some hours, and a tenth of all visits goes to it.
* **Repeat purchases.** A quarter of the items are used up and bought again.
* **Several event types.** A visit shows a shelf (impressions), of which little is acted on; views lead to clicks,
  carts, purchases and ratings; what does not fit a user's taste is sometimes disliked or hidden.

Everything is drawn from one `random.Random(seed)`: the same arguments give the same stream, on any machine.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from itertools import accumulate
from random import Random
from typing import Any, NamedTuple

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
START_MS = 1_740_787_200_000
"""2025-03-01 00:00 UTC."""

_EVENTS_PER_SESSION = 9.5
_SHELF_REFRESH_MS = 6 * HOUR_MS
_NEWNESS_HALF_LIFE_MS = 6 * DAY_MS
_COMPANION_WEIGHTS = (0.5, 0.75, 0.9, 1.0)
_TASTE_WEIGHTS = (0.62, 0.9, 1.0)
_P_DRIFT = 1 / 12
_P_BURST = 0.10
_P_AGAIN = 0.15
_P_COMPANION = 0.45
_P_OFF_TASTE = 0.12
_P_SHELF = 0.18

_DEPARTMENTS = (
    "Kitchen", "Garden", "Books", "Toys", "Sports", "Beauty", "Office", "Pets", "Music", "Travel", "Lighting", "Crafts",
)  # fmt: skip
_STYLES = ("Nordic", "Vintage", "Modern", "Rustic", "Coastal", "Urban", "Japanese", "Floral", "Minimal", "Retro")
_THINGS = (
    "Bowl", "Lamp", "Basket", "Notebook", "Kettle", "Blanket", "Puzzle", "Planter", "Mug", "Backpack", "Candle",
    "Cushion", "Brush", "Bottle", "Clock", "Frame", "Tray", "Apron", "Speaker", "Mat",
)  # fmt: skip
_MATERIALS = ("Oak", "Linen", "Steel", "Glass", "Ceramic", "Wool", "Bamboo", "Cotton", "Copper", "Cork", "Leather")
_BRANDS = ("Alder", "Brightside", "Corvid", "Dunmore", "Ember", "Fennel", "Gable", "Harrow", "Inlet", "Juniper")
_DEVICES = ("phone", "phone", "phone", "desktop", "desktop", "tablet")


class _Burst(NamedTuple):
    start_ms: int
    end_ms: int
    item: int


def shop(
    seed: int, events: int, users: int, items: int, *, start_ms: int = START_MS, days: float = 30.0
) -> tuple[list[dict[str, Any]], Iterator[dict[str, Any]]]:
    """Make a shop and the stream of its customers' events.

    Args:
        seed: of every random choice.
        events: number of events, impressions included.
        users: number of customers; their activity is skewed, and half of them join while the stream runs.
        items: number of items.
        start_ms: event time of the beginning, Unix ms.
        days: event time that the stream spans, about.

    Returns:
        Item records in order of `created_at`, and a lazy iterator of InteractionEvent records in order of
        `event_time`. An item has no event before its `created_at`. Every field of the records is present.

    Raises:
        ValueError: a size is not positive.

    >>> catalogue, stream = shop(seed=1, events=3, users=10, items=50)
    >>> len(catalogue), [event["event_id"] for event in stream]
    (50, ['shop-1-0', 'shop-1-1', 'shop-1-2'])
    """
    if min(events, users, items) < 1 or days <= 0:
        raise ValueError(f"events, users, items and days must be positive, got {events}, {users}, {items}, {days}")
    made = _Shop(seed, users, items, start_ms, int(days * DAY_MS))
    return made.records, made.stream(seed, events)


class _Shop:
    """The shop's catalogue and customers, and how they behave."""

    def __init__(self, seed: int, users: int, items: int, start_ms: int, span_ms: int) -> None:
        self._random = Random(seed)
        self._start_ms, self._span_ms = start_ms, span_ms
        self._themes = max(4, min(60, items // 30))
        self._build_catalogue(items)
        self._build_customers(users)
        self._bursts = self._draw_bursts()
        self._shelves: list[list[float]] = []
        self._seasons: list[float] = []
        self._shelves_until_ms = 0

    def _build_catalogue(self, items: int) -> None:
        random, themes = self._random, self._themes
        born = sorted(
            self._start_ms + (0 if random.random() < 0.6 else int(random.random() * self._span_ms))
            for _ in range(items)
        )
        born[0] = self._start_ms
        # Round robin first, so that every theme has something to offer from the start.
        theme_of = [number if number < themes else random.randrange(themes) for number in range(items)]
        self._members: list[list[int]] = [[] for _ in range(themes)]
        for item, theme in enumerate(theme_of):
            self._members[theme].append(item)
        self._members = [members for members in self._members if members]
        self._themes = len(self._members)
        self._born, self._theme_of = born, theme_of
        self._appeal = [random.lognormvariate(0.0, 1.0) for _ in range(items)]
        self._used_up = [random.random() < 0.25 for _ in range(items)]
        self._companions = [self._draw_companions(item) for item in range(items)]
        self.records = [self._record(item) for item in range(items)]

    def _draw_companions(self, item: int) -> tuple[int, ...]:
        random = self._random
        theme = self._theme_of[item]
        pools = (self._members[theme], self._members[theme], self._members[(theme + 1) % self._themes])
        return tuple(random.choice(pools[place % 3]) for place in range(len(_COMPANION_WEIGHTS)))

    def _record(self, item: int) -> dict[str, Any]:
        random, theme = self._random, self._theme_of[item]
        department = _DEPARTMENTS[theme % len(_DEPARTMENTS)]
        style = _STYLES[(theme // len(_DEPARTMENTS) + theme) % len(_STYLES)]
        brand, thing = random.choice(_BRANDS), random.choice(_THINGS)
        return {
            "item_id": f"item-{item:05d}",
            "title": f"{brand} {style} {random.choice(_MATERIALS)} {thing}",
            "categories": [department, f"{style} {department}"],
            "year": 2025 - min(int(random.expovariate(0.4)), 15),
            "attributes": {"brand": brand, "price_band": random.choice("ABC")},
            "available": True,
            "created_at": self._born[item],
        }

    def _build_customers(self, users: int) -> None:
        random = self._random
        self._joined = [
            self._start_ms + (0 if random.random() < 0.5 else int(random.random() * 0.9 * self._span_ms))
            for _ in range(users)
        ]
        self._joined[0] = self._start_ms
        self._activity = list(accumulate(random.paretovariate(1.6) for _ in range(users)))
        self._tastes = [[random.randrange(self._themes) for _ in _TASTE_WEIGHTS] for _ in range(users)]
        self._bought: list[deque[int]] = [deque(maxlen=6) for _ in range(users)]

    def _draw_bursts(self) -> list[_Burst]:
        random, bursts = self._random, []
        at = self._start_ms + int(random.expovariate(1 / DAY_MS))
        while at < self._start_ms + self._span_ms:
            alive = max(1, bisect_right(self._born, at))
            # Mostly something new: what is talked about is rarely old.
            item = max(0, alive - 1 - min(int(random.expovariate(12 / alive)), alive - 1))
            bursts.append(_Burst(at, at + int(random.uniform(4, 14) * HOUR_MS), item))
            at += int(random.expovariate(1 / (1.3 * DAY_MS)))
        return bursts

    def stream(self, seed: int, events: int) -> Iterator[dict[str, Any]]:
        """The sessions of all customers, merged in event-time order."""
        random = self._random
        mean_gap_ms = self._span_ms * _EVENTS_PER_SESSION / events
        opens_at = float(self._start_ms)
        waiting: list[tuple[int, int, dict[str, Any], Iterator[dict[str, Any]]]] = []
        sessions = 0
        for number in range(events):
            while not waiting or opens_at <= waiting[0][0]:
                session = self._session(self._draw_user(int(opens_at)), int(opens_at))
                first = next(session)
                heapq.heappush(waiting, (first["event_time"], sessions, first, session))
                sessions += 1
                # Twice as busy in the evening as at dawn.
                busy = 1.0 - 0.5 * math.cos(2 * math.pi * (opens_at / DAY_MS - 0.33))
                opens_at += random.expovariate(busy / mean_gap_ms)
            _, order, event, session = waiting[0]
            event["event_id"] = f"shop-{seed}-{number}"
            following = next(session, None)
            if following is None:
                heapq.heappop(waiting)
            else:
                heapq.heapreplace(waiting, (following["event_time"], order, following, session))
            yield event

    def _draw_user(self, now_ms: int) -> int:
        activity, random = self._activity, self._random
        while True:
            user = bisect_right(activity, random.random() * activity[-1], hi=len(activity) - 1)
            if self._joined[user] <= now_ms:
                return user

    def _session(self, user: int, now_ms: int) -> Iterator[dict[str, Any]]:
        """One visit: a walk from item to item, and what the customer does with each."""
        random = self._random
        name = f"user-{user:05d}"
        device = random.choice(_DEVICES)
        tastes = self._tastes[user]
        if random.random() < _P_DRIFT:
            tastes.insert(0, self._draw_season_theme(now_ms))
            tastes.pop()
        last: int | None = None
        for _ in range(1 + min(int(random.expovariate(0.25)), 25)):
            if random.random() < _P_SHELF:
                for _ in range(random.randint(2, 4)):
                    shown = self._draw_of_theme(self._draw_taste(tastes), now_ms)
                    yield _event(name, shown, "impression", now_ms, device, "home")
                now_ms += random.randint(2_000, 15_000)
            item = self._draw_item(user, last, now_ms)
            fits = self._theme_of[item] in tastes
            for kind, value in self._funnel(fits):
                yield _event(name, item, kind, now_ms, device, "item", value)
                now_ms += random.randint(3_000, 60_000)
                if kind == "purchase" and self._used_up[item]:
                    self._bought[user].append(item)
            last = item
            now_ms += random.randint(5_000, 180_000)

    def _draw_item(self, user: int, last: int | None, now_ms: int) -> int:
        random = self._random
        if random.random() < _P_BURST:
            hot = [burst.item for burst in self._bursts if burst.start_ms <= now_ms < burst.end_ms]
            if hot:
                return random.choice(hot)
        if self._bought[user] and random.random() < _P_AGAIN:
            return random.choice(self._bought[user])
        if last is not None and random.random() < _P_COMPANION:
            item = self._companions[last][bisect_right(_COMPANION_WEIGHTS, random.random())]
            if self._born[item] <= now_ms:
                return item
        if random.random() < _P_OFF_TASTE:
            return self._draw_of_theme(self._draw_season_theme(now_ms), now_ms)
        return self._draw_of_theme(self._draw_taste(self._tastes[user]), now_ms)

    def _draw_taste(self, tastes: list[int]) -> int:
        return tastes[bisect_right(_TASTE_WEIGHTS, self._random.random())]

    def _draw_season_theme(self, now_ms: int) -> int:
        self._restock(now_ms)
        return bisect_right(self._seasons, self._random.random() * self._seasons[-1], hi=self._themes - 1)

    def _draw_of_theme(self, theme: int, now_ms: int) -> int:
        self._restock(now_ms)
        shelf = self._shelves[theme]
        if not shelf[-1]:
            return 0
        return self._members[theme][bisect_right(shelf, self._random.random() * shelf[-1], hi=len(shelf) - 1)]

    def _restock(self, now_ms: int) -> None:
        """Weigh the items of every theme by appeal and newness, and the themes by season, every few hours."""
        if now_ms < self._shelves_until_ms:
            return
        self._shelves_until_ms = now_ms - now_ms % _SHELF_REFRESH_MS + _SHELF_REFRESH_MS
        self._shelves = [list(accumulate(self._weight(item, now_ms) for item in members)) for members in self._members]
        turn = 2 * math.pi * (now_ms - self._start_ms) / (20 * DAY_MS)
        self._seasons = list(
            accumulate(math.exp(1.5 * math.sin(turn + 2 * math.pi * theme * 0.618)) for theme in range(self._themes))
        )

    def _weight(self, item: int, now_ms: int) -> float:
        age_ms = now_ms - self._born[item]
        if age_ms < 0:
            return 0.0
        return self._appeal[item] * (0.25 + math.exp2(-age_ms / _NEWNESS_HALF_LIFE_MS))

    def _funnel(self, fits: bool) -> Iterator[tuple[str, float | None]]:
        """What a customer does with an item: always a look, then less and less often more."""
        random = self._random
        yield "view", None
        if not fits:
            if random.random() < 0.12:
                yield random.choice(("dislike", "hide")), None
            return
        if random.random() < 0.35:
            yield "click", None
        if random.random() < 0.05:
            yield "like", None
        if random.random() < 0.25:
            yield "add-to-cart", None
            if random.random() < 0.65:
                yield "purchase", round(random.lognormvariate(3.0, 0.6), 2)
                if random.random() < 0.15:
                    yield "rating", float(random.choice((2, 3, 4, 4, 5, 5)))


def _event(
    user: str, item: int, kind: str, now_ms: int, device: str, page: str, value: float | None = None
) -> dict[str, Any]:
    return {
        "event_id": None,
        "user_id": user,
        "item_id": f"item-{item:05d}",
        "type": kind,
        "value": value,
        "event_time": now_ms,
        "session_id": None,
        "context": {"device": device, "page": page},
        "list_id": None,
    }
