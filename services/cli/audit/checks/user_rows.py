"""User rows carry the last offset of their partition's batches, and count every event of their user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from services.cli.audit.checks.base import Chunk, Continuity, Finding, Findings, Log, Numbers, Starts
from services.cli.audit.checks.peek import fields_of, kind_of
from services.contracts.inner import item_deltas
from services.contracts.inner.codec import InnerRecordError
from services.contracts.inner.features import BATCH_KEY, decode
from services.contracts.inner.item_deltas import SEAL_KEY, BatchSeal
from services.contracts.inner.user_state import split_key
from services.model.config import ModelConfig

ROWS, DELTAS, FEATURES = "user-state", "item-deltas", "features"
_HEAD_FIELDS = 5
"""v, p, o, e, n."""
_IMPLIED, _EVENT, _ERASE = 0, 1, 2
_KINDS = {"implied": _IMPLIED, "event": _EVENT, "erase": _ERASE}


class _Partition:
    """What the logs say of the users of one partition."""

    def __init__(self) -> None:
        self.rows: dict[bytes, tuple[int, int, int]] = {}
        """{user: (next features offset, events counted, offset of the row)}."""
        self.written = Continuity()
        """Of user-state."""
        self.newest = 0
        """Largest features position that any row named."""
        self.before = 0
        """The largest but that one: all rows of batches up to there stand before those of the newest."""
        self.deleted: set[bytes] = set()
        """Users whose row was deleted at some time."""
        self.users: dict[bytes, int] = {}
        """Ordinals of the users in features."""
        self.user = Numbers()
        self.offset = Numbers()
        self.kind = Numbers()
        self.ends: list[int] = []
        """Ends of the batches."""
        self.times: list[int] = []
        """Append times of some of the events, Unix ms."""


class UserRowsCheck:
    """Reads the heads of user rows, the seals, and whose every feature is."""

    name = "user-state"
    title = "user rows include every event of their user, up to the end of a batch"
    topics: tuple[str, ...] = (ROWS, DELTAS, FEATURES)

    def __init__(self, partitions: int, *, repeats: bool, live: bool, cut: bool = False) -> None:
        """Make the check.

        Args:
            partitions: partition count of the user-keyed topics.
            repeats: batches may repeat (at-least-once).
            live: the rows were read up to an earlier moment than the batches.
            cut: that moment may lie amid the rows of a batch, which are then not judged; it may also where the end of
                the rows was chosen.
        """
        self._live = live
        self._cut = cut
        self._partitions = [_Partition() for _ in range(partitions)]
        self._repeats = repeats
        self._ceiling: int | None = None
        self._idle_s = float("inf")
        self._findings = Findings(self.name)
        self._counts = {"users": 0, "events": 0}

    def feed(self, chunk: Chunk) -> None:
        """Take in records of user-state, item-deltas or features."""
        for offset, key, value in zip(chunk.offsets, chunk.keys, chunk.values, strict=True):
            if key is None:
                continue
            try:
                if chunk.topic == ROWS:
                    self._row(chunk.partition, offset, key, value)
                elif chunk.topic == DELTAS and key == SEAL_KEY and value is not None:
                    self._seal(item_deltas.decode(value))  # type: ignore[arg-type]  # the key says it is a seal
            except (InnerRecordError, KeyError) as error:
                self._findings.error(
                    "unreadable records", f"The record cannot be read: {error}.", chunk.topic, chunk.partition, offset
                )
        if chunk.topic == FEATURES:
            self._features(chunk)

    def _row(self, partition: int, offset: int, key: bytes, value: bytes | None) -> None:
        one = self._partitions[partition]
        one.written.see(offset)
        user, seen = split_key(key)
        if seen is not None:
            return
        rows = one.rows
        if value is None:
            rows.pop(user, None)
            one.deleted.add(user)
            return
        head = fields_of(value, _HEAD_FIELDS)
        if head["p"] != partition:
            self._findings.error(
                "a row in another partition", f"The row of {_name(user)} says it is of partition {head['p']}.",
                ROWS, partition, offset,
            )  # fmt: skip
        rows[user] = (head["o"], head["n"], offset)
        if head["o"] > one.newest:
            one.before, one.newest = one.newest, head["o"]

    def _seal(self, seal: BatchSeal) -> None:
        for name, (_, end) in seal["ranges"].items():
            self._partitions[int(name)].ends.append(end)
        config = ModelConfig.from_record(seal["model"])
        ceiling = config.users_per_partition
        self._ceiling = ceiling if self._ceiling is None else min(ceiling, self._ceiling)
        self._idle_s = min(self._idle_s, config.user_idle_s or float("inf"))

    def _features(self, chunk: Chunk) -> None:
        one = self._partitions[chunk.partition]
        users, offsets, kinds = [], [], []
        events: list[bytes] = []
        for offset, key, value in zip(chunk.offsets, chunk.keys, chunk.values, strict=True):
            if value is None or key is None or key == BATCH_KEY:
                continue
            try:
                kind = _KINDS[kind_of(value)[0]]
            except (InnerRecordError, KeyError):
                # The check of the interactions reports it.
                continue
            if kind == _EVENT:
                events = [*events[:1], value]
            users.append(one.users.setdefault(key, len(one.users)))
            offsets.append(offset)
            kinds.append(kind)
        one.times += [decode(value)["ts"] for value in events]  # type: ignore[typeddict-item]  # events have it
        one.user.extend(users)
        one.offset.extend(offsets)
        one.kind.extend(kinds)

    def finish(self, logs: Sequence[Log]) -> list[Finding]:
        """Judge every partition."""
        starts = Starts(logs)
        for partition, one in enumerate(self._partitions):
            self._counts["users"] += len(one.rows)
            if one.ends:
                self._judge(partition, one, starts)
            elif starts.cut(DELTAS, 0):
                self._beyond(partition, len(one.rows))
            elif one.rows and starts.start(DELTAS, 0) == 0:
                self._findings.error(
                    "rows without batches", f"There are {len(one.rows)} user rows and no batch.", ROWS, partition, -1
                )
        return self._findings.all()

    def _judge(self, partition: int, one: _Partition, starts: Starts) -> None:
        ends = np.unique(np.array(one.ends, np.int64))
        cut = starts.cut(ROWS, partition)
        if self._live or cut:
            # A batch and its rows are one transaction, and a reader's end never lies within one unless it was chosen.
            ends = ends[ends <= (one.before if self._cut or cut else one.newest)]
            if not len(ends):
                self._unjudged(partition, len(one.rows), cut=cut)
                return
        unread = starts.cut(FEATURES, partition)
        if unread:
            ends = ends[ends <= starts.end(FEATURES, partition)]
            if not len(ends):
                self._beyond(partition, len(one.rows))
                return
        # Rows that are gone by now, of users who were forgotten behind the last batch that is judged.
        early = self._live or cut or unread or starts.cut(DELTAS, 0)
        absence = one.written.whole or not (cut or unread or starts.cut(DELTAS, 0))
        known = _Known(one, int(ends[-1]))
        self._counts["events"] += int(known.events.sum())
        whole = starts.start(FEATURES, partition) == 0
        idle = max(one.times, default=0) - min(one.times, default=0) > self._idle_s * 1000
        bounded = idle or (self._ceiling is not None and len(one.users) > self._ceiling)
        if not whole:
            self._findings.note(
                "The features log does not go back to its start: the counts of the rows are not checked.",
                FEATURES, partition, starts.start(FEATURES, partition),
            )  # fmt: skip
        if bounded:
            self._findings.note(
                f"Users may have been forgotten (more than {self._ceiling} of them, or idle for long): counts are not "
                "checked.", ROWS, partition,
            )  # fmt: skip
        newer = absent = 0
        for user, ordinal in one.users.items():
            last, events = int(known.last[ordinal]), int(known.events[ordinal])
            row = one.rows.get(user)
            if row is None:
                if last < 0 or bounded or (early and user in one.deleted):
                    continue
                if absence:
                    self._findings.error(
                        "a row that is missing", f"{_name(user)} has events and no row.", FEATURES, partition, last
                    )
                absent += not absence
                continue
            if not unread and row[0] > max(ends[-1], starts.end(FEATURES, partition)):
                self._findings.error(
                    "a position past the features",
                    f"The row of {_name(user)} includes features before {row[0]}, the log ends at "
                    f"{starts.end(FEATURES, partition)}.", ROWS, partition, row[2],
                )  # fmt: skip
                continue
            if row[0] > ends[-1]:
                newer += 1
                continue
            if last < 0:
                if whole or known.erased[ordinal] >= 0:
                    self._findings.error(
                        "a row of an erased user", f"{_name(user)} has a row and no event to learn from.",
                        ROWS, partition, row[2],
                    )  # fmt: skip
                continue
            self._position(partition, user, row, last, ends)
            if whole and not bounded and row[1] != events:
                self._findings.error(
                    "a count that is wrong", f"The row of {_name(user)} counts {row[1]} events, there are {events}.",
                    ROWS, partition, row[2],
                )  # fmt: skip
        if whole:
            self._strangers(partition, one, int(ends[-1]))
        if absent:
            self._findings.note(
                f"Not judged: {absent} users without a row, which compaction may have removed.", ROWS, partition
            )
        if unread or starts.cut(DELTAS, 0):
            self._beyond(partition, newer)
        else:
            self._unjudged(partition, newer, cut=cut)

    def _unjudged(self, partition: int, rows: int, *, cut: bool) -> None:
        if rows:
            why = "the reading may have ended" if self._cut or cut else "services were"
            # Without transactions every end may lie amid a batch, however quiet it is.
            advice = " Stop the services to have them judged." if self._cut else ""
            message = f"Not judged: {rows} rows, because {why} amid their batch.{advice}"
            self._findings.note(message, ROWS, partition)

    def _beyond(self, partition: int, rows: int) -> None:
        if rows:
            self._findings.note(f"Not judged: {rows} rows, whose batches were not read whole.", ROWS, partition)

    def _position(self, partition: int, user: bytes, row: tuple[int, int, int], last: int, ends: Any) -> None:
        end = int(ends[np.searchsorted(ends, last, "right")])
        right = row[0] >= end and row[0] in ends if self._repeats else row[0] == end
        if not right:
            self._findings.error(
                "a position that is wrong",
                f"The row of {_name(user)} includes features before {row[0]}; the batch of the user's last event "
                f"({last}) ends at {end}.", ROWS, partition, row[2],
            )  # fmt: skip

    def _strangers(self, partition: int, one: _Partition, end: int) -> None:
        for user, row in one.rows.items():
            if user not in one.users and row[0] <= end:
                self._findings.error(
                    "a row of nobody", f"{_name(user)} has a row and no features.", ROWS, partition, row[2]
                )

    def counts(self) -> dict[str, int]:
        """User rows and the events that they include."""
        return dict(self._counts)


class _Known:
    """What the features before `end` say of each user."""

    def __init__(self, one: _Partition, end: int) -> None:
        users, offsets, kinds = one.user.array(), one.offset.array(), one.kind.array()
        mine = offsets < end
        users, offsets, kinds = users[mine], offsets[mine], kinds[mine]
        n = len(one.users)
        self.erased = np.full(n, -1, np.int64)
        """Offset of the last erasure, -1 = none."""
        erasures = kinds == _ERASE
        np.maximum.at(self.erased, users[erasures], offsets[erasures])
        alive = ~erasures & (offsets > self.erased[users])
        self.last = np.full(n, -1, np.int64)
        """Offset of the last event or implied negative since then, -1 = none."""
        np.maximum.at(self.last, users[alive], offsets[alive])
        self.events = np.bincount(users[alive & (kinds == _EVENT)], minlength=n)
        """Events since then."""


def _name(user: bytes) -> str:
    return repr(user.decode(errors="replace"))
