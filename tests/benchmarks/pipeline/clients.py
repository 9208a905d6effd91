"""The benchmark's own producer and readers."""

from __future__ import annotations

import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any
from zlib import crc32

from confluent_kafka import Consumer, Producer, TopicPartition

from services.cli.kafka import ended, partition_count, poll_batch, reader, watermarks
from services.contracts.edge import codec_for
from services.runtime.client import producer_config
from services.runtime.settings import KafkaSettings
from tests.benchmarks.pipeline.load import Load

STAMP = struct.Struct("<d")
_WATCHED_OF = 8
"""One user of so many is watched."""


class Sender:
    """Sends encoded records, at once or at a rate."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._producer = Producer({**producer_config(settings), "linger.ms": 20})

    def send(
        self,
        topic: str,
        records: Iterable[tuple[bytes, bytes]],
        rate: float | None = None,
        sent: Callable[[int, float], None] | None = None,
        stamp: bool = False,
    ) -> None:
        """Send (key, value) records and wait until Kafka has them.

        Args:
            topic: physical name.
            records: what to send.
            rate: records per second; None is as fast as possible.
            sent: told the number of each record and the moment it was handed over.
            stamp: put the moment before each value.
        """
        began = time.monotonic()
        for number, (key, value) in enumerate(records):
            if rate is not None:
                while (left := began + number / rate - time.monotonic()) > 0:
                    self._producer.poll(min(left, 0.01))
            now = time.monotonic()
            if sent is not None:
                sent(number, now)
            self._produce(topic, key, STAMP.pack(now) + value if stamp else value)
        if self._producer.flush(60):
            raise RuntimeError(f"{topic}: not acknowledged within 60 s")

    def _produce(self, topic: str, key: bytes, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key)
            except BufferError:
                self._producer.poll(0.05)
            else:
                return


class Reader:
    """Reads a topic from now on, on a thread: counts, and hands every batch to a function with its moment."""

    def __init__(self, settings: KafkaSettings, topic: str, take: Callable[[list[Any], float], None]) -> None:
        self.count = 0
        self.last = 0.0
        """When the newest record was read."""
        self.first = 0.0
        self._take = take
        self._client: Consumer = reader(settings)
        ends = watermarks(self._client, topic, list(range(partition_count(self._client, topic))))
        self._client.assign([TopicPartition(topic, each, high) for each, (_, high) in ends.items()])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(10)
        self._client.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            messages = [each for each in poll_batch(self._client, 0.05) if not ended(each)]
            if not messages:
                continue
            now = time.monotonic()
            self._take(messages, now)
            self.first = self.first or now
            self.count += len(messages)
            self.last = now


class Freshness:
    """From an event's sending to the reading of a list that has learned from it or from a later one of its user.

    Of some users only: decoding every list would take a good part of the time that is measured.
    """

    def __init__(self) -> None:
        self.values: list[float] = []
        self._pending: dict[str, deque[tuple[str, float]]] = defaultdict(deque)
        self._lock = threading.Lock()
        self._codec = codec_for("recommendations", fields=("user_id", "learned_event_id"))

    def sender(self, load: Load) -> Callable[[int, float], None]:
        """What to call for each event that is sent."""

        def sent(number: int, now: float) -> None:
            if not _watched(load.users[number].encode()):
                return
            with self._lock:
                self._pending[load.users[number]].append((load.ids[number], now))

        return sent

    def take(self, messages: list[Any], now: float) -> None:
        """Lists were read."""
        for message in messages:
            if message.value() is None or not _watched(bytes(message.key() or b"")):
                continue
            record = self._codec.decode(bytes(message.value()))
            learned = record["learned_event_id"]
            with self._lock:
                pending = self._pending.get(record["user_id"])
                if not pending or not any(event_id == learned for event_id, _ in pending):
                    continue
                while pending:
                    event_id, then = pending.popleft()
                    self.values.append(now - then)
                    if event_id == learned:
                        break


def _watched(key: bytes) -> bool:
    return crc32(key) % _WATCHED_OF == 0
