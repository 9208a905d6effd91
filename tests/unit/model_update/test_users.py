"""User rows: forgetting, ceilings, checkpoints."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.contracts.inner.user_state import split_key
from services.model.users import SEEN_CHUNK
from services.model_update import decoders, learning
from services.model_update.users import UserRows
from tests.unit.model_update.world import SMALL, Event, World, assert_rebuilt


def test_an_erased_user_leaves_nothing() -> None:
    """An erasure deletes the row and every seen chunk, also those of a long life."""
    world = World(replace(SMALL, max_seen=3 * SEEN_CHUNK))
    world.produce(*[Event(1, item) for item in range(2 * SEEN_CHUNK + 5)], Event(2, 1))
    world.settle()
    assert sum(split_key(key)[1] is not None for key in world.user_records()) == 3 + 1
    world.produce(Event(1, 0, kind="erase"))
    world.settle()
    assert {split_key(key)[0] for key in world.user_records()} == {b"user-2"}
    # The whole past is gone from memory too: the user begins anew.
    world.produce(Event(1, 7))
    world.settle()
    assert world.histories()["user-1"][0] == 1


def test_events_before_an_erasure_are_not_learned() -> None:
    """What a user did before asking to be forgotten, in the same batch, leaves no trace; what comes after does."""
    world = World()
    world.produce(Event(1, 1), Event(1, 2), Event(1, 0, kind="erase"), Event(1, 3))
    world.settle()
    assert world.histories()["user-1"][0] == 1
    touched = {
        name for p in range(2) for _, r in world.decoded("item-deltas", p, decoders.deltas) for name in r.get("ids", ())
    }
    assert {name for name in touched if not name.startswith("\x00")} == {"item-3"}


def test_an_unknown_user_can_be_erased() -> None:
    """An erasure of a user without row still deletes what the topic may hold."""
    world = World()
    world.produce(Event(9, 0, kind="erase"))
    world.settle()
    assert [(output.key, output.value) for output in world.logs.records("user-state")] == [(b"user-9", None)]


def test_users_past_the_ceiling_get_tombstones() -> None:
    """The topic holds the users that the memory holds: evicted users are deleted, and begin anew when they return."""
    world = World(replace(SMALL, max_users=6))
    for user in range(30):
        world.produce(Event(user, user % 7), Event(user, 3))
        world.settle()
    held = {split_key(key)[0] for key in world.user_records()}
    assert len(held) <= 6
    assert held == {key for driver in world.users for key in driver.processor._users.table.users()}  # type: ignore[attr-defined]
    world.produce(Event(0, 5))
    world.settle()
    assert world.histories()["user-0"][0] == 1


def test_an_idle_user_begins_anew() -> None:
    """Who returns after a longer time than `user_idle_s`, by append time, has a row of that event alone."""
    world = World(replace(SMALL, user_idle_s=1.0))
    world.produce(Event(1, 1), Event(1, 2), Event(2, 2))
    world.settle()
    world.produced += 500
    world.produce(Event(2, 3))
    world.settle()
    world.produced += 600
    world.produce(Event(1, 4), Event(1, 5), Event(2, 4))
    world.settle()
    assert {user: n for user, (n, _) in world.histories().items()} == {"user-1": 2, "user-2": 3}
    assert_rebuilt(world)


def test_idle_users_leave_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """At fixed positions of the log, users that would begin anew are deleted, whether they return or not."""
    monkeypatch.setattr(learning, "_LOOK_EVERY", 16)
    world = World(replace(SMALL, user_idle_s=1.0))
    world.produce(*[Event(user, user) for user in range(6)])
    world.settle()
    world.produced += 2000
    for number in range(12):
        world.produce(*[Event(user, number) for user in range(6, 12)])
        world.settle()
    assert {key for key in world.user_records() if split_key(key)[1] is None} == {b"user-%d" % n for n in range(6, 12)}
    assert_rebuilt(world)


def test_a_checkpoint_gives_the_same_rows() -> None:
    """What `dump` gives, `load` takes: rows and seen chunks are the same afterwards."""
    world = World(replace(SMALL, max_seen=2 * SEEN_CHUNK))
    world.produce(*[Event(n % 5, n) for n in range(SEEN_CHUNK * 5 + 40)])
    world.settle()
    shard = world.users[0].processor
    for partition in range(3):
        rows = list(world.users[0].checkpoint(partition) or ())
        copy = UserRows(world.config)
        copy.load((output.key or b"", decoders.user_record(output.key, output.value)) for output in rows)
        assert list(copy.dump(partition)) == [(output.key, output.value) for output in rows]
    assert len(shard._users) == 5  # type: ignore[attr-defined]


def test_an_implied_negative_is_no_event() -> None:
    """A weak negative changes the row, and neither its count nor what it says of the newest event."""
    world = World()
    world.produce(Event(1, 1, minutes=5))
    world.settle()
    before = world.user_records()[b"user-1"]
    world.produce(Event(1, 1, weight=-0.1, minutes=1, kind="implied"))
    world.settle()
    after = world.user_records()[b"user-1"]
    assert after["o"] > before["o"]
    assert [after[name] for name in ("n", "id", "t", "ts")] == [before[name] for name in ("n", "id", "t", "ts")]
