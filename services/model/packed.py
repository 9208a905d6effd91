"""Item rows in their wire form, many at a time: an owner writes them, replicas take in those that have not moved.

Most rows of a sweep stand where they stood before, with new values. A kernel copies these between the arenas and the
records' bytes. All else (rows of other kinds, new, moved and evicted ones, records of another form) goes through
`RowChange`, row by row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.model.arena import Lists
from services.model.arrays import F32, I64, U8
from services.model.buffers import as_bytes, buffer_of, cut, ends_of
from services.model.kernels.packed import (
    FIELDS,
    HEADS,
    PIECES,
    Form,
    ItemRows,
    are_rows,
    set_rows,
    standing,
    write_rows,
)
from services.model.table import RowTable

TOUCH = "touch"
"""Block of owner rows only: when the row was last touched, (int64 ordinal, float32 newest tick)."""
BLOCKS = ("pop", "q", "b", "v", "near", "content", TOUCH)
"""The blocks of an item row, in the order in which they are written."""
_TOUCH_BYTES = 12


def form(pieces: Sequence[bytes]) -> Form:
    """The form of records, from what always stands in them: before the offset, the count, the slot and each block.

    Raises:
        ValueError: there are more or fewer pieces than numbers and blocks.
    """
    return form_of(pieces, PIECES, "an item row")


def form_of(pieces: Sequence[bytes], wanted: int, what: str) -> Form:
    """The form of a kind of records, called `what` in an error.

    Raises:
        ValueError: there are more or fewer pieces than wanted.
    """
    if len(pieces) != wanted:
        raise ValueError(f"{what} has {wanted} pieces, not {len(pieces)}")
    return Form(np.frombuffer(b"".join(pieces), np.uint8).copy(), ends_of(pieces))


def rows_among(keys: Sequence[bytes | None], values: Sequence[bytes | None], wanted: Form) -> list[bool]:
    """Which of some records are item rows of a form, under the key of an item."""
    buffer, ends = buffer_of(
        [value if value and key and key[0] else b"" for key, value in zip(keys, values, strict=True)]
    )
    out = np.empty(len(values), np.uint8)
    are_rows(buffer, ends, wanted, np.empty((1, FIELDS), np.int64), out)
    return out.astype(np.bool_).tolist()


@dataclass(frozen=True, slots=True)
class Standing:
    """Records of a sweep whose rows stand where they say, in a table that has not changed since."""

    values: U8
    fields: I64
    rows: I64
    """int64[n] position of each record's row; -1 for those that must be taken in otherwise."""

    def set(self, table: RowTable) -> I64:
        """Overwrite the rows; returns their positions."""
        set_rows(item_rows(table), self.values, self.fields, self.rows)
        return self.rows[self.rows >= 0]


def find_standing(
    table: RowTable, records: Mapping[str, bytes], wanted: Form, places: tuple[int, int, int]
) -> Standing:
    """Look for the rows of n records.

    Args:
        table: of items.
        records: by key.
        wanted: their form.
        places: (stride, first, bound): a row of slot s stands at s * stride + first, below the bound.
    """
    keys, values = [key.encode() for key in records], list(records.values())
    buffer, ends = buffer_of(values)
    fields, rows = np.empty((len(values), FIELDS), np.int64), np.empty(len(values), np.int64)
    names, name_ends = buffer_of(keys)
    standing(item_rows(table), buffer, ends, names, name_ends, wanted, *places, fields, rows)
    return Standing(buffer, fields, rows)


def write(
    table: RowTable, rows: I64, touch: I64, tick: F32, offset: int, wanted: Form
) -> tuple[list[bytes], list[bytes]]:
    """The records of an owner's rows, and their keys.

    Args:
        table: of items.
        rows: int64[n] positions, which are the slots.
        touch: int64[room] ordinal of the last touch of each row.
        tick: float32[room] newest tick then.
        offset: next offset of item-deltas.
        wanted: the form of the records.

    Returns:
        (n keys, n records).
    """
    t = item_rows(table)
    entries, features, words = (int(pool.length[rows].sum(dtype=np.int64)) for pool in (t.near, t.content, table.names))
    entry = t.near.keys.itemsize + t.near.values.itemsize * t.near.values.shape[1]
    fixed = len(wanted.text) + HEADS + int(t.widths.sum()) + _TOUCH_BYTES
    values = np.empty(len(rows) * fixed + entries * entry + features * 4, np.uint8)
    keys = np.empty(words * 4, np.uint8)
    value_ends, key_ends = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    write_rows(t, rows, as_bytes(touch), as_bytes(tick), offset, wanted, values, value_ends, keys, key_ends)
    return cut(keys, key_ends), cut(values, value_ends)


def item_rows(table: RowTable) -> ItemRows:
    """The arenas of a table of items, as they are now."""
    s = table.stores
    pop, q, b, v, near, content = (s[name] for name in BLOCKS[:-1])
    fixed = (pop.data, q.data, q.acc, b.data, v.data, v.acc, near.data)
    near_lists, content_lists = _lists(near.lists), _lists(content.lists)
    return ItemRows(
        table.counts,
        table.names,
        as_bytes(table.names.keys),
        as_bytes(pop.data),
        as_bytes(q.data),
        as_bytes(q.acc),
        as_bytes(b.data),
        as_bytes(v.data),
        as_bytes(v.acc),
        as_bytes(near.data),
        near_lists,
        as_bytes(near_lists.keys),
        as_bytes(near_lists.values),
        content_lists,
        as_bytes(content_lists.keys),
        np.array([each.itemsize * each.shape[1] for each in fixed], np.int64),
    )


def _lists(lists: Lists | None) -> Lists:
    if lists is None:
        raise TypeError("the blocks near and content are not lists")
    return lists
