"""`python -m tests.benchmarks.kernels`: what the model's kernels cost, beside plain versions of the same.

Method: one core, the best of several runs in CPU time, after compilation. A catalogue of 12,000 items whose
popularity follows a power law, 3,000 users with 50 items of history, d = 32, 100 negatives, unless a line says
otherwise. "plain" is the obvious version in numpy that the tests compare the kernel with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from services.model.arrays import I64, U64
from services.model.config import ModelConfig
from services.model.events import EventBatch
from services.model.jit import kernel
from services.model.kernels.factors import Logs, Step, draw, factor_step, logits
from services.model.kernels.query import query
from services.model.kernels.users import UserArrays
from services.model.kernels.view import Setup, View, Work
from services.model.learner import Learner
from services.model.owner import ItemOwner
from services.model.rows import DeltaBlock, DeltaSet
from services.model.table import RowTable
from services.model.topk import top_k
from services.model.views import view
from tests.unit.model.kernels.plain_factors import PlainFactors
from tests.unit.model.simulation import Event, event_batch

ITEMS, USERS, EVENTS = 12_000, 3_000, 1_000
CONFIG = ModelConfig(item_partitions=4, max_items=40_000, max_users=10_000)
NOW = 1_700_000_000_000


def seconds(call: Callable[[], object], runs: int = 7) -> float:
    """CPU seconds of a call: the best of several runs."""
    best = float("inf")
    for _ in range(runs):
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return best


class Loop:
    """A learner and its owners with an exchange after every batch, past the warm-up."""

    def __init__(self, config: ModelConfig = CONFIG) -> None:
        self.config = config
        self.learner = Learner(config)
        self.owners = [ItemOwner(config, p) for p in range(config.item_partitions)]
        self.rng = np.random.default_rng(0)
        self.batch = 0
        self.spent: dict[str, float] = {}
        self.rows = 0
        for first in range(0, ITEMS, 2000):
            self.exchange([Event(0, i, NOW) for i in range(first, first + 2000)])
        for _ in range(60):
            self.exchange(self.events(USERS))

    def events(self, n: int) -> list[Event]:
        """Events of uniform users on items of a power law."""
        items = (self.rng.pareto(1.0, n) * 20).astype(np.int64) % ITEMS
        users = self.rng.permutation(n) % USERS
        return [Event(int(u), int(i), NOW + self.batch * 1000) for u, i in zip(users, items, strict=True)]

    def exchange(self, events: list[Event]) -> None:
        """Learn, fold, sweep and take one batch; the CPU seconds of each go to `spent`."""
        batch: EventBatch = event_batch(self.learner, 0, self.batch * 10_000, events)
        marks = [time.process_time()]
        deltas = self.learner.learn(batch, self.batch)
        marks.append(time.process_time())
        for partition, part in deltas.items():
            self.owners[partition].fold(part)
        marks.append(time.process_time())
        sweeps = [(p, owner.sweep()) for p, owner in enumerate(self.owners)]
        marks.append(time.process_time())
        for partition, changes in sweeps:
            self.learner.replica.take(partition, changes, self.batch)
        marks.append(time.process_time())
        self.spent = dict(zip(("learn", "fold", "sweep", "take"), np.diff(marks).tolist(), strict=True))
        self.rows = sum(len(changes) for _, changes in sweeps)
        self.batch += 1


@kernel
def factor_events(  # noqa: PLR0917  (arrays of several owners, which share no tuple)
    users: UserArrays,
    v: View,
    logs: Logs,
    who: I64,
    rows: I64,
    seeds: U64,
    bound: int,
    setup: Setup,
    step: Step,
    w: Work,
) -> None:
    """The factor part of a batch and nothing else."""
    acc = users.acc.reshape((len(users.acc), 1))
    for i in range(len(rows)):
        found, _, gap = query(v, users, setup, who[i], 1_700_000_000, w)
        drawn = draw(v.keys, bound, rows[i], seeds[i], step.negatives, w.negatives)
        top = logits(v, w, drawn)
        used = min(found, setup.history)
        factor_step(v, logs, users.vector, acc, who[i], rows[i], 1.0, drawn, top, used, gap, step, w)


def factor_part(loop: Loop) -> tuple[float, float]:
    """Microseconds per event of (the kernel, the plain version)."""
    learner = loop.learner
    table = learner.replica.items.table
    n = 2000
    rows = table.index.find_many(event_batch(learner, 0, 0, loop.events(n)).item)
    who = loop.rng.integers(0, USERS, n)
    seeds = loop.rng.integers(1, 2**62, n).astype(np.uint64)
    seen_by, bound = view(learner.replica), learner.replica.items.bound

    def run() -> None:
        factor_events(
            learner.users.arrays, seen_by, learner._logs, who, rows, seeds, bound, learner._setup, learner._step,
            learner._work,
        )  # fmt: skip

    run()
    kernel_us = seconds(run) / n * 1e6
    stores, users = table.stores, learner.users.arrays
    plain = PlainFactors(
        loop.config, stores["q"].data, stores["q"].acc[:, 0], stores["b"].data[:, 0], stores["v"].data,
        stores["v"].acc[:, 0], users.vector, users.acc, seen_by.gates[0], seen_by.gates_acc[0],
    )  # fmt: skip
    histories = {int(u): table.index.find_many(learner.users.history(u)[0][:50].copy()).tolist() for u in who[:100]}

    def slow() -> None:
        for user, row in zip(who[:100].tolist(), rows[:100].tolist(), strict=True):
            negatives = loop.rng.integers(0, bound, loop.config.negatives).tolist()
            plain.step(user, row, 1.0, histories[user], 4, negatives)

    return kernel_us, seconds(slow, 3) / 100 * 1e6


def ranking(items: int, width: int, users: int) -> tuple[float, float]:
    """Milliseconds for the exact top 50 of many users: (blocked kernel, product and partition)."""
    rng = np.random.default_rng(0)
    q = rng.normal(size=(items, width)).astype(np.float32)
    z = rng.normal(size=(users, width)).astype(np.float32)
    b, keys = np.zeros(items, np.float32), np.ones(items, np.uint64)
    none = np.zeros(0, np.int64), np.zeros(users + 1, np.int64)

    def run() -> None:
        top_k(z, q, b, keys, [(0, items)], 50, none[1], none[0])

    def slow() -> None:
        scores = z @ q.T
        best = np.argpartition(-scores, 50, axis=1)[:, :50]
        np.take_along_axis(scores, best, 1).argsort(axis=1)

    run()
    return seconds(run, 5) * 1e3, seconds(slow, 5) * 1e3


def resident(rows: int, neighbours: int) -> tuple[float, float]:
    """Bytes per item row of a full table: (resident by the operating system, raw parameters)."""
    table = RowTable(CONFIG, "item", rows)
    process = psutil.Process()
    rng = np.random.default_rng(0)
    pairs = [store.block for store in table.stores.values() if store.block.kind == "pairs"]
    start = first = 0
    for first in range(0, rows, 1000):
        if first == 1000:
            start = process.memory_info().rss
        at, hashes = np.arange(first, first + 1000), rng.integers(1, 2**63, 1000).astype(np.uint64)
        keys = [f"item-{i:07d}" for i in at.tolist()]
        table.place(at, hashes, keys)
        deltas = DeltaSet(keys, hashes)
        entries = np.repeat(np.arange(1000, dtype=np.uint32), neighbours)
        for block in pairs:
            near = rng.integers(1, 2**63, len(entries)).astype(np.uint64)
            deltas.blocks[block.name] = DeltaBlock(
                entries, np.ones((len(entries), block.delta_width), np.float32), near
            )
        table.fold(deltas, at)
    table.tidy()
    used = (process.memory_info().rss - start) / (rows - 1000)
    raw = [sum(map(len, state.values())) for state in table.get(np.arange(0, rows, 100))]
    return used, float(np.mean(raw))


def main() -> None:
    """Print the table."""
    table = Table("what", "kernel", "plain", "ratio")

    def line(what: str, ours: str, plain: str = "", ratio: str = "") -> None:
        table.add_row(what, ours, plain, ratio)

    loop = Loop()
    ours, plain = factor_part(loop)
    line("factor step", f"{ours:.1f} µs = {1e6 / ours:,.0f} events/s", f"{plain:.0f} µs", f"{plain / ours:.0f}")
    for size in (1000, 100, 10):
        spent: dict[str, list[float]] = {}
        rows = []
        for _ in range(12):
            loop.exchange(loop.events(size))
            rows.append(loop.rows)
            for name, cpu in loop.spent.items():
                spent.setdefault(name, []).append(cpu)
        per_event = {name: min(cpu) / size * 1e6 for name, cpu in spent.items()}
        line(
            f"batch of {size}, µs per event",
            ", ".join(f"{name} {us:.1f}" for name, us in per_event.items()),
            f"{np.mean(rows) / size:.1f} rows an event",
        )
    ours, plain = ranking(100_000, 64, 100)
    line("exact top 50 of 100 users, 100,000 items, d = 64", f"{ours:.0f} ms", f"{plain:.0f} ms", f"{plain / ours:.1f}")
    items = loop.learner.replica.items.table
    at = np.flatnonzero(items.keys)
    payload = sum(len(raw) for state in items.get(at) for raw in state.values())
    line(
        "memory per item row",
        f"{items.nbytes() / len(at):.0f} bytes",
        f"{payload / len(at):.0f} raw",
        f"{items.nbytes() / payload:.2f}",
    )
    used, raw = resident(200_000, 20)
    line(
        "resident memory per item row, 20 neighbours a list", f"{used:.0f} bytes", f"{raw:.0f} raw", f"{used / raw:.2f}"
    )
    users = loop.learner.users
    total = sum(
        sum(map(len, users.dump(np.array([s]))[0].values())) + 8 * users.seen_count(s)
        for s in map(users.find, users.users())
    )
    line(
        "memory per user",
        f"{users.nbytes() / len(users):.0f} bytes",
        f"{total / len(users):.0f} raw",
        f"{users.nbytes() / total:.2f}",
    )
    small = Loop(replace(CONFIG, negatives=50))
    ours, _ = factor_part(small)
    line("factor step, 50 negatives", f"{ours:.1f} µs")
    Console().print(table)


if __name__ == "__main__":
    main()
