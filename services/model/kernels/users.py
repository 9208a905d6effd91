"""What an event changes in a user's lists."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from services.model.arena import Lists, list_append
from services.model.arrays import F32, U32, U64
from services.model.jit import kernel


class UserArrays(NamedTuple):
    """The arrays of the user table, in the form that kernels take."""

    vector: F32
    """float32[room, d]"""
    acc: F32
    """float32[room, 1]"""
    touch: U64
    """uint64[room] seed of the newest event: features partition << 48 | offset."""
    history: Lists
    """Item hashes, oldest first; one value: event time, uint32 seconds."""
    categories: Lists
    """Category features, one value: count decayed by event."""
    seen: Lists
    """Item hashes: a ring, entry n of the user's life at n % max_seen."""
    seen_total: U32
    """uint32[room] items ever added to `seen`."""
    saved: U32
    """uint32[room] those of them that `UserTable.seen_changes` has reported."""


@kernel
def history_push(users: UserArrays, user: int, item: np.uint64, second: int, limit: int) -> None:
    """Append an item to a user's history, dropping the oldest past the limit."""
    history = users.history
    n = history.length[user]
    if n < limit:
        at = list_append(history, user, item)
    else:
        first = history.where[user]
        at = first + n - 1
        for i in range(first, at):
            history.keys[i] = history.keys[i + 1]
            history.values[i, 0] = history.values[i + 1, 0]
        history.keys[at] = item
    history.values[at, 0] = np.uint32(second)


@kernel
def seen_add(users: UserArrays, user: int, item: np.uint64) -> bool:
    """Add an item to the set of items seen; whether it was new."""
    seen = users.seen
    n, at = seen.length[user], users.seen.where[user]
    for i in range(at, at + n):
        if seen.keys[i] == item:
            return False
    limit = seen.sizes[len(seen.sizes) - 1]
    if n < limit:
        list_append(seen, user, item)
    else:
        seen.keys[at + users.seen_total[user] % limit] = item
    users.seen_total[user] += 1
    return True


@kernel
def category_count(users: UserArrays, user: int, categories: U32, decay: float) -> None:
    """Decay a user's category counts by one event and count the event's categories."""
    pool = users.categories
    limit = pool.sizes[len(pool.sizes) - 1]
    at = pool.where[user]
    for i in range(at, at + pool.length[user]):
        pool.values[i, 0] *= np.float32(decay)
    for category in categories:
        n, at = pool.length[user], pool.where[user]
        place = -1
        weakest = at
        for i in range(at, at + n):
            if pool.keys[i] == category:
                place = i
            if pool.values[i, 0] < pool.values[weakest, 0]:
                weakest = i
        if place < 0 and n < limit:
            place = list_append(pool, user, category)
            pool.values[place, 0] = np.float32(0.0)
        elif place < 0:
            place = weakest
            pool.keys[place] = category
            pool.values[place, 0] = np.float32(0.0)
        pool.values[place, 0] += np.float32(1.0)
