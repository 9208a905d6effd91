"""What the kernels of one batch see: the replica's arrays, the settings, and the buffers of one query."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from services.model.arena import Lists
from services.model.arrays import F32, F64, I32, I64, U32, U64
from services.model.kernels.spot import Spot, spot
from services.model.kernels.trends import Trends

CHANNELS = 10
"""Neighbour sums of one item, see experts/neighbours.py."""
CONTEXTS = 18
"""Context features of a query that are looked at."""
OWN = 6
"""Sums over a user's own events of one item, see experts/own_history.py."""
MIX = 12
"""Experts in the mixture, see experts/__init__.py."""
MEMO = 64
"""Room for the answers about categories that are kept for one query, see experts/content.py; a power of 2."""
FEATURE_WIDTH, SHARE_WIDTH = 32, 16
"""Columns of the features and of the shares in memory: rows of whole lanes, the rest is zero."""


class View(NamedTuple):
    """The rows of a replica, by position."""

    keys: U64
    """uint64[room] hash of the item row at a position, 0 = hole."""
    index_keys: U64
    index_slots: I32
    pop: F32
    """float32[room, m + 1]"""
    rate: F64
    """float64[m] halvings per tick."""
    q: F32
    q_acc: F32
    b: F32
    no_acc: F32
    """float32[room, 0] the accumulators of blocks that have none."""
    v: F32
    v_acc: F32
    near: Lists
    sums: F32
    """float32[room, 1 + 6] anchor and sums of the neighbour counts."""
    near_rate: F64
    content: Lists
    feature_keys: U64
    feature_slots: I32
    feature_n: F32
    """float32[rows, 2] events and items that have a feature."""
    feature_rarity: F32
    """float32[rows] inverse document frequency of a feature: log((items + 1) / (items that have it + 1))."""
    context_keys: U64
    context_slots: I32
    context: Lists
    context_sums: F32
    """float32[rows, 1 + 6] anchor and sums of what was chosen in a context."""
    totals: F32
    """float32[64, m + 1], of which the shared row counts."""
    pi: F32
    w: F32
    w_acc: F32
    gates: F32
    gates_acc: F32
    system: I64
    """int64[1 + BUCKETS] positions of the system rows: shared, then by bucket."""
    trends: Trends


class Setup(NamedTuple):
    """Settings of ranking."""

    repeats: bool
    """Whether the user's own items are candidates."""
    gamma: float
    gamma_long: float
    history: int
    """Newest items in the factors' history sums."""
    near: int
    """Newest history items whose neighbours are looked at."""
    top: int
    """Items that each list offers."""


class Work(NamedTuple):
    """Buffers of one query."""

    z: F32
    """float32[1, d] P_u + a1·h1 + a2·h2"""
    h1: F32
    h2: F32
    gradient: F32
    rows: I64
    """int64[kept] positions of the user's items, newest first, -1 where the replica has none; those
    that no expert reads are not looked up."""
    hashes: U64
    """uint64[kept]"""
    seconds: I64
    """int64[kept] event times, s."""
    coefficient1: F32
    """float32[history] weight of each row in h1 and in h2."""
    coefficient2: F32
    seen: Spot
    near: Spot
    near_hash: U64
    near_sum: F32
    """float32[touched, CHANNELS]"""
    near_row: I64
    own: Spot
    own_hash: U64
    own_sum: F32
    contexts: I64
    """int64[CONTEXTS] rows of the query's context features."""
    around: Spot
    around_row: I64
    around_count: F32
    """float32[named, CONTEXTS] how often each item that they name was chosen in each."""
    words: Spot
    word_weight: F32
    asked: U32
    """uint32[MEMO] categories whose answers are kept for the query, and float32[MEMO] these: see experts/content.py."""
    answer: F32
    listed: Spot
    place: I64
    """int64[candidates] where a candidate stands in near_sum, -1 = nowhere."""
    cand: I64
    """int64[candidates] positions."""
    features: F32
    """float32[candidates, FEATURE_WIDTH]"""
    shares: F32
    """float32[candidates, SHARE_WIDTH] the experts' probabilities."""
    weights: F32
    """float32[1, FEATURE_WIDTH] the log-linear weights of the query's bucket."""
    prior: F32
    """float32[1, SHARE_WIDTH] the mixture weights of the query's bucket."""
    scores: F32
    best: I64
    best_score: F32
    values: F32
    facts: F64
    """float64[16]: 0 log of the factors' normaliser, 2 tick of the 3-7 popularity totals, 8 mean year of
    the user's items and 9 whether there is one, 10 the user's decayed events, 11 items, 12 words of the
    user's items, 13 events of everybody, 14 context features and 15 items that they name."""
    slope: F32
    """float32[1, FEATURE_WIDTH]"""
    negatives: I64
    logits: F32
    order: I64
    """int64[top + 1] ordinals of the best candidates, best first."""
    because: F32
    """float32[top + 1, near] how much each history item speaks for each listed one."""
    lane: F32
    """float32[2, 8]"""
    categories: U32
    """uint32[64] an event's categories."""
    one: F32
    """float32[16] one event as decayed counts."""


def work(dim: int, history: int, near: int, neighbours: int, seen: int, top: int, negatives: int) -> Work:
    """Buffers for queries of that size.

    Args:
        dim: width of the vectors.
        history: items of a user that are looked at, the own history included.
        near: of these, items whose neighbours are looked at.
        neighbours: ceiling of a neighbour list.
        seen: ceiling of the set of items seen.
        top: items that each list offers.
        negatives: draws of a softmax step.
    """
    touched = near * neighbours + 1
    candidates = 16 * top + 16
    f32 = np.float32
    return Work(
        np.zeros((1, dim), f32),
        np.zeros((1, dim), f32),
        np.zeros((1, dim), f32),
        np.zeros((1, dim), f32),
        np.zeros(history, np.int64),
        np.zeros(history, np.uint64),
        np.zeros(history, np.int64),
        np.zeros(history, f32),
        np.zeros(history, f32),
        spot(seen + 1),
        spot(touched),
        np.zeros(touched, np.uint64),
        np.zeros((touched, CHANNELS), f32),
        np.zeros(touched, np.int64),
        spot(history + 1),
        np.zeros(history + 1, np.uint64),
        np.zeros((history + 1, OWN), f32),
        np.zeros(CONTEXTS, np.int64),
        spot(CONTEXTS * neighbours),
        np.zeros(CONTEXTS * neighbours, np.int64),
        np.zeros((CONTEXTS * neighbours, CONTEXTS), f32),
        spot(64 * 20),
        np.zeros(64 * 20, f32),
        np.zeros(MEMO, np.uint32),
        np.zeros(MEMO, f32),
        spot(candidates),
        np.zeros(candidates, np.int64),
        np.zeros(candidates, np.int64),
        np.zeros((candidates, FEATURE_WIDTH), f32),
        np.zeros((candidates, SHARE_WIDTH), f32),
        np.zeros((1, FEATURE_WIDTH), f32),
        np.zeros((1, SHARE_WIDTH), f32),
        np.zeros(candidates, f32),
        np.zeros(top + 1, np.int64),
        np.zeros(top + 1, f32),
        np.zeros(max(touched, CONTEXTS * neighbours, history + 1, candidates), f32),
        np.zeros(16, np.float64),
        np.zeros((1, FEATURE_WIDTH), f32),
        np.zeros(negatives + 1, np.int64),
        np.zeros(negatives + 1, f32),
        np.zeros(top + 1, np.int64),
        np.zeros((top + 1, max(near, 1)), f32),
        np.zeros((2, 8), f32),
        np.zeros(64, np.uint32),
        np.zeros(16, f32),
    )


__all__ = ["CHANNELS", "CONTEXTS", "FEATURE_WIDTH", "MIX", "OWN", "SHARE_WIDTH", "U32", "Setup", "View", "Work", "work"]
