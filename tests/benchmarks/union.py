"""`python -m tests.benchmarks.union --events FILE --items FILE [--exclude-seen]`: lists from the union of lists.

Serving scores the union of the experts' exact best items with the full formula. Before every N-th event of a stream,
this makes the user's list so, and once more with every item of the catalogue as a candidate, and compares: how many
of the 10 best are the same items, and what HR@10 and NDCG@10 the event gives each list.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from services.cli.evaluate import config_for, read
from services.evaluation.metrics import TOP, figures
from services.evaluation.prequential import Simulation
from services.model.recommender import Query, Recommender

_NONE = np.zeros(0, np.uint64)
_NO_CONTEXT = np.zeros(0, np.uint32)


def main(
    *,
    events: Annotated[str, typer.Option(metavar="FILE")],
    items: Annotated[str | None, typer.Option(metavar="FILE")] = None,
    exclude_seen: Annotated[bool, typer.Option("--exclude-seen")] = False,
    limit: Annotated[int | None, typer.Option()] = None,
    lengths: Annotated[str, typer.Option(help="Comma-separated: items of every expert's list.")] = "15,50,200",
    every: Annotated[int, typer.Option(help="Events between two lists.", min=1)] = 50,
) -> None:
    """Print the table."""
    data = read(events, items, limit)
    config = config_for(data, exclude_seen=exclude_seen)
    simulation = Simulation(data, config, 1, every)
    (learner,) = simulation.learners
    # Lists as long as the catalogue: the union of the experts' lists is then everything.
    tops = [*(int(each) for each in lengths.split(",")), len(data.items)]
    rankers = [Recommender(replace(config, list_length=top), learner.replica, learner.users) for top in tops]
    ranks: list[list[int]] = [[] for _ in tops]
    common: list[list[float]] = [[] for _ in tops]

    def compare(at: int) -> None:
        if at >= len(data):
            return
        user = learner.users.find(data.users[data.user[at]].encode())
        target = data.hashes[data.item[at]]
        if user < 0 or (exclude_seen and (learner.users.seen(user) == target).any()):
            return
        query = Query(user, int(data.t_ms[at]), TOP, _NONE, _NO_CONTEXT, exclude_seen)
        listed = [ranker.recommend([query])[0] for ranker in rankers]
        whole = listed[-1].items
        if not len(whole):
            return
        for i, each in enumerate(listed):
            ranks[i].append(each.rank_of(target))
            common[i].append(len(np.intersect1d(each.items, whole)) / len(whole))

    simulation.run(rank_every=0, progress=compare)
    table = Table("candidates", "HR@10", "NDCG@10", "same 10 best", "lists")
    for top, kept, shared in zip(tops, ranks, common, strict=True):
        one = figures(np.array(kept, np.float32))
        name = "every item" if top == len(data.items) else f"the best {top} of every expert"
        table.add_row(name, f"{one['hr']:.4f}", f"{one['ndcg']:.4f}", f"{np.mean(shared):.2%}", str(one["events"]))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
