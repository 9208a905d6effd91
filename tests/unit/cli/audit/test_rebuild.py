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
    made = World(max_events=9)
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


def _cut(world: World, ends: dict[tuple[str, int], int], *, change: int = -1) -> list[Finding]:
    """Run the check up to chosen ends, with a byte of the deltas at an offset of item-deltas/1 altered."""
    check = RebuildCheck(USER_PARTITIONS, ITEM_PARTITIONS, live=False)
    logs = []
    for topic in check.topics:
        for partition in range(TOPICS[topic]):
            high = world.logs.end((topic, partition))
            end = min(high, ends.get((topic, partition), high))
            records = [record for record in world.logs.read((topic, partition)) if (record.offset() or 0) < end]
            offsets = [record.offset() or 0 for record in records]
            values = [record.value() for record in records]
            if (topic, partition) == ("item-deltas", 1) and change in offsets:
                values[offsets.index(change)] = _turned(values[offsets.index(change)] or b"")
            check.feed(Chunk(topic, partition, offsets, [record.key() for record in records], values))
            logs.append(Log(topic, partition, 0, end, cut=end < high))
    return check.finish(logs)


def _turned(value: bytes) -> bytes:
    """Deltas with the last bit of a block turned."""
    record = msgpack.unpackb(value)
    block = next(iter(record["blocks"].values()))
    block["d"] = block["d"][:-1] + bytes([block["d"][-1] ^ 1])
    packed: bytes = msgpack.packb(record)
    return packed


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


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
def test_chosen_ends_refute_nothing(world: World, topic: str, share: float) -> None:
    """Batches that need what was not read are not computed again, wherever the reading ends."""
    for partition in range(TOPICS[topic]):
        end = round(share * world.logs.end((topic, partition)))
        assert {finding.level for finding in _cut(world, {(topic, partition): end})} <= {"note"}


def test_changed_deltas_before_a_chosen_end_are_found(world: World) -> None:
    """What was read whole is judged: a bit that differs before the end is an error, one behind it is not."""
    offsets = [record.offset() or 0 for record in world.logs.read(("item-deltas", 1))]
    end = world.logs.end(("item-deltas", 0)) * 2 // 3
    levels = [{each.level for each in _cut(world, {("item-deltas", 0): end}, change=at)} for at in offsets]
    assert levels[0] == {"error"}
    assert levels[-1] == {"note"}


def test_retention_is_a_note(world: World) -> None:
    """Logs that have lost their beginning cannot be rebuilt from, which refutes nothing."""
    (finding,) = _check(world, start=3)
    assert finding.level == "note"
    assert "Retention" in finding.message
