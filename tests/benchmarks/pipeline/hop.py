"""`python -m tests.benchmarks.pipeline.hop SERVERS IN OUT ID`: one bare hop, exactly-once, hand-written.

What the system is compared with: the least that a Python process can do between two topics with the same client,
delivery and commit settings (commit when 20 ms have passed and the input is drained, after 100 ms at the latest).
"""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType

from confluent_kafka import Consumer, Producer

_BATCH = 8000
_COMMIT_MIN_S, _COMMIT_MAX_S = 0.020, 0.100
_TIMEOUT_S = 30.0


def main(servers: str, source: str, target: str, name: str) -> None:
    """Pass records on until SIGTERM."""
    running = [True]

    def stop(_number: int, _frame: FrameType | None) -> None:
        running[0] = False

    signal.signal(signal.SIGTERM, stop)
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": name,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 100,
            "fetch.queue.backoff.ms": 10,
            "queued.max.messages.kbytes": 32 * 1024,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "transactional.id": name,
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "queue.buffering.max.kbytes": 64 * 1024,
        }
    )
    producer.init_transactions(_TIMEOUT_S)
    consumer.subscribe([source])
    while running[0]:
        first = consumer.poll(0.1)
        if first is None:
            continue
        began = time.monotonic()
        producer.begin_transaction()
        messages = [first, *consumer.consume(_BATCH - 1, 0)]
        while messages:
            for message in messages:
                if message.error() is None:
                    _produce(producer, target, message.value() or b"", message.key() or b"")
            passed = time.monotonic() - began
            if passed >= _COMMIT_MAX_S:
                break
            messages = consumer.consume(_BATCH, 0)
            if not messages and passed < _COMMIT_MIN_S:
                later = consumer.poll(_COMMIT_MIN_S - passed)
                messages = [later] if later is not None else []
        producer.send_offsets_to_transaction(
            consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), _TIMEOUT_S
        )
        producer.commit_transaction(_TIMEOUT_S)
    consumer.close()


def _produce(producer: Producer, target: str, value: bytes, key: bytes) -> None:
    while True:
        try:
            producer.produce(target, value, key)
        except BufferError:
            producer.poll(0.05)
        else:
            return


if __name__ == "__main__":
    main(*sys.argv[1:5])
