"""Writing features records as the library packs them, from columns."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack
import numpy as np

from services.contracts.context import context_features
from services.contracts.inner.features import VERSION
from services.feature_extraction.attribution import UNKNOWN_LATENCY
from services.feature_extraction.interactions import EVENT_ID, ITEM, LIST, TYPE, USER, Columns
from services.feature_extraction.kernels import lists
from services.feature_extraction.kernels.lists import NONE, UNKNOWN, Served, propensity_of
from services.feature_extraction.kernels.rows import POSITION, SESSION, TASTES, Rows
from services.model.arrays import F64, I64, U8, U32, U64
from services.model.jit import kernel
from services.model.kernels.wire import (
    put_binary,
    put_double,
    put_int,
    put_piece,
    put_size,
    put_text,
    put_unsigned,
    put_word,
)

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_HOURS = np.array([context_features(hour * _HOUR_MS, {})[0] for hour in range(24)], np.uint32)
_WEEKDAYS = np.array([context_features(day * _DAY_MS, {})[1] for day in range(7)], np.uint32)
"""By days since 1970-01-01."""

_NAMES = (
    "src",
    "user",
    "item",
    "ih",
    "id",
    "type",
    "value",
    "t",
    "ts",
    "w",
    "session",
    "ctx",
    "content",
    "pref",
    "list",
)
_SRC, _USER, _ITEM, _IH, _ID, _TYPE, _VALUE, _T, _TS, _W, _SESSION, _CTX, _CONTENT, _PREF, _LIST = np.arange(
    len(_NAMES)
)
_OF_LIST = ("rank", "arm", "propensity", "latency_ms")
_RANK, _ARM, _PROPENSITY, _LATENCY = len(_NAMES) + np.arange(len(_OF_LIST))
_KEYS = [msgpack.packb(name) for name in _NAMES + _OF_LIST]
_KEYS[_SRC] = b"".join(map(msgpack.packb, ("v", VERSION, "kind", "event", "src"))) + b"\x92"
_KEYS[_SESSION] += b"\x93"
_KEYS[_LIST] += bytes((0x80 | (1 + len(_OF_LIST)),)) + msgpack.packb("list")
_PIECES = np.frombuffer(b"".join(_KEYS), np.uint8)
_ENDS = np.cumsum([len(key) for key in _KEYS])
_FIELDS = 16
"""Fields of a record that responds to no list."""
_FIXED_BYTES = len(_PIECES) + 32 * 9


class Events(NamedTuple):
    """n interactions, in the form that kernels take."""

    columns: Columns
    raw: U8
    """uint8[size] what the columns point into."""
    offset: I64
    """int64[n]"""
    appended_ms: I64
    """int64[n]"""
    user: I64
    """int64[n] number of the user, -1 for a record that is no interaction."""
    item: I64
    """int64[n] number of the item."""
    kind: I64
    """int64[n] number of the type."""
    context: U32
    """uint32[c] features of the context maps."""
    context_ptr: I64
    """int64[n + 1] which are whose."""


class Items(NamedTuple):
    """The different items of a batch."""

    hashes: U64
    """uint64[i]"""
    words: U32
    """uint32[w] of each item how many of its features are categories, and its features; nothing for one without."""
    ptr: I64
    """int64[i + 1] which are whose."""


class Kinds(NamedTuple):
    """The different types of a batch."""

    weight: F64
    """float64[t]"""
    is_rating: U8
    """uint8[t]"""
    is_impression: U8
    """uint8[t]"""


def feature_bytes(events: Events, items: Items, served: Served, preference_room: int) -> int:
    """Bytes that the records of a batch need at most."""
    n = len(events.offset)
    texts = int(np.maximum(events.columns.length, 0).sum())
    named = served.numbers[:, (lists.ID_SIZE, lists.ARM_SIZE)].sum(axis=1).max(initial=0)
    words = int(np.diff(items.ptr).max(initial=0)) + preference_room * 2
    return texts + 4 * len(events.context) + n * (_FIXED_BYTES + 4 * words + int(named))


@kernel
def put_digits(out: U8, at: int, value: int) -> int:
    """A number from 0 in decimal."""
    scale = 1
    while value // scale >= 10:
        scale *= 10
    while scale:
        out[at] = np.uint8(48 + value // scale % 10)
        at += 1
        scale //= 10
    return at


@kernel
def put_name(out: U8, at: int, partition: int, offset: int) -> int:
    """The id of an event that has none: "<partition>@<offset>"."""
    at = put_digits(out, at, partition)
    out[at] = 64
    return put_digits(out, at + 1, offset)


@kernel
def _put_context(out: U8, at: int, i: int, event_ms: int, events: Events) -> int:
    first, end = events.context_ptr[i], events.context_ptr[i + 1]
    at = put_binary(out, at, 4 * (2 + end - first))
    at = put_word(out, at, _HOURS[event_ms // _HOUR_MS % 24])
    at = put_word(out, at, _WEEKDAYS[event_ms // _DAY_MS % 7])
    for w in range(first, end):
        at = put_word(out, at, events.context[w])
    return at


@kernel
def _put_preference(out: U8, at: int, k: int, factor: float, rows: Rows) -> int:
    n = rows.numbers[k, TASTES]
    at = put_binary(out, at, 8 * n)
    for i in range(n):
        at = put_word(out, at, rows.names[k, i])
        at = put_word(out, at, np.float32(factor * rows.weights[k, i]).view(np.uint32))
    return at


@kernel
def _put_list(out: U8, at: int, i: int, m: int, rank: int, response_ms: int, events: Events, served: Served) -> int:
    """What an event says of the list that it responds to."""
    at = put_piece(out, at, _PIECES, _ENDS, _LIST)
    if m == UNKNOWN:
        at = put_text(out, at, events.raw, events.columns.start[i, LIST], events.columns.length[i, LIST])
        at = put_int(out, put_piece(out, at, _PIECES, _ENDS, _RANK), 0)
        at = put_size(out, put_piece(out, at, _PIECES, _ENDS, _ARM), 0, 0xA0, 32, 0xD9, 3)
        at = put_double(out, put_piece(out, at, _PIECES, _ENDS, _PROPENSITY), 0.0)
        return put_int(out, put_piece(out, at, _PIECES, _ENDS, _LATENCY), UNKNOWN_LATENCY)
    numbers = served.numbers
    at = put_text(out, at, served.raw, numbers[m, lists.ID], numbers[m, lists.ID_SIZE])
    at = put_int(out, put_piece(out, at, _PIECES, _ENDS, _RANK), rank)
    at = put_piece(out, at, _PIECES, _ENDS, _ARM)
    at = put_text(out, at, served.raw, numbers[m, lists.ARM], numbers[m, lists.ARM_SIZE])
    at = put_double(out, put_piece(out, at, _PIECES, _ENDS, _PROPENSITY), propensity_of(served, m, rank))
    latency = response_ms - numbers[m, lists.PUBLISHED]
    at = put_piece(out, at, _PIECES, _ENDS, _LATENCY)
    return put_int(out, at, latency if latency >= 0 else UNKNOWN_LATENCY)


@kernel
def put_feature(  # noqa: PLR0913, PLR0917  (what the rules found for one event, of several owners)
    out: U8,
    at: int,
    i: int,
    partition: int,
    event_ms: int,
    weight: float,
    gap: int,
    factor: float,
    answer: Any,
    response_ms: int,
    events: Events,
    items: Items,
    rows: Rows,
    served: Served,
) -> int:
    """The record of one event.

    Args:
        out: uint8[size]
        at: where it begins.
        i: the event.
        partition: its partition.
        event_ms: its event time.
        weight: its learning weight.
        gap: event time since the user's event before it, ms.
        factor: what the user's stored preference weights are multiplied by.
        answer: (list, rank) that it responds to, as `lists.attribute` gives it.
        response_ms: when it responded.
        events: the batch.
        items: its items.
        rows: its users, as they are with this event's session and before its preference.
        served: their lists.
    """
    start, length, raw = events.columns.start, events.columns.length, events.raw
    k, item, offset = events.user[i], events.item[i], events.offset[i]
    m, rank = answer
    at = put_size(out, at, _FIELDS + (m != NONE), 0x80, 16, 0xDE, 2)
    at = put_int(out, put_piece(out, at, _PIECES, _ENDS, _SRC), partition)
    at = put_int(out, at, offset)
    at = put_text(out, put_piece(out, at, _PIECES, _ENDS, _USER), raw, start[i, USER], length[i, USER])
    at = put_text(out, put_piece(out, at, _PIECES, _ENDS, _ITEM), raw, start[i, ITEM], length[i, ITEM])
    at = put_unsigned(out, put_piece(out, at, _PIECES, _ENDS, _IH), items.hashes[item])
    at = put_piece(out, at, _PIECES, _ENDS, _ID)
    if length[i, EVENT_ID] > 0:
        at = put_text(out, at, raw, start[i, EVENT_ID], length[i, EVENT_ID])
    else:
        # Two numbers of 64 bits and a sign between them: the head is one byte, or two from 32 digits on.
        end = put_name(out, at + 1, partition, offset)
        if end - at - 1 < 32:
            out[at] = np.uint8(0xA0 | (end - at - 1))
            at = end
        else:
            end = put_name(out, at + 2, partition, offset)
            out[at], out[at + 1] = 0xD9, np.uint8(end - at - 2)
            at = end
    at = put_text(out, put_piece(out, at, _PIECES, _ENDS, _TYPE), raw, start[i, TYPE], length[i, TYPE])
    at = put_piece(out, at, _PIECES, _ENDS, _VALUE)
    if np.isnan(events.columns.value[i]):
        out[at] = 0xC0
        at += 1
    else:
        at = put_double(out, at, events.columns.value[i])
    at = put_int(out, put_piece(out, at, _PIECES, _ENDS, _T), event_ms)
    at = put_int(out, put_piece(out, at, _PIECES, _ENDS, _TS), events.appended_ms[i])
    at = put_double(out, put_piece(out, at, _PIECES, _ENDS, _W), weight)
    at = put_int(out, put_piece(out, at, _PIECES, _ENDS, _SESSION), rows.numbers[k, SESSION])
    at = put_int(out, put_int(out, at, rows.numbers[k, POSITION]), gap)
    at = _put_context(out, put_piece(out, at, _PIECES, _ENDS, _CTX), i, event_ms, events)
    at = put_piece(out, at, _PIECES, _ENDS, _CONTENT)
    first, end = items.ptr[item], items.ptr[item + 1]
    at = put_binary(out, at, 4 * max(end - first - 1, 0))
    for w in range(first + 1, end):
        at = put_word(out, at, items.words[w])
    at = _put_preference(out, put_piece(out, at, _PIECES, _ENDS, _PREF), k, factor, rows)
    return at if m == NONE else _put_list(out, at, i, m, rank, response_ms, events, served)
