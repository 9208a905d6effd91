"""User rows in their wire form, many at a time.

A kernel writes the rows of users and their seen chunks. Records of that form, nearly all of user-state, are read where
they lie: one kernel finds their parts, another copies the blocks of rows into the arenas. What these do not know goes
through the decoder and `UserTable.load`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from services.model.arrays import I64, Mask
from services.model.buffers import as_bytes, buffer_of, cut, joined
from services.model.kernels.packed import Form
from services.model.kernels.packed_users import (
    FIELDS,
    FIRST_BLOCK,
    HEADS,
    ID,
    ITEMS,
    PIECES,
    Heads,
    UserBlocks,
    Written,
    misfit,
    read_records,
    set_users,
    write_users,
)
from services.model.kernels.wire import LONGEST_NUMBER
from services.model.packed import form_of
from services.model.users import BLOCKS, SEEN_CHUNK, UserTable

_COLUMNS = {name: FIRST_BLOCK + 2 * at for at, name in enumerate(BLOCKS)}


def user_form(pieces: Sequence[bytes]) -> Form:
    """The form of records, from what always stands in them, see `kernels.packed_users.PIECES`.

    Raises:
        ValueError: there are more or fewer pieces than parts.
    """
    return form_of(pieces, PIECES, "user-state")


class Records(NamedTuple):
    """n records of user-state, and where their parts lie."""

    raw: bytes
    """The records end to end."""
    fields: I64
    """int64[n, FIELDS] the columns of `kernels.packed_users`; zeros for records that are not plain."""
    chunks: I64
    """int64[n] number of the seen chunk that the key names; -1 for the row of a user."""
    plain: Mask
    """bool[n] whether a record has the expected form."""

    def event_ids(self) -> list[str]:
        """Ids of the newest events of n plain rows."""
        return [part.decode() for part in self._parts(ID, self.fields)]

    def blocks(self, name: str, at: I64) -> list[bytes]:
        """A block of some rows."""
        return self._parts(_COLUMNS[name], self.fields[at])

    def items(self, at: I64) -> list[bytes]:
        """The items of some chunks."""
        return self._parts(ITEMS, self.fields[at])

    def _parts(self, column: int, fields: I64) -> list[bytes]:
        raw, starts = self.raw, fields[:, column]
        ends = starts + fields[:, column + 1]
        return [raw[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def read(keys: Sequence[bytes | None], values: Sequence[Any], form: Form) -> Records:
    """Find the parts of n records, in the order of the log.

    Args:
        keys: the keys of the records.
        values: their bytes; what is something else has been decoded or is null, and is not plain.
        form: of the records.
    """
    n = len(values)
    raw, ends = joined([value if isinstance(value, bytes) else b"" for value in values])
    names, name_ends = buffer_of([key or b"" for key in keys])
    fields, chunks, plain = np.empty((n, FIELDS), np.int64), np.empty(n, np.int64), np.empty(n, np.uint8)
    read_records(names, name_ends, np.frombuffer(raw, np.uint8), ends, form, fields, chunks, plain)
    known = plain.astype(np.bool_)
    fields[~known] = 0
    return Records(raw, fields, chunks, known)


def set_rows(table: UserTable, slots: I64, records: Records) -> None:
    """Set users' rows from n plain ones; the seen chunks come by `UserTable.set_seen`.

    Args:
        table: of users.
        slots: int64[n] where the users stand. Where one comes twice, the last row stays.
        records: the rows.

    Raises:
        ValueError: a row has another layout; nothing of the rows was taken.
    """
    blocks = user_blocks(table)
    if misfit(blocks, records.fields) >= 0:
        raise ValueError("a user row does not have the model's layout: a block has another size")
    set_users(blocks, slots, np.frombuffer(records.raw, np.uint8), records.fields)
    table.loaded(len(slots))


def heads_of(numbers: I64, ids: Sequence[bytes], preferences: Sequence[bytes], seen: tuple[I64, I64]) -> Heads:
    """What the records of n users have beside their blocks.

    Args:
        numbers: int64[n, NUMBERS] of their rows, by column of `kernels.packed_users`.
        ids: of their newest events, UTF-8.
        preferences: theirs.
        seen: (first, entries), int64[n] each: of which entries of `seen` the chunks are written, by place in the ring.
    """
    return Heads(numbers, *buffer_of(ids), *buffer_of(preferences), *seen)


def write(table: UserTable, slots: I64, heads: Heads, form: Form) -> tuple[list[bytes], list[bytes]]:
    """The records of n users: the row of each, then the seen chunks.

    Args:
        table: of users.
        slots: int64[n] where they stand.
        heads: what else is in the records.
        form: of the records.

    Returns:
        (keys, records).
    """
    t, n = user_blocks(table), len(slots)
    limit = table.config.max_seen
    # The entries begin and end within a chunk, and may go round the ring.
    chunks = np.minimum(heads.entries // SEEN_CHUNK + 3, -(-limit // SEEN_CHUNK)) * (heads.entries > 0)
    more = int(chunks.sum())
    fixed = len(form.text) + HEADS + t.vector_bytes + 4 + 16
    lists = 12 * int(t.history.length[slots].sum()) + 8 * int(t.categories.length[slots].sum())
    rows = n * fixed + lists + len(heads.ids) + len(heads.preferences)
    name_bytes = 4 * t.names.length[slots].astype(np.int64)
    out = Written(
        np.empty(rows + more * (len(form.text) + LONGEST_NUMBER + 8 * SEEN_CHUNK), np.uint8),
        np.empty(n + more, np.int64),
        np.empty(int((name_bytes * (chunks + 1)).sum()) + more * len(form.text), np.uint8),
        np.empty(n + more, np.int64),
    )
    records = write_users(t, slots, heads, form, out)
    return cut(out.keys, out.key_ends[:records]), cut(out.values, out.value_ends[:records])


def user_blocks(table: UserTable) -> UserBlocks:
    """The arenas of a table of users, as they are now."""
    a = table.arrays
    return UserBlocks(
        as_bytes(a.vector),
        as_bytes(a.acc),
        as_bytes(a.touch),
        as_bytes(a.seen_total),
        as_bytes(a.saved),
        a.history,
        as_bytes(a.history.keys),
        as_bytes(a.history.values),
        a.categories,
        as_bytes(a.categories.keys),
        as_bytes(a.categories.values),
        a.seen,
        as_bytes(a.seen.keys),
        table.names,
        as_bytes(table.names.keys),
        a.vector.shape[1] * a.vector.itemsize,
    )
