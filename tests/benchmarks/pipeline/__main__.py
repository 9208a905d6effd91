"""`make bench`: the limit, then the system at full and at half speed, on one broker in one run."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from services.broker.broker import LocalBroker
from services.broker.settings import BrokerSettings
from services.cli.demo.processes import compiler
from services.runtime.settings import KafkaSettings
from tests.benchmarks.pipeline.footprint import bytes_per_event, memory_per_row
from tests.benchmarks.pipeline.limit import Limit
from tests.benchmarks.pipeline.load import events, items
from tests.benchmarks.pipeline.measure import busy
from tests.benchmarks.pipeline.report import tables
from tests.benchmarks.pipeline.system import System

_PREFIX = "bench."
_COMPILE_S = 900.0


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=400_000, help="events at full speed")
    parser.add_argument("--warm-up", type=int, default=40_000, help="events before anything is measured")
    parser.add_argument("--half-seconds", type=float, default=15.0, help="length of the run at half speed")
    parser.add_argument("--users", type=int, default=25_000)
    parser.add_argument("--items", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"))
    parser.add_argument("--folder", type=Path, help="keep the broker's data and the services' logs here")
    options = parser.parse_args()
    console = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="streamrec-bench-") as made:
        folder = options.folder or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        result = measure(options, folder, console)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    Console(highlight=False).print(*tables(result), sep="\n")
    console.print(f"written to {options.json}")


def measure(options: argparse.Namespace, folder: Path, console: Console) -> dict[str, Any]:
    """The whole run."""
    result: dict[str, Any] = {
        "options": {name: str(value) for name, value in vars(options).items()},
        "load_per_core_before": busy(),
    }
    console.print("compiling the model, encoding the events")
    compiling = compiler(folder)
    warm_up = events(options.seed, options.warm_up, options.users, options.items)
    full = events(options.seed, options.events, options.users, options.items, first=options.warm_up)
    if compiling.finish(_COMPILE_S) != 0:
        raise RuntimeError(f"the model cannot be compiled: {compiling.last_lines()}")
    broker_settings = BrokerSettings.load(broker_port=0, broker_data_dir=folder / "broker")
    with LocalBroker(broker_settings, progress=console.print) as broker:
        settings = KafkaSettings.load(bootstrap_servers=broker.bootstrap_servers, topic_prefix=_PREFIX)
        console.print("the limit: three bare hops at full speed")
        with Limit(settings, broker.pid) as limit:
            result["limit"] = limit.full_speed(full)
        console.print("the system: start and warm-up")
        with System(settings, folder, broker.pid) as system:
            system.send_items(items(options.items))
            result["start_s"] = system.start()
            result["warm_up"] = system.pass_through(warm_up)
            console.print("the system at full speed")
            result["full"] = system.pass_through(full)
            rate = result["full"]["events_per_s"] / 2
            count = int(rate * options.half_seconds)
            console.print(f"the system at half speed: {rate:,.0f} events/s")
            half = events(options.seed, count, options.users, options.items, first=options.warm_up + options.events)
            result["half"] = system.pass_through(half, rate)
            total = options.warm_up + options.events + count
            console.print("bytes, memory, restore")
            result["topics_per_event"] = bytes_per_event(settings, total)
            result["memory"] = memory_per_row(settings)
            result["restore"] = {
                f"{name}, {'topics' if from_topics else 'checkpoint'}": system.restore(name, from_topics)
                for name in ("model-update", "recommendation-publishing", "feature-extraction")
                for from_topics in (False, True)
            }
        console.print("the limit at the same rate")
        with Limit(KafkaSettings.load(**_named(settings, "bench2.")), broker.pid) as limit:
            result["limit_freshness_ms"] = limit.latency(half, rate)
    result["load_per_core_after"] = busy()
    return result


def _named(settings: KafkaSettings, prefix: str) -> dict[str, Any]:
    return {**settings.model_dump(), "topic_prefix": prefix}


if __name__ == "__main__":
    main()
