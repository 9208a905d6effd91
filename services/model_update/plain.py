"""A kernel that reads features records where they lie, and takes the plain ones.

A plain record is a msgpack map of the wanted version with every field of its kind, in any order and each of its type.
Other fields are skipped: values, and lists and maps of values. All else is for the decoder, which says what is wrong.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from services.model.arrays import F32, I64, U8, U64
from services.model.jit import kernel
from services.model.texts import is_text

UNREAD, EVENT, IMPLIED, ERASE, BATCH = range(5)
"""Kinds of records; UNREAD: not a plain one."""
TEXTS = 6
USER, ITEM, ID, CONTEXT, CONTENT, PREFERENCE = range(TEXTS)
"""Columns of `Columns.start`: three texts and three fields of bytes."""

_FIELDS = ("user", "item", "id", "ctx", "content", "pref", "v", "kind", "ih", "value", "t", "ts", "w")
_VERSION, _KIND, _HASH, _VALUE, _T, _TS, _WEIGHT = range(TEXTS, len(_FIELDS))
_MARKS = 1 << _VERSION | 1 << _KIND
_ALL = (1 << len(_FIELDS)) - 1
_NEEDED = np.array([0, _ALL, _ALL, _MARKS | 1 << USER, _MARKS])
"""The fields of each kind, one bit each."""


def _word(name: str) -> int:
    """A short name as a number."""
    return len(name) << 56 | int.from_bytes(name.encode(), "big")


_FIELD_WORDS = np.array([_word(name) for name in _FIELDS], np.uint64)
_KIND_WORDS = np.array([0, *map(_word, ("event", "implied", "erase", "batch"))], np.uint64)

_ODD, _NIL, _BOOL, _ARRAY, _MAP, _STR, _BIN, _UINT, _INT, _FLOAT32, _FLOAT64 = range(11)
"""What a msgpack value is; odd: an extension, or nothing that msgpack knows."""
_HEADS = (
    *((_NIL, 0), (_ODD, 0), (_BOOL, 0), (_BOOL, 0), (_BIN, 1), (_BIN, 2), (_BIN, 4), (_ODD, 0)),
    *((_ODD, 0), (_ODD, 0), (_FLOAT32, 4), (_FLOAT64, 8), (_UINT, 1), (_UINT, 2), (_UINT, 4), (_UINT, 8)),
    *((_INT, 1), (_INT, 2), (_INT, 4), (_INT, 8), (_ODD, 0), (_ODD, 0), (_ODD, 0), (_ODD, 0)),
    *((_ODD, 0), (_STR, 1), (_STR, 2), (_STR, 4), (_ARRAY, 2), (_ARRAY, 4), (_MAP, 2), (_MAP, 4)),
)
"""(what it is, bytes of its number, length or count) of the first bytes 0xc0 to 0xdf."""
_TYPES, _WIDTHS = np.array(_HEADS, np.int64).T.copy()


class Columns(NamedTuple):
    """n records, in the form that kernels take. What a record of its kind does not have is undefined."""

    kind: U8
    """uint8[n]"""
    item_hash: U64
    """uint64[n]"""
    value: F32
    """float32[n]; NaN when there is none."""
    t_ms: I64
    """int64[n]"""
    ts_ms: I64
    """int64[n]"""
    weight: F32
    """float32[n]"""
    start: I64
    """int64[n, 6] where texts and bytes begin."""
    length: I64
    """int64[n, 6] bytes."""


def empty_columns(n: int) -> Columns:
    """Room for n records."""
    texts = (n, TEXTS)
    return Columns(
        kind=np.empty(n, np.uint8),
        item_hash=np.empty(n, np.uint64),
        value=np.empty(n, np.float32),
        t_ms=np.empty(n, np.int64),
        ts_ms=np.empty(n, np.int64),
        weight=np.empty(n, np.float32),
        start=np.empty(texts, np.int64),
        length=np.empty(texts, np.int64),
    )


@kernel
def _head(buffer: U8, at: int, end: int) -> Any:
    """The value at a place: (what it is, its number, length or count as uint64, place behind that)."""
    if at >= end:
        return _ODD, np.uint64(0), at
    head = np.uint64(buffer[at])
    at += 1
    if head < np.uint64(0x80):
        return _UINT, head, at
    if head < np.uint64(0x90):
        return _MAP, head & np.uint64(0x0F), at
    if head < np.uint64(0xA0):
        return _ARRAY, head & np.uint64(0x0F), at
    kind, number = _STR, head & np.uint64(0x1F)
    if head >= np.uint64(0xE0):
        return _INT, head | np.uint64(0xFFFF_FFFF_FFFF_FF00), at
    if head >= np.uint64(0xC0):
        kind, width = _TYPES[number], _WIDTHS[number]
        if width > end - at:
            return _ODD, np.uint64(0), at
        number = np.uint64(0)
        for i in range(at, at + width):
            number = number << np.uint64(8) | np.uint64(buffer[i])
        at += width
        if kind == _INT:
            unused = np.uint64(64 - 8 * width)
            number = np.uint64(np.int64(number << unused) >> np.int64(unused))
    if (kind in (_STR, _BIN)) and number > np.uint64(end - at):
        kind = _ODD
    return kind, number, at


@kernel
def _find_word(buffer: U8, at: int, size: np.uint64, words: U64) -> int:
    """Which of some words stands at a place; -1 for none."""
    if size > np.uint64(7):
        return -1
    word = np.uint64(0)
    for i in range(at, at + np.int64(size)):
        word = word << np.uint64(8) | np.uint64(buffer[i])
    word |= size << np.uint64(56)
    for i in range(len(words)):
        if words[i] == word:
            return i
    return -1


@kernel
def _behind(buffer: U8, end: int, kind: int, number: Any, at: Any) -> Any:
    """The place behind a value of which the head was read; -1 when it is odd or has lists in lists."""
    if kind == _ODD:
        return -1
    if kind in (_STR, _BIN):
        behind = at + np.int64(number)
        return behind if kind == _BIN or is_text(buffer, at, behind) else -1
    entries = np.int64(number) if kind == _ARRAY else 2 * np.int64(number) if kind == _MAP else 0
    for i in range(entries):
        inner, size, at = _head(buffer, at, end)
        if inner in (_ODD, _ARRAY, _MAP) or (kind == _MAP and i % 2 == 0 and inner != _STR):
            return -1
        if inner in (_STR, _BIN):
            behind = at + np.int64(size)
            if inner == _STR and not is_text(buffer, at, behind):
                return -1
            at = behind
    return at


@kernel
def _as_float(kind: int, number: Any) -> Any:
    """A number of any type, float32; floats travel as their bits."""
    if kind == _FLOAT32:
        return np.uint32(number).view(np.float32)
    if kind == _FLOAT64:
        return np.float32(np.uint64(number).view(np.float64))
    # By way of float64, as Python does.
    return np.float32(np.float64(np.int64(number)) if kind == _INT else np.float64(number))


@kernel
def _read_one(buffer: U8, at: Any, end: int, version: int, row: int, columns: Columns) -> int:
    """Read a record into its row; returns its kind."""
    what, entries, at = _head(buffer, at, end)
    if what != _MAP:
        return UNREAD
    kind, have = UNREAD, 0
    for _ in range(np.int64(entries)):
        what, size, at = _head(buffer, at, end)
        if what != _STR:
            return UNREAD
        field = _find_word(buffer, at, size, _FIELD_WORDS)
        # The names of the fields are known to be text.
        at = at + np.int64(size) if field >= 0 else _behind(buffer, end, what, size, at)
        if at < 0:
            return UNREAD
        what, number, at = _head(buffer, at, end)
        start = at
        at = _behind(buffer, end, what, number, at)
        if at < 0:
            return UNREAD
        if field < 0:
            continue
        have |= 1 << field
        if field < TEXTS:
            if what != (_STR if field <= ID else _BIN) or (field in (CONTEXT, CONTENT) and (at - start) % 4 != 0):
                return UNREAD
            columns.start[row, field], columns.length[row, field] = start, at - start
        elif field == _KIND:
            kind = _find_word(buffer, start, number, _KIND_WORDS) if what == _STR else UNREAD
            if kind <= UNREAD:
                return UNREAD
        elif field == _VALUE and what == _NIL:
            columns.value[row] = np.nan
        elif what < _UINT:
            return UNREAD
        elif field == _VALUE:
            columns.value[row] = _as_float(what, number)
        elif field == _WEIGHT:
            columns.weight[row] = _as_float(what, number)
        elif what > _INT:
            return UNREAD
        elif field == _VERSION:
            if number != np.uint64(version):
                return UNREAD
        elif field == _HASH:
            if what == _INT and np.int64(number) < 0:
                return UNREAD
            columns.item_hash[row] = number
        else:
            if what == _UINT and np.int64(number) < 0:
                return UNREAD
            times = columns.t_ms if field == _T else columns.ts_ms
            times[row] = np.int64(number)
    return kind if at == end and have & _NEEDED[kind] == _NEEDED[kind] else UNREAD


@kernel
def read_plain(buffer: U8, ends: I64, version: int, columns: Columns) -> None:
    """Read consecutive records of a version, one row each.

    The version is an argument because the compiled code, kept on disk, would not notice that a constant of another file
    has changed.

    Args:
        buffer: uint8[size], the records end to end.
        ends: int64[n] where each ends.
        version: the one that plain records have.
        columns: n rows, out.
    """
    start = 0
    for row in range(len(ends)):
        columns.kind[row] = _read_one(buffer, start, ends[row], version, row, columns)
        start = ends[row]
