"""The user rows that publishing holds: the model's user table, and what each row has learned from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from services.contracts.inner.user_state import SeenChunk, UserRow
from services.model.arrays import I64
from services.model.users import UserTable
from services.recommendation_publishing.event_time import EventClock
from services.recommendation_publishing.lists import Learned

_ROOM = 1024
_COLUMNS = ("epoch", "partition", "offset", "event_ms", "append_ms")
_VERSION, _PARTITION, _OFFSET, _EVENT_MS, _APPEND_MS = slice(0, 3), 1, 2, 3, 4


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
    _meta: I64 = field(default_factory=lambda: np.zeros((_ROOM, len(_COLUMNS)), np.int64))
    """int64[room, columns] by slot of the table; offset 0 where no row was loaded. There is room for every slot."""
    _event_ids: list[str] = field(default_factory=lambda: [""] * _ROOM)
    """By slot."""

    def receive(self, user: bytes, chunk: int | None, record: UserRow | SeenChunk | None) -> None:
        """Take in one user-state record, a row or a numbered chunk; None deletes.

        A row older than the one that is held changes nothing: after a restart the log is read again from the
        committed position, behind the restored rows.
        """
        if record is None:
            if chunk is None:
                self.drop(user)
            return
        received = self.received.get(user)
        if received is None:
            received = self.received[user] = Received()
        if chunk is not None:
            received.chunks[chunk] = record["s"]  # type: ignore[typeddict-item]  # only a row has no number
            return
        row: UserRow = record  # type: ignore[assignment]  # only a chunk has a number
        self.clock.learned(row["t"], row["ts"])
        if received.row is None or received.row["o"] <= row["o"]:
            received.row = row

    def settle(self, users: Iterable[bytes]) -> None:
        """Bring what was received of users into the table, all at once."""
        new = {user: self.received.pop(user) for user in users if user in self.received}
        rows = {user: one.row for user, one in new.items() if one.row is not None}
        held = self._meta[self.table.find_many(list(rows)), _OFFSET].tolist()
        rows = {user: row for (user, row), offset in zip(rows.items(), held, strict=True) if offset <= row["o"]}
        if rows:
            slots = self.table.load(list(rows), [row["b"] for row in rows.values()])
            self._reserve(slots)
            self._meta[slots] = [(row["e"], row["p"], row["o"], row["t"], row["ts"]) for row in rows.values()]
            for slot, row in zip(slots.tolist(), rows.values(), strict=True):
                self._event_ids[slot] = row["id"]
        chunks = [(user, *chunk) for user, one in new.items() for chunk in one.chunks.items()]
        if chunks:
            owners, numbers, items = zip(*chunks, strict=True)
            self._reserve(self.table.load_seen(owners, numbers, items))

    def settle_all(self) -> None:
        """Bring everything that was received into the table: after a restore, whose rows nobody asks for soon."""
        self.settle(list(self.received))

    def slots(self, users: Sequence[bytes]) -> I64:
        """int64[n] slots of the users' rows, -1 for a user without a row."""
        self.settle(users)
        slots = self.table.find_many(users)
        return np.where(self._meta[slots, _OFFSET] > 0, slots, -1)

    def learned(self, users: Sequence[bytes]) -> Learned:
        """What the users' rows have learned from."""
        slots = self.slots(users)
        ids, meta = [self._event_ids[slot] for slot in slots.tolist()], self._meta[slots]
        return Learned(slots, ids, meta[:, _EVENT_MS], meta[:, _APPEND_MS], meta[:, _VERSION])

    def of_partition(self, partition: int) -> list[bytes]:
        """The users whose rows belong to a user partition."""
        self.settle_all()
        slots = np.flatnonzero((self._meta[:, _PARTITION] == partition) & (self._meta[:, _OFFSET] > 0))
        return [self.table.name(slot) for slot in slots.tolist()]

    def drop(self, user: bytes) -> None:
        """Forget a user."""
        self.received.pop(user, None)
        slot = self.table.find(user)
        if slot >= 0:
            self._meta[slot] = 0
            self.table.drop(user)

    def _reserve(self, slots: I64) -> None:
        """Have room for these slots, and one more, which stays empty: where -1 leads."""
        missing = int(slots.max()) + 2 - len(self._meta)
        if missing > 0:
            missing = max(missing, len(self._meta) // 2)
            self._meta = np.concatenate([self._meta, np.zeros((missing, len(_COLUMNS)), np.int64)])
            self._event_ids += [""] * missing
