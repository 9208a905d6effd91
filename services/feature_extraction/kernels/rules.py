"""The rules of the plain extractor on columns: event time, deduplication, session, rating, preference."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from services.contracts.inner.extraction_state import CHUNK_ENTRIES
from services.feature_extraction.kernels.rows import (
    FIRST,
    LANDMARK,
    MARK,
    OLDEST,
    OPEN,
    POSITION,
    RATINGS,
    SEALED,
    SESSION,
    TASTES,
    N,
    Rows,
    T,
)
from services.feature_extraction.preference import REBASE_EXPONENT, SMALLEST
from services.feature_extraction.session import NO_ID
from services.feature_extraction.timing import DAY_MS, OLDEST_SECONDS, YEAR_10000_MS
from services.feature_extraction.weights import RATINGS_NEEDED, SMALLEST_DEVIATION
from services.model.arrays import U32
from services.model.jit import kernel

BAD_TIME = -1


class Bounds(NamedTuple):
    """The settings of the rules, in the form that kernels take. Times in ms."""

    max_future: int
    allowed_lateness: int
    session_gap: int
    dedup_span_s: int
    dedup_chunks: int
    attribution_window: int
    idle: int
    exactly_once: bool
    preference_size: int
    preference_per_ms: float
    """1 / half-life."""
    rating_margin: float
    rating_low: float
    """Weight of a low rating."""


@kernel
def event_time(stated_ms: int, missing: int, appended_ms: int, bounds: Bounds) -> int:
    """`Timing.event_time`; BAD_TIME where that raises."""
    if stated_ms == missing:
        return appended_ms
    if OLDEST_SECONDS <= stated_ms <= (appended_ms + bounds.max_future) // 1000:
        return BAD_TIME
    if 0 <= stated_ms <= appended_ms + bounds.max_future:
        return stated_ms
    return appended_ms if 0 <= stated_ms < YEAR_10000_MS else BAD_TIME


@kernel
def response_time(event_ms: int, appended_ms: int) -> int:
    """`timing.response_time`."""
    return event_ms if appended_ms - event_ms <= DAY_MS else appended_ms


@kernel
def _in_window(rows: Rows, start: Any, end: Any, mark: Any, oldest_s: Any) -> Any:
    for i in range(start, end):
        if rows.window[i, 0] == mark:
            return np.int64(rows.window[i, 1] & np.uint64(0xFFFFFFFF)) >= oldest_s
    return False


@kernel
def is_repeat(rows: Rows, k: int, mark: Any, bounds: Bounds) -> Any:
    """Whether a user's window holds an id, as `DedupWindow.offset_of`."""
    at, numbers = rows.window_ptr[k], rows.numbers
    first, oldest_s = at + numbers[k, FIRST], numbers[k, T] // 1000 - bounds.dedup_span_s
    return _in_window(rows, first, first + numbers[k, OPEN], mark, oldest_s) or _in_window(
        rows, at + numbers[k, OLDEST], first, mark, oldest_s
    )


@kernel
def remember(rows: Rows, k: int, mark: Any, event_ms: int, offset: int, bounds: Bounds) -> None:
    """Take an id into a user's window, as `DedupWindow.add` and `keep`."""
    numbers = rows.numbers
    at = rows.window_ptr[k] + numbers[k, FIRST] + numbers[k, OPEN]
    low = np.uint64(0xFFFFFFFF)
    rows.window[at, 0] = mark
    rows.window[at, 1] = (np.uint64(event_ms // 1000) & low) | (np.uint64(offset) & low) << np.uint64(32)
    numbers[k, OPEN] += 1
    if numbers[k, OPEN] == CHUNK_ENTRIES:
        numbers[k, OPEN] = 0
        numbers[k, SEALED] += 1
        numbers[k, FIRST] += CHUNK_ENTRIES
        numbers[k, OLDEST] = max(numbers[k, OLDEST], numbers[k, FIRST] - bounds.dedup_chunks * CHUNK_ENTRIES)


@kernel
def advance_session(rows: Rows, k: int, event_ms: int, mark: Any, bounds: Bounds) -> Any:
    """`Sessions.advance`: the row has the event's session and position afterwards; returns the gap, ms."""
    numbers = rows.numbers
    if numbers[k, N] == 0:
        numbers[k, SESSION], numbers[k, POSITION], numbers[k, MARK] = 0, 0, mark
        return -1
    gap = event_ms - numbers[k, T]
    if gap < 0:
        numbers[k, POSITION] += 1
        return 0
    known = numbers[k, MARK]
    if mark != known if NO_ID not in (mark, known) else gap > bounds.session_gap:
        numbers[k, SESSION] += 1
        numbers[k, POSITION] = 0
    else:
        numbers[k, POSITION] += 1
    numbers[k, MARK] = mark
    return gap


@kernel
def rate(rows: Rows, k: int, value: float, weight: float, bounds: Bounds) -> Any:
    """`Weights.of_rating`; `weight` is that of a rating that is not low."""
    ratings, count = rows.ratings, rows.numbers[k, RATINGS]
    if count >= RATINGS_NEEDED:
        deviation = max(math.sqrt(ratings[k, 1] / (count - 1)), SMALLEST_DEVIATION * abs(ratings[k, 0]))
        if value < ratings[k, 0] - bounds.rating_margin * deviation:
            weight = bounds.rating_low
    count += 1
    step = value - ratings[k, 0]
    ratings[k, 0] += step / count
    ratings[k, 1] += step * (value - ratings[k, 0])
    rows.numbers[k, RATINGS] = count
    return weight


@kernel
def preference_factor(rows: Rows, k: int, event_ms: int, bounds: Bounds) -> Any:
    """What the stored weights have to be multiplied by at a moment (`Preferences.at`)."""
    moment = max(event_ms, rows.numbers[k, T])
    return math.exp2(np.float64(rows.numbers[k, LANDMARK] - moment) * bounds.preference_per_ms)


@kernel
def _holds(words: U32, start: int, end: int, name: Any) -> bool:
    at = start
    while at < end and words[at] != name:
        at += 1
    return at < end


@kernel
def _cut(rows: Rows, k: int, size: int, words: U32, start: int, end: int) -> None:
    """Drop the weakest categories past a number; those of the event go last."""
    names, weights, numbers = rows.names, rows.weights, rows.numbers
    while numbers[k, TASTES] > size:
        place = numbers[k, TASTES] - 1
        while place >= 0 and _holds(words, start, end, names[k, place]):
            place -= 1
        if place < 0:
            place = numbers[k, TASTES] - 1
        numbers[k, TASTES] -= 1
        for i in range(place, numbers[k, TASTES]):
            names[k, i], weights[k, i] = names[k, i + 1], weights[k, i + 1]


@kernel
def prefer(rows: Rows, k: int, words: U32, start: int, end: int, weight: float, event_ms: int, bounds: Bounds) -> None:
    """`Preferences.add`: an event on an item with the categories words[start:end]."""
    names, weights, numbers = rows.names, rows.weights, rows.numbers
    if start == end or weight == 0.0:
        return
    if numbers[k, TASTES] == 0:
        numbers[k, LANDMARK] = event_ms
    exponent: Any = np.float64(event_ms - numbers[k, LANDMARK]) * bounds.preference_per_ms
    if exponent > REBASE_EXPONENT:
        factor = math.exp2(-exponent)
        for i in range(numbers[k, TASTES]):
            weights[k, i] *= factor
        numbers[k, LANDMARK] = event_ms
        exponent = 0.0
    unit = math.exp2(exponent)
    share = unit * weight / (end - start)
    for w in range(start, end):
        n, place = numbers[k, TASTES], 0
        while place < n and names[k, place] != words[w]:
            place += 1
        changed: Any = share
        if place < n:
            changed += weights[k, place]
            numbers[k, TASTES] = n = n - 1
            for i in range(place, n):
                names[k, i], weights[k, i] = names[k, i + 1], weights[k, i + 1]
            if share < 0 and changed < SMALLEST * unit:
                continue
        elif share < 0:
            continue
        while place > 0 and weights[k, place - 1] < changed:
            place -= 1
        while place < n and weights[k, place] > changed:
            place += 1
        for i in range(n, place, -1):
            names[k, i], weights[k, i] = names[k, i - 1], weights[k, i - 1]
        names[k, place], weights[k, place] = words[w], changed
        numbers[k, TASTES] = n + 1
    _cut(rows, k, bounds.preference_size, words, start, end)
