"""From decoded feature records to the learner's arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from services.contracts.inner.features import EventFeature
from services.contracts.keys import partitions_of
from services.model.arrays import I32, I64, U32, U64
from services.model.events import EventBatch, event_seed

_NAN = float("nan")


def event_batch(records: Sequence[EventFeature], slots: I32, seeds: U64, item_partitions: int) -> EventBatch:
    """The events of a learning batch as parallel arrays.

    Args:
        records: n events or implied negatives in (features partition, offset) order.
        slots: int32[n] slots of their users.
        seeds: uint64[n], see `seeds_of`.
        item_partitions: partition count of the item-keyed topics.
    """
    n = len(records)
    items = [record["item"] for record in records]
    content_ptr, content = _ragged([record["content"] for record in records])
    context_ptr, context = _ragged([record["ctx"] for record in records])
    values: list[Any] = [record["value"] for record in records]
    return EventBatch(
        user=slots,
        item=np.fromiter((record["ih"] for record in records), np.uint64, n),
        item_id=items,
        item_partition=partitions_of([item.encode() for item in items], item_partitions),
        t_ms=np.fromiter((record["t"] for record in records), np.int64, n),
        weight=np.fromiter((record["w"] for record in records), np.float32, n),
        value=np.array([_NAN if value is None else value for value in values], np.float32),
        seed=seeds,
        content_ptr=content_ptr,
        content=content,
        context_ptr=context_ptr,
        context=context,
    )


def _ragged(parts: Sequence[bytes]) -> tuple[I32, U32]:
    """Lists of packed features as (pointers int32[n + 1], values uint32)."""
    ptr = np.zeros(len(parts) + 1, np.int32)
    np.cumsum(np.fromiter(map(len, parts), np.int32, len(parts)) // 4, out=ptr[1:])
    # A bytearray: an array that cannot be written is another type to the compiler, which would compile all twice.
    return ptr, np.frombuffer(bytearray().join(parts), "<u4")


def seeds_of(partition: int, offsets: I64) -> U64:
    """uint64[n] seeds of the events at these offsets: `event_seed`, for many."""
    return offsets.astype(np.uint64) | np.uint64(event_seed(partition, 0))
