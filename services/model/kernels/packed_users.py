"""User rows and seen chunks between the arenas and their records, where the records' bytes lie.

As for item rows (`packed.py`), a record is a sequence of constant pieces with numbers, a text and the bytes of blocks
between them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from services.model.arena import Lists, list_room
from services.model.arrays import I64, U8
from services.model.jit import kernel
from services.model.kernels.packed import Form
from services.model.kernels.wire import (
    LONGEST_NUMBER,
    get_bytes,
    get_int,
    get_piece,
    get_text,
    put_big,
    put_binary,
    put_bytes,
    put_int,
    put_piece,
    put_text,
)
from services.model.texts import is_text
from services.model.users import SEEN_CHUNK

# Numpy's numbers: of Python's, numba would compile a version of the functions that take them for each.
_PARTITION, _OFFSET, _EPOCH, _COUNT, _ID, _TIME, _APPENDED, _BLOCK, _PREFERENCE, _SEEN, _CHUNK, _MARK = np.array(
    [0, 1, 2, 3, 4, 5, 6, 7, 13, 14, 15, 16]
)
PIECES = 17
"""What stands before each part of a row, before the items of a chunk, and in a chunk's key before its number."""
BLOCKS = 6
NUMBERS = 7
PARTITION, OFFSET, EPOCH, COUNT, EVENT_MS, APPEND_MS, SEEN = range(NUMBERS)
"""Columns of the fields of a row: its numbers,"""
ID = NUMBERS
FIRST_BLOCK = ID + 2
PREFERENCE = FIRST_BLOCK + 2 * BLOCKS
FIELDS = PREFERENCE + 2
"""then where its id, its blocks and its preferences begin, each followed by how many bytes it has."""
HEADS = (NUMBERS + BLOCKS + 2) * LONGEST_NUMBER
"""Bytes of a row beside its pieces and the content of its id, blocks and preferences, at most."""
ITEMS = 0
"""Column of the fields of a chunk: where its items begin, followed by how many bytes they have."""
_NUMBER_BYTES = 4
"""Of a chunk's number, at the end of its key."""
_VECTOR, _COUNTS, _ITEMS, _SECONDS, _CATEGORIES, _WEIGHTS = FIRST_BLOCK + 2 * np.arange(BLOCKS)
_HASH, _WORD = 8, 4
"""Bytes of an item's hash, and of a second, a category, its count or the accumulator."""


class UserBlocks(NamedTuple):
    """The arenas of the user rows. What is copied is there as bytes: uint8[room * width], row by row."""

    vector: U8
    acc: U8
    touch: U8
    seen_total: U8
    saved: U8
    history: Lists
    history_keys: U8
    history_values: U8
    categories: Lists
    category_keys: U8
    category_values: U8
    seen: Lists
    seen_keys: U8
    names: Lists
    name_bytes: U8
    vector_bytes: int
    """Bytes of a vector."""


class Heads(NamedTuple):
    """What the records of n users have beside their blocks."""

    numbers: I64
    """int64[n, NUMBERS] of their rows, by column."""
    ids: U8
    """Ids of their newest events, end to end."""
    id_ends: I64
    preferences: U8
    """Their preferences, in the same way."""
    preference_ends: I64
    first: I64
    """int64[n] place in the ring of items seen, from which on"""
    entries: I64
    """int64[n] so many are written, with the chunks that they are in."""


class Written(NamedTuple):
    """Receives records."""

    values: U8
    """Of the records, end to end."""
    value_ends: I64
    keys: U8
    """Theirs, in the same way."""
    key_ends: I64


@kernel
def _chunk_of(keys: U8, start: int, end: int, form: Form) -> Any:
    """The number of the chunk that a key names; -1 when it is a user's."""
    number = end - _NUMBER_BYTES
    mark = number - (form.ends[_MARK] - form.ends[_MARK - 1])
    if mark <= start or get_piece(keys, mark, end, form.text, form.ends, _MARK) < 0:
        return np.int64(-1)
    chunk = np.int64(0)
    for i in range(number, end):
        chunk = chunk << 8 | np.int64(keys[i])
    return chunk


@kernel
def _number(buffer: U8, at: Any, end: int, form: Form, piece: Any, fields: I64, i: int, column: int) -> Any:
    """Read a number and what stands before it; the place behind it."""
    fields[i, column], at = get_int(buffer, get_piece(buffer, at, end, form.text, form.ends, piece))
    return at


@kernel
def _bytes(buffer: U8, at: Any, end: int, form: Form, piece: Any, fields: I64, i: int, column: int) -> Any:
    """Read where bytes lie, and what stands before them; the place behind them."""
    size, at = get_bytes(buffer, get_piece(buffer, at, end, form.text, form.ends, piece), end)
    fields[i, column], fields[i, column + 1] = at, size
    return at + size if at >= 0 else -1


@kernel
def _read_row(buffer: U8, at: Any, end: int, form: Form, fields: I64, i: int) -> Any:
    """Read where the parts of a row lie; False for a record of another form."""
    at = _number(buffer, at, end, form, _PARTITION, fields, i, PARTITION)
    at = _number(buffer, at, end, form, _OFFSET, fields, i, OFFSET)
    at = _number(buffer, at, end, form, _EPOCH, fields, i, EPOCH)
    at = _number(buffer, at, end, form, _COUNT, fields, i, COUNT)
    size, at = get_text(buffer, get_piece(buffer, at, end, form.text, form.ends, _ID), end)
    if at < 0 or not is_text(buffer, at, at + size):
        return False
    fields[i, ID], fields[i, ID + 1] = at, size
    at = _number(buffer, at + size, end, form, _TIME, fields, i, EVENT_MS)
    at = _number(buffer, at, end, form, _APPENDED, fields, i, APPEND_MS)
    for k in range(BLOCKS):
        at = _bytes(buffer, at, end, form, _BLOCK + k, fields, i, FIRST_BLOCK + 2 * k)
    at = _bytes(buffer, at, end, form, _PREFERENCE, fields, i, PREFERENCE)
    return _number(buffer, at, end, form, _SEEN, fields, i, SEEN) == end


@kernel
def read_records(
    keys: U8, key_ends: I64, values: U8, value_ends: I64, form: Form, fields: I64, chunks: I64, plain: U8
) -> None:
    """Read where the parts of n records lie.

    Args:
        keys: the keys end to end, and LONGEST_NUMBER bytes more.
        key_ends: int64[n] where each ends.
        values: the records, in the same way; no bytes stand for one that is not read.
        value_ends: int64[n]
        form: the pieces.
        fields: int64[n, FIELDS] receives the numbers and places.
        chunks: int64[n] receives the number of the seen chunk that the key names, -1 for a row.
        plain: uint8[n] receives 1 for a record that has a key and the form of its kind; the fields of others are
            undefined.
    """
    key = start = 0
    for i in range(len(value_ends)):
        chunks[i] = _chunk_of(keys, key, key_ends[i], form)
        if chunks[i] < 0:
            plain[i] = key_ends[i] > key and _read_row(values, start, value_ends[i], form, fields, i)
        else:
            behind = _bytes(values, start, value_ends[i], form, _CHUNK, fields, i, ITEMS)
            plain[i] = behind == value_ends[i]
        key, start = key_ends[i], value_ends[i]


@kernel
def misfit(t: UserBlocks, fields: I64) -> int:
    """The first of some rows of which the blocks do not have the sizes of this table; -1 when they all have."""
    for i in range(len(fields)):
        items, categories = fields[i, _ITEMS + 1], fields[i, _CATEGORIES + 1]
        if (
            fields[i, _VECTOR + 1] != t.vector_bytes + _WORD
            or fields[i, _COUNTS + 1] != 16
            or items % _HASH != 0
            or 2 * fields[i, _SECONDS + 1] != items
            or categories % _WORD != 0
            or fields[i, _WEIGHTS + 1] != categories
        ):
            return i
    return -1


@kernel
def set_users(t: UserBlocks, slots: I64, values: U8, fields: I64) -> None:
    """Overwrite the rows in n slots, which may come more than once, with those that `read_records` found.

    Args:
        t: the rows.
        slots: int64[n]
        values: the records.
        fields: int64[n, FIELDS] where their parts lie; all fit.
    """
    width = t.vector_bytes
    for i in range(len(slots)):
        slot = slots[i]
        at = fields[i, _VECTOR]
        put_bytes(t.vector, slot * width, values, at, width)
        put_bytes(t.acc, slot * 4, values, at + width, 4)
        at = fields[i, _COUNTS]
        put_bytes(t.touch, slot * 8, values, at, 8)
        # The items ever seen travel in eight bytes and are kept in four.
        put_bytes(t.seen_total, slot * 4, values, at + 8, 4)
        put_bytes(t.saved, slot * 4, values, at + 8, 4)
        _set_list(
            t.history, t.history_keys, t.history_values, _HASH,
            slot, values, fields[i, _ITEMS], fields[i, _SECONDS], fields[i, _ITEMS + 1] // _HASH,
        )  # fmt: skip
        _set_list(
            t.categories, t.category_keys, t.category_values, _WORD,
            slot, values, fields[i, _CATEGORIES], fields[i, _WEIGHTS], fields[i, _CATEGORIES + 1] // _WORD,
        )  # fmt: skip


@kernel
def _set_list(  # noqa: PLR0913, PLR0917  (a pool with its bytes, and two places in a buffer)
    pool: Lists, keys: U8, values: U8, width: int, row: int, buffer: U8, key: int, value: int, entries: int
) -> None:
    """Give a row the list of which the keys and the values lie at these places; past the limit the last stay."""
    at, n = list_room(pool, row, entries)
    left_out = entries - n
    put_bytes(keys, at * width, buffer, key + left_out * width, n * width)
    put_bytes(values, at * _WORD, buffer, value + left_out * _WORD, n * _WORD)


@kernel
def write_users(t: UserBlocks, slots: I64, heads: Heads, form: Form, out: Written) -> Any:
    """Write the rows of n users, each followed by those of its seen chunks that are to be written.

    Args:
        t: the rows.
        slots: int64[n] where they stand.
        heads: what else is in the records, and which chunks are written.
        form: the pieces.
        out: receives the records; has room for them.

    Returns:
        How many records there are.
    """
    limit = t.seen.sizes[len(t.seen.sizes) - 1]
    record: Any = 0
    at: Any = 0
    key: Any = 0
    for i in range(len(slots)):
        slot: Any = slots[i]
        at = _put_row(out.values, at, t, slot, heads, i, form)
        key = _put_name(out.keys, key, t, slot)
        out.value_ends[record], out.key_ends[record] = at, key
        record += 1
        first: Any = heads.first[i]
        if heads.entries[i] == 0:
            continue
        for start in range(0, limit, SEEN_CHUNK):
            # The chunk that the first entry is in, and those that begin among the entries.
            if first - SEEN_CHUNK < start <= first or (start - first) % limit < heads.entries[i]:
                entries: Any = max(0, min(SEEN_CHUNK, t.seen.length[slot] - start))
                size: Any = entries * _HASH
                at = _put_head(out.values, at, form, _CHUNK, size)
                at = put_bytes(out.values, at, t.seen_keys, (t.seen.where[slot] + start) * _HASH, size)
                key = put_piece(out.keys, _put_name(out.keys, key, t, slot), form.text, form.ends, _MARK)
                key = put_big(out.keys, key, np.uint64(start // SEEN_CHUNK), _NUMBER_BYTES)
                out.value_ends[record], out.key_ends[record] = at, key
                record += 1
    return record


@kernel
def _put_row(out: U8, at: Any, t: UserBlocks, slot: Any, heads: Heads, i: int, form: Form) -> Any:
    """Write the record of a row."""
    numbers = heads.numbers[i]
    at = _put_number(out, at, form, _PARTITION, numbers[PARTITION])
    at = _put_number(out, at, form, _OFFSET, numbers[OFFSET])
    at = _put_number(out, at, form, _EPOCH, numbers[EPOCH])
    at = _put_number(out, at, form, _COUNT, numbers[COUNT])
    start = heads.id_ends[i - 1] if i else 0
    at = put_piece(out, at, form.text, form.ends, _ID)
    at = put_text(out, at, heads.ids, start, heads.id_ends[i] - start)
    at = _put_number(out, at, form, _TIME, numbers[EVENT_MS])
    at = _put_number(out, at, form, _APPENDED, numbers[APPEND_MS])
    width = t.vector_bytes
    at = _put_head(out, at, form, _BLOCK, width + _WORD)
    at = put_bytes(out, at, t.vector, slot * width, width)
    at = put_bytes(out, at, t.acc, slot * _WORD, _WORD)
    at = _put_head(out, at, form, _BLOCK + 1, 16)
    at = put_bytes(out, at, t.touch, slot * 8, 8)
    at = put_bytes(out, at, t.seen_total, slot * _WORD, _WORD)
    at = put_big(out, at, np.uint64(0), 4)
    at = _put_list(out, at, form, _BLOCK + 2, t.history, t.history_keys, t.history_values, _HASH, slot)
    at = _put_list(out, at, form, _BLOCK + 4, t.categories, t.category_keys, t.category_values, _WORD, slot)
    start = heads.preference_ends[i - 1] if i else 0
    size: Any = heads.preference_ends[i] - start
    at = put_bytes(out, _put_head(out, at, form, _PREFERENCE, size), heads.preferences, start, size)
    return _put_number(out, at, form, _SEEN, numbers[SEEN])


@kernel
def _put_number(out: U8, at: Any, form: Form, piece: Any, value: Any) -> Any:
    """Write a number and what stands before it."""
    return put_int(out, put_piece(out, at, form.text, form.ends, piece), value)


@kernel
def _put_head(out: U8, at: Any, form: Form, piece: Any, size: Any) -> Any:
    """Write what stands before bytes."""
    return put_binary(out, put_piece(out, at, form.text, form.ends, piece), size)


@kernel
def _put_list(  # noqa: PLR0913, PLR0917  (a place in a record, and a pool with its bytes)
    out: U8, at: Any, form: Form, piece: Any, pool: Lists, keys: U8, values: U8, width: int, row: Any
) -> Any:
    """Write the keys and the values of a list, two blocks."""
    n: Any = np.int64(pool.length[row])
    source: Any = pool.where[row]
    at = put_bytes(out, _put_head(out, at, form, piece, n * width), keys, source * width, n * width)
    return put_bytes(out, _put_head(out, at, form, piece + 1, n * _WORD), values, source * _WORD, n * _WORD)


@kernel
def _put_name(out: U8, at: Any, t: UserBlocks, slot: Any) -> Any:
    """Write the id of a user."""
    source: Any = t.names.where[slot]
    size: Any = np.int64(t.names.keys[source + t.names.length[slot] - 1])
    return put_bytes(out, at, t.name_bytes, source * _WORD, size)
