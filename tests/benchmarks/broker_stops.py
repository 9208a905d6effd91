"""`python -m tests.benchmarks.broker_stops`: does a stop of the local broker leave transactions open for ever?

Transactions flow, the broker is stopped in order (or killed, with --kill) and started again. Every transaction that was
in flight must end: decided ones by their markers, the others by their timeout. A partition whose last stable offset
stays behind its end holds up read_committed readers and committed positions until an operator steps in. The exit code
says whether that happened.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from rich.console import Console

from services.broker.broker import LocalBroker
from services.broker.settings import BrokerSettings

_TOPIC, _PARTITIONS, _PRODUCERS = "transactions", 4, 4
_FLOW_S, _PATIENCE_S, _TIMEOUT_MS = 1.5, 30.0, 2000


def _ends(bootstrap: str, isolation: str) -> list[int]:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": isolation, "isolation.level": isolation, "log_level": 0}
    )
    try:
        return [consumer.get_watermark_offsets(TopicPartition(_TOPIC, p), 10)[1] for p in range(_PARTITIONS)]
    finally:
        consumer.close()


def open_partitions(bootstrap: str) -> list[int]:
    """Partitions that still hold an open transaction although no producer runs and every timeout has passed."""
    give_up = time.monotonic() + _PATIENCE_S
    while True:
        try:
            stable, last = _ends(bootstrap, "read_committed"), _ends(bootstrap, "read_uncommitted")
            found = [p for p in range(_PARTITIONS) if stable[p] != last[p]]
        except KafkaException:
            # A partition that is new, or whose broker has just started, has no leader for a moment.
            if time.monotonic() > give_up:
                raise
        else:
            if not found or time.monotonic() > give_up:
                return found
        time.sleep(0.5)


def _transact(bootstrap: str, number: int, name: str, stop: threading.Event) -> None:
    producer = Producer(
        {
            "bootstrap.servers": bootstrap, "transactional.id": name, "transaction.timeout.ms": _TIMEOUT_MS,
            "linger.ms": 1, "log_level": 0,
        }
    )  # fmt: skip
    try:
        producer.init_transactions(30)
        while not stop.is_set():
            producer.begin_transaction()
            for _ in range(10):
                producer.produce(_TOPIC, b"v" * 100, partition=number % _PARTITIONS)
            producer.commit_transaction(2)
            number += 1
    except KafkaException:
        # The broker went away, as it should.
        producer.purge()


def stays_open(count: int, folder: Path, console: Console, *, kill: bool) -> bool:
    """Stop and start that often, or until a transaction stays open; returns whether one did."""
    port = 0
    for number in range(count + 1):
        settings = BrokerSettings.load(broker_port=port, broker_data_dir=folder, broker_start_timeout_s=120)
        stop = threading.Event()
        with LocalBroker(settings) as broker:
            port = broker.port
            if number == 0:
                admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
                admin.create_topics([NewTopic(_TOPIC, _PARTITIONS, 1)])[_TOPIC].result(30)
            found = open_partitions(broker.bootstrap_servers)
            if found:
                console.print(f"after stop {number}: partitions {found} hold an open transaction")
                return True
            threads = [
                threading.Thread(
                    target=_transact, args=(broker.bootstrap_servers, at, f"{number}-{at}", stop), daemon=True
                )
                for at in range(_PRODUCERS)
            ]
            for thread in threads:
                thread.start()
            time.sleep(_FLOW_S)
            if kill:
                os.kill(broker.pid, signal.SIGKILL)
        stop.set()
        for thread in threads:
            thread.join(30)
    return False


def main() -> int:
    """Run and print the verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stops", type=int, default=40)
    parser.add_argument("--kill", action="store_true", help="kill -9 instead of an orderly stop")
    options = parser.parse_args()
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="streamrec-stops-") as made:
        stuck = stays_open(options.stops, Path(made) / "broker", console, kill=options.kill)
    console.print(f"{options.stops} stops: {'a transaction stayed open' if stuck else 'no transaction stayed open'}")
    return 1 if stuck else 0


if __name__ == "__main__":
    sys.exit(main())
