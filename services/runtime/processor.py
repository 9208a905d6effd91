"""What the runtime asks of a service: a pure processor, and the batches it is given.

A processor knows nothing of Kafka, has no clock and does no I/O. The runtime restores its state,
hands it batches, writes what it sends and commits: one `step` is one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, NamedTuple, Protocol, TypeAlias

from services.runtime.metrics import CounterName, GaugeName, Labels, ObservationName, Values

Headers: TypeAlias = tuple[tuple[str, bytes], ...]


class DecodeError(ValueError):
    """A record cannot be decoded or validated. The runtime sends it to dead-letters, as it does
    for any `ValueError` of a decoder."""


Decoder = Callable[[bytes | None, bytes | None, Headers], Any]
"""`decode(key, value, headers) -> value` for one topic; raises `ValueError` (any subclass) for a record that is wrong.

Not called for a null value: a tombstone reaches the processor as None.
"""


def as_it_came(_key: bytes | None, value: bytes | None, _headers: Headers = ()) -> Any:
    """The decoder of a topic of which the processor itself reads many records at a time."""
    return value


@dataclass(frozen=True, slots=True)
class LeavesRows:
    """A decoder that leaves most records as they came, for a processor that reads many at a time."""

    left: Callable[[Sequence[bytes | None], Sequence[bytes | None]], Sequence[bool]]
    """`left(keys, values)`: which records of a batch are well formed, so that they need no decoder."""
    rest: Decoder

    def __call__(self, key: bytes | None, value: bytes | None, headers: Headers) -> Any:
        """Decode a record of the rest."""
        return self.rest(key, value, headers)


@dataclass(slots=True)
class Slice:
    """Consecutive records of one partition, as parallel lists in offset order.

    `[start, end)` are positions: the next slice of the partition starts where this one ends, and
    offsets inside may have gaps (transaction markers, compaction). `dead` holds the offsets of the
    records in the range that were dead-lettered; they are not in the lists.
    """

    topic: str
    partition: int
    start: int
    end: int
    offsets: list[int] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    dead: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Batch:
    """The input of one step: at most one slice per partition, sorted by (topic, partition)."""

    now_ms: int
    """The runtime's clock, Unix ms."""
    slices: list[Slice] = field(default_factory=list)


class Output(NamedTuple):
    """One record to write. `partition=None` means murmur2 of the key, as the Java client does.

    A tuple, because one is made for every record that a service writes.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    headers: Headers = ()


@dataclass(slots=True)
class Outputs:
    """What a step sends, in order, and which input it covers.

    By default the whole batch counts as consumed. A processor that holds input in memory without
    having written its effect (an item shard between two sweeps) calls `hold` for that partition;
    the committed position of a held partition does not move until `covered` names a new one.
    """

    records: list[Output] = field(default_factory=list)
    dead: list[tuple[str, int, int, str, str]] = field(default_factory=list)
    """Records that decoded but were refused by the processor: (topic, partition, offset, why, exception)."""
    positions: dict[tuple[str, int], int | None] = field(default_factory=dict)
    observations: list[tuple[ObservationName, Values]] = field(default_factory=list)
    gauges: list[tuple[GaugeName, float, Labels]] = field(default_factory=list)
    counts: list[tuple[CounterName, float, Labels]] = field(default_factory=list)

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers = (),
    ) -> None:
        """Append one record."""
        self.records.append(Output(topic, key, value, partition, headers))

    def send_all(self, topic: str, keys: Sequence[bytes], values: Sequence[bytes | None], partition: int) -> None:
        """Append a record of each key and value."""
        self.records.extend(map(Output, repeat(topic), keys, values, repeat(partition)))

    def refuse(self, topic: str, partition: int, offset: int, why: str, exception: str = "Refused") -> None:
        """Send an input record of this batch to dead-letters, with its original bytes.

        `exception`: class of what was raised, where the processor itself decodes.
        """
        self.dead.append((topic, partition, offset, why, exception))

    def observe(self, name: ObservationName, value: Values) -> None:
        """Feed a histogram of the runtime's registry (freshness in seconds, sizes, ...) with one value or many.

        Counted when the step has committed; a numpy array is the cheap way for many.
        """
        self.observations.append((name, value))

    def gauge(self, name: GaugeName, value: float, labels: Labels = ()) -> None:
        """Set a gauge of the runtime's registry, e.g. labels (("arm", "learner"),), when the step has committed."""
        self.gauges.append((name, value, labels))

    def count(self, name: CounterName, amount: float, labels: Labels = ()) -> None:
        """Add to a counter of the runtime's registry, when the step has committed."""
        self.counts.append((name, amount, labels))

    def hold(self, topic: str, partition: int) -> None:
        """Do not move the committed position of this partition with this step."""
        self.positions[topic, partition] = None

    def covered(self, topic: str, partition: int, position: int) -> None:
        """Commit `position` (the next offset to read) for this partition with this step."""
        self.positions[topic, partition] = position


@dataclass(frozen=True, slots=True)
class Inputs:
    """The topics of a processor, by logical name.

    leading: subscribed in the consumer group; its partitions are the tasks.
    followers: the same partition numbers of co-partitioned topics, assigned by hand; their
        positions are committed in the same transactions.
    tables: whole topics (every partition), read from their start before the first step and kept
        up to date between steps; never committed.
    state: co-partitioned compacted topics, read from their start to their end when a partition is
        opened and not followed afterwards. When `leading` is among them, the task resumes at the
        end of the restore instead of at the committed offset.
    patient: followers whose records cause no step, and so no transaction, of their own before they have
        waited for a second; whatever else comes takes them along.
    """

    leading: str
    followers: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    patient: tuple[str, ...] = ()


class Processor(Protocol):
    """One service role as the runtime drives it. All calls come from one thread."""

    name: str
    inputs: Inputs

    @property
    def decoders(self) -> Mapping[str, Decoder]:
        """One decoder for each topic of the inputs (a plain attribute will do)."""

    def start(self, epoch: int) -> None:
        """Begin a new incarnation with empty state and empty tables.

        Called before the first `open`, and again after a transaction was aborted: the runtime then
        reads tables and state anew. `epoch` is larger than any that this replica had before.
        """

    def open(self, partition: int) -> None:
        """Start owning a partition, with empty state."""

    def load(self, slice_: Slice) -> None:
        """Take in state records (while a partition is restored) or table records (any time between steps).

        What comes for one partition comes in offset order. For a compacted topic the last record of a key
        wins and None deletes it. The offsets of records that come from a local checkpoint are -1.
        """

    def restored(self, partition: int) -> int | None:
        """Called when all state of the partition has been loaded: the position at which the leading
        topic must resume, or None for the committed offset."""

    def step(self, batch: Batch, out: Outputs) -> None:
        """Process one batch of leading and follower records. Deterministic."""

    def wake_at(self) -> int | None:
        """When the next step is due even without input (Unix ms on the runtime's clock), or None."""

    def appetite(self, now_ms: int) -> int | None:
        """Most records that the next step may have; None: as many as the runtime gives.

        0: none for now. Tables are still read, and what they bring may change the answer. Asked before every batch,
        so it must not stay 0 without end.
        """

    def dump(self, partition: int) -> Iterable[tuple[str, bytes, bytes]] | None:
        """Every state record of the partition as (topic, key, value): what a local checkpoint stores.

        It must be what a restore from the state topics would give at this moment, in a form that `load`
        takes after the decoder. None when there is nothing to store now: this processor keeps no
        checkpoints, or it holds effects that it has not written yet.
        """

    def close(self, partition: int) -> None:
        """Stop owning a partition and forget its state."""


def slice_rows(slice_: Slice) -> Iterator[tuple[int, int, bytes | None, Any]]:
    """Iterate a slice as (offset, timestamp_ms, key, value)."""
    return zip(slice_.offsets, slice_.timestamps, slice_.keys, slice_.values, strict=True)
