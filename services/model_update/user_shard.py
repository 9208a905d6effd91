"""The user shard: owns the rows of its users, learns from their events, sends what it changed of the items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.contracts.inner import item_deltas
from services.contracts.inner.item_deltas import DELTAS_KEY, SEAL_KEY
from services.contracts.inner.item_state import Clock
from services.contracts.inner.sweeps import SweepReader
from services.contracts.topics import MAX_MESSAGE_BYTES
from services.model.config import ModelConfig
from services.model_update import decoders
from services.model_update.ahead import Ahead
from services.model_update.learning import BatchLearner, Learned, Part
from services.model_update.mismatch import check_layout, unreadable
from services.model_update.users import UserRows
from services.model_update.wire import deltas_record, take_sweep
from services.runtime.errors import FatalError
from services.runtime.processor import Batch, Decoder, Inputs, Outputs, Slice, as_it_came, slice_rows

NAME = "user-shard"
FEATURES = "features"
ITEM_ROWS = "item-state"
USER_ROWS = "user-state"
DELTAS = "item-deltas"

_SEAL_PARTITION = 0
_FULL = 0.9
"""Share of the largest learning batch from which one is full: ends of partitions count in a batch of the runtime."""
_ROOM_BYTES = 64 * 1024
"""Of a record batch's limit, left for what Kafka adds and for the key."""


class DeltasTooLargeError(FatalError):
    """One learning batch's deltas to one item partition do not fit into a record."""


class UserShard:
    """Learns one batch after the other on its replica of the item rows.

    What a step writes, in this order: for each learning batch its deltas and its seal, then the user rows it changed.
    A row therefore never says that an event was learned whose deltas were not sent before.
    """

    name = NAME
    inputs = Inputs(leading=FEATURES, tables=(ITEM_ROWS,), state=(USER_ROWS,))

    def __init__(self, config: ModelConfig, shard: str, max_events: int, *, waits: bool = False) -> None:
        """Make the processor.

        Args:
            config: the learner.
            shard: stable name of this replica, in every delta and seal.
            max_events: records of the largest learning batch.
            waits: for the item shards, while several replicas share a young model.
        """
        self.decoders: dict[str, Decoder] = {
            FEATURES: as_it_came,
            ITEM_ROWS: decoders.item_rows,
            USER_ROWS: decoders.user_record,
        }
        self._config = config
        self._model = config.to_record()
        self._shard = shard
        self._max_events = max_events
        self._waits = waits
        self._full = _FULL * max_events
        self.start(0)

    def start(self, epoch: int) -> None:
        """Forget everything."""
        self._epoch = epoch
        self._batch = 0
        self._users = UserRows(self._config)
        self._learner = BatchLearner(self._config, self._users, epoch)
        self._sweeps = SweepReader()
        self._clock: dict[str, int] = {}
        self._ahead = Ahead(self._config.user_partitions)
        self._owned: set[int] = set()

    def open(self, partition: int) -> None:
        """Start owning the users of a partition: their rows come with the restore."""
        self._owned.add(partition)

    def appetite(self, now_ms: int) -> int | None:
        """What may be learned ahead of the item shards."""
        if not self._waits:
            return None
        replica = self._learner.learner.replica
        return self._ahead.room(replica.events(), replica.oldest_pending(), len(self._owned), now_ms)

    def load(self, slice_: Slice) -> None:
        """Take in user rows (while a partition is restored) and item rows, sweep by whole sweep.

        Raises:
            ModelMismatchError: the rows have another layout.
        """
        if slice_.topic == USER_ROWS:
            try:
                self._users.load((_known(key), value) for _, _, key, value in slice_rows(slice_))
            except ValueError as error:
                raise unreadable(USER_ROWS, f"a row from offset {slice_.start} on", error) from error
            return
        for _, _, key, value in slice_rows(slice_):
            sweep = self._sweeps.feed(slice_.partition, _known(key), value)
            if sweep is not None:
                check_layout(self._config, sweep.clock["model"])
                take_sweep(self._learner.learner.replica, sweep, self._folded(sweep.clock))
                self._clock[str(slice_.partition)] = sweep.clock["o"]

    def _folded(self, clock: Clock) -> int | None:
        """The last of our own batches that the owner has folded; None when it knows another incarnation only."""
        epoch, batch = clock["folded"].get(self._shard, (None, -1))
        return batch if epoch == self._epoch else None

    def restored(self, partition: int) -> int | None:
        """Go on at the committed offset."""

    def step(self, batch: Batch, out: Outputs) -> None:
        """Learn from the batch, in learning batches of bounded size."""
        parts = [
            Part(slice_.partition, slice_.start, slice_.end, slice_.offsets, slice_.values)
            for slice_ in batch.slices
            if slice_.end > slice_.start
        ]
        for learning_batch in split(parts, self._max_events):
            learned = self._learner.learn(learning_batch, self._batch)
            self._send(learned, out, behind=sum(len(part.offsets) for part in learning_batch) >= self._full)
            if self._waits:
                self._ahead.sent(self._batch, learned.events, batch.now_ms)
            self._batch += 1
            for partition, offset, error in learned.refused:
                out.refuse(FEATURES, partition, offset, str(error), type(error).__name__)
            if len(learned.appended_ms):
                out.observe("append_age_seconds", (batch.now_ms - learned.appended_ms) / 1000)
        for partition, keys, records in self._learner.changes():
            out.send_all(USER_ROWS, keys, records, partition)

    def _send(self, learned: Learned, out: Outputs, *, behind: bool) -> None:
        total = 0
        for partition, deltas in sorted(learned.deltas.items()):
            record = deltas_record(self._shard, self._epoch, self._batch, deltas, behind=behind)
            value = item_deltas.encode(record)
            if len(value) > MAX_MESSAGE_BYTES - _ROOM_BYTES:
                raise DeltasTooLargeError(
                    f"the deltas of one learning batch to item partition {partition} are {len(value)} bytes, more than "
                    f"a record may have ({MAX_MESSAGE_BYTES}). Lower STREAMREC_LEARN_MAX_EVENTS ({self._max_events})."
                )
            out.send(DELTAS, DELTAS_KEY, value, partition)
            total += len(value)
        seal: item_deltas.BatchSeal = {
            "v": item_deltas.VERSION,
            "kind": "seal",
            "s": self._shard,
            "e": self._epoch,
            "b": self._batch,
            "ranges": learned.ranges,
            "clock": dict(self._clock),
            "events": learned.events,
            "model": self._model,
        }
        out.send(DELTAS, SEAL_KEY, item_deltas.encode(seal), _SEAL_PARTITION)
        out.observe("delta_bytes", total)

    def wake_at(self) -> int | None:
        """Never: nothing happens without input."""

    def dump(self, partition: int) -> Iterator[tuple[str, bytes, bytes]]:
        """Every record of the partition's users, for the local checkpoint."""
        for key, record in self._users.dump(partition):
            yield USER_ROWS, key, record

    def close(self, partition: int) -> None:
        """Stop owning the users of a partition."""
        self._owned.discard(partition)
        self._users.close(partition)


def split(parts: Sequence[Part], max_events: int) -> Iterator[list[Part]]:
    """Cut the parts of a step into learning batches of at most `max_events` records.

    The cuts are positions, in (partition, offset) order: together the batches have the same ranges.
    """
    taken, current = 0, []
    for part in sorted(parts, key=lambda one: one.partition):
        start, first, n = part.start, 0, len(part.offsets)
        while n - first > max_events - taken:
            cut = first + max_events - taken
            position = part.offsets[cut]
            current.append(Part(part.partition, start, position, part.offsets[first:cut], part.values[first:cut]))
            yield current
            taken, current, start, first = 0, [], position, cut
        current.append(Part(part.partition, start, part.end, part.offsets[first:], part.values[first:]))
        taken += n - first
    if current:
        yield current


def _known(key: bytes | None) -> bytes:
    """The key of a keyed topic's record; decoders have refused records without one."""
    return key or b""
