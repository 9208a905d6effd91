"""Restore on a real broker: from the topic alone, from a checkpoint, past a bad one; positions outside the log."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from services.runtime.admin import create_topics
from services.runtime.assembly import group_of
from services.runtime.client import make_admin, make_consumer
from services.runtime.errors import PositionError, StateError
from tests.kafka.runtime.hop import (
    EVENTS,
    NAME,
    STATE,
    HopSettings,
    OnThread,
    check,
    event,
    on_thread,
    produce,
    wait_for,
)

pytestmark = pytest.mark.kafka

USERS = 50


def _events(start: int, end: int) -> list[tuple[bytes, bytes]]:
    return [(b"user%d" % (number % USERS), event(number)) for number in range(start, end)]


def _files(settings: HopSettings) -> list[Path]:
    return sorted(settings.state_dir.rglob("*.checkpoint"))


def _loaded(hop: OnThread) -> float:
    return hop.loop.metrics.counter("records_loaded_total")


@pytest.fixture
def filled(settings: HopSettings) -> HopSettings:
    """A hop ran on 500 events and was stopped cleanly."""
    produce(settings, EVENTS, _events(0, 500))
    with on_thread(settings):
        wait_for(settings, 500)
    return settings


def _go_on(settings: HopSettings) -> float:
    """Run again on 100 more events, check everything, return how many records were loaded at the start."""
    produce(settings, EVENTS, _events(500, 600))
    with on_thread(settings) as hop:
        loaded = _loaded(hop)
        found = wait_for(settings, 600)
    check(found, range(600))
    return loaded


def test_from_the_topic_alone(filled: HopSettings) -> None:
    """Without a checkpoint the state comes from the compacted topic."""
    shutil.rmtree(filled.state_dir)
    assert _go_on(filled) == 500


def test_from_the_checkpoint(filled: HopSettings) -> None:
    """After a clean stop only the checkpoint is read: a row per user, nothing of the topic."""
    assert len(_files(filled)) == 4
    assert _go_on(filled) == USERS


def test_a_checkpoint_and_what_came_after_it(filled: HopSettings) -> None:
    """An old checkpoint is continued from the topic."""
    old = {path: path.read_bytes() for path in _files(filled)}
    produce(filled, EVENTS, _events(500, 700))
    with on_thread(filled):
        wait_for(filled, 700)
    for path, content in old.items():
        path.write_bytes(content)
    with on_thread(filled) as hop:
        assert _loaded(hop) == USERS + 200
        produce(filled, EVENTS, _events(700, 750))
        check(wait_for(filled, 750), range(750))


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "foreign"])
def test_a_bad_checkpoint_is_wiped(filled: HopSettings, damage: str) -> None:
    """A checkpoint that is damaged or of another partition is not trusted: the state comes from the topic."""
    files = _files(filled)
    content = files[0].read_bytes()
    changed = {
        "flip": content[:-40] + bytes([content[-40] ^ 1]) + content[-39:],
        "cut": content[: len(content) // 2],
        "empty": b"",
        "foreign": files[1].read_bytes(),
    }[damage]
    files[0].write_bytes(changed)
    assert _go_on(filled) > USERS


def test_a_checkpoint_of_another_cluster_is_wiped(filled: HopSettings) -> None:
    """A topic that was made anew under the same name does not take the old topic's checkpoint."""
    admin = make_admin(filled)
    name = filled.topic_prefix + STATE
    for future in admin.delete_topics([name]).values():
        future.result()
    time.sleep(0.5)
    create_topics(filled)
    with on_thread(filled) as hop:
        assert _loaded(hop) == 0
        assert not any(hop.hop.counts.values())


def test_state_that_cannot_be_read_stops_the_service(filled: HopSettings) -> None:
    """A state record that cannot be decoded is a clear error, not a user who silently begins at zero."""
    produce(filled, STATE, [(b"user1", b"\xff{")], partition=1)
    hop = OnThread(filled)
    hop.wait()
    assert isinstance(hop.error, StateError)
    assert "@" in str(hop.error)


def test_retention_below_the_committed_position(filled: HopSettings) -> None:
    """Records that retention deleted before they were read are reported, and the stream goes on at the log's start."""
    produce(filled, EVENTS, [(b"x", event(number)) for number in range(500, 520)], partition=2)
    name = filled.topic_prefix + EVENTS
    end = make_end(filled, 2)
    admin = make_admin(filled)
    for future in admin.delete_records([TopicPartition(name, 2, end - 5)]).values():
        future.result()
    with on_thread(filled) as hop:
        found = wait_for(filled, 505)
        assert hop.loop.metrics.counter("repositions_total") == 1
    assert sorted(answer["n"] for answer in found)[-5:] == list(range(515, 520))


def make_end(settings: HopSettings, partition: int) -> int:
    """End of a partition of the leading topic."""
    consumer = make_consumer(settings)
    try:
        return consumer.get_watermark_offsets(TopicPartition(settings.topic_prefix + EVENTS, partition), 10)[1]
    finally:
        consumer.close()


def test_a_position_past_the_end_is_an_error(settings: HopSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A committed position that the log does not reach is refused, with what to do."""
    monkeypatch.setattr("services.runtime.lifecycle._PAST_END_PATIENCE_S", 0.5)
    consumer = make_consumer(settings, group_of(settings, NAME))
    consumer.commit(offsets=[TopicPartition(settings.topic_prefix + EVENTS, 1, 10_000)], asynchronous=False)
    consumer.close()
    hop = OnThread(settings)
    hop.wait()
    assert isinstance(hop.error, PositionError)
    assert "--reset-offsets" in str(hop.error)
