"""`python -m tests.benchmarks.chain`: what the whole path costs per event, CPU microseconds, by service and part.

Every service's processor on logs in memory, fed by each other's outputs with the bytes that Kafka would carry: what is
missing is the clients and the broker. The clock of the steps is simulated from a rate of events, so that sweeps,
intervals and lists come as often as in a running system of that speed. CPU time of the process and not wall time, so
that other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from services.contracts.topics import BY_NAME
from services.feature_extraction.service import processors as extraction
from services.feature_extraction.settings import ExtractionSettings
from services.model_update.service import processors as update
from services.model_update.settings import ModelUpdateSettings
from services.recommendation_publishing.service import processors as publishing
from services.recommendation_publishing.settings import PublishingSettings
from services.runtime.service import spare_collections
from services.runtime.testing import Driver, Logs
from tests.benchmarks.pipeline.load import Load, events, from_files, items

_START_MS = 1_800_000_000_000


class Chain:
    """One replica of every service on one set of logs."""

    def __init__(self, catalogue: list[tuple[bytes, bytes]]) -> None:
        """Make the services and load a catalogue, (key, value) of each record."""
        settings = ModelUpdateSettings()
        counts = {
            name: settings.item_partitions if topic.partitioned_by == "item" else settings.user_partitions
            for name, topic in BY_NAME.items()
        }
        self.logs = Logs(counts)
        for key, value in catalogue:
            self.logs.append("items", key, value, timestamp_ms=_START_MS)
        made = [*extraction(ExtractionSettings(), "chain"), *update(settings, "chain")]
        made += publishing(PublishingSettings(), "chain")
        self.spent: dict[tuple[str, str], float] = defaultdict(float)
        self.drivers = []
        for processor in made:
            driver = Driver(processor, self.logs, _START_MS, epoch=1)
            driver.open(*range(counts[processor.inputs.leading]))
            for part in ("step", "load"):
                setattr(processor, part, self._timed(processor.name, part, getattr(processor, part)))
            self.drivers.append(driver)

    def written(self) -> dict[str, tuple[int, int]]:
        """{topic: (records, bytes of keys and values)} so far."""
        return {
            name: (len(found), sum(len(one.key or b"") + len(one.value or b"") for one in found))
            for name in BY_NAME
            if (found := self.logs.records(name))
        }

    def _timed(self, name: str, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any) -> Any:
            began = time.process_time()
            try:
                return call(*args)
            finally:
                self.spent[name, part] += time.process_time() - began

        return timed

    def turn(self, now_ms: int) -> None:
        """Every service steps once, in the order of the data."""
        for driver in self.drivers:
            driver.now_ms = now_ms
            began = time.process_time()
            inner = sum(self.spent[driver.processor.name, part] for part in ("step", "load"))
            driver.step()
            now = time.process_time()
            inner = sum(self.spent[driver.processor.name, part] for part in ("step", "load")) - inner
            self.spent[driver.processor.name, "records"] += now - began - inner

    def run(self, load: Load, rate: float, batch: int, now_ms: int) -> int:
        """All events at a rate, `batch` a turn; returns the clock at the end, Unix ms."""
        for start in range(0, len(load), batch):
            for at in range(start, min(start + batch, len(load))):
                self.logs.append("interactions", load.users[at].encode(), load.values[at], timestamp_ms=now_ms)
            now_ms += int(batch / rate * 1000)
            self.turn(now_ms)
        return now_ms


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--warm-up", type=int, default=40_000)
    parser.add_argument("--rate", type=float, default=20_000, help="simulated events per second")
    parser.add_argument("--batch", type=int, default=2_000, help="events of a turn")
    parser.add_argument("--users", type=int, default=25_000)
    parser.add_argument("--items", type=int, default=12_000)
    parser.add_argument("--events-file", help="real events instead of made-up ones")
    parser.add_argument("--items-file")
    parser.add_argument("--profile", action="store_true", help="print where the interpreter's time goes")
    options = parser.parse_args()
    count = options.warm_up + options.events
    if options.events_file:
        catalogue, load = from_files(options.events_file, options.items_file, count)
        options.events = len(load) - options.warm_up
    else:
        catalogue, load = items(options.items), events(1, count, options.users, options.items)
    chain = Chain(catalogue)
    now_ms = chain.run(load.part(0, options.warm_up), options.rate, options.batch, _START_MS)
    load = load.part(options.warm_up, count)
    before = chain.written()
    chain.spent.clear()
    # As in a service; the logs' objects are this benchmark's own.
    spare_collections()
    profile = cProfile.Profile()
    if options.profile:
        profile.enable()
    chain.run(load, options.rate, options.batch, now_ms)
    profile.disable()
    table = Table("", "load", "step", "records", "all", title="CPU per event, µs")
    total = 0.0
    for driver in chain.drivers:
        name = driver.processor.name
        parts = [chain.spent[name, part] / options.events * 1e6 for part in ("load", "step", "records")]
        total += sum(parts)
        table.add_row(name, *(f"{part:.1f}" for part in [*parts, sum(parts)]))
    table.add_row("all", "", "", "", f"{total:.1f}")
    written = Table("", "records", "bytes", title="written per event")
    for name, after in chain.written().items():
        records, size = (new - old for new, old in zip(after, before.get(name, (0, 0)), strict=True))
        if records and name not in {"items", "interactions"}:
            written.add_row(name, f"{records / options.events:.3f}", f"{size / options.events:.0f}")
    Console().print(table, written)
    if options.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)


if __name__ == "__main__":
    main()
