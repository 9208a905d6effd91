"""From the rows that a batch touched to the deltas that travel, one set per item partition.

Rows are sorted by (kind, hash) and entries by row, so that the record does not depend on where a row
stands or in what order the process met it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from services.model.arrays import F32, I64, U64
from services.model.fold import pack
from services.model.kernels.touched import Increments, Touched
from services.model.replica import Replica
from services.model.rows import DeltaBlock, DeltaSet
from services.model.table import BlockStore


@dataclass(slots=True)
class Changes:
    """What a batch changed in the blocks of one row kind, by position."""

    blocks: dict[str, tuple[I64, F32, U64 | None]] = field(default_factory=dict)
    """{block: (positions int64[k], deltas float32[k, w], neighbours)}; list entries in their order."""


def take_touched(log: Touched, store: BlockStore) -> tuple[I64, F32]:
    """The deltas of parameters in a batch; puts the rows back to what they were and empties the log.

    A_seen is A + dA as the owner computes it, so that one shard's delta is folded unscaled.
    """
    n = int(log.n[0])
    rows, before, before_acc = log.rows[:n].copy(), log.before[:n], log.before_acc[:n]
    deltas = store.data[rows] - before
    if store.block.groups:
        grown = store.acc[rows] - before_acc
        deltas = np.concatenate([deltas, grown, before_acc + grown], axis=1)
        store.acc[rows] = before_acc
    store.data[rows] = before
    log.mark[rows] = 0
    log.n[0] = 0
    return rows, pack(deltas, store.block)


def put_back(log: Touched, store: BlockStore) -> None:
    """Put rows back to what they were before the batch and empty the log; their changes are increments."""
    n = int(log.n[0])
    rows = log.rows[:n]
    store.data[rows] = log.before[:n]
    log.mark[rows] = 0
    log.n[0] = 0


def take_increments(log: Increments) -> tuple[I64, F32]:
    """The increments of a batch; empties the log."""
    n = int(log.n[0])
    rows = log.rows[:n].copy()
    values = log.values[:n].copy()
    log.mark[rows] = 0
    log.n[0] = 0
    return rows, values


def delta_sets(replica: Replica, kinds: Sequence[Changes]) -> dict[int, DeltaSet]:
    """{item partition: deltas} of the changes of every kind of rows, in the order of `table.KINDS`."""
    sets: dict[int, DeltaSet] = {}
    for table, changes in zip(replica.tables, kinds, strict=True):
        parts = [rows for rows, _, _ in changes.blocks.values() if len(rows)]
        if not parts:
            continue
        rows = np.unique(np.concatenate(parts))
        hashes = table.table.keys[rows]
        owners = table.partition_of(rows)
        order = np.lexsort((hashes, owners))
        rows, hashes, owners = rows[order], hashes[order], owners[order]
        keys = table.table.key_of(rows)
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        sorted_rows = np.sort(rows)
        partitions, starts = np.unique(owners, return_index=True)
        ends = np.append(starts[1:], len(rows))
        offsets = {}
        for partition, a, b in zip(partitions.tolist(), starts.tolist(), ends.tolist(), strict=True):
            part = sets.setdefault(partition, DeltaSet([], np.zeros(0, np.uint64)))
            offsets[partition] = len(part.ids)
            part.ids += keys[a:b]
            part.hashes = np.concatenate([part.hashes, hashes[a:b]])
        for name, (at, unsorted, neighbours) in changes.blocks.items():
            if not len(at):
                continue
            ordinal = rank[np.searchsorted(sorted_rows, at)]
            # Entries of a list keep their order within the row.
            by = np.argsort(ordinal, kind="stable")
            ordinal, values = ordinal[by], unsorted[by]
            near = None if neighbours is None else neighbours[by]
            cuts_a, cuts_b = np.searchsorted(ordinal, starts), np.searchsorted(ordinal, ends)
            for partition, start, a, b in zip(
                partitions.tolist(), starts.tolist(), cuts_a.tolist(), cuts_b.tolist(), strict=True
            ):
                if a < b:
                    local = (ordinal[a:b] - start + offsets[partition]).astype(np.uint32)
                    block = DeltaBlock(local, values[a:b], None if near is None else near[a:b])
                    sets[partition].blocks[name] = block
    return sets
