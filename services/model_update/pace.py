"""How often item rows are published: soon while sweeps are small, within a budget of bytes when they are large."""

from __future__ import annotations

SHARE_BEHIND = 0.25
"""Share of the budget that is spent while user shards are behind: what their lists wait for is then their own turn, not
the rows of items, and the bytes of a sweep cost time in every service that reads it."""
BEHIND_MS = 3000
"""How long a full learning batch says so: longer than the next one takes."""


class SweepPace:
    """When the next sweep is due.

    At low load a change is published at once or after `min_ms`. At full load most rows of the catalogue change between
    any two sweeps, so that a sweep costs the catalogue's size however long one waits: the pace then waits until the
    bytes of the last sweep are paid for. Behind its input, a system pays them off more slowly.
    """

    def __init__(self, min_ms: int, bytes_per_s: int) -> None:
        """Make the pace.

        Args:
            min_ms: shortest time between two sweeps.
            bytes_per_s: bytes published per second, on average.
        """
        self._min_ms = min_ms
        self._bytes_per_ms = bytes_per_s / 1000
        self.reset()

    def reset(self) -> None:
        """Due at once."""
        self._start_ms: int | None = None
        self._size = 0
        self._behind_until_ms = 0

    def swept(self, now_ms: int, size: int) -> None:
        """Note a sweep of `size` bytes at `now_ms`; the partitions swept at the same time count together."""
        if now_ms != self._start_ms:
            self._start_ms, self._size = now_ms, 0
        self._size += size

    def behind(self, now_ms: int) -> None:
        """Note a full learning batch."""
        self._behind_until_ms = now_ms + BEHIND_MS

    @property
    def due_ms(self) -> int:
        """The next sweep is due at this time, Unix ms."""
        if self._start_ms is None:
            return 0
        paid_ms = self._size / self._bytes_per_ms
        soon = self._start_ms + max(self._min_ms, int(paid_ms))
        late = self._start_ms + max(self._min_ms, int(paid_ms / SHARE_BEHIND))
        return min(late, max(soon, self._behind_until_ms))
