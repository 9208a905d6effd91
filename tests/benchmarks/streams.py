"""`python -m tests.benchmarks.streams [--seed N]`: the learner on made-up streams, beside its best expert.

Each stream has one regularity that one expert is made for, or several (the demo's shop). HR@10 and NDCG@10 of the
learner, of the best of its experts and of the best popularity, each chosen in hindsight and for either figure anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from services.cli.demo.shop import shop
from services.evaluation.metrics import figures
from services.evaluation.prequential import Simulation
from services.evaluation.report import expert_names
from services.evaluation.stream import Stream, stream
from services.model.config import ModelConfig

EVENTS = 40_000
NOW = 1_700_000_000_000
_SHOWN_ONLY = {"impression", "dislike", "hide"}


def _zipf(rng: np.random.Generator, n: int, size: int, power: float = 1.0) -> list[int]:
    p = np.arange(1, n + 1) ** -power
    return rng.choice(n, size, p=p / p.sum()).tolist()  # type: ignore[no-any-return]  # a list, as the size is given


def _made(users: list[int], items: list[int], gap_s: int, contexts: list[dict[str, str]] | None = None) -> Stream:
    rows = [(f"u{u}", f"i{i}", NOW + k * gap_s * 1000) for k, (u, i) in enumerate(zip(users, items, strict=True))]
    return stream(rows, [], contexts)


def a_shop(seed: int) -> Stream:
    """The demo's shop: themes, drifting tastes, companions, bursts, new items, repeat purchases."""
    catalogue, events = shop(seed, EVENTS, 1000, 3000)
    rows = [(e["user_id"], e["item_id"], e["event_time"]) for e in events if e["type"] not in _SHOWN_ONLY]
    return stream(rows, catalogue)


def chains(seed: int) -> Stream:
    """Half of the events follow the user's last item along one chain through all of them."""
    rng = np.random.default_rng(seed)
    after, at = rng.permutation(2000), rng.integers(0, 2000, 1500)
    users, jumps = rng.integers(0, 1500, EVENTS).tolist(), _zipf(rng, 2000, EVENTS)
    items = []
    for user, jump, walks in zip(users, jumps, (rng.random(EVENTS) < 0.5).tolist(), strict=True):
        at[user] = after[at[user]] if walks else jump
        items.append(int(at[user]))
    return _made(users, items, 40)


def clusters(seed: int) -> Stream:
    """Thirty groups of items, and users who take four fifths from their own."""
    rng = np.random.default_rng(seed)
    users = rng.integers(0, 2500, EVENTS).tolist()
    group, stays = rng.integers(0, 30, 2500), rng.random(EVENTS) < 0.8
    inside, other = _zipf(rng, 100, EVENTS, 0.7), rng.integers(0, 30, EVENTS)
    chosen = np.where(stays, group[users], other)
    return _made(users, (chosen * 100 + np.array(inside)).tolist(), 50)


def places(seed: int) -> Stream:
    """Users who go to a dozen places of their own again and again."""
    rng = np.random.default_rng(seed)
    own = [_zipf(rng, 5000, 12, 0.6) for _ in range(800)]
    users, elsewhere = rng.integers(0, 800, EVENTS).tolist(), _zipf(rng, 5000, EVENTS)
    which, home = np.minimum(rng.exponential(2.5, EVENTS), 11).astype(int).tolist(), (rng.random(EVENTS) < 0.8).tolist()
    items = [own[u][w] if h else e for u, w, h, e in zip(users, which, home, elsewhere, strict=True)]
    return _made(users, items, 60)


def popular(seed: int) -> Stream:
    """Nothing but popularity, always the same."""
    rng = np.random.default_rng(seed)
    return _made(rng.integers(0, 3000, EVENTS).tolist(), _zipf(rng, 2000, EVENTS), 20)


def turnover(seed: int) -> Stream:
    """Nothing but popularity, and other items every 2,000 events."""
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(3000) for _ in range(EVENTS // 2000)]
    items = [int(orders[k // 2000][i]) for k, i in enumerate(_zipf(rng, 3000, EVENTS, 1.2))]
    return _made(rng.integers(0, 3000, EVENTS).tolist(), items, 30)


def strangers(seed: int) -> Stream:
    """Users of one event each."""
    rng = np.random.default_rng(seed)
    return _made(list(range(EVENTS)), _zipf(rng, 1000, EVENTS, 0.9), 10)


def regions(seed: int) -> Stream:
    """Users of one event each, who choose what is popular in their region; the context says which."""
    rng = np.random.default_rng(seed)
    where, orders = rng.integers(0, 20, EVENTS).tolist(), [rng.permutation(1000) for _ in range(20)]
    items = [int(orders[region][rank]) for region, rank in zip(where, _zipf(rng, 1000, EVENTS, 0.9), strict=True)]
    return _made(list(range(EVENTS)), items, 10, [{"region": str(region)} for region in where])


STREAMS: tuple[tuple[Callable[[int], Stream], bool], ...] = (
    (a_shop, True), (a_shop, False), (chains, True), (clusters, True), (places, False), (popular, False),
    (turnover, True), (strangers, True), (regions, True),
)  # fmt: skip


def main(seed: Annotated[int, typer.Option()] = 1) -> None:
    """Print the table."""
    table = Table("stream", "seen items", "learner", "best expert", "best popularity", "which")
    for make, exclude_seen in STREAMS:
        config = ModelConfig(item_partitions=4, exclude_seen=exclude_seen, seed=seed)
        result = Simulation(make(seed), config, 1, 100).run()
        names = expert_names(config)[:-1]
        experts = {name: figures(result.experts[:, i]) for i, name in enumerate(names)}
        trends = {name: one for name, one in experts.items() if name.startswith("popularity")}

        def best(of: dict[str, dict[str, float]]) -> str:
            return " / ".join(f"{max(one[figure] for one in of.values()):.4f}" for figure in ("hr", "ndcg"))

        which = max(experts, key=lambda name: experts[name]["hr"])
        seen = "left out" if exclude_seen else "listed"
        table.add_row(make.__name__, seen, best({"": figures(result.rank)}), best(experts), best(trends), which)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
