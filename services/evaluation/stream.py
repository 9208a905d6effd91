"""A stream of events as arrays: what the protocol runs on, whatever file it came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from services.contracts.context import context_features
from services.contracts.keys import content_features, item_hashes, partitions_of
from services.model.events import EventBatch, chosen_parts, event_seed, ragged

_Features = Mapping[str, Any]


@dataclass(slots=True)
class Stream:
    """n events in order of time, and every item that they or the metadata name."""

    users: list[str]
    items: list[str]
    user: npt.NDArray[np.int32]
    """int32[n] positions in `users`."""
    item: npt.NDArray[np.int32]
    """int32[n] positions in `items`."""
    t_ms: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.uint64]
    """uint64[len(items)]"""
    content_ptr: npt.NDArray[np.int32]
    content: npt.NDArray[np.uint32]
    """Content features of item i: content[content_ptr[i]:content_ptr[i + 1]]."""
    context_ptr: npt.NDArray[np.int32]
    context: npt.NDArray[np.uint32]
    """Context features of event k: context[context_ptr[k]:context_ptr[k + 1]]."""

    def __len__(self) -> int:
        """Number of events."""
        return len(self.user)

    def content_of(self, chosen: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint32]]:
        """Content of chosen items, end to end: (pointers int32[k + 1], features uint32)."""
        return chosen_parts(self.content_ptr, self.content, chosen)

    def context_of(self, chosen: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint32]]:
        """Context of chosen events, as `content_of`."""
        return chosen_parts(self.context_ptr, self.context, chosen)


def stream(
    events: Iterable[tuple[str, str, int]],
    metadata: Iterable[_Features],
    contexts: Sequence[Mapping[str, str]] | None = None,
) -> Stream:
    """Make a stream.

    Args:
        events: (user id, item id, event time in Unix ms); sorted here by time, equal times keep their order.
        metadata: Item records (contracts); items without one have no content.
        contexts: the context map of each event; None where no event has one.

    Raises:
        ValueError: there are no events.
    """
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    rows = [(users.setdefault(u, len(users)), items.setdefault(i, len(items)), t) for u, i, t in events]
    if not rows:
        raise ValueError("there are no events")
    features: dict[int, list[int]] = {}
    for record in metadata:
        features[items.setdefault(record["item_id"], len(items))] = content_features(record)
    table = np.array(rows, np.int64)
    order = np.argsort(table[:, 2], kind="stable")
    table = table[order]
    maps = [contexts[at] for at in order.tolist()] if contexts else repeat({})
    around = [context_features(t, one) for t, one in zip(table[:, 2].tolist(), maps, strict=False)]
    ptr, content = ragged([features.get(i, []) for i in range(len(items))])
    names = list(items)
    return Stream(
        list(users),
        names,
        table[:, 0].astype(np.int32),
        table[:, 1].astype(np.int32),
        table[:, 2].copy(),
        item_hashes(names),
        ptr,
        content,
        *ragged(around),
    )


class Batches:
    """Makes the learning batches of a stream: the events of one shard, in order."""

    def __init__(self, events: Stream, item_partitions: int) -> None:
        self._stream = events
        self._partitions = partitions_of([name.encode() for name in events.items], item_partitions)

    def take(self, at: npt.NDArray[np.int64], slots: npt.NDArray[np.int32]) -> EventBatch:
        """The events at positions `at` of users in `slots` of a user table, each a positive of weight 1."""
        s = self._stream
        item, n = s.item[at], len(at)
        ptr, content = s.content_of(item)
        context_ptr, context = s.context_of(at)
        return EventBatch(
            user=slots,
            item=s.hashes[item],
            item_id=[s.items[i] for i in item.tolist()],
            item_partition=self._partitions[item],
            t_ms=s.t_ms[at],
            weight=np.ones(n, np.float32),
            value=np.full(n, np.nan, np.float32),
            seed=np.array([event_seed(0, i) for i in at.tolist()], np.uint64),
            content_ptr=ptr,
            content=content,
            context_ptr=context_ptr,
            context=context,
        )
