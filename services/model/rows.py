"""What travels between a shard and an owner: absolute rows one way, deltas the other way."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.model.arrays import F32, U32, U64


@dataclass(slots=True)
class RowChange:
    """One row as its owner holds it now."""

    key: str
    """Item id, or a reserved key (layout.SYSTEM_ITEM, layout.feature_key)."""
    hash: int
    """64-bit hash of the key: contracts' item hash for items, layout.reserved_hash for the others."""
    slot: int
    """The owner's ordinal of the row among its kind in its partition: dense, reused after eviction."""
    count: int
    """Delta records folded into the row in its life."""
    blocks: dict[str, bytes] | None
    """Little-endian bytes by block name; None when the row was evicted."""


@dataclass(slots=True)
class DeltaBlock:
    """What a learning batch changed in one parameter block."""

    rows: U32
    """uint32[k] positions into `DeltaSet.hashes`; ascending, repeated in list blocks (pairs, replace)."""
    values: F32
    """float32[k, block.delta_width]; a replace block carries raw uint32 here, one a row."""
    neighbours: U64 | None = None
    """uint64[k] neighbour hashes of a pairs block."""


@dataclass(slots=True)
class DeltaSet:
    """What one learning batch changed in one item partition: one delta record."""

    ids: list[str]
    hashes: U64
    """uint64[len(ids)]"""
    blocks: dict[str, DeltaBlock] = field(default_factory=dict)
