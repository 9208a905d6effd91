"""Feature extraction as a processor: interactions, served lists and erasures in; features, state and seals out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from services.contracts.edge import InteractionEvent
from services.contracts.inner import extraction_state as states
from services.contracts.inner import features
from services.contracts.inner.extraction_state import ExtractionRow
from services.contracts.inner.features import BATCH_KEY, LEFT_OUT, EraseFeature, ExtractionBatch
from services.contracts.inner.weights import WEIGHTS_KEY
from services.contracts.keys import partition_of, user_key
from services.feature_extraction.columns import Columns, Kept
from services.feature_extraction.extractor import Extractor
from services.feature_extraction.interactions import InteractionReader
from services.feature_extraction.kernels.batch import DUPLICATE, LATE, PLAIN, WRONG_TIME
from services.feature_extraction.scan import READ
from services.feature_extraction.served import WITHDRAWN, ListReader
from services.feature_extraction.settings import ExtractionSettings
from services.feature_extraction.users import User, UserTable
from services.runtime.processor import Batch, Decoder, Inputs, Outputs, Slice, slice_rows

NAME = "feature-extraction"
INTERACTIONS = "interactions"
LISTS = "recommendations"
ERASURES = "erasure-requests"
ITEMS = "items"
STATE = "extraction-state"
FEATURES = "features"

_EXPIRED_PER_STEP = 1000
"""Idle users that one step forgets at most: a system that was off for a year does not do it all at once."""
_NO_VALUE = "the record has no value"


@dataclass(slots=True)
class Changes:
    """State records of one partition that a step owes, in order of the users' recency."""

    users: dict[str, User] = field(default_factory=dict)
    """Users whose row changed."""
    records: dict[bytes, bytes | None] = field(default_factory=dict)
    """Ring records, and deletions of any, by key."""


class FeatureExtraction:
    """Turns every interaction into one feature record, or says in the seal why not."""

    name = NAME
    # A list matters when its user does something, and comes in with that.
    inputs = Inputs(
        leading=INTERACTIONS, followers=(LISTS, ERASURES), patient=(LISTS,), tables=(ITEMS,), state=(STATE,)
    )

    def __init__(
        self, settings: ExtractionSettings, decoders: dict[str, Decoder], reader: InteractionReader, lists: ListReader
    ) -> None:
        """Make the processor.

        Args:
            settings: the features and their bounds.
            decoders: one per input topic. Interactions and lists stay as they came; erasure requests decode to (record,
                the bytes as they came): what came to a wrong partition is written again as it was.
            reader: reads interactions.
            lists: reads served lists.
        """
        self.decoders = decoders
        self._reader = reader
        self._list_reader = lists
        self._settings = settings
        self._ceiling = max(1, settings.extraction_max_users // settings.user_partitions)
        self.start(0)

    def start(self, epoch: int) -> None:
        """Forget everything."""
        self._extractor = Extractor(self._settings)
        self._extractor.epoch = epoch
        self._columns = Columns(self._settings, self._extractor, self._owns)
        self._tables: dict[int, UserTable] = {}

    def open(self, partition: int) -> None:
        """Start owning the users of a partition."""
        self._tables[partition] = UserTable(self._ceiling, self._extractor.window, self._extractor.attributions.lists)

    def load(self, slice_: Slice) -> None:
        """Take in user rows (while a partition is restored), items and changed weights."""
        if slice_.topic == STATE:
            table = self._tables[slice_.partition]
            for _, _, key, value in slice_rows(slice_):
                table.load(_known(key), value)
            return
        for _, _, key, value in slice_rows(slice_):
            name = _text(key)
            if key == WEIGHTS_KEY:
                self._extractor.weights.change(value)
            elif name is not None:
                self._extractor.items.put(name, value)

    def restored(self, partition: int) -> int | None:
        """Go on at the committed offset."""
        self._tables[partition].restored()
        return None

    def step(self, batch: Batch, out: Outputs) -> None:
        """Take in what was served, then the interactions, then the erasures.

        The topics have no common order. A list is taken before the events of its batch because they may respond to
        it; an erasure after them, so that nothing that came before it stays.
        """
        changes: dict[int, Changes] = {}
        for slice_ in sorted(batch.slices, key=_order):
            owed = changes.setdefault(slice_.partition, Changes())
            if slice_.topic == INTERACTIONS:
                self._interactions(slice_, owed, out)
                out.observe("append_age_seconds", (batch.now_ms - np.array(slice_.timestamps)) / 1000)
            elif slice_.topic == LISTS:
                self._lists(slice_, owed, out)
            else:
                self._erasures(slice_, owed, out)
        for partition, owed in changes.items():
            self._expire(self._tables[partition], owed)
            _write(partition, owed, out)

    def appetite(self, _now_ms: int) -> int | None:
        """Whatever there is."""
        return None

    def wake_at(self) -> int | None:
        """Never: nothing happens without input."""
        return None

    def dump(self, partition: int) -> Iterable[tuple[str, bytes, bytes]] | None:
        """Every record of the partition's users, for the local checkpoint."""
        return self._dump(partition)

    def close(self, partition: int) -> None:
        """Stop owning the users of a partition."""
        self._tables.pop(partition, None)

    def _dump(self, partition: int) -> Iterator[tuple[str, bytes, bytes]]:
        for key, value in self._tables[partition].dump():
            yield STATE, key, value

    def _interactions(self, slice_: Slice, owed: Changes, out: Outputs) -> None:
        """Ordinary users on columns, in one pass; what is left to the plain extractor one by one, each at its place."""
        partition, table = slice_.partition, self._tables[slice_.partition]
        found = self._reader.read(slice_.values)
        taken = self._columns.take(slice_, found, table)
        seal = _seal(slice_)
        for fate, code in (("dup", DUPLICATE), ("late", LATE)):
            seal[fate] += [slice_.offsets[i] for i in np.flatnonzero(taken.fates == code).tolist()]  # type: ignore[literal-required]  # two of its keys
        for i in np.flatnonzero(taken.fates == WRONG_TIME).tolist():
            self._refuse(slice_, i, self._extractor.time_error(found.event(i), slice_.timestamps[i]), seal, out)
        refused, kept = dict(found.refused), iter(taken.kept)
        next_kept = next(kept, None)
        sent = 0
        for i in (*np.flatnonzero(taken.fates == PLAIN).tolist(), len(slice_.offsets)):
            while next_kept is not None and next_kept.last < i:
                self._keep(table, next_kept, owed)
                next_kept = next(kept, None)
            upto = int(np.searchsorted(taken.accepted, i))
            out.send_all(FEATURES, taken.keys[sent:upto], taken.records[sent:upto], partition)
            sent = upto
            if i == len(slice_.offsets):
                break
            if slice_.values[i] is None or i in refused:
                self._refuse(slice_, i, refused.get(i, ValueError(_NO_VALUE)), seal, out)
            else:
                self._plain(slice_, i, found.event(i), owed, seal, out)
        seal["n"] += len(taken.accepted)
        table.newest_ts = int(np.array(slice_.timestamps)[taken.accepted].max(initial=table.newest_ts))
        for fate in LEFT_OUT:
            seal[fate].sort()  # type: ignore[literal-required]  # four of its keys
        out.send(FEATURES, BATCH_KEY, features.encode(seal), partition)
        out.count("interactions_total", seal["n"], (("fate", "accepted"),))
        for fate in LEFT_OUT:
            out.count("interactions_total", len(seal[fate]), (("fate", fate),))  # type: ignore[literal-required]  # four of its keys

    def _plain(
        self, slice_: Slice, i: int, event: InteractionEvent, owed: Changes, seal: ExtractionBatch, out: Outputs
    ) -> None:
        """One interaction by the plain extractor."""
        partition, table = slice_.partition, self._tables[slice_.partition]
        offset, appended_ms, user_id = slice_.offsets[i], slice_.timestamps[i], event["user_id"]
        known = table.find(user_id)
        if known is None and not self._owns(partition, user_id):
            _move(INTERACTIONS, user_id, slice_.values[i], self._settings.user_partitions, out)
            seal["moved"].append(offset)
            return
        user = known or User()
        row = user.row
        if row is None or self._extractor.is_idle(row, appended_ms):
            row = self._row(user_id, user, partition, appended_ms, owed)
        try:
            extracted = self._extractor.interaction(user, row, event, offset, appended_ms)
        except ValueError as error:
            self._refuse(slice_, i, error, seal, out)
            return
        if extracted.fate != "accepted":
            seal[extracted.fate].append(offset)
            return
        user.row = row
        self._enter(table, user_id, user, owed)
        key = user_key(user_id)
        if extracted.sealed is not None:
            self._owe_chunk(key, *extracted.sealed, owed)
        for record in extracted.records:
            out.send(FEATURES, key, record, partition)
        seal["n"] += 1
        table.newest_ts = max(table.newest_ts, appended_ms)

    def _keep(self, table: UserTable, kept: Kept, owed: Changes) -> None:
        """Take over an ordinary user as the kernels left them."""
        self._enter(table, kept.user_id, kept.user, owed)
        for number, entries in kept.sealed:
            self._owe_chunk(user_key(kept.user_id), number, entries, owed)

    def _enter(self, table: UserTable, user_id: str, user: User, owed: Changes) -> None:
        """A user did something: the most recently active one, with a row to be written."""
        if table.find(user_id) is None:
            for evicted in table.add(user_id, user):
                self._forget(table, *evicted, owed)
        else:
            table.touch(user_id)
            # Rows are written in the order of recency, so that a restore finds it again.
            owed.users.pop(user_id, None)
        owed.users[user_id] = user

    def _owe_chunk(self, key: bytes, number: int, entries: bytes, owed: Changes) -> None:
        chunk = states.encode({"v": states.VERSION, "k": number, "d": entries})
        owed.records[states.window_key(key, number % self._extractor.window.chunks)] = chunk

    @staticmethod
    def _refuse(slice_: Slice, i: int, error: ValueError, seal: ExtractionBatch, out: Outputs) -> None:
        exception = "Refused" if type(error) is ValueError else type(error).__name__
        out.refuse(INTERACTIONS, slice_.partition, slice_.offsets[i], str(error), exception)
        seal["dead"].append(slice_.offsets[i])

    def _row(self, user_id: str, user: User, partition: int, appended_ms: int, owed: Changes) -> ExtractionRow:
        """A user's row to work on; a new one when nothing is known, or what is known is too old."""
        row = user.row
        if row is None:
            if not user.packed:
                return self._extractor.new_row(partition)
            row = states.decode_row(user.packed)
        if not self._extractor.is_idle(row, appended_ms):
            return row
        table = self._tables[partition]
        owed.records.update(dict.fromkeys(table.ring_keys(user_id, user)))
        user.sealed, user.lists, user.strays = b"", (), None
        return self._extractor.new_row(partition)

    def _lists(self, slice_: Slice, owed: Changes, out: Outputs) -> None:
        partition, table = slice_.partition, self._tables[slice_.partition]
        attributions = self._extractor.attributions
        if not attributions.lists:
            return
        found = self._list_reader.read(slice_.values)
        for i, error in found.refused:
            out.refuse(LISTS, partition, slice_.offsets[i], str(error), type(error).__name__)
        for i, state in enumerate(found.state):
            user_id = _text(slice_.keys[i])
            if user_id is None or state not in (READ, WITHDRAWN):
                continue
            user = table.find(user_id)
            if state == WITHDRAWN:
                self._withdraw(table, user_id, user, owed)
                continue
            if user is None:
                # Whoever was served before doing anything: the first event may well respond to it.
                user = User()
                user.row = self._extractor.new_row(partition)
                user.row["ts"] = slice_.timestamps[i]
                for evicted in table.add(user_id, user):
                    self._forget(table, *evicted, owed)
                owed.users[user_id] = user
            remembered = attributions.remember(user.lists, found.ids[i], found.bodies[i])
            if remembered is not None:
                user.lists, number = remembered
                owed.records[states.list_key(user_key(user_id), number % attributions.lists)] = user.lists[-1]

    def _withdraw(self, table: UserTable, user_id: str, user: User | None, owed: Changes) -> None:
        """A user's list was withdrawn: the lists are forgotten, and a user of whom there is nothing else."""
        if user is None:
            return
        owed.records.update(dict.fromkeys(table.list_keys(user_id, user)))
        user.lists = ()
        row = user.row or states.decode_row(user.packed)
        if not row["n"]:
            table.drop(user_id)
            self._forget(table, user_id, user, owed)

    def _erasures(self, slice_: Slice, owed: Changes, out: Outputs) -> None:
        partition, table = slice_.partition, self._tables[slice_.partition]
        for offset, _, _, value in slice_rows(slice_):
            if value is None:
                out.refuse(ERASURES, partition, offset, _NO_VALUE)
                continue
            request, raw = value
            user_id = request["user_id"]
            if not self._owns(partition, user_id):
                _move(ERASURES, user_id, raw, self._settings.user_partitions, out)
                continue
            user = table.drop(user_id)
            if user is not None:
                self._forget(table, user_id, user, owed)
            erase: EraseFeature = {
                "v": features.VERSION,
                "kind": "erase",
                "src": [partition, offset],
                "user": user_id,
            }
            out.send(FEATURES, user_key(user_id), features.encode(erase), partition)

    def _expire(self, table: UserTable, owed: Changes) -> None:
        """Forget users from whom nothing was heard for too long."""
        for _ in range(_EXPIRED_PER_STEP):
            entry = table.oldest()
            if entry is None:
                return
            user_id, user = entry
            row = user.row or states.decode_row(user.packed)
            if not self._extractor.is_idle(row, table.newest_ts):
                return
            table.drop(user_id)
            self._forget(table, user_id, user, owed)

    @staticmethod
    def _forget(table: UserTable, user_id: str, user: User, owed: Changes) -> None:
        """Delete every record of a user that was taken out of the table.

        The topic holds what the memory holds and no more: an evicted row that stayed there would come back with the
        next restart, older than what its user did since, and past the ceiling.
        """
        owed.users.pop(user_id, None)
        owed.records.update(dict.fromkeys((*table.ring_keys(user_id, user), user_key(user_id))))

    def _owns(self, partition: int, user_id: str) -> bool:
        return partition_of(user_key(user_id), self._settings.user_partitions) == partition


def _write(partition: int, owed: Changes, out: Outputs) -> None:
    """Send the state records of a step: the rings before the rows that count on them."""
    rows = {user_key(user_id) for user_id in owed.users}
    for key, value in owed.records.items():
        # A user who was forgotten and came back in the same step has a row again.
        if key not in rows:
            out.send(STATE, key, value, partition)
    for user_id, user in owed.users.items():
        if user.row is not None:
            user.packed, user.row = states.encode(user.row), None
        out.send(STATE, user_key(user_id), user.packed, partition)


def _seal(slice_: Slice) -> ExtractionBatch:
    return {
        "v": features.VERSION,
        "kind": "batch",
        "partition": slice_.partition,
        "range": [slice_.start, slice_.end],
        "n": 0,
        "dup": [],
        "late": [],
        "dead": list(slice_.dead),
        "moved": [],
    }


def _move(topic: str, user_id: str, raw: bytes, partitions: int, out: Outputs) -> None:
    """Write a record again, as it came, to the partition that owns its user."""
    key = user_key(user_id)
    out.send(topic, key, raw, partition_of(key, partitions))


def _order(slice_: Slice) -> tuple[int, int]:
    return (LISTS, INTERACTIONS, ERASURES).index(slice_.topic), slice_.partition


def _text(key: bytes | None) -> str | None:
    """The id that a key is; None for a deletion under a key that no record can have (no decoder sees deletions)."""
    try:
        return key.decode() if key else None
    except UnicodeDecodeError:
        return None


def _known(key: bytes | None) -> bytes:
    if key is None:
        raise ValueError("a decoder let a record without key pass")
    return key
