"""A mock cluster inside the client, and a small processor to run on it: at-least-once only, no broker to start."""

from __future__ import annotations

import ctypes
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import Producer, TopicPartition

from services.runtime.assembly import build
from services.runtime.client import make_consumer
from services.runtime.processor import Batch, Headers, Inputs, Outputs, Slice
from services.runtime.replica import Replica
from services.runtime.settings import RuntimeSettings

_PREFIXES = (f"m{number}." for number in itertools.count())


class Mock:
    """The C interface of a mock cluster."""

    def __init__(self, library: Any, client: Producer) -> None:
        # The Python object begins with its header (two words), then the C handle.
        handle = ctypes.c_void_p.from_address(id(client) + 2 * ctypes.sizeof(ctypes.c_void_p))
        library.rd_kafka_handle_mock_cluster.restype = ctypes.c_void_p
        library.rd_kafka_handle_mock_cluster.argtypes = [ctypes.c_void_p]
        self.handle = ctypes.c_void_p(library.rd_kafka_handle_mock_cluster(handle))
        self.library = library

    @classmethod
    def of(cls, client: Producer) -> Mock | None:
        """The interface, or None where the wheel does not export it."""
        root = Path(confluent_kafka.__file__).parent.parent
        found = sorted((root / "confluent_kafka.libs").glob("librdkafka*.so*"))
        library = ctypes.CDLL(str(found[0])) if found else None
        return cls(library, client) if hasattr(library, "rd_kafka_mock_broker_set_down") else None


class Cluster:
    """One mock cluster; its faults are reached through the client's C interface, where the wheel exports it."""

    def __init__(self) -> None:
        self.handle = Producer({"test.mock.num.brokers": 1, "log_level": 0})
        self.mock = Mock.of(self.handle)
        if self.mock is not None and hasattr(self.mock.library, "rd_kafka_mock_group_initial_rebalance_delay_ms"):
            # The mock cluster lets a group wait three seconds for more members.
            self.mock.library.rd_kafka_mock_group_initial_rebalance_delay_ms(self.mock.handle, 50)
        brokers = self.handle.list_topics(timeout=10).brokers.values()
        self.bootstrap_servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)

    def produce(self, topic: str, records: Sequence[tuple[bytes | None, bytes | None]], partition: int = 0) -> None:
        """Produce, and wait until all stand."""
        producer = Producer({"bootstrap.servers": self.bootstrap_servers})
        for key, value in records:
            producer.produce(topic, value, key, partition)
        assert producer.flush(20) == 0

    def read(self, settings: RuntimeSettings, topic: str, count: int) -> list[tuple[bytes | None, bytes | None]]:
        """The first records of partition 0."""
        consumer = make_consumer(settings)
        consumer.assign([TopicPartition(settings.topic_prefix + topic, 0, 0)])
        found: list[tuple[bytes | None, bytes | None]] = []
        give_up = time.monotonic() + 30
        while len(found) < count and time.monotonic() < give_up:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                found.append((message.key(), message.value()))
        consumer.close()
        return found


class Echo:
    """Sends what it gets, after its table's word, and counts."""

    name = "echo"
    inputs = Inputs("in", tables=("words",))

    def __init__(self) -> None:
        self.decoders: dict[str, Callable[[bytes | None, bytes | None, Headers], Any]] = {
            "in": self._decode,
            "words": lambda _key, value, _headers: value,
        }
        self.words: dict[bytes | None, Any] = {}
        self.seen: list[bytes] = []
        self.epochs: list[int] = []
        self.size = 0
        self.hunger: int | None = None
        self.largest = 0

    @staticmethod
    def _decode(_key: bytes | None, value: bytes | None, _headers: Headers) -> Any:
        if value == b"poison":
            raise ValueError("poison")
        return value

    def start(self, epoch: int) -> None:
        """Forget the table."""
        self.epochs.append(epoch)
        self.words = {}

    def open(self, partition: int) -> None:
        """No state."""

    def load(self, slice_: Slice) -> None:
        """Take in words."""
        self.words.update(zip(slice_.keys, slice_.values, strict=True))

    def restored(self, _partition: int) -> int | None:
        """The committed offset."""
        return None

    def step(self, batch: Batch, out: Outputs) -> None:
        """Echo."""
        self.largest = max(self.largest, sum(len(slice_.offsets) for slice_ in batch.slices))
        for slice_ in batch.slices:
            for key, value in zip(slice_.keys, slice_.values, strict=True):
                self.seen.append(value)
                out.send("out", key, value + b"x" * self.size, 0)
            out.observe("event_age_seconds", [0.1] * len(slice_.offsets))
            out.gauge("quality_events", len(self.seen), (("arm", "learner"),))
            out.count("interactions_total", len(slice_.offsets), (("fate", "late"),))

    def appetite(self, _now_ms: int) -> int | None:
        """As told."""
        return self.hunger

    def wake_at(self) -> int | None:
        """No timer."""
        return None

    def dump(self, _partition: int) -> None:
        """No checkpoint."""
        return

    def close(self, partition: int) -> None:
        """No state."""


class Running:
    """An echo on a thread."""

    def __init__(self, settings: RuntimeSettings, instance: str = "a") -> None:
        self.echo = Echo()
        self.replica = Replica.take(settings.state_dir, "echo", instance)
        self.loop = build(self.echo, settings, self.replica, checkpoints=False)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Running:
        """Begin."""
        self._thread.start()
        return self

    def _run(self) -> None:
        try:
            self.loop.run()
        except BaseException as error:  # the test looks at whatever it was
            self.error = error

    def until(self, what: str, holds: Callable[[], object], seconds: float = 40) -> None:
        """Wait for a condition."""
        give_up = time.monotonic() + seconds
        while not holds():
            if self.error is not None:
                raise self.error
            assert time.monotonic() < give_up, f"not within {seconds} s: {what}"
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop cleanly."""
        self.loop.stop()
        self._thread.join(30)
        self.replica.release()
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    """A mock cluster for the module."""
    return Cluster()


@pytest.fixture
def settings(cluster: Cluster, tmp_path: Path) -> RuntimeSettings:
    """At-least-once on the mock cluster, under a prefix of the test's own."""
    made = RuntimeSettings(
        bootstrap_servers=cluster.bootstrap_servers,
        topic_prefix=next(_PREFIXES),
        delivery="at-least-once",
        membership="dynamic",
        state_dir=tmp_path,
        validate_invariants=True,
    )
    for topic in ("in", "words", "out", "dead-letters"):
        # The mock cluster makes a topic when it is first asked for.
        cluster.handle.list_topics(made.topic_prefix + topic, 10)
    return made


@pytest.fixture
def running(settings: RuntimeSettings) -> Iterator[Running]:
    """An echo that is built but not started, and stopped at the end."""
    made = Running(settings)
    yield made
    made.stop()


class Faults:
    """Switches the mock cluster's broker off and on, through the C interface of the client's own library."""

    def __init__(self, mock: Mock) -> None:
        self._mock = mock

    def down(self) -> None:
        """Connections are closed, and none is accepted."""
        assert self._mock.library.rd_kafka_mock_broker_set_down(self._mock.handle, 1) == 0

    def up(self) -> None:
        """As before."""
        assert self._mock.library.rd_kafka_mock_broker_set_up(self._mock.handle, 1) == 0


@pytest.fixture
def faults(cluster: Cluster) -> Iterator[Faults]:
    """Faults, where the wheel exports what they need; the broker is up again at the end."""
    if cluster.mock is None:
        pytest.skip("the client's library has no mock interface, or is not where the wheel puts it")
    made = Faults(cluster.mock)
    yield made
    made.up()
