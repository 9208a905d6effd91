"""Arenas: the id index and the pools of lists, against a dict."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model import arena
from services.model.arena import (
    HashIndex,
    list_append,
    list_bytes,
    list_clear,
    list_pool,
    list_tidy,
    lists_get,
    lists_set,
    pointers,
    reserve,
    size_classes,
)

keys = st.integers(1, 40).map(lambda k: k * 0x1_0000_0001)


@given(st.lists(st.tuples(st.sampled_from(["insert", "remove"]), keys, st.integers(0, 1000)), max_size=200))
def test_index_is_a_dict(operations: list[tuple[str, int, int]]) -> None:
    """The index finds what a dict would, after any insertions and removals."""
    index, model = HashIndex(), dict[int, int]()
    for what, key, slot in operations:
        if what == "insert":
            index.insert(np.array([key], np.uint64), np.array([slot], np.int64))
            model[key] = slot
        else:
            # The key 41 is never there.
            gone = np.array([key, 41 * 0x1_0000_0001], np.uint64)
            assert index.remove(gone) == (model.pop(key, None) is not None)
    assert index.size == len(model)
    every = [k * 0x1_0000_0001 for k in range(1, 41)]
    expected = [model.get(key, -1) for key in every]
    assert [index.find(key) for key in every] == expected
    assert index.find_many(np.array(every, np.uint64)).tolist() == expected


def test_index_grows() -> None:
    """A hundred thousand keys are found after many doublings, at a fill of at most 0.7."""
    index = HashIndex()
    wanted = np.random.default_rng(0).integers(1, 2**63, 100_000).astype(np.uint64)
    for part in np.array_split(wanted, 100):
        index.insert(part, np.arange(len(part)))
    assert index.size <= 0.7 * len(index.keys)
    assert (index.find_many(wanted) >= 0).all()
    assert (index.find_many(wanted + np.uint64(1)) == -1).all()


@given(
    st.lists(
        st.tuples(st.sampled_from(["append", "clear", "set"]), st.integers(0, 4), st.integers(0, 12)), max_size=120
    )
)
def test_lists_are_lists(operations: list[tuple[str, int, int]]) -> None:
    """A pool of lists holds what lists of Python would, whatever moves between size classes."""
    pool, model = list_pool(5, 12, np.uint32, 1), [list[int]() for _ in range(5)]
    for what, row, value in operations:
        if what == "clear":
            list_clear(pool, row)
            model[row] = []
        elif what == "append" and len(model[row]) < 12:
            pool.values[list_append(pool, row, value), 0] = value
            model[row].append(value)
        elif what == "set":
            model[row] = list(range(value))
            lists_set(pool, np.array([row]), np.array([0, value]), np.arange(value, dtype=np.uint32))
            at = pool.where[row]
            pool.values[at : at + value, 0] = model[row]
    rows = np.arange(5)
    ptr = pointers(pool.length)
    out = np.zeros(int(ptr[-1]), np.uint32)
    lists_get(pool, rows, ptr, out)
    assert out.tolist() == [v for row in model for v in row]
    for row in range(5):
        at = pool.where[row]
        assert pool.values[at : at + pool.length[row], 0].tolist() == model[row]


def test_freed_places_are_used_again() -> None:
    """Filling and emptying lists over and over takes no more memory than the first time."""
    pool = list_pool(50, 20, np.uint64, 2)
    sizes = []
    for _ in range(5):
        for row in range(50):
            for value in range(1 + row % 20):
                list_append(pool, row, value)
        sizes.append(list_bytes(pool))
        for row in range(50):
            list_clear(pool, row)
    assert len(set(sizes)) == 1


@given(
    st.lists(st.tuples(st.sampled_from(["append", "clear", "tidy"]), st.integers(0, 9), st.integers(1, 9)), max_size=90)
)
def test_tidying_keeps_the_lists(operations: list[tuple[str, int, int]]) -> None:
    """Packing the pool changes where lists stand, never what they hold, and leaves no free places."""
    pool, model = list_pool(10, 30, np.uint32, 1), [list[int]() for _ in range(10)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arena, "_idle_entries", lambda _: 1)
        for what, row, n in operations:
            if what == "tidy":
                list_tidy(pool)
                assert pool.idle.sum() == 0
            elif what == "clear":
                list_clear(pool, row)
                model[row] = []
            else:
                for value in range(min(n, 30 - len(model[row]))):
                    pool.values[list_append(pool, row, value), 0] = value
                    model[row].append(value)
    for row in range(10):
        at = pool.where[row]
        assert pool.keys[at : at + pool.length[row]].tolist() == model[row]
        assert pool.values[at : at + pool.length[row], 0].tolist() == model[row]


@given(st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 1 << 16)), min_size=3, max_size=3))
def test_little_idle_memory_is_left_alone(places: list[tuple[int, int]]) -> None:
    """A pool is worth packing when a fifth of its entries is idle, and those are many."""
    pool = list_pool(1, 3, np.uint32, 0)
    pool.top[:], pool.idle[:] = [max(pair) for pair in places], [min(pair) for pair in places]
    total = sum(size * max(pair) for size, pair in zip((1, 2, 3), places, strict=True))
    idle = sum(size * min(pair) for size, pair in zip((1, 2, 3), places, strict=True))
    worth = idle > total / 5 and idle > 65536
    assert arena._idle_entries(pool) == (idle if worth else 0)


def test_growing_together_leaves_little_idle() -> None:
    """When all lists grow in step, what they leave behind in small classes is given back."""
    pool = list_pool(4000, 200, np.uint64, 1)
    for value in range(150):
        for row in range(4000):
            list_append(pool, row, value)
        list_tidy(pool)
    assert list_bytes(pool) <= 1.45 * 4000 * (150 * 12 + 13)


@pytest.mark.parametrize("limit", [1, 2, 7, 64, 4096])
def test_size_classes_waste_little(limit: int) -> None:
    """Classes end at the limit, and a list just past one class fills most of the next."""
    sizes = size_classes(limit)
    assert sizes[-1] == limit
    assert all(b <= max(a + 1, 1.3 * a) for a, b in pairwise(sizes))


def test_reserved_memory_is_zero_and_writable() -> None:
    """A reserved array reads as zeros, takes values, and may be empty."""
    array = reserve((1000, 1000), np.float32)
    assert array[999, 999] == 0.0
    array[999, 999] = 1.0
    assert array.sum() == 1.0
    assert reserve((0, 3), np.int8).shape == (0, 3)
