"""Model update as processes on a real broker: learning, restore, rebalance."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from services.broker.broker import LocalBroker
from services.contracts.inner import features
from services.contracts.inner.item_deltas import DELTAS_KEY
from services.contracts.inner.user_state import split_key
from services.contracts.keys import partition_of
from services.model_update import decoders
from tests.kafka.system import Process, System, system
from tests.unit.model_update.world import Event, event_record

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

SERVICE = "model-update"
USERS = 40


@pytest.fixture
def loop(broker: LocalBroker, prefix: str, tmp_path: Path) -> Iterator[System]:
    """Topics, and the settings of a small model."""
    with system(broker, prefix, tmp_path, user_partitions=4) as made:
        made.settings.update(dim=8, negatives=20, max_items=5000, max_users=5000, checkpoint_interval_s=1)
        yield made


class Stream:
    """Features of made-up events."""

    def __init__(self, loop: System, seed: int = 1) -> None:
        self._loop = loop
        self._random = random.Random(seed)
        self._producer = loop.producer()
        self.counts: dict[str, int] = {}

    def produce(self, n: int) -> None:
        """Append n features."""
        for _ in range(n):
            event = Event(self._random.randrange(USERS), self._random.randrange(300), minutes=sum(self.counts.values()))
            user = f"user-{event.user}"
            number = sum(self.counts.values())
            partition = partition_of(user.encode(), self._loop.user_partitions)
            value = features.encode(event_record(event, partition, number))
            self._producer.produce(self._loop.topic("features"), value, user.encode(), partition)
            self.counts[user] = self.counts.get(user, 0) + 1
        assert self._producer.flush(30) == 0

    def learned(self) -> bool:
        """Whether every event is in its user's row and item-state has caught up."""
        rows = {key.decode(): row["n"] for key, row in self._loop.user_rows().items() if split_key(key)[1] is None}
        if rows != self.counts:
            return False
        clocks = [self._loop.item_rows(partition)[1] for partition in range(self._loop.item_partitions)]
        deltas = [one for one in self._loop.read("item-deltas") if one.key == DELTAS_KEY]
        return all(clocks[one.partition] > one.offset for one in deltas)


def seals(loop: System) -> Sequence[dict[str, Any]]:
    """The seals in order."""
    decoded = [decoders.deltas(one.key, one.value) for one in loop.read("item-deltas")]
    return [record for record in decoded if record["kind"] == "seal"]


def test_it_learns_and_stops(loop: System) -> None:
    """Events become user rows, deltas and item rows; SIGTERM ends the process with 0."""
    process = loop.start(SERVICE)
    stream = Stream(loop)
    stream.produce(500)
    loop.wait("learned", stream.learned)
    assert process.terminate() == 0
    loop.assert_rebuilt()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_rebalance_in_the_middle(loop: System, protocol: str) -> None:
    """A second replica comes and goes in the middle of a stream; the rebuild does not notice."""
    loop.settings.update(group_protocol=protocol, membership="dynamic")
    stream = Stream(loop)
    first = loop.start(SERVICE, "a")
    first.ready()
    stream.produce(300)
    second = loop.start(SERVICE, "b")
    for _ in range(20):
        stream.produce(20)
    second.ready()
    loop.wait("the second one learns", lambda: _both_learn(loop, stream))
    assert second.terminate() == 0
    stream.produce(300)
    loop.wait("learned", stream.learned)
    assert first.terminate() == 0
    assert {seal["s"] for seal in seals(loop)} == {"a", "b"}
    loop.assert_rebuilt()


def _both_learn(loop: System, stream: Stream) -> bool:
    stream.produce(20)
    return {seal["s"] for seal in seals(loop)} == {"a", "b"}


def test_shards_share_a_young_model(loop: System) -> None:
    """Two replicas have no more than 100 events under way while the model is young, and learn all of a backlog."""
    loop.settings.update(membership="dynamic")
    processes = [loop.start(SERVICE, name) for name in ("a", "b")]
    for process in processes:
        process.ready()
    loop.wait("two partitions each", lambda: [_owned(process) for process in processes] == [2, 2])
    stream = Stream(loop)
    stream.produce(600)
    loop.wait("learned", stream.learned)
    assert [process.terminate() for process in processes] == [0, 0]
    assert {seal["s"] for seal in seals(loop)} == {"a", "b"}
    assert sum(seal["events"] for seal in seals(loop)) == 600
    assert max(seal["events"] for seal in seals(loop)) <= 50
    loop.assert_rebuilt()


def _owned(process: Process) -> int:
    """User partitions of a replica, by its log."""
    counts = {
        name: sum(len(event["partitions"]) for event in process.events(name) if event["processor"] == "user-shard")
        for name in ("group.assigned", "group.revoked")
    }
    return counts["group.assigned"] - counts["group.revoked"]


@pytest.mark.parametrize("checkpoint", ["kept", "deleted", "corrupted"])
def test_restore(loop: System, tmp_path: Path, checkpoint: str) -> None:
    """State comes back after kill -9 from checkpoint and topic, from the topic alone, and past a damaged checkpoint."""
    stream = Stream(loop)
    process = loop.start(SERVICE)
    stream.produce(400)
    loop.wait("learned", stream.learned)
    loop.wait("checkpoints", lambda: len({path.parent for path in (tmp_path / "state").rglob("*.checkpoint")}) == 2)
    process.kill()
    if checkpoint == "deleted":
        shutil.rmtree(tmp_path / "state")
    elif checkpoint == "corrupted":
        for path in (tmp_path / "state").rglob("*.checkpoint"):
            damaged = bytearray(path.read_bytes())
            damaged[len(damaged) // 2] ^= 0xFF
            path.write_bytes(damaged)
    process = loop.start(SERVICE)
    stream.produce(400)
    loop.wait("learned", stream.learned)
    assert process.terminate() == 0
    assert bool(process.events("checkpoint.refused")) == (checkpoint == "corrupted")
    loop.assert_rebuilt()
