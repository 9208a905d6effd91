"""The lists of popular items say what the rows say, in whatever order the rows changed."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.model.config import ModelConfig
from services.model.layout import TICK_S
from services.model.table import RowTable
from services.model.trending import TrendLists

CONFIG = ModelConfig(item_partitions=1, dim=8, max_items=40)
LIMIT = 6
ROWS = 20
BASE_TICK = 13_000_000


def plain_key(row: list[float], j: int) -> float:
    """The count of half-life j, decayed to the beginning of time; its logarithm, as a float64 does not hold it."""
    halflife = CONFIG.halflives_s[j]
    return math.log2(row[j]) + row[-1] * (TICK_S / halflife if halflife else 0.0)


changes = st.lists(
    st.tuples(st.sampled_from(["count", "remove"]), st.integers(0, ROWS - 1), st.integers(0, 3000), st.integers(1, 9)),
    max_size=40,
)


@given(script=changes, together=st.integers(1, 5))
def test_lists_are_the_strongest_rows(script: list[tuple[str, int, int, int]], together: int) -> None:
    """After any changes, every list holds the strongest rows of its half-life, best first."""
    table = RowTable(CONFIG, "item", ROWS)
    lists = TrendLists(table, LIMIT)
    pop = table.stores["pop"]
    waiting: list[int] = []
    for number, (what, row, tick, count) in enumerate(script):
        if what == "remove":
            if table.keys[row]:
                lists.remove(np.array([row]))
                table.remove(np.array([row]))
                waiting = [each for each in waiting if each != row]
            continue
        if not table.keys[row]:
            table.place(np.array([row]), np.array([row * 7919 % 97 + 1], np.uint64), [f"item-{row}"])
        pop.data[row] = [count] * len(pop.rates) + [BASE_TICK + tick]
        waiting.append(row)
        if number % together == 0:
            lists.update(np.array(waiting, np.int64))
            waiting = []
    lists.update(np.array(waiting, np.int64))
    lists.refresh([(0, ROWS)])
    used = np.flatnonzero(table.keys)
    for j in range(len(pop.rates)):
        keys = np.array([plain_key(pop.data[row].tolist(), j) for row in used.tolist()])
        order = np.lexsort((table.keys[used], -keys))[:LIMIT]
        n = int(lists.arrays.n[j])
        assert lists.arrays.rows[j, :n].tolist() == used[order].tolist()


def test_a_row_that_moves_keeps_its_place() -> None:
    """A row that gets another position is listed there."""
    table = RowTable(CONFIG, "item", ROWS)
    lists = TrendLists(table, LIMIT)
    table.place(np.array([3]), np.array([5], np.uint64), ["item"])
    table.stores["pop"].data[3] = [1.0] * 5 + [BASE_TICK]
    lists.update(np.array([3, -1]))
    lists.rename(np.array([3]), np.array([8]))
    assert lists.arrays.rows[:, 0].tolist() == [8] * 5
