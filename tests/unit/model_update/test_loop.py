"""User shards and item shards together: whatever happens in between, the logs explain every parameter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.inner import user_state
from services.model_update import decoders
from tests.unit.model_update.world import ITEM_PARTITIONS, SMALL, USER_PARTITIONS, Event, World, assert_rebuilt

Script = list[tuple[Any, ...]]
"""Steps: a name and its arguments."""
SHARDS = 2
CROWDED = replace(SMALL, max_items=14, max_users=6)

LAST_ROUND = tuple(Event(user=n % 8, item=n * 5 % 21, minutes=6000) for n in range(12))

events = st.builds(
    Event,
    user=st.integers(0, 7),
    item=st.integers(0, 20),
    weight=st.sampled_from([1.0, 1.0, 1.0, 0.5, 0.0, -0.2, -1.0]),
    minutes=st.integers(0, 5000),
    kind=st.sampled_from(["event"] * 8 + ["implied", "erase"]),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("produce"), st.lists(events, min_size=1, max_size=12)),
        st.tuples(st.just("round"), st.lists(events, min_size=1, max_size=12)),
        st.tuples(st.just("learn"), st.integers(0, SHARDS - 1), st.integers(1, 6)),
        st.tuples(st.just("fold"), st.integers(0, ITEM_PARTITIONS - 1), st.integers(1, 4)),
        st.tuples(st.just("abort_learn"), st.integers(0, SHARDS - 1)),
        st.tuples(st.just("abort_fold"), st.integers(0, ITEM_PARTITIONS - 1)),
        st.tuples(st.just("restart_users"), st.integers(0, SHARDS - 1)),
        st.tuples(st.just("restart_items"), st.integers(0, ITEM_PARTITIONS - 1)),
        st.tuples(st.just("move"), st.integers(0, USER_PARTITIONS - 1), st.integers(0, SHARDS - 1)),
    ),
    min_size=4,
    max_size=30,
)


def without_erasures(script: Script) -> Script:
    """The same script; what an erasure leaves out depends on the batch that it falls into."""
    return [
        (name, [event for event in values[0] if event.kind != "erase"])
        if name in ("produce", "round")
        else (name, *values)
        for name, *values in script
    ]


def play(world: World, script: Script) -> None:
    """Run a script of steps."""
    for name, *values in script:
        if name == "produce":
            world.produce(*values[0])
        elif name == "learn":
            world.users[values[0]].step(values[1])
        elif name == "fold":
            world.items[values[0]].step(values[1])
        elif name == "abort_learn":
            world.users[values[0]].step(commit=False)
            world.users[values[0]].crash()
        elif name == "abort_fold":
            world.items[values[0]].step(commit=False)
            world.items[values[0]].crash()
        elif name == "round":
            world.produce(*values[0])
            world.settle()
        else:
            getattr(world, str(name))(*values)
    # Two more rounds on the same items: what went wrong before shows in what is learned on top of it.
    for _ in range(2):
        world.settle()
        world.produce(*LAST_ROUND)
    world.settle()


@given(steps)
@settings(max_examples=40)
def test_logs_explain_every_parameter(script: Script) -> None:
    """After any batches, aborts, restarts, rebalances and sweeps, the rebuild gives every row and delta again."""
    world = World(shards=SHARDS, max_events=7)
    play(world, script)
    assert_rebuilt(world)


@given(steps)
@settings(max_examples=20)
def test_logs_explain_every_parameter_at_the_ceilings(script: Script) -> None:
    """The same while items and users are evicted all the time."""
    world = World(CROWDED, shards=SHARDS, max_events=5)
    play(world, script)
    assert_rebuilt(world)


@given(steps.map(without_erasures))
@settings(max_examples=20)
def test_histories_are_those_of_an_undisturbed_run(script: Script) -> None:
    """Histories and counts of users do not depend on batches, aborts, restarts and rebalances."""
    world, calm = World(shards=SHARDS), World()
    play(world, script)
    for name, *values in script:
        if name in ("produce", "round"):
            calm.produce(*values[0])
    calm.produce(*(LAST_ROUND * 2))
    calm.settle()
    assert world.histories() == calm.histories()


def test_one_row_and_one_seal_per_batch() -> None:
    """A step writes deltas, then the seal, then one row for each user it changed."""
    world = World()
    world.produce(*[Event(user=n % 3, item=n) for n in range(12)])
    (result,) = world.users[0].drain()
    topics = [(output.topic, output.key) for output in result.outputs]
    kinds = [topic for topic, _ in topics]
    assert kinds.index("user-state") == kinds.count("item-deltas")
    assert topics[kinds.count("item-deltas") - 1] == ("item-deltas", b"\x00batch")
    rows = [key for topic, key in topics if topic == "user-state" and user_state.split_key(key or b"")[1] is None]
    assert len(rows) == len(set(rows)) == 3


def test_split_batches_have_one_range() -> None:
    """A large input is learned in several batches whose ranges follow each other."""
    world = World(max_events=4)
    world.produce(*[Event(user=1, item=n) for n in range(11)])
    world.settle()
    seals = [r for _, r in world.decoded("item-deltas", 0, decoders.deltas) if r["kind"] == "seal"]
    ranges = [seal["ranges"] for seal in seals]
    (partition,) = {name for r in ranges for name in r}
    assert [r[partition][0] for r in ranges[1:]] == [r[partition][1] for r in ranges[:-1]]
    assert [seal["events"] for seal in seals] == [4, 4, 3]
    assert_rebuilt(world)


def test_a_rebuild_can_rank_what_was_learned() -> None:
    """A probing rebuild ranks every event at the clock of its batch, and still gives the log's deltas bit for bit."""
    world = World(shards=SHARDS)
    for first in range(0, 60, 20):
        world.produce(*(Event(user=n % 6, item=n % 10, minutes=n) for n in range(first, first + 20)))
        world.settle()
    rebuild = world.rebuild(probe=True)
    assert rebuild.run() is None
    assert sum(map(len, rebuild.ranks)) == rebuild.events == 60
    assert rebuild.ranks[0][0] == 0
    assert max(ranks.max() for ranks in rebuild.ranks) > 0
    assert len(rebuild.clocks) >= 3
