"""The owner of an item partition: ceilings, slots, sweeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import psutil
import pytest

from services.model.config import ModelConfig
from services.model.layout import SYSTEM_ITEM, system_hash
from services.model.owner import ItemOwner
from services.model.rows import DeltaBlock, DeltaSet
from tests.unit.model.simulation import item_hash

CONFIG = ModelConfig(item_partitions=1, dim=8, max_items=10, max_neighbours=4, probation=0.2)
TICK = 13_000_000


def counted(*items: int, tick: int = TICK) -> DeltaSet:
    """A delta record that counts each item once and touches its vectors."""
    n = len(items)
    at = np.arange(n, dtype=np.uint32)
    pop = np.ones((n, 6), np.float32)
    pop[:, 5] = tick
    q = np.full((n, 10), 0.5, np.float32)
    return DeltaSet(
        [f"item-{i}" for i in items],
        np.array([item_hash(i) for i in items], np.uint64),
        {"pop": DeltaBlock(at, pop), "q": DeltaBlock(at, q)},
    )


def held(owner: ItemOwner) -> dict[str, int]:
    """{key: slot} of the rows."""
    return {row.key: row.slot for row in owner.rows()}


def test_slots_are_dense_and_used_again() -> None:
    """Rows get the lowest free slot; an eviction's slot goes to the next new row."""
    owner = ItemOwner(CONFIG, 0)
    owner.fold(counted(*range(10)))
    assert sorted(held(owner).values()) == list(range(10))
    owner.sweep()
    owner.fold(counted(99))
    changes = owner.sweep()
    assert [(c.key, c.blocks is None) for c in changes] == [("item-0", True), ("item-99", False)]
    assert changes[0].slot == changes[1].slot


def test_rows_that_come_again_are_protected() -> None:
    """A flood of items that occur once does not push out items that occurred twice."""
    owner = ItemOwner(CONFIG, 0)
    owner.fold(counted(1, 2, 3))
    owner.fold(counted(1, 2, 3))
    for i in range(100, 400):
        owner.fold(counted(i))
    assert {"item-1", "item-2", "item-3"} <= held(owner).keys()
    assert len(owner) == 10


def test_protected_rows_leave_by_recency() -> None:
    """When nearly all rows are protected, the least recently touched of them gives way."""
    owner = ItemOwner(CONFIG, 0)
    for _ in range(2):
        owner.fold(counted(*range(10)))
    owner.fold(counted(0))
    owner.fold(counted(50))
    assert "item-1" not in held(owner)
    assert "item-0" in held(owner)


def test_rows_expire() -> None:
    """A row that nothing touches for longer than the expiry, in event time, is evicted."""
    owner = ItemOwner(replace(CONFIG, item_expiry_s=1280.0), 0)
    owner.fold(counted(1, 2))
    owner.fold(counted(2, tick=TICK + 9))
    owner.fold(counted(3, tick=TICK + 11))
    assert held(owner).keys() == {"item-2", "item-3"}


def test_record_larger_than_the_table() -> None:
    """A record with more new items than rows keeps the last of them and drops the rest in one sweep."""
    owner = ItemOwner(CONFIG, 0)
    owner.fold(counted(*range(25)))
    assert held(owner).keys() == {f"item-{i}" for i in range(15, 25)}
    changes = owner.sweep()
    assert sum(c.blocks is None for c in changes) == 15
    assert owner.sweep() == []


def test_system_rows_stay() -> None:
    """System rows are never evicted, whatever the ceiling of items."""
    owner = ItemOwner(CONFIG, 0)
    totals = np.ones((1, 6), np.float32)
    block = DeltaBlock(np.zeros(1, np.uint32), totals)
    owner.fold(DeltaSet([SYSTEM_ITEM], np.array([system_hash()], np.uint64), {"totals": block}))
    for i in range(50):
        owner.fold(counted(i))
    assert SYSTEM_ITEM in held(owner)


def test_counts_fold() -> None:
    """Counts of several records add up in the row, and the row says how many records it saw."""
    owner = ItemOwner(CONFIG, 0)
    for _ in range(3):
        owner.fold(counted(7))
    (row,) = owner.sweep()
    assert row.blocks is not None
    assert np.frombuffer(row.blocks["pop"], np.float32)[:5].tolist() == [3.0] * 5
    assert row.count == 3


@pytest.mark.parametrize("what", ["slot", "touch"])
def test_foreign_rows_are_refused(what: str) -> None:
    """A row of a larger table, or one that no owner wrote, is refused with its key."""
    owner = ItemOwner(CONFIG, 0)
    owner.fold(counted(1))
    (row,) = owner.rows()
    assert row.blocks is not None
    if what == "slot":
        row.slot = 10
    else:
        del row.blocks["touch"]
    with pytest.raises(ValueError, match="'item-1'"):
        ItemOwner(CONFIG, 0).load(row)


def test_memory_stays_flat_past_the_ceiling() -> None:
    """Filling a table fifty times over takes no more memory than filling it twice."""
    config = ModelConfig(item_partitions=1, dim=32, max_items=400)
    owner = ItemOwner(config, 0)
    process = psutil.Process()
    sizes, resident = [], []
    for round_ in range(50):
        for part in range(4):
            first = round_ * 400 + part * 100
            owner.fold(_wide(first, 100))
        owner.sweep()
        sizes.append(owner.nbytes())
        resident.append(process.memory_info().rss)
    assert len(owner) == 400
    assert max(sizes[2:]) <= 1.1 * sizes[2]
    assert resident[-1] - resident[5] < 8_000_000


def _wide(first: int, n: int) -> DeltaSet:
    deltas = counted(*range(first, first + n))
    deltas.blocks["q"] = DeltaBlock(deltas.blocks["q"].rows, np.full((n, 18), 0.5, np.float32))
    near = np.arange(1, 20 * n + 1, dtype=np.uint64)
    at = np.repeat(np.arange(n, dtype=np.uint32), 20)
    deltas.blocks["near"] = DeltaBlock(at, np.ones((20 * n, 2), np.float32), near)
    return deltas
