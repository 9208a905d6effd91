"""How long the system is deaf after a kill -9 of each service, with a restart and without one.

    python -m tests.benchmarks.deaf_time [--json FILE] [--service NAME]

A stream of events goes on; a read_committed reader of the service's output topic notes when records arrive in each
partition. Deaf time: from the kill to the first record after it, in the partition where that took longest. "restart"
starts the process again at once under the same name; "failover" leaves it dead, with a second replica running
(static membership: its partitions are kept for it until the session timeout; dynamic: the same, since a killed member
cannot say that it leaves).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Self

from confluent_kafka import OFFSET_END, TopicPartition

from services.broker.broker import LocalBroker
from services.broker.settings import BrokerSettings
from services.runtime.client import make_consumer
from tests.kafka import system as processes
from tests.kafka.system import System, system

OUTPUT = {
    "feature-extraction": "features",
    "model-update": "user-state",
    "recommendation-publishing": "recommendations",
}
USERS = 200
EVENTS_PER_S = 100
PARTITIONS = 4
SETTLE_S = 5.0
LONGEST_S = 90.0


class Load:
    """Events at a steady rate, until it is stopped."""

    def __init__(self, target: System) -> None:
        self._target = target
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        producer = self._target.producer()
        number = 0
        while not self._stop.wait(1 / EVENTS_PER_S):
            user = f"u{number * 7 % USERS}"
            event = {
                "event_id": f"e{number}",
                "user_id": user,
                "item_id": f"i{number * 13 % 997}",
                "type": "click",
                "event_time": time.time_ns() // 1_000_000,
            }
            producer.produce(self._target.topic("interactions"), json.dumps(event), user)
            producer.poll(0)
            number += 1
        producer.flush(10)


class Watch:
    """When a record last arrived in each partition of a topic."""

    def __init__(self, target: System, topic: str) -> None:
        self.arrivals: list[tuple[float, int]] = []
        self._stop = threading.Event()
        self._consumer = make_consumer(target.kafka, fetch_wait_max_ms=20)
        name = target.topic(topic)
        self._consumer.assign([TopicPartition(name, partition, OFFSET_END) for partition in range(PARTITIONS)])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                self.arrivals.append((time.monotonic(), int(message.partition() or 0)))

    def all_since(self, moment: float) -> float | None:
        """When every partition had a record after this moment, or None."""
        first: dict[int, float] = {}
        for at, partition in list(self.arrivals):
            if at > moment:
                first.setdefault(partition, at)
        return max(first.values()) if len(first) == PARTITIONS else None

    def wait(self, moment: float) -> float:
        """Seconds from a moment until every partition had a record."""
        while time.monotonic() - moment < LONGEST_S:
            done = self.all_since(moment)
            if done is not None:
                return done - moment
            time.sleep(0.02)
        return float("inf")

    def close(self) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()
        self._consumer.close()


def measure(target: System, service: str, *, restart: bool, repeats: int) -> list[float]:
    """Deaf times after kills of one service, seconds."""
    found = []
    for _ in range(repeats):
        watch = Watch(target, OUTPUT[service])
        try:
            if watch.wait(time.monotonic() + SETTLE_S) == float("inf"):
                raise RuntimeError(f"{service} writes nothing to {OUTPUT[service]}")
            victim = next(one for one in target.processes if one.name == f"{service}-a" and one.popen.poll() is None)
            heir = None
            if not restart:
                heir = target.start(service, "b")
                heir.ready()
                time.sleep(SETTLE_S)
            victim.kill()
            # Records that were committed before the kill may still arrive for a moment.
            moment = time.monotonic() + 0.05
            if restart:
                target.start(service, "a")
            found.append(round(watch.wait(moment), 2))
            if heir is not None:
                heir.terminate()
                target.start(service, "a").ready()
        finally:
            watch.close()
    return found


def main() -> int:
    """Run it and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--service", choices=list(OUTPUT), action="append")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    # The first start compiles the kernels.
    processes.WAIT_S = 600
    results: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        broker = BrokerSettings(broker_port=0, broker_data_dir=Path(folder) / "kafka", broker_start_timeout_s=180)
        options = {
            "session_timeout_ms": 10_000, "transaction_timeout_ms": 10_000, "publish_interval_ms": 50,
        }  # fmt: skip
        with (
            LocalBroker(broker) as running,
            system(running, "deaf.", Path(folder), user_partitions=PARTITIONS, settings=options) as target,
            Load(target),
        ):
            for service in OUTPUT:
                target.start(service, "a")
            for process in target.processes:
                process.ready()
            for service in given.service or OUTPUT:
                results[service] = {
                    "restart": measure(target, service, restart=True, repeats=given.repeats),
                    "failover": measure(target, service, restart=False, repeats=max(1, given.repeats - 1)),
                }
                sys.stdout.write(f"{service:28} {results[service]}\n")
                sys.stdout.flush()
    if given.json:
        given.json.write_text(json.dumps(results, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
