"""Records of the user-state topic: one row per user, and chunks of what grows with a user's life."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict, cast

from services.contracts.inner.codec import pack, unpack

VERSION = 1
SEEN_MARK = b"\x00s"
"""A seen chunk's key is user id + SEEN_MARK + 4-byte big-endian chunk number."""
CHUNK_KEY_BYTES = len(SEEN_MARK) + 4
"""Of a seen chunk's key behind the user id."""


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
    mark = len(key) - CHUNK_KEY_BYTES
    if mark > 0 and key.startswith(SEEN_MARK, mark):
        return key[:mark], int.from_bytes(key[mark + len(SEEN_MARK) :], "big")
    return key, None


def encode(record: UserRow | SeenChunk) -> bytes:
    """Encode one user-state record."""
    return pack(record)


def record_pieces(blocks: Sequence[str]) -> list[bytes]:
    """What always stands in the bytes of records, in this order: before each part of a row, the blocks one by one;
    before the items of a seen chunk; and in the key of a chunk before its number.

    Args:
        blocks: names of a row's at most 15 blocks, in order.
    """
    version = pack("v") + pack(VERSION)
    first, *others = [pack(name) for name in blocks]
    head = [b"\x8b" + version + pack("p"), *map(pack, ("o", "e", "n", "id", "t", "ts"))]
    row = [*head, pack("b") + bytes([0x80 | len(blocks)]) + first, *others, pack("pref"), pack("seen")]
    return [*row, b"\x82" + version + pack("s"), SEEN_MARK]


def decode_row(value: bytes) -> UserRow:
    """Decode a user row; raises `InnerRecordError`."""
    return cast(UserRow, unpack(value, VERSION, "user row"))


def decode_chunk(value: bytes) -> SeenChunk:
    """Decode a seen chunk; raises `InnerRecordError`."""
    return cast(SeenChunk, unpack(value, VERSION, "seen chunk"))
