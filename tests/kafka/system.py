"""Services as processes on topics of a test's own: what the tests of the whole loop start, kill and read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

from services.broker.broker import LocalBroker
from services.cli.audit.command import Verdict, audit
from services.contracts import topics
from services.contracts.inner.sweeps import SweepReader
from services.model_update import decoders
from services.model_update.rebuild import Rebuild
from services.runtime.admin import create_topics
from services.runtime.processor import as_it_came
from services.runtime.settings import KafkaSettings

WAIT_S = 240
"""Longest wait for anything: a first start compiles the kernels, on a machine that may be busy."""
MODULES = {
    "feature-extraction": "services.feature_extraction",
    "model-update": "services.model_update",
    "recommendation-publishing": "services.recommendation_publishing",
}


@dataclass(frozen=True, slots=True)
class Record:
    """One committed record."""

    partition: int
    offset: int
    key: bytes
    value: bytes | None


@dataclass(slots=True)
class Process:
    """One service process and its log."""

    name: str
    log: Path
    popen: subprocess.Popen[bytes]
    _from: int = 0

    def events(self, name: str) -> list[dict[str, Any]]:
        """Log events of this process with a name."""
        lines = self.log.read_bytes()[self._from :].decode(errors="replace").splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [event for event in found if event["event"] == name]

    def ready(self) -> None:
        """Wait until /readyz says so."""
        give_up = time.monotonic() + WAIT_S
        while time.monotonic() < give_up:
            assert self.popen.poll() is None, self.tail()
            started = self.events("service.start")
            if started:
                try:
                    urllib.request.urlopen(f"http://{started[0]['http']}/readyz", timeout=2).close()
                except (urllib.error.URLError, OSError):
                    pass
                else:
                    return
            time.sleep(0.05)
        raise AssertionError(self.tail())

    def tail(self) -> str:
        """The end of the log."""
        return f"{self.name}: {self.log.read_text(errors='replace')[-3000:]}"

    def kill(self) -> None:
        """As `kill -9`."""
        self.popen.kill()
        self.popen.wait(WAIT_S)

    def terminate(self) -> int:
        """SIGTERM; returns the exit code."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(WAIT_S)


@dataclass(slots=True)
class System:
    """The topics of one test, and the processes that it has started."""

    broker: str
    prefix: str
    folder: Path
    user_partitions: int = 2
    item_partitions: int = 2
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of every process, by name."""
    processes: list[Process] = field(default_factory=list)

    def create(self) -> None:
        """Create the topics."""
        create_topics(self.kafka)

    @property
    def kafka(self) -> KafkaSettings:
        """How the topics are reached."""
        return KafkaSettings(
            bootstrap_servers=self.broker,
            topic_prefix=self.prefix,
            user_partitions=self.user_partitions,
            item_partitions=self.item_partitions,
        )

    def start(self, service: str, instance: str = "a", **settings: Any) -> Process:
        """Start a service process; settings by name."""
        given = {
            "bootstrap_servers": self.broker,
            "topic_prefix": self.prefix,
            "user_partitions": self.user_partitions,
            "item_partitions": self.item_partitions,
            "instance": instance,
            "state_dir": self.folder / "state",
            "session_timeout_ms": 6000,
            "transaction_timeout_ms": 5000,
            "membership": "static",
            "validate_invariants": True,
            "log_format": "json",
            **self.settings,
            **settings,
        }
        environment = {**os.environ, **{f"STREAMREC_{name.upper()}": str(value) for name, value in given.items()}}
        log = self.folder / f"{service}-{instance}.log"
        with log.open("ab") as file:
            begin = log.stat().st_size
            popen = subprocess.Popen(
                [sys.executable, "-m", MODULES[service]],
                env=environment, stdout=file, stderr=file, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        process = Process(f"{service}-{instance}", log, popen, begin)
        self.processes.append(process)
        return process

    def stop(self) -> None:
        """Kill what still runs."""
        for process in self.processes:
            if process.popen.poll() is None:
                process.kill()

    def producer(self) -> Producer:
        """A producer as an application would have it."""
        return Producer({"bootstrap.servers": self.broker, "partitioner": "murmur2_random", "linger.ms": 5})

    def topic(self, name: str) -> str:
        """Name in Kafka."""
        return topics.physical(name, self.prefix)

    def read(self, topic: str) -> list[Record]:
        """All committed records of a topic, by partition and offset."""
        count = topics.topic(topic).partitions(self.user_partitions, self.item_partitions)
        consumer = self._consumer()
        found: list[Record] = []
        try:
            left = set(range(count))
            consumer.assign([TopicPartition(self.topic(topic), one, OFFSET_BEGINNING) for one in left])
            give_up = time.monotonic() + WAIT_S
            while left:
                assert time.monotonic() < give_up, f"partitions {left} of {topic} do not end"
                for message in consumer.consume(10_000, 0.2):
                    error = message.error()
                    if error is None:
                        partition, offset = message.partition() or 0, message.offset() or 0
                        found.append(Record(partition, offset, message.key() or b"", message.value()))
                    elif error.code() == KafkaError._PARTITION_EOF:
                        left.discard(message.partition() or 0)
                    else:
                        raise AssertionError(error)
        finally:
            consumer.close()
        return sorted(found, key=lambda one: (one.partition, one.offset))

    def _consumer(self) -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self.broker,
                "group.id": "reader",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )

    def user_rows(self) -> dict[bytes, Any]:
        """What user-state holds, decoded, by key."""
        return {key: decoders.user_record(key, value) for key, value in self.user_bytes().items()}

    def user_bytes(self) -> dict[bytes, bytes]:
        """What user-state holds, as it is there, by key."""
        held = {one.key or b"": one.value for one in self.read("user-state")}
        return {key: value for key, value in held.items() if value is not None}

    def rebuild(self) -> Rebuild:
        """A rebuild from features and item-deltas."""
        logs: dict[str, dict[int, list[tuple[int, Any]]]] = {}
        for topic, decode, count in (
            ("features", as_it_came, self.user_partitions),
            ("item-deltas", decoders.deltas, self.item_partitions),
        ):
            logs[topic] = {partition: [] for partition in range(count)}
            for one in self.read(topic):
                logs[topic][one.partition].append((one.offset, decode(one.key, one.value)))
        return Rebuild(logs["features"], logs["item-deltas"])

    def item_rows(self, partition: int) -> tuple[dict[str, Any], int]:
        """(rows of item-state at the last clock by key, position of that clock)."""
        reader, held, position = SweepReader(), {}, 0
        for one in self.read("item-state"):
            if one.partition == partition:
                sweep = reader.feed(partition, one.key, decoders.item_row(one.key, one.value))
                if sweep is not None:
                    held.update(sweep.rows)
                    position = sweep.clock["o"]
        return {key: row for key, row in held.items() if row is not None}, position

    def assert_rebuilt(self) -> Rebuild:
        """The logs give every delta, every user row and every item row again, bit for bit."""
        rebuild = self.rebuild()
        difference = rebuild.run()
        assert difference is None, difference
        assert rebuild.user_records == self.user_bytes()
        for partition in range(self.item_partitions):
            rows, position = self.item_rows(partition)
            again = {row.key: (row.slot, row.count, row.blocks) for row in rebuild.item_rows(partition, position)}
            assert again == {key: (row["slot"], row["c"], row["b"]) for key, row in rows.items()}
        return rebuild

    def audit(self, delivery: str = "exactly-once", *, live: bool = False) -> Verdict:
        """The audit's verdict, which must be clean."""
        verdict = audit(self.kafka, delivery, live=live)
        assert verdict.clean, [finding for _, findings in verdict.checks for finding in findings]
        return verdict

    def wait(self, what: str, holds: Callable[[], bool], seconds: float = WAIT_S) -> None:
        """Wait for a condition; a process that ends by itself ends the wait."""
        running = [process for process in self.processes if process.popen.poll() is None]
        give_up = time.monotonic() + seconds
        while not holds():
            for process in running:
                assert process.popen.poll() in (None, -signal.SIGKILL), process.tail()
            assert time.monotonic() < give_up, f"not within {seconds} s: {what}\n" + "\n".join(
                process.tail()[-800:] for process in running
            )
            time.sleep(0.2)


@contextmanager
def system(broker: LocalBroker, prefix: str, folder: Path, **options: Any) -> Iterator[System]:
    """Topics of one test; whatever it started is killed at the end."""
    made = System(broker.bootstrap_servers, prefix, folder, **options)
    made.create()
    try:
        yield made
    finally:
        made.stop()
