"""One item partition at its owner: folds deltas in log order, decides which rows stay."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from services.model.arena import reserve
from services.model.arrays import F32, I64, U8, U64
from services.model.config import ModelConfig
from services.model.kernels.packed import Form
from services.model.layout import RowKind, row_kind
from services.model.packed import TOUCH, write
from services.model.recency import Recency
from services.model.rows import DeltaSet, RowChange
from services.model.table import KINDS, SYSTEM_ROOM, RowTable, kinds_of

_TOUCH = np.dtype([("ordinal", "<i8"), ("tick", "<f4")])
_CLOCK_BLOCKS = ("pop", "totals")
_PAGE = 4096
"""Rows in one page of `rows`."""


class _Kind:
    """The rows of one kind and their order of recency."""

    def __init__(self, config: ModelConfig, kind: RowKind, ceiling: int) -> None:
        self.table = RowTable(config, kind, ceiling)
        self.recency = Recency(ceiling, config.probation)
        self.touch: I64 = reserve((ceiling,), np.int64)
        self.tick: F32 = reserve((ceiling,), np.float32)
        self.dirty: U8 = reserve((ceiling,), np.uint8)
        """1 for rows that changed since the last sweep."""
        self.gone: dict[int, tuple[str, int, int]] = {}
        """Rows evicted since the last sweep: {hash: (key, slot, count)}."""


class ItemOwner:
    """The rows of one item partition.

    The state after a delta record is a function of the log up to it: which rows exist, in which slots,
    with which bits. Sweeps only report; how often they happen changes nothing.
    """

    def __init__(self, config: ModelConfig, partition: int) -> None:
        self.config = config
        self.partition = partition
        ceilings = (
            config.items_per_partition,
            config.features_per_partition,
            SYSTEM_ROOM,
            config.contexts_per_partition,
        )
        self._kinds = tuple(_Kind(config, kind, room) for kind, room in zip(KINDS, ceilings, strict=True))
        self._expiry_ticks = config.item_expiry_s / 128.0
        self._ordered = True
        self._touches = 0
        self._newest = np.float32(0.0)

    def __len__(self) -> int:
        """Number of rows."""
        return sum(len(kind.table) for kind in self._kinds)

    def fold(self, deltas: DeltaSet) -> None:
        """Fold one delta record; call in log order.

        1. known rows become the most recent, in the order of the record;
        2. unknown rows are created with their initial values, evicting where the ceiling is reached;
        3. the blocks are folded (a row that step 2 evicted again is skipped);
        4. rows that expired are evicted.
        """
        self._order()
        codes = kinds_of(deltas.ids)
        self._note_time(deltas)
        for code, kind in enumerate(self._kinds):
            here = np.flatnonzero(codes == code)
            if not len(here):
                continue
            rows = np.full(len(deltas.ids), -1, np.int64)
            rows[here] = kind.table.index.find_many(deltas.hashes[here])
            self._touch(kind, rows[here])
            missing = np.array([i for i in here[rows[here] < 0].tolist() if deltas.ids[i]], np.int64)
            rows[missing] = self._create(kind, deltas.hashes[missing], [deltas.ids[i] for i in missing.tolist()])
            known = here[rows[here] >= 0]
            lost = known[kind.table.keys[rows[known]] != deltas.hashes[known]]
            rows[lost] = -1
            kind.table.fold(deltas, rows)
            self._expire(kind)

    def _note_time(self, deltas: DeltaSet) -> None:
        for name in _CLOCK_BLOCKS:
            block = deltas.blocks.get(name)
            if block is not None and len(block.values):
                self._newest = max(self._newest, np.float32(block.values[:, -1].max()))

    def _touch(self, kind: _Kind, slots: I64) -> None:
        """Note that a delta record has changed rows, in the order of `slots` (-1 is skipped)."""
        slots = slots[slots >= 0]
        kind.table.counts[slots] += 1
        kind.touch[slots] = np.arange(self._touches, self._touches + len(slots))
        kind.tick[slots] = self._newest
        self._touches += len(slots)
        kind.recency.touch(slots, kind.table.counts)
        kind.dirty[slots] = 1

    def _create(self, kind: _Kind, hashes: U64, keys: list[str]) -> I64:
        """Rows with initial values, in order; where the table is full the weakest row gives way."""
        slots = np.zeros(len(keys), np.int64)
        first = 0
        while first < len(keys):
            if len(kind.table) == kind.table.room:
                self._evict(kind, kind.recency.weakest())
            end = min(len(keys), first + kind.table.room - len(kind.table))
            part = slice(first, end)
            slots[part] = [kind.recency.lowest_free() for _ in range(first, end)]
            kind.table.place(slots[part], hashes[part], keys[part])
            self._touch(kind, slots[part])
            for hash_ in hashes[part].tolist():
                kind.gone.pop(hash_, None)
            first = end
        return slots

    def _evict(self, kind: _Kind, slot: int) -> None:
        table = kind.table
        key = table.key_of(np.array([slot], np.int64))[0]
        kind.gone[int(table.keys[slot])] = (key, slot, int(table.counts[slot]))
        table.remove(np.array([slot]))
        kind.recency.remove(slot)
        kind.dirty[slot] = 0

    def _expire(self, kind: _Kind) -> None:
        if not self._expiry_ticks or kind.table.kind == "system":
            return
        horizon = self._newest - self._expiry_ticks
        while stale := [slot for slot in kind.recency.tails() if slot >= 0 and kind.tick[slot] < horizon]:
            self._evict(kind, stale[0])

    def sweep(self) -> list[RowChange]:
        """The rows that changed since the last sweep: evictions first, then rows by slot."""
        items = self._kinds[0]
        slots = self._swept(items)
        others = self._other_changes()
        gone = sum(change.blocks is None for change in others)
        return others[:gone] + self._changes(items, slots) + others[gone:]

    def sweep_packed(self, offset: int, wanted: Form) -> tuple[list[bytes], list[bytes], list[RowChange]]:
        """The same, with the items in their wire form.

        Args:
            offset: next offset of item-deltas.
            wanted: the form of the records.

        Returns:
            (keys of the items that changed, their records, the evictions and the rows of other kinds).
        """
        items = self._kinds[0]
        slots = self._swept(items)
        keys, values = write(items.table, slots, items.touch, items.tick, offset, wanted)
        return keys, values, self._other_changes()

    def _other_changes(self) -> list[RowChange]:
        """Evictions since the last sweep, then the rows that changed and are not items; begins the next sweep."""
        changes: list[RowChange] = []
        for kind in self._kinds:
            changes += [RowChange(key, hash_, slot, n, None) for hash_, (key, slot, n) in kind.gone.items()]
            kind.gone.clear()
            kind.table.tidy()
        for kind in self._kinds[1:]:
            changes += self._changes(kind, self._swept(kind))
        return changes

    @staticmethod
    def _swept(kind: _Kind) -> I64:
        """Slots of the rows that changed since the last sweep, ascending; from now on they have not."""
        slots = np.flatnonzero(kind.dirty[: kind.recency.top])
        kind.dirty[slots] = 0
        return slots

    def _changes(self, kind: _Kind, slots: I64) -> list[RowChange]:
        if not len(slots):
            return []
        table = kind.table
        states = table.get(slots)
        touched = np.empty(len(slots), _TOUCH)
        touched["ordinal"], touched["tick"] = kind.touch[slots], kind.tick[slots]
        raw = touched.tobytes()
        for i, state in enumerate(states):
            state[TOUCH] = raw[i * _TOUCH.itemsize : (i + 1) * _TOUCH.itemsize]
        return [
            RowChange(*parts)
            for parts in zip(
                table.key_of(slots),
                table.keys[slots].tolist(),
                slots.tolist(),
                table.counts[slots].tolist(),
                states,
                strict=True,
            )
        ]

    def load(self, change: RowChange) -> None:
        """Take in a row of item-state while restoring; the last one of a key wins.

        Raises:
            ValueError: the row has another layout or its slot lies past the ceiling.
        """
        kind = self._kinds[KINDS.index(row_kind(change.key))]
        table = kind.table
        known = table.index.find(change.hash)
        if known >= 0:
            table.remove(np.array([known]))
        self._ordered = False
        if change.blocks is None:
            return
        if not 0 <= change.slot < table.room:
            raise ValueError(f"row {change.key!r} is in slot {change.slot}, past the ceiling of {table.room}")
        if table.keys[change.slot]:
            # Its old holder was evicted; the tombstone of that is still to come.
            table.remove(np.array([change.slot]))
        slot = np.array([change.slot], np.int64)
        table.place(slot, np.array([change.hash], np.uint64), [change.key])
        table.set(slot, [change.blocks], [change.count])
        touch = change.blocks.get(TOUCH, b"")
        if len(touch) != _TOUCH.itemsize:
            raise ValueError(f"row {change.key!r} does not say when its owner last touched it")
        touched = np.frombuffer(touch, _TOUCH)
        kind.touch[slot], kind.tick[slot] = touched["ordinal"], touched["tick"]

    def _order(self) -> None:
        """Rebuild what follows from the loaded rows: the order of recency and the counters."""
        if self._ordered:
            return
        self._ordered = True
        for kind in self._kinds:
            slots = np.flatnonzero(kind.table.keys)
            kind.recency.restore(slots[np.argsort(kind.touch[slots])], kind.table.counts)
            if len(slots):
                self._touches = max(self._touches, int(kind.touch[slots].max()) + 1)
                self._newest = max(self._newest, kind.tick[slots].max())

    def rows(self) -> Iterator[RowChange]:
        """Every row, by kind and slot."""
        for kind in self._kinds:
            slots = np.flatnonzero(kind.table.keys)
            for at in range(0, len(slots), _PAGE):
                yield from self._changes(kind, slots[at : at + _PAGE])

    def nbytes(self) -> int:
        """Resident bytes of the rows."""
        return sum(kind.table.nbytes() + len(kind.table) * 28 for kind in self._kinds)

    @property
    def items(self) -> RowTable:
        """The item rows, by slot."""
        return self._kinds[0].table

    def hashes(self) -> U64:
        """uint64[n] hashes of the item rows, by slot."""
        keys = self._kinds[0].table.keys
        return keys[np.flatnonzero(keys)]
