"""`python -m tests.benchmarks.union --events FILE --items FILE [--exclude-seen]`: lists from the union, and from everything.

Serving scores the union of the experts' exact best items with the full formula. Before every N-th event of a stream,
this makes the user's list so, and once more with every item of the catalogue as a candidate, and compares: how many
of the 10 best are the same items, and what HR@10 and NDCG@10 the event gives either list.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from services.cli.evaluate import ITEM_PARTITIONS, read
from services.evaluation.metrics import TOP, figures
from services.evaluation.prequential import Simulation
from services.model.config import ModelConfig
from services.model.recommender import Query, Recommender

_NONE = np.zeros(0, np.uint64)
_NO_CONTEXT = np.zeros(0, np.uint32)


def main(
    *,
    events: Annotated[str, typer.Option(metavar="FILE")],
    items: Annotated[str | None, typer.Option(metavar="FILE")] = None,
    exclude_seen: Annotated[bool, typer.Option("--exclude-seen")] = False,
    limit: Annotated[int | None, typer.Option()] = None,
    every: Annotated[int, typer.Option(help="Events between two lists.", min=1)] = 50,
) -> None:
    """Print the table."""
    data = read(events, items, limit)
    config = ModelConfig(
        item_partitions=ITEM_PARTITIONS,
        exclude_seen=exclude_seen,
        max_items=2 * len(data.items),
        max_users=2 * len(data.users),
    )
    simulation = Simulation(data, config, 1, every)
    (learner,) = simulation.learners
    # Lists as long as the catalogue: the union of the experts' lists is then everything.
    whole = replace(config, list_length=len(data.items))
    rankers = [Recommender(each, learner.replica, learner.users) for each in (config, whole)]
    ranks: tuple[list[int], list[int]] = [], []
    common, first = [], []

    def compare(at: int) -> None:
        if at >= len(data):
            return
        user = learner.users.find(data.users[data.user[at]].encode())
        target = data.hashes[data.item[at]]
        if user < 0 or (exclude_seen and (learner.users.seen(user) == target).any()):
            return
        query = Query(user, int(data.t_ms[at]), TOP, _NONE, _NO_CONTEXT, exclude_seen)
        union, everything = (ranker.recommend([query])[0].items for ranker in rankers)
        if not len(everything):
            return
        for kept, listed in zip(ranks, (union, everything), strict=True):
            found = np.flatnonzero(listed == target)
            kept.append(int(found[0]) + 1 if len(found) else 0)
        common.append(len(np.intersect1d(union, everything)) / len(everything))
        first.append(float(union[0] == everything[0]))

    simulation.run(rank_every=0, progress=compare)
    table = Table("list of", "HR@10", "NDCG@10", "lists")
    for name, kept in zip(("the union", "every item"), ranks, strict=True):
        one = figures(np.array(kept, np.float32))
        table.add_row(name, f"{one['hr']:.4f}", f"{one['ndcg']:.4f}", str(one["events"]))
    Console().print(table)
    Console().print(f"{np.mean(common):.2%} of the 10 best are the same items, {np.mean(first):.2%} of the first places")


if __name__ == "__main__":
    typer.run(main)
