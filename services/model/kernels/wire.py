"""msgpack where it lies: reading what this project wrote, and writing it as the msgpack library does.

Readers take a place and return (value, place behind it). A place of -1 says that the bytes are not of the expected
form; readers hand it on, so that a caller looks once, at the end.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from services.model.arrays import I64, U8
from services.model.jit import kernel

# The numbers of pieces are numpy's: of Python's, numba would compile a version of these functions for each.
LONGEST_NUMBER = 9
"""Bytes of a number or of the head of a text, at most: readers may look so far past the end of what they read."""
_INT64_MAX = np.uint64((1 << 63) - 1)


@kernel
def get_int(buffer: U8, at: int) -> Any:
    """An integer of the int64 range."""
    if at < 0:
        return 0, -1
    head = np.int64(buffer[at])
    at += 1
    if head < 0x80:
        return head, at
    if head >= 0xE0:
        return head - 0x100, at
    if head < 0xCC or head > 0xD3:
        return 0, -1
    width = 1 << (head & 3)
    number = np.uint64(0)
    for i in range(at, at + width):
        number = number << np.uint64(8) | np.uint64(buffer[i])
    if head >= 0xD0:
        unused = np.uint64(64 - 8 * width)
        return np.int64(number << unused) >> np.int64(unused), at + width
    return np.int64(number), at + width if number <= _INT64_MAX else -1


@kernel
def get_double(buffer: U8, at: int) -> Any:
    """A float of 64 bits."""
    if at < 0 or buffer[at] != 0xCB:
        return 0.0, -1
    bits = np.uint64(0)
    for i in range(at + 1, at + 9):
        bits = bits << np.uint64(8) | np.uint64(buffer[i])
    return np.uint64(bits).view(np.float64), at + 9


@kernel
def get_eight(buffer: U8, at: int) -> Any:
    """Eight bytes as a uint64, little-endian."""
    word = np.uint64(0)
    for i in range(8):
        word |= np.uint64(buffer[at + i]) << np.uint64(8 * i)
    return word


@kernel
def get_size(buffer: U8, at: Any, short: int, mask: int, mark: int, marks: int) -> Any:
    """The size in the head of a text, of bytes or of an array.

    Args:
        buffer: uint8[size]
        at: where the head is.
        short: first byte of the shortest form; 0 when there is none.
        mask: the bits of the size in it.
        mark: first byte of the next longer form; those after it are longer ones.
        marks: how many of them there are.
    """
    if at < 0:
        return 0, -1
    head = np.int64(buffer[at])
    at += 1
    if short and head & ~mask == short:
        return head & mask, at
    if head < mark or head >= mark + marks:
        return 0, -1
    width = (1 if marks == 3 else 2) << (head - mark)
    size = np.int64(0)
    for i in range(at, at + width):
        size = size << 8 | np.int64(buffer[i])
    return size, at + width


@kernel
def get_text(buffer: U8, at: int, end: int) -> Any:
    """A text that ends before `end`: (bytes, where it begins)."""
    size, at = get_size(buffer, at, 0xA0, 0x1F, 0xD9, 3)
    return size, at if at + size <= end else -1


@kernel
def get_bytes(buffer: U8, at: int, end: int) -> Any:
    """Bytes that end before `end`: (bytes, where they begin)."""
    size, at = get_size(buffer, at, 0, 0, 0xC4, 3)
    return size, at if at + size <= end else -1


@kernel
def get_array(buffer: U8, at: int) -> Any:
    """The head of an array: (entries, where the first begins)."""
    return get_size(buffer, at, 0x90, 0x0F, 0xDC, 2)


@kernel
def get_piece(buffer: U8, at: int, end: int, pieces: U8, ends: I64, piece: Any) -> Any:
    """Pass over bytes that must be exactly these: the place behind them."""
    first = ends[piece - 1] if piece else 0
    if at < 0 or at + ends[piece] - first > end:
        return -1
    size, here, there = ends[piece] - first, np.uint64(at), np.uint64(first)
    for i in range(np.uint64(size)):
        if buffer[here + i] != pieces[there + i]:
            return -1
    return at + size


@kernel
def put_piece(out: U8, at: int, pieces: U8, ends: I64, piece: Any) -> int:
    """Write bytes that are always the same; returns the end, as all that put do."""
    first = ends[piece - 1] if piece else 0
    return put_bytes(out, at, pieces, first, ends[piece] - first)


@kernel
def put_bytes(out: U8, at: int, buffer: U8, start: int, size: int) -> int:
    """Copy bytes."""
    # Indices without a sign cannot count from the end of an array: the loop is then compiled to moves of many bytes.
    to, source = np.uint64(at), np.uint64(start)
    for i in range(np.uint64(size)):
        out[to + i] = buffer[source + i]
    return at + size


@kernel
def put_big(out: U8, at: int, value: Any, width: int) -> int:
    """The low bytes of a uint64, the highest first."""
    shift = np.uint64(8 * width)
    for _ in range(width):
        shift -= np.uint64(8)
        out[at] = np.uint8((value >> shift) & np.uint64(0xFF))
        at += 1
    return at


@kernel
def put_unsigned(out: U8, at: int, value: Any) -> int:
    """A uint64."""
    if value < np.uint64(0x80):
        out[at] = np.uint8(value)
        return at + 1
    step = (
        0 if value <= np.uint64(0xFF) else 1 if value <= np.uint64(0xFFFF) else 2 if value >> np.uint64(32) == 0 else 3
    )
    out[at] = np.uint8(0xCC + step)
    return put_big(out, at + 1, value, 1 << step)


@kernel
def put_int(out: U8, at: int, value: int) -> int:
    """An int64."""
    if value >= 0:
        return put_unsigned(out, at, np.uint64(value))
    if value >= -32:
        out[at] = np.uint8(value & 0xFF)
        return at + 1
    step = 0 if value >= -0x80 else 1 if value >= -0x8000 else 2 if value >= -0x8000_0000 else 3
    out[at] = np.uint8(0xD0 + step)
    return put_big(out, at + 1, np.uint64(value), 1 << step)


@kernel
def put_double(out: U8, at: int, value: Any) -> int:
    """A float64."""
    out[at] = 0xCB
    return put_big(out, at + 1, np.float64(value).view(np.uint64), 8)


@kernel
def put_size(out: U8, at: int, size: int, short: int, limit: int, mark: int, marks: int) -> int:
    """The head of a text, of bytes or of an array, as `get_size` reads it; below `limit` in the shortest form."""
    if size < limit:
        out[at] = np.uint8(short | size)
        return at + 1
    if marks == 2:
        step = 0 if size <= 0xFFFF else 1
        out[at] = np.uint8(mark + step)
        return put_big(out, at + 1, np.uint64(size), 2 << step)
    step = 0 if size <= 0xFF else 1 if size <= 0xFFFF else 2
    out[at] = np.uint8(mark + step)
    return put_big(out, at + 1, np.uint64(size), 1 << step)


@kernel
def put_text(out: U8, at: int, buffer: U8, start: int, size: int) -> int:
    """A text."""
    return put_bytes(out, put_size(out, at, size, 0xA0, 32, 0xD9, 3), buffer, start, size)


@kernel
def put_binary(out: U8, at: int, size: int) -> int:
    """The head of bytes."""
    return put_size(out, at, size, 0, 0, 0xC4, 3)


@kernel
def put_array(out: U8, at: int, entries: int) -> int:
    """The head of an array."""
    return put_size(out, at, entries, 0x90, 16, 0xDC, 2)


@kernel
def put_word(out: U8, at: int, word: Any) -> int:
    """A uint32, little-endian, as packed features travel."""
    rest = np.uint64(word)
    for _ in range(4):
        out[at] = np.uint8(rest & np.uint64(0xFF))
        rest >>= np.uint64(8)
        at += 1
    return at
