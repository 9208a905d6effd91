"""`python -m tests.benchmarks.parts --events FILE --items FILE [--exclude-seen]`: what each part costs and adds.

The learner without a part, or with less of it: CPU per event of learning in batches of 1,000 (deltas, fold and sweep
included), as a ratio to the shipped learner, which learns the same events in turn with it, and the HR@10 that is left.
One row per choice that a user of the settings has; "log-linear score" without is the mixture of the experts alone.
HR@10 is that of batches of 100, whose events all teach the score; of a batch of 1,000, a quarter do.
Ranking is not in the cost: it happens when a list is made.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from services.cli.evaluate import config_for, read
from services.evaluation.metrics import figures
from services.evaluation.prequential import Simulation
from services.evaluation.stream import Stream
from services.model.arrays import F32
from services.model.config import ModelConfig

_BATCH = 1000
CHOICES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("as shipped", {}),
    ("log-linear score learned from every event of any batch", {"score_batch_events": 0}),
    ("... from every fourth at most", {"score_sample": 0.25}),
    ("... from every tenth at most", {"score_sample": 0.1}),
    ("50 negatives instead of 100", {"negatives": 50}),
    ("200 negatives, written from 0.02 on", {"negatives": 200, "write_threshold": 0.02}),
    ("pairs with 4 items instead of 8", {"pairs_written": 4}),
    ("neighbours of 5 items instead of 10", {"neighbours_read": 5}),
    ("64 neighbours kept instead of 128", {"max_neighbours": 64}),
    ("vectors of 16 instead of 32", {"dim": 16}),
)


def costs_us(data: Stream, *configs: ModelConfig) -> list[float]:
    """CPU µs per event of learning by each of some learners, in the second half of the stream, when lists are full.

    They learn in turn, a batch each, so that what else the machine does meets all of them alike.
    """
    runs = [Simulation(data, config, 1, _BATCH).exchanges(rank_every=0) for config in configs]
    spent, n, done = [0.0] * len(runs), len(data), 0
    while done < n:
        counts = done >= n // 2
        for at, run in enumerate(runs):
            began = time.process_time()
            done = next(run)
            spent[at] += (time.process_time() - began) * counts
    return [seconds / (n - -(-(n // 2) // _BATCH) * _BATCH) * 1e6 for seconds in spent]


def main(
    *,
    events: Annotated[str, typer.Option(metavar="FILE")],
    items: Annotated[str | None, typer.Option(metavar="FILE")] = None,
    exclude_seen: Annotated[bool, typer.Option("--exclude-seen")] = False,
    limit: Annotated[int | None, typer.Option()] = None,
) -> None:
    """Print the table."""
    data = read(events, items, limit)
    shipped = config_for(data, exclude_seen=exclude_seen)
    costs_us(data, shipped)
    table = Table("choice", "µs/event", "of the shipped", "HR@10", "NDCG@10")

    def row(name: str, change: dict[str, Any], ranks: F32) -> None:
        spent, beside = costs_us(data, replace(shipped, **change), shipped)
        one = figures(ranks)
        table.add_row(name, f"{spent:.1f}", f"{spent / beside:.2f}", f"{one['hr']:.4f}", f"{one['ndcg']:.4f}")

    for name, change in CHOICES:
        result = Simulation(data, replace(shipped, **change), 1, 100).run()
        row(name, change, result.rank)
        if not change:
            mixture = np.ascontiguousarray(result.experts[:, -1])
            row("without the log-linear score", {"score_sample": 0.0, "score_warm_up": 0}, mixture)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
