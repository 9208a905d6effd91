"""`python -m tests.benchmarks.sharding --events FILE --items FILE [--exclude-seen]`: what sharding costs.

Full-catalogue HR@10 and NDCG@10 with 1, 2, 4 and 8 user shards on the same stream, exchanges paced in events; how
far the replicas' item vectors are from the owners' just before an exchange; bytes of item-deltas per event. Without
--events, on a synthetic stream of 1 M items: the bytes that a large catalogue costs. With --stale, the rows of several
shards as they would be if nothing were lost but time. With --steady, shards do not exchange sooner while the model is
young. With --live, the last row once more through the real topics (minutes for 20,000 events, so with
--limit).
"""

from __future__ import annotations

import time
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from services.cli.evaluate import config_for, read
from services.cli.produce.columns import ITEMS
from services.cli.produce.source import BadRowError, Source
from services.contracts.context import context_features
from services.contracts.edge import codec_for
from services.evaluation.metrics import figures
from services.evaluation.prequential import Simulation
from services.evaluation.stream import Stream
from services.model.events import ragged
from tests.benchmarks import sharding_live
from tests.benchmarks.sharding_stale import Stale

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
    times = NOW + np.sort(rng.integers(0, 3_600_000, n))
    return Stream(
        [f"user-{i}" for i in range(users)],
        [f"item-{i:07d}" for i in names.tolist()],
        rng.integers(0, users, n).astype(np.int32),
        item.astype(np.int32),
        times,
        (names.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15),
        np.arange(0, 3 * len(names) + 1, 3, dtype=np.int32),
        content,
        *ragged([context_features(t, {}) for t in times.tolist()]),
    )


def catalogue(file: str) -> list[tuple[bytes, bytes]]:
    """(key, value) records of the topic items."""
    codec = codec_for("items")
    with Source(file, ITEMS) as source:
        records = [record for record in source.rows() if not isinstance(record, BadRowError)]
    return [(str(record["item_id"]).encode(), codec.encode(record)) for record in records]


def main(
    *,
    events: Annotated[str | None, typer.Option(metavar="FILE")] = None,
    items: Annotated[str | None, typer.Option(metavar="FILE")] = None,
    exclude_seen: Annotated[bool, typer.Option("--exclude-seen")] = False,
    limit: Annotated[int | None, typer.Option()] = None,
    exchange_events: Annotated[str, typer.Option(help="Comma-separated.")] = "100,1000",
    shards: Annotated[str, typer.Option(help="Comma-separated.")] = "1,2,4,8",
    steady: Annotated[bool, typer.Option("--steady", help="Exchange no sooner while the model is young.")] = False,
    stale: Annotated[bool, typer.Option("--stale", help="What staleness alone costs (sharding_stale.py).")] = False,
    live: Annotated[bool, typer.Option("--live", help="The last row once more, through the real topics.")] = False,
) -> None:
    """Print the table."""
    large = events is None
    if live and (large or not exclude_seen):
        raise typer.BadParameter("--live needs --events, and --exclude-seen, as the services learn by default")
    data = synthetic(EVENTS, CATALOGUE) if events is None else read(events, items, limit)
    table = Table("shards", "exchange", "HR@10", "NDCG@10", "apart", "bytes/event", "of which", "events/s")
    for exchange in (int(each) for each in exchange_events.split(",")):
        for count in (int(each) for each in shards.split(",")):
            config = config_for(data, exclude_seen=exclude_seen)
            simulation = (Stale if stale and count > 1 else Simulation)(data, config, count, exchange, steady=steady)
            started = time.process_time()
            result = simulation.run(rank_every=0 if large else 1)
            spent = time.process_time() - started
            one = figures(result.rank)
            largest = sorted(result.block_bytes.items(), key=lambda each: -each[1])[:4]
            table.add_row(
                f"{count}{' stale' if type(simulation) is Stale else ''}",
                f"{exchange}{' steady' if steady else ''}",
                "" if large else f"{one['hr']:.4f}",
                "" if large else f"{one['ndcg']:.4f}",
                f"{np.mean(result.divergence):.2%}",
                f"{result.delta_bytes / len(data):.0f}",
                ", ".join(f"{name} {size / len(data):.0f}" for name, size in largest),
                f"{len(data) / spent:,.0f}",
            )
    Console().print(table)
    if live:
        through = sharding_live.run(data, catalogue(items) if items else [], count, exchange)
        one, size = figures(through.ranks), through.delta_bytes / len(data)
        Console().print(
            f"Through the topics, {count} user shards, an exchange every {through.events_per_exchange:,.0f} events: "
            f"HR@10 {one['hr']:.4f}, NDCG@10 {one['ndcg']:.4f}, {size:.0f} bytes of item-deltas per event, "
            f"{through.batches:,} learning batches, computed again from the logs bit for bit."
        )


if __name__ == "__main__":
    typer.run(main)
