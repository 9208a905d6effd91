"""Which row of a full table gives way: two lists in order of recency, and the lowest free slot.

Rows of a single delta record are on probation and go first while they hold more than their share of
the table; rows that came again are protected. So a flood of ids that occur once cannot push out the
ids that matter. Everything here follows from (slot, last touch, count) of the rows, so that an owner
that restarts from its rows decides as it would have without the restart.
"""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np

from services.model.arena import reserve
from services.model.arrays import I32, I64, U8, U32
from services.model.jit import kernel


@kernel
def _unlink(ends: I32, newer: I32, older: I32, side: U8, slot: int) -> None:
    which = side[slot] - 1
    up, down = newer[slot], older[slot]
    if up >= 0:
        older[up] = down
    else:
        ends[which, 0] = down
    if down >= 0:
        newer[down] = up
    else:
        ends[which, 1] = up
    side[slot] = 0


@kernel
def _push(ends: I32, newer: I32, older: I32, side: U8, slot: int, which: int) -> None:
    head = ends[which, 0]
    newer[slot] = -1
    older[slot] = head
    if head >= 0:
        newer[head] = slot
    else:
        ends[which, 1] = slot
    ends[which, 0] = slot
    side[slot] = which + 1


class Recency:
    """Order of recency over the slots of a table with a ceiling."""

    def __init__(self, ceiling: int, probation: float) -> None:
        self._ceiling = ceiling
        self._share = int(ceiling * probation)
        self._newer: I32 = reserve((ceiling,), np.int32)
        self._older: I32 = reserve((ceiling,), np.int32)
        self._side: U8 = reserve((ceiling,), np.uint8)
        """0 = empty slot, 1 = on probation, 2 = protected."""
        self._ends: I32 = np.full((2, 2), -1, np.int32)
        """[side, (head, tail)]"""
        self._size = [0, 0]
        self._top = 0
        self._free: list[int] = []
        """Heap of empty slots below the top."""

    def touch(self, slot: int, protected: bool) -> None:
        """Make a slot the most recent of its side."""
        if self._side[slot]:
            self._size[self._side[slot] - 1] -= 1
            _unlink(self._ends, self._newer, self._older, self._side, slot)
        _push(self._ends, self._newer, self._older, self._side, slot, int(protected))
        self._size[int(protected)] += 1

    def remove(self, slot: int) -> None:
        """Empty a slot."""
        self._size[self._side[slot] - 1] -= 1
        _unlink(self._ends, self._newer, self._older, self._side, slot)
        heappush(self._free, slot)

    def lowest_free(self) -> int:
        """The lowest empty slot (below the ceiling); the caller fills it."""
        if self._free:
            return heappop(self._free)
        self._top += 1
        return self._top - 1

    def weakest(self) -> int:
        """The slot that gives way."""
        probation, protected = int(self._ends[0, 1]), int(self._ends[1, 1])
        if probation >= 0 and (protected < 0 or self._size[0] > self._share):
            return probation
        return protected

    def tails(self) -> tuple[int, int]:
        """The least recent slot of each side, -1 where there is none."""
        return int(self._ends[0, 1]), int(self._ends[1, 1])

    def before(self, slot: int) -> int:
        """The next more recent slot of the same side, or -1."""
        return int(self._newer[slot])

    def restore(self, oldest_first: I64, counts: U32) -> None:
        """Start over from the rows there are."""
        self._ends[:] = -1
        self._side[: self._top] = 0
        self._size = [0, 0]
        self._top = int(oldest_first.max()) + 1 if len(oldest_first) else 0
        empty = np.ones(self._top, np.bool_)
        empty[oldest_first] = False
        self._free = np.flatnonzero(empty).tolist()
        for slot in oldest_first.tolist():
            self.touch(slot, int(counts[slot]) > 1)
