"""The user rows that publishing holds: the model's user table, and what each row has learned from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from services.contracts.inner.user_state import SeenChunk, UserRow, split_key
from services.model.users import UserTable
from services.recommendation_publishing.event_time import EventClock
from services.recommendation_publishing.lists import Learned

_META = np.dtype([("epoch", "<i8"), ("partition", "<i4"), ("offset", "<i8"), ("time_ms", "<i8"), ("append_ms", "<i8")])


@dataclass(slots=True)
class Received:
    """The newest records of a user that the table does not hold yet."""

    row: UserRow | None = None
    chunks: dict[int, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class UserRows:
    """Rows of the user partitions that this replica owns, newest version of each.

    A record that comes in is kept as it is until its user's row is asked for. Under load several rows of a user come
    before the user's list is made, and only the last of them is worth taking apart.
    """

    table: UserTable
    received: dict[bytes, Received] = field(default_factory=dict)
    """By user: what the table does not hold yet."""
    clock: EventClock = field(default_factory=EventClock)
    """Event time, by the rows that came."""
    _meta: np.ndarray[Any, Any] = field(default_factory=lambda: np.zeros(1024, _META))
    """By slot of the table; offset 0 where no row was loaded."""
    _event_ids: list[str] = field(default_factory=list)
    """By slot."""

    def receive(self, key: bytes, record: UserRow | SeenChunk | None) -> None:
        """Take in one user-state record; None deletes.

        A row older than the one that is held changes nothing: after a restart the log is read again from the
        committed position, behind the restored rows.
        """
        user, chunk = split_key(key)
        if record is None:
            if chunk is None:
                self.drop(user)
            return
        if chunk is None:
            self.clock.learned(record["t"], record["ts"])  # type: ignore[typeddict-item]  # the key says it is a row
        received = self.received.get(user)
        if received is None:
            received = self.received[user] = Received()
        if chunk is not None:
            received.chunks[chunk] = record["s"]  # type: ignore[typeddict-item]  # the key says it is a chunk
        elif received.row is None or received.row["o"] <= record["o"]:  # type: ignore[typeddict-item]  # and a row
            received.row = record  # type: ignore[assignment]  # the key says it is a row

    def settle(self, users: Iterable[bytes]) -> None:
        """Bring what was received of users into the table, all at once."""
        rows: dict[bytes, UserRow] = {}
        chunks: list[tuple[bytes, int, bytes]] = []
        for user in users:
            received = self.received.pop(user, None)
            if received is None:
                continue
            if received.row is not None and self._offset(self.table.find(user)) <= received.row["o"]:
                rows[user] = received.row
            chunks += [(user, chunk, hashes) for chunk, hashes in received.chunks.items()]
        if rows:
            slots = self.table.load(list(rows), [row["b"] for row in rows.values()])
            self._reserve(int(slots.max()))
            self._meta[slots] = [(row["e"], row["p"], row["o"], row["t"], row["ts"]) for row in rows.values()]
            for slot, row in zip(slots.tolist(), rows.values(), strict=True):
                self._event_ids[slot] = row["id"]
        for user, chunk, hashes in chunks:
            self.table.load_seen([user], [chunk], [hashes])

    def settle_all(self) -> None:
        """Bring everything that was received into the table: after a restore, whose rows nobody asks for soon."""
        self.settle(list(self.received))

    def learned(self, user: bytes) -> tuple[int, Learned | None]:
        """(slot, what the user's row has learned from); (-1, None) for a user without a row."""
        self.settle((user,))
        slot = self.table.find(user)
        if self._offset(slot) == 0:
            return -1, None
        epoch, partition, offset, time_ms, append_ms = self._meta[slot].item()
        version = {"epoch": epoch, "partition": partition, "offset": offset}
        return slot, Learned(self._event_ids[slot], time_ms, append_ms, version)  # type: ignore[arg-type]  # a ModelVersion

    def of_partition(self, partition: int) -> list[bytes]:
        """The users whose rows belong to a user partition."""
        self.settle_all()
        used = self._meta[: len(self._event_ids)]
        slots = np.flatnonzero((used["partition"] == partition) & (used["offset"] > 0))
        return [self.table.name(slot) for slot in slots.tolist()]

    def drop(self, user: bytes) -> None:
        """Forget a user."""
        self.received.pop(user, None)
        slot = self.table.find(user)
        if slot >= 0:
            self._meta[slot : slot + 1] = 0
            self.table.drop(user)

    def _offset(self, slot: int) -> int:
        return int(self._meta["offset"][slot]) if 0 <= slot < len(self._event_ids) else 0

    def _reserve(self, slot: int) -> None:
        if slot >= len(self._meta):
            grown = np.zeros(max(slot + 1, len(self._meta) * 3 // 2), _META)
            grown[: len(self._meta)] = self._meta
            self._meta = grown
        if slot >= len(self._event_ids):
            self._event_ids.extend([""] * (slot + 1 - len(self._event_ids)))
