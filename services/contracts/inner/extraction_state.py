"""Records of the extraction-state topic: what feature extraction remembers of a user.

A user has one row, rewritten once per batch in which the user did something, and two rings of small records that are
written once each: full chunks of the deduplication window, and the lists that were served to the user.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict, cast

from services.contracts.inner.codec import pack, unpack

VERSION = 1
WINDOW_MARK = b"\x00d"
"""A window chunk's key is user id + WINDOW_MARK + 1 byte: its slot in the ring."""
LIST_MARK = b"\x00l"
"""A served list's key is user id + LIST_MARK + 1 byte: its slot in the ring."""

ENTRY_BYTES = 16
"""One entry of a deduplication window: 8-byte event id hash, uint32 event time in s, uint32 offset (low bits)."""
CHUNK_ENTRIES = 16
"""Entries of a full chunk: the row carries the newest, still open chunk, so this is what an event rewrites at most."""


Pending = list[Any]
"""An impression: [item id, event time in Unix ms, event id, Attribution or None]."""


class ExtractionRow(TypedDict):
    """What is known of one user. Key: the user id."""

    v: int
    p: int
    """Partition of the interactions topic."""
    o: int
    """Next offset of that partition: the row includes every interaction of the user before it."""
    e: int
    """Epoch (incarnation) of the replica that wrote the row."""
    ts: int
    """Append time of the newest interaction included, Unix ms."""
    t: int
    """Newest event time, Unix ms; 0 without events."""
    n: int
    """Interactions accepted."""
    s: list[int]
    """Session: [number, position of its newest event, crc32 of the producer's session id or -1]."""
    r: list[float]
    """Ratings: [count, mean, sum of squared deviations from the mean]."""
    d: bytes
    """Open chunk of the deduplication window: up to CHUNK_ENTRIES entries, oldest first."""
    dn: int
    """Chunks sealed so far: chunks [dn - ring size, dn) are in the ring."""
    pt: int
    """Landmark of the preference weights (forward decay), Unix ms."""
    pc: list[int]
    """Category features (contracts.keys), strongest first."""
    pw: list[float]
    """Their weights: the sum of 2^((t - pt) / half-life) over events."""
    im: list[Pending]
    """Impressions without a response so far, oldest first."""


class WindowChunk(TypedDict):
    """A full chunk of the deduplication window."""

    v: int
    k: int
    """Number of the chunk, from 0 in the user's life."""
    d: bytes
    """CHUNK_ENTRIES entries, oldest first."""


class ServedList(TypedDict):
    """A recommendation list that was served, as much of it as attribution needs."""

    v: int
    k: int
    """Number of the list among those kept of the user."""
    id: str
    t: int
    """When it was published, Unix ms."""
    a: str
    """Experiment arm."""
    h: bytes
    """Item hashes in rank order, uint64[k] little-endian."""
    x: list[list[float]]
    """Explored positions: [[rank from 1, propensity], ...]."""


Part = Literal["row", "window", "list"]


def window_key(user: bytes, slot: int) -> bytes:
    """The key of a chunk of a user's deduplication window."""
    return user + WINDOW_MARK + bytes((slot,))


def list_key(user: bytes, slot: int) -> bytes:
    """The key of a served list of a user."""
    return user + LIST_MARK + bytes((slot,))


def split_key(key: bytes) -> tuple[bytes, Part, int]:
    """(user id, what the record is, slot in its ring; 0 for the row)."""
    at = key.find(b"\x00")
    if at < 0:
        return key, "row", 0
    return key[:at], "window" if key[at : at + 2] == WINDOW_MARK else "list", key[-1]


def encode(record: ExtractionRow | WindowChunk | ServedList) -> bytes:
    """Encode one extraction-state record."""
    return pack(record)


_LIST_HEAD = bytes((0x80 | len(ServedList.__annotations__),)) + b"".join(map(pack, ("v", VERSION, "k")))
"""What a served list begins with: the head of a map of so many entries, and all before the value of "k"."""


def encode_list(number: int, body: bytes) -> bytes:
    """Encode a served list: what `encode` gives, of its number and the bytes behind that ("id" and what follows)."""
    return _LIST_HEAD + pack(number) + body


def decode_row(value: bytes) -> ExtractionRow:
    """Decode a user's row; raises `InnerRecordError`."""
    return cast(ExtractionRow, unpack(value, VERSION, "extraction row"))


def decode_chunk(value: bytes) -> WindowChunk:
    """Decode a chunk of a window; raises `InnerRecordError`."""
    return cast(WindowChunk, unpack(value, VERSION, "window chunk"))


def decode_list(value: bytes) -> ServedList:
    """Decode a served list; raises `InnerRecordError`."""
    return cast(ServedList, unpack(value, VERSION, "served list"))
