"""Learning ahead of the item shards."""

from __future__ import annotations

import pytest

from services.contracts.inner.item_deltas import SEAL_KEY
from services.model.young import GROWN_EVENTS
from services.model_update import decoders
from services.model_update.ahead import PATIENCE_MS, Ahead
from services.model_update.user_shard import UserShard
from tests.unit.model_update.world import USER_PARTITIONS, Event, World, assert_rebuilt

SHARE = 34
"""Events that the owner of one of three partitions may have under way in a model that has just begun."""


def test_a_share_is_learned_and_then_what_was_folded_is_made_good() -> None:
    """A shard has its share of 100 events under way; each batch that is folded makes room for as many."""
    ahead = Ahead(partitions=4)
    assert ahead.room(0, None, 1, 0) == 25
    ahead.sent(0, 20, 0)
    ahead.sent(1, 5, 0)
    assert ahead.room(25, 0, 1, 1) == 0
    assert ahead.room(25, 1, 1, 2) == 20
    assert ahead.room(25, None, 1, 3) == 25


def test_an_older_model_is_learned_in_larger_steps_and_a_grown_one_freely() -> None:
    """The share grows with the events so far, until nothing is waited for any more."""
    ahead = Ahead(partitions=2)
    assert [ahead.room(learned, None, 1, 0) for learned in (0, 3200, GROWN_EVENTS - 1)] == [50, 100, 500]
    ahead.sent(0, 500, 0)
    assert ahead.room(GROWN_EVENTS, 0, 1, 0) is None


@pytest.mark.parametrize("owned", [0, 2])
def test_who_owns_all_users_or_none_waits_for_nobody(owned: int) -> None:
    """There are no others whose events would be missing, or no events to wait with."""
    ahead = Ahead(partitions=2)
    ahead.sent(0, 1000, 0)
    assert ahead.room(0, 0, owned, 0) is None


def test_item_shards_that_are_away_are_not_waited_for() -> None:
    """When a batch has not been folded for long, events are learned all the same, until it is."""
    ahead = Ahead(partitions=2)
    ahead.sent(3, 50, now_ms=1000)
    assert ahead.room(0, 3, 1, 1000 + PATIENCE_MS) == 0
    assert ahead.room(0, 3, 1, 1001 + PATIENCE_MS) is None
    assert ahead.room(0, None, 1, 1002 + PATIENCE_MS) == 50


class Waiting(World):
    """Three user shards with a partition each, which wait for the item shards."""

    def user_shard(self, number: int) -> UserShard:
        """A new process of the user shard with this number."""
        return UserShard(self.config, f"shard-{number}", self.max_events, waits=True)


def test_shards_of_a_young_model_learn_as_item_rows_come_back() -> None:
    """A shard learns its share, then nothing until item rows bring it back, and everything in the end."""
    world = Waiting(shards=USER_PARTITIONS)
    world.produce(*(Event(user=n, item=n % 9) for n in range(250)))
    shard = world.users[0]
    waiting = shard.waiting()
    assert waiting > 2 * SHARE
    shard.step()
    shard.step()
    assert shard.waiting() == waiting - SHARE
    for driver in world.items:
        driver.drain()
    shard.step()
    assert shard.waiting() == waiting - 2 * SHARE
    for _ in range(20):
        for driver in (*world.users, *world.items):
            driver.step()
    assert not any(driver.waiting() for driver in world.users)
    deltas = [decoders.deltas(one.key, one.value) for one in world.logs.records("item-deltas") if one.key == SEAL_KEY]
    assert sum(seal["events"] for seal in deltas) == 250
    assert max(seal["events"] for seal in deltas) == SHARE
    assert_rebuilt(world)
