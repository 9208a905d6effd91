"""Rows in arenas and on the wire."""

from __future__ import annotations

import numpy as np
import pytest

from services.model.config import ModelConfig
from services.model.rows import DeltaBlock, DeltaSet
from services.model.table import RowTable

CONFIG = ModelConfig(dim=8, max_neighbours=6)


def filled(n: int) -> tuple[RowTable, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """A table of item rows with something in every block."""
    table = RowTable(CONFIG, "item", 50)
    rows = np.arange(n) * 2
    names = [f"é-{i}" * (i + 1) for i in range(n)]
    hashes = np.arange(1, n + 1, dtype=np.uint64)
    table.place(rows, hashes, names)
    rng = np.random.default_rng(0)
    deltas = DeltaSet(names, hashes)
    for name, store in table.stores.items():
        at = np.repeat(np.arange(n), np.arange(n) if store.block.is_list else 1).astype(np.uint32)
        values = rng.uniform(0.1, 2, (len(at), store.block.delta_width)).astype(np.float32)
        near = np.arange(1, len(at) + 1, dtype=np.uint64) if store.block.kind == "pairs" else None
        deltas.blocks[name] = DeltaBlock(at, values, near)
    table.fold(deltas, rows)
    return table, rows


def test_wire_round_trip() -> None:
    """Rows set from their wire form are the same rows, to the bit, at any position."""
    table, rows = filled(9)
    states = table.get(rows)
    other = RowTable(CONFIG, "item", 50)
    other.place(rows + 1, table.keys[rows], table.key_of(rows))
    other.set(rows + 1, states, [3] * len(rows))
    assert other.get(rows + 1) == states
    assert other.key_of(rows + 1) == table.key_of(rows)
    assert (other.counts[rows + 1] == 3).all()


def test_rows_start_from_their_hash() -> None:
    """Initial values depend on the hash and the seed, not on the position or on who was there before."""
    table, rows = filled(3)
    fresh = RowTable(CONFIG, "item", 50)
    key = table.keys[rows[:1]]
    fresh.place(np.array([7]), key, ["x"])
    table.remove(rows[:1])
    table.place(rows[:1], key, ["x"])
    assert fresh.get(np.array([7])) == table.get(rows[:1])
    seeded = RowTable(ModelConfig(dim=8, max_neighbours=6, seed=1), "item", 50)
    seeded.place(np.array([7]), key, ["x"])
    assert seeded.get(np.array([7])) != fresh.get(np.array([7]))
    assert 0.05 < float(fresh.stores["q"].data[7].std()) < 0.2


@pytest.mark.parametrize("damage", ["drop", "cut", "cut list", "no sums", "long list"])
def test_other_layouts_are_refused(damage: str) -> None:
    """A row without a block, or with one of another size, is refused by name; so is a list past its ceiling."""
    table, rows = filled(2)
    states = table.get(rows)
    block, part = ("near", states[1]["near"]) if damage in {"cut list", "no sums", "long list"} else ("q", b"")
    if damage == "drop":
        del states[0]["q"]
    elif damage == "cut":
        states[0]["q"] = states[0]["q"][:-4]
    else:
        head, entry = part[:28], part[28:60]
        states[1]["near"] = {"cut list": part[:-4], "no sums": head[:-4], "long list": head + 7 * entry}[damage]
    with pytest.raises(ValueError, match=f"layout of block '{block}'"):
        table.set(rows, states, [1, 1])


def test_long_keys_are_refused() -> None:
    """An item id of more than a kilobyte is refused."""
    table = RowTable(CONFIG, "item", 5)
    with pytest.raises(ValueError, match="longer than 1024 bytes"):
        table.place(np.array([0]), np.array([1], np.uint64), ["x" * 1025])


@pytest.mark.parametrize("kind", ["item", "system"])
def test_memory_per_row(kind: str) -> None:
    """A table of full rows takes at most 1.3 times the raw parameters of its rows."""
    n = 2000
    table = RowTable(ModelConfig(), kind, n)  # type: ignore[arg-type]  # one of the row kinds
    rows, hashes = np.arange(n), np.arange(1, n + 1, dtype=np.uint64)
    names = [f"item-{i:08d}" for i in range(n)]
    table.place(rows, hashes, names)
    if kind == "item":
        deltas = DeltaSet(names, hashes)
        for name, store in table.stores.items():
            if store.block.is_list:
                at = np.repeat(np.arange(n), store.block.limit).astype(np.uint32)
                near = np.tile(np.arange(1, store.block.limit + 1, dtype=np.uint64), n)
                values = np.ones((len(at), store.block.delta_width), np.float32)
                deltas.blocks[name] = DeltaBlock(at, values, near)
        table.fold(deltas, rows)
    payload = sum(len(raw) for state in table.get(rows) for raw in state.values())
    assert table.nbytes() <= 1.3 * payload
