"""Which rows a learning batch has changed, and what they were before it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from services.model.arena import reserve
from services.model.arrays import F32, I32, I64
from services.model.jit import kernel


class Touched(NamedTuple):
    """Before-copies of an adagrad block's rows, in order of first touch."""

    mark: I32
    """int32[room] 1 + position of a row in `rows`; 0 = not touched."""
    rows: I64
    before: F32
    """float32[room, width]"""
    before_acc: F32
    """float32[room, groups]"""
    n: I64
    """int64[1] rows touched."""


class Increments(NamedTuple):
    """Summed increments of a decayed block's rows, in order of first touch."""

    mark: I32
    rows: I64
    values: F32
    """float32[room, m + 1]"""
    n: I64


def touched(room: int, width: int, groups: int) -> Touched:
    """Room to touch every row of a table; memory becomes resident as it is used."""
    return Touched(
        reserve((room,), np.int32),
        reserve((room,), np.int64),
        reserve((room, width), np.float32),
        reserve((room, groups), np.float32),
        np.zeros(1, np.int64),
    )


def increments(room: int, width: int) -> Increments:
    """Room for increments of every row of a table (width = m + 1)."""
    return Increments(
        reserve((room,), np.int32),
        reserve((room,), np.int64),
        reserve((room, width), np.float32),
        np.zeros(1, np.int64),
    )


@kernel
def keep(log: Touched, data: F32, acc: F32, row: int) -> None:
    """Copy a row before its first change in a batch."""
    if log.mark[row]:
        return
    n = log.n[0]
    log.rows[n] = row
    for j in range(data.shape[1]):
        log.before[n, j] = data[row, j]
    for g in range(acc.shape[1]):
        log.before_acc[n, g] = acc[row, g]
    log.mark[row] = n + 1
    log.n[0] = n + 1


@kernel
def take_back(log: Touched, data: F32, acc: F32, deltas: F32) -> None:
    """Put the rows back to what they were and empty the log.

    Args:
        log: n rows touched.
        data: float32[room, width]
        acc: float32[room, groups]
        deltas: float32[n, width + 2 * groups], out: by how much the parameters and the accumulators grew, and the
            accumulators as the owner computes them, A + dA, so that one shard's delta is folded unscaled.
    """
    width, groups = data.shape[1], acc.shape[1]
    for i in range(log.n[0]):
        row = log.rows[i]
        for j in range(width):
            deltas[i, j] = data[row, j] - log.before[i, j]
            data[row, j] = log.before[i, j]
        for g in range(groups):
            grown = acc[row, g] - log.before_acc[i, g]
            deltas[i, width + g] = grown
            deltas[i, width + groups + g] = log.before_acc[i, g] + grown
            acc[row, g] = log.before_acc[i, g]
        log.mark[row] = 0
    log.n[0] = 0


@kernel
def increment_of(log: Increments, row: int) -> Any:
    """Position of a row's increments, zero at its first touch in a batch."""
    if log.mark[row]:
        return np.int64(log.mark[row] - 1)
    n = log.n[0]
    log.rows[n] = row
    log.values[n, :] = np.float32(0.0)
    log.mark[row] = n + 1
    log.n[0] = n + 1
    return np.int64(n)
