"""The events of one learning batch, as parallel arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.model.arrays import F32, I32, I64, U32, U64


@dataclass(slots=True)
class EventBatch:
    """n events in (features partition, offset) order."""

    user: I32
    """int32[n] slots of the user table."""
    item: U64
    """uint64[n] item hashes."""
    item_id: list[str]
    item_partition: I32
    """int32[n]"""
    t_ms: I64
    """int64[n] event times, Unix ms."""
    weight: F32
    """float32[n]: > 0 a positive of that strength, < 0 negative feedback, 0 learned from in no way."""
    value: F32
    """float32[n] rating or amount as produced; NaN when there is none."""
    seed: U64
    """uint64[n]: a mix of the event's partition and offset (see `event_seed`)."""
    content_ptr: I32
    """int32[n + 1]: event i has content[content_ptr[i]:content_ptr[i + 1]]."""
    content: U32
    """uint32: hashed content features of the items, end to end."""
    context_ptr: I32
    context: U32

    def __len__(self) -> int:
        """Number of events."""
        return len(self.item)

    def check(self) -> None:
        """Raise ValueError when the arrays do not fit together."""
        n = len(self.item)
        for name in ("user", "item_id", "item_partition", "t_ms", "weight", "value", "seed"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"events.{name} has {len(getattr(self, name))} entries for {n} events")
        for name in ("content", "context"):
            ptr = getattr(self, name + "_ptr")
            if len(ptr) != n + 1 or ptr[0] != 0 or ptr[-1] != len(getattr(self, name)):
                raise ValueError(f"events.{name}_ptr does not cover events.{name}")


def event_seed(partition: int, offset: int) -> int:
    """The seed of an event's random draws: what identifies it in the features log, and nothing else."""
    return ((partition & 0xFFFF) << 48) | (offset & 0xFFFF_FFFF_FFFF)


def ragged(parts: Sequence[Sequence[int]]) -> tuple[I32, U32]:
    """Lists of features as (pointers int32[n + 1], values uint32)."""
    ptr = np.zeros(len(parts) + 1, np.int32)
    np.cumsum([len(p) for p in parts], out=ptr[1:])
    values = np.fromiter((f for p in parts for f in p), np.uint32, int(ptr[-1]))
    return ptr, values


def chosen_parts(ptr: I32, values: U32, chosen: I32 | I64, limit: int | None = None) -> tuple[I32, U32]:
    """The lists values[ptr[i]:ptr[i + 1]] of chosen i, at most `limit` of each, as `ragged` gives them.

    >>> ptr, values = ragged([[7, 8, 9], [], [5]])
    >>> [part.tolist() for part in chosen_parts(ptr, values, np.array([2, 0]), limit=2)]
    [[0, 1, 3], [5, 7, 8]]
    """
    starts = ptr[chosen].astype(np.int64)
    lengths = ptr[chosen + 1] - starts
    if limit is not None:
        lengths = np.minimum(lengths, limit)
    ends: I32 = np.zeros(len(chosen) + 1, np.int32)
    np.cumsum(lengths, out=ends[1:])
    inside = np.arange(int(ends[-1])) - np.repeat(ends[:-1], lengths)
    return ends, values[np.repeat(starts, lengths) + inside]
