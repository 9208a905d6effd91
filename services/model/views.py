"""The replica's arrays as the kernels take them, and the settings and buffers that go with them."""

from __future__ import annotations

import numpy as np

from services.model.arena import reserve
from services.model.config import ModelConfig
from services.model.experts.content import rarities
from services.model.kernels.view import Setup, View, Work, work
from services.model.layout import BUCKETS, system_hash, system_key
from services.model.replica import Replica


def view(replica: Replica) -> View:
    """The arrays as they are now: the id index may move when rows are added, so make one per batch."""
    items, features, system = replica.items.table, replica.features.table, replica.system.table
    contexts = replica.contexts.table
    chosen = contexts.stores["chosen"]
    s = items.stores
    near, content = s["near"].lists, s["content"].lists
    if near is None or content is None or chosen.lists is None:
        raise TypeError("the blocks near, content and chosen are not lists")
    fn, pi, w, gates = features.stores["fn"], system.stores["pi"], system.stores["w"], system.stores["gates"]
    rarity = reserve((len(fn.data),), np.float32)
    for start, end in replica.features.segments():
        rarities(features.index.keys, features.index.slots, fn.data, start, end, rarity)
    rows = system.index.find_many(np.array([system_hash(i) for i in range(1 + BUCKETS)], np.uint64))
    return View(
        items.keys,
        items.index.keys,
        items.index.slots,
        s["pop"].data,
        s["pop"].rates,
        s["q"].data,
        s["q"].acc,
        s["b"].data,
        s["pop"].acc,
        s["v"].data,
        s["v"].acc,
        near,
        s["near"].data,
        s["near"].rates,
        content,
        features.index.keys,
        features.index.slots,
        fn.data,
        rarity,
        contexts.index.keys,
        contexts.index.slots,
        chosen.lists,
        chosen.data,
        system.stores["totals"].data,
        pi.data,
        w.data,
        w.acc,
        gates.data,
        gates.acc,
        rows,
        replica.trends.arrays,
    )


def create_system_rows(replica: Replica) -> None:
    """The system rows that no sweep has brought yet, with their initial values."""
    hashes = np.array([system_hash(i) for i in range(1 + BUCKETS)], np.uint64)
    missing = np.flatnonzero(replica.system.table.index.find_many(hashes) < 0)
    if len(missing):
        keys = [system_key(i) for i in missing.tolist()]
        replica.system.create(hashes[missing], keys, np.zeros(len(missing), np.int32))


def setup(config: ModelConfig, *, repeats: bool, top: int) -> Setup:
    """Settings of ranking.

    Args:
        config: the model's settings.
        repeats: whether the user's own items are candidates.
        top: items that each list offers.
    """
    return Setup(repeats, config.decay_short, config.decay_long, config.history, config.neighbours_read, top)


def buffers(config: ModelConfig, top: int, exclude: int = 0) -> Work:
    """Buffers for queries with lists of `top` items that exclude up to `exclude` items beside those seen."""
    return work(
        config.dim,
        config.history_kept,
        config.neighbours_read,
        config.max_neighbours,
        config.max_seen + exclude,
        top,
        config.negatives,
    )
