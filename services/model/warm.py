"""Compiling every kernel of the model before the first event comes: a life of the whole model in miniature."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from services.model.config import ModelConfig
from services.model.events import EventBatch, event_seed, ragged
from services.model.kernels.packed import PIECES
from services.model.kernels.packed_users import NUMBERS
from services.model.kernels.packed_users import PIECES as USER_PIECES
from services.model.learner import Learner
from services.model.owner import ItemOwner
from services.model.packed import form, rows_among
from services.model.packed_users import heads_of, read, set_rows, user_form, write
from services.model.recommender import Query, Recommender
from services.model.replica import Replica
from services.model.users import UserTable

_ITEMS = 8
_USERS = 3
_EVENTS = 24


def compile_kernels(config: ModelConfig) -> None:
    """Learn, fold, sweep, restore and recommend once, on a handful of rows.

    Numba compiles a kernel at its first call, or reads it from its cache: seconds that would otherwise be taken from
    the first batch, with events waiting. The work is thrown away; only what was compiled stays.
    """
    small = replace(config, item_partitions=1, max_items=64, max_features=64, max_users=16)
    learner, owner = Learner(small), ItemOwner(small, 0)
    any_form = form([b"."] * PIECES)
    for batch in range(3):
        deltas = learner.learn(_events(learner.users, batch), batch)
        for part in deltas.values():
            owner.fold(part)
        learner.replica.take(0, owner.sweep(), batch)
    for part in learner.learn(_events(learner.users, 3), 3).values():
        owner.fold(part)
    keys, rows, others = owner.sweep_packed(0, any_form)
    if all(rows_among(keys, rows, any_form)):
        named = dict(zip(map(bytes.decode, keys), rows, strict=True))
        learner.replica.take(0, others, 3, learner.replica.standing(0, named, any_form)[0])
    restored = ItemOwner(small, 0)
    for row in owner.rows():
        restored.load(row)
    for part in learner.learn(_events(learner.users, 4), 4).values():
        restored.fold(part)
    replica, users = Replica(small), UserTable(small)
    replica.take(0, list(restored.rows()), None)
    names, user_records = list(learner.users.users()), user_form([b"."] * USER_PIECES)
    slots = learner.users.find_many(names)
    users.load(names, learner.users.dump(slots))
    for user, slot in zip(names, slots.tolist(), strict=True):
        for chunk, hashes in learner.users.seen_changes(slot):
            users.load_seen([user], [chunk], [hashes])
    some = len(names)
    numbers, nothing_seen = np.zeros((some, NUMBERS), np.int64), learner.users.seen_since(slots)
    written = write(learner.users, slots, heads_of(numbers, [b""] * some, [b""] * some, nothing_seen), user_records)
    set_rows(users, users.slots(names), read(*written, user_records))
    recommender = Recommender(small, replica, users)
    recommender.catalogue.put(10_000, "unseen", np.array([1 << 28, 5 << 28], np.uint32))
    nothing = np.zeros(0, np.uint64)
    for slot in (-1, users.find(b"user-0")):
        for exclude_seen in (False, True):
            query = Query(slot, 0, 5, nothing, np.zeros(0, np.uint32), exclude_seen)
            recommender.recommend([query], recommender.catalogue.allowed)
            recommender.recommend([query, query])
    recommender.catalogue.first_occurrence(np.array([10_000], np.uint64))


def _events(users: UserTable, batch: int) -> EventBatch:
    """Events of every kind: positives, negatives, repeats, with and without content."""
    at = np.arange(_EVENTS)
    item = at * 5 % _ITEMS
    content = [[(1 << 28) | int(i % 3), (3 << 28) | 1999, (5 << 28) | int(i)] if i % 4 else [] for i in item]
    content_ptr, content_values = ragged(content)
    context_ptr, context = ragged([[] for _ in at])
    weight = np.ones(_EVENTS, np.float32)
    weight[5::7], weight[6::7] = -1.0, -0.1
    return EventBatch(
        user=np.array([users.slot(b"user-%d" % (i % _USERS)) for i in at], np.int32),
        item=(item + 1).astype(np.uint64),
        item_id=[f"item-{i}" for i in item],
        item_partition=np.zeros(_EVENTS, np.int32),
        t_ms=(1_700_000_000 + (batch * _EVENTS + at) * 600) * 1000,
        weight=weight,
        value=np.full(_EVENTS, np.nan, np.float32),
        seed=np.array([event_seed(0, batch * _EVENTS + int(i)) for i in at], np.uint64),
        content_ptr=content_ptr,
        content=content_values,
        context_ptr=context_ptr,
        context=context,
    )
