"""The system under measurement: the three services as processes, driven and watched from outside."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any, Self

from services.cli.demo.processes import Fleet, Service
from services.cli.lag import LagReader, Line
from services.cli.run import SERVICES
from services.contracts.topics import physical
from services.runtime.admin import create_topics
from services.runtime.settings import KafkaSettings
from tests.benchmarks.pipeline.clients import Freshness, Reader, Sender
from tests.benchmarks.pipeline.load import Load
from tests.benchmarks.pipeline.measure import CpuMeter, percentiles, rss_mb, scrape, seconds_by_part

LEADING = {
    "feature-extraction": "interactions",
    "user-shard": "features",
    "recommendation-publishing": "user-state",
    "item-shard": "item-deltas",
}
"""The way of an event to a list, and then the item shard, which publishes rows at a pace of its own."""
_LAST = "recommendation-publishing"
_READY_S = 300.0
_DRAIN_S = 300.0
_LOOK_S = 0.2


class System:
    """The services, their topics and what reads their lists. Use as a context manager."""

    def __init__(self, settings: KafkaSettings, folder: Path, broker_pid: int) -> None:
        """Make the topics; `start` starts the services."""
        self.settings = settings
        self.folder = folder
        self.fleet = Fleet()
        self._broker_pid = broker_pid
        create_topics(settings)
        self._lag = LagReader(settings)
        self._sender = Sender(settings)
        self.freshness = Freshness()
        self.lists = Reader(settings, physical("recommendations", settings.topic_prefix), self.freshness.take)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.lists.stop()
        self._lag.close()
        self.fleet.stop()

    def start(self) -> float:
        """Start the services: seconds until all were ready."""
        began = time.monotonic()
        for name, (package, _, _) in SERVICES.items():
            self.start_one(name, package)
        self.fleet.wait_ready(_READY_S)
        return time.monotonic() - began

    def start_one(self, name: str, package: str) -> None:
        """Start one service."""
        environment = {
            "STREAMREC_BOOTSTRAP_SERVERS": self.settings.bootstrap_servers,
            "STREAMREC_TOPIC_PREFIX": self.settings.topic_prefix,
            "STREAMREC_STATE_DIR": str(self.folder / "state"),
            "STREAMREC_INSTANCE": "bench",
        }
        self.fleet.start(name, package, environment, self.folder)

    def service(self, name: str) -> Service:
        """A running service by name."""
        return next(each for each in self.fleet.services if each.name == name)

    def send_items(self, records: list[tuple[bytes, bytes]]) -> None:
        """Send the catalogue."""
        self._sender.send(physical("items", self.settings.topic_prefix), records)

    def pass_through(self, load: Load, rate: float | None = None) -> dict[str, Any]:
        """Send events and wait until every service has done its part.

        Returns:
            Events per second end to end (from the first event sent to the last list) and per service, CPU per event,
            freshness, where the loops' time went.
        """
        pids = {each.name: each.pid for each in self.fleet.services} | {"broker": self._broker_pid}
        cpu = CpuMeter(pids)
        parts = {each.name: seconds_by_part(each.port) for each in self.fleet.services}
        self.freshness.values.clear()
        lists = self.lists.count
        cpu.start()
        began = time.monotonic()
        records = ((user.encode(), value) for user, value in zip(load.users, load.values, strict=True))
        self._sender.send(
            physical("interactions", self.settings.topic_prefix), records, rate, self.freshness.sender(load)
        )
        sent_s = time.monotonic() - began
        done = self._drain(began)
        spent, clients = cpu.stop(), cpu.clients()
        events = len(load)
        return {
            "events": events,
            "sent_s": sent_s,
            "events_per_s": events / done[_LAST],
            "events_per_s_by_service": {name: events / seconds for name, seconds in done.items()},
            "lists": self.lists.count - lists,
            "cpu_us_per_event": {name: seconds / events * 1e6 for name, seconds in spent.items()},
            "client_cpu_us_per_event": {name: seconds / events * 1e6 for name, seconds in clients.items()},
            "time_split_us_per_event": {
                f"{each.name}: {part}": (seconds - parts[each.name].get(part, 0.0)) / events * 1e6
                for each in self.fleet.services
                for part, seconds in seconds_by_part(each.port).items()
            },
            "freshness_ms": percentiles(list(self.freshness.values)),
            "rss_mb": {name: rss_mb(pid) for name, pid in pids.items()},
        }

    def _drain(self, began: float) -> dict[str, float]:
        """{processor: seconds after `began` at which it had nothing left}, each seen after the one before it."""
        done: dict[str, float] = {}
        # One at a time, the way of the events: what has drained has nothing to come, and looks cost the broker time.
        for processor, topic in LEADING.items():
            while not _drained([line for line in self._lag.read([processor]) if line.topic == topic]):
                if time.monotonic() - began > _DRAIN_S:
                    raise RuntimeError(f"not drained after {_DRAIN_S:.0f} s: {done}")
                self.fleet.check()
                time.sleep(_LOOK_S)
            done[processor] = time.monotonic() - began
        return done

    def restore(self, name: str, from_topics: bool) -> dict[str, float]:
        """Stop a service, start it again: seconds until it is ready, and the records that were read for it."""
        old = self.service(name)
        package = old.package
        old.end()
        old.finish()
        self.fleet.services.remove(old)
        if from_topics:
            for checkpoint in (self.folder / "state").rglob("*"):
                if checkpoint.is_dir() and name in checkpoint.name:
                    shutil.rmtree(checkpoint)
        began = time.monotonic()
        self.start_one(name, package)
        self.fleet.wait_ready(_READY_S)
        seconds = time.monotonic() - began
        loaded = scrape(self.service(name).port).get("records_loaded_total", {})
        return {"seconds": seconds, "records": sum(loaded.values())}


def _drained(lines: list[Line]) -> bool:
    # Behind the last record stands the mark of its transaction, which no position passes.
    return all(line.committed is not None and line.lag <= 1 for line in lines)
