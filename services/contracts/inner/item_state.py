"""Records of the item-state topic: absolute item rows, in sweeps that a clock record seals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict, cast

from services.contracts.inner.codec import pack, unpack

VERSION = 1
CLOCK_KEY = b"\x00clock"


class ItemRow(TypedDict):
    """One item's parameters. Key: the item id (layout.SYSTEM_ITEM for the system row)."""

    v: int
    o: int
    """Next item-deltas offset: the row includes every delta before it."""
    c: int
    """Number of delta records folded into this row in its life."""
    slot: int
    """The owner's ordinal of the row inside its item partition: dense, reused after an eviction."""
    b: dict[str, bytes]
    """Parameters by block name (model.layout), little-endian."""


class Clock(TypedDict):
    """Seals a sweep of one item partition: all rows up to here are the state at this position."""

    v: int
    o: int
    """Next item-deltas offset of this partition."""
    folded: dict[str, list[int]]
    """{shard: [epoch, last batch number folded]}."""
    sweep: int
    model: dict[str, Any]
    """The learner's configuration: what the row layout follows from."""


def encode(record: ItemRow | Clock) -> bytes:
    """Encode one item-state record."""
    return pack(record)


def row_pieces(blocks: Sequence[str]) -> list[bytes]:
    """What always stands in the bytes of a row: before its offset, its count, its slot, and the bytes of each block.

    Args:
        blocks: names of its at most 15 blocks, in order.
    """
    fields, named = b"\x85", bytes([0x80 | len(blocks)])
    first, *others = [pack(name) for name in blocks]
    marks = [fields + pack("v") + pack(VERSION) + pack("o"), pack("c"), pack("slot")]
    return [*marks, pack("b") + named + first, *others]


def decode_row(value: bytes) -> ItemRow:
    """Decode an item row; raises `InnerRecordError`."""
    return cast(ItemRow, unpack(value, VERSION, "item row"))


def decode_clock(value: bytes) -> Clock:
    """Decode a clock record; raises `InnerRecordError`."""
    return cast(Clock, unpack(value, VERSION, "item clock"))
