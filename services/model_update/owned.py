"""One item partition as its owner holds it: the rows, the position in the delta log, and what is still to publish."""

from __future__ import annotations

from collections.abc import Iterator

from services.contracts.inner import item_state
from services.contracts.inner.item_deltas import Deltas
from services.contracts.inner.item_state import CLOCK_KEY, Clock, ItemRow
from services.model.config import ModelConfig
from services.model.owner import ItemOwner
from services.model_update.mismatch import check_layout, unreadable
from services.model_update.wire import ITEM_ROW, delta_set, row_change, row_record, without

MAX_SHARDS = 256
"""Shards named in a clock. The one that has been silent longest goes first; should it speak again, it keeps its pending
deltas until a clock names it anew, which is with its next batch."""

MOST_READ = 16_384
"""Rows that wait to be taken in by a restore: about 1 kB each."""


class OwnedPartition:
    """Folds deltas in log order; publishes what changed in sweeps.

    Rows that were restored with a position past the clock's were published by a sweep that was cut off before its clock
    (possible at-least-once only: a transaction is written whole or not at all). They include the deltas up to their own
    position; those are not folded into them again, and the rows are published once more behind it.
    """

    def __init__(self, config: ModelConfig, partition: int) -> None:
        self.config = config
        self.partition = partition
        self.owner = ItemOwner(config, partition)
        self.position: int | None = None
        """Next offset to fold; None before the first one is known."""
        self.folded: dict[str, list[int]] = {}
        """{shard: [epoch, number of its last batch folded]}, the longest silent first."""
        self.sweeps = 0
        self.changed = False
        """Whether anything was folded since the last clock."""
        self._read: dict[str, ItemRow | None] = {}
        """Rows read while restoring and not taken in yet, the newest last."""
        self._loaded: dict[str, int] = {}
        self._ahead: dict[str, int] = {}
        """Rows published past the last clock, and up to where they include the deltas."""

    def load(self, key: bytes, record: ItemRow | Clock | None) -> None:
        """Take in one record of item-state while restoring.

        Raises:
            ModelMismatchError: the rows have another layout.
        """
        if key == CLOCK_KEY:
            if record is not None:
                self._load_clock(record)  # type: ignore[arg-type]  # the key says it is a clock
            return
        row: ItemRow | None = record  # type: ignore[assignment]  # the key says it is a row
        name = key.decode()
        self._loaded.pop(name, None)
        if row is not None:
            self._loaded[name] = row["o"]
        # Before compaction a topic holds many versions of a row, and only the last one counts: taking in each would
        # make a restore many times slower. The newest goes to the end, so that rows come in the order of the log.
        self._read.pop(name, None)
        self._read[name] = row
        if len(self._read) >= MOST_READ:
            self._take_read()

    def _take_read(self) -> None:
        read, self._read = self._read, {}
        for name, row in read.items():
            try:
                self.owner.load(row_change(name, row))
            except ValueError as error:
                raise unreadable("item-state", f"the row {name!r}", error) from error

    def _load_clock(self, clock: Clock) -> None:
        check_layout(self.config, clock["model"])
        self.position = clock["o"]
        self.folded = dict(clock["folded"])
        self.sweeps = clock["sweep"]
        self._loaded.clear()

    def restored(self) -> int | None:
        """All state is loaded; returns the position at which to go on, None when nothing was ever swept.

        Raises:
            ModelMismatchError: the rows have another layout.
        """
        self._take_read()
        start = self.position or 0
        self._ahead = {name: position for name, position in self._loaded.items() if position > start}
        self._loaded.clear()
        return self.position if self.position is not None or not self._ahead else 0

    def fold(self, offset: int, record: Deltas) -> None:
        """Fold one delta record.

        Raises:
            ValueError: the record's arrays do not fit together.
        """
        deltas = delta_set(record)
        if self._ahead:
            deltas = without(deltas, {name for name, position in self._ahead.items() if offset < position})
        self.owner.fold(deltas)
        # The one that speaks goes to the end.
        self.folded.pop(record["s"], None)
        self.folded[record["s"]] = [record["e"], record["b"]]
        while len(self.folded) > MAX_SHARDS:
            del self.folded[next(iter(self.folded))]
        self.changed = True

    def sweep(self) -> tuple[list[bytes], list[bytes | None]]:
        """The rows that changed since the last sweep, and the clock that seals them: their keys and their values."""
        position = self.position or 0
        keys: list[bytes]
        values: list[bytes | None]
        keys, values, changes = self.owner.sweep_packed(position, ITEM_ROW)  # type: ignore[assignment]  # no None yet
        if self._ahead and position >= max(self._ahead.values()):
            listed = {*keys, *(change.key.encode() for change in changes)}
            ahead, self._ahead = self._ahead, {}
            changes += [row for row in self.owner.rows() if row.key in ahead and row.key.encode() not in listed]
        for change in changes:
            row = row_record(change, position)
            keys.append(change.key.encode())
            values.append(None if row is None else item_state.encode(row))
        self.sweeps += 1
        self.changed = False
        return [*keys, CLOCK_KEY], [*values, item_state.encode(self._clock())]

    def _clock(self) -> Clock:
        return {
            "v": item_state.VERSION,
            "o": self.position or 0,
            "folded": self.folded,
            "sweep": self.sweeps,
            "model": self.config.to_record(),
        }

    @property
    def clean(self) -> bool:
        """Whether item-state holds every row as it is here."""
        return not self.changed and not self._ahead

    def dump(self) -> Iterator[tuple[bytes, bytes]]:
        """Every row and the clock, in a form that `load` takes. Only when `clean`."""
        for change in self.owner.rows():
            row = row_record(change, self.position or 0)
            if row is not None:
                yield change.key.encode(), item_state.encode(row)
        yield CLOCK_KEY, item_state.encode(self._clock())
