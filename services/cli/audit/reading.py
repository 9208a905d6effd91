"""Reading whole topics for the audit: ends first, in causal order, then every record up to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from services.cli.audit.checks import Chunk, Log
from services.cli.errors import CliError
from services.cli.kafka import ended, partition_count, poll_batch, watermarks
from services.contracts.topics import physical

LIVE_PAUSE_S = 1.0
"""Between the ends of two topics on a live system: more than a transaction lasts, so that what stands before the end
of one topic has its causes before the end of the next."""
_BATCH = 10_000
_POLL_S = 0.5

Place = tuple[str, int]
"""(logical topic, partition)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is to be read: [start, end) of every partition, topics in reading order."""

    logs: tuple[Log, ...]

    @property
    def total(self) -> int:
        """Offsets in all."""
        return sum(log.end - log.start for log in self.logs)

    def of(self, topic: str) -> list[Log]:
        """The partitions of one topic."""
        return [log for log in self.logs if log.topic == topic]


def take_ends(
    client: Consumer, topics: Sequence[str], prefix: str, until: Mapping[Place, int], pause_s: float
) -> Reading:
    """Fix what is read, topic after topic.

    Args:
        client: read_committed, so that an end never lies behind an open transaction.
        topics: logical names in reading order.
        prefix: the configured topic prefix.
        until: {(topic, partition): end} where the audit stops earlier.
        pause_s: between two topics.

    Raises:
        CliError: a topic does not exist, or an end lies outside its partition.
    """
    logs: list[Log] = []
    for number, topic in enumerate(topics):
        if number and pause_s:
            time.sleep(pause_s)
        name = physical(topic, prefix)
        count = partition_count(client, name)
        for partition, (low, high) in watermarks(client, name, list(range(count))).items():
            end = until.get((topic, partition), high)
            if not low <= end <= high:
                raise CliError(
                    f"--until {topic}:{partition}={end}: the partition holds offsets {low} to {high}", code=2
                )
            logs.append(Log(topic, partition, low, end, cut=end < high))
    return Reading(tuple(logs))


def chunks(client: Consumer, reading: Reading, prefix: str, progress: Callable[[str, int], None]) -> Iterator[Chunk]:
    """Every record of the reading, topic after topic, the partitions of a topic interleaved.

    Args:
        client: read_committed with PARTITION_EOF.
        reading: what to read.
        prefix: the configured topic prefix.
        progress: called with (topic, offsets passed since the last call).

    Raises:
        CliError: retention has removed what was to be read.
    """
    for topic in dict.fromkeys(log.topic for log in reading.logs):
        logs = {log.partition: log for log in reading.of(topic) if log.end > log.start}
        name = physical(topic, prefix)
        client.assign([TopicPartition(name, each, log.start) for each, log in logs.items()])
        at = {each: log.start for each, log in logs.items()}
        while at:
            try:
                messages = poll_batch(client, _POLL_S, _BATCH)
            except KafkaException as error:
                if error.args[0].code() == KafkaError._AUTO_OFFSET_RESET:
                    raise CliError(f"{name}: retention removed records while they were read; run again") from None
                raise
            for partition, run in _runs(messages).items():
                if partition not in at:
                    continue
                log = logs[partition]
                chunk, position, done = _chunk(topic, partition, run, log.end)
                if chunk.offsets:
                    yield chunk
                progress(topic, max(0, position - at[partition]))
                at[partition] = max(at[partition], position)
                if done:
                    progress(topic, log.end - at.pop(partition))
                    client.incremental_unassign([TopicPartition(name, partition)])
        client.unassign()


def _runs(messages: Sequence[Message]) -> dict[int, list[Message]]:
    runs: dict[int, list[Message]] = {}
    for message in messages:
        runs.setdefault(message.partition() or 0, []).append(message)
    return runs


def _chunk(topic: str, partition: int, run: Sequence[Message], end: int) -> tuple[Chunk, int, bool]:
    """(the records before `end`, position after them, whether the partition is read to its end)."""
    offsets: list[int] = []
    keys: list[bytes | None] = []
    values: list[bytes | None] = []
    done = False
    for message in run:
        offset = message.offset() or 0
        # Marks of transactions are never delivered: the end shows in what comes after it, or in the partition's end.
        if ended(message) or offset >= end:
            done = True
            break
        offsets.append(offset)
        keys.append(message.key())
        values.append(message.value())
    position = offsets[-1] + 1 if offsets else 0
    return Chunk(topic, partition, offsets, keys, values), position, done or position >= end
