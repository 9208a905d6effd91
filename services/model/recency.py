"""Which row of a full table gives way: two lists in order of recency, and the lowest free slot.

Rows of a single delta record are on probation and go first while they hold more than their share of
the table; rows that came again are protected. So a flood of ids that occur once cannot push out the
ids that matter. Everything here follows from (slot, last touch, count) of the rows, so that an owner
that restarts from its rows decides as it would have without the restart.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np

from services.model.arena import reserve
from services.model.arrays import I32, I64, U8, U32
from services.model.jit import kernel


class _Links(NamedTuple):
    newer: I32
    older: I32
    side: U8
    """0 = empty slot, 1 = on probation, 2 = protected."""
    ends: I32
    """[side, (head, tail)]"""
    size: I64
    """[side]"""


@kernel
def _unlink(links: _Links, slot: int) -> None:
    which = links.side[slot] - 1
    up, down = links.newer[slot], links.older[slot]
    if up >= 0:
        links.older[up] = down
    else:
        links.ends[which, 0] = down
    if down >= 0:
        links.newer[down] = up
    else:
        links.ends[which, 1] = up
    links.side[slot] = 0
    links.size[which] -= 1


@kernel
def _touch(links: _Links, slots: I64, counts: U32) -> None:
    for slot in slots:
        if slot < 0:
            continue
        if links.side[slot]:
            _unlink(links, slot)
        which = np.int64(counts[slot] > 1)
        head = links.ends[which, 0]
        links.newer[slot] = -1
        links.older[slot] = head
        if head >= 0:
            links.newer[head] = slot
        else:
            links.ends[which, 1] = slot
        links.ends[which, 0] = slot
        links.side[slot] = which + 1
        links.size[which] += 1


class Recency:
    """Order of recency over the slots of a table with a ceiling."""

    def __init__(self, ceiling: int, probation: float) -> None:
        self._share = int(ceiling * probation)
        self._links = _Links(
            reserve((ceiling,), np.int32),
            reserve((ceiling,), np.int32),
            reserve((ceiling,), np.uint8),
            np.full((2, 2), -1, np.int32),
            np.zeros(2, np.int64),
        )
        self._top = 0
        self._free: list[int] = []
        """Heap of empty slots below the top."""

    def touch(self, slots: I64, counts: U32) -> None:
        """Make slots the most recent of their side, the last one the most; -1 is skipped.

        A slot whose row has come more than once (`counts`, by slot) is protected.
        """
        _touch(self._links, slots, counts)

    def remove(self, slot: int) -> None:
        """Empty a slot."""
        _unlink(self._links, slot)
        heappush(self._free, slot)

    def lowest_free(self) -> int:
        """The lowest empty slot (below the ceiling); the caller fills it."""
        if self._free:
            return heappop(self._free)
        self._top += 1
        return self._top - 1

    @property
    def top(self) -> int:
        """1 + the highest slot that was ever in use."""
        return self._top

    def weakest(self) -> int:
        """The slot that gives way."""
        probation, protected = self.tails()
        if probation >= 0 and (protected < 0 or int(self._links.size[0]) > self._share):
            return probation
        return protected

    def tails(self) -> tuple[int, int]:
        """The least recent slot of each side, -1 where there is none."""
        return int(self._links.ends[0, 1]), int(self._links.ends[1, 1])

    def restore(self, oldest_first: I64, counts: U32) -> None:
        """Start over from the rows there are."""
        self._links.ends[:] = -1
        self._links.size[:] = 0
        self._links.side[:] = 0
        self._top = int(oldest_first.max()) + 1 if len(oldest_first) else 0
        empty = np.ones(self._top, np.bool_)
        empty[oldest_first] = False
        self._free = np.flatnonzero(empty).tolist()
        _touch(self._links, oldest_first, counts)
