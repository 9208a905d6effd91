"""Lists from the whole model: who gets what, and why."""

from __future__ import annotations

import numpy as np
import pytest

from services.model.config import ModelConfig
from services.model.experts import NAMES
from services.model.recommender import Query, Ranking, Recommender
from tests.unit.model.simulation import Event, World, item_hash

CONFIG = ModelConfig(
    item_partitions=2, dim=8, history=10, history_kept=20, negatives=20, max_items=200, max_features=100, max_users=100
)
NOW = 1_700_000_000_000
NONE = np.zeros(0, np.uint64)
ITEMS = 40


@pytest.fixture(scope="module")
def world() -> World:
    """Thirty users, each of whom goes from an even item to the next odd one, among popular items 0 and 1."""
    world = World(CONFIG, 1)
    rng = np.random.default_rng(0)
    for round_ in range(40):
        events = []
        for user in range(30):
            item = int(rng.zipf(1.5)) * 2 % ITEMS
            at = NOW + round_ * 3_600_000 + user * 10_000
            events += [Event(user, item, at), Event(user, item + 1, at + 1000)]
        world.learn(0, events)
        world.settle()
    return world


def ask(world: World, user: int, k: int = 5, *, seen: bool = True, exclude: tuple[int, ...] = ()) -> Ranking:
    """The list of a user."""
    learner = world.shards[0].learner
    slot = learner.users.find(b"user-0-%d" % user)
    hashes = np.array([item_hash(i) for i in exclude], np.uint64)
    query = Query(slot, NOW + 41 * 3_600_000, k, hashes, np.zeros(0, np.uint32), seen)
    return Recommender(CONFIG, learner.replica, learner.users).recommend([query])[0]


def test_lists_hold_new_items_best_first(world: World) -> None:
    """Nothing seen or excluded is listed, nothing twice; scores fall and are probabilities."""
    learner = world.shards[0].learner
    for user in range(5):
        ranking = ask(world, user, 10, exclude=(1, 3))
        own = learner.users.seen(learner.users.find(b"user-0-%d" % user)).tolist()
        listed = ranking.items.tolist()
        assert len(set(listed)) == len(listed)
        assert not set(listed) & ({item_hash(1), item_hash(3)} | set(own))
        known = ranking.scores[ranking.scores > 0]
        assert (np.diff(ranking.scores) <= 0).all()
        assert known.sum() <= 1.0001


def test_the_follower_of_the_last_item_comes_first(world: World) -> None:
    """Where repeats are allowed, a user who just took an even item is offered the odd one after it, because of it."""
    world.learn(0, [Event(77, 8, NOW + 40 * 3_600_000)])
    world.settle()
    ranking = ask(world, 77, 5)
    assert item_hash(9) in ranking.items[:3].tolist()
    at = ranking.items.tolist().index(item_hash(9))
    assert ranking.because[at].tolist() == [item_hash(8), 0]
    assert NAMES[ranking.expert[at]] in {"co-visitation", "transition", "factors"}


def test_own_items_only_where_repeats_are_allowed(world: World) -> None:
    """A user's own items are listed when the query allows it."""
    learner = world.shards[0].learner
    own = set(learner.users.seen(learner.users.find(b"user-0-3")).tolist())
    assert set(ask(world, 3, 10, seen=False).items.tolist()) & own
    assert not set(ask(world, 3, 10).items.tolist()) & own


def test_strangers_get_what_is_popular(world: World) -> None:
    """A user never seen gets popular items, without reasons."""
    ranking = ask(world, 1000, 5)
    assert len(ranking.items) == 5
    assert {NAMES[e] for e in ranking.expert} <= {"popularity", "factors"}
    assert not ranking.because.any()


def test_a_batch_of_queries_is_each_of_them(world: World) -> None:
    """Lists do not depend on what else is asked in the same call."""
    learner = world.shards[0].learner
    recommender = Recommender(CONFIG, learner.replica, learner.users)
    queries = [
        Query(learner.users.find(b"user-0-%d" % u), NOW, 3 + u, NONE, np.zeros(0, np.uint32), u % 2 == 0)
        for u in range(4)
    ]
    for together, query in zip(recommender.recommend(queries), queries, strict=True):
        alone = recommender.recommend([query])[0]
        assert together.items[: query.k].tolist() == alone.items.tolist()
