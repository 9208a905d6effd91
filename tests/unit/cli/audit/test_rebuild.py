from __future__ import annotations

import msgpack
import pytest

from services.cli.audit.checks import Chunk, Finding, Log
from services.cli.audit.rebuild import RebuildCheck
from services.contracts.keys import partition_of
from tests.unit.model_update.world import ITEM_PARTITIONS, TOPICS, USER_PARTITIONS, Event, World

HERE = partition_of(b"user-0", USER_PARTITIONS)
"""A partition that has users."""


@pytest.fixture(scope="module")
def world() -> World:
    """A small history that was learned."""
    made = World()
    made.produce(*(Event(number % 5, number % 7, minutes=number) for number in range(60)))
    made.settle()
    return made


def _check(world: World, *, live: bool = False, drop: str = "", change: str = "", start: int = 0) -> list[Finding]:
    """Run the check on the logs, with the last record of `drop` left out and a parameter of `change` altered."""
    check = RebuildCheck(USER_PARTITIONS, ITEM_PARTITIONS, live=live)
    logs = []
    for topic in check.topics:
        for partition in range(TOPICS[topic]):
            records = world.logs.read((topic, partition))
            if topic == drop and partition == HERE:
                records = records[:-1]
            values = [record.value() for record in records]
            if topic == change and partition == HERE:
                values[-1] = _altered(values[-1] or b"")
            offsets = [record.offset() or 0 for record in records]
            check.feed(Chunk(topic, partition, offsets, [record.key() for record in records], values))
            logs.append(Log(topic, partition, start, world.logs.end((topic, partition))))
    return check.finish(logs)


def _altered(value: bytes) -> bytes:
    record = msgpack.unpackb(value)
    record["n"] = record.get("n", 0) + 1
    packed: bytes = msgpack.packb(record)
    return packed


def test_what_was_learned_is_learned_again(world: World) -> None:
    """Untouched logs give every delta, user row and item row again."""
    assert _check(world) == []


def test_changed_user_row_is_found(world: World) -> None:
    """A user row that is not what the logs give is named."""
    (finding,) = _check(world, change="user-state")
    assert (finding.level, finding.topic) == ("error", "user-state")


def test_missing_user_row_is_found(world: World) -> None:
    """A row that was never written is an error too, unless an older version of it hides that."""
    findings = _check(world, drop="user-state")
    assert [finding.topic for finding in findings] == ["user-state"]


def test_live_system_compares_deltas_only(world: World) -> None:
    """While services run, rows are older than the logs: that is a note and no error."""
    (finding,) = _check(world, live=True, change="user-state")
    assert finding.level == "note"


def test_retention_is_a_note(world: World) -> None:
    """Logs that have lost their beginning cannot be rebuilt from, which refutes nothing."""
    (finding,) = _check(world, start=3)
    assert finding.level == "note"
    assert "Retention" in finding.message
