"""Records of the user-state topic: one row per user, and chunks of what grows with a user's life."""

from __future__ import annotations

from typing import TypedDict, cast

from services.contracts.inner.codec import pack, unpack

VERSION = 1
SEEN_MARK = b"\x00s"
"""A seen chunk's key is user id + SEEN_MARK + 4-byte big-endian chunk number."""


class UserRow(TypedDict):
    """Everything a user shard owns of one user, except the seen chunks. Key: the user id."""

    v: int
    p: int
    """Partition of the features topic."""
    o: int
    """Next offset of that partition: the row includes every event before it."""
    e: int
    """Epoch (incarnation) of the shard that wrote the row."""
    n: int
    """Events of this user learned so far."""
    id: str
    """Id of the newest event."""
    t: int
    """Event time of the newest event, Unix ms."""
    ts: int
    """Append time of the newest event in interactions, Unix ms."""
    b: dict[str, bytes]
    """Parameters and history by block name (model.layout), little-endian."""
    pref: bytes
    """Newest decayed category preferences, as in the features record (features.unpack_preference)."""
    seen: int
    """Number of distinct items seen, over all chunks."""


class SeenChunk(TypedDict):
    """A part of the set of items a user has interacted with."""

    v: int
    s: bytes
    """Item hashes, uint64[k] little-endian, in order of first interaction."""


def seen_key(user: bytes, chunk: int) -> bytes:
    """The key of a user's seen chunk."""
    return user + SEEN_MARK + chunk.to_bytes(4, "big")


def split_key(key: bytes) -> tuple[bytes, int | None]:
    """(user id, chunk number), with None for the row itself."""
    mark = len(key) - 6
    if mark > 0 and key[mark : mark + 2] == SEEN_MARK:
        return key[:mark], int.from_bytes(key[mark + 2 :], "big")
    return key, None


def encode(record: UserRow | SeenChunk) -> bytes:
    """Encode one user-state record."""
    return pack(record)


def decode_row(value: bytes) -> UserRow:
    """Decode a user row; raises `InnerRecordError`."""
    return cast(UserRow, unpack(value, VERSION, "user row"))


def decode_chunk(value: bytes) -> SeenChunk:
    """Decode a seen chunk; raises `InnerRecordError`."""
    return cast(SeenChunk, unpack(value, VERSION, "seen chunk"))
