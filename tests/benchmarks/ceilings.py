"""`python -m tests.benchmarks.ceilings --events FILE --items FILE [--exclude-seen]`: what a ceiling costs in quality.

HR@10 and NDCG@10 when only 100, 50, 25 and 10 % of the ids that occur have room, for items and for users, with one
shard, full catalogue, on a sample of the events that is the same in every line. What is evicted comes back as new.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from services.cli.evaluate import ITEM_PARTITIONS, read
from services.evaluation.metrics import figures
from services.evaluation.prequential import Simulation
from services.model.config import ModelConfig


def main(
    *,
    events: Annotated[str, typer.Option(metavar="FILE")],
    items: Annotated[str | None, typer.Option(metavar="FILE")] = None,
    exclude_seen: Annotated[bool, typer.Option("--exclude-seen")] = False,
    limit: Annotated[int | None, typer.Option()] = None,
    rank_every: Annotated[int, typer.Option(help="Rank the events of every so manieth hundred.")] = 4,
    shares: Annotated[str, typer.Option(help="Comma-separated, percent of the ids.")] = "100,50,25,10",
) -> None:
    """Print the table."""
    data = read(events, items, limit)
    plain = ModelConfig(item_partitions=ITEM_PARTITIONS, exclude_seen=exclude_seen)
    table = Table("ceiling", "ids", "HR@10", "NDCG@10", "events ranked", "not learned")
    for what, ids in (("items", len(np.unique(data.item))), ("users", len(data.users))):
        for share in (int(each) for each in shares.split(",")):
            room = max(-(-ids * share // 100), 1)
            # A full table shares its ids over the partitions unevenly: at 100 % every partition may hold its own.
            if share == 100:
                config = plain
            else:
                config = replace(plain, max_items=room) if what == "items" else replace(plain, max_users=room)
            simulation = Simulation(data, config, 1, 100)
            one = figures(simulation.run(rank_every=rank_every).rank)
            skipped = sum(learner.skipped for learner in simulation.learners)
            hr, ndcg = f"{one['hr']:.4f}", f"{one['ndcg']:.4f}"
            table.add_row(f"{share} % of {what}", str(room), hr, ndcg, str(one["events"]), str(skipped))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
