"""The entries of a batch's logs by the row that they belong to, in time that is linear in the entries."""

from __future__ import annotations

import numpy as np

from services.model.arrays import I32, I64
from services.model.jit import allocating_kernel, kernel


@kernel
def distinct_rows(at: I64, rank: I32, rows: I64) -> int:
    """Note each row once, in the order of its first entry; returns how many there are.

    Args:
        at: int64[n] rows.
        rank: int32[room] of zeros; out: 1 + place in `rows` of each row.
        rows: int64[n], out.
    """
    k = 0
    for row in at:
        if rank[row] == 0:
            rows[k] = row
            k += 1
            rank[row] = k
    return k


@allocating_kernel
def grouped(at: I64, rank: I32, k: int) -> tuple[I64, I64, I64]:
    """Entries sorted by the rank of their rows; those of a row keep their order.

    Args:
        at: int64[n] rows.
        rank: int32[room] 1 + the rank of each row.
        k: number of ranks.

    Returns:
        (order int64[n], their ranks int64[n], bounds int64[k + 1] of each rank's entries).
    """
    bounds = np.zeros(k + 1, np.int64)
    for row in at:
        bounds[rank[row]] += 1
    for i in range(k):
        bounds[i + 1] += bounds[i]
    free = bounds[:-1].copy()
    order, ranks = np.empty(len(at), np.int64), np.empty(len(at), np.int64)
    for i in range(len(at)):
        mine = rank[at[i]] - 1
        to = free[mine]
        order[to], ranks[to] = i, mine
        free[mine] += 1
    return order, ranks, bounds
