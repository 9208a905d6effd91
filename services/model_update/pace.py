"""How often item rows are published: soon while sweeps are small, within a budget of bytes when they are large."""

from __future__ import annotations


class SweepPace:
    """When the next sweep is due.

    At low load a change is published at once or after `min_ms`. At full load most rows of the catalogue change between
    any two sweeps, so that a sweep costs the catalogue's size however long one waits: the pace then waits until the
    bytes of the last sweep are paid for.
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
        self.due_ms = 0
        """The next sweep is due at this time, Unix ms."""
        self._start_ms = 0
        self._size = 0

    def swept(self, now_ms: int, size: int) -> None:
        """Note a sweep of `size` bytes at `now_ms`; the partitions swept at the same time count together."""
        if now_ms != self._start_ms:
            self._start_ms, self._size = now_ms, 0
        self._size += size
        self.due_ms = now_ms + max(self._min_ms, int(self._size / self._bytes_per_ms))
