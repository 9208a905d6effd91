"""The interactions of a slice on columns: what becomes of those of ordinary users, in one pass of kernels.

A user is left to the plain extractor (`extractor.py`), which has every rule, while impressions wait for an answer,
after a long silence, when the partition is full, and when records are read again that may have been written already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from services.contracts.context import context_features
from services.contracts.edge import EdgeCodec, InteractionEvent
from services.contracts.inner import extraction_state as states
from services.contracts.inner.extraction_state import CHUNK_ENTRIES, ENTRY_BYTES
from services.feature_extraction.extractor import RATING, Extractor
from services.feature_extraction.impressions import IMPRESSION
from services.feature_extraction.interactions import ITEM, TYPE, USER, InteractionReader, Interactions
from services.feature_extraction.kernels.batch import ACCEPTED, extract, hash_items, sort_out
from services.feature_extraction.kernels.features import Events, Items, Kinds, feature_bytes
from services.feature_extraction.kernels.lists import COLUMNS, Served, read_lists
from services.feature_extraction.kernels.rows import (
    FIRST,
    OLDEST,
    SEALED,
    Rows,
    empty_rows,
    read_rows,
    row_bytes,
    write_rows,
)
from services.feature_extraction.kernels.rules import Bounds
from services.feature_extraction.scan import READ
from services.feature_extraction.settings import ExtractionSettings
from services.feature_extraction.timing import DAY_MS
from services.feature_extraction.users import User, UserTable
from services.feature_extraction.weights import RATING_LOW
from services.model.arena import pointers
from services.model.arrays import I64, U8, U32, U64
from services.model.kernels.hashing import WORK
from services.model.kernels.wire import LONGEST_NUMBER
from services.model.texts import distinct
from services.runtime.processor import Slice

_MARGIN = bytes(LONGEST_NUMBER)
_NAME_BYTES = 64


@dataclass(slots=True)
class Kept:
    """An ordinary user after the batch."""

    user_id: str
    user: User
    last: int
    """Place of the user's last accepted event."""
    sealed: list[tuple[int, bytes]]
    """(number, entries) of the window chunks that the batch filled."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of n interactions."""

    fates: U8
    """uint8[n] of `kernels.batch`."""
    accepted: I64
    """int64[a] places of the accepted ones."""
    keys: list[bytes]
    """Of each accepted one, its user's key."""
    records: list[bytes]
    """Of each accepted one, its features record."""
    kept: list[Kept]
    """Ordinary users with an accepted event, in the order of the last."""


class Columns:
    """Runs the kernels over a slice."""

    def __init__(self, settings: ExtractionSettings, extractor: Extractor, owns: Callable[[int, str], bool]) -> None:
        """Share the items and weights of the plain extractor; `owns` says whose users are a partition's."""
        self._extractor = extractor
        self._owns = owns
        self._bounds = Bounds(
            max_future=settings.max_future_s * 1000,
            allowed_lateness=settings.allowed_lateness_s * 1000,
            session_gap=settings.session_gap_s * 1000,
            dedup_span_s=settings.dedup_span_s,
            dedup_chunks=extractor.window.chunks,
            attribution_window=settings.attribution_window_s * 1000,
            idle=int(settings.extraction_idle_days * DAY_MS),
            exactly_once=settings.delivery == "exactly-once",
            preference_size=settings.preference_size,
            preference_per_ms=1.0 / (settings.preference_half_life_days * DAY_MS),
            rating_margin=settings.rating_margin,
            rating_low=0.0,
        )
        self._work: U64 = np.zeros(WORK, np.uint64)
        self._scratch: U8 = np.zeros(_NAME_BYTES, np.uint8)

    def take(self, slice_: Slice, found: Interactions, table: UserTable) -> Taken:
        """Take the interactions of ordinary users. Their rows and windows move on; their places in the table do not.

        Args:
            slice_: of the interactions topic.
            found: its records.
            table: the users of its partition.
        """
        n, columns = len(slice_.offsets), found.columns
        raw = np.frombuffer(found.raw, np.uint8)
        read = np.flatnonzero(columns.state == READ)
        first, which = _numbers(found, USER, read, n)
        keys = _parts(found, USER, first)
        user_ids = [key.decode() for key in keys]
        users = [table.find(user_id) for user_id in user_ids]
        rows, sealed_ptr = self._rows(users, np.bincount(which[read], minlength=len(users)))
        strangers = [k for k, user in enumerate(users) if user is None]
        away = [k for k in strangers if not self._owns(slice_.partition, user_ids[k])]
        rows.plain[away] = 1
        if len(strangers) - len(away) > table.room:
            # Who has to make room, and when, is a matter of single events.
            rows.plain[:] = 1
        served = _served(users, rows.plain)
        items, item = self._items(found, read, n, raw)
        kinds, kind = self._kinds(found, read, n)
        context, context_ptr = _contexts(found, n)
        offsets, appended_ms = np.array(slice_.offsets, np.int64), np.array(slice_.timestamps, np.int64)
        events = Events(columns, raw, offsets, appended_ms, which, item, kind, context, context_ptr)
        bounds = self._bounds._replace(rating_low=self._extractor.weights.table[RATING_LOW])
        sort_out(events, kinds, rows, np.zeros(len(users), np.int64), bounds)
        fates, ends = np.empty(n, np.uint8), np.empty(n, np.int64)
        out = np.empty(feature_bytes(events, items, served, rows.names.shape[1]), np.uint8)
        extract(
            slice_.partition, events, items, kinds, rows, served, bounds, self._work, self._scratch, fates, out, ends
        )
        accepted = np.flatnonzero(fates == ACCEPTED)
        written = out[: ends[-1] if n else 0].tobytes()
        # The record of an event that is not accepted has no bytes: the ends of two accepted ones lie a record apart.
        records = [written[start:end] for start, end in pairwise([0, *ends[accepted].tolist()])]
        owners = which[accepted].tolist()
        last = np.full(len(users), -1)
        last[which[accepted]] = accepted
        return Taken(
            fates,
            accepted,
            [keys[k] for k in owners],
            records,
            self._keep(slice_.partition, user_ids, users, rows, sealed_ptr, last),
        )

    def _rows(self, users: Sequence[User | None], events: I64) -> tuple[Rows, I64]:
        """The rows of users, and where the sealed chunks of each begin, bytes."""
        packed, sealed = [b""] * len(users), [b""] * len(users)
        for k, user in enumerate(users):
            if user is not None:
                if user.row is not None:
                    user.packed, user.row = states.encode(user.row), None
                packed[k], sealed[k] = user.packed, user.sealed
        sealed_ptr = _pointers(sealed)
        rows = empty_rows(len(users), self._bounds.preference_size, np.diff(sealed_ptr), events)
        read_rows(_buffer(packed), _pointers(packed), _buffer(sealed), sealed_ptr, rows)
        return rows, sealed_ptr

    def _items(self, found: Interactions, read: I64, n: int, raw: U8) -> tuple[Items, I64]:
        """The different items, and which of them each event has."""
        first, which = _numbers(found, ITEM, read, n)
        packed = [self._extractor.items.packed(item) for item in _parts(found, ITEM, first)]
        hashes = np.empty(len(first), np.uint64)
        hash_items(found.columns, raw, first, self._work, hashes)
        return Items(hashes, np.frombuffer(b"".join(packed), np.uint32), _pointers(packed) // 4), which

    def _kinds(self, found: Interactions, read: I64, n: int) -> tuple[Kinds, I64]:
        """The different types, and which of them each event has."""
        first, which = _numbers(found, TYPE, read, n)
        names = [name.decode() for name in _parts(found, TYPE, first)]
        weights = np.array([self._extractor.weights.of(name) for name in names], np.float64)
        is_rating, is_impression = (
            np.array([name == known for name in names], np.uint8) for known in (RATING, IMPRESSION)
        )
        return Kinds(weights, is_rating, is_impression), which

    def _keep(
        self,
        partition: int,
        user_ids: Sequence[str],
        users: Sequence[User | None],
        rows: Rows,
        sealed_ptr: I64,
        last: I64,
    ) -> list[Kept]:
        """Write the rows of users with an accepted event back; last: int64[k] place of each one's last, or -1."""
        changed = np.flatnonzero(last >= 0)
        changed = changed[np.argsort(last[changed])]
        out, ends = np.empty(row_bytes(rows), np.uint8), np.empty(len(changed), np.int64)
        write_rows(changed, partition, self._extractor.epoch, rows, out, ends)
        bounds = [0, *ends.tolist()]
        written = out[: bounds[-1]].tobytes()
        windows = np.stack([rows.window_ptr[:-1], rows.numbers[:, OLDEST], rows.numbers[:, FIRST]])[:, changed].T
        sealed_before = (np.diff(sealed_ptr) // ENTRY_BYTES)[changed].tolist()
        kept = []
        for k, (start, end), window, before in zip(
            changed.tolist(), pairwise(bounds), windows.tolist(), sealed_before, strict=True
        ):
            user = users[k] or User()
            user.packed = written[start:end]
            sealed = _seal(user, rows, k, window, before) if window[2] > before else []
            kept.append(Kept(user_ids[k], user, int(last[k]), sealed))
        return kept


def _seal(user: User, rows: Rows, k: int, window: tuple[int, int, int], before: int) -> list[tuple[int, bytes]]:
    """Keep the sealed chunks of a user; returns those that are new.

    Args:
        user: the user.
        rows: all rows.
        k: the user's.
        window: (where the entries begin, the oldest of those that are kept, the first that is not sealed).
        before: entries that were sealed before the batch.
    """
    at, oldest, first = window
    user.sealed = rows.window[at + oldest : at + first].tobytes()
    number = int(rows.numbers[k, SEALED]) - (first - before) // CHUNK_ENTRIES
    chunks = range(at + before, at + first, CHUNK_ENTRIES)
    return [(number + i, rows.window[j : j + CHUNK_ENTRIES].tobytes()) for i, j in enumerate(chunks)]


def _served(users: Sequence[User | None], plain: U8) -> Served:
    """The lists of users; who has an odd one is left to the plain extractor."""
    lists = [user.lists if user is not None else () for user in users]
    records = [record for of_user in lists for record in of_user]
    ptr = pointers([len(of_user) for of_user in lists])
    served = Served(_buffer(records), _pointers(records)[1:], ptr, np.empty((len(records), COLUMNS), np.int64))
    read_lists(served, plain)
    return served


def _contexts(found: Interactions, n: int) -> tuple[U32, I64]:
    """The features of the context maps, end to end, and where those of each event begin."""
    ptr = np.zeros(n + 1, np.int64)
    words: list[int] = []
    for i in np.flatnonzero((found.columns.state == READ) & (found.columns.context >= 0)).tolist():
        # The first two are the hour and the weekday, which the kernel knows.
        own = context_features(0, found.context(i))[2:]
        words += own
        ptr[i + 1] = len(own)
    return np.array(words, np.uint32), np.cumsum(ptr)


def _numbers(found: Interactions, field: int, read: I64, n: int) -> tuple[I64, I64]:
    """The different texts of a field: (int64[k] an event with each, int64[n] the number of each event's, -1 unread)."""
    columns = found.columns
    first, numbers = distinct(found.raw, columns.start[read, field], columns.length[read, field])
    which = np.full(n, -1)
    which[read] = numbers
    return read[first], which


def _parts(found: Interactions, field: int, places: I64) -> list[bytes]:
    """A field of some events."""
    start = found.columns.start[places, field]
    end = start + found.columns.length[places, field]
    return [found.raw[a:b] for a, b in zip(start.tolist(), end.tolist(), strict=True)]


def _pointers(parts: Sequence[bytes]) -> I64:
    """int64[k + 1] where parts begin when they stand end to end."""
    return pointers([len(part) for part in parts])


def _buffer(parts: Sequence[bytes]) -> U8:
    """Parts end to end, with room for readers to look past the end."""
    return np.frombuffer(b"".join((*parts, _MARGIN)), np.uint8)


def compile_kernels() -> None:
    """Compile the kernels, or read them from their cache, before the first batch comes."""
    # The defaults, whatever the environment says: what is wrong there is for the service to report.
    settings = ExtractionSettings.model_construct()
    extractor = Extractor(settings)
    nothing = InteractionReader(EdgeCodec(InteractionEvent)).read([])
    table = UserTable(1, extractor.window, settings.attribution_lists)
    Columns(settings, extractor, lambda _partition, _user_id: True).take(Slice("", 0, 0, 0), nothing, table)
