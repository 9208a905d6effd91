"""From the rows that a batch touched to the deltas that travel, one set per item partition.

Rows are sorted by (kind, hash) and entries by row, so that the record does not depend on where a row
stands or in what order the process met it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from services.model.arrays import F32, I32, I64, U64
from services.model.fold import pack
from services.model.kernels.grouping import distinct_rows, grouped
from services.model.kernels.touched import Increments, Touched, take_back
from services.model.replica import Replica
from services.model.rows import DeltaBlock, DeltaSet
from services.model.table import BlockStore


@dataclass(slots=True)
class Changes:
    """What a batch changed in the blocks of one row kind, by position."""

    blocks: dict[str, tuple[I64, F32, U64 | None]] = field(default_factory=dict)
    """{block: (positions int64[k], deltas float32[k, w], neighbours)}; list entries in their order."""


def take_touched(log: Touched, store: BlockStore) -> tuple[I64, F32]:
    """The deltas of parameters in a batch; puts the rows back to what they were and empties the log."""
    n = int(log.n[0])
    rows = log.rows[:n].copy()
    deltas = np.empty((n, store.data.shape[1] + 2 * store.acc.shape[1]), np.float32)
    take_back(log, store.data, store.acc, deltas)
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


def delta_sets(replica: Replica, kinds: Sequence[Changes], ranks: Sequence[I32]) -> dict[int, DeltaSet]:
    """{item partition: deltas} of the changes of every kind of rows, in the order of `table.KINDS`.

    Args:
        replica: the rows.
        kinds: what changed of each kind.
        ranks: per kind int32[room] of zeros, and zeros again afterwards.
    """
    sets: dict[int, DeltaSet] = {}
    for table, changes, rank in zip(replica.tables, kinds, ranks, strict=True):
        blocks = {name: block for name, block in changes.blocks.items() if len(block[0])}
        if not blocks:
            continue
        entries = np.concatenate([at for at, _, _ in blocks.values()])
        rows = np.empty(len(entries), np.int64)
        rows = rows[: distinct_rows(entries, rank, rows)]
        hashes, owners = table.table.keys[rows], table.partition_of(rows)
        order = np.lexsort((hashes, owners))
        rows, hashes, owners = rows[order], hashes[order], owners[order]
        rank[rows] = np.arange(1, len(rows) + 1)
        keys = table.table.key_of(rows)
        partitions, starts = np.unique(owners, return_index=True)
        parts = list(zip(partitions.tolist(), starts.tolist(), [*starts[1:].tolist(), len(rows)], strict=True))
        shifts = {}
        for partition, start, end in parts:
            part = sets.setdefault(partition, DeltaSet([], np.zeros(0, np.uint64)))
            shifts[partition] = len(part.ids) - start
            part.ids += keys[start:end]
            part.hashes = np.concatenate([part.hashes, hashes[start:end]])
        for name, (at, unsorted, neighbours) in blocks.items():
            by, ordinals, bounds = grouped(at, rank, len(rows))
            values = unsorted.take(by, axis=0)
            near = None if neighbours is None else neighbours.take(by)
            for partition, start, end in parts:
                a, b = int(bounds[start]), int(bounds[end])
                if a < b:
                    local = (ordinals[a:b] + shifts[partition]).astype(np.uint32)
                    block = DeltaBlock(local, values[a:b], None if near is None else near[a:b])
                    sets[partition].blocks[name] = block
        rank[rows] = 0
    return sets
