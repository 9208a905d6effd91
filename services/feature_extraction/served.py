"""Served lists by column: a kernel reads the Avro bytes of a whole batch and writes what extraction keeps of each list.

It takes records of the current schema that nothing is wrong with. The others go through the codec, which says what is
wrong with a record; what attribution needs of the record that it gives is encoded again in the current schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import msgpack
import numpy as np

from services.contracts.edge import EdgeCodec, RecommendationList
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
    pass_bytes,
)
from services.feature_extraction.scan import READ, UNREAD, Refused, scan
from services.model.arrays import F64, I64, U8, U64
from services.model.jit import kernel
from services.model.kernels.hashing import WORK, blake2b_64
from services.model.kernels.wire import (
    put_array,
    put_binary,
    put_double,
    put_int,
    put_piece,
    put_text,
    put_word,
)

SERVED_FIELDS = ("list_id", "user_id", "items", "item_id", "propensity", "published_at", "arm")
"""The fields of a list, and of its items, that the codec must give: a third of what there is."""
WITHDRAWN = 2
"""Beside READ and UNREAD, the state of a null value."""

_NUMBERS = 7
_ID, _ID_BYTES, _PUBLISHED, _ARM, _ARM_BYTES, _ITEMS, _DRAWN = range(_NUMBERS)
"""Numbers of a list: where its id and its arm begin, and their bytes; when it was published, Unix ms; how many items it
has, and how many of them were drawn."""
_SCORE_BYTES = 8
_HASH_BYTES = 8
_ITEM_BYTES = 13
"""Of the smallest item."""
_FIXED_BYTES = 64
"""Room for all of a body but its texts and items, which never take twice what they took in Avro."""

_KEY_ID, _KEY_PUBLISHED, _KEY_ARM, _KEY_HASHES, _KEY_DRAWN = range(5)
_KEYS = [msgpack.packb(name) for name in ("id", "t", "a", "h", "x")]
_PIECES = np.frombuffer(b"".join(_KEYS), np.uint8)
_ENDS = np.cumsum([len(key) for key in _KEYS])


class _Scratch(NamedTuple):
    """The list that is being read, with at most k items."""

    numbers: I64
    """int64[7]"""
    hashes: U64
    """uint64[k] of its items."""
    rank: I64
    """int64[k] of the items that were drawn, from 1."""
    propensity: F64
    """float64[k] of these."""
    work: U64
    """uint64[24] for hashing."""


class _Bodies(NamedTuple):
    """What is written of n lists."""

    state: U8
    """uint8[n] UNREAD or READ."""
    ids: I64
    """int64[n, 2] where the id lies in what was read, and its bytes; zeros for one that is UNREAD."""
    out: U8
    """uint8[size] the bodies, end to end."""
    ends: I64
    """int64[n] where each ends."""


@dataclass(frozen=True, slots=True)
class ServedLists:
    """n lists, ready to be kept."""

    state: list[int]
    """UNREAD, READ, or WITHDRAWN where there is no value."""
    ids: list[bytes]
    """The id of each list; empty unless it is READ."""
    bodies: list[bytes]
    """What `extraction_state.encode_list` takes; empty unless the list is READ."""
    refused: Refused
    """(row, why) of the records that are no lists, in order; they are the UNREAD ones."""


class ListReader:
    """Reads the served lists of a batch."""

    def __init__(self, codec: EdgeCodec[RecommendationList]) -> None:
        """Read what a codec reads that gives SERVED_FIELDS or more."""
        self._codec = codec
        self._plain = EdgeCodec(RecommendationList)

    def read(self, values: Sequence[bytes | None]) -> ServedLists:
        """Read records, a row each.

        Raises:
            RegistryError: the registry does not answer.
        """
        bodies, raw, _, refused = scan(values, self._bodies, self._rewrite)
        state = [WITHDRAWN if value is None else one for value, one in zip(values, bodies.state.tolist(), strict=True)]
        ends = bodies.ends.tolist()
        written = bodies.out[: ends[-1] if ends else 0].tobytes()
        return ServedLists(
            state,
            [raw[start : start + size] for start, size in bodies.ids.tolist()],
            [written[start:end] for start, end in pairwise([0, *ends])],
            refused,
        )

    def _bodies(self, buffer: U8, ends: I64) -> _Bodies:
        n = len(ends)
        bodies = _Bodies(
            state=np.empty(n, np.uint8),
            ids=np.empty((n, 2), np.int64),
            out=np.empty(2 * len(buffer) + _FIXED_BYTES * n, np.uint8),
            ends=np.empty(n, np.int64),
        )
        items = int(np.diff(ends, prepend=0).max(initial=0)) // _ITEM_BYTES + 1
        scratch = _Scratch(
            numbers=np.empty(_NUMBERS, np.int64),
            hashes=np.empty(items, np.uint64),
            rank=np.empty(items, np.int64),
            propensity=np.empty(items, np.float64),
            work=np.empty(WORK, np.uint64),
        )
        _read_all(buffer, ends, *headers_of(self._codec), MAX_ID_BYTES, scratch, bodies)
        return bodies

    def _rewrite(self, value: bytes) -> bytes:
        return self._plain.encode(_needed(self._codec.decode(value)))


def compile_kernels() -> None:
    """Compile the kernels, or read them from their cache, before the first batch comes."""
    ListReader(EdgeCodec(RecommendationList)).read([])


def _needed(record: RecommendationList) -> RecommendationList:
    """A list with SERVED_FIELDS only, and something that takes little room in the others."""
    return {
        "list_id": record["list_id"],
        "user_id": record["user_id"],
        "items": [
            {
                "item_id": item["item_id"],
                "score": 0.0,
                "rank": 0,
                "signal": "",
                "because": [],
                "propensity": item["propensity"],
            }
            for item in record["items"]
        ],
        "learned_event_id": None,
        "learned_event_time": None,
        "learned_append_time": None,
        "published_at": record["published_at"],
        "latency_ms": None,
        "model": None,
        "arm": record["arm"],
        "why": "",
        "request_id": None,
        "fallback": None,
    }


@kernel
def _pass_texts(buffer: U8, at: Any, end: int) -> Any:
    """The place behind an array of texts; -1 when there is none, as all that pass return."""
    count, at = get_block(buffer, at, end)
    while at >= 0 and count != 0:
        for _ in range(count):
            _, _, at = pass_bytes(buffer, at, end)
            if at < 0:
                return at
        count, at = get_block(buffer, at, end)
    return at


@kernel
def _pass_optional_text(buffer: U8, at: Any, end: int) -> Any:
    given = branch(buffer, at, end)
    if given == 1:
        _, _, behind = pass_bytes(buffer, at + 1, end)
        return behind
    return at + 1 if given == 0 else -1


@kernel
def _pass_optional_longs(buffer: U8, at: Any, end: int, n: int) -> Any:
    """Pass over a union of null and n numbers."""
    given = branch(buffer, at, end)
    if given < 0:
        return -1
    behind = at + 1
    for _ in range(n * given):
        _, behind = get_long(buffer, behind, end)
    return behind


@kernel
def _read_items(buffer: U8, begin: Any, end: int, scratch: _Scratch) -> Any:
    """Hash the items and note which were drawn; returns the place behind them, or -1."""
    items = drawn = 0
    count, at = get_block(buffer, begin, end)
    while at >= 0 and count != 0:
        for _ in range(count):
            start, size, at = get_text(buffer, at, end)
            at = at + _SCORE_BYTES if 0 <= at <= end - _SCORE_BYTES else -1
            _, at = get_long(buffer, at, end)
            _, _, at = pass_bytes(buffer, at, end)
            at = _pass_texts(buffer, at, end)
            given = branch(buffer, at, end)
            if given < 0:
                return -1
            at += 1
            if given == 1:
                propensity, at = get_double(buffer, at, end)
                if at < 0:
                    return -1
                scratch.rank[drawn], scratch.propensity[drawn] = items + 1, propensity
                drawn += 1
            # 0 marks an empty slot in the id indexes.
            scratch.hashes[items] = max(blake2b_64(buffer, start, size, scratch.work), np.uint64(1))
            items += 1
        count, at = get_block(buffer, at, end)
    scratch.numbers[_ITEMS], scratch.numbers[_DRAWN] = items, drawn
    return at


@kernel
def _read_one(buffer: U8, begin: int, end: int, max_id_bytes: int, scratch: _Scratch) -> Any:
    """Read the fields of a record, in the order of the schema; returns whether nothing is wrong."""
    numbers = scratch.numbers
    numbers[_ID], numbers[_ID_BYTES], at = get_text(buffer, begin, end)
    start, size, at = get_text(buffer, at, end)
    if at < 0 or not is_id(buffer, start, size, max_id_bytes):
        return False
    at = _read_items(buffer, at, end, scratch)
    at = _pass_optional_text(buffer, at, end)
    for _ in range(2):
        at = _pass_optional_longs(buffer, at, end, 1)
    numbers[_PUBLISHED], at = get_long(buffer, at, end)
    at = _pass_optional_longs(buffer, at, end, 1)
    # The model's epoch, partition and offset.
    at = _pass_optional_longs(buffer, at, end, 3)
    numbers[_ARM], numbers[_ARM_BYTES], at = get_text(buffer, at, end)
    _, _, at = pass_bytes(buffer, at, end)
    for _ in range(2):
        at = _pass_optional_text(buffer, at, end)
    return at == end


@kernel
def _write(buffer: U8, scratch: _Scratch, out: U8, at: int) -> int:
    """Write a body; returns the end."""
    numbers = scratch.numbers
    at = put_piece(out, at, _PIECES, _ENDS, _KEY_ID)
    at = put_text(out, at, buffer, numbers[_ID], numbers[_ID_BYTES])
    at = put_piece(out, at, _PIECES, _ENDS, _KEY_PUBLISHED)
    at = put_int(out, at, numbers[_PUBLISHED])
    at = put_piece(out, at, _PIECES, _ENDS, _KEY_ARM)
    at = put_text(out, at, buffer, numbers[_ARM], numbers[_ARM_BYTES])
    at = put_piece(out, at, _PIECES, _ENDS, _KEY_HASHES)
    at = put_binary(out, at, _HASH_BYTES * numbers[_ITEMS])
    for i in range(numbers[_ITEMS]):
        at = put_word(out, at, scratch.hashes[i])
        at = put_word(out, at, scratch.hashes[i] >> np.uint64(32))
    at = put_piece(out, at, _PIECES, _ENDS, _KEY_DRAWN)
    at = put_array(out, at, numbers[_DRAWN])
    for i in range(numbers[_DRAWN]):
        at = put_array(out, at, 2)
        at = put_int(out, at, scratch.rank[i])
        at = put_double(out, at, scratch.propensity[i])
    return at


@kernel
def _read_all(
    buffer: U8, ends: I64, headers: U8, sizes: I64, max_id_bytes: int, scratch: _Scratch, bodies: _Bodies
) -> None:
    """Read consecutive records and write their bodies.

    The limit is an argument because the compiled code, kept on disk, would not notice that a constant of another
    package has changed.

    Args:
        buffer: uint8[size], the records end to end.
        ends: int64[n] where each ends.
        headers: uint8, those that stand for the current schema, end to end.
        sizes: int64[k] bytes of each.
        max_id_bytes: of the longest user id.
        scratch: room for the items of the longest record.
        bodies: n rows, out.
    """
    start = written = 0
    for row in range(len(ends)):
        at = behind_header(buffer, start, ends[row], headers, sizes)
        if at >= 0 and _read_one(buffer, at, ends[row], max_id_bytes, scratch):
            bodies.state[row] = READ
            bodies.ids[row, 0], bodies.ids[row, 1] = scratch.numbers[_ID], scratch.numbers[_ID_BYTES]
            written = _write(buffer, scratch, bodies.out, written)
        else:
            bodies.state[row] = UNREAD
            bodies.ids[row, 0], bodies.ids[row, 1] = 0, 0
        bodies.ends[row] = written
        start = ends[row]
