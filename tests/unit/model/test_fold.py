"""The fold rules, each against an obvious version."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.model import fold
from services.model.arena import Lists, list_pool
from services.model.arrays import F32
from services.model.kernels.halves import from_halves, to_halves
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


def plain_adagrad(x: F32, a: float, delta: F32, crowding: float) -> tuple[F32, float]:
    """The rule as the architecture states it."""
    d = len(x)
    grown = np.float32(a + delta[d])
    seen, growth = float(delta[d + 1]), float(delta[d])
    scale = 1.0
    if seen < grown:
        start = max(seen - growth, 0.0)
        scale = min(1.0, float((np.sqrt(seen) + np.sqrt(start)) / (np.sqrt(float(grown)) + np.sqrt(a))))
        scale /= 1.0 + crowding * (float(grown) - seen) / np.sqrt(float(grown))
    return x + np.float32(scale) * delta[:d], float(grown)


accumulators = st.floats(0.0625, 10, width=32)


@given(st.integers(0, 1000), accumulators, st.floats(0, 5, width=32), accumulators, st.sampled_from([0.0, 1.0]))
def test_adagrad_rescales(seed: int, a: float, growth: float, seen: float, crowding: float) -> None:
    """A delta is shrunk to what Adagrad moves from the owner's accumulator on, and accumulators add up."""
    rng = np.random.default_rng(seed)
    data, acc = rng.normal(size=(3, 8)).astype(np.float32), np.full((3, 1), a, np.float32)
    delta = np.concatenate([rng.normal(size=8), [growth, seen]]).astype(np.float32)
    expected, grown = plain_adagrad(data[2], a, delta, crowding)
    fold.fold_adagrad(data, acc, np.array([2, -1]), np.stack([delta, delta]), crowding)
    np.testing.assert_allclose(data[2], expected, rtol=1e-5, atol=1e-6)
    assert acc[2, 0] == np.float32(grown)


@given(st.integers(0, 1000), st.sampled_from([0.0, 1.0]))
def test_one_shard_is_folded_unscaled(seed: int, crowding: float) -> None:
    """When the owner has seen nothing else, the fold adds the difference as it is, to the bit."""
    rng = np.random.default_rng(seed)
    before, after = rng.normal(size=(2, 8)).astype(np.float32)
    a, grown = np.float32(rng.uniform(0.01, 3)), np.float32(rng.uniform(0, 3))
    delta = np.concatenate([after - before, [grown, a + grown]]).astype(np.float32)
    data, acc = before[None].copy(), np.array([[a]], np.float32)
    fold.fold_adagrad(data, acc, np.array([0]), delta[None], crowding)
    assert (data[0] == before + (after - before)).all()
    assert acc[0, 0] == a + grown


def test_shards_that_push_alike_end_where_one_would() -> None:
    """Eight shards of equal gradients, folded one after the other, move a row as one shard with all of them does."""
    start, growth, rate, shards = 1.0, 10.0, 0.1, 8

    def moved(total: float) -> float:
        return float(rate * 2 * (np.sqrt(start + total) - np.sqrt(start)))

    delta = np.array([[moved(growth), growth, start + growth]], np.float32)
    data, acc = np.zeros((1, 1), np.float32), np.full((1, 1), start, np.float32)
    for _ in range(shards):
        fold.fold_adagrad(data, acc, np.array([0]), delta, 0.0)
    np.testing.assert_allclose(data[0, 0], moved(shards * growth), rtol=1e-5)


def test_shards_that_near_an_optimum_do_not_pass_it_together() -> None:
    """Eight shards that each went from 0 to 0.9 of the way to an optimum leave a crowded row close to it."""
    moved = {}
    for crowding in (0.0, 1.0):
        data, acc = np.zeros((1, 1), np.float32), np.full((1, 1), 400, np.float32)
        for _ in range(8):
            fold.fold_adagrad(data, acc, np.array([0]), np.array([[0.9, 100, 500]], np.float32), crowding)
        moved[crowding] = float(data[0, 0])
    assert moved[0.0] > 5
    assert 0.9 < moved[1.0] < 1.6


def test_groups_have_their_own_accumulators() -> None:
    """Each group of an adagrad block is rescaled by itself."""
    data, acc = np.zeros((1, 4), np.float32), np.array([[1.0, 4.0]], np.float32)
    delta = np.array([[1, 1, 1, 1, 3, 0, 1, 4]], np.float32)
    fold.fold_adagrad(data, acc, np.array([0]), delta, 0.0)
    np.testing.assert_allclose(data[0], [1 / 3, 1 / 3, 1, 1], rtol=1e-6)
    assert acc[0].tolist() == [4.0, 4.0]


@given(
    st.lists(st.tuples(st.integers(-1, 2), st.integers(-3, 40), st.integers(0, 40)), max_size=20),
    st.sampled_from([0.0, 50.0]),
)
def test_sums_add(deltas: list[tuple[int, int, int]], cap: float) -> None:
    """A sum block adds, scales a row that passes its cap back to it at once, and skips rows that are not there."""
    data, rows = np.ones((3, 2), np.float32), [[1.0, 1.0] for _ in range(3)]
    for row, a, b in deltas:
        if row >= 0:
            added = [rows[row][0] + a, rows[row][1] + b]
            rows[row] = [x * min(1.0, cap / sum(added)) for x in added] if cap and sum(added) > 0 else added
    values = np.array([[a, b] for _, a, b in deltas], np.float32).reshape(-1, 2)
    fold.fold_sum(data, np.array([row for row, _, _ in deltas], np.int64), values, cap)
    np.testing.assert_allclose(data, rows, rtol=1e-4, atol=1e-4)


def test_sums_stay_below_their_cap() -> None:
    """A row whose sum passes the cap is scaled back to it, keeping its proportions."""
    data = np.ones((1, 2), np.float32)
    fold.fold_sum(data, np.array([0]), np.array([[2, 11]], np.float32), 10.0)
    np.testing.assert_allclose(data, [[2, 8]])


@given(st.lists(st.floats(width=32), min_size=3, max_size=30))
def test_halves_are_those_of_numpy(numbers: list[float]) -> None:
    """Numbers of every size become the halves that numpy makes of them, and every half the number that it is."""
    values = np.array([*numbers, 65519.9, 65520.0, 2.0**-24, 2.0**-25, 3 * 2.0**-26, -(2.0**-14)], np.float32)[None]
    halves = np.empty(values.shape, np.uint16)
    to_halves(values, values.shape[1], halves)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(halves.view(np.float16), values.astype(np.float16))
    every = np.arange(1 << 16, dtype=np.uint16)[None]
    floats = np.empty(every.shape, np.uint32)
    from_halves(every, every.shape[1], floats)
    assert (floats == every.view(np.float16).astype(np.float32).view(np.uint32)).all()


HALFLIFE_TICKS = 20.0
NEAR = Block("p", "item", "pairs", 6, halflives_s=(0.0, 0.0, 0.0, 0.0, 128 * HALFLIFE_TICKS, 128 * HALFLIFE_TICKS))


def counted_pairs(limit: int, parts: list[tuple[int, int, float, int]]) -> tuple[Lists, F32]:
    """A list of one row after (neighbour, tick, weight, place) events, and its anchor and sums."""
    pool, data = list_pool(1, limit, np.uint64, 6), np.zeros((1, 7), np.float32)
    near = np.array([n for n, _, _, _ in parts], np.uint64)
    weights = np.array([w for _, _, w, _ in parts], np.float32)
    codes = np.array([fold.pair_code(place, BASE_TICK + t) for _, t, _, place in parts], np.uint32)
    fold.fold_pairs(pool, data, np.zeros(len(parts), np.int64), near, weights, codes, fold.rates(NEAR))
    return pool, data


def plain_pair(parts: list[tuple[int, int, float, int]], anchor: float) -> F32:
    """The six counts of some events, as of the anchor."""
    counts = np.zeros(6, np.float64)
    for _, t, weight, place in parts:
        k = place % fold.REVERSE
        step = weight / (1 + k) if k < fold.TRANSITIONS else 0.0
        grown = 2 ** ((BASE_TICK + t - anchor) / HALFLIFE_TICKS)
        if place < fold.REVERSE:
            counts += [weight, step, 0, weight * (k == 0), weight * grown, step * grown]
        else:
            counts += [weight, 0, step, 0, weight * grown, 0]
    return counts.astype(np.float32)


PLACES = st.one_of(st.integers(0, 9), st.integers(fold.REVERSE, fold.REVERSE + 9))


@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(0, 500), st.floats(0.5, 4, width=32), PLACES), min_size=1, max_size=40
    )
)
def test_pairs_are_counts_by_neighbour(parts: list[tuple[int, int, float, int]]) -> None:
    """With room for all, a list holds every neighbour's counts, and the row their sums, as of its anchor."""
    pool, data = counted_pairs(8, parts)
    anchor = float(data[0, 0])
    found = {int(pool.keys[i]): pool.values[i] for i in range(pool.where[0], pool.where[0] + pool.length[0])}
    assert found.keys() == {n for n, _, _, _ in parts}
    for n, counts in found.items():
        mine = [part for part in parts if part[0] == n]
        np.testing.assert_allclose(counts, plain_pair(mine, anchor), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(data[0, 1:], plain_pair(parts, anchor), rtol=1e-3, atol=1e-5)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40), st.sampled_from([0.5, 1e-9]))
def test_the_weakest_entry_is_the_first_of_the_lowest(counts: list[tuple[int, int]], shrunk: float) -> None:
    """The entry that gives way has the lowest plain and decayed count together, and is the first of equals."""
    values = np.zeros((len(counts), 6), np.float32)
    values[:, 0], values[:, 4] = np.array(counts).T
    strengths = values[:, 0] + values[:, 4] * np.float32(shrunk)
    assert fold._weakest(values, np.float32(shrunk)) == np.argmin(strengths)


def test_full_lists_give_way() -> None:
    """A full list gives way at its weakest entry, counting recent events double; the sums keep all."""
    pool, data = counted_pairs(2, [(1, 0, 1.0, 0), (1, 0, 1.0, 0), (2, 1, 1.0, 1), (3, 50, 1.0, 0)])
    at = pool.where[0]
    assert set(pool.keys[at : at + 2].tolist()) == {1, 3}
    assert data[0, 1] == 4.0


@given(st.lists(st.tuples(st.integers(-1, 2), st.lists(st.integers(1, 99), min_size=1, max_size=7)), max_size=12))
def test_the_last_list_stays(deltas: list[tuple[int, list[int]]]) -> None:
    """Whatever was there before, a row holds the last list that a delta brought, cut at the ceiling."""
    pool, model = list_pool(3, 4, np.uint32, 0), dict[int, list[int]]()
    for row, words in deltas:
        fold.fold_replace(pool, np.full(len(words), row), np.array(words, np.uint32))
        model[row] = words[:4]
    for row in range(3):
        at = pool.where[row]
        assert pool.keys[at : at + pool.length[row]].tolist() == model.get(row, [])


def test_replace_sets_lists() -> None:
    """A replace delta sets the whole list, cut at the ceiling; other rows keep theirs."""
    pool = list_pool(3, 4, np.uint32, 0)
    rows = np.array([0, 0, 2, 2, 2, 2, 2, -1])
    fold.fold_replace(pool, rows, np.arange(8, dtype=np.uint32))
    fold.fold_replace(pool, np.array([0]), np.array([9], np.uint32))
    held = [pool.keys[pool.where[r] : pool.where[r] + pool.length[r]].tolist() for r in range(3)]
    assert held == [[9], [], [2, 3, 4, 5]]
