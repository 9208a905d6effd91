"""What a user shard runs: learn a batch of events on the local replica, report what changed."""

from __future__ import annotations

import numpy as np

from services.model.arrays import F32, I64
from services.model.config import ModelConfig
from services.model.events import EventBatch
from services.model.fold import rates
from services.model.gather import Changes, delta_sets, take_increments, take_touched
from services.model.kernels.batch import Counts, Events, Limits, content_changes, learn_batch
from services.model.kernels.factors import Factors, Step, scratch
from services.model.kernels.touched import increments, touched
from services.model.layout import blocks, system_hash, system_key
from services.model.replica import Replica
from services.model.rows import DeltaSet
from services.model.users import Evicted, UserTable

CATEGORY_DECAY = 0.97
"""Decay of a user's category counts by event."""
_DRAW = 0x6E656761
"""Salt of the draws of negatives."""


class Learner:
    """The learner of one user shard.

    What `learn` returns is a function of (the owners' rows at the clock, the own pending deltas, the
    user rows, the events): nothing else of the process's past matters.
    """

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.replica = Replica(config)
        self.users = UserTable(config)
        items, system = self.replica.items.table, self.replica.system.table
        d, m = config.dim, len(config.halflives_s) + 1
        self._scratch = scratch(d, config.negatives, config.history)
        self._logs = {
            "q": touched(items.room, d, 1),
            "b": touched(items.room, 1, 1),
            "v1": touched(items.room, d, 1),
        }
        self._pop, self._totals = increments(items.room, m), increments(system.room, m)
        self._step = Step(
            config.negatives,
            config.write_threshold,
            config.history_rows_written,
            config.learning_rate,
            config.l2,
            config.decay_short,
            config.history,
            config.negative_feedback,
            np.uint64((config.seed * 0x9E3779B97F4A7C15 + _DRAW) & 0xFFFF_FFFF_FFFF_FFFF),
        )
        self._limits = Limits(config.history_kept, config.dislike_weight, CATEGORY_DECAY)
        self._rates = rates(blocks(config, "item")[0])
        self._evicted: list[Evicted] = []
        self.skipped = 0
        """Positive events not learned from because the replica had no room for their items."""

    def learn(self, events: EventBatch, batch: int) -> dict[int, DeltaSet]:
        """Learn one batch; returns the deltas by item partition, which are already applied locally.

        1. items that are new get provisional rows;
        2. the events are learned in order, on the live rows, while before-copies are kept;
        3. the differences are summed per row, the rows are put back, and the sums are folded into
           them by the owner's rule (Replica.commit);
        4. users past the ceiling are forgotten.

        Raises:
            ValueError: the arrays of the batch do not fit together.
        """
        events.check()
        rows = self._rows(events)
        self.skipped += int(((rows < 0) & (events.weight > 0)).sum())
        resolved = Events(
            events.user,
            rows,
            events.item,
            events.t_ms // 1000,
            events.weight,
            events.seed,
            events.content_ptr,
            events.content,
        )
        replica = self.replica
        learn_batch(
            resolved,
            self.users.arrays,
            self._factors(),
            Counts(self._pop, self._totals, self._rates, self._system_row(events, rows)),
            replica.items.bound,
            self._step,
            self._limits,
            self._scratch,
        )
        items, system = Changes(), Changes()
        for name, log in self._logs.items():
            items.blocks[name] = (*take_touched(log, replica.items.table.stores[name]), None)
        items.blocks["pop"] = (*take_increments(self._pop), None)
        items.blocks["content"] = (*self._content(events, rows), None)
        system.blocks["totals"] = (*take_increments(self._totals), None)
        deltas = delta_sets(replica, (items, Changes(), system))
        replica.commit(batch, deltas)
        self._evicted += self.users.trim()
        return deltas

    def evicted_users(self) -> list[Evicted]:
        """Users forgotten at the ceiling since this was last asked: their rows need tombstones."""
        evicted, self._evicted = self._evicted, []
        return evicted

    def _rows(self, events: EventBatch) -> I64:
        """int64[n] positions of the events' items; rows for positives that have none."""
        table = self.replica.items
        rows = table.table.index.find_many(events.item)
        missing = np.flatnonzero((rows < 0) & (events.weight > 0))
        if len(missing):
            first = np.unique(events.item[missing], return_index=True)[1]
            first = missing[np.sort(first)]
            keys = [events.item_id[i] for i in first.tolist()]
            table.create(events.item[first], keys, events.item_partition[first])
            rows[missing] = table.table.index.find_many(events.item[missing])
        return rows

    def _content(self, events: EventBatch, rows: I64) -> tuple[I64, F32]:
        """Content lists of items that the replica does not hold yet: positions and words."""
        lists = self.replica.items.table.stores["content"].lists
        if lists is None:
            raise TypeError("the content block is not a list")
        changed = content_changes(lists, rows, events.weight, events.content_ptr, events.content)
        if not len(changed):
            return changed, np.zeros((0, 1), np.float32)
        _, last = np.unique(rows[changed][::-1], return_index=True)
        chosen = np.sort(changed[len(changed) - 1 - last])
        starts, ends = events.content_ptr[chosen], events.content_ptr[chosen + 1]
        ends = np.minimum(ends, starts + self.config.max_content)
        words = np.concatenate([events.content[a:b] for a, b in zip(starts, ends, strict=True)])
        return np.repeat(rows[chosen], ends - starts), words.view(np.float32)[:, None]

    def _system_row(self, events: EventBatch, rows: I64) -> int:
        """Position of the system row; created when no sweep has brought it yet and the batch counts."""
        row = self.replica.system_row()
        if row >= 0 or not ((rows >= 0) & (events.weight > 0)).any():
            return row
        hashes = np.array([system_hash()], np.uint64)
        created = self.replica.system.create(hashes, [system_key()], np.zeros(1, np.int32))
        return int(created[0])

    def _factors(self) -> Factors:
        table = self.replica.items.table
        q, b, v1 = (table.stores[name] for name in ("q", "b", "v1"))
        return Factors(
            table.keys,
            table.index.keys,
            table.index.slots,
            q.data,
            q.acc,
            b.data,
            b.acc,
            v1.data,
            v1.acc,
            self._logs["q"],
            self._logs["b"],
            self._logs["v1"],
        )
