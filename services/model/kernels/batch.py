"""A learning batch, event by event, in one call."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from services.model.arena import Lists
from services.model.arrays import F32, F64, I32, I64, U32, U64
from services.model.experts import context, neighbours
from services.model.experts.neighbours import PairLog
from services.model.fold import decayed_add
from services.model.jit import allocating_kernel, kernel
from services.model.kernels import ranking
from services.model.kernels.factors import Logs, Step, draw, factor_step, logits, normaliser
from services.model.kernels.probe import Probe, probe
from services.model.kernels.query import query
from services.model.kernels.spot import spot_find
from services.model.kernels.touched import Increments, increment_of, keep
from services.model.kernels.users import UserArrays, category_count, history_push, seen_add
from services.model.kernels.view import Setup, View, Work
from services.model.layout import MIXTURE_MEMORY
from services.model.seeds import mix64

CATEGORY_KIND = 1
"""High 4 bits of a content feature that names a category."""
_SAMPLE = np.uint64(0x73616D706C65)
"""Salt of the choice of events that the score learns from."""


class Counts(NamedTuple):
    """Summed increments of a batch, folded when it is done."""

    pop: Increments
    totals: Increments
    pi: Increments
    pairs: PairLog


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
    context_ptr: I32
    context: U32


class Limits(NamedTuple):
    """Settings of the user side and of the score's learning."""

    history_kept: int
    dislike: float
    category_decay: float
    pairs: int
    """Newest history items that an event is paired with."""
    sample: float
    warm_up: float
    score_rate: float


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
            old *= np.exp2(-(newest - anchor) * rate[j])
        share = 1.0
        if rate[j] != 0.0:
            share = np.exp2((np.float64(tick - newest) + inside) * rate[j])
        log.values[at, j] = np.float32(old + weight * share)
    log.values[at, m] = newest


@kernel
def _count_live(v: View, logs: Logs, row: int, second: int, weight: float, one: F32) -> None:
    """The same on the live rows, which are put back after the batch."""
    m = len(v.rate)
    inside = np.float64(second % 128) / 128.0
    for j in range(m):
        one[j] = np.float32(weight * np.exp2(inside * v.rate[j]))
    one[m] = np.float32(second // 128)
    keep(logs.pop, v.pop, v.no_acc, row)
    decayed_add(v.pop[row], one, v.rate)
    keep(logs.totals, v.totals, v.no_acc, v.system[0])
    decayed_add(v.totals[v.system[0]], one, v.rate)


@kernel
def _has_seen(users: UserArrays, user: int, item: np.uint64) -> bool:
    at = users.seen.where[user]
    for i in range(at, at + users.seen.length[user]):  # noqa: SIM110  (a generator does not compile)
        if users.seen.keys[i] == item:
            return True
    return False


@kernel
def _learn_weights(  # noqa: PLR0913, PLR0917  (one event's share of `learn_batch`)
    v: View,
    logs: Logs,
    counts: Counts,
    users: UserArrays,
    setup: Setup,
    limits: Limits,
    user: int,
    row: int,
    bucket: int,
    second: int,
    found: int,
    w: Work,
) -> None:
    """The mixture and the log-linear weights, from the item that was chosen among the candidates."""
    touched, own = ranking.gather(v, setup, user, second, found, w)
    n = ranking.candidates(v, setup, touched, own, w)
    at = spot_find(w.listed, v.keys[row])
    end = n
    if at < 0:
        at = n
        w.cand[n] = row
        end = n + 1
    ranking.score(v, users, setup, user, bucket, w, at if end > n else 0, end)
    mine = v.system[1 + bucket]
    keep(logs.pi, v.pi, v.no_acc, mine)
    ranking.learn_mixture(v, bucket, w, at, MIXTURE_MEMORY)
    place = increment_of(counts.pi, mine)
    for e in range(v.pi.shape[1]):
        counts.pi.values[place, e] += w.slope[0, e]
    if end == n:
        keep(logs.w, v.w, v.w_acc, v.system[0])
        keep(logs.w, v.w, v.w_acc, mine)
        ranking.learn_score(v, bucket, w, n, at, limits.score_rate)


@kernel
def learn_batch(  # noqa: PLR0913, PLR0917  (arrays of several owners, which share no tuple)
    e: Events,
    users: UserArrays,
    v: View,
    logs: Logs,
    counts: Counts,
    bound: int,
    setup: Setup,
    step: Step,
    limits: Limits,
    w: Work,
    probes: Probe,
) -> int:
    """Learn a batch; returns how many events were learned from."""
    learned = 0
    categories, one, m = w.categories, w.one, len(v.rate)
    for i in range(len(e.row)):
        user, row, weight, second = e.user[i], e.row[i], e.weight[i], e.second[i]
        users.touch[user] = e.seed[i]
        if weight == np.float32(0.0):
            continue
        if row >= 0:
            found, bucket, gap = query(v, users, setup, user, second, w)
            neighbours.fetch(v, w, min(found, limits.pairs))
            drawn = draw(v.keys, bound, row, e.seed[i] ^ step.salt, step.negatives, w.negatives)
            top = logits(v, w, drawn)
            if weight > np.float32(0.0):
                known = v.pop[row, m - 1] > np.float32(0.0)
                new = setup.repeats or not _has_seen(users, user, e.item[i])
                if len(probes.rank):
                    ranking.exclude(users, setup, user, w)
                    context.prepare(v, e.context, e.context_ptr[i], e.context_ptr[i + 1], found, w)
                    probe(probes, i, v, users, setup, user, row, bucket, second, found, known, new, w)
                seen_by_all = np.float64(v.totals[v.system[0], m - 1])
                lot = np.float64(mix64(e.seed[i] ^ _SAMPLE) >> np.uint64(11)) / 9007199254740992.0
                if known and new and (lot < limits.sample or seen_by_all < limits.warm_up):
                    ranking.exclude(users, setup, user, w)
                    context.prepare(v, e.context, e.context_ptr[i], e.context_ptr[i + 1], found, w)
                    w.facts[0] = normaliser(w, drawn, top, np.float64(bound))
                    _learn_weights(v, logs, counts, users, setup, limits, user, row, bucket, second, found, w)
            used = min(found, setup.history)
            factor_step(v, logs, users.vector, users.acc, user, row, np.float64(weight), drawn, top, used, gap, step, w)
            learned += 1
        if weight > np.float32(0.0) and row >= 0:
            count_event(counts.pop, row, second, np.float64(weight), v.rate)
            count_event(counts.totals, v.system[0], second, np.float64(weight), v.rate)
            _count_live(v, logs, row, second, np.float64(weight), one)
            pairs = min(found, limits.pairs)
            neighbours.learn(v, w, counts.pairs, row, e.item[i], pairs, np.float64(weight), second)
        if weight > np.float32(0.0):
            history_push(users, user, e.item[i], second, limits.history_kept)
            k = 0
            for at in range(e.content_ptr[i], e.content_ptr[i + 1]):
                if e.content[at] >> np.uint32(28) == np.uint32(CATEGORY_KIND) and k < len(categories):
                    categories[k] = e.content[at]
                    k += 1
            category_count(users, user, categories[:k], limits.category_decay)
        if weight > np.float32(0.0) or weight <= np.float32(limits.dislike):
            seen_add(users, user, e.item[i])
    return learned


@allocating_kernel
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
