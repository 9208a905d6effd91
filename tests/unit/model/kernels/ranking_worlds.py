"""Worlds and queries of every kind, and the ranking kernels in the order in which serving calls them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from services.contracts.keys import (
    KIND_CATEGORY,
    KIND_CATEGORY_SET,
    KIND_DECADE,
    KIND_TITLE_TOKEN,
    KIND_YEAR,
    feature,
)
from services.model.config import ModelConfig
from services.model.experts import context
from services.model.kernels import ranking
from services.model.kernels.query import query
from services.model.kernels.spot import spot_put
from services.model.kernels.view import View, Work
from services.model.learner import Learner
from services.model.views import create_system_rows, setup
from tests.unit.model.kernels.plain_experts import Ask
from tests.unit.model.kernels.plain_rows import user_of
from tests.unit.model.simulation import Event, World, item_hash

CONFIG = ModelConfig(
    item_partitions=2,
    dim=8,
    history=24,
    history_kept=40,
    pair_halflife_s=6 * 3600.0,
    negatives=20,
    neighbours_read=6,
    max_neighbours=12,
    max_items=200,
    max_features=400,
    max_contexts=100,
    max_users=100,
    list_length=4,
)
NOW_S = 1_700_000_000
ITEMS, USERS, EVENTS = 45, 24, 500
UNKNOWN = 77
"""A context feature that no event has."""


def content(item: int) -> list[int]:
    """Content of every kind: up to three categories, a year or none, up to four words; nothing for every ninth item."""
    rng = np.random.default_rng(item)
    if item % 9 == 0:
        return []
    out = [feature(KIND_CATEGORY, 10 + int(c)) for c in rng.choice(7, rng.integers(4), replace=False)]
    out.append(feature(KIND_CATEGORY_SET, item))
    if item % 4:
        out += [feature(KIND_YEAR, 1900 + int(rng.integers(120))), feature(KIND_DECADE, 1990)]
    return out + [feature(KIND_TITLE_TOKEN, int(word)) for word in rng.choice(12, rng.integers(5), replace=False)]


def events_of(rng: np.random.Generator, n: int, start_s: int) -> list[Event]:
    """Events of few busy users and many others, in sessions, with contexts, repeats and dislikes."""
    out, second, user = [], start_s, 0
    for _ in range(n):
        if rng.random() < 0.3:
            user = int(USERS * rng.random() ** 2.5)
        second += int(rng.choice([2, 40, 400, 2400, 5000], p=[0.4, 0.25, 0.15, 0.12, 0.08]))
        weight = -1.0 if rng.random() < 0.1 else float(rng.uniform(0.5, 2.0))
        around = tuple(sorted({int(c) for c in rng.integers(5, size=2)}))
        out.append(Event(user, int(ITEMS * rng.random() ** 1.7), second * 1000 + 500, weight, around))
    return out


@lru_cache(maxsize=8)
def still(seed: int, *, repeats: bool, config: ModelConfig = CONFIG) -> tuple[Learner, int]:
    """As `make`, for tests that leave the learner as it is: one for all of them."""
    world, now = make(seed, repeats=repeats, config=config)
    return world.shards[0].learner, now


def make(seed: int, *, repeats: bool, config: ModelConfig = CONFIG) -> tuple[World, int]:
    """(a world of one shard whose parameters are moved far from where they begin, the second of its last event)."""
    rng = np.random.default_rng(seed)
    world = World(replace(config, exclude_seen=not repeats), 1, content)
    events = events_of(rng, EVENTS, NOW_S)
    # Of the last two users one has taken nothing, but disliked something, and one has a single event.
    events += [Event(USERS, 3, events[-1].t_ms, -1.0), Event(USERS + 1, 5, events[-1].t_ms)]
    for start in range(0, len(events), 60):
        world.learn(0, events[start : start + 60])
        world.settle()
    learner = world.shards[0].learner
    items, system = learner.replica.items.table, learner.replica.system.table
    create_system_rows(learner.replica)

    def move(table: Any, block: str, values: npt.NDArray[np.float64]) -> None:
        rows = np.flatnonzero(table.keys)
        table.stores[block].data[rows] = values[: len(rows)]

    for block, width in (("q", 8), ("v", 8), ("b", 1)):
        move(items, block, rng.normal(0, 0.6, (300, width)))
    move(system, "w", rng.normal(0, 0.2, (64, 28)))
    move(system, "gates", rng.normal(1, 0.3, (64, 10)))
    move(system, "pi", rng.uniform(0.1, 80, (64, 12)))
    return world, events[-1].t_ms // 1000


def asks(learner: Learner, seed: int, now: int, *, repeats: bool) -> list[tuple[int, Ask]]:
    """(slot, query) of users of every kind, the stranger among them, soon after the last event or days later."""
    rng = np.random.default_rng(seed)
    known = [learner.users.find(b"user-0-%d" % u) for u in range(USERS + 2)]
    out = []
    for slot in [-1, -1, known[-2], known[-1], known[0], *rng.choice([s for s in known if s >= 0], 4).tolist()]:
        around = [*rng.choice(5, 2, replace=False).tolist(), UNKNOWN][: int(rng.integers(4))]
        user, second = user_of(learner, int(slot)), now + int(rng.choice([5, 90, 7000, 150_000]))
        hidden = {item_hash(int(i)) for i in rng.integers(ITEMS, size=3)} - user.seen
        out.append((int(slot), Ask(user, second, repeats, around, hidden)))
    return out


def gather(learner: Learner, v: View, w: Work, slot: int, ask: Ask, top: int, norm: float) -> tuple[int, int]:
    """(bucket, candidates): the kernels in the order in which serving calls them."""
    settings, users = setup(learner.config, repeats=ask.repeats, top=top), learner.users.arrays
    found, bucket, _ = query(v, users, settings, slot, ask.second, w)
    ranking.exclude(users, settings, slot, w)
    for item in ask.hidden:
        spot_put(w.seen, np.uint64(item), 0)
    w.facts[0] = norm
    context.prepare(v, np.array(ask.context, np.uint32), 0, len(ask.context), found, w)
    touched, own = ranking.gather(v, settings, slot, ask.second, found, w)
    return bucket, ranking.candidates(v, settings, touched, own, w)


def differing(names: tuple[str, ...], got: Any, expected: Any, rtol: float, atol: float) -> dict[str, float]:
    """The columns that differ, by name, and the largest difference in each."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    wrong = ~np.isclose(got, expected, rtol=rtol, atol=atol)
    return {name: float(np.abs(got - expected)[:, i].max()) for i, name in enumerate(names) if wrong[:, i].any()}
