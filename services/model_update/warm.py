"""Compile the kernels before the first input is read: the first run on a machine takes some seconds for it."""

from __future__ import annotations

import gc

from services.contracts.inner.features import EventFeature, pack_features
from services.contracts.keys import KIND_CATEGORY, feature, item_hash
from services.model.config import ModelConfig
from services.model.owner import ItemOwner
from services.model_update.learning import BatchLearner, Part
from services.model_update.users import UserRows
from services.model_update.wire import delta_set, deltas_record


def warm(config: ModelConfig) -> None:
    """Learn made-up events on throw-away rows, fold and sweep them, and take rows in again."""
    users = UserRows(config)
    learner = BatchLearner(config, users, 0)
    for batch, weight in enumerate((1.0, -0.3, 1.0)):
        values = [_event(number, weight) for number in range(4)]
        learned = learner.learn([Part(0, 4 * batch, 4 * batch + 4, range(4 * batch, 4 * batch + 4), values)], batch)
        for partition, deltas in learned.deltas.items():
            owner = ItemOwner(config, partition)
            owner.fold(delta_set(deltas_record("", 0, batch, deltas)))
            changes = owner.sweep()
            again = ItemOwner(config, partition)
            for change in changes:
                again.load(change)
            learner.learner.replica.take(partition, changes, batch)
        records = [(key, record) for _, key, record in learner.changes()]
        for key, record in records:
            users.load(key, record)
        users.close(0)
    # The compiler leaves some hundred thousand objects behind that live as long as the process: without this, the
    # collector visits them again and again (measured: 15 instead of 2 µs for an item row at a bad moment).
    gc.collect()
    gc.freeze()


def _event(number: int, weight: float) -> EventFeature:
    item = f"i{number % 2}"
    return {
        "v": 1,
        "kind": "event",
        "src": [0, number],
        "user": "u",
        "item": item,
        "ih": item_hash(item),
        "id": "",
        "type": "",
        "value": None,
        "t": number,
        "ts": number,
        "w": weight,
        "session": [0, 0, -1],
        "ctx": b"",
        "content": pack_features([feature(KIND_CATEGORY, 1)]),
        "pref": b"",
    }
