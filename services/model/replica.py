"""All item partitions as a user shard or a publisher holds them.

A replica row is the owner's row at the clock plus the shard's own pending deltas, folded in batch
order by the owner's rule: a pure function of (owner rows at the clock, pending deltas), whatever the
grouping of sweeps, the order of arrival or the number of restarts.

Positions: a row that a sweep confirmed stands at slot * item_partitions + partition, the same place in
every replica. A row that only this shard knows so far stands past all of those, in the provisional
region, and moves when a sweep confirms it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.model.arrays import I32, I64, U8, U64
from services.model.config import ModelConfig
from services.model.kernels.packed import Form
from services.model.layout import RowKind, feature_hash, system_hash
from services.model.packed import Standing, find_standing
from services.model.rows import DeltaSet, RowChange
from services.model.table import SYSTEM_ROOM, RowTable, kinds_of
from services.model.trending import TrendLists

LIVE = "near"
"""Block whose deltas are single events: learning applies them by the owner's rule at once."""


@dataclass(slots=True)
class Pending:
    """The deltas of one own batch to one item partition, not yet folded by the owner."""

    batch: int
    deltas: DeltaSet
    codes: U8
    """Row kind of each id."""


@dataclass(frozen=True, slots=True)
class ReplicaStats:
    """Sizes, for metrics."""

    items: int
    features: int
    provisional: int
    """Items, content and context features that no sweep has confirmed."""
    pending_batches: int
    rows_bytes: int


class ReplicaTable:
    """The rows of one kind: confirmed positions first, then the provisional region."""

    def __init__(self, config: ModelConfig, kind: RowKind, per_partition: int) -> None:
        self.partitions = config.item_partitions
        self.confirmed = per_partition * config.item_partitions
        """First provisional position."""
        self.table = RowTable(config, kind, self.confirmed + per_partition * config.item_partitions)
        self.trends: TrendLists | None = None
        """Lists that follow the rows' positions."""
        self.bound = 0
        """1 + the highest confirmed position in use: draws of negatives stay below it."""
        self._free: list[int] = []
        self._next = self.confirmed
        self._partition: I32 = np.zeros(1024, np.int32)

    @property
    def provisional(self) -> int:
        """Rows that no sweep has confirmed."""
        return self._next - self.confirmed - len(self._free)

    def segments(self) -> list[tuple[int, int]]:
        """Ranges of positions that hold rows (and holes)."""
        return [(0, self.bound), (self.confirmed, self._next)]

    def partition_of(self, rows: I64) -> I32:
        """int32[n] item partition of rows."""
        local = rows - self.confirmed
        out = (rows % self.partitions).astype(np.int32)
        mine = local >= 0
        out[mine] = self._partition[local[mine]]
        return out

    def room(self) -> int:
        """Rows that can still be created ahead of the owners."""
        return len(self._free) + self.table.room - self._next

    def create(self, hashes: U64, keys: Sequence[str], partitions: I32) -> I64:
        """New provisional rows with their initial values; -1 where there is no room."""
        n = min(len(hashes), self.room())
        rows = np.full(len(hashes), -1, np.int64)
        for i in range(n):
            if self._free:
                rows[i] = self._free.pop()
            else:
                rows[i] = self._next
                self._next += 1
        if n:
            top = self._next - self.confirmed
            if top > len(self._partition):
                self._partition = np.resize(self._partition, max(top, 2 * len(self._partition)))
            self._partition[rows[:n] - self.confirmed] = partitions[:n]
            self.table.place(rows[:n], hashes[:n], keys[:n])
        return rows

    def remove(self, rows: I64) -> None:
        """Drop different rows from their positions."""
        if not len(rows):
            return
        if self.trends is not None:
            self.trends.remove(rows)
        self.table.remove(rows)
        self._free += rows[rows >= self.confirmed].tolist()
        self._lower_bound()

    def _lower_bound(self) -> None:
        used = self.table.keys
        top = self.bound
        while top > 0 and not used[top - 1]:
            top -= 1
        self.bound = top

    def overwrite(self, standing: Standing) -> U64:
        """Set the rows of one sweep that stand at their confirmed positions already; returns their hashes."""
        rows = standing.set(self.table)
        if self.trends is not None:
            self.trends.update(rows)
        return self.table.keys[rows]

    def confirm(self, partition: int, changes: Sequence[RowChange]) -> I64:
        """Set rows of one sweep at their confirmed positions; returns the positions.

        Raises:
            ValueError: a slot past the ceiling: the owner runs with another configuration.
        """
        rows = np.array([c.slot for c in changes], np.int64) * self.partitions + partition
        if rows.max() >= self.confirmed or rows.min() < 0:
            raise ValueError("an item row's slot is past the ceiling: the owners' configuration differs")
        hashes = np.array([c.hash for c in changes], np.uint64)
        known = self.table.index.find_many(hashes)
        moved = (known >= 0) & (known != rows)
        if self.trends is not None:
            freely = moved & (self.table.keys[rows] == 0)
            self.trends.rename(known[freely], rows[freely])
        self.remove(known[moved])
        # The old holders of the slots; their eviction is reported in this sweep or was compacted away.
        self.remove(rows[(self.table.keys[rows] != 0) & (self.table.keys[rows] != hashes)])
        new = np.flatnonzero(self.table.keys[rows] == 0)
        if len(new):
            self.table.place(rows[new], hashes[new], [changes[i].key for i in new.tolist()])
        self.table.set(rows, [c.blocks for c in changes if c.blocks is not None], [c.count for c in changes])
        self.bound = max(self.bound, int(rows.max()) + 1)
        if self.trends is not None:
            self.trends.update(rows)
        return rows


class Replica:
    """All item partitions, and the own deltas that their owners have not folded yet."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.items = ReplicaTable(config, "item", config.items_per_partition)
        self.features = ReplicaTable(config, "feature", config.features_per_partition)
        self.system = ReplicaTable(config, "system", SYSTEM_ROOM)
        self.contexts = ReplicaTable(config, "context", config.contexts_per_partition)
        self.tables = (self.items, self.features, self.system, self.contexts)
        """In the order of `table.KINDS`."""
        self.trends = self.items.trends = TrendLists(self.items.table, config.trends)
        self._pending: list[list[Pending]] = [[] for _ in range(config.item_partitions)]
        self.version = 0
        """Grows with every change of a row: what readers of derived values compare."""

    def standing(self, partition: int, rows: Mapping[str, Any], wanted: Form) -> tuple[Standing, list[str]]:
        """Which rows of a sweep of one partition `take` can take as they are.

        Args:
            partition: the item partition.
            rows: by key; those that are bytes are item rows in their wire form.
            wanted: that form.

        Returns:
            (the item rows that stand where they say, keys of all others).
        """
        packed = {key: row for key, row in rows.items() if isinstance(row, bytes)}
        places = (self.config.item_partitions, partition, self.items.confirmed)
        found = find_standing(self.items.table, packed, wanted, places)
        moved = {key for key, row in zip(packed, found.rows.tolist(), strict=True) if row < 0}
        return found, [key for key in rows if key not in packed or key in moved]

    def take(
        self, partition: int, changes: Sequence[RowChange], folded: int | None, standing: Standing | None = None
    ) -> None:
        """Take in whole sweeps of one partition, between two learning batches.

        1. own batches numbered <= `folded` are in the owner's rows: forget them (None: no news);
        2. overwrite rows that stand in their places, drop evicted rows, set the other changed ones;
        3. fold the batches that are still pending into the rows that were set or evicted;
        4. drop provisional rows that nothing pending supports any more.

        Args:
            partition: the item partition.
            changes: rows of the sweep.
            folded: number of the last own batch that its owner has folded.
            standing: the other rows of the sweep, found in this replica as it is now.

        Raises:
            ValueError: rows of another layout or partition ceiling.
        """
        self.version += 1
        queue = self._pending[partition]
        done: list[Pending] = []
        if folded is not None:
            done = [p for p in queue if p.batch <= folded]
            queue = self._pending[partition] = [p for p in queue if p.batch > folded]
        codes = kinds_of([c.key for c in changes])
        for code, table in enumerate(self.tables):
            mine = [changes[i] for i in np.flatnonzero(codes == code).tolist()]
            hashes = np.array([c.hash for c in mine], np.uint64)
            if standing is not None and table is self.items:
                hashes = np.concatenate([hashes, table.overwrite(standing)])
            gone = table.table.index.find_many(np.array([c.hash for c in mine if c.blocks is None], np.uint64))
            table.remove(gone[gone >= 0])
            rows = [c for c in mine if c.blocks is not None]
            if rows:
                table.confirm(partition, rows)
            if len(hashes) and queue:
                self._refold(partition, code, hashes)
            self._drop_unsupported(code, done, queue)
            table.table.tidy()
        self.trends.refresh(self.items.segments())

    def _refold(self, partition: int, code: int, hashes: U64) -> None:
        """Fold what is pending into the given rows, in batch order, as the owner will."""
        table = self.tables[code]
        for pending in self._pending[partition]:
            deltas = pending.deltas
            mine = (pending.codes == code) & np.isin(deltas.hashes, hashes)
            if mine.any():
                self._fold(table, partition, deltas, np.flatnonzero(mine))

    def _fold(self, table: ReplicaTable, partition: int, deltas: DeltaSet, here: I64, skip: str = "") -> None:
        rows = np.full(len(deltas.ids), -1, np.int64)
        rows[here] = table.table.index.find_many(deltas.hashes[here])
        missing = here[rows[here] < 0]
        if len(missing):
            keys = [deltas.ids[i] for i in missing.tolist()]
            owners = np.full(len(missing), partition, np.int32)
            rows[missing] = table.create(deltas.hashes[missing], keys, owners)
        table.table.fold(deltas, rows, skip)
        counted = deltas.blocks.get("pop")
        if table is self.items and counted is not None:
            self.trends.update(rows[counted.rows])

    def _drop_unsupported(self, code: int, done: list[Pending], queue: list[Pending]) -> None:
        if not done:
            return
        table = self.tables[code]
        hashes = np.concatenate([p.deltas.hashes[p.codes == code] for p in done])
        rows = table.table.index.find_many(hashes)
        loose = rows >= table.confirmed
        if not loose.any():
            return
        if queue:
            loose &= ~np.isin(hashes, np.concatenate([p.deltas.hashes for p in queue]))
        table.remove(np.unique(rows[loose]))

    def commit(self, batch: int, deltas: dict[int, DeltaSet], *, learned: bool = True) -> None:
        """Fold the deltas of an own batch at once and remember them as pending.

        The rows must be as they were before the batch, but for the block LIVE, which learning has
        already folded entry by entry: folding its sums, and not keeping what the
        event-by-event steps left, is what makes the row the same as after any later `take`.

        Args:
            batch: number of the batch.
            deltas: by item partition.
            learned: whether this replica has just learned the batch; False for deltas that come from the log.
        """
        self.version += 1
        for partition, part in deltas.items():
            pending = Pending(batch, part, kinds_of(part.ids))
            self._pending[partition].append(pending)
            for code, table in enumerate(self.tables):
                here = np.flatnonzero(pending.codes == code)
                if len(here):
                    self._fold(table, partition, part, here, LIVE if learned else "")
        self.trends.refresh(self.items.segments())

    def feature_rows(self, features: U64) -> I64:
        """Positions of content features' rows, -1 where absent."""
        return self.features.table.index.find_many(features | np.uint64(feature_hash(0)))

    def system_row(self, ordinal: int = 0) -> int:
        """Position of a system row, or -1."""
        return self.system.table.index.find(system_hash(ordinal))

    def pending_batches(self, partition: int) -> list[int]:
        """Numbers of the own batches that this partition's owner has not folded yet."""
        return [p.batch for p in self._pending[partition]]

    def oldest_pending(self) -> int | None:
        """Number of the oldest own batch that some owner has not folded yet."""
        return min((queue[0].batch for queue in self._pending if queue), default=None)

    def events(self) -> float:
        """Weight of all events so far, of every shard as far as it is known here."""
        row = self.system_row()
        # The last half-life is the one that never decays.
        return float(self.system.table.stores["totals"].data[row, -2]) if row >= 0 else 0.0

    def rows_bytes(self) -> int:
        """Resident bytes of all rows."""
        return sum(table.table.nbytes() for table in self.tables)

    def stats(self) -> ReplicaStats:
        """Sizes, for metrics."""
        return ReplicaStats(
            items=len(self.items.table),
            features=len(self.features.table),
            provisional=sum(table.provisional for table in (self.items, self.features, self.contexts)),
            pending_batches=max(len(queue) for queue in self._pending),
            rows_bytes=self.rows_bytes(),
        )
