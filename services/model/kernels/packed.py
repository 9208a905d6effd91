"""Item rows between the arenas and their records, where the records' bytes lie.

A record is a sequence of constant pieces, with the row's numbers and the bytes of its blocks between them. Which pieces
these are is the contract's to say; kernels pass over them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from services.model.arena import Lists, list_room
from services.model.arrays import I64, U8, U32
from services.model.jit import kernel
from services.model.kernels.wire import (
    LONGEST_NUMBER,
    get_bytes,
    get_int,
    get_piece,
    put_binary,
    put_bytes,
    put_int,
    put_piece,
)

# Numpy's numbers: of Python's, numba would compile a version of the functions that take them for each.
_OFFSET, _COUNT, _SLOT, _POP, _Q, _B, _V, _NEAR, _CONTENT, _TOUCH = np.arange(10)
PIECES = 10
"""The pieces of a record: what stands before each of its numbers and blocks."""
NUMBERS = 3
BLOCKS = PIECES - NUMBERS
COUNT, SLOT = 0, 1
FIELDS = 2 + 2 * BLOCKS
"""Columns of the fields of a record: its count and slot, then where each block begins and how many bytes it has."""
HEADS = NUMBERS * LONGEST_NUMBER + BLOCKS * LONGEST_NUMBER
"""Bytes of a record beside its pieces and the content of its blocks, at most."""


class Form(NamedTuple):
    """The pieces of a record."""

    text: U8
    ends: I64
    """int64[10] where each piece ends in `text`."""


class ItemRows(NamedTuple):
    """The arenas of the item rows. What is copied is there as bytes: uint8[room * width], row by row."""

    counts: U32
    names: Lists
    name_bytes: U8
    pop: U8
    q: U8
    q_acc: U8
    b: U8
    v: U8
    v_acc: U8
    sums: U8
    near: Lists
    near_keys: U8
    near_values: U8
    content: Lists
    content_keys: U8
    widths: I64
    """int64[7] bytes of a row of pop, q, q_acc, b, v, v_acc and sums."""


_W_POP, _W_Q, _W_Q_ACC, _W_B, _W_V, _W_V_ACC, _W_SUMS = np.arange(7)
_KEY, _WORD = 8, 4
"""Bytes of a neighbour's hash and of a content feature."""


@kernel
def _read_fields(buffer: U8, at: Any, end: int, form: Form, fields: I64, i: int) -> Any:
    """Read where the parts of a record lie; False for a record of another form."""
    at = get_piece(buffer, at, end, form.text, form.ends, _OFFSET)
    _, at = get_int(buffer, at)
    at = get_piece(buffer, at, end, form.text, form.ends, _COUNT)
    fields[i, COUNT], at = get_int(buffer, at)
    at = get_piece(buffer, at, end, form.text, form.ends, _SLOT)
    fields[i, SLOT], at = get_int(buffer, at)
    for k in range(BLOCKS):
        at = get_piece(buffer, at, end, form.text, form.ends, _POP + k)
        size, at = get_bytes(buffer, at, end)
        fields[i, 2 + 2 * k], fields[i, 3 + 2 * k] = at, size
        at = at + size if at >= 0 else -1
    return at == end


@kernel
def are_rows(buffer: U8, ends: I64, form: Form, fields: I64, out: U8) -> None:
    """Which of n consecutive records have this form.

    Args:
        buffer: the records end to end, and LONGEST_NUMBER bytes more.
        ends: int64[n] where each ends.
        form: the pieces.
        fields: int64[1, FIELDS] scratch.
        out: uint8[n] receives 1 for those that have it.
    """
    start = 0
    for i in range(len(ends)):
        out[i] = _read_fields(buffer, start, ends[i], form, fields, 0)
        start = ends[i]


@kernel
def _named(t: ItemRows, row: int, keys: U8, start: int, size: int) -> bool:
    """Whether the row at a position has this name: bytes up to a whole word, and a word that says how many they are."""
    words = t.names.length[row]
    if words != (size + 3) // 4 + 1:
        return False
    at = 4 * t.names.where[row]
    last = at + 4 * (words - 1)
    stored: Any = 0
    for i in range(4):
        stored |= np.int64(t.name_bytes[last + i]) << (8 * i)
    if stored != size:
        return False
    here, there = np.uint64(at), np.uint64(start)
    for i in range(np.uint64(size)):  # noqa: SIM110  (a generator does not compile)
        if t.name_bytes[here + i] != keys[there + i]:
            return False
    return True


@kernel
def _fits(t: ItemRows, fields: I64, i: int) -> Any:
    """Whether the blocks of a record have the sizes of this table."""
    w = t.widths
    near = fields[i, 3 + 2 * (_NEAR - _POP)] - w[_W_SUMS]
    entry = _KEY + (w[_W_SUMS] - 4)
    content = fields[i, 3 + 2 * (_CONTENT - _POP)]
    return (
        fields[i, 3] == w[_W_POP]
        and fields[i, 3 + 2 * (_Q - _POP)] == w[_W_Q] + w[_W_Q_ACC]
        and fields[i, 3 + 2 * (_B - _POP)] == w[_W_B]
        and fields[i, 3 + 2 * (_V - _POP)] == w[_W_V] + w[_W_V_ACC]
        and near >= 0
        and near % entry == 0
        and near // entry <= t.near.sizes[len(t.near.sizes) - 1]
        and content % _WORD == 0
        and content // _WORD <= t.content.sizes[len(t.content.sizes) - 1]
    )


@kernel
def standing(  # noqa: PLR0913, PLR0917  (two buffers with their ends)
    t: ItemRows,
    values: U8,
    value_ends: I64,
    keys: U8,
    key_ends: I64,
    form: Form,
    stride: int,
    first: int,
    bound: int,
    fields: I64,
    rows: I64,
) -> None:
    """Find the records of a sweep whose rows stand where they say already, under the name of their key.

    Args:
        t: the rows.
        values: n records end to end, and LONGEST_NUMBER bytes more.
        value_ends: int64[n]
        keys: their keys, end to end.
        key_ends: int64[n]
        form: the pieces.
        stride: a row of slot s stands at s * stride + first,
        first: which is below
        bound: this.
        fields: int64[n, FIELDS] receives where the parts of the records lie.
        rows: int64[n] receives their positions, -1 for those that are to be taken in otherwise.
    """
    start = key = 0
    for i in range(len(value_ends)):
        rows[i] = -1
        if _read_fields(values, start, value_ends[i], form, fields, i) and _fits(t, fields, i):
            slot = fields[i, SLOT]
            # A slot that no table has must not be multiplied.
            row = slot * stride + first if 0 <= slot < bound else bound
            if row < bound and _named(t, row, keys, key, key_ends[i] - key):
                rows[i] = row
        start, key = value_ends[i], key_ends[i]


@kernel
def set_rows(t: ItemRows, values: U8, fields: I64, rows: I64) -> None:
    """Overwrite rows with the records that `standing` found for them; -1 is skipped."""
    w = t.widths
    width = w[_W_SUMS] - 4
    for i in range(len(rows)):
        row = rows[i]
        if row < 0:
            continue
        t.counts[row] = fields[i, COUNT]
        put_bytes(t.pop, row * w[_W_POP], values, fields[i, 2], w[_W_POP])
        at = fields[i, 2 + 2 * (_Q - _POP)]
        put_bytes(t.q, row * w[_W_Q], values, at, w[_W_Q])
        put_bytes(t.q_acc, row * w[_W_Q_ACC], values, at + w[_W_Q], w[_W_Q_ACC])
        put_bytes(t.b, row * w[_W_B], values, fields[i, 2 + 2 * (_B - _POP)], w[_W_B])
        at = fields[i, 2 + 2 * (_V - _POP)]
        put_bytes(t.v, row * w[_W_V], values, at, w[_W_V])
        put_bytes(t.v_acc, row * w[_W_V_ACC], values, at + w[_W_V], w[_W_V_ACC])
        at = fields[i, 2 + 2 * (_NEAR - _POP)]
        put_bytes(t.sums, row * w[_W_SUMS], values, at, w[_W_SUMS])
        at += w[_W_SUMS]
        to, n = list_room(t.near, row, (fields[i, 3 + 2 * (_NEAR - _POP)] - w[_W_SUMS]) // (_KEY + width))
        for e in range(to, to + n):
            put_bytes(t.near_keys, e * _KEY, values, at, _KEY)
            put_bytes(t.near_values, e * width, values, at + _KEY, width)
            at += _KEY + width
        to, n = list_room(t.content, row, fields[i, 3 + 2 * (_CONTENT - _POP)] // _WORD)
        put_bytes(t.content_keys, to * _WORD, values, fields[i, 2 + 2 * (_CONTENT - _POP)], n * _WORD)


@kernel
def write_rows(  # noqa: PLR0913, PLR0917  (the rows, what their owner adds, and two buffers with their ends)
    t: ItemRows,
    rows: I64,
    touch: U8,
    tick: U8,
    offset: int,
    form: Form,
    values: U8,
    value_ends: I64,
    keys: U8,
    key_ends: I64,
) -> None:
    """Write the records of n rows and their keys, each end to end.

    Args:
        t: the rows.
        rows: int64[n] their positions, which are their slots.
        touch: int64[room] as bytes, ordinals of the owner's last touch of each row.
        tick: float32[room] as bytes, the newest tick then.
        offset: next offset of item-deltas.
        form: the pieces.
        values: receives the records; has room for them.
        value_ends: int64[n] receives where each ends.
        keys: receives their keys; has room for them.
        key_ends: int64[n]
    """
    w = t.widths
    width = w[_W_SUMS] - 4
    at: Any = 0
    key = 0
    for i in range(len(rows)):
        row: Any = rows[i]
        at = put_int(values, put_piece(values, at, form.text, form.ends, _OFFSET), offset)
        count: Any = np.int64(t.counts[row])
        at = put_int(values, put_piece(values, at, form.text, form.ends, _COUNT), count)
        at = put_int(values, put_piece(values, at, form.text, form.ends, _SLOT), row)
        at = _head(values, at, form, _POP, w[_W_POP])
        at = put_bytes(values, at, t.pop, row * w[_W_POP], w[_W_POP])
        at = _head(values, at, form, _Q, w[_W_Q] + w[_W_Q_ACC])
        at = put_bytes(values, at, t.q, row * w[_W_Q], w[_W_Q])
        at = put_bytes(values, at, t.q_acc, row * w[_W_Q_ACC], w[_W_Q_ACC])
        at = _head(values, at, form, _B, w[_W_B])
        at = put_bytes(values, at, t.b, row * w[_W_B], w[_W_B])
        at = _head(values, at, form, _V, w[_W_V] + w[_W_V_ACC])
        at = put_bytes(values, at, t.v, row * w[_W_V], w[_W_V])
        at = put_bytes(values, at, t.v_acc, row * w[_W_V_ACC], w[_W_V_ACC])
        n: Any = np.int64(t.near.length[row])
        source = t.near.where[row]
        at = _head(values, at, form, _NEAR, w[_W_SUMS] + n * (_KEY + width))
        at = put_bytes(values, at, t.sums, row * w[_W_SUMS], w[_W_SUMS])
        for e in range(source, source + n):
            at = put_bytes(values, at, t.near_keys, e * _KEY, _KEY)
            at = put_bytes(values, at, t.near_values, e * width, width)
        n, source = np.int64(t.content.length[row]), t.content.where[row]
        at = _head(values, at, form, _CONTENT, n * _WORD)
        at = put_bytes(values, at, t.content_keys, source * _WORD, n * _WORD)
        at = _head(values, at, form, _TOUCH, 12)
        at = put_bytes(values, at, touch, row * 8, 8)
        value_ends[i] = at = put_bytes(values, at, tick, row * 4, 4)
        words, source = np.int64(t.names.length[row]), t.names.where[row]
        size: Any = np.int64(t.names.keys[source + words - 1])
        key_ends[i] = key = put_bytes(keys, key, t.name_bytes, 4 * source, size)


@kernel
def _head(values: U8, at: int, form: Form, piece: Any, size: Any) -> Any:
    """What stands before the bytes of a block."""
    return put_binary(values, put_piece(values, at, form.text, form.ends, piece), size)
