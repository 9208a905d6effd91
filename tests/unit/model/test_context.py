"""Context: users without a history get what is chosen in circumstances like theirs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from services.model.config import ModelConfig
from services.model.layout import CONTEXT_PREFIX, context_hash
from services.model.recommender import Query, Ranking, Recommender
from tests.unit.model.simulation import Event, World, item_hash

CONFIG = ModelConfig(
    item_partitions=2, dim=8, history=10, history_kept=20, negatives=20, max_items=200, max_contexts=40, max_users=4000
)
NOW = 1_700_000_000_000
NORTH, SOUTH, NOON, UNKNOWN, RARE = 11, 22, 33, 44, 55
ITEMS = 40
"""The north chooses the first half, the south the second; everybody is there at noon."""


@pytest.fixture(scope="module")
def world() -> World:
    """2,400 newcomers of two regions, two events each, on popular items of their region."""
    world = World(CONFIG, 1)
    rng = np.random.default_rng(5)
    for round_ in range(24):
        events = []
        for user in range(100):
            region = int(rng.integers(2))
            at = NOW + round_ * 3_600_000 + user * 10_000
            for step in range(2):
                item = region * ITEMS // 2 + int(rng.integers(ITEMS // 2))
                events.append(Event(round_ * 100 + user, item, at + step, 1.0, ((NORTH, SOUTH)[region], NOON)))
        world.learn(0, events)
        world.settle()
    return world


def ask(world: World, context: Sequence[int], user: int = -1) -> Ranking:
    """The list of ten of a user, at first one never seen."""
    learner = world.shards[0].learner
    none, now_ms = np.zeros(0, np.uint64), NOW + 25 * 3_600_000
    query = Query(user, now_ms, 10, none, np.array(context, np.uint32), exclude_seen=True)
    return Recommender(CONFIG, learner.replica, learner.users).recommend([query])[0]


def north(ranking: Ranking) -> int:
    """How many listed items are the north's."""
    return len({item_hash(item) for item in range(ITEMS // 2)} & set(ranking.items.tolist()))


def test_strangers_get_what_is_chosen_where_they_are(world: World) -> None:
    """A user never seen gets the items of the region that the request names."""
    for region, expected in ((NORTH, 10), (SOUTH, 0)):
        assert north(ask(world, [region, NOON])) == expected


def test_a_context_that_says_nothing_changes_nothing(world: World) -> None:
    """Without a context, or with one that nobody had, a stranger gets what is popular, from everywhere."""
    without = ask(world, [])
    assert 0 < north(without) < 10
    assert ask(world, [UNKNOWN]).items.tolist() == without.items.tolist()


def test_a_history_says_more_than_the_context(world: World) -> None:
    """The list of a user with a history does not depend on the context."""
    user = world.shards[0].learner.users.find(b"user-0-7")
    assert ask(world, [NORTH], user).items.tolist() == ask(world, [SOUTH], user).items.tolist()


def test_only_newcomers_teach(world: World) -> None:
    """Events of users with a longer history are not counted with their context."""
    learner = world.shards[0].learner
    events = [Event(9999, item, NOW + 26 * 3_600_000 + item, 1.0, (RARE,)) for item in range(20)]
    for event in events:
        world.learn(0, [event])
    row = learner.replica.contexts.table.index.find(context_hash(RARE))
    counted = learner.replica.contexts.table.stores["chosen"].data[row, 1]
    assert counted == CONFIG.context_history + 1


def test_contexts_are_bounded() -> None:
    """A producer whose context never repeats does not fill the memory."""
    world = World(CONFIG, 1)
    for batch in range(20):
        events = [Event(batch * 50 + i, i % ITEMS, NOW + batch, 1.0, (1000 + batch * 50 + i,)) for i in range(50)]
        world.learn(0, events)
        world.settle()
    assert len(world.shards[0].learner.replica.contexts.table) <= CONFIG.max_contexts
    owned = [row.key for part in world.partitions for row in part.owner.rows() if row.key.startswith(CONTEXT_PREFIX)]
    assert 0 < len(owned) <= CONFIG.max_contexts
