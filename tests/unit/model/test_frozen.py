"""The frozen copy and the lists by popularity."""

from __future__ import annotations

import numpy as np

from services.model.config import ModelConfig
from services.model.frozen import frozen_copy
from services.model.learner import Learner
from services.model.owner import ItemOwner
from services.model.popular import Popular
from services.model.recommender import Query, Recommender
from services.model.replica import Replica
from services.model.users import UserTable
from services.model.warm import _events

CONFIG = ModelConfig(item_partitions=1, max_items=200, max_features=100, max_users=50)
NOTHING = np.zeros(0, np.uint64)


def query(user: int, k: int = 5, exclude: list[int] | None = None) -> Query:
    """A query for a list."""
    return Query(user, 0, k, np.array(exclude or [], np.uint64), np.zeros(0, np.uint32), exclude_seen=False)


def learned(batches: int) -> tuple[Learner, ItemOwner, Replica]:
    """A learner, the owner of its items, and a reader's replica."""
    learner, owner, reader = Learner(CONFIG), ItemOwner(CONFIG, 0), Replica(CONFIG)
    for batch in range(batches):
        for deltas in learner.learn(_events(learner.users, batch), batch).values():
            owner.fold(deltas)
        changes = owner.sweep()
        learner.replica.take(0, changes, batch)
        reader.take(0, changes, None)
    return learner, owner, reader


def test_a_frozen_copy_ranks_as_its_original_did_and_stays_as_it_was() -> None:
    """What is learned after the copy changes the original only."""
    learner, owner, reader = learned(3)
    copy = frozen_copy(reader)
    users: UserTable = learner.users
    then = Recommender(CONFIG, reader, users).recommend([query(0)])[0]
    same = Recommender(CONFIG, copy, users).recommend([query(0)])[0]
    assert np.array_equal(then.items, same.items)
    assert np.array_equal(then.scores, same.scores)
    before = copy.items.table.get(np.flatnonzero(copy.items.table.keys))
    for deltas in learner.learn(_events(users, 9), 9).values():
        owner.fold(deltas)
    reader.take(0, owner.sweep(), None)
    assert copy.items.table.get(np.flatnonzero(copy.items.table.keys)) == before


def test_popularity_lists_the_most_counted_items_that_a_query_allows() -> None:
    """In the order of decayed counts, without what is excluded or not allowed."""
    _, _, reader = learned(3)
    popular = Popular(CONFIG, reader, UserTable(CONFIG))
    whole = popular.recommend([query(-1, k=8)])[0]
    assert len(whole.items) == 8
    assert list(whole.scores) == sorted(whole.scores, reverse=True)
    first, second = int(whole.items[0]), int(whole.items[1])
    (without,) = popular.recommend([query(-1, k=8, exclude=[first])], lambda items: items != np.uint64(second))
    assert without.items.tolist() == [item for item in whole.items.tolist() if item not in (first, second)]


def test_popularity_follows_new_counts() -> None:
    """A list after more events is not the list from before."""
    learner, owner, reader = learned(1)
    popular = Popular(CONFIG, reader, UserTable(CONFIG))
    before = popular.recommend([query(-1)])[0].scores.copy()
    for deltas in learner.learn(_events(learner.users, 50), 50).values():
        owner.fold(deltas)
    reader.take(0, owner.sweep(), None)
    assert not np.array_equal(before, popular.recommend([query(-1)])[0].scores)
