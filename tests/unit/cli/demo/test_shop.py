from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import pytest

from services.cli.demo.shop import START_MS, shop
from services.contracts.edge import InteractionEvent, Item


def made(seed: int = 3, events: int = 20_000, users: int = 500, items: int = 300) -> tuple[list[Any], list[Any]]:
    """A whole shop of the test's size."""
    catalogue, stream = shop(seed, events, users, items)
    return catalogue, list(stream)


@pytest.fixture(scope="module")
def example() -> tuple[list[Any], list[Any]]:
    """One shop that the tests look at."""
    return made()


def test_same_arguments_give_the_same_stream() -> None:
    """The stream is a function of its arguments, and another seed gives another stream."""
    assert made(events=2000) == made(events=2000)
    assert made(events=2000) != made(seed=4, events=2000)


def test_sizes_and_fields_are_as_asked(example: tuple[list[Any], list[Any]]) -> None:
    """There are as many events and items as asked for, and every field of the records is present."""
    catalogue, events = example
    assert (len(catalogue), len(events)) == (300, 20_000)
    assert all(item.keys() == Item.__annotations__.keys() for item in catalogue)
    assert all(event.keys() == InteractionEvent.__annotations__.keys() for event in events)
    assert len({event["event_id"] for event in events}) == len(events)
    assert len({event["user_id"] for event in events}) <= 500


def test_events_are_in_time_order_and_items_exist_first(example: tuple[list[Any], list[Any]]) -> None:
    """Event time never goes back, and nobody meets an item before it was created."""
    catalogue, events = example
    born = {item["item_id"]: item["created_at"] for item in catalogue}
    times = [event["event_time"] for event in events]
    assert times == sorted(times)
    assert times[0] >= START_MS
    assert all(event["event_time"] >= born[event["item_id"]] for event in events)
    assert 0.2 < sum(at > START_MS for at in born.values()) / len(born) < 0.6


def test_stream_has_what_a_shop_has(example: tuple[list[Any], list[Any]]) -> None:
    """Impressions and all kinds of reactions occur, and people buy things again."""
    _, events = example
    kinds = Counter(event["type"] for event in events)
    assert kinds.keys() == {
        "impression", "view", "click", "add-to-cart", "purchase", "rating", "like", "dislike", "hide",
    }  # fmt: skip
    bought = Counter((event["user_id"], event["item_id"]) for event in events if event["type"] == "purchase")
    assert max(bought.values()) > 2


def test_learning_pays_and_so_does_going_on_learning(example: tuple[list[Any], list[Any]]) -> None:
    """Counts of what follows what beat popularity twofold, and beat the same counts frozen half way."""
    _, events = example
    views = [event for event in events if event["type"] == "view"]
    popular: Counter[str] = Counter()
    after: defaultdict[str, Counter[str]] = defaultdict(Counter)
    frozen: defaultdict[str, Counter[str]] = defaultdict(Counter)
    seen: defaultdict[str, set[str]] = defaultdict(set)
    last: dict[str, str] = {}
    hits: Counter[str] = Counter()
    for number, event in enumerate(views):
        user, item = event["user_id"], event["item_id"]
        late = number > len(views) // 2
        if late and item not in seen[user] and user in last:
            for name, scores in (("popular", popular), ("after", after[last[user]]), ("frozen", frozen[last[user]])):
                fresh = [one for one, _ in scores.most_common(100) if one not in seen[user]]
                hits[name] += item in fresh[:10]
        popular[item] += 1
        if user in last:
            after[last[user]][item] += 1
            if not late:
                frozen[last[user]][item] += 1
        last[user] = item
        seen[user].add(item)
    assert hits["after"] > 2 * hits["popular"]
    assert hits["after"] > 1.1 * hits["frozen"]


def test_refuses_sizes_that_make_no_stream() -> None:
    """A size of zero is an error, not an empty stream."""
    with pytest.raises(ValueError, match="must be positive"):
        shop(1, 0, 10, 10)
