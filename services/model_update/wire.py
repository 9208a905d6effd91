"""Between the model's arrays and the inner records: deltas and item rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from services.contracts.inner import item_deltas, item_state
from services.contracts.inner.item_deltas import Deltas
from services.contracts.inner.item_state import ItemRow
from services.contracts.inner.sweeps import Sweep
from services.contracts.keys import item_hash
from services.model import layout
from services.model.packed import BLOCKS, form
from services.model.replica import Replica
from services.model.rows import DeltaBlock, DeltaSet, RowChange

ITEM_ROW = form(item_state.row_pieces(BLOCKS))
"""The form in which item rows are written and read many at a time."""


def deltas_record(shard: str, epoch: int, batch: int, deltas: DeltaSet, *, behind: bool = False) -> Deltas:
    """The record of one learning batch's deltas to one item partition; `behind`: the batch was a full one."""
    blocks: dict[str, item_deltas.DeltaBlock] = {}
    for name, block in deltas.blocks.items():
        packed: item_deltas.DeltaBlock = {
            "i": np.ascontiguousarray(block.rows, "<u4").tobytes(),
            "d": np.ascontiguousarray(block.values, "<f4").tobytes(),
        }
        if block.neighbours is not None:
            packed["n"] = np.ascontiguousarray(block.neighbours, "<u8").tobytes()
        blocks[name] = packed
    record: Deltas = {
        "v": item_deltas.VERSION,
        "kind": "deltas",
        "s": shard,
        "e": epoch,
        "b": batch,
        "ids": deltas.ids,
        "h": np.ascontiguousarray(deltas.hashes, "<u8").tobytes(),
        "blocks": blocks,
    }
    if behind:
        record["behind"] = True
    return record


def delta_set(record: Deltas) -> DeltaSet:
    """The inverse of `deltas_record`.

    Raises:
        ValueError: the arrays of the record do not fit together.
    """
    hashes = _array(record["h"], "<u8")
    if len(hashes) != len(record["ids"]):
        raise ValueError(f"deltas: {len(hashes)} hashes for {len(record['ids'])} ids")
    blocks = {}
    for name, block in record["blocks"].items():
        rows = _array(block["i"], "<u4")
        values = _array(block["d"], "<f4")
        if not len(rows) or len(values) % len(rows) or int(rows.max()) >= len(hashes):
            raise ValueError(f"deltas: block {name!r} has {len(values)} values for {len(rows)} rows")
        near = _array(block["n"], "<u8") if "n" in block else None
        if near is not None and len(near) != len(rows):
            raise ValueError(f"deltas: block {name!r} has {len(near)} neighbours for {len(rows)} rows")
        blocks[name] = DeltaBlock(rows, values.reshape(len(rows), -1), near)
    return DeltaSet(record["ids"], hashes, blocks)


def _array(packed: bytes, kind: str) -> Any:
    # A copy: an array that cannot be written is another type to the compiler, which would compile all twice.
    return np.frombuffer(packed, kind).copy()


def without(deltas: DeltaSet, skipped: set[str]) -> DeltaSet:
    """The same deltas without those of some rows."""
    keep = np.array([key not in skipped for key in deltas.ids], bool)
    if keep.all():
        return deltas
    place = np.cumsum(keep) - 1
    blocks = {}
    for name, block in deltas.blocks.items():
        mine = keep[block.rows]
        if mine.any():
            rows = place[block.rows[mine]].astype(np.uint32)
            near = None if block.neighbours is None else block.neighbours[mine]
            blocks[name] = DeltaBlock(rows, block.values[mine], near)
    ids = [key for key, kept in zip(deltas.ids, keep.tolist(), strict=True) if kept]
    return DeltaSet(ids, deltas.hashes[keep], blocks)


def row_hash(key: str) -> int:
    """The 64-bit identity of any row of item-state."""
    return item_hash(key) if layout.row_kind(key) == "item" else layout.reserved_hash(key)


def row_record(change: RowChange, position: int) -> ItemRow | None:
    """The item-state record of a row at a position of item-deltas; None for an evicted row."""
    if change.blocks is None:
        return None
    return {"v": item_state.VERSION, "o": position, "c": change.count, "slot": change.slot, "b": change.blocks}


def row_change(key: str, row: ItemRow | bytes | None) -> RowChange:
    """A row of item-state as the model takes it in."""
    if row is None:
        return RowChange(key, row_hash(key), -1, 0, None)
    if isinstance(row, bytes):
        row = item_state.decode_row(row)
    return RowChange(key, row_hash(key), row["slot"], row["c"], row["b"])


def take_sweep(replica: Replica, sweep: Sweep, folded: int | None) -> None:
    """Take in a whole sweep; `folded` is the last own batch that its owner has folded."""
    standing, others = replica.standing(sweep.partition, sweep.rows, ITEM_ROW)
    replica.take(sweep.partition, [row_change(key, sweep.rows[key]) for key in others], folded, standing)
