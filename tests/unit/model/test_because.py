from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.model.config import ModelConfig
from services.model.recommender import Recommender

CONFIG = ModelConfig(dim=8, history=6, history_kept=6)


def _recommender(history: list[int], seed: int, known: int) -> Any:
    rng = np.random.default_rng(seed)
    v1, q = rng.normal(size=(known, 8)).astype(np.float32), rng.normal(size=(known, 8)).astype(np.float32)

    def find_many(hashes: Any) -> Any:
        return np.where(hashes <= known, hashes.astype(np.int64) - 1, -1)

    table = SimpleNamespace(
        index=SimpleNamespace(find_many=find_many),
        stores={"v1": SimpleNamespace(data=v1), "q": SimpleNamespace(data=q)},
    )
    users = SimpleNamespace(history=lambda _slot: (np.array(history, np.uint64), np.zeros(len(history), np.uint32)))
    replica = SimpleNamespace(items=SimpleNamespace(table=table))
    return Recommender(CONFIG, replica, users)  # type: ignore[arg-type]  # stand-ins with what is called


def _plain(recommender: Any, row: int) -> list[int]:
    """One item at a time: the share of each earlier item, largest first, each item once."""
    items = recommender.users.history(0)[0].tolist()[: CONFIG.history]
    table = recommender.replica.items.table
    best: dict[int, float] = {}
    for age, item in enumerate(items):
        place = int(table.index.find_many(np.array([item], np.uint64))[0])
        if place >= 0:
            share = CONFIG.decay_short**age * float(table.stores["v1"].data[place] @ table.stores["q"].data[row])
            best[item] = max(share, best.get(item, 0.0))
    return [item for item in sorted(best, key=lambda each: -best[each]) if best[item] > 0][:2]


@given(st.lists(st.integers(1, 9), max_size=8), st.integers(0, 1000))
def test_reasons_are_the_largest_shares(history: list[int], seed: int) -> None:
    """Computed for all items of a list at once, the reasons are those that a plain loop gives."""
    recommender = _recommender(history, seed, known=7)
    rows = np.arange(7)
    found = recommender._because(0, rows)
    assert [earlier.tolist() for earlier in found] == [_plain(recommender, row) for row in rows.tolist()]


def test_no_items_no_reasons() -> None:
    """A list without items has no reasons, and a user without history gives none."""
    assert _recommender([1], 0, known=3)._because(0, np.zeros(0, np.int64)) == []
    assert [len(each) for each in _recommender([], 0, known=3)._because(0, np.arange(2))] == [0, 0]
