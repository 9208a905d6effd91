"""The item shard: sweeps, held positions, pace, restore, checkpoints."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.contracts.inner import item_deltas
from services.contracts.inner.item_state import CLOCK_KEY
from services.model_update import decoders, owned
from services.model_update.item_shard import ItemShard
from services.model_update.learning import Part
from services.model_update.mismatch import ModelMismatchError
from services.model_update.owned import OwnedPartition
from services.model_update.pace import BEHIND_MS, SweepPace
from services.model_update.user_shard import UserShard, split
from services.runtime.testing import Driver
from tests.unit.model_update.world import SMALL, TOPICS, Event, World


def learned(n: int = 20) -> World:
    """A world whose events are learned and not folded yet."""
    world = World()
    world.produce(*[Event(k % 4, k % 9) for k in range(n)])
    world.users[0].drain()
    return world


def slow(world: World) -> Driver:
    """An item shard of partition 0 whose sweeps are a second apart."""
    driver = Driver(ItemShard(SMALL, 1000, 10**9), world.logs, epoch=99)
    driver.open(0)
    return driver


def test_a_sweep_ends_with_its_clock() -> None:
    """Every changed row once, then the clock with the position, the batches folded and the model."""
    world = learned()
    driver = slow(world)
    result = driver.step()
    keys = [output.key for output in result.to("item-state")]
    assert keys[-1] == CLOCK_KEY
    assert len(keys) == len(set(keys))
    clock = decoders.item_row(CLOCK_KEY, result.outputs[-1].value)
    assert clock["o"] == result.batch.slices[0].end == result.positions["item-deltas", 0]
    assert clock["folded"]["shard-0"][1] == 0
    assert clock["model"] == SMALL.to_record()


def test_positions_are_held_between_sweeps() -> None:
    """What is folded and not published is not committed; the timer publishes it without new input."""
    world = learned()
    driver = slow(world)
    driver.step()
    world.produce(*[Event(k % 4, k % 9) for k in range(20)])
    world.users[0].drain()
    driver.now_ms += 10
    held = driver.step()
    assert held.outputs == []
    assert held.positions == {}
    assert driver.processor.wake_at() == 1_001_000
    driver.now_ms = 1_001_000
    swept = driver.step()
    assert swept.positions == {("item-deltas", 0): held.batch.slices[0].end}
    assert driver.processor.wake_at() is None


def test_a_restart_goes_on_behind_the_last_clock() -> None:
    """Deltas that were folded and not published are folded again, into rows that do not include them."""
    world = learned()
    driver = slow(world)
    driver.step()
    world.produce(*[Event(k % 4, k % 9) for k in range(20)])
    world.users[0].drain()
    driver.now_ms += 10
    driver.step()
    driver.crash(ItemShard(SMALL, 1000, 10**9))
    driver.drain()
    rows, position = world.item_records(0)
    fresh = OwnedPartition(SMALL, 0)
    for offset, record in world.decoded("item-deltas", 0, decoders.deltas):
        if record["kind"] == "deltas":
            fresh.fold(offset, record)
    assert position == world.logs.end(("item-deltas", 0)) - 1
    assert {row.key: row.blocks for row in fresh.owner.rows()} == {key: row["b"] for key, row in rows.items()}


def test_a_restore_from_the_compacted_topic_is_the_same() -> None:
    """Compaction takes old rows and old clocks; the owner and a new shard come back the same all the same."""
    world = World()
    for _ in range(4):
        world.produce(*[Event(k % 5, k % 11) for k in range(15)])
        world.settle()
    before = world.item_records(0)
    world.logs.compact("item-state")
    world.logs.compact("user-state")
    assert world.item_records(0) == before
    world.restart_items(0)
    world.restart_users(0)
    rows = {row.key: row.blocks for row in world.items[0].processor._owned[0].owner.rows()}  # type: ignore[attr-defined]
    assert rows == {key: row["b"] for key, row in before[0].items()}


def test_no_checkpoint_between_two_sweeps() -> None:
    """Rows that are not published yet are in no checkpoint; the next step publishes them, and then there is one."""
    world = learned()
    driver = slow(world)
    driver.step()
    assert driver.checkpoint(0) is not None
    world.produce(*[Event(k % 4, k % 9) for k in range(20)])
    world.users[0].drain()
    driver.step()
    assert driver.checkpoint(0) is None
    assert driver.processor.wake_at() is not None
    driver.step()
    records = driver.checkpoint(0)
    assert records is not None
    copy = ItemShard(SMALL, 0, 10**9)
    copy.open(0)
    for output in records:
        copy._owned[0].load(output.key or b"", decoders.item_row(output.key, output.value))
    assert copy.restored(0) == driver.tasks.get(0).next["item-deltas"]  # type: ignore[union-attr]
    assert {row.key: row.blocks for row in copy._owned[0].owner.rows()} == {
        key: row["b"] for key, row in world.item_records(0)[0].items()
    }


def test_a_damaged_delta_record_is_refused() -> None:
    """Deltas whose arrays do not fit together go to dead-letters, and the others are folded."""
    world = learned()
    (_, good), *_ = world.decoded("item-deltas", 0, decoders.deltas)
    damaged: Any = {**good, "h": b"12345678"}
    world.logs.append("item-deltas", b"k", item_deltas.encode(damaged), 0)
    result = slow(world).step()
    assert [bad.exception for bad in result.dead] == ["Refused"]
    assert result.to("item-state")


def test_rows_of_another_layout_are_refused() -> None:
    """Both shards refuse rows of another layout, and say what to do; other settings may change."""
    world = learned()
    world.settle()
    for shard in (ItemShard(replace(SMALL, dim=16), 0, 10**9), UserShard(replace(SMALL, dim=16), "x", 10)):
        with pytest.raises(ModelMismatchError, match="same settings"):
            Driver(shard, world.logs).open(0)
    Driver(UserShard(replace(SMALL, learning_rate=0.5), "x", 10), world.logs).open(0)


def test_the_clock_names_a_bounded_number_of_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shard that has been silent longest is forgotten."""
    monkeypatch.setattr(owned, "MAX_SHARDS", 2)
    one = OwnedPartition(SMALL, 0)
    empty: dict[str, Any] = {"ids": [], "h": b"", "blocks": {}}
    for number, shard in enumerate(["a", "b", "a", "c"]):
        one.fold(number, {"v": 1, "kind": "deltas", "s": shard, "e": 1, "b": number, **empty})  # type: ignore[typeddict-item]
    assert one.folded == {"a": [1, 2], "c": [1, 3]}


def test_the_pace_pays_for_the_bytes() -> None:
    """Small sweeps come every `min_ms`; large ones as their bytes allow, those of one moment together."""
    pace = SweepPace(100, 1_000_000)
    assert pace.due_ms == 0
    pace.swept(1000, 500)
    assert pace.due_ms == 1100
    pace.swept(2000, 300_000)
    pace.swept(2000, 300_000)
    assert pace.due_ms == 2600


def test_the_pace_gives_way_to_learning() -> None:
    """Full learning batches put a sweep off, four times as long at most, and no longer than they go on coming."""
    pace = SweepPace(100, 1_000_000)
    pace.behind(1000)
    assert pace.due_ms == 0
    pace.swept(1000, 5_000_000)
    assert pace.due_ms == 6000
    pace.behind(5000)
    assert pace.due_ms == 5000 + BEHIND_MS
    pace.behind(30_000)
    assert pace.due_ms == 21_000
    pace.swept(40_000, 1000)
    pace.behind(40_000)
    assert pace.due_ms == 40_100


@pytest.mark.parametrize(("largest", "wait_ms"), [(20, 10 + BEHIND_MS), (22, 10 + BEHIND_MS), (23, 1000)])
def test_full_batches_put_the_next_sweep_off(largest: int, wait_ms: int) -> None:
    """A user shard says so with its deltas when its batch was full, and the item shard then waits longer."""
    world = World(max_events=largest)
    events = [Event(k % 4, k % 9) for k in range(20)]
    world.produce(*events)
    world.users[0].drain()
    first = slow(world).step(commit=False).to("item-state")
    a_second = sum(len(output.key or b"") + len(output.value or b"") for output in first)
    driver = Driver(ItemShard(SMALL, 0, a_second), world.logs, epoch=99)
    driver.open(0)
    driver.step()
    world.produce(*events)
    world.users[0].drain()
    began = driver.now_ms
    driver.now_ms += 10
    assert driver.step().outputs == []
    assert driver.processor.wake_at() == pytest.approx(began + wait_ms, abs=2)


def test_split_keeps_ranges_and_order() -> None:
    """Parts are cut at positions of records, in partition order; an empty range stays a range."""
    parts = [Part(1, 10, 20, [10, 12, 15], list("abc")), Part(0, 5, 9, [], []), Part(2, 0, 4, [0, 1], list("de"))]
    cut = [[(p.partition, p.start, p.end, list(p.values)) for p in batch] for batch in split(parts, 2)]
    assert cut == [
        [(0, 5, 9, []), (1, 10, 15, ["a", "b"])],
        [(1, 15, 20, ["c"]), (2, 0, 1, ["d"])],
        [(2, 1, 4, ["e"])],
    ]


def test_topics_of_the_world_are_those_of_the_shards() -> None:
    """The test world has every topic that the shards read or write."""
    shard, owner = UserShard(SMALL, "x", 10), ItemShard(SMALL, 0, 10**9)
    wanted = {
        *shard.inputs.tables,
        *shard.inputs.state,
        shard.inputs.leading,
        *owner.inputs.state,
        owner.inputs.leading,
    }
    assert wanted == set(TOPICS)
