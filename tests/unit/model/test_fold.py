"""The fold rules, each against an obvious version."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model import fold
from services.model.arena import list_pool
from services.model.arrays import F32
from services.model.layout import TICK_S, Block

HALFLIVES = (3600.0, 86400.0, 0.0)
BLOCK = Block("c", "item", "decayed", 3, halflives_s=HALFLIVES)
BASE_TICK = 13_000_000

decayed = st.tuples(st.integers(0, 100), st.floats(0, 10, width=32))


def plain_decayed(parts: list[tuple[int, float]], anchor: int) -> list[float]:
    """Counts at an anchor, from (tick, count) parts, in float64."""
    return [sum(c * (2.0 ** (-(anchor - t) * TICK_S / h) if h else 1.0) for t, c in parts) for h in HALFLIVES]


@given(st.lists(decayed, min_size=1, max_size=20))
def test_decayed_counts_are_forward_decay(parts: list[tuple[int, float]]) -> None:
    """Folding counts of any anchors, in any order, gives the decayed sum at the newest anchor."""
    data = np.zeros((2, 4), np.float32)
    deltas = np.array([[c, c, c, BASE_TICK + t] for t, c in parts], np.float32)
    fold.fold_decayed(data, np.ones(len(parts), np.int64), deltas, fold.rates(BLOCK))
    newest = max(t for t, _ in parts)
    assert data[1, 3] == BASE_TICK + newest
    np.testing.assert_allclose(data[1, :3], plain_decayed(parts, newest), rtol=1e-4, atol=1e-6)
    assert not data[0].any()


def plain_adagrad(x: F32, a: float, delta: F32) -> tuple[F32, float]:
    """The rule as the architecture states it."""
    d = len(x)
    grown = np.float32(a + delta[d])
    scale = min(1.0, float(np.sqrt(delta[d + 1] / grown)))
    return x + np.float32(scale) * delta[:d], float(grown)


accumulators = st.floats(0.0625, 10, width=32)


@given(st.integers(0, 1000), accumulators, st.floats(0, 5, width=32), accumulators)
def test_adagrad_rescales(seed: int, a: float, growth: float, seen: float) -> None:
    """A delta is shrunk by sqrt(A_seen / (A + dA)), never enlarged, and accumulators add up."""
    rng = np.random.default_rng(seed)
    data, acc = rng.normal(size=(3, 8)).astype(np.float32), np.full((3, 1), a, np.float32)
    delta = np.concatenate([rng.normal(size=8), [growth, seen]]).astype(np.float32)
    expected, grown = plain_adagrad(data[2], a, delta)
    fold.fold_adagrad(data, acc, np.array([2, -1]), np.stack([delta, delta]))
    np.testing.assert_allclose(data[2], expected, rtol=1e-5, atol=1e-6)
    assert acc[2, 0] == np.float32(grown)


@given(st.integers(0, 1000))
def test_one_shard_is_folded_unscaled(seed: int) -> None:
    """When the owner has seen nothing else, the fold adds the difference as it is, to the bit."""
    rng = np.random.default_rng(seed)
    before, after = rng.normal(size=(2, 8)).astype(np.float32)
    a, grown = np.float32(rng.uniform(0.01, 3)), np.float32(rng.uniform(0, 3))
    delta = np.concatenate([after - before, [grown, a + grown]]).astype(np.float32)
    data, acc = before[None].copy(), np.array([[a]], np.float32)
    fold.fold_adagrad(data, acc, np.array([0]), delta[None])
    assert (data[0] == before + (after - before)).all()
    assert acc[0, 0] == a + grown


def test_groups_have_their_own_accumulators() -> None:
    """Each group of an adagrad block is rescaled by itself."""
    data, acc = np.zeros((1, 4), np.float32), np.array([[1.0, 4.0]], np.float32)
    delta = np.array([[1, 1, 1, 1, 3, 0, 1, 4]], np.float32)
    fold.fold_adagrad(data, acc, np.array([0]), delta)
    assert data[0].tolist() == [0.5, 0.5, 1.0, 1.0]
    assert acc[0].tolist() == [4.0, 4.0]


def test_sums_add() -> None:
    """A sum block adds, and skips rows that are not there."""
    data = np.ones((2, 2), np.float32)
    fold.fold_sum(data, np.array([1, -1, 1]), np.full((3, 2), 2, np.float32))
    assert data.tolist() == [[1, 1], [5, 5]]


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 50), st.floats(0.5, 4, width=32)), max_size=40))
def test_pairs_are_decayed_counts_by_neighbour(parts: list[tuple[int, int, float]]) -> None:
    """With room for all, a list holds every neighbour's decayed counts at the newest anchor."""
    pool, anchors = list_pool(1, 8, np.uint64, 3), np.zeros(1, np.float32)
    deltas = np.array([[c, c, c, BASE_TICK + t] for _, t, c in parts], np.float32).reshape(-1, 4)
    near = np.array([n for n, _, _ in parts], np.uint64)
    fold.fold_pairs(pool, anchors, np.zeros(len(parts), np.int64), near, deltas, fold.rates(BLOCK))
    found = {int(pool.keys[i]): pool.values[i] for i in range(pool.where[0], pool.where[0] + pool.length[0])}
    assert found.keys() == {n for n, _, _ in parts}
    newest = max((t for _, t, _ in parts), default=0)
    for n, counts in found.items():
        mine = [(t, c) for other, t, c in parts if other == n]
        np.testing.assert_allclose(counts, plain_decayed(mine, newest), rtol=1e-4, atol=1e-6)


PLAIN = Block("p", "item", "pairs", 1, halflives_s=(0.0,), limit=2)


def pairs_of(*increments: tuple[int, float]) -> dict[int, float]:
    """A list of two places after these increments."""
    pool, anchors = list_pool(1, 2, np.uint64, 1), np.zeros(1, np.float32)
    near = np.array([n for n, _ in increments], np.uint64)
    deltas = np.array([[c, BASE_TICK] for _, c in increments], np.float32)
    fold.fold_pairs(pool, anchors, np.zeros(len(near), np.int64), near, deltas, fold.rates(PLAIN))
    at = pool.where[0]
    return {int(pool.keys[i]): float(pool.values[i, 0]) for i in range(at, at + pool.length[0])}


@pytest.mark.parametrize(
    ("increments", "expected"),
    [
        (((1, 3.0), (2, 2.0), (3, 2.0)), {1: 3.0, 3: 2.0}),
        (((1, 3.0), (2, 2.0), (3, 1.0)), {1: 3.0, 2: 1.0}),
        (((1, 3.0), (2, 2.0), (3, 1.0), (3, 1.0)), {1: 3.0, 3: 1.0}),
    ],
    ids=["as strong replaces", "weaker weakens", "insistent gets in"],
)
def test_full_lists_give_way(increments: tuple[tuple[int, float], ...], expected: dict[int, float]) -> None:
    """A full list gives way at its weakest entry to a neighbour that is as strong or keeps coming."""
    assert pairs_of(*increments) == expected


def test_replace_sets_lists() -> None:
    """A replace delta sets the whole list, cut at the ceiling; other rows keep theirs."""
    pool = list_pool(3, 4, np.uint32, 0)
    rows = np.array([0, 0, 2, 2, 2, 2, 2, -1])
    fold.fold_replace(pool, rows, np.arange(8, dtype=np.uint32))
    fold.fold_replace(pool, np.array([0]), np.array([9], np.uint32))
    held = [pool.keys[pool.where[r] : pool.where[r] + pool.length[r]].tolist() for r in range(3)]
    assert held == [[9], [], [2, 3, 4, 5]]
