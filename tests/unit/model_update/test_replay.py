"""At-least-once: a crash leaves any part of a step's outputs in the log, and the step is done again."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from services.cli.audit.checks import Chunk, Finding, Log, checkers
from tests.unit.model_update.world import ITEM_PARTITIONS, USER_PARTITIONS, Event, World

events = st.lists(
    st.builds(Event, user=st.integers(0, 5), item=st.integers(0, 12), minutes=st.integers(0, 99)),
    min_size=1,
    max_size=8,
)
rounds = st.lists(
    st.tuples(events, st.sampled_from(["learn", "fold", "none"]), st.floats(0, 1), st.integers(0, 1)),
    min_size=1,
    max_size=6,
)


def cut_off(world: World, what: str, share: float, number: int) -> None:
    """One step of which only the first part of the outputs reaches the log, and no position."""
    driver = (world.users if what == "learn" else world.items)[number]
    written = driver.step(commit=False).outputs
    world.logs.write(written[: round(share * len(written))])
    if what == "learn":
        world.restart_users(number)
    else:
        world.restart_items(number)


def play(script: list[tuple[list[Event], str, float, int]]) -> World:
    """Rounds of events, each with a crash in it."""
    world = World(shards=2)
    for produced, what, share, number in script:
        world.produce(*produced)
        if what == "fold":
            world.users[0].drain()
            world.users[1].drain()
        if what != "none":
            cut_off(world, what, share, number)
        world.settle()
    return world


def refuted(world: World, check: str) -> list[Finding]:
    """The errors of one check of the audit."""
    chosen = next(one for one in checkers("at-least-once", USER_PARTITIONS, ITEM_PARTITIONS) if one.name == check)
    logs = []
    for topic in chosen.topics:
        for partition in range(world.logs.partitions(topic)):
            found = world.logs.read((topic, partition))
            logs.append(Log(topic, partition, 0, world.logs.end((topic, partition))))
            chosen.feed(
                Chunk(
                    topic,
                    partition,
                    [message.offset() or 0 for message in found],
                    [message.key() for message in found],
                    [message.value() for message in found],
                )
            )
    return [finding for finding in chosen.finish(logs) if finding.level == "error"]


@given(rounds)
@settings(max_examples=25)
def test_replays_change_no_user_row(script: list[tuple[list[Event], str, float, int]]) -> None:
    """Whatever part of a step was written before the crash, every user's history has every event once."""
    calm = World()
    for produced, *_ in script:
        calm.produce(*produced)
    calm.settle()
    world = play(script)
    assert world.histories() == calm.histories()
    assert refuted(world, "user-state") == []
    assert refuted(world, "batches") == []


@given(rounds)
@settings(max_examples=25)
def test_sweeps_that_were_cut_off_change_no_item_row(script: list[tuple[list[Event], str, float, int]]) -> None:
    """Rows of a sweep without clock are neither lost nor folded twice: item-state is the fold of the deltas."""
    assert refuted(play(script), "item-state") == []


def test_a_cut_off_sweep_is_published_again() -> None:
    """Readers that saw rows ahead of the clock get them once more behind it, also when nothing touches them again."""
    world = World()
    world.produce(*[Event(user, item) for user in (1, 2) for item in range(6)])
    world.users[0].drain()
    for number in range(ITEM_PARTITIONS):
        cut_off(world, "fold", 0.5, number)
    seen = {(output.partition, output.key) for output in world.logs.records("item-state")}
    assert seen
    again = {
        (output.partition, output.key)
        for driver in world.items
        for result in driver.drain()
        for output in result.to("item-state")
    }
    assert again >= seen
    assert refuted(world, "item-state") == []


def test_an_erasure_that_is_replayed_keeps_what_came_after_it() -> None:
    """A row that was begun anew after an erasure survives when the erasure is read again."""
    world = World()
    world.produce(Event(1, 1), Event(1, 2), Event(1, 0, kind="erase"), Event(1, 3))
    cut_off(world, "learn", 1.0, 0)
    world.settle()
    assert [n for n, _ in world.histories().values()] == [1]
