"""Records of the item-deltas topic: what one learning batch changed in one item partition, and its seal."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict, cast

from services.contracts.inner.codec import pack, unpack

VERSION = 1
SEAL_KEY = b"\x00batch"
"""Key of the seals. They all lie in partition 0, which gives them one order."""
DELTAS_KEY = b"\x00deltas"
"""Key of the deltas: a record carries those of many items."""


class DeltaBlock(TypedDict):
    """The changed rows of one parameter block (model.layout)."""

    i: bytes
    """Positions into `Deltas.h`, uint32[k] little-endian."""
    d: bytes
    """Summed deltas, float32[k, block.delta_width] little-endian; raw bytes for a replaced block."""
    n: NotRequired[bytes]
    """Neighbour item hashes of a pairs block, uint64[k] little-endian."""


class Deltas(TypedDict):
    """All deltas of one learning batch for the items of one item partition: one record."""

    v: int
    kind: Literal["deltas"]
    s: str
    """Shard that computed the batch."""
    e: int
    """Its epoch: a number that no other incarnation of the shard has."""
    b: int
    """Batch number inside the epoch, from 0."""
    ids: list[str]
    """Item ids; layout.SYSTEM_ITEM for the system row."""
    h: bytes
    """Their hashes, uint64[len(ids)] little-endian."""
    blocks: dict[str, DeltaBlock]
    behind: NotRequired[bool]
    """True when the batch was about as large as its shard takes, so that more was probably waiting."""


class BatchSeal(TypedDict):
    """One learning batch: which features it learned from and what it knew of the items."""

    v: int
    kind: Literal["seal"]
    s: str
    e: int
    b: int
    ranges: dict[str, list[int]]
    """{features partition: [from, to)}: positions."""
    clock: dict[str, int]
    """{item partition: next item-deltas offset that the replica had folded in}."""
    events: int
    model: dict[str, Any]
    """The learner's configuration, so that a rebuild needs nothing else."""


def encode(record: Deltas | BatchSeal) -> bytes:
    """Encode one item-deltas record."""
    return pack(record)


def decode(value: bytes) -> Deltas | BatchSeal:
    """Decode one item-deltas record; raises `InnerRecordError`."""
    return cast("Deltas | BatchSeal", unpack(value, VERSION, "item deltas"))
