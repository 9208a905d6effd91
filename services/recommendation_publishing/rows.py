"""The user rows that publishing holds: the model's user table, and what each row has learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from services.contracts.inner.user_state import UserRow
from services.model.arrays import I64
from services.model.kernels.packed_users import APPEND_MS, EPOCH, EVENT_MS, OFFSET, PARTITION
from services.model.packed_users import read, set_rows
from services.model.users import UserTable
from services.recommendation_publishing.event_time import EventClock
from services.recommendation_publishing.lists import Learned
from services.recommendation_publishing.records import USER_RECORD, UserRecords

_ROOM = 1024
_COLUMNS = ("epoch", "partition", "offset", "event_ms", "append_ms")
_VERSION, _PARTITION, _OFFSET, _EVENT_MS, _APPEND_MS = slice(0, 3), 1, 2, 3, 4
_FIELDS = [EPOCH, PARTITION, OFFSET, EVENT_MS, APPEND_MS]
"""The same columns, in the fields of a record."""
_SETTLED = 8192
"""Users settled at once when it is everybody's turn: their records are copied for it."""


@dataclass(slots=True)
class Received:
    """The newest records of a user that the table does not hold yet."""

    row: bytes | UserRow | None = None
    offset: int = 0
    """Up to which the row has learned."""
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

    def receive(self, records: UserRecords) -> None:
        """Take in user-state records, in the order of the log.

        A row older than the one that is held changes nothing: after a restart the log is read again from the
        committed position, behind the restored rows.
        """
        offsets, chunks = iter(records.row_fields[:, 0].tolist()), records.parts.chunks
        items = iter(records.parts.items(np.flatnonzero(chunks >= 0)))
        for user, chunk, value in zip(records.users, chunks.tolist(), records.values, strict=True):
            seen = next(items) if chunk >= 0 else b""
            if value is None:
                if chunk < 0:
                    self.drop(user)
                continue
            received = self.received.get(user)
            if received is None:
                received = self.received[user] = Received()
            if chunk >= 0:
                received.chunks[chunk] = seen if isinstance(value, bytes) else value["s"]
                continue
            offset = next(offsets)
            if received.row is None or received.offset <= offset:
                received.row, received.offset = value, offset
        self.clock.learned(records.row_fields[:, 1], records.row_fields[:, 2])

    def settle(self, users: Sequence[bytes]) -> I64:
        """Bring what was received of users into the table, all at once.

        Returns:
            int64[n] where the users stand in the table, -1 for those of whom nothing has come.
        """
        slots = self.table.find_many(users)
        new = {
            user: (slot, self.received.pop(user))
            for user, slot in zip(users, slots.tolist(), strict=True)
            if user in self.received
        }
        strangers = [user for user, (slot, _) in new.items() if slot < 0]
        if strangers:
            made = self.table.slots(strangers)
            self._reserve(made)
            slots = self.table.find_many(users)
            new |= {user: (slot, new[user][1]) for user, slot in zip(strangers, made.tolist(), strict=True)}
        self._set_rows(new)
        chunks = [(slot, *chunk) for slot, one in new.values() for chunk in one.chunks.items()]
        if chunks:
            owners, numbers, items = zip(*chunks, strict=True)
            self.table.set_seen(np.array(owners, np.int64), numbers, items)
        return slots

    def _set_rows(self, new: dict[bytes, tuple[int, Received]]) -> None:
        """Set the rows of users in slots, where they are not older than what is held."""
        held = self._meta[[slot for slot, _ in new.values()], _OFFSET].tolist() if new else []
        plain: list[tuple[int, bytes, bytes]] = []
        for (user, (slot, one)), offset in zip(new.items(), held, strict=True):
            if one.row is None or offset > one.offset:
                continue
            if isinstance(one.row, bytes):
                plain.append((slot, user, one.row))
                continue
            row = one.row
            self.table.load([user], [row["b"]])
            self._meta[slot] = row["e"], row["p"], row["o"], row["t"], row["ts"]
            self._event_ids[slot] = row["id"]
        if not plain:
            return
        owners, names, values = zip(*plain, strict=True)
        slots, records = np.array(owners, np.int64), read(names, values, USER_RECORD)
        set_rows(self.table, slots, records)
        self._meta[slots] = records.fields[:, _FIELDS]
        for slot, event_id in zip(owners, records.event_ids(), strict=True):
            self._event_ids[slot] = event_id

    def settle_all(self) -> None:
        """Bring everything that was received into the table: after a restore, whose rows nobody asks for soon."""
        users = list(self.received)
        for at in range(0, len(users), _SETTLED):
            self.settle(users[at : at + _SETTLED])

    def slots(self, users: Sequence[bytes]) -> I64:
        """int64[n] slots of the users' rows, -1 for a user without a row."""
        slots = self.settle(users)
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
