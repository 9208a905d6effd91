"""How far a user shard learns ahead of the item shards: a little way while the model is young."""

from __future__ import annotations

from math import ceil

from services.model.young import exchange_after

PATIENCE_MS = 5_000
"""A batch that no item shard has folded after so long is not waited for: item shards may be away, and events may not
wait for their rows."""


class Ahead:
    """The learning batches whose deltas are not folded yet, and how much may be learned beside them.

    A shard that owns all users waits for nobody: what others learn is what it misses until rows are exchanged, and
    there are no others. One that owns none has nothing to wait with.
    """

    def __init__(self, partitions: int) -> None:
        """`partitions`: of the users, in all."""
        self._partitions = partitions
        self._sent: dict[int, tuple[int, int]] = {}

    def sent(self, batch: int, events: int, now_ms: int) -> None:
        """Note a learning batch of so many events."""
        self._sent[batch] = events, now_ms

    def room(self, learned: float, oldest: int | None, owned: int, now_ms: int) -> int | None:
        """How many events may be learned now; None: any number.

        Args:
            learned: events of all shards so far.
            oldest: number of the oldest own batch that is not folded; None when all are.
            owned: partitions of the users that are this shard's.
            now_ms: the time, Unix ms.
        """
        most = exchange_after(learned)
        if most is None or not 0 < owned < self._partitions:
            self._sent.clear()
            return None
        self._sent = {batch: sent for batch, sent in self._sent.items() if oldest is not None and batch >= oldest}
        if any(now_ms - sent_ms > PATIENCE_MS for _, sent_ms in self._sent.values()):
            return None
        return max(0, ceil(most * owned / self._partitions) - sum(events for events, _ in self._sent.values()))
