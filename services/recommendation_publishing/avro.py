"""Kernels that write Avro: the items and the numbers of all lists of a step, each in one call.

Lists are most of what publishing does, and items are most of a list. An item id goes from where the model keeps it to
the bytes of the record, without becoming a Python object on the way.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from services.contracts.edge.binary import string
from services.model.arena import HashIndex, Lists, index_find, list_pool, pointers
from services.model.arrays import F64, I32, I64, U8, U32, U64
from services.model.experts import NAMES
from services.model.jit import kernel

_LONG = 10
"""Bytes of the longest long."""
_DOUBLE = 8
_signals = [string(name) for name in NAMES]
_SIGNALS: U8 = np.frombuffer(b"".join(_signals), np.uint8)
_SIGNAL_PTR = pointers([len(signal) for signal in _signals])
_ENTRY = 2 * _LONG + 2 * _DOUBLE + 2 + max(map(len, _signals))
"""Bytes of the longest entry without its ids: the rank and the number of reasons; the score and the propensity; the
end of the reasons and the branch of the union; the signal."""


class Ids(NamedTuple):
    """Item ids, by the hash of the item."""

    index_keys: U64
    index_slots: I32
    where: I64
    """The id of a slot is words[where[slot]:where[slot] + length[slot]] (model/names.py)."""
    length: I32
    words: U32


def ids_of(index: HashIndex, names: Lists) -> Ids:
    """The ids in a pool of names, whose rows the index gives."""
    return Ids(index.keys, index.slots, names.where, names.length, names.keys)


class Entries(NamedTuple):
    """The items of n lists, m in all, list by list."""

    ptr: I64
    """int64[n + 1] the items of list i are the rows ptr[i]:ptr[i + 1] of the other columns."""
    items: U64
    """uint64[m, 1 + reasons] hash of the item and of the items behind it, 0 = none."""
    scores: F64
    expert: U8
    propensity: F64
    """float64[m] nan = null."""


@kernel
def _put_long(out: U8, at: int, value: int) -> int:
    """Zigzag, seven bits a byte; returns the end, as all that put do."""
    rest = np.uint64((value << 1) ^ (value >> 63))
    while rest > np.uint64(0x7F):
        out[at] = np.uint8((rest & np.uint64(0x7F)) | np.uint64(0x80))
        rest >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(rest)
    return at + 1


@kernel
def _put_double(out: U8, at: int, bits: int) -> int:
    for j in range(8):
        out[at + j] = np.uint8((bits >> (8 * j)) & 0xFF)
    return at + 8


@kernel
def _find(rows: Ids, catalogue: Ids, items: U64, first: I64, size: I64) -> None:
    """Where the ids of items stand: the first word in `rows`, or -1 - the first word in `catalogue`; and how many bytes
    they have, 0 where nobody knows the item."""
    for i in range(items.shape[0]):
        for j in range(items.shape[1]):
            first[i, j] = size[i, j] = 0
            if items[i, j] == np.uint64(0):
                continue
            slot = index_find(rows.index_keys, rows.index_slots, items[i, j])
            if slot >= 0:
                first[i, j] = rows.where[slot]
                size[i, j] = rows.words[rows.where[slot] + rows.length[slot] - 1]
                continue
            slot = index_find(catalogue.index_keys, catalogue.index_slots, items[i, j])
            if slot >= 0:
                first[i, j] = -1 - catalogue.where[slot]
                size[i, j] = catalogue.words[catalogue.where[slot] + catalogue.length[slot] - 1]


@kernel
def _put_id(out: U8, at: int, rows: Ids, catalogue: Ids, first: int, size: int) -> int:
    words = rows.words
    if first < 0:
        words, first = catalogue.words, -1 - first
    at = _put_long(out, at, size)
    for j in range(size):
        out[at + j] = np.uint8((words[first + (j >> 2)] >> np.uint32(8 * (j & 3))) & np.uint32(0xFF))
    return at + size


@kernel
def _put_reasons(out: U8, at: int, rows: Ids, catalogue: Ids, first: I64, size: I64) -> int:
    """An array of the ids but the first, without those that nobody knows."""
    n = 0
    for r in range(1, len(size)):
        n += size[r] > 0
    if n:
        at = _put_long(out, at, n)
    for r in range(1, len(size)):
        if size[r] > 0:
            at = _put_id(out, at, rows, catalogue, first[r], size[r])
    return _put_long(out, at, 0)


@kernel
def _write_entries(  # noqa: PLR0913, PLR0917  (arrays of several owners, which share no tuple)
    rows: Ids,
    catalogue: Ids,
    entries: Entries,
    score_bits: I64,
    propensity_bits: I64,
    first: I64,
    size: I64,
    signals: U8,
    signal_ptr: I64,
    out: U8,
    ends: I64,
) -> None:
    """The field `items` of every list, end to end; list i up to ends[i]."""
    at = 0
    for i in range(len(ends)):
        n = entries.ptr[i + 1] - entries.ptr[i]
        if n:
            at = _put_long(out, at, n)
        for rank in range(1, n + 1):
            e = entries.ptr[i] + rank - 1
            at = _put_id(out, at, rows, catalogue, first[e, 0], size[e, 0])
            at = _put_double(out, at, score_bits[e])
            at = _put_long(out, at, rank)
            for j in range(signal_ptr[entries.expert[e]], signal_ptr[entries.expert[e] + 1]):
                out[at] = signals[j]
                at += 1
            at = _put_reasons(out, at, rows, catalogue, first[e], size[e])
            if np.isnan(entries.propensity[e]):
                at = _put_long(out, at, 0)
            else:
                at = _put_long(out, at, 1)
                at = _put_double(out, at, propensity_bits[e])
        at = _put_long(out, at, 0)
        ends[i] = at


@kernel
def _write_longs(values: I64, out: U8, ends: I64) -> None:
    """The longs of every row, end to end; row i up to ends[i]."""
    at = 0
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            at = _put_long(out, at, values[i, j])
        ends[i] = at


def item_arrays(rows: Ids, catalogue: Ids, entries: Entries) -> list[bytes]:
    """The field `items` of every list, an array of RecommendedItem; what nobody knows among the reasons is left out.

    Args:
        rows: where most ids are found.
        catalogue: where the others are.
        entries: the items.

    Raises:
        LookupError: nobody knows a listed item.
    """
    m, n = len(entries.items), len(entries.ptr) - 1
    first, size = np.empty((2, *entries.items.shape), np.int64)
    _find(rows, catalogue, entries.items, first, size)
    if not size[:, 0].all():
        raise LookupError(f"an item with the hash {entries.items[size[:, 0] == 0, 0][0]} is listed and has no id")
    bits = entries.scores.view(np.int64), entries.propensity.view(np.int64)
    out: U8 = np.empty(int(size.sum()) + m * (_ENTRY + _LONG * size.shape[1]) + n * (_LONG + 1), np.uint8)
    ends: I64 = np.empty(n, np.int64)
    _write_entries(rows, catalogue, entries, *bits, first, size, _SIGNALS, _SIGNAL_PTR, out, ends)
    return _cut(out, ends)


def long_rows(values: I64) -> list[bytes]:
    """The longs of each row of int64[n, m], one after the other."""
    out: U8 = np.empty(values.size * _LONG, np.uint8)
    ends: I64 = np.empty(len(values), np.int64)
    _write_longs(values, out, ends)
    return _cut(out, ends)


def compile_kernels() -> None:
    """Write nothing once: numba compiles a kernel, or reads it from its cache, at the first call."""
    ids, none = ids_of(HashIndex(), list_pool(1, 1, np.uint32, 0)), np.zeros(0)
    item_arrays(ids, ids, Entries(pointers([0]), np.zeros((0, 1), np.uint64), none, np.zeros(0, np.uint8), none))
    long_rows(np.zeros((0, 1), np.int64))


def _cut(out: U8, ends: I64) -> list[bytes]:
    bounds = [0, *ends.tolist()]
    written = out[: bounds[-1]].tobytes()
    return [written[start:end] for start, end in pairwise(bounds)]
