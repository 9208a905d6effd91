"""The served lists of a batch's users by column, and the one that an event responds to."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack
import numpy as np

from services.contracts.inner.extraction_state import VERSION
from services.model.arrays import I64, U8
from services.model.jit import kernel
from services.model.kernels.wire import get_array, get_bytes, get_double, get_int, get_piece, get_text

_HASH_BYTES = 8
COLUMNS = 8
ID, ID_SIZE, PUBLISHED, ARM, ARM_SIZE, HASHES, ITEMS, DRAWN = range(COLUMNS)
"""Columns of `Served.numbers`: where the id, the arm, the item hashes and the explored positions begin, their sizes in
bytes (`ITEMS`: in items), and when the list was published, Unix ms."""
NONE, UNKNOWN = -1, -2
"""Instead of a list: the event responds to none; it names one that is not known."""


class Served(NamedTuple):
    """m lists of k users, in the form that kernels take."""

    raw: U8
    """uint8[size] their records, end to end, and `wire.LONGEST_NUMBER` more bytes."""
    ends: I64
    """int64[m]"""
    ptr: I64
    """int64[k + 1] which lists are whose, the newest last."""
    numbers: I64
    """int64[m, 8]"""


_NAMES = ("k", "id", "t", "a", "h", "x")
_K, _ID, _T, _A, _H, _X = np.arange(len(_NAMES))
_KEYS = [msgpack.packb(name) for name in _NAMES]
_KEYS[_K] = bytes((0x80 | (1 + len(_NAMES)),)) + msgpack.packb("v") + msgpack.packb(VERSION) + _KEYS[_K]
_PIECES = np.frombuffer(b"".join(_KEYS), np.uint8)
_ENDS = np.cumsum([len(key) for key in _KEYS])


@kernel
def _drawn(buffer: U8, at: int) -> Any:
    """One explored position: (rank, propensity, the place behind it)."""
    n, at = get_array(buffer, at)
    rank, at = get_int(buffer, at)
    propensity, at = get_double(buffer, at)
    return rank, propensity, at if n == 2 else -1


@kernel
def _read_list(served: Served, at: int, end: int, m: int) -> int:
    """Read a list; returns the end, -1 for one that is not as extraction writes it."""
    raw, numbers = served.raw, served.numbers
    at = get_piece(raw, at, end, _PIECES, _ENDS, _K)
    _, at = get_int(raw, at)
    at = get_piece(raw, at, end, _PIECES, _ENDS, _ID)
    numbers[m, ID_SIZE], numbers[m, ID] = get_text(raw, at, end)
    if numbers[m, ID] < 0:
        return -1
    at = get_piece(raw, numbers[m, ID] + numbers[m, ID_SIZE], end, _PIECES, _ENDS, _T)
    numbers[m, PUBLISHED], at = get_int(raw, at)
    at = get_piece(raw, at, end, _PIECES, _ENDS, _A)
    numbers[m, ARM_SIZE], numbers[m, ARM] = get_text(raw, at, end)
    if numbers[m, ARM] < 0:
        return -1
    at = get_piece(raw, numbers[m, ARM] + numbers[m, ARM_SIZE], end, _PIECES, _ENDS, _H)
    size, at = get_bytes(raw, at, end)
    if at < 0 or size % _HASH_BYTES:
        return -1
    numbers[m, HASHES], numbers[m, ITEMS] = at, size // _HASH_BYTES
    at = numbers[m, DRAWN] = get_piece(raw, at + size, end, _PIECES, _ENDS, _X)
    entries, at = get_array(raw, at)
    for _ in range(entries):
        if at < 0 or at >= end:
            return -1
        _, _, at = _drawn(raw, at)
    return at


@kernel
def read_lists(served: Served, plain: U8) -> None:
    """Read the lists of all users; a user with an odd one is left to the plain extractor.

    Args:
        served: the lists; `numbers` is written.
        plain: uint8[k], 1 is written for the users with an odd list.
    """
    start: Any = np.int64(0)
    for k in range(len(plain)):
        for m in range(served.ptr[k], served.ptr[k + 1]):
            if _read_list(served, start, served.ends[m], m) != served.ends[m]:
                plain[k] = 1
            start = served.ends[m]


@kernel
def rank_in(served: Served, m: int, item: Any) -> int:
    """Rank from 1 of an item hash in a list, 0 when it is not there."""
    at, low = served.numbers[m, HASHES], np.uint8(item & np.uint64(0xFF))
    for rank in range(1, served.numbers[m, ITEMS] + 1):
        if served.raw[at] == low:
            rest, i = item, 0
            while i < _HASH_BYTES and served.raw[at + i] == np.uint8(rest & np.uint64(0xFF)):
                rest >>= np.uint64(8)
                i += 1
            if i == _HASH_BYTES:
                return rank
        at += _HASH_BYTES
    return 0


@kernel
def propensity_of(served: Served, m: int, rank: int) -> Any:
    """With which probability the item of a rank was shown there: 1 where nothing was drawn, 0 without a rank."""
    if rank == 0:
        return 0.0
    entries, at = get_array(served.raw, served.numbers[m, DRAWN])
    found = 1.0
    for _ in range(entries):
        place, propensity, at = _drawn(served.raw, at)
        if place == rank:
            found = propensity
    return found


@kernel
def attribute(
    served: Served, k: int, named: U8, start: int, size: int, item: Any, response_ms: int, window_ms: int
) -> Any:
    """The list that an event of a user responds to, by the rule of `Attributions.attribute`: (list, rank).

    Args:
        served: the lists.
        k: the user.
        named: uint8[...] bytes with the id of the list that the event names.
        start: where it begins.
        size: its bytes; -1 when the event names none.
        item: uint64 hash of the event's item.
        response_ms: when the event happened, as far as what was served is concerned.
        window_ms: longest time from a list to an event that does not name it.

    Returns:
        The list, or NONE or UNKNOWN; rank from 1, 0 when the item was not in it.
    """
    numbers = served.numbers
    for back in range(served.ptr[k + 1] - served.ptr[k]):
        m = served.ptr[k + 1] - 1 - back
        if size < 0:
            if 0 <= response_ms - numbers[m, PUBLISHED] <= window_ms:
                rank = rank_in(served, m, item)
                if rank:
                    return m, rank
        elif size == numbers[m, ID_SIZE]:
            i = 0
            while i < size and named[start + i] == served.raw[numbers[m, ID] + i]:
                i += 1
            if i == size:
                return m, rank_in(served, m, item)
    return NONE if size < 0 else UNKNOWN, 0
