"""The rows of a batch's users by column: read from their records, written back as the library packs them."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack
import numpy as np

from services.contracts.inner.extraction_state import CHUNK_ENTRIES, ENTRY_BYTES, VERSION
from services.model.arena import pointers
from services.model.arrays import F64, I64, U8, U32, U64
from services.model.jit import kernel
from services.model.kernels.wire import (
    get_array,
    get_bytes,
    get_double,
    get_eight,
    get_int,
    get_piece,
    put_array,
    put_binary,
    put_double,
    put_int,
    put_piece,
    put_unsigned,
)

CATEGORIES_ROOM = 64
"""Categories that a row may have beyond the configured number: those of the event's item before the weakest go."""

NUMBERS = 14
NEXT, TS, T, N, SESSION, POSITION, MARK, RATINGS, SEALED, LANDMARK, TASTES, OLDEST, FIRST, OPEN = range(NUMBERS)
"""Columns of `Rows.numbers`: the row's o, ts, t, n, s[0], s[1], s[2], r[0], dn and pt; how many categories it has; of
the entries of its window, where the sealed ones begin, where those of the open chunk begin, and how many these are."""


class Rows(NamedTuple):
    """k users, in the form that kernels take."""

    numbers: I64
    """int64[k, 14]"""
    ratings: F64
    """float64[k, 2] mean, and sum of squared deviations from it."""
    names: U32
    """uint32[k, size + 64] categories, strongest first."""
    weights: F64
    """float64[k, size + 64] of the categories."""
    window: U64
    """uint64[m, 2] entries of all windows: mark; event time in s and offset, 32 bits each."""
    window_ptr: I64
    """int64[k + 1] where the entries of each user begin, sealed ones first, with room for the batch's events."""
    plain: U8
    """uint8[k] 1: the kernels leave this user to the plain extractor."""


def empty_rows(k: int, size: int, sealed: I64, events: I64) -> Rows:
    """Room for k users.

    Args:
        k: users.
        size: categories kept per user.
        sealed: int64[k] bytes of each user's sealed chunks.
        events: int64[k] events of the batch.
    """
    window_ptr = pointers(sealed // ENTRY_BYTES + CHUNK_ENTRIES + events)
    return Rows(
        numbers=np.zeros((k, NUMBERS), np.int64),
        ratings=np.zeros((k, 2)),
        names=np.empty((k, size + CATEGORIES_ROOM), np.uint32),
        weights=np.empty((k, size + CATEGORIES_ROOM)),
        window=np.empty((int(window_ptr[-1]), 2), np.uint64),
        window_ptr=window_ptr,
        plain=np.zeros(k, np.uint8),
    )


_NAMES = ("p", "o", "e", "ts", "t", "n", "s", "r", "d", "dn", "pt", "pc", "pw", "im")
_P, _O, _E, _TS, _T, _N, _S, _R, _D, _DN, _PT, _PC, _PW, _IM = np.arange(len(_NAMES))
_KEYS = [msgpack.packb(name) for name in _NAMES]
_KEYS[_P] = bytes((0x80 | (1 + len(_NAMES)),)) + msgpack.packb("v") + msgpack.packb(VERSION) + _KEYS[_P]
_KEYS[_S] += b"\x93"
_KEYS[_R] += b"\x93"
_KEYS[_IM] += b"\x90"
_PIECES = np.frombuffer(b"".join(_KEYS), np.uint8)
_ENDS = np.cumsum([len(key) for key in _KEYS])
_FIXED_BYTES = len(_PIECES) + 32 * 9


def row_bytes(rows: Rows) -> int:
    """Bytes that `write_rows` needs at most."""
    a_row = _FIXED_BYTES + CHUNK_ENTRIES * ENTRY_BYTES + rows.names.shape[1] * 14
    return len(rows.plain) * int(a_row)


@kernel
def _entries(buffer: U8, at: Any, size: Any, window: U64, to: Any) -> None:
    """Copy the entries of a window."""
    for i in range(at, at + size, ENTRY_BYTES):
        window[to, 0], window[to, 1] = get_eight(buffer, i), get_eight(buffer, i + 8)
        to += 1


@kernel
def _tastes(buffer: U8, at: Any, k: int, rows: Rows) -> Any:
    """Read the categories and their weights; returns the end."""
    at = get_piece(buffer, at, len(buffer), _PIECES, _ENDS, _PC)
    n, at = get_array(buffer, at)
    if n > rows.names.shape[1] - CATEGORIES_ROOM // 2:
        return -1
    rows.numbers[k, TASTES] = n
    for i in range(n):
        name, at = get_int(buffer, at)
        if name < 0 or name > 0xFFFFFFFF:
            return -1
        rows.names[k, i] = name
    at = get_piece(buffer, at, len(buffer), _PIECES, _ENDS, _PW)
    m, at = get_array(buffer, at)
    for i in range(min(m, n)):
        rows.weights[k, i], at = get_double(buffer, at)
    return at if m == n else -1


@kernel
def _read_row(buffer: U8, at: Any, end: Any, k: int, rows: Rows) -> Any:
    """Read a row; returns the end, -1 for one that is not as it would be written here, or has impressions waiting."""
    numbers = rows.numbers
    at = get_piece(buffer, at, end, _PIECES, _ENDS, _P)
    _, at = get_int(buffer, at)
    at = get_piece(buffer, at, end, _PIECES, _ENDS, _O)
    numbers[k, NEXT], at = get_int(buffer, at)
    at = get_piece(buffer, at, end, _PIECES, _ENDS, _E)
    _, at = get_int(buffer, at)
    for i in range(3):
        at = get_piece(buffer, at, end, _PIECES, _ENDS, _TS + i)
        numbers[k, TS + i], at = get_int(buffer, at)
    at = get_piece(buffer, at, end, _PIECES, _ENDS, _S)
    for i in range(3):
        numbers[k, SESSION + i], at = get_int(buffer, at)
    at = get_piece(buffer, at, end, _PIECES, _ENDS, _R)
    numbers[k, RATINGS], at = get_int(buffer, at)
    rows.ratings[k, 0], at = get_double(buffer, at)
    rows.ratings[k, 1], at = get_double(buffer, at)
    at = get_piece(buffer, at, end, _PIECES, _ENDS, _D)
    size, at = get_bytes(buffer, at, end)
    if at < 0 or size % ENTRY_BYTES or size >= CHUNK_ENTRIES * ENTRY_BYTES:
        return -1
    _entries(buffer, at, size, rows.window, rows.window_ptr[k] + numbers[k, FIRST])
    numbers[k, OPEN] = size // ENTRY_BYTES
    at = get_piece(buffer, at + size, end, _PIECES, _ENDS, _DN)
    numbers[k, SEALED], at = get_int(buffer, at)
    at = get_piece(buffer, at, end, _PIECES, _ENDS, _PT)
    numbers[k, LANDMARK], at = get_int(buffer, at)
    return get_piece(buffer, _tastes(buffer, at, k, rows), end, _PIECES, _ENDS, _IM)


@kernel
def read_rows(buffer: U8, ptr: I64, sealed: U8, sealed_ptr: I64, rows: Rows) -> None:
    """Read the rows of all users; a user without a row gets a new one.

    Args:
        buffer: uint8[size] the rows' records, end to end, and `wire.LONGEST_NUMBER` more bytes.
        ptr: int64[k + 1] where they begin.
        sealed: uint8[size] sealed chunks of all windows.
        sealed_ptr: int64[k + 1] where they begin.
        rows: out.
    """
    for k in range(len(ptr) - 1):
        size = sealed_ptr[k + 1] - sealed_ptr[k]
        _entries(sealed, sealed_ptr[k], size, rows.window, rows.window_ptr[k])
        rows.numbers[k, FIRST] = size // ENTRY_BYTES
        rows.numbers[k, MARK] = -1
        if ptr[k + 1] > ptr[k] and _read_row(buffer, ptr[k], ptr[k + 1], k, rows) != ptr[k + 1]:
            rows.plain[k] = 1


@kernel
def _write_row(out: U8, at: Any, k: Any, partition: int, epoch: int, rows: Rows) -> int:
    numbers = rows.numbers
    at = put_int(out, put_piece(out, at, _PIECES, _ENDS, _P), partition)
    at = put_int(out, put_piece(out, at, _PIECES, _ENDS, _O), numbers[k, NEXT])
    at = put_int(out, put_piece(out, at, _PIECES, _ENDS, _E), epoch)
    for i in range(3):
        at = put_int(out, put_piece(out, at, _PIECES, _ENDS, _TS + i), numbers[k, TS + i])
    at = put_piece(out, at, _PIECES, _ENDS, _S)
    for i in range(3):
        at = put_int(out, at, numbers[k, SESSION + i])
    at = put_int(out, put_piece(out, at, _PIECES, _ENDS, _R), numbers[k, RATINGS])
    at = put_double(out, put_double(out, at, rows.ratings[k, 0]), rows.ratings[k, 1])
    at = put_piece(out, at, _PIECES, _ENDS, _D)
    at = put_binary(out, at, numbers[k, OPEN] * ENTRY_BYTES)
    first = rows.window_ptr[k] + numbers[k, FIRST]
    for i in range(first, first + numbers[k, OPEN]):
        for j in range(2):
            word = rows.window[i, j]
            for _ in range(8):
                out[at] = np.uint8(word & np.uint64(0xFF))
                word >>= np.uint64(8)
                at += 1
    at = put_int(out, put_piece(out, at, _PIECES, _ENDS, _DN), numbers[k, SEALED])
    at = put_int(out, put_piece(out, at, _PIECES, _ENDS, _PT), numbers[k, LANDMARK])
    n = numbers[k, TASTES]
    at = put_array(out, put_piece(out, at, _PIECES, _ENDS, _PC), n)
    for i in range(n):
        at = put_unsigned(out, at, np.uint64(rows.names[k, i]))
    at = put_array(out, put_piece(out, at, _PIECES, _ENDS, _PW), n)
    for i in range(n):
        at = put_double(out, at, rows.weights[k, i])
    return put_piece(out, at, _PIECES, _ENDS, _IM)


@kernel
def write_rows(chosen: I64, partition: int, epoch: int, rows: Rows, out: U8, ends: I64) -> None:
    """Write the rows of chosen users, end to end; row i up to ends[i]."""
    at: Any = np.int64(0)
    for i in range(len(chosen)):
        at = _write_row(out, at, chosen[i], partition, epoch, rows)
        ends[i] = at
