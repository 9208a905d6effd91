"""Records of the features topic: what feature extraction computed, as it computed it."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Literal, NotRequired, TypedDict, cast

from services.contracts.inner.codec import pack, unpack

VERSION = 1
_PAIR = struct.Struct("<If")
LEFT_OUT = ("dup", "late", "dead", "moved")
"""Fields of a seal that name what was not accepted."""
BATCH_KEY = b"\x00batch"
"""Key of the seal that ends every extraction transaction in each partition it consumed."""


class Attribution(TypedDict):
    """The served list that an event responds to."""

    list: str
    rank: int
    """1-based; 0 when the item was not in the list."""
    arm: str
    propensity: float
    latency_ms: int


class EventFeature(TypedDict):
    """One accepted interaction, or a weak negative implied by an unanswered impression."""

    v: int
    kind: Literal["event", "implied"]
    src: list[int]
    """[partition, offset] of the interaction; an implied record carries its trigger's."""
    user: str
    item: str
    ih: int
    """64-bit hash of the item id (contracts.keys.item_hash)."""
    id: str
    """Event id as produced, or "<partition>@<offset>" when the producer gave none."""
    type: str
    value: float | None
    t: int
    """Event time, Unix ms."""
    ts: int
    """Append time of the interaction in Kafka, Unix ms."""
    w: float
    """Learning weight: > 0 is a positive of that strength, 0 is not learned, < 0 is a negative."""
    session: list[int]
    """[session number, position in the session from 0, gap to the user's previous event in ms; -1 at the first]."""
    ctx: bytes
    """Hashed context features, uint32[] (`pack_features`)."""
    content: bytes
    """Hashed content features of the item, uint32[]."""
    pref: bytes
    """The user's decayed preference before this event: (category feature, weight) pairs, strongest first
    (`pack_preference`)."""
    list: NotRequired[Attribution | None]


class EraseFeature(TypedDict):
    """Forget a user: written for an erasure request."""

    v: int
    kind: Literal["erase"]
    src: list[int]
    """[partition, offset] of the erasure request."""
    user: str


class ExtractionBatch(TypedDict):
    """The seal: every interaction in [from, to) is a feature record or named here."""

    v: int
    kind: Literal["batch"]
    partition: int
    range: list[int]
    """[from, to): positions in interactions."""
    n: int
    """Accepted: feature records of kind "event" written for this range."""
    dup: list[int]
    late: list[int]
    dead: list[int]
    moved: list[int]
    """Offsets re-keyed: written again to the partition that owns the user."""


def pack_features(values: Sequence[int]) -> bytes:
    """Hashed features as they travel, uint32[] little-endian: a list of numbers costs its reader ten times as much."""
    return struct.pack(f"<{len(values)}I", *values)


def unpack_features(packed: bytes) -> list[int]:
    """The inverse of `pack_features`."""
    return list(struct.unpack(f"<{len(packed) // 4}I", packed))


def pack_preference(preference: Iterable[tuple[int, float]]) -> bytes:
    """(category feature, weight) pairs as they travel: uint32 and float32 in turn, little-endian."""
    flat = tuple(chain.from_iterable(preference))
    return _pairs(len(flat) // 2).pack(*flat)


def unpack_preference(packed: bytes) -> list[tuple[int, float]]:
    """The inverse of `pack_preference`."""
    return list(_PAIR.iter_unpack(packed))


@lru_cache(maxsize=128)
def _pairs(count: int) -> struct.Struct:
    return struct.Struct("<" + "If" * count)


Feature = EventFeature | EraseFeature | ExtractionBatch


def encode(record: Feature) -> bytes:
    """Encode one features record."""
    return pack(record)


def decode(value: bytes) -> Feature:
    """Decode one features record; raises `InnerRecordError`."""
    return cast(Feature, unpack(value, VERSION, "feature"))


def is_event(record: Any) -> bool:
    """Whether a decoded record is learned from (an event or an implied negative)."""
    return record["kind"] in ("event", "implied")
