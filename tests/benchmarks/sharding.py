"""`python -m tests.benchmarks.sharding --events FILE --items FILE [--exclude-seen]`: what sharding costs.

Full-catalogue HR@10 and NDCG@10 with 1, 2, 4 and 8 user shards on the same stream, exchanges paced in events; how
far the replicas' item vectors are from the owners' just before an exchange; bytes of item-deltas per event. Without
--events, on a synthetic stream of 1 M items: the bytes that a large catalogue costs.
"""

from __future__ import annotations

import time
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from services.cli.evaluate import read
from services.evaluation.metrics import figures
from services.evaluation.prequential import Simulation
from services.evaluation.stream import Stream
from services.model.config import ModelConfig

CATALOGUE = 1_000_000
EVENTS = 20_000
NOW = 1_700_000_000_000


def synthetic(n: int, items: int) -> Stream:
    """Events of a power law over a large catalogue, users in sessions of about ten, three categories an item."""
    rng = np.random.default_rng(0)
    users = n // 10
    chosen = (items * rng.power(0.35, n)).astype(np.int64) % items
    names, item = np.unique(chosen, return_inverse=True)
    content = (np.uint32(1 << 28) | rng.integers(0, 1000, 3 * len(names)).astype(np.uint32)).astype(np.uint32)
    return Stream(
        [f"user-{i}" for i in range(users)],
        [f"item-{i:07d}" for i in names.tolist()],
        rng.integers(0, users, n).astype(np.int32),
        item.astype(np.int32),
        NOW + np.sort(rng.integers(0, 3_600_000, n)),
        (names.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15),
        np.arange(0, 3 * len(names) + 1, 3, dtype=np.int32),
        content,
    )


def main(
    events: Annotated[str | None, typer.Option(metavar="FILE")] = None,
    items: Annotated[str | None, typer.Option(metavar="FILE")] = None,
    exclude_seen: Annotated[bool, typer.Option("--exclude-seen")] = False,
    limit: Annotated[int | None, typer.Option()] = None,
    exchange_events: Annotated[str, typer.Option(help="Comma-separated.")] = "100,1000",
    shards: Annotated[str, typer.Option(help="Comma-separated.")] = "1,2,4,8",
) -> None:
    """Print the table."""
    large = events is None
    data = synthetic(EVENTS, CATALOGUE) if events is None else read(events, items, limit)
    table = Table("shards", "exchange", "HR@10", "NDCG@10", "apart", "bytes/event", "of which", "events/s")
    for exchange in (int(each) for each in exchange_events.split(",")):
        for count in (int(each) for each in shards.split(",")):
            config = ModelConfig(
                item_partitions=4,
                exclude_seen=exclude_seen,
                max_items=2 * len(data.items),
                max_users=2 * len(data.users),
            )
            simulation = Simulation(data, config, count, exchange)
            started = time.process_time()
            result = simulation.run(rank_every=0 if large else 1)
            spent = time.process_time() - started
            one = figures(result.rank)
            largest = sorted(result.block_bytes.items(), key=lambda each: -each[1])[:4]
            table.add_row(
                str(count),
                str(exchange),
                "" if large else f"{one['hr']:.4f}",
                "" if large else f"{one['ndcg']:.4f}",
                f"{np.mean(result.divergence):.2%}",
                f"{result.delta_bytes / len(data):.0f}",
                ", ".join(f"{name} {size / len(data):.0f}" for name, size in largest),
                f"{len(data) / spent:,.0f}",
            )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
