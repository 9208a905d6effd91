"""The demo's own clients: one thread that sends events at a rate, one that reads lists."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from confluent_kafka import KafkaError, Message, Producer, TopicPartition

from services.cli.demo.meter import Meter, Snapshot
from services.cli.errors import CliError
from services.cli.kafka import ANSWER_S, ended, partition_count, poll_batch, reader, watermarks
from services.contracts.edge import codec_for
from services.contracts.topics import physical
from services.runtime.client import producer_config
from services.runtime.registry import registry_of
from services.runtime.settings import KafkaSettings

_POLL_S = 0.05
_FLUSH_S = 30.0


class Traffic:
    """Sends events and reads lists, and tells a meter of both.

    The stream is sent in parts: `send` returns when its events are with the producer.
    """

    def __init__(self, settings: KafkaSettings, meter: Meter) -> None:
        self.meter = meter
        self.topic_of = {
            name: physical(name, settings.topic_prefix) for name in ("interactions", "items", "recommendations")
        }
        registry = registry_of(settings)
        self._codecs = {name: codec_for(name, registry, settings.topic_prefix) for name in self.topic_of}
        self._settings = settings
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._producer = Producer(
            {
                **producer_config(settings),
                # Every request costs the broker about as much as a list costs the services.
                "linger.ms": 20,
                "delivery.report.only.error": True,
                "on_delivery": self._delivered,
            }
        )
        self._reading = threading.Thread(target=self._guarded_read, name="lists", daemon=True)

    def start(self) -> None:
        """Begin to read lists, from now on."""
        client = reader(self._settings)
        name = self.topic_of["recommendations"]
        ends = watermarks(client, name, list(range(partition_count(client, name))))
        client.assign([TopicPartition(name, each, high) for each, (_, high) in ends.items()])
        self._client = client
        self._reading.start()

    def stop(self) -> None:
        """End both threads' work."""
        self._stop.set()
        if self._reading.is_alive():
            self._reading.join(ANSWER_S)
            self._client.close()
        self._producer.purge()
        self._producer.flush(1.0)

    def check(self) -> None:
        """Raise what a thread or a delivery failed with."""
        if self._failure is not None:
            raise self._failure

    def send_items(self, items: list[dict[str, Any]]) -> None:
        """Send items and wait until Kafka has them."""
        encode = self._codecs["items"].encode
        for item in items:
            self._produce("items", item["item_id"], encode(item))
        self._flush()

    def send(self, events: Iterator[dict[str, Any]], rate: float, count: int) -> int:
        """Send up to `count` events at a rate (events/s): the number sent. Ends early when told to stop."""
        encode = self._codecs["interactions"].encode
        began, sent = time.monotonic(), 0
        for event in events:
            due = began + sent / rate
            while (left := due - time.monotonic()) > 0 and not self._stop.is_set():
                self._producer.poll(min(left, _POLL_S))
            if self._stop.is_set() or self._failure is not None:
                break
            with self._lock:
                answered = self.meter.before(event)
                # A shop knows which list it showed.
                if event["list_id"] is None and answered is not None:
                    event["list_id"] = answered
                self.meter.sent(event, time.monotonic())
            self._produce("interactions", event["user_id"], encode(event))
            sent += 1
            if sent == count:
                break
        self._flush()
        return sent

    def snapshot(self, recent: int | None = None) -> Snapshot:
        """The meter's figures now."""
        with self._lock:
            return self.meter.snapshot(recent)

    def _produce(self, topic: str, key: str, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(self.topic_of[topic], value, key.encode())
            except BufferError:
                self._producer.poll(_POLL_S)
                self.check()
            else:
                return

    def _flush(self) -> None:
        if self._producer.flush(_FLUSH_S):
            raise CliError(f"Kafka has not acknowledged the events within {_FLUSH_S:.0f} s")
        self.check()

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None and not self._stop.is_set():
            self._failure = CliError(f"an event could not be delivered ({error.str()})")

    def _guarded_read(self) -> None:
        try:
            self._read()
        except BaseException as error:  # the main thread reports whatever ends this one
            self._failure = error

    def _read(self) -> None:
        decode = self._codecs["recommendations"].decode
        while not self._stop.is_set():
            messages = [each for each in poll_batch(self._client, _POLL_S) if not ended(each)]
            now = time.monotonic()
            decoded = []
            for message in messages:
                key, value = message.key(), message.value()
                if key is not None:
                    decoded.append((bytes(key).decode(), None if value is None else decode(bytes(value))))
            with self._lock:
                for user, record in decoded:
                    self.meter.received(user, record, now)
