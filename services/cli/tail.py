"""`streamrec tail TOPIC`: records of any topic, decoded, as JSON lines."""

from __future__ import annotations

import heapq
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from services.cli.decode import readable, show_key, value_decoder
from services.cli.errors import CliError
from services.cli.kafka import ended, logical, partition_count, poll_batch, read_to_end, reader, watermarks
from services.cli.options import command
from services.cli.show import to_json
from services.contracts import topics
from services.contracts.keys import partition_of
from services.runtime.registry import registry_of
from services.runtime.settings import KafkaSettings

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

DEAD_LETTERS = "dead-letters"
_DEFAULT_LIMIT = 10
_MARKS_PER_RECORD = 4
_SPARE_OFFSETS = 200
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records of which topic."""

    topic: str
    """Logical name."""
    name: str
    """Name in Kafka."""
    key: bytes | None
    """Only this key and those that start with it and a NUL (a user's chunks)."""
    spread: bool
    """Whether the key may stand in any partition: dead letters keep their keys and not their partitions."""

    def has(self, key: bytes | None) -> bool:
        """Whether a record with this key is wanted."""
        if self.key is None:
            return True
        return key is not None and (key == self.key or key.startswith(self.key + b"\x00"))


@command(app, KafkaSettings, name="tail")
def tail(
    settings: KafkaSettings,
    *,
    topic: Annotated[
        str,
        typer.Argument(metavar="TOPIC", show_default=False, help=f"One of {', '.join(topics.BY_NAME)}."),
    ],
    user: Annotated[str | None, typer.Option("--user", metavar="ID", help="Only records with this user's key.")] = None,
    item: Annotated[str | None, typer.Option("--item", metavar="ID", help="Only records with this item's key.")] = None,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Start with the oldest record.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-n",
            min=1,
            metavar="N",
            show_default="10 newest, or all with --from-beginning or --follow",
            help="Print so many records: the newest, or the first with --from-beginning.",
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with records as they come.")] = False,
) -> None:
    """Print records of any topic as JSON lines.

    A line has topic, partition, offset, timestamp, key and value, and headers where there are any. Avro, JSON
    and the msgpack of the inner topics are decoded; raw arrays are printed as numbers. A record that cannot
    be decoded is printed with its error. Only committed records are read. --user and --item read one partition,
    of dead-letters all: there they name the key that the record had.
    """  # fmt: skip
    wanted = _wanted(settings, topic, user, item)
    show = line_maker(wanted.topic, value_decoder(wanted.topic, registry_of(settings), settings.topic_prefix))
    client = reader(settings)
    try:
        for message in _messages(client, wanted, from_beginning, limit, follow):
            sys.stdout.write(to_json(show(message)) + "\n")
            if follow:
                sys.stdout.flush()
        sys.stdout.flush()
    finally:
        client.close()


def _wanted(settings: KafkaSettings, topic: str, user: str | None, item: str | None) -> Wanted:
    name = logical(topic, settings)
    line = topics.topic(name)
    if user is not None and item is not None:
        raise CliError("--user and --item exclude each other", code=2)
    spread = name == DEAD_LETTERS
    for option, value, kind in (("--user", user, "user"), ("--item", item, "item")):
        if value is not None and line.partitioned_by != kind and not spread:
            raise CliError(f"{option}: topic {name} is not keyed by {kind}", code=2)
    key = user if user is not None else item
    return Wanted(name, line.physical(settings.topic_prefix), None if key is None else key.encode(), spread)


def line_maker(topic: str, decode: Callable[[bytes, bytes], Any]) -> Callable[[Message], dict[str, Any]]:
    """`line(message) -> plain values` of one topic's records."""

    def line(message: Message) -> dict[str, Any]:
        key, value = message.key(), message.value()
        _, timestamp = message.timestamp()
        made: dict[str, Any] = {
            "topic": topic, "partition": message.partition(), "offset": message.offset(), "timestamp": timestamp,
            "key": show_key(_bytes(key)),
        }  # fmt: skip
        headers = message.headers()
        if headers:
            made["headers"] = {
                name: readable(_bytes(each) or b"") if each is not None else None for name, each in _pairs(headers)
            }
        try:
            made["value"] = None if value is None else decode(_bytes(key) or b"", _bytes(value) or b"")
        except ValueError as error:
            made["error"] = str(error)
            made["value"] = readable(_bytes(value) or b"")
        return made

    return line


def _messages(
    client: Consumer, wanted: Wanted, from_beginning: bool, limit: int | None, follow: bool
) -> Iterator[Message]:
    partitions = _partitions(client, wanted)
    ends = watermarks(client, wanted.name, partitions)
    if from_beginning:
        starts = [TopicPartition(wanted.name, each, OFFSET_BEGINNING) for each in partitions]
        yield from _first(_stream(client, starts, wanted, follow), limit)
        return
    newest = limit or _DEFAULT_LIMIT
    # With a key most records are others'; otherwise a few more offsets than records, because of transaction marks.
    back = None if wanted.key is not None else newest * _MARKS_PER_RECORD + _SPARE_OFFSETS
    starts = [
        TopicPartition(wanted.name, each, low if back is None else max(low, high - back))
        for each, (low, high) in ends.items()
    ]
    kept: dict[int, deque[Message]] = {each: deque(maxlen=newest) for each in partitions}
    after = {each: high for each, (_, high) in ends.items()}
    for message in read_to_end(client, starts):
        after[_int(message.partition())] = _int(message.offset()) + 1
        if wanted.has(_bytes(message.key())):
            kept[_int(message.partition())].append(message)
    merged = heapq.merge(*kept.values(), key=lambda message: message.timestamp()[1])
    yield from deque(merged, maxlen=newest)
    if follow:
        starts = [TopicPartition(wanted.name, each, offset) for each, offset in after.items()]
        yield from _stream(client, starts, wanted, follow)


def _partitions(client: Consumer, wanted: Wanted) -> list[int]:
    number = partition_count(client, wanted.name)
    return list(range(number)) if wanted.key is None or wanted.spread else [partition_of(wanted.key, number)]


def _stream(client: Consumer, starts: list[TopicPartition], wanted: Wanted, follow: bool) -> Iterator[Message]:
    if not follow:
        yield from (message for message in read_to_end(client, starts) if wanted.has(_bytes(message.key())))
        return
    client.assign(starts)
    while True:
        for message in poll_batch(client, _POLL_S):
            if not ended(message) and wanted.has(_bytes(message.key())):
                yield message


def _first(messages: Iterator[Message], limit: int | None) -> Iterator[Message]:
    for number, message in enumerate(messages, 1):
        yield message
        if limit is not None and number >= limit:
            return


def _bytes(value: Any) -> bytes | None:
    return None if value is None else bytes(value)


def _int(value: int | None) -> int:
    return value if value is not None else -1


def _pairs(headers: Any) -> list[tuple[str, Any]]:
    return list(headers.items()) if isinstance(headers, dict) else list(headers)
