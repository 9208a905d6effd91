"""Feature extraction as a process on a real broker: accounting, re-keying, dead letters, kills and restarts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from services.broker.broker import LocalBroker
from services.contracts import topics
from services.contracts.edge import codec_for
from services.contracts.inner import extraction_state, features
from services.contracts.inner.weights import WEIGHTS_KEY
from services.contracts.keys import partition_of
from services.runtime.admin import create_topics
from services.runtime.settings import KafkaSettings

pytestmark = pytest.mark.kafka

PARTITIONS = 2
WAIT_S = 90


class System:
    """Topics of the test's own, a producer, and the service as a process."""

    def __init__(self, broker: LocalBroker, prefix: str, folder: Path) -> None:
        self.settings = KafkaSettings(
            bootstrap_servers=broker.bootstrap_servers,
            topic_prefix=prefix,
            user_partitions=PARTITIONS,
            item_partitions=1,
        )
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        create_topics(self.settings)
        self.producer = Producer(
            {"bootstrap.servers": broker.bootstrap_servers, "partitioner": "murmur2_random", "linger.ms": 5}
        )

    def start(self, **settings: Any) -> None:
        """Start the service; settings by name."""
        given = {
            "bootstrap_servers": self.settings.bootstrap_servers,
            "topic_prefix": self.settings.topic_prefix,
            "user_partitions": PARTITIONS,
            "item_partitions": 1,
            "instance": "only",
            "state_dir": self.folder,
            "session_timeout_ms": 6000,
            "transaction_timeout_ms": 5000,
            "validate_invariants": True,
            **settings,
        }
        environment = {**os.environ, **{f"STREAMREC_{name.upper()}": str(value) for name, value in given.items()}}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.feature_extraction"],
                env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop the service; returns its exit code."""
        assert self.process is not None
        self.process.send_signal(how)
        code = self.process.wait(WAIT_S)
        self.process = None
        return code

    def produce(self, topic: str, key: bytes | None, value: Any, partition: int | None = None) -> None:
        """Produce bytes as they are, and anything else as JSON."""
        data = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
        place = -1 if partition is None else partition
        self.producer.produce(topics.physical(topic, self.settings.topic_prefix), data, key, place)
        self.producer.poll(0)

    def read(self, topic: str) -> list[Any]:
        """All committed records of a topic, by partition."""
        line = topics.topic(topic)
        consumer = Consumer(
            {
                "bootstrap.servers": self.settings.bootstrap_servers,
                "group.id": "unused",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        found: list[Any] = []
        try:
            open_partitions = set(range(line.partitions(PARTITIONS, 1)))
            name = line.physical(self.settings.topic_prefix)
            consumer.assign([TopicPartition(name, partition, OFFSET_BEGINNING) for partition in open_partitions])
            give_up = time.monotonic() + WAIT_S
            while open_partitions:
                assert time.monotonic() < give_up
                message = consumer.poll(1.0)
                if message is None:
                    continue
                if message.error():
                    open_partitions.discard(message.partition())
                else:
                    found.append(message)
        finally:
            consumer.close()
        return sorted(found, key=lambda message: (message.partition(), message.offset()))

    def features(self) -> list[tuple[int, Any]]:
        """(partition, decoded record) of the features topic."""
        return [(message.partition(), features.decode(message.value())) for message in self.read("features")]

    def until(self, done: Callable[[], bool]) -> None:
        """Wait for an effect."""
        assert self.producer.flush(WAIT_S) == 0
        give_up = time.monotonic() + WAIT_S
        while not done():
            assert self.process is None or self.process.poll() is None, (self.folder / "log").read_text()[-4000:]
            assert time.monotonic() < give_up, (self.folder / "log").read_text()[-4000:]
            time.sleep(0.3)

    def account(self) -> tuple[list[tuple[int, Any]], dict[str, int]]:
        """Check that seals tile interactions and name every record once; (feature records, totals).

        Raises:
            AssertionError: something is not accounted for, or twice.
        """
        written = self.features()
        interactions = [(message.partition(), message.offset()) for message in self.read("interactions")]
        accounted: list[tuple[int, int]] = []
        totals: dict[str, int] = dict.fromkeys(("n", "dup", "late", "dead", "moved"), 0)
        position = dict.fromkeys(range(PARTITIONS), 0)
        for partition, record in written:
            if record["kind"] == "event":
                accounted.append(tuple(record["src"]))
            if record["kind"] != "batch":
                continue
            assert record["partition"] == partition
            assert record["range"][0] == position[partition]
            position[partition] = record["range"][1]
            totals["n"] += record["n"]
            for name in ("dup", "late", "dead", "moved"):
                totals[name] += len(record[name])
                accounted += [(partition, offset) for offset in record[name]]
        assert sorted(accounted) == sorted(interactions)
        return [(partition, record) for partition, record in written if record["kind"] != "batch"], totals

    def settled(self, count: int) -> Callable[[], bool]:
        """Whether seals account for `count` interactions."""

        def look() -> bool:
            seals = [record for _, record in self.features() if record["kind"] == "batch"]
            named = sum(len(one[name]) for one in seals for name in ("dup", "late", "dead", "moved"))
            return int(sum(one["n"] for one in seals)) + named >= count

        return look


@pytest.fixture
def system(broker: LocalBroker, prefix: str, tmp_path: Path) -> Iterator[System]:
    """A system whose service is stopped at the end."""
    made = System(broker, prefix, tmp_path)
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.wait(WAIT_S)


def _event(number: int, user: str, **fields: Any) -> dict[str, Any]:
    return {
        "event_id": f"e{number}",
        "user_id": user,
        "item_id": f"i{number % 7}",
        "event_time": 1_600_000_000_000 + number * 1000,
        **fields,
    }


def test_every_record_is_accounted_for(system: System) -> None:
    """Good, repeated, late, misplaced and poisonous records each leave one trace, and the service stops cleanly."""
    codec = codec_for("interactions")
    system.produce("items", b"i1", {"item_id": "i1", "title": "A red lamp", "categories": ["Lamps"]})
    system.produce("items", WEIGHTS_KEY, {"view": 0.5})
    for number in range(200):
        user = f"u{number % 10}"
        event = _event(number, user)
        # Half in Avro under their key, half in JSON wherever a careless producer puts them.
        if number % 2:
            system.produce("interactions", user.encode(), codec.encode(codec.complete(event)))
        else:
            system.produce("interactions", None, event, partition=number // 2 % PARTITIONS)
    system.producer.flush(WAIT_S)
    system.produce("interactions", b"u1", _event(1, "u1"))
    system.produce("interactions", b"u1", _event(900, "u1", event_time=1_600_000_000_000 - 2 * 86_400_000))
    poison = [b"\x00\x01", b"", b"{not json", b"{}", json.dumps(_event(901, "u1", event_time=-1)).encode(), None]
    for value in poison:
        system.produce("interactions", b"u1", value)
    system.start()
    misplaced = sum(
        number // 2 % PARTITIONS != partition_of(f"u{number % 10}".encode(), PARTITIONS) for number in range(0, 200, 2)
    )
    system.until(system.settled(208 + misplaced))
    assert system.stop() == 0
    written, totals = system.account()
    assert totals == {"n": 200, "dup": 1, "late": 1, "dead": len(poison), "moved": misplaced}
    assert all(partition == partition_of(one["user"].encode(), PARTITIONS) for partition, one in written)
    assert all(one["w"] == 0.5 for _, one in written)
    assert all(bool(one["content"]) == (one["item"] == "i1") for _, one in written)
    letters = system.read("dead-letters")
    assert sorted(letter.value() or b"" for letter in letters) == sorted(value or b"" for value in poison)
    assert {letter.key() for letter in letters} == {b"u1"}
    rows = {message.key(): message.value() for message in system.read("extraction-state")}
    assert sum(extraction_state.decode_row(value)["n"] for key, value in rows.items() if b"\x00" not in key) == 200


def test_kills_lose_and_repeat_nothing(system: System) -> None:
    """After kill -9 in the middle of a stream, again and again, the features are those of an uninterrupted run."""
    total, share = 6000, 1500
    for number in range(total):
        system.produce("interactions", f"u{number % 50}".encode(), _event(number, f"u{number % 50}"))
        if number % share == share - 1:
            system.producer.flush(WAIT_S)
            if system.process is not None:
                # A part of the last share is done, a part is not.
                system.stop(signal.SIGKILL)
            system.start(batch_max_records=100)
            system.until(system.settled(number + 1 - share + 200))
    system.until(system.settled(total))
    assert system.stop() == 0
    written, totals = system.account()
    assert totals == {"n": total, "dup": 0, "late": 0, "dead": 0, "moved": 0}
    for user in range(50):
        mine = [record for _, record in written if record["user"] == f"u{user}"]
        assert [record["id"] for record in mine] == [f"e{number}" for number in range(user, total, 50)]
        # Position and gap come from the state: one lost or repeated row would break the count.
        assert [record["session"] for record in mine[1:]] == [[0, place, 50_000] for place in range(1, len(mine))]


def test_lists_and_erasures_follow_their_users(system: System) -> None:
    """A served list is found behind the event that responds to it, and an erased user leaves no state."""
    lists = codec_for("recommendations")
    now_ms = time.time_ns() // 1_000_000
    items: list[Any] = [{"item_id": f"i{rank}", "score": 1.0, "rank": rank} for rank in range(1, 6)]
    for user in (b"ann", b"bob"):
        served = lists.complete(
            {
                "list_id": "l-" + user.decode(),
                "user_id": user.decode(),
                "items": items,
                "published_at": now_ms,
                "why": "event",
            }
        )
        system.produce("recommendations", user, lists.encode(served))
    system.start()
    system.until(lambda: len(system.read("extraction-state")) >= 4)
    for name in ("ann", "bob"):
        system.produce("interactions", name.encode(), {"user_id": name, "item_id": "i3", "type": "purchase"})
    system.until(system.settled(2))
    system.produce("erasure-requests", None, {"user_id": "ann"}, partition=1 - partition_of(b"ann", PARTITIONS))
    system.until(lambda: any(record["kind"] == "erase" for _, record in system.features()))
    assert system.stop() == 0
    written, _ = system.account()
    found = {one["user"]: one["list"] for _, one in written if one["kind"] == "event"}
    assert {user: (one["list"], one["rank"]) for user, one in found.items()} == {
        "ann": ("l-ann", 3),
        "bob": ("l-bob", 3),
    }
    last = {message.key(): message.value() for message in system.read("extraction-state")}
    assert {key.partition(b"\x00")[0] for key, value in last.items() if value is not None} == {b"bob"}
