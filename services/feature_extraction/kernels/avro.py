"""Avro where it lies.

Readers take a place and where the record ends, and return (value, place behind it). A place of -1 says that the bytes
are cut off or not of the expected form; readers hand it on, so that a caller looks once, at the end.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from services.contracts.edge import EdgeCodec
from services.model.arrays import I64, U8
from services.model.jit import kernel
from services.model.kernels.wire import get_eight
from services.model.texts import is_text

_SECOND = 2
"""The branch of a union that is not null."""
_DOUBLE_BYTES = 8


def headers_of(codec: EdgeCodec[Any]) -> tuple[U8, I64]:
    """The headers that stand for the current schema by now: (uint8, end to end; int64[k] bytes of each)."""
    known = codec.current_headers()
    return np.frombuffer(b"".join(known), np.uint8), np.array([len(header) for header in known], np.int64)


@kernel
def behind_header(buffer: U8, at: int, end: int, headers: U8, sizes: I64) -> Any:
    """The place behind whichever of the headers stands at a place; -1 for none."""
    of = 0
    for i in range(len(sizes)):
        size = sizes[i]
        if size <= end - at:
            j = 0
            while j < size and buffer[at + j] == headers[of + j]:
                j += 1
            if j == size:
                return at + size
        of += size
    return -1


@kernel
def get_long(buffer: U8, at: Any, end: int) -> Any:
    """A zigzag number of the int64 range; one of more than 64 bits is none."""
    number, shift = np.uint64(0), np.uint64(0)
    while 0 <= at < end:
        byte = np.uint64(buffer[at])
        at += 1
        if shift == np.uint64(63) and byte > np.uint64(1):
            break
        number |= (byte & np.uint64(0x7F)) << shift
        if byte < np.uint64(0x80):
            return np.int64(number >> np.uint64(1)) ^ -np.int64(number & np.uint64(1)), at
        shift += np.uint64(7)
    return np.int64(0), np.int64(-1)


@kernel
def get_double(buffer: U8, at: Any, end: int) -> Any:
    """A float of 64 bits."""
    if at < 0 or end - at < _DOUBLE_BYTES:
        return 0.0, np.int64(-1)
    return np.uint64(get_eight(buffer, at)).view(np.float64), np.int64(at + _DOUBLE_BYTES)


@kernel
def pass_bytes(buffer: U8, at: Any, end: int) -> Any:
    """Bytes, or a text that nobody reads: (where they begin, how many, place behind them)."""
    length, at = get_long(buffer, at, end)
    if at < 0 or length < 0 or length > end - at:
        return np.int64(0), np.int64(0), np.int64(-1)
    return at, length, at + length


@kernel
def get_text(buffer: U8, at: Any, end: int) -> Any:
    """A text: (where it begins, bytes, place behind it)."""
    start, length, behind = pass_bytes(buffer, at, end)
    if behind < 0 or not is_text(buffer, start, behind):
        return np.int64(0), np.int64(0), np.int64(-1)
    return start, length, behind


@kernel
def is_id(buffer: U8, start: int, length: int, max_bytes: int) -> bool:
    """Whether a text can be a key."""
    zeros = 0
    for at in range(start, start + length):
        zeros += buffer[at] == 0
    return 0 < length <= max_bytes and zeros == 0


@kernel
def branch(buffer: U8, at: int, end: int) -> int:
    """The branch of a union of null and a type: 0 for null, 1 for the type, -1 for none that there is."""
    if at < 0 or at >= end or (buffer[at] != 0 and buffer[at] != _SECOND):
        return -1
    return 1 if buffer[at] == _SECOND else 0


@kernel
def get_block(buffer: U8, at: Any, end: int) -> Any:
    """The head of a block of an array or a map: (entries, where the first begins); the block without any is the last.

    A block may state its size, behind a negative count of entries.
    """
    count, at = get_long(buffer, at, end)
    size = np.int64(0)
    if count < 0:
        count = -count
        size, at = get_long(buffer, at, end)
    # The smallest number has no negative; and an entry takes a byte at least.
    if at < 0 or size < 0 or count < 0 or count > end - at:
        return np.int64(0), np.int64(-1)
    return count, at
