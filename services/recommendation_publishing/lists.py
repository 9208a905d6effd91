"""Making the bytes of RecommendationLists from rankings.

Lists are most of what publishing does: the records are put together from bytes, all of a step side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from services.contracts.edge.binary import NULL, long, optional, string
from services.model.arrays import I64
from services.recommendation_publishing.avro import long_rows

Why = Literal["event", "request", "refresh"]


class Occasion(NamedTuple):
    """Why a list is published now."""

    why: Why
    list_id: str
    request_id: str | None = None


class Learned(NamedTuple):
    """What the rows of n users have learned from: the newest event of each, and the row's version."""

    slots: I64
    """int64[n] of the user table; -1 for a user without a row, about whom the other columns say nothing."""
    event_ids: Sequence[str]
    event_ms: I64
    append_ms: I64
    version: I64
    """int64[n, 3] epoch, partition and offset, as in ModelVersion."""


def nothing_learned(n: int) -> Learned:
    """Of n users without a row."""
    nothing: I64 = np.zeros(n, np.int64)
    return Learned(nothing - 1, [""] * n, nothing, nothing, np.zeros((n, 3), np.int64))


def recommendation_lists(
    users: Sequence[bytes],
    occasions: Sequence[Occasion],
    learned: Learned,
    items: Sequence[bytes],
    arms: Sequence[str],
    fallbacks: Sequence[str | None],
    now_ms: int,
) -> list[bytes]:
    """Put lists together: their Avro bytes, without the header of the encoding.

    Args:
        users: keys of the users for whom they are.
        occasions: why, and under which ids.
        learned: what the users' rows have learned from.
        items: the field `items` (`avro.item_arrays`).
        arms: the users' experiment arms.
        fallbacks: why the full model was not used, or None.
        now_ms: publish time, Unix ms.
    """
    # The fields of schemas/RecommendationList.avsc, in their order.
    return [
        b"".join(
            (
                string(occasion.list_id),
                long(len(user)),
                user,
                entries,
                *newest,
                string(arm),
                string(occasion.why),
                NULL if occasion.request_id is None else optional(string(occasion.request_id)),
                NULL if fallback is None else optional(string(fallback)),
            )
        )
        for user, occasion, entries, newest, arm, fallback in zip(
            users, occasions, items, _learned(learned, now_ms), arms, fallbacks, strict=True
        )
    ]


def _learned(learned: Learned, now_ms: int) -> list[tuple[bytes, bytes]]:
    """The fields from `learned_event_id` to `model` of every list: the id, and the others, which are numbers."""
    columns = np.ones((len(learned.slots), 11), np.int64)
    # Where a column stays 1, it is the branch of a union that is not null.
    columns[:, 1] = learned.event_ms
    columns[:, 3] = learned.append_ms
    columns[:, 4] = now_ms
    columns[:, 6] = now_ms - learned.event_ms
    columns[:, 8:] = learned.version
    nothing = NULL, b"".join((NULL, NULL, long(now_ms), NULL, NULL))
    return [
        nothing if slot < 0 else (optional(string(event_id)), numbers)
        for slot, event_id, numbers in zip(learned.slots.tolist(), learned.event_ids, long_rows(columns), strict=True)
    ]
