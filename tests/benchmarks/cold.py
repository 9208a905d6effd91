"""`python -m tests.benchmarks.cold --events FILE --items FILE [--exclude-seen]`: untouched items inside the lists.

The whole catalogue is announced before the first event. Before every N-th event of the stream the user's list is made
with and without untouched items, and judged by the item that the event brings, which may well be an untouched one.
Then, with the last state and all but 500 items touched: CPU time that untouched items add to a list.
"""

from __future__ import annotations

import time
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from services.cli.evaluate import config_for, read
from services.evaluation.metrics import figures
from services.evaluation.prequential import Simulation
from services.evaluation.stream import Stream
from services.model.config import ModelConfig
from services.model.kernels.cold import NEWEST
from services.model.recommender import Query, Recommender
from services.model.users import UserTable

_NONE = np.zeros(0, np.uint64)
_NO_CONTEXT = np.zeros(0, np.uint32)
SIZE, LISTS, UNTOUCHED = 20, 200, 500


class Comparison:
    """The same lists with and without untouched items, as the stream goes on."""

    def __init__(self, data: Stream, config: ModelConfig, simulation: Simulation) -> None:
        (learner,) = simulation.learners
        self.data, self.config, self.users, self.replica = data, config, learner.users, learner.replica
        self.rankers = [Recommender(config, learner.replica, learner.users) for _ in range(2)]
        self.catalogue = self.rankers[0].catalogue
        for i, name in enumerate(data.items):
            words = data.content[data.content_ptr[i] : data.content_ptr[i + 1]]
            self.catalogue.put(int(data.hashes[i]), name, words)
        self.ranks: list[list[int]] = [[], []]
        self.first: list[bool] = []
        self.newest: list[list[int]] = [[] for _ in data.users]
        self.done = 0

    def follow(self, done: int) -> None:
        """Take in the events up to `done`, as publishing does, then rank the next one."""
        data = self.data
        self.rankers[0].follow()
        for user, item in zip(data.user[self.done : done].tolist(), data.item[self.done : done].tolist(), strict=True):
            mine = self.newest[user]
            mine.insert(0, item)
            del mine[NEWEST + 1 :]
            if self.catalogue.untouched(data.hashes[item : item + 1])[0]:
                self.catalogue.first_occurrence(data.hashes[mine])
        self.done = done
        if done >= len(data):
            return
        slot = self.users.find(data.users[data.user[done]].encode())
        target = data.hashes[data.item[done]]
        seen = self.config.exclude_seen
        if seen and slot >= 0 and (self.users.seen(slot) == target).any():
            return
        query = Query(slot, int(data.t_ms[done]), SIZE, _NONE, _NO_CONTEXT, seen)
        for kept, ranker in zip(self.ranks, self.rankers, strict=True):
            kept.append(ranker.recommend([query])[0].rank_of(target))
        self.first.append(self.replica.items.table.index.find(int(target)) < 0)


def list_us(ranker: Recommender, users: UserTable, now_ms: int) -> float:
    """CPU microseconds of a list, of the best of several batches of 200 lists."""
    slots = np.random.default_rng(0).integers(0, len(users), LISTS).tolist()
    queries = [Query(slot, now_ms, SIZE, _NONE, _NO_CONTEXT, exclude_seen=True) for slot in slots]
    best = float("inf")
    for _ in range(9):
        started = time.process_time()
        ranker.recommend(queries, ranker.catalogue.allowed)
        best = min(best, time.process_time() - started)
    return best / LISTS * 1e6


def main(
    *,
    events: Annotated[str, typer.Option(metavar="FILE")],
    items: Annotated[str, typer.Option(metavar="FILE")],
    exclude_seen: Annotated[bool, typer.Option("--exclude-seen")] = False,
    limit: Annotated[int | None, typer.Option()] = None,
    every: Annotated[int, typer.Option(help="Events between two lists.", min=1)] = 10,
) -> None:
    """Print the table."""
    data = read(events, items, limit)
    config = config_for(data, exclude_seen=exclude_seen)
    simulation = Simulation(data, config, 1, every)
    compared = Comparison(data, config, simulation)
    simulation.run(rank_every=0, progress=compared.follow)
    first = np.array(compared.first)
    table = Table("lists of 20", "HR@10", "HR@20", "events", "HR@20 of first occurrences", "HR@20 of the others")
    for name, kept in zip(("with untouched items", "without"), compared.ranks, strict=True):
        ranks = np.array(kept, np.float32)
        parts = (f"{(ranks[mask] > 0).mean():.4f}" for mask in (first, ~first))
        table.add_row(name, f"{figures(ranks)['hr']:.4f}", f"{(ranks > 0).mean():.4f}", str(len(ranks)), *parts)
    Console().print(table)
    for extra in range(UNTOUCHED):
        i = extra % len(data.items)
        words = data.content[data.content_ptr[i] : data.content_ptr[i + 1]]
        compared.catalogue.put(extra + 1, f"new-{extra}", words)
    now_ms = int(data.t_ms[-1])
    took = [list_us(ranker, compared.users, now_ms) for ranker in compared.rankers]
    waiting = compared.catalogue.cold.waiting
    Console().print(f"a list of {SIZE}: {took[0]:.0f} µs with {waiting} untouched items, {took[1]:.0f} µs without")


if __name__ == "__main__":
    typer.run(main)
