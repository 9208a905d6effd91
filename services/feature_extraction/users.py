"""The users of one partition: rows in memory, in order of recency, under a ceiling."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from services.contracts.inner import extraction_state as states
from services.contracts.inner.extraction_state import ExtractionRow
from services.feature_extraction.dedup import CHUNK_BYTES, DedupWindow

_NO_LISTS: tuple[bytes, ...] = ()


class User:
    """One user: the row, encoded while nobody works on it, and the two rings."""

    __slots__ = ("chunks", "lists", "packed", "row", "sealed", "strays")

    def __init__(self) -> None:
        """Start without a row."""
        self.packed = b""
        """The encoded row; empty for a user whose row was never written."""
        self.row: ExtractionRow | None = None
        """The row while a step works on it."""
        self.sealed = b""
        """Sealed chunks of the deduplication window, oldest first."""
        self.lists: tuple[bytes, ...] | list[bytes] = _NO_LISTS
        """Served lists, encoded, newest last."""
        self.chunks: dict[int, bytes] | None = None
        """Chunks as restored, by number, until the restore is complete."""
        self.strays: list[bytes] | None = None
        """Keys of restored records from rings that were larger than today's."""


class UserTable:
    """Users of a partition by id, least recently active first.

    Recency is the order of a user's last accepted event in the log. The topic's order of rows is the same, so that a
    restore brings it back.
    """

    def __init__(self, ceiling: int, window: DedupWindow, lists: int) -> None:
        """Start empty.

        Args:
            ceiling: most users that are kept.
            window: joins restored chunks.
            lists: served lists per user.
        """
        self._users: OrderedDict[str, User] = OrderedDict()
        self._ceiling = ceiling
        self._window = window
        self._lists = lists
        self.newest_ts = 0
        """Newest append time of an interaction, Unix ms."""

    def __len__(self) -> int:
        """Users kept."""
        return len(self._users)

    @property
    def room(self) -> int:
        """Users that can be added without somebody having to make room."""
        return self._ceiling - len(self._users)

    def find(self, user_id: str) -> User | None:
        """A user that is known."""
        return self._users.get(user_id)

    def add(self, user_id: str, user: User) -> list[tuple[str, User]]:
        """Keep a new user; returns those who had to make room."""
        evicted = []
        while len(self._users) >= self._ceiling:
            evicted.append(self._users.popitem(last=False))
        self._users[user_id] = user
        return evicted

    def touch(self, user_id: str) -> None:
        """The user is the most recently active one now."""
        self._users.move_to_end(user_id)

    def drop(self, user_id: str) -> User | None:
        """Forget a user."""
        return self._users.pop(user_id, None)

    def oldest(self) -> tuple[str, User] | None:
        """The least recently active user."""
        for entry in self._users.items():
            return entry
        return None

    def load(self, key: bytes, value: bytes | None) -> None:
        """Take in one record of the extraction-state topic; None deletes.

        Raises:
            InnerRecordError: the value cannot be read.
        """
        raw, part, slot = states.split_key(key)
        user_id = raw.decode()
        if part == "row":
            self._load_row(user_id, value)
        elif value is not None:
            # A ring's record may stand before the row of its user in the topic.
            user = self._users.setdefault(user_id, User())
            if slot >= (self._window.chunks if part == "window" else self._lists):
                user.strays = [*(user.strays or ()), key]
            elif part == "window":
                chunk = states.decode_chunk(value)
                user.chunks = {**(user.chunks or {}), chunk["k"]: chunk["d"]}
            else:
                number = states.decode_list(value)["k"]
                kept = {states.decode_list(packed)["k"]: packed for packed in user.lists}
                kept[number] = value
                user.lists = [kept[place] for place in sorted(kept)][-self._lists :]
        elif part == "list" and user_id in self._users:
            user = self._users[user_id]
            user.lists = [one for one in user.lists if states.decode_list(one)["k"] % self._lists != slot]

    def _load_row(self, user_id: str, value: bytes | None) -> None:
        if value is None:
            self._users.pop(user_id, None)
            return
        user = self._users.setdefault(user_id, User())
        user.packed = value
        self._users.move_to_end(user_id)
        self.newest_ts = max(self.newest_ts, states.decode_row(value)["ts"])

    def restored(self) -> None:
        """All records were loaded: join the windows, drop what has no row, and what is past the ceiling."""
        for user_id in [user_id for user_id, user in self._users.items() if not user.packed]:
            del self._users[user_id]
        for user in self._users.values():
            if user.chunks is not None:
                user.sealed = self._window.restore(user.chunks, states.decode_row(user.packed)["dn"])
                user.chunks = None

    def dump(self) -> Iterator[tuple[bytes, bytes]]:
        """Every record, least recently active user first, in a form that `load` takes."""
        for user_id, user in self._users.items():
            raw = user_id.encode()
            count = len(user.sealed) // CHUNK_BYTES
            if count:
                first = states.decode_row(user.packed)["dn"] - count
                for place in range(count):
                    number = first + place
                    data = user.sealed[place * CHUNK_BYTES : (place + 1) * CHUNK_BYTES]
                    chunk = states.encode({"v": states.VERSION, "k": number, "d": data})
                    yield states.window_key(raw, number % self._window.chunks), chunk
            for packed in user.lists:
                yield states.list_key(raw, states.decode_list(packed)["k"] % self._lists), packed
            yield raw, user.packed

    def ring_keys(self, user_id: str, user: User) -> list[bytes]:
        """The keys of every record but the row that the topic may hold of a user."""
        raw = user_id.encode()
        keys = list(user.strays or ())
        row = user.row or (states.decode_row(user.packed) if user.packed else None)
        if row is not None:
            keys += [states.window_key(raw, slot) for slot in range(min(row["dn"], self._window.chunks))]
        return keys + self.list_keys(user_id, user)

    def list_keys(self, user_id: str, user: User) -> list[bytes]:
        """The keys of a user's served lists."""
        raw = user_id.encode()
        return [states.list_key(raw, states.decode_list(packed)["k"] % self._lists) for packed in user.lists]
