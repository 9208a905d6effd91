"""From features by column to the learner's arrays."""

from __future__ import annotations

import numpy as np

from services.contracts.keys import partitions_of
from services.model.arrays import I32, I64, U64
from services.model.events import EventBatch, event_seed
from services.model_update.columns import Features
from services.model_update.plain import CONTENT, CONTEXT, ITEM


def event_batch(features: Features, rows: I64, slots: I32, seeds: U64, item_partitions: int) -> EventBatch:
    """The events of a learning batch as parallel arrays.

    Args:
        features: the records of the batch.
        rows: int64[n] rows of the events and implied negatives, in (features partition, offset) order.
        slots: int32[n] slots of their users.
        seeds: uint64[n], see `seeds_of`.
        item_partitions: partition count of the item-keyed topics.
    """
    columns = features.columns
    first, which = features.distinct(ITEM, rows)
    keys = features.parts(ITEM, first)
    ids = [key.decode() for key in keys]
    content_ptr, content = features.words(CONTENT, rows)
    context_ptr, context = features.words(CONTEXT, rows)
    return EventBatch(
        user=slots,
        item=columns.item_hash[rows],
        item_id=[ids[i] for i in which.tolist()],
        item_partition=partitions_of(keys, item_partitions)[which],
        t_ms=columns.t_ms[rows],
        weight=columns.weight[rows],
        value=columns.value[rows],
        seed=seeds,
        content_ptr=content_ptr,
        content=content,
        context_ptr=context_ptr,
        context=context,
    )


def seeds_of(partitions: I64, offsets: I64) -> U64:
    """uint64[n] seeds of the events at these places: `event_seed`, for many."""
    distinct, which = np.unique(partitions, return_inverse=True)
    bases = np.array([event_seed(partition, 0) for partition in distinct.tolist()], np.uint64)
    return bases[which] | offsets.astype(np.uint64)
