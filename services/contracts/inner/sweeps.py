"""Taking in item-state whole sweep by whole sweep: rows count only once their clock record has come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from services.contracts.inner import item_state
from services.contracts.inner.item_state import Clock, ItemRow


@dataclass(frozen=True, slots=True)
class Sweep:
    """All rows of one item partition that changed since the clock record before this one."""

    partition: int
    rows: dict[str, ItemRow | bytes | None]
    """{row key: row, its bytes where they were left as they came, or None for an evicted one}, the newest of each."""
    clock: Clock


@dataclass(slots=True)
class SweepReader:
    """Collects the rows of each item partition until the clock record that seals them."""

    _open: dict[int, dict[str, ItemRow | bytes | None]] = field(default_factory=dict)

    def feed(self, partition: int, key: bytes, record: Any) -> Sweep | None:
        """Take one decoded item-state record in log order; returns the sweep that a clock record seals.

        Args:
            partition: item partition.
            key: the record's key.
            record: what `decode` made of the value, or the bytes of a row.
        """
        if key == item_state.CLOCK_KEY:
            return Sweep(partition, self._open.pop(partition, {}), record) if record is not None else None
        self._open.setdefault(partition, {})[key.decode()] = record
        return None

    def clear(self) -> None:
        """Forget the rows that no clock record has sealed."""
        self._open.clear()


def decode(key: bytes | None, value: bytes | None) -> ItemRow | Clock | None:
    """Decode any item-state record by its key; None stays None (an evicted row).

    Raises:
        InnerRecordError: the value is not a row or clock of this version.
    """
    if value is None:
        return None
    return item_state.decode_clock(value) if key == item_state.CLOCK_KEY else item_state.decode_row(value)
