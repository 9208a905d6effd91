"""Restoring: whole tables and the state of tasks, read from compacted topics to their end.

The end is where PARTITION_EOF is at or past the end of the log that was seen first. PARTITION_EOF alone comes at the
last stable offset: an owner that was killed between sending its commit and the broker's markers would be missed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING

from services.runtime.checkpoint import CheckpointStore, Stored
from services.runtime.decoding import Bad, decode
from services.runtime.errors import FatalError, StateError
from services.runtime.log import Log
from services.runtime.metrics import Metrics
from services.runtime.processor import Processor, Slice
from services.runtime.source import Grouped, Source
from services.runtime.tasks import Position, Task

Limits = Callable[[Position, float], tuple[int, int]]
"""`limits(position, timeout_s)`: (log start, last stable offset); raises KafkaException without a broker."""

_CHUNK = 5_000
"""Records loaded between two polls of the group: some tens of milliseconds."""
_BAD_KEPT = 10_000
_METADATA_TIMEOUT_S = 5.0


@dataclass(slots=True)
class _Progress:
    """How far one partition is read."""

    position: int = 0
    target: int | None = None
    """End of the log when its (stable) end was first reached."""
    done: bool = False


class Restorer:
    """Reads tables and state into a processor, in offset order for each partition."""

    def __init__(
        self,
        processor: Processor,
        source: Source,
        stored: tuple[CheckpointStore, Limits] | None,
        metrics: Metrics,
        log: Log,
    ) -> None:
        """`source` is used for nothing else; without checkpoints (`stored`) everything is read from the topics."""
        self._processor = processor
        self._source = source
        self._store = stored
        self._metrics = metrics
        self._log = log
        self._tables: dict[Position, _Progress] = {}
        self._state: dict[Position, _Progress] = {}
        self._stored: dict[int, Stored] = {}
        self._loaded = 0
        self.bad: list[Bad] = []
        """Table records that could not be decoded; the loop dead-letters them."""

    def begin(self) -> None:
        """A new incarnation: forget all progress and read every table from its start.

        Raises:
            FatalError: a table's topic does not exist.
        """
        self._source.unassign([*self._tables, *self._state])
        self._tables.clear()
        self._state.clear()
        self._drop_stored()
        self._loaded = 0
        self.bad.clear()
        for topic in self._processor.inputs.tables:
            count = self._source.partitions(topic, _METADATA_TIMEOUT_S)
            if not count:
                raise FatalError(f"topic {topic} does not exist; run `streamrec topics create`.")
            self._tables.update({(topic, partition): _Progress() for partition in range(count)})
        self._source.assign(dict.fromkeys(self._tables, OFFSET_BEGINNING))

    def open(self, task: Task) -> None:
        """Begin to restore a task: from its checkpoint if there is a valid one, else from the start of its topics."""
        topics = self._processor.inputs.state
        task.pending.update(topics)
        starts = dict.fromkeys(topics, OFFSET_BEGINNING)
        stored = self._find(task, topics)
        if stored is not None:
            starts.update(stored.offsets)
            self._stored[task.partition] = stored
        positions = {(topic, task.partition): start for topic, start in starts.items()}
        self._state.update({position: _Progress(max(start, 0)) for position, start in positions.items()})
        if stored is None:
            # With a checkpoint, the topics come after it: the order of a key's records is kept.
            self._source.assign(positions)

    def drop(self, partition: int) -> None:
        """The task is gone: stop reading its state."""
        mine = [position for position in self._state if position[1] == partition]
        self._source.unassign(mine)
        for position in mine:
            del self._state[position]
        stored = self._stored.pop(partition, None)
        if stored is not None:
            stored.close()

    def pump(self, wait_s: float) -> None:
        """Load what there is, at most a chunk; `wait_s` for the first record."""
        for partition in list(self._stored):
            self._load_stored(partition)
            wait_s = 0
        self._load(self._source.drain(_CHUNK, wait_s))
        if self._source.outside:
            # Compaction never moves the start of a log, but an operator or a delete policy may.
            self._restart_outside()
        self._notice_ends()

    def finished(self, task: Task) -> bool:
        """Whether all state of a task is loaded; stops reading it when it is."""
        for topic in list(task.pending):
            progress = self._state.get((topic, task.partition))
            if progress is not None and progress.done:
                task.pending.discard(topic)
                self._source.unassign([(topic, task.partition)])
                del self._state[topic, task.partition]
        return not task.pending

    @property
    def tables_read(self) -> bool:
        """Whether every table has been read to its end once."""
        return all(progress.done for progress in self._tables.values())

    @property
    def busy(self) -> bool:
        """Whether there is anything to read before the next step of some task."""
        return bool(self._state) or not self.tables_read

    @property
    def loaded(self) -> int:
        """State and table records loaded in this incarnation."""
        return self._loaded

    def close(self) -> None:
        """Give up the consumer and open files."""
        self._drop_stored()
        self._source.close()

    def remaining(self) -> int:
        """Offsets still to read, as far as the ends of the logs are known; gaps make it an upper bound."""
        left = 0
        for position, progress in (*self._tables.items(), *self._state.items()):
            if not progress.done:
                end = progress.target if progress.target is not None else self._source.high(position)
                left += max(0, end - progress.position)
        return left

    def _load(self, grouped: Grouped) -> None:
        for (topic, partition), messages in grouped.items():
            progress = self._state.get((topic, partition)) or self._tables.get((topic, partition))
            if progress is None:
                continue
            decoder = self._processor.decoders[topic]
            slice_, bad = decode(topic, partition, progress.position, messages, decoder)
            if bad and (topic, partition) in self._state:
                item = bad[0]
                raise StateError(
                    f"{item.topic}/{item.partition}@{item.offset}: our own state cannot be read ({item.exception}: "
                    f"{item.why}). Run the build that wrote it; or, to begin anew, delete and create the topic."
                )
            self._note_bad(bad)
            self._give(slice_)
            progress.position = slice_.end

    def _note_bad(self, bad: list[Bad]) -> None:
        if not bad:
            return
        self._metrics.add("bad_table_records_total", len(bad), (("topic", bad[0].topic),))
        self._log.warning(
            "table.bad_records",
            topic=bad[0].topic,
            partition=bad[0].partition,
            records=len(bad),
            first=bad[0].offset,
            why=bad[0].why,
        )
        # What cannot be reported yet (partition 0 is somebody else's) must not grow without bound.
        self.bad = (self.bad + bad)[-_BAD_KEPT:]

    def _give(self, slice_: Slice) -> None:
        self._processor.load(slice_)
        self._loaded += len(slice_.offsets)
        self._metrics.add("records_loaded_total", len(slice_.offsets), (("topic", slice_.topic),))

    def _notice_ends(self) -> None:
        for known in (self._tables, self._state):
            for position, progress in known.items():
                end = None if progress.done else self._source.ends.get(position)
                if end is None:
                    continue
                progress.position = max(progress.position, end)
                if progress.target is None:
                    progress.target = self._source.high(position)
                progress.done = end >= progress.target

    def _find(self, task: Task, topics: tuple[str, ...]) -> Stored | None:
        if self._store is None or not topics:
            return None
        store, ask = self._store
        limits = {topic: ask((topic, task.partition), _METADATA_TIMEOUT_S) for topic in topics}
        return store.open(task.partition, limits)

    def _load_stored(self, partition: int) -> None:
        stored = self._stored[partition]
        topic, records = stored.take(_CHUNK)
        if records:
            decoder = self._processor.decoders[topic]
            slice_ = Slice(topic, partition, 0, 0)
            slice_.offsets = [-1] * len(records)
            slice_.timestamps = [0] * len(records)
            slice_.keys = [key for key, _ in records]
            try:
                slice_.values = [decoder(key, value, ()) for key, value in records]
            except ValueError as error:
                raise StateError(
                    f"the checkpoint of partition {partition} in {stored.path} cannot be decoded ({error}). "
                    "Run the build that wrote it, or delete that file: the state is then read from the topic."
                ) from error
            self._give(slice_)
            return
        stored.close()
        del self._stored[partition]
        self._source.assign({(name, partition): offset for name, offset in stored.offsets.items()})

    def _drop_stored(self) -> None:
        for stored in self._stored.values():
            stored.close()
        self._stored.clear()

    def _restart_outside(self) -> None:
        for position in list(self._source.outside):
            self._log.error(
                "restore.outside",
                topic=position[0],
                partition=position[1],
                consequence="the log's start moved past the restore; reading from its start",
            )
            self._metrics.add("repositions_total")
            self._source.unassign([position])
            (self._state.get(position) or self._tables[position]).position = 0
            self._source.assign({position: OFFSET_BEGINNING})
