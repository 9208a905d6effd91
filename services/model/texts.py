"""Texts where they lie in the joined bytes of a batch: what services that read records by column share."""

from __future__ import annotations

from typing import Any

import numpy as np

from services.model.arrays import I32, I64, U8
from services.model.jit import kernel


def distinct(raw: bytes, start: I64, length: I64) -> tuple[I64, I64]:
    """The k different ones of n texts, in the order of their first occurrence.

    Args:
        raw: what the texts lie in.
        start: int64[n] where they begin.
        length: int64[n] bytes; -1 for null, which is like no text.

    Returns:
        (int64[k] where each occurs first, int64[n] which of them each text is).
    """
    n = len(start)
    first, which = np.empty(n, np.int64), np.empty(n, np.int64)
    table = np.zeros(1 << (2 * n).bit_length(), np.int32)
    k = number(np.frombuffer(raw, np.uint8), start, length, table, first, which)
    return first[:k], which


@kernel
def is_text(buffer: U8, at: Any, end: Any) -> bool:
    """Whether bytes are UTF-8, by the table of well-formed sequences in the Unicode standard (table 3-7)."""
    while at < end:
        first = buffer[at]
        at += 1
        if first < 0x80:
            continue
        if first < 0xC2 or first > 0xF4:
            return False
        more = 1 + (first >= 0xE0) + (first >= 0xF0)
        if more > end - at:
            return False
        low = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
        high = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
        for _ in range(more):
            if buffer[at] < low or buffer[at] > high:
                return False
            low, high = 0x80, 0xBF
            at += 1
    return True


@kernel
def number(buffer: U8, start: I64, length: I64, table: I32, first: I64, which: I64) -> int:
    """Number texts in the order of their first occurrence; returns how many are different.

    Args:
        buffer: uint8[size]
        start: int64[n] where the texts begin.
        length: int64[n] bytes; -1 for null, which is like no text.
        table: int32[2^k] of zeros, with more than n places.
        first: int64[n], out: where each number occurs first.
        which: int64[n], out: the number of each text.
    """
    mask = np.uint64(len(table) - 1)
    count = 0
    for i in range(len(start)):
        # FNV-1a, folded: places are its low bits.
        mixed = np.uint64(0xCBF29CE484222325)
        for j in range(start[i], start[i] + length[i]):
            mixed = (mixed ^ np.uint64(buffer[j])) * np.uint64(0x100000001B3)
        at = (mixed ^ (mixed >> np.uint64(32))) & mask
        while table[at] > 0 and not same(buffer, start, length, i, first[table[at] - 1]):
            at = (at + np.uint64(1)) & mask
        if table[at] == 0:
            first[count] = i
            count += 1
            table[at] = count
        which[i] = table[at] - 1
    return count


@kernel
def same(buffer: U8, start: I64, length: I64, i: int, j: int) -> Any:
    """Whether two texts are the same, or both null."""
    if length[i] != length[j]:
        return False
    k = 0
    while k < length[i] and buffer[start[i] + k] == buffer[start[j] + k]:
        k += 1
    return k >= length[i]
