"""`python -m tests.benchmarks.parts --events FILE --items FILE [--exclude-seen]`: what each part costs and adds.

The learner without a part, or with less of it: CPU per event of learning in batches of 1,000 (deltas, fold and sweep
included), beside the HR@10 that is left. One row per choice that a user of the settings has; "log-linear score" without
is the mixture of the experts alone. Ranking is not in the cost: it happens when a list is made.
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
from services.model.config import ModelConfig

_BATCH = 1000
CHOICES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("as shipped", {}),
    ("log-linear score learned from every event", {"score_sample": 1.0}),
    ("... from every tenth", {"score_sample": 0.1}),
    ("50 negatives instead of 100", {"negatives": 50}),
    ("200 negatives, written from 0.02 on", {"negatives": 200, "write_threshold": 0.02}),
    ("pairs with 4 items instead of 8", {"pairs_written": 4}),
    ("neighbours of 5 items instead of 10", {"neighbours_read": 5}),
    ("64 neighbours kept instead of 128", {"max_neighbours": 64}),
    ("vectors of 16 instead of 32", {"dim": 16}),
)


def cost_us(data: Stream, config: ModelConfig) -> float:
    """CPU µs per event of learning, in the second half of the stream, when lists are full and weights warm."""
    simulation = Simulation(data, config, 1, _BATCH)
    n, marks = len(data), list[float]()

    def note(done: int) -> None:
        if done >= n // 2 and (not marks or done == n):
            marks.append(time.process_time())

    simulation.run(rank_every=0, progress=note)
    return (marks[-1] - marks[0]) / (n - -(-(n // 2) // _BATCH) * _BATCH) * 1e6


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
    cost_us(data, shipped)
    table = Table("choice", "µs/event", "of the first", "HR@10", "NDCG@10")
    first = 0.0
    for name, change in CHOICES:
        config = replace(shipped, **change)
        spent = cost_us(data, config)
        first = first or spent
        result = Simulation(data, config, 1, 100).run()
        one = figures(result.rank)
        table.add_row(name, f"{spent:.1f}", f"{spent / first:.2f}", f"{one['hr']:.4f}", f"{one['ndcg']:.4f}")
        if not change:
            mixture = figures(np.ascontiguousarray(result.experts[:, -1]))
            never = cost_us(data, replace(config, score_sample=0.0, score_warm_up=0))
            table.add_row(
                "without the log-linear score", f"{never:.1f}", f"{never / first:.2f}",
                f"{mixture['hr']:.4f}", f"{mixture['ndcg']:.4f}",
            )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
