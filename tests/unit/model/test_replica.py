"""Replicas: positions, pending deltas, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.model.config import ModelConfig
from services.model.owner import ItemOwner
from services.model.replica import Replica
from services.model.rows import DeltaBlock, DeltaSet
from tests.unit.model.simulation import item_hash

CONFIG = ModelConfig(item_partitions=2, dim=8, max_items=20)


def shifted(*items: int, by: float = 1.0) -> DeltaSet:
    """A delta record that moves the q of items, in order of hash as a learner sends it."""
    items = tuple(sorted(items, key=item_hash))
    at = np.arange(len(items), dtype=np.uint32)
    q = np.full((len(items), 10), by, np.float32)
    hashes = np.array([item_hash(i) for i in items], np.uint64)
    return DeltaSet([f"item-{i}" for i in items], hashes, {"q": DeltaBlock(at, q)})


def q_of(replica: Replica, item: int) -> bytes:
    """The bits of an item's q and accumulator."""
    row = replica.items.table.index.find(item_hash(item))
    return replica.items.table.get(np.array([row]))[0]["q"]


def test_confirmed_rows_stand_where_the_owner_says() -> None:
    """A row moves from the provisional region to slot * partitions + partition when it is confirmed."""
    replica, owner = Replica(CONFIG), ItemOwner(CONFIG, 1)
    replica.commit(0, {1: shifted(3, 5)})
    assert replica.stats().provisional == 2
    before = q_of(replica, 5)
    owner.fold(shifted(3, 5))
    replica.take(1, owner.sweep(), 0)
    slots = {row.hash: row.slot for row in owner.rows()}
    for item in (3, 5):
        assert replica.items.table.index.find(item_hash(item)) == slots[item_hash(item)] * 2 + 1
    assert q_of(replica, 5) == before
    assert replica.stats().provisional == 0
    assert replica.items.bound == 4


def test_pending_deltas_are_folded_again() -> None:
    """A sweep that does not include an own batch yet leaves that batch's deltas on top."""
    replica, owner = Replica(CONFIG), ItemOwner(CONFIG, 0)
    owner.fold(shifted(2))
    replica.commit(0, {0: shifted(2, 4, by=0.5)})
    replica.take(0, owner.sweep(), None)
    assert replica.pending_batches(0) == [0]
    owner.fold(shifted(2, 4, by=0.5))
    expected = q_of(replica, 2)
    replica.take(0, owner.sweep(), 0)
    assert q_of(replica, 2) == expected
    assert replica.pending_batches(0) == []


def test_evicted_rows_leave() -> None:
    """An evicted row is gone, unless an own pending delta starts it afresh as the owner will."""
    config = replace(CONFIG, max_items=4)
    owner, replica = ItemOwner(config, 0), Replica(config)
    owner.fold(shifted(2, 4))
    replica.take(0, owner.sweep(), None)
    replica.commit(0, {0: shifted(2)})
    owner.fold(shifted(6, 8))
    replica.take(0, owner.sweep(), None)
    fresh = Replica(config)
    fresh.commit(0, {0: shifted(2)})
    table = replica.items.table
    gone, kept = table.index.find_many(np.array([item_hash(4), item_hash(2)], np.uint64))
    assert gone == -1
    assert table.key_of(np.array([kept])) == ["item-2"]
    assert q_of(replica, 2) == q_of(fresh, 2)


def test_bound_follows_the_rows() -> None:
    """The bound of the draws is a function of the confirmed rows, not of those that were there."""
    replica, owner = Replica(CONFIG), ItemOwner(CONFIG, 0)
    owner.fold(shifted(2, 4, 6))
    rows = owner.sweep()
    replica.take(0, rows, None)
    gone = [replace(r, blocks=None) for r in rows if r.slot >= 1]
    replica.take(0, gone, None)
    assert replica.items.bound == 1


def test_other_ceilings_are_refused() -> None:
    """A slot past the replica's own ceiling means that the owner runs with another configuration."""
    owner, small = ItemOwner(CONFIG, 0), Replica(replace(CONFIG, max_items=2))
    owner.fold(shifted(2, 4, 6))
    with pytest.raises(ValueError, match="configuration differs"):
        small.take(0, owner.sweep(), None)


def test_no_room_ahead_of_the_owners() -> None:
    """When the owners fall behind by a whole table, further new items have no row for now."""
    replica = Replica(replace(CONFIG, max_items=4))
    replica.commit(0, {0: shifted(*range(0, 12, 2))})
    assert replica.stats().provisional == 4
    assert replica.items.room() == 0
