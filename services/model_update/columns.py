"""Features records by column: what learning reads of many records, as parallel arrays.

Plain records are read by a kernel. The others go through the decoder, which says what is wrong with a record; what it
gives is packed again as a plain one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from services.contracts.inner import features
from services.contracts.inner.codec import pack
from services.model.arrays import I32, I64, U8, U32
from services.model.jit import kernel
from services.model.texts import distinct
from services.model_update import decoders
from services.model_update.plain import CONTENT, UNREAD, USER, Columns, empty_columns, read_plain

_NOTHING = pack({"v": features.VERSION, "kind": "batch"})
"""A plain record that learning passes over."""


@dataclass(frozen=True, slots=True)
class Features:
    """Records by column, and the bytes that the columns point into."""

    columns: Columns
    raw: bytes
    refused: list[tuple[int, ValueError]]
    """(row, why) of the records that are no features, in order; in the columns they are as if they were not there."""

    def parts(self, field: int, rows: I64) -> list[bytes]:
        """A field of texts or bytes (`plain.USER`, ...), of some rows."""
        starts, raw = self.columns.start[rows, field], self.raw
        ends = starts + self.columns.length[rows, field]
        return [raw[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    def texts(self, field: int, rows: I64) -> list[str]:
        """A field of texts, of some rows."""
        return [part.decode() for part in self.parts(field, rows)]

    def distinct(self, field: int, rows: I64) -> tuple[I64, I64]:
        """The k different values of a field in n rows, in the order of their first occurrence.

        Returns:
            (int64[k] a row with each value, int64[n] which of them each row has).
        """
        first, which = distinct(self.raw, self.columns.start[rows, field], self.columns.length[rows, field])
        return rows[first], which

    def words(self, field: int, rows: I64) -> tuple[I32, U32]:
        """A field of packed features, of n rows: (pointers int32[n + 1], values uint32, end to end)."""
        ptr = np.zeros(len(rows) + 1, np.int32)
        np.cumsum(self.columns.length[rows, field] // 4, out=ptr[1:])
        values = np.empty(int(ptr[-1]), np.uint32)
        _copy(np.frombuffer(self.raw, np.uint8), self.columns.start[rows, field], ptr, values.view(np.uint8))
        return ptr, values


def read(values: Sequence[bytes | None]) -> Features:
    """Read features records, a row each. A null value becomes a row that is not learned from."""
    plain = [value or b"" for value in values]
    columns, raw = _scan(plain)
    refused: list[tuple[int, ValueError]] = []
    unread = np.flatnonzero(columns.kind == UNREAD).tolist()
    if unread:
        for row in unread:
            try:
                plain[row] = _plain(decoders.feature(None, values[row]))
            except ValueError as error:
                refused.append((row, error))
                plain[row] = _NOTHING
        columns, raw = _scan(plain)
    return Features(columns, raw, refused)


def compile_kernels() -> None:
    """Compile the kernels, or read them from their cache, before the first batch comes."""
    nothing, none = read([]), np.zeros(0, np.int64)
    nothing.distinct(USER, none)
    nothing.words(CONTENT, none)


def _plain(record: Any) -> bytes:
    """A decoded record, packed again as a plain one.

    Raises:
        ValueError: a field is of a wrong type.
    """
    if record is None:
        return _NOTHING
    kind = record["kind"]
    packed = pack({"v": features.VERSION, "kind": kind, **{name: record[name] for name in decoders.FIELDS[kind]}})
    if _scan([packed])[0].kind[0] == UNREAD:
        raise ValueError("feature with a field of a wrong type")
    return packed


def _scan(values: Sequence[bytes]) -> tuple[Columns, bytes]:
    columns, raw = empty_columns(len(values)), b"".join(values)
    ends = np.fromiter(accumulate(map(len, values)), np.int64, len(values))
    read_plain(np.frombuffer(raw, np.uint8), ends, features.VERSION, columns)
    return columns, raw


@kernel
def _copy(buffer: U8, start: I64, ptr: I32, out: U8) -> None:
    """Copy words; those of text i become out[4 * ptr[i]:4 * ptr[i + 1]]."""
    for i in range(len(start)):
        to = 4 * np.int64(ptr[i])
        for k in range(4 * np.int64(ptr[i + 1]) - to):
            out[to + k] = buffer[start[i] + k]
