"""What a user shard runs: learn a batch of events on the local replica, report what changed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from services.model.arena import reserve
from services.model.arrays import F32, I32, I64, U32, U64
from services.model.config import ModelConfig
from services.model.events import EventBatch, chosen_parts
from services.model.experts.neighbours import PairLog
from services.model.gather import Changes, delta_sets, put_back, take_increments, take_touched
from services.model.kernels.batch import Counts, Events, Limits, content_changes, learn_batch
from services.model.kernels.factors import Logs, Step
from services.model.kernels.probe import Probe, probe_of
from services.model.kernels.touched import increments, touched
from services.model.kernels.view import CONTEXTS
from services.model.layout import (
    EXPERTS,
    GAPS,
    SCORE_FEATURES,
    TICK_S,
    context_hash,
    context_key,
    feature_hash,
    feature_key,
)
from services.model.replica import LIVE, Replica, ReplicaTable
from services.model.rows import DeltaSet
from services.model.users import Evicted, UserTable
from services.model.views import buffers, create_system_rows, setup, view

CATEGORY_DECAY = 0.97
"""Decay of a user's category counts by event."""
_DRAW = 0x6E656761
"""Salt of the draws of negatives."""
_ALL_FEATURES = 0
"""The feature that counts all events with categories and all items."""


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
        self._logs = Logs(
            q=touched(items.room, d, 1),
            b=touched(items.room, 1, 0),
            v=touched(items.room, d, 1),
            pop=touched(items.room, m, 0),
            totals=touched(system.room, m, 0),
            pi=touched(system.room, EXPERTS, 0),
            w=touched(system.room, SCORE_FEATURES, SCORE_FEATURES),
            gates=touched(system.room, 2 * GAPS, 2 * GAPS),
        )
        self._pop, self._totals = increments(items.room, m), increments(system.room, m)
        self._pi = increments(system.room, EXPERTS)
        self._ranks = [reserve((table.table.room,), np.int32) for table in self.replica.tables]
        self._work = buffers(config, config.list_length)
        self._setup = setup(config, repeats=not config.exclude_seen, top=config.list_length)
        self._step = Step(
            config.negatives,
            config.write_threshold,
            config.history_rows_written,
            config.learning_rate,
            config.l2,
            config.negative_feedback,
            np.uint64((config.seed * 0x9E3779B97F4A7C15 + _DRAW) & 0xFFFF_FFFF_FFFF_FFFF),
        )
        self._limits = Limits(
            config.history_kept,
            config.dislike_weight,
            CATEGORY_DECAY,
            config.pairs_written,
            config.score_sample,
            float(config.score_warm_up),
            config.score_rate,
        )
        self._pairs = _pair_log(1024)
        self._evicted: list[Evicted] = []
        self.skipped = 0
        """Positive events not learned from because the replica had no room for their items."""

    def learn(self, events: EventBatch, batch: int, *, probe: bool = False) -> dict[int, DeltaSet]:
        """Learn one batch; returns the deltas by item partition, which are already applied locally.

        1. items that are new get provisional rows;
        2. the events are learned in order, on the live rows, while before-copies are kept;
        3. the differences are summed per row, the rows are put back, and the sums are folded into
           them by the owner's rule (Replica.commit);
        4. users past the ceiling are forgotten.

        Args:
            events: the batch.
            batch: its number, larger than those before.
            probe: whether to rank every observed item before it is learned from (`ranks`).

        Raises:
            ValueError: the arrays of the batch do not fit together.
        """
        events.check()
        replica = self.replica
        rows = self._rows(events)
        self.skipped += int(((rows < 0) & (events.weight > 0)).sum())
        create_system_rows(replica)
        resolved = Events(
            events.user,
            rows,
            events.item,
            events.t_ms // 1000,
            events.weight,
            events.seed,
            events.content_ptr,
            events.content,
            events.context_ptr,
            events.context,
        )
        short = self.users.arrays.history.length[events.user] <= self.config.context_history
        if len(self._pairs.rows) < 2 * self.config.pairs_written * len(events):
            self._pairs = _pair_log(4 * self.config.pairs_written * len(events))
        self.ranks: Probe = probe_of(len(events) if probe else 0, replica.items.segments())
        learn_batch(
            resolved,
            self.users.arrays,
            view(replica),
            self._logs,
            Counts(self._pop, self._totals, self._pi, self._pairs),
            replica.items.bound,
            self._setup,
            self._step,
            self._limits._replace(sample=self.config.score_share(len(events))),
            self._work,
            self.ranks,
        )
        kinds = (
            self._item_changes(events, rows),
            self._features(events, rows),
            self._system(),
            self._contexts(events, rows, short),
        )
        deltas = delta_sets(replica, kinds, self._ranks)
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

    def _item_changes(self, events: EventBatch, rows: I64) -> Changes:
        changes, stores = Changes(), self.replica.items.table.stores
        put_back(self._logs.pop, stores["pop"])
        for name in ("q", "b", "v"):
            changes.blocks[name] = (*take_touched(getattr(self._logs, name), stores[name]), None)
        changes.blocks["pop"] = (*take_increments(self._pop), None)
        n = int(self._pairs.n[0])
        log = self._pairs
        values = np.stack([log.weights[:n], log.codes[:n].view(np.float32)], axis=1)
        changes.blocks[LIVE] = (log.rows[:n].copy(), values, log.neighbours[:n].copy())
        log.n[0] = 0
        changes.blocks["content"] = (*self._content(events, rows), None)
        return changes

    def _system(self) -> Changes:
        changes, stores = Changes(), self.replica.system.table.stores
        put_back(self._logs.totals, stores["totals"])
        put_back(self._logs.pi, stores["pi"])
        changes.blocks["totals"] = (*take_increments(self._totals), None)
        changes.blocks["pi"] = (*take_increments(self._pi), None)
        for name in ("w", "gates"):
            changes.blocks[name] = (*take_touched(getattr(self._logs, name), stores[name]), None)
        return changes

    def _content(self, events: EventBatch, rows: I64) -> tuple[I64, F32]:
        """Content lists that differ from what the replica holds: positions and words."""
        lists = self.replica.items.table.stores["content"].lists
        if lists is None:
            raise TypeError("the content block is not a list")
        changed = content_changes(lists, rows, events.weight, events.content_ptr, events.content)
        if not len(changed):
            self._new = changed
            return changed, np.zeros((0, 1), np.float32)
        _, last = np.unique(rows[changed][::-1], return_index=True)
        chosen = np.sort(changed[len(changed) - 1 - last])
        self._new = chosen[lists.length[rows[chosen]] == 0]
        where, words = _words(events.content_ptr, events.content, chosen, self.config.max_content)
        return rows[where], words.view(np.float32)[:, None]

    def _features(self, events: EventBatch, rows: I64) -> Changes:
        """Counts of content features: events by category, and items that had no content before."""
        changes = Changes()
        positive = np.flatnonzero((rows >= 0) & (events.weight > 0))
        where, words = _words(events.content_ptr, events.content, positive, self.config.max_content)
        category = words >> 28 == 1
        words, where = words[category], where[category]
        _, new_words = _words(events.content_ptr, events.content, self._new, self.config.max_content)
        total = np.array([_ALL_FEATURES], np.uint32)
        features, inverse = np.unique(np.concatenate([words, new_words, total]), return_inverse=True)
        values = np.zeros((len(features), 2), np.float32)
        values[:, 0] = np.bincount(inverse[: len(words)], minlength=len(features))
        values[:, 1] = np.bincount(inverse[len(words) : -1], minlength=len(features))
        # `where` ascends.
        values[inverse[-1]] += (np.count_nonzero(np.diff(where, prepend=-1)), len(self._new))
        kept = values.any(axis=1)
        features, values = features[kept], values[kept]
        if len(features):
            at = self._reserved_rows(self.replica.features, features, feature_hash(0), feature_key)
            changes.blocks["fn"] = (at[at >= 0], values[at >= 0], None)
        return changes

    def _contexts(self, events: EventBatch, rows: I64, short: np.typing.NDArray[np.bool_]) -> Changes:
        """What users with a short history chose, counted with every feature of the circumstances."""
        changes = Changes()
        chosen = np.flatnonzero((rows >= 0) & (events.weight > 0) & short)
        where, words = _words(events.context_ptr, events.context, chosen, CONTEXTS)
        if len(words):
            contexts, inverse = np.unique(words, return_inverse=True)
            at = self._reserved_rows(self.replica.contexts, contexts, context_hash(0), context_key)[inverse]
            where, at = where[at >= 0], at[at >= 0]
            # As `pair_code` at place 0.
            codes = (events.t_ms[where] // 1000 // TICK_S).astype(np.uint32) & np.uint32(0xFFFFFF)
            values = np.stack([events.weight[where], codes.view(np.float32)], axis=1)
            changes.blocks["chosen"] = (at, values, events.item[where])
        return changes

    def _reserved_rows(self, table: ReplicaTable, features: U32, tag: int, key_of: Callable[[int], str]) -> I64:
        """int64[n] positions of the rows of distinct features, created where there are none; -1 where none fits."""
        hashes: U64 = features.astype(np.uint64) | np.uint64(tag)
        rows = table.table.index.find_many(hashes)
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            names = features[missing].tolist()
            partitions = (features[missing] % self.config.item_partitions).astype(np.int32)
            rows[missing] = table.create(hashes[missing], [key_of(f) for f in names], partitions)
        return rows


def _words(ptr: I32, words: U32, chosen: I64, limit: int) -> tuple[I64, U32]:
    """(event of each word, words): the words[ptr[i]:ptr[i + 1]] of chosen events, end to end, at most `limit` each."""
    ends, found = chosen_parts(ptr, words, chosen, limit)
    return np.repeat(chosen, np.diff(ends)), found


def _pair_log(room: int) -> PairLog:
    return PairLog(
        reserve((room,), np.int64),
        reserve((room,), np.uint64),
        reserve((room,), np.float32),
        reserve((room,), np.uint32),
        np.zeros(1, np.int64),
    )
