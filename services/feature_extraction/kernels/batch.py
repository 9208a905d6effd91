"""The interactions of a batch, one after the other: what becomes of each, and its features record."""

from __future__ import annotations

from typing import Any

import numpy as np

from services.feature_extraction.interactions import EVENT_ID, ITEM, LIST, NO_TIME, SESSION, Columns
from services.feature_extraction.kernels.features import Events, Items, Kinds, put_feature, put_name
from services.feature_extraction.kernels.lists import NONE, Served, attribute
from services.feature_extraction.kernels.rows import NEXT, TS, N, Rows, T
from services.feature_extraction.kernels.rules import (
    BAD_TIME,
    Bounds,
    advance_session,
    event_time,
    is_repeat,
    prefer,
    preference_factor,
    rate,
    remember,
    response_time,
)
from services.feature_extraction.session import NO_ID
from services.model.arrays import I64, U8, U64
from services.model.jit import kernel
from services.model.kernels.hashing import blake2b_64, crc32

PLAIN, ACCEPTED, DUPLICATE, LATE, WRONG_TIME = range(5)
"""What becomes of an interaction; PLAIN: the plain extractor decides."""


@kernel
def hash_items(columns: Columns, raw: U8, first: I64, work: U64, hashes: U64) -> None:
    """`item_hash` of the items of some events: hashes[i] is that of event first[i]."""
    for i in range(len(first)):
        found = blake2b_64(raw, columns.start[first[i], ITEM], columns.length[first[i], ITEM], work)
        hashes[i] = found if found != np.uint64(0) else np.uint64(1)


@kernel
def sort_out(events: Events, kinds: Kinds, rows: Rows, seen_ms: I64, bounds: Bounds) -> None:
    """Leave to the plain extractor, in `rows.plain`, who was shown something, was idle for too long, or is read again
    where outputs may have been lost (at least once).

    Args:
        events: the batch.
        kinds: its types.
        rows: its users.
        seen_ms: int64[k] zeros, out: when each was last seen before the batch; a new user at the first event.
        bounds: the settings.
    """
    for i in range(len(events.user)):
        k = events.user[i]
        if k < 0:
            continue
        if not seen_ms[k]:
            seen_ms[k] = rows.numbers[k, TS] or events.appended_ms[i]
        idle = events.appended_ms[i] - seen_ms[k] > bounds.idle
        again = events.offset[i] < rows.numbers[k, NEXT] and not bounds.exactly_once
        if idle or again or kinds.is_impression[events.kind[i]]:
            rows.plain[k] = 1


@kernel
def _take(  # noqa: PLR0913, PLR0917  (arrays of several owners, which share no tuple)
    i: int,
    partition: int,
    events: Events,
    items: Items,
    kinds: Kinds,
    rows: Rows,
    served: Served,
    bounds: Bounds,
    work: U64,
    scratch: U8,
    out: U8,
    at: int,
) -> tuple[int, int]:
    """Take one interaction: (what becomes of it, end of its record)."""
    columns, k, offset, appended_ms = events.columns, events.user[i], events.offset[i], events.appended_ms[i]
    start, length, numbers = columns.start, columns.length, rows.numbers
    event_ms = event_time(columns.t_ms[i], NO_TIME, appended_ms, bounds)
    if event_ms == BAD_TIME:
        return WRONG_TIME, at
    if offset < numbers[k, NEXT] and appended_ms <= numbers[k, TS]:
        return DUPLICATE, at
    mark, marked = np.uint64(0), True
    if length[i, EVENT_ID] >= 0:
        mark = blake2b_64(events.raw, start[i, EVENT_ID], length[i, EVENT_ID], work)
        if is_repeat(rows, k, mark, bounds):
            return DUPLICATE, at
    elif not bounds.exactly_once:
        mark = blake2b_64(scratch, 0, put_name(scratch, 0, partition, offset), work)
    else:
        marked = False
    if event_ms < numbers[k, T] - bounds.allowed_lateness:
        return LATE, at
    session: Any = NO_ID
    if length[i, SESSION] >= 0:
        session = crc32(events.raw, start[i, SESSION], length[i, SESSION])
    gap = advance_session(rows, k, event_ms, session, bounds)
    factor = preference_factor(rows, k, event_ms, bounds)
    kind, item = events.kind[i], events.item[i]
    weight = kinds.weight[kind]
    if kinds.is_rating[kind] and not np.isnan(columns.value[i]):
        weight = rate(rows, k, columns.value[i], weight, bounds)
    response_ms = response_time(event_ms, appended_ms)
    answer = (NONE, 0)
    if length[i, LIST] >= 0 or served.ptr[k + 1] > served.ptr[k]:
        answer = attribute(
            served, k, events.raw, start[i, LIST], length[i, LIST], items.hashes[item], response_ms,
            bounds.attribution_window,
        )  # fmt: skip
    at = put_feature(
        out, at, i, partition, event_ms, weight, gap, factor, answer, response_ms, events, items, rows, served
    )
    first, end = items.ptr[item], items.ptr[item + 1]
    if end > first:
        categories = np.int64(items.words[first])
        prefer(rows, k, items.words, first + 1, first + 1 + categories, weight, event_ms, bounds)
    if marked:
        remember(rows, k, mark, event_ms, offset, bounds)
    numbers[k, T] = max(numbers[k, T], event_ms)
    numbers[k, N] += 1
    numbers[k, NEXT] = offset + 1
    numbers[k, TS] = appended_ms
    return ACCEPTED, at


@kernel
def extract(  # noqa: PLR0913, PLR0917  (arrays of several owners, which share no tuple)
    partition: int,
    events: Events,
    items: Items,
    kinds: Kinds,
    rows: Rows,
    served: Served,
    bounds: Bounds,
    work: U64,
    scratch: U8,
    fates: U8,
    out: U8,
    ends: I64,
) -> None:
    """Take the interactions of a batch in order, except those of the users in `rows.plain`.

    Args:
        partition: of the interactions topic.
        events: the batch.
        items: its items.
        kinds: its types.
        rows: its users; they move on.
        served: the users' lists.
        bounds: the settings.
        work: room for hashing.
        scratch: uint8[64]
        fates: uint8[n], out: what becomes of each.
        out: uint8[`feature_bytes`], out: the records, end to end.
        ends: int64[n], out: where the record of each ends.
    """
    at: Any = np.int64(0)
    for i in range(len(fates)):
        fates[i] = PLAIN
        if events.user[i] >= 0 and not rows.plain[events.user[i]]:
            fates[i], at = _take(i, partition, events, items, kinds, rows, served, bounds, work, scratch, out, at)
        ends[i] = at
