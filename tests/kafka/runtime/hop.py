"""A small processor that counts each user's events, run as a process of its own or on a thread: what the tests kill.

Event: {"n": number}. Output: {"user", "n", "count", "by", "items"}; the state of a user is the count. So a record that
is processed twice or not at all shows in the counts for good.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, TopicPartition

from services.runtime.assembly import build
from services.runtime.client import make_consumer, make_producer
from services.runtime.loop import Loop
from services.runtime.processor import Batch, Headers, Inputs, Output, Outputs, Processor, Slice
from services.runtime.replica import Replica
from services.runtime.service import run
from services.runtime.settings import RuntimeSettings, setting

EVENTS, REQUESTS, ITEMS, STATE, OUT = "interactions", "recommendation-requests", "items", "extraction-state", "features"
NAME = "feature-extraction"


class HopSettings(RuntimeSettings):
    """What makes the hop slow, so that there is time to kill it."""

    hop_step_ms: int = setting(0, "Sleep in each step.", unit="ms")
    hop_load_us: int = setting(0, "Sleep for each record loaded.", unit="us")


def decode(_key: bytes | None, value: bytes | None, _headers: Headers) -> Any:
    """JSON; anything else is a ValueError."""
    return json.loads(value or b"")


class Hop:
    """Counts events per user."""

    name = NAME
    inputs = Inputs(EVENTS, (REQUESTS,), (ITEMS,), (STATE,))
    decoders = dict.fromkeys((EVENTS, REQUESTS, ITEMS, STATE), decode)

    def __init__(self, shard: str, step_ms: int = 0, load_us: int = 0) -> None:
        self.shard = shard
        self.step_s = step_ms / 1000
        self.load_s = load_us / 1e6
        self.counts: dict[int, dict[bytes, int]] = {}
        self.items: dict[bytes, Any] = {}
        self.epochs: list[int] = []
        self.loads: dict[int, list[int]] = {}

    def start(self, epoch: int) -> None:
        """Empty everything."""
        self.epochs.append(epoch)
        self.counts = {}
        self.items = {}

    def open(self, partition: int) -> None:
        """Own a partition."""
        assert partition not in self.counts
        self.counts[partition] = {}
        self.loads[partition] = []

    def load(self, slice_: Slice) -> None:
        """Take in counts and items."""
        time.sleep(self.load_s * len(slice_.offsets))
        if slice_.topic == STATE:
            self.loads[slice_.partition].extend(slice_.offsets)
        into = self.items if slice_.topic == ITEMS else self.counts[slice_.partition]
        for key, value in zip(slice_.keys, slice_.values, strict=True):
            assert key is not None
            if value is None:
                into.pop(key, None)
            else:
                into[key] = value

    def restored(self, partition: int) -> int | None:
        """The committed offset."""
        assert partition in self.counts
        return None

    def step(self, batch: Batch, out: Outputs) -> None:
        """Count, and say so."""
        time.sleep(self.step_s)
        for slice_ in batch.slices:
            counts = self.counts[slice_.partition]
            for offset, key, value in zip(slice_.offsets, slice_.keys, slice_.values, strict=True):
                if value is None or key is None:
                    out.refuse(slice_.topic, slice_.partition, offset, "an event needs a key and a value")
                    continue
                count = counts.get(key, 0) + 1
                counts[key] = count
                answer = {
                    "user": key.decode(), "n": value["n"], "count": count, "by": self.shard,
                    "topic": slice_.topic, "items": len(self.items),
                }  # fmt: skip
                out.send(OUT, key, json.dumps(answer).encode(), slice_.partition)
                out.send(STATE, key, str(count).encode(), slice_.partition)

    def appetite(self, _now_ms: int) -> int | None:
        """Whatever there is."""
        return None

    def wake_at(self) -> int | None:
        """No timer."""

    def dump(self, partition: int) -> list[tuple[str, bytes, bytes]]:
        """All counts."""
        return [(STATE, key, str(count).encode()) for key, count in self.counts[partition].items()]

    def close(self, partition: int) -> None:
        """Give a partition up."""
        del self.counts[partition]


class OnThread:
    """One hop on a thread of the test."""

    def __init__(self, settings: HopSettings, instance: str = "a") -> None:
        self.replica = Replica.take(settings.state_dir, NAME, instance)
        self.hop = Hop(instance, settings.hop_step_ms, settings.hop_load_us)
        self.loop: Loop = build(self.hop, settings, self.replica)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.loop.run()
        except BaseException as error:  # the test looks at whatever it was
            self.error = error

    def wait(self, seconds: float = 30) -> None:
        """Until the loop has ended."""
        self._thread.join(seconds)
        assert not self._thread.is_alive()
        self.replica.release()

    def stop(self) -> None:
        """Stop cleanly."""
        self.loop.stop()
        self.wait()
        if self.error:
            raise self.error

    def until(self, what: str, holds: Any, seconds: float = 60) -> None:
        """Wait for a condition, which the loop's failure ends."""
        give_up = time.monotonic() + seconds
        while not holds():
            if self.error:
                raise self.error
            assert time.monotonic() < give_up, f"not within {seconds} s: {what}"
            time.sleep(0.02)


@contextmanager
def on_thread(settings: HopSettings, instance: str = "a") -> Iterator[OnThread]:
    """A hop that is ready, and stopped at the end."""
    hop = OnThread(settings, instance)
    try:
        hop.until("ready", lambda: hop.loop.watch.ready)
        yield hop
    finally:
        hop.loop.stop()
        hop.wait()
    if hop.error:
        raise hop.error


STARTED: list[Process] = []
"""What a failing test may have left running."""


class Process:
    """One hop as a process."""

    def __init__(self, settings: HopSettings, instance: str, log: Path, **extra: str) -> None:
        self.log = log
        STARTED.append(self)
        environment = dict(os.environ)
        for name, value in settings.model_dump().items():
            environment[f"STREAMREC_{name.upper()}"] = str(value)
        environment.update(STREAMREC_INSTANCE=instance, STREAMREC_LOG_FORMAT="json", **extra)
        self._file = log.open("ab")
        self._from = log.stat().st_size
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.kafka.runtime.hop"],
            env=environment, stdout=self._file, stderr=self._file, cwd=Path(__file__).resolve().parents[3],
        )  # fmt: skip

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """Log events of this process."""
        lines = self.log.read_bytes()[self._from :].decode().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [event for event in found if not name or event["event"] == name]

    def ready(self, seconds: float = 60) -> None:
        """Wait until /readyz says so."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            started = self.events("service.start")
            if started:
                try:
                    urllib.request.urlopen(f"http://{started[0]['http']}/readyz", timeout=2).close()
                except (urllib.error.URLError, OSError):
                    pass
                else:
                    return
            time.sleep(0.05)
        raise AssertionError(self.log.read_text()[-3000:])

    def kill(self) -> None:
        """As `kill -9`."""
        self.send(signal.SIGKILL)
        self.wait()

    def send(self, number: int) -> None:
        """A signal."""
        self.process.send_signal(number)

    def wait(self, seconds: float = 30) -> int:
        """Exit code."""
        code = self.process.wait(seconds)
        self._file.close()
        STARTED.remove(self)
        return code

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        self.send(signal.SIGTERM)
        return self.wait()


def event(number: int) -> bytes:
    """An event's value."""
    return json.dumps({"n": number}).encode()


def produce(settings: RuntimeSettings, topic: str, records: Sequence[Any], per_s: float = 0, **extra: Any) -> None:
    """Produce (key, value) pairs, as fast as possible or at a rate."""
    producer = make_producer(settings)
    for number, (key, value) in enumerate(records):
        producer.produce(settings.topic_prefix + topic, value, key, **extra)
        producer.poll(0)
        if per_s and number % 10 == 0:
            producer.flush()
            time.sleep(10 / per_s)
    assert producer.flush(30) == 0


def read(settings: RuntimeSettings, topic: str, partitions: int | None = None) -> list[Output]:
    """All committed records of a topic, by partition and offset."""
    name = settings.topic_prefix + topic
    consumer = make_consumer(settings)
    count = len(consumer.list_topics(name, 10).topics[name].partitions) if partitions is None else partitions
    consumer.assign([TopicPartition(name, partition, 0) for partition in range(count)])
    left, found = set(range(count)), []
    give_up = time.monotonic() + 60
    while left:
        assert time.monotonic() < give_up, f"partitions {left} of {topic} do not end"
        message = consumer.poll(1)
        if message is None:
            continue
        error = message.error()
        if error is None:
            headers = tuple(message.headers() or ())
            found.append(Output(topic, message.key(), message.value(), message.partition(), headers))  # type: ignore[arg-type]
        elif error.code() == KafkaError._PARTITION_EOF:
            left.discard(int(message.partition() or 0))
        else:
            raise AssertionError(error)
    consumer.close()
    return sorted(found, key=lambda output: output.partition or 0)


def answers(settings: RuntimeSettings) -> list[dict[str, Any]]:
    """The hop's outputs."""
    return [json.loads(output.value or b"") for output in read(settings, OUT)]


def wait_for(settings: RuntimeSettings, count: int, seconds: float = 60) -> list[dict[str, Any]]:
    """The hop's outputs, once there are as many as this."""
    give_up = time.monotonic() + seconds
    while True:
        found = answers(settings)
        if len(found) >= count:
            return found
        assert time.monotonic() < give_up, f"{len(found)} of {count} outputs"
        time.sleep(0.2)


def check(found: Sequence[dict[str, Any]], numbers: Sequence[int]) -> None:
    """Every event once, and every user's counts 1, 2, 3, ... in order: nothing lost, nothing twice, no state lost."""
    assert sorted(answer["n"] for answer in found) == sorted(numbers)
    counts: dict[str, list[int]] = {}
    for answer in found:
        counts.setdefault(answer["user"], []).append(answer["count"])
    assert {user: seen for user, seen in counts.items() if seen != list(range(1, len(seen) + 1))} == {}


def _processors(settings: HopSettings, shard: str) -> list[Processor]:
    return [Hop(shard, settings.hop_step_ms, settings.hop_load_us)]


if __name__ == "__main__":
    # `kill -USR1` shows where a hop hangs.
    faulthandler.register(signal.SIGUSR1)
    sys.exit(run(NAME, HopSettings, _processors))
