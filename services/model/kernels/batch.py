"""A learning batch, event by event, in one call."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from services.model.arena import Lists
from services.model.arrays import F32, F64, I32, I64, U32, U64
from services.model.jit import kernel
from services.model.kernels.factors import Factors, Scratch, Step, factor_step, query_vector
from services.model.kernels.touched import Increments, increment_of
from services.model.users import UserArrays, category_count, history_push, seen_add

CATEGORY_KIND = 1
"""High 4 bits of a content feature that names a category."""


class Counts(NamedTuple):
    """What counting learns in a batch: increments only, folded when the batch is done."""

    pop: Increments
    totals: Increments
    rate: F64
    """float64[m] halvings per tick."""
    system: int
    """Position of the system row."""


class Events(NamedTuple):
    """The batch, resolved to positions."""

    user: I32
    row: I64
    """int64[n] position of the item's row, -1 = none."""
    item: U64
    second: I64
    """int64[n] event time, s."""
    weight: F32
    seed: U64
    content_ptr: I32
    content: U32


class Limits(NamedTuple):
    """Settings of the user side."""

    history_kept: int
    dislike: float
    category_decay: float


@kernel
def count_event(log: Increments, row: int, second: int, weight: float, rate: F64) -> None:
    """Add one event to a row's decayed increments: weight · 2^((t - T·anchor)/h)."""
    at = increment_of(log, row)
    m = len(rate)
    tick = np.float32(second // 128)
    inside = np.float64(second % 128) / 128.0
    anchor = log.values[at, m]
    newest = max(anchor, tick)
    for j in range(m):
        old = np.float64(log.values[at, j])
        if newest > anchor and old != 0.0 and rate[j] != 0.0:
            old *= 2.0 ** (-(newest - anchor) * rate[j])
        share = 1.0
        if rate[j] != 0.0:
            share = 2.0 ** ((np.float64(tick - newest) + inside) * rate[j])
        log.values[at, j] = np.float32(old + weight * share)
    log.values[at, m] = newest


@kernel
def learn_batch(
    e: Events, users: UserArrays, f: Factors, counts: Counts, bound: int, step: Step, limits: Limits, s: Scratch
) -> int:
    """Learn a batch; returns how many events were learned from."""
    learned = 0
    acc = users.acc.reshape((len(users.acc), 1))
    categories = np.zeros(64, np.uint32)
    for i in range(len(e.row)):
        user, row, weight = e.user[i], e.row[i], e.weight[i]
        users.touch[user] = e.seed[i]
        if weight == np.float32(0.0):
            continue
        if row >= 0:
            s.user[0] = user
            found = query_vector(
                f.index_keys,
                f.index_slots,
                f.v1,
                users.vector,
                s.user,
                users.history,
                step.gamma,
                step.history,
                s.history_rows,
                s.history_weights,
                s.z,
            )
            factor_step(f, users.vector, acc, user, row, np.float64(weight), e.seed[i], bound, found, step, s)
            learned += 1
        if weight > np.float32(0.0) and row >= 0:
            count_event(counts.pop, row, e.second[i], np.float64(weight), counts.rate)
            count_event(counts.totals, counts.system, e.second[i], np.float64(weight), counts.rate)
        if weight > np.float32(0.0):
            history_push(users, user, e.item[i], e.second[i], limits.history_kept)
            k = 0
            for at in range(e.content_ptr[i], e.content_ptr[i + 1]):
                if e.content[at] >> np.uint32(28) == np.uint32(CATEGORY_KIND) and k < 64:
                    categories[k] = e.content[at]
                    k += 1
            category_count(users, user, categories[:k], limits.category_decay)
        if weight > np.float32(0.0) or weight <= np.float32(limits.dislike):
            seen_add(users, user, e.item[i])
    return learned


@kernel
def content_changes(lists: Lists, rows: I64, weight: F32, ptr: I32, content: U32) -> I64:
    """Events whose item's content is not what the row holds (or what fits of it)."""
    limit = lists.sizes[len(lists.sizes) - 1]
    out = np.empty(len(rows), np.int64)
    m = 0
    for i in range(len(rows)):
        row, n = rows[i], min(np.int64(ptr[i + 1] - ptr[i]), limit)
        if row < 0 or n == 0 or weight[i] <= np.float32(0.0):
            continue
        same = lists.length[row] == n
        if same:
            at = lists.where[row]
            for j in range(n):
                if lists.keys[at + j] != content[ptr[i] + j]:
                    same = False
                    break
        if not same:
            out[m] = i
            m += 1
    return out[:m]
