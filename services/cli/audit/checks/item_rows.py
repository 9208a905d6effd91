"""item-state equals the fold of item-deltas, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import msgpack

from services.cli.audit.checks.base import Chunk, Continuity, Finding, Findings, Log, Starts
from services.contracts.inner import item_deltas, item_state
from services.contracts.inner.codec import InnerRecordError
from services.contracts.inner.item_deltas import SEAL_KEY
from services.contracts.inner.item_state import CLOCK_KEY, Clock
from services.model.config import ModelConfig
from services.model.owner import ItemOwner
from services.model.packed import TOUCH
from services.model_update.wire import delta_set

ROWS, DELTAS = "item-state", "item-deltas"


class _Row(NamedTuple):
    """What is kept of a row: enough to compare it."""

    digest: bytes
    offset: int


class _Partition:
    """One item partition: its rows at its last clock, and the deltas folded up to there."""

    def __init__(self) -> None:
        self.open: dict[str, _Row | None] = {}
        """Rows since the last clock."""
        self.rows: dict[str, _Row] = {}
        self.clock: Clock | None = None
        self.clocks = 0
        self.owner: ItemOwner | None = None
        self.folded = 0
        self.written = Continuity()


class ItemRowsCheck:
    """Reads item-state first, then folds item-deltas up to the last clock and compares every row."""

    name = "item-state"
    title = "item-state equals the fold of item-deltas, bit for bit"
    topics: tuple[str, ...] = (ROWS, DELTAS)

    def __init__(self, partitions: int, *, repeats: bool) -> None:
        """`partitions`: of the item-keyed topics; `repeats`: at-least-once, where a restart may lose the order in
        which rows were touched."""
        self._partitions = [_Partition() for _ in range(partitions)]
        self._without_touch = repeats
        self._findings = Findings(self.name)
        self._counts = {"rows": 0, "sweeps": 0, "deltas": 0}

    def feed(self, chunk: Chunk) -> None:
        """Take in records of item-state or item-deltas."""
        one = self._partitions[chunk.partition]
        for offset, key, value in zip(chunk.offsets, chunk.keys, chunk.values, strict=True):
            try:
                if chunk.topic == ROWS:
                    one.written.see(offset)
                    self._row(one, chunk.partition, offset, key or b"", value)
                elif value is not None and key != SEAL_KEY:
                    self._fold(one, chunk.partition, offset, value)
            except InnerRecordError as error:
                self._findings.error(
                    "unreadable records", f"The record cannot be read: {error}.", chunk.topic, chunk.partition, offset
                )

    def _row(self, one: _Partition, partition: int, offset: int, key: bytes, value: bytes | None) -> None:
        if key == CLOCK_KEY:
            if value is None:
                return
            clock = item_state.decode_clock(value)
            if one.clock is not None and clock["o"] < one.clock["o"]:
                self._findings.error(
                    "a clock that goes back", f"The clock says {clock['o']}, the one before it {one.clock['o']}.",
                    ROWS, partition, offset,
                )  # fmt: skip
            one.clock = clock
            one.clocks += 1
            for name, row in one.open.items():
                if row is None:
                    one.rows.pop(name, None)
                else:
                    one.rows[name] = row
            one.open.clear()
            return
        name = key.decode()
        if value is None:
            one.open[name] = None
            return
        record = item_state.decode_row(value)
        one.open[name] = _Row(self._digest(record["slot"], record["c"], record["b"]), offset)

    def _fold(self, one: _Partition, partition: int, offset: int, value: bytes) -> None:
        if one.clock is None or offset >= one.clock["o"]:
            return
        if one.owner is None:
            one.owner = ItemOwner(ModelConfig.from_record(one.clock["model"]), partition)
        record: Any = item_deltas.decode(value)
        try:
            one.owner.fold(delta_set(record))
        except ValueError:
            # The owner has refused it as well: it is in dead-letters.
            return
        one.folded += 1

    def _digest(self, slot: int, count: int, blocks: dict[str, bytes]) -> bytes:
        parts = sorted((name, part) for name, part in blocks.items() if name != TOUCH or not self._without_touch)
        return blake2b(msgpack.packb((slot, count, parts)), digest_size=16).digest()

    def finish(self, logs: Sequence[Log]) -> list[Finding]:
        """Compare."""
        starts = Starts(logs)
        for partition, one in enumerate(self._partitions):
            self._counts["sweeps"] += one.clocks
            self._counts["deltas"] += one.folded
            if one.clock is None:
                if one.open:
                    self._findings.note("No sweep is complete yet.", ROWS, partition)
                continue
            if starts.start(DELTAS, partition) > 0:
                self._findings.note(
                    f"item-deltas does not go back to its start: the {len(one.rows)} rows cannot be computed again.",
                    DELTAS, partition, starts.start(DELTAS, partition),
                )  # fmt: skip
                continue
            if one.clock["o"] > starts.end(DELTAS, partition) and starts.cut(DELTAS, partition):
                self._findings.note(
                    f"Not judged: {len(one.rows)} rows, which are the fold of item-deltas up to {one.clock['o']}.",
                    DELTAS, partition, starts.end(DELTAS, partition),
                )  # fmt: skip
                continue
            if one.clock["o"] > starts.end(DELTAS, partition):
                self._findings.error(
                    "a clock past the deltas",
                    f"The last clock says {one.clock['o']}, item-deltas was read to {starts.end(DELTAS, partition)}.",
                    ROWS, partition, -1,
                )  # fmt: skip
                continue
            # A row whose later version lies beyond the end may have left the log because of it.
            self._compare(partition, one, whole=one.written.whole or not starts.cut(ROWS, partition))
        return self._findings.all()

    def _compare(self, partition: int, one: _Partition, *, whole: bool) -> None:
        left, absent = dict(one.rows), 0
        for row in one.owner.rows() if one.owner is not None else ():
            self._counts["rows"] += 1
            held = left.pop(row.key, None)
            if held is None and not whole:
                absent += 1
            elif held is None:
                self._findings.error(
                    "a row that is missing", f"The row of {row.key!r} is not in item-state.", ROWS, partition, -1
                )
            elif held.digest != self._digest(row.slot, row.count, row.blocks or {}):
                self._findings.error(
                    "a row that differs", f"The row of {row.key!r} is not what its deltas add up to.",
                    ROWS, partition, held.offset,
                )  # fmt: skip
        if absent:
            self._findings.note(
                f"Not judged: {absent} rows that compaction may have removed for later versions.", ROWS, partition
            )
        for name, held in left.items():
            self._findings.error(
                "a row too many", f"The row of {name!r} has no deltas, or was evicted.", ROWS, partition, held.offset
            )

    def counts(self) -> dict[str, int]:
        """Rows compared, sweeps read, delta records folded."""
        return dict(self._counts)
