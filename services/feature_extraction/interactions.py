"""Interactions by column: a kernel reads the Avro bytes of a whole batch where they lie.

It takes records of the current schema that nothing is wrong with. The others go through the codec, which says what is
wrong with a record; what it gives is encoded again in the current schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from services.contracts.edge import EdgeCodec, InteractionEvent, schemas
from services.contracts.edge.reader import reader
from services.contracts.edge.rules import MAX_ID_BYTES
from services.feature_extraction.kernels.avro import (
    behind_header,
    branch,
    get_block,
    get_double,
    get_long,
    get_text,
    headers_of,
    is_id,
)
from services.feature_extraction.scan import READ, UNREAD, Refused, scan
from services.model.arrays import F64, I64, U8
from services.model.jit import kernel

TEXTS = 6
EVENT_ID, USER, ITEM, TYPE, SESSION, LIST = range(TEXTS)
"""Columns of `Columns.start`."""
NO_TIME = int(np.iinfo(np.int64).min)
"""No stated event time. A record that states this very time has the millisecond behind it in its column."""


class Columns(NamedTuple):
    """n records, in the form that kernels take. One that is UNREAD has no value, no time, and empty texts."""

    state: U8
    """uint8[n] UNREAD or READ."""
    value: F64
    """float64[n]; NaN when there is none."""
    t_ms: I64
    """int64[n] stated event time; NO_TIME when there is none."""
    start: I64
    """int64[n, 6] where texts begin."""
    length: I64
    """int64[n, 6] bytes; -1 for null (EVENT_ID, SESSION, LIST only)."""
    context: I64
    """int64[n] where the first block of the context map begins; -1 when the map is empty."""


def _context_schema() -> Any:
    """A record of nothing but the context map."""
    raw = schemas.current(InteractionEvent.__name__).raw
    return {**raw, "fields": [one for one in raw["fields"] if one["name"] == "context"]}


_read_context = reader(_context_schema())


@dataclass(frozen=True, slots=True)
class Interactions:
    """Records by column, and the bytes that the columns point into."""

    columns: Columns
    raw: bytes
    refused: Refused
    """(row, why) of the records that are no interactions, in order; their state is UNREAD."""
    ends: I64 = field(repr=False)
    """int64[n] where the records end, one behind the other."""
    codec: EdgeCodec[InteractionEvent] = field(repr=False)

    def text(self, field: int, row: int) -> str | None:
        """A text (`USER`, ...) of a row that is READ."""
        start, length = int(self.columns.start[row, field]), int(self.columns.length[row, field])
        return None if length < 0 else self.raw[start : start + length].decode()

    def context(self, row: int) -> dict[str, str]:
        """The context of a row."""
        at = int(self.columns.context[row])
        return {} if at < 0 else _read_context(self.raw, at)[0]["context"]

    def event(self, row: int) -> InteractionEvent:
        """The whole record of a row that is READ."""
        start = int(self.ends[row - 1]) if row else 0
        return self.codec.decode(self.raw[start : int(self.ends[row])])


class InteractionReader:
    """Reads the interactions of a batch."""

    def __init__(self, codec: EdgeCodec[InteractionEvent]) -> None:
        """Read what a codec reads."""
        self._codec = codec
        self._plain = EdgeCodec(InteractionEvent)

    def read(self, values: Sequence[bytes | None]) -> Interactions:
        """Read records, a row each. A null value, a tombstone, is UNREAD and not refused.

        Raises:
            RegistryError: the registry does not answer.
        """
        columns, raw, ends, refused = scan(values, self._columns, self._rewrite)
        return Interactions(columns, raw, refused, ends, self._codec)

    def _columns(self, buffer: U8, ends: I64) -> Columns:
        columns = _empty_columns(len(ends))
        _read_all(buffer, ends, *headers_of(self._codec), MAX_ID_BYTES, columns)
        return columns

    def _rewrite(self, value: bytes) -> bytes:
        return self._plain.encode(self._codec.decode(value))


def _empty_columns(n: int) -> Columns:
    texts = (n, TEXTS)
    return Columns(
        state=np.empty(n, np.uint8),
        value=np.empty(n, np.float64),
        t_ms=np.empty(n, np.int64),
        start=np.empty(texts, np.int64),
        length=np.empty(texts, np.int64),
        context=np.empty(n, np.int64),
    )


@kernel
def _put_text(buffer: U8, at: int, end: int, row: int, of: int, columns: Columns) -> Any:
    """Read a text into its place; returns the place behind it, or -1 when it is none, as all that put do."""
    columns.start[row, of], columns.length[row, of], behind = get_text(buffer, at, end)
    return behind


@kernel
def _put_optional(buffer: U8, at: int, end: int, row: int, of: int, columns: Columns) -> Any:
    given = branch(buffer, at, end)
    if given == 1:
        return _put_text(buffer, at + 1, end, row, of, columns)
    columns.start[row, of], columns.length[row, of] = at, -1
    return at + 1 if given == 0 else -1


@kernel
def _put_value(buffer: U8, at: int, end: int, row: int, columns: Columns) -> Any:
    given = branch(buffer, at, end)
    columns.value[row] = np.nan
    if given < 1:
        return at + 1 if given == 0 else -1
    value, behind = get_double(buffer, at + 1, end)
    columns.value[row] = value
    return behind if np.isfinite(value) else -1


@kernel
def _put_time(buffer: U8, at: int, end: int, row: int, columns: Columns) -> Any:
    given = branch(buffer, at, end)
    columns.t_ms[row] = NO_TIME
    if given < 1:
        return at + 1 if given == 0 else -1
    t_ms, behind = get_long(buffer, at + 1, end)
    columns.t_ms[row] = max(t_ms, NO_TIME + 1)
    return behind


@kernel
def _put_context(buffer: U8, begin: int, end: int, row: int, columns: Columns) -> Any:
    """Note where a map of texts begins."""
    count, at = get_block(buffer, begin, end)
    columns.context[row] = -1 if count == 0 else begin
    while at >= 0 and count != 0:
        for _ in range(2 * count):
            _, _, at = get_text(buffer, at, end)
            if at < 0:
                return -1
        count, at = get_block(buffer, at, end)
    return at


@kernel
def _read_one(buffer: U8, begin: int, end: int, max_id_bytes: int, row: int, columns: Columns) -> Any:
    """Read the fields of a record, in the order of the schema, into its row; returns whether nothing is wrong."""
    at = _put_optional(buffer, begin, end, row, EVENT_ID, columns)
    for of in range(USER, TYPE + 1):
        if at >= 0:
            at = _put_text(buffer, at, end, row, of, columns)
    if at < 0 or columns.length[row, TYPE] == 0:
        return False
    for of in range(USER, ITEM + 1):
        if not is_id(buffer, columns.start[row, of], columns.length[row, of], max_id_bytes):
            return False
    at = _put_value(buffer, at, end, row, columns)
    if at >= 0:
        at = _put_time(buffer, at, end, row, columns)
    if at >= 0:
        at = _put_optional(buffer, at, end, row, SESSION, columns)
    if at >= 0:
        at = _put_context(buffer, at, end, row, columns)
    if at >= 0:
        at = _put_optional(buffer, at, end, row, LIST, columns)
    return at == end


@kernel
def _read_all(buffer: U8, ends: I64, headers: U8, sizes: I64, max_id_bytes: int, columns: Columns) -> None:
    """Read consecutive records, one row each.

    The limit is an argument because the compiled code, kept on disk, would not notice that a constant of another
    package has changed.

    Args:
        buffer: uint8[size], the records end to end.
        ends: int64[n] where each ends.
        headers: uint8, those that stand for the current schema, end to end.
        sizes: int64[k] bytes of each.
        max_id_bytes: of the longest id.
        columns: n rows, out.
    """
    start = 0
    for row in range(len(ends)):
        at = behind_header(buffer, start, ends[row], headers, sizes)
        if at >= 0 and _read_one(buffer, at, ends[row], max_id_bytes, row, columns):
            columns.state[row] = READ
        else:
            columns.state[row] = UNREAD
            columns.value[row], columns.t_ms[row], columns.context[row] = np.nan, NO_TIME, -1
            for of in range(TEXTS):
                columns.start[row, of], columns.length[row, of] = 0, 0
        start = ends[row]
