"""The small kernels that others are made of, each against an obvious version."""

from __future__ import annotations

import math
import random
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model.arena import list_pool, lists_get, lists_set, pointers, valued_get, valued_set
from services.model.kernels.candidates import ALREADY, EXCLUDED, NEW, add, strongest
from services.model.kernels.cold import AGES, age_of
from services.model.kernels.factors import draw, logits, normaliser
from services.model.kernels.grouping import distinct_rows, grouped
from services.model.kernels.spot import spot, spot_clear, spot_find, spot_put
from services.model.kernels.touched import increment_of, increments, keep, take_back, touched
from services.model.kernels.vectors import log_all, log_columns
from services.model.seeds import init_rows, mix64, normal
from services.model.table import _clear_lists, _pairs_get, _pairs_set
from services.model.topk import excluded
from services.model.views import buffers, view
from tests.unit.model.kernels.ranking_worlds import CONFIG, still

SPREAD = 0x9E37_79B9_7F4A_7C15
WORD = 0xFFFF_FFFF_FFFF_FFFF


@given(
    st.lists(st.tuples(st.sampled_from(["put", "put", "put", "clear"]), st.integers(0, 12), st.integers(0, 99))),
    st.sampled_from([1, 0x1_0000_0000, SPREAD]),
)
def test_a_spot_is_a_dict(steps: list[tuple[str, int, int]], spread: int) -> None:
    """A spot is empty at first and after clearing, and keeps the first place that a key was given."""
    s, model = spot(13), dict[int, int]()
    for what, number, place in steps:
        key = number * spread & WORD
        if what == "clear":
            spot_clear(s)
            model.clear()
        else:
            assert spot_put(s, np.uint64(key), place) == model.setdefault(key, place)
        for each in range(14):
            key = each * spread & WORD
            assert spot_find(s, np.uint64(key)) == model.get(key, -1)


def test_a_new_spot_is_empty() -> None:
    """A spot that was never cleared holds nothing."""
    assert spot_find(spot(3), np.uint64(7)) == -1


@given(st.lists(st.integers(-2, 6), max_size=120) | st.lists(st.integers(-9, 999), max_size=120), st.integers(1, 12))
def test_the_strongest_are_the_first_of_the_sorted(values: list[int], k: int) -> None:
    """The largest positive values come largest first, of equals the first."""
    best, score = np.zeros(k + 1, np.int64), np.zeros(k + 1, np.float32)
    n = strongest(np.array([*values, 99], np.float32), len(values), k, best, score)
    expected = sorted((i for i, value in enumerate(values) if value > 0), key=lambda i: -values[i])[:k]
    assert best[:n].tolist() == expected
    assert score[:n].tolist() == [values[i] for i in expected]


@given(st.lists(st.integers(0, 9), max_size=30), st.sets(st.integers(0, 9)), st.integers(1, 8))
def test_candidates_are_a_list_without_repeats(rows: list[int], hidden: set[int], room: int) -> None:
    """A row becomes a candidate once, unless it is hidden or there is no room."""
    keys, cand = np.arange(100, 110, dtype=np.uint64), np.zeros(room, np.int64)
    seen, listed, model = spot(20), spot(20), list[int]()
    for row in hidden:
        spot_put(seen, keys[row], 0)
    for row in rows:
        n = len(model)
        outcome = add(keys, seen, listed, cand, row, n)
        if row in hidden or n == room:
            assert outcome == EXCLUDED
        elif row in model:
            assert outcome == ALREADY
        else:
            assert outcome == NEW
            model.append(row)
    assert cand[: len(model)].tolist() == model


@given(st.lists(st.integers(0, 5), max_size=20), st.integers(0, 5))
def test_rows_are_kept_as_they_were_first(rows: list[int], untouched: int) -> None:
    """A batch keeps each row as it was before its first change, in the order of the first changes; sums begin at 0.
    Taken back, the rows are as before, and the log holds nothing."""
    data, acc = np.arange(12, dtype=np.float32).reshape(6, 2), np.ones((6, 1), np.float32)
    begin = data.copy()
    log, sums, first, added = touched(6, 2, 1), increments(6, 2), dict[int, list[float]](), dict[int, float]()
    sums.values[:] = 7.0
    for step, row in enumerate(rows):
        keep(log, data, acc, row)
        first.setdefault(row, [*data[row].tolist(), acc[row, 0]])
        data[row] += 1 + step
        acc[row] *= 2
        sums.values[increment_of(sums, row)] += step
        added[row] = added.get(row, 0.0) + step
    n = len(first)
    assert log.n[0] == sums.n[0] == n
    assert log.rows[:n].tolist() == sums.rows[:n].tolist() == list(first)
    assert np.hstack([log.before[:n], log.before_acc[:n]]).tolist() == list(first.values())
    assert sums.values[:n].tolist() == [[total, total] for total in added.values()]
    assert bool(log.mark[untouched]) == (untouched in first)
    grown = [
        [*(data[row] - begin[row]).tolist(), acc[row, 0] - before[2], acc[row, 0]] for row, before in first.items()
    ]
    deltas = np.empty((n, 4), np.float32)
    take_back(log, data, acc, deltas)
    assert deltas.tolist() == grown
    assert (data == begin).all()
    assert (acc == 1).all()
    assert not log.n[0]
    assert not log.mark.any()


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 99)), max_size=40), st.randoms())
def test_entries_are_grouped_by_their_rows(entries: list[tuple[int, int]], order: random.Random) -> None:
    """Rows are noted once, and entries come in the order of their rows' ranks, those of a row in their own order."""
    at, rank, rows = np.array([row for row, _ in entries], np.int64), np.zeros(7, np.int32), np.empty(40, np.int64)
    rows = rows[: distinct_rows(at, rank, rows)]
    names = list(dict.fromkeys(at.tolist()))
    assert rows.tolist() == names
    assert rank[rows].tolist() == list(range(1, len(names) + 1))
    order.shuffle(names)
    rank[names] = np.arange(1, len(names) + 1)
    by, ranks, bounds = grouped(at, rank, len(names))
    expected = sorted(range(len(entries)), key=lambda i: names.index(entries[i][0]))
    assert by.tolist() == expected
    assert ranks.tolist() == [names.index(entries[i][0]) for i in expected]
    assert np.diff(bounds).tolist() == [sum(row == name for row, _ in entries) for name in names]


def plain_mix64(x: int) -> int:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014)."""
    x = (x ^ (x >> 30)) * 0xBF58_476D_1CE4_E5B9 & WORD
    x = (x ^ (x >> 27)) * 0x94D0_49BB_1331_11EB & WORD
    return x ^ (x >> 31)


def plain_normal(seed: int) -> float:
    """The sum of four uniforms, of which each has 16 bits of the seed's hash, with mean 0 and variance 1."""
    bits = plain_mix64(seed)
    uniforms = [((bits >> 16 * i & 0xFFFF) + 0.5) / 65536 for i in range(4)]
    return (sum(uniforms) - 2) * math.sqrt(3)


@given(st.integers(0, WORD))
def test_hashes_and_normal_numbers(seed: int) -> None:
    """The hash is splitmix64's to the bit, and a normal number the sum of four uniforms from it."""
    assert mix64(np.uint64(seed)) == plain_mix64(seed)
    assert normal(np.uint64(seed)) == pytest.approx(plain_normal(seed), rel=1e-6, abs=1e-6)


def test_the_hash_is_the_published_one() -> None:
    """The first numbers of splitmix64 from 0 are those of its reference implementation."""
    numbers = [int(mix64(np.uint64(n * SPREAD & WORD))) for n in (1, 2)]
    assert numbers == [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4]


@given(st.integers(0, WORD), st.integers(0, 1 << 40))
def test_rows_begin_at_numbers_of_their_hash(hash_: int, salt: int) -> None:
    """Initial values are normal numbers from the hash and the salt; without a scale, the start alone."""
    data = np.full((3, 4), 9, np.float32)
    init_rows(data, np.array([2, 0]), np.array([hash_, 5], np.uint64), salt, 0.1, 1.0)
    base = plain_mix64(hash_ ^ plain_mix64(salt))
    expected = [1 + 0.1 * plain_normal(base + j * SPREAD & WORD) for j in range(4)]
    np.testing.assert_allclose(data[2], expected, rtol=1e-6)
    assert (data[1] == 9).all()
    init_rows(data, np.array([1]), np.array([hash_], np.uint64), salt, 0.0, 0.5)
    assert (data[1] == 0.5).all()


@given(st.integers(0, WORD), st.lists(st.booleans(), min_size=1, max_size=20), st.integers(0, 19), st.integers(0, 30))
def test_draws_are_the_plain_ones(seed: int, filled: list[bool], positive: int, n: int) -> None:
    """Negatives are splitmix64's numbers from the event's seed, as positions below the bound, without holes."""
    keys, out = np.array(filled, np.uint64), np.zeros(n + 1, np.int64)
    m = draw(keys, len(keys), positive, np.uint64(seed), n, out)
    state, expected = plain_mix64(seed), [positive]
    for k in range(n):
        row = (plain_mix64(state + (k + 1) * SPREAD & WORD) >> 32) * len(keys) >> 32
        expected += [row] if filled[row] and row != positive else []
    assert out[:m].tolist() == expected


@pytest.mark.parametrize("drawn", [1, 2, 9])
def test_logits_and_the_normaliser(drawn: int) -> None:
    """A logit is b + z·Q, and the normaliser over all items is estimated from the mean over the negatives."""
    learner, _ = still(0, repeats=False)
    v, w, rng = view(learner.replica), buffers(CONFIG, 4), np.random.default_rng(drawn)
    rows = rng.choice(np.flatnonzero(v.keys[:90]), drawn, replace=False)
    w.z[0], w.negatives[:drawn] = rng.normal(size=8), rows
    expected = v.b[rows, 0].astype(np.float64) + v.q[rows].astype(np.float64) @ w.z[0]
    top = logits(v, w, drawn)
    np.testing.assert_allclose(w.logits[:drawn], expected, rtol=1e-5, atol=1e-6)
    assert top == w.logits[:drawn].max()
    total = np.log(50 * np.exp(expected[1:]).mean()) if drawn > 1 else expected[0]
    assert normaliser(w, drawn, top, 50.0) == pytest.approx(total, abs=1e-5)


def test_logarithms() -> None:
    """The logarithm is within two units of the last place, in place, for the columns and rows it is asked for."""
    x = np.geomspace(1e-9, 1e9, 1601).astype(np.float32)
    x = np.concatenate([x, np.linspace(0.5, 2.0, 1600, dtype=np.float32)])[:3200]
    found, expected = x.copy(), np.log(x.astype(np.float64))
    log_all(found, 3199)
    unit = np.spacing(np.abs(expected).astype(np.float32)) + 1e-9
    assert (np.abs(found - expected) <= 2 * unit)[:3199].all()
    assert found[3199] == x[3199]
    matrix = x.reshape(100, 32).copy()
    log_columns(matrix, 10, 90)
    assert (matrix[10:90, :16] == found.reshape(100, 32)[10:90, :16]).all()
    assert (matrix[:, 16:] == x.reshape(100, 32)[:, 16:]).all()
    assert (matrix[:10] == x.reshape(100, 32)[:10]).all()


def test_ages_fall_into_their_buckets() -> None:
    """Two years ahead and more, next year, this year, ... the oldest together; 0 where the year is unknown."""
    ends = [-2, -1, 0, 1, 2, 3, 5, 8, 12, 20, 30, 45, 60]
    for year in range(1900, 2030):
        older = sum(2024 - year > end for end in ends)
        assert age_of(year, 2024) == 1 + older
    assert age_of(0, 2024) == age_of(-3, 2024) == 0
    assert age_of(1900, 2024) == AGES - 1


@given(st.sets(st.integers(0, 20)), st.integers(0, 5), st.integers(0, 20))
def test_a_sorted_range_is_a_set(rows: set[int], skipped: int, row: int) -> None:
    """A row is found in a sorted range exactly where it is in it."""
    ordered = sorted(rows)
    start = min(skipped, len(ordered))
    assert excluded(np.array(ordered, np.int64), start, len(ordered), row) == (row in ordered[start:])


@given(st.lists(st.lists(st.integers(1, 99), max_size=9), min_size=1, max_size=5))
def test_lists_with_a_value(given_lists: list[list[int]]) -> None:
    """Lists with a value for each entry come back as they went in; of those past the limit the last entries stay."""
    pool, n = list_pool(6, 6, np.uint64, 1, np.uint32), len(given_lists)
    for lists in (given_lists, given_lists[::-1]):
        ptr = pointers([*map(len, lists)])
        keys = np.array([x for each in lists for x in each], np.uint64)
        valued_set(pool, np.arange(n), ptr, keys, keys.astype(np.uint32) * np.uint32(3))
        kept = [each[-6:] for each in lists]
        assert pool.length[:n].tolist() == list(map(len, kept))
        ptr = pointers([*map(len, kept)])
        out, values = np.zeros(int(ptr[-1]), np.uint64), np.zeros(int(ptr[-1]), np.uint32)
        valued_get(pool, np.arange(n), ptr, out, values)
        assert out.tolist() == [x for each in kept for x in each]
        assert values.tolist() == [3 * x for each in kept for x in each]


@given(st.lists(st.integers(0, 4), min_size=5, max_size=5), st.lists(st.integers(0, 4), max_size=6))
def test_cleared_lists_are_empty(lengths: list[int], cleared: list[int]) -> None:
    """Lists that are cleared, once or more often, are empty; the others stay as they were."""
    pool = list_pool(5, 4, np.uint32, 0)
    lists_set(pool, np.arange(5), pointers(lengths), np.arange(sum(lengths), dtype=np.uint32))
    _clear_lists(pool, np.array(cleared, np.int64))
    assert pool.length.tolist() == [0 if row in cleared else n for row, n in enumerate(lengths)]
    out, ptr = np.zeros(20, np.uint32), pointers(pool.length)
    lists_get(pool, np.arange(5), ptr, out)
    kept = [x for row in range(5) if row not in cleared for x in range(sum(lengths[:row]), sum(lengths[: row + 1]))]
    assert out[: ptr[-1]].tolist() == kept


neighbours = st.lists(st.tuples(st.integers(0, WORD), st.integers(-9, 9), st.integers(-9, 9)), max_size=4)


@given(st.lists(st.tuples(st.tuples(*[st.integers(0, 99)] * 3), neighbours), min_size=1, max_size=4))
def test_the_wire_form_of_pairs(rows: list[tuple[tuple[int, int, int], list[tuple[int, int, int]]]]) -> None:
    """A row of pairs travels as the anchor and the sums, then per entry the neighbour and its counts, little-endian."""
    parts = [struct.pack("<3f", *head) + b"".join(struct.pack("<Q2f", *e) for e in entries) for head, entries in rows]
    raw, n = b"".join(parts), len(rows)
    ptr = pointers([len(part) // 4 for part in parts])
    pool, data = list_pool(n, 4, np.uint64, 2), np.zeros((n, 3), np.float32)
    words = np.frombuffer(raw, np.uint32)
    for _ in range(2):
        _pairs_set(pool, data, np.arange(n), ptr, words, words.view(np.float32))
    for row, (head, entries) in enumerate(rows):
        at = pool.where[row]
        assert data[row].tolist() == list(head)
        held = [(int(pool.keys[i]), *pool.values[i].tolist()) for i in range(at, at + pool.length[row])]
        assert held == entries
    out = np.zeros(len(words), np.uint32)
    _pairs_get(pool, data, np.arange(n), ptr, out, out.view(np.float32))
    assert out.tobytes() == raw
