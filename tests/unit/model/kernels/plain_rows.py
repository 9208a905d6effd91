"""What a learner holds, as dictionaries of Python numbers: what the plain ranking reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.model.arena import Lists
from services.model.config import ModelConfig
from services.model.layout import BUCKETS, context_hash, feature_hash, system_hash
from services.model.learner import Learner
from services.model.table import RowTable

Vector = npt.NDArray[np.float64]
LOW_HALF = 0xFFFF_FFFF


@dataclass
class Counts:
    """Counts at several half-lives, valid at an anchor."""

    counts: list[float]
    anchor: float
    """Ticks of 128 s."""


@dataclass
class Neighbours:
    """A list of neighbours, and what the counts of all neighbours there ever were sum up to."""

    counts: dict[int, list[float]]
    """{item: [co-visits, to it, from it, strictly next, decayed co-visits, decayed to it]}"""
    sums: list[float]
    full: bool
    anchor: float = 0.0
    """The tick that the decayed counts are of."""


@dataclass
class PlainItem:
    """One item row."""

    popularity: Counts
    q: Vector
    b: float
    v: Vector
    near: Neighbours
    content: list[int]


@dataclass
class PlainUser:
    """One user row; the defaults are a user never seen."""

    vector: Vector
    history: list[tuple[int, int]]
    """(item, second), newest first."""
    categories: dict[int, float]
    seen: set[int]


@dataclass
class PlainRows:
    """All rows, by hash of the item, by feature, by bucket."""

    config: ModelConfig
    items: dict[int, PlainItem]
    features: dict[int, tuple[float, float]]
    """{content feature: (events, items) that have it}; 0 = all events with categories, all items."""
    contexts: dict[int, Neighbours]
    totals: Counts
    gates: list[float]
    w: Vector
    """float64[1 + BUCKETS, columns] shared, then by bucket."""
    w_acc: Vector
    pi: Vector
    """float64[1 + BUCKETS, experts]"""


def _entries(lists: Lists, row: int) -> tuple[list[int], Any]:
    at, n = int(lists.where[row]), int(lists.length[row])
    return lists.keys[at : at + n].tolist(), lists.values[at : at + n].tolist()


def _counts(row: npt.NDArray[np.float32]) -> Counts:
    return Counts(row[:-1].tolist(), float(row[-1]))


def _neighbours(table: RowTable, block: str, row: int) -> Neighbours:
    store = table.stores[block]
    assert store.lists is not None
    keys, values = _entries(store.lists, row)
    anchor, *sums = store.data[row].tolist()
    return Neighbours(dict(zip(keys, values, strict=True)), sums, len(keys) == store.block.limit, anchor)


def _positions(table: RowTable) -> list[int]:
    return [int(row) for row in np.flatnonzero(table.keys)]


def rows_of(learner: Learner) -> PlainRows:
    """A plain copy of the rows of a learner's replica."""
    replica = learner.replica
    items, features, system, contexts = (kind.table for kind in replica.tables)
    s, content = items.stores, items.stores["content"].lists
    assert content is not None
    at = [system.index.find(system_hash(i)) for i in range(1 + BUCKETS)]
    fn = features.stores["fn"].data
    return PlainRows(
        learner.config,
        {
            int(items.keys[row]): PlainItem(
                _counts(s["pop"].data[row]),
                s["q"].data[row].astype(np.float64),
                float(s["b"].data[row, 0]),
                s["v"].data[row].astype(np.float64),
                _neighbours(items, "near", row),
                _entries(content, row)[0],
            )
            for row in _positions(items)
        },
        {
            int(features.keys[row]) - feature_hash(0): (float(fn[row, 0]), float(fn[row, 1]))
            for row in _positions(features)
        },
        {
            int(contexts.keys[row]) - context_hash(0): _neighbours(contexts, "chosen", row)
            for row in _positions(contexts)
        },
        _counts(system.stores["totals"].data[at[0]]),
        system.stores["gates"].data[at[0]].tolist(),
        system.stores["w"].data[at].astype(np.float64),
        system.stores["w"].acc[at].astype(np.float64),
        system.stores["pi"].data[at].astype(np.float64),
    )


def user_of(learner: Learner, slot: int) -> PlainUser:
    """A plain copy of a user's row; of nobody's where the slot is -1."""
    if slot < 0:
        return PlainUser(np.zeros(learner.config.dim), [], {}, set())
    items, seconds = learner.users.history(slot)
    liked, counts = _entries(learner.users.arrays.categories, slot)
    return PlainUser(
        learner.users.arrays.vector[slot].astype(np.float64),
        list(zip(items.tolist(), seconds.tolist(), strict=True)),
        {category: count[0] for category, count in zip(liked, counts, strict=True)},
        set(learner.users.seen(slot).tolist()),
    )
