"""What commands need of Kafka: a broker that answers, topics that exist, and reading partitions to an end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from services.cli.errors import CliError
from services.contracts import topics
from services.runtime.admin import wait_for_broker
from services.runtime.client import make_admin, make_consumer
from services.runtime.settings import KafkaSettings

ANSWER_S = 10.0
"""Longest wait for one answer of a broker."""
_PROBE_S = 8.0
"""A broker on a machine that is busy starting may need some of it."""
_BATCH = 10_000
_POLL_S = 0.2
_PAUSE_S = 0.1
_LEADERLESS = (
    KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.FENCED_LEADER_EPOCH, KafkaError._NOENT,
)  # fmt: skip
READER_GROUP = "streamrec-cli"
"""librdkafka wants a group even where nothing is committed and no group is joined."""


def connect(settings: KafkaSettings, *needed: str) -> None:
    """Check that a broker answers, and that it has the topics of these logical names.

    Raises:
        BrokerUnavailableError: none does within a few seconds.
        CliError: a topic does not exist.
    """
    wait_for_broker(settings, timeout_s=_PROBE_S)
    if needed:
        # Asking for all names cannot create a topic by accident, as asking for one may.
        known = make_admin(settings).list_topics(timeout=ANSWER_S).topics
        for topic in needed:
            if topics.physical(topic, settings.topic_prefix) not in known:
                raise _absent(topics.physical(topic, settings.topic_prefix))


def _absent(name: str) -> CliError:
    return CliError(f"topic {name} does not exist; run `streamrec topics create`")


def logical(name: str, settings: KafkaSettings) -> str:
    """The logical name of a topic that was given by its logical or physical name.

    Raises:
        CliError: there is no such topic.
    """
    if name in topics.BY_NAME:
        return name
    bare = name.removeprefix(settings.topic_prefix)
    if bare in topics.BY_NAME:
        return bare
    raise CliError(f"no topic is called {name!r}; there are {', '.join(topics.BY_NAME)}", code=2)


def reader(settings: KafkaSettings, **extra: object) -> Consumer:
    """A read_committed consumer for `assign`, after checking that a broker answers."""
    connect(settings)
    return make_consumer(settings, READER_GROUP, **extra)


def partition_count(client: Consumer, name: str) -> int:
    """Partitions of a topic by its physical name.

    Raises:
        CliError: the topic does not exist.
    """
    metadata = client.list_topics(name, timeout=ANSWER_S)
    found = metadata.topics.get(name)
    if found is None or found.error is not None or not found.partitions:
        raise _absent(name)
    return len(found.partitions)


def watermarks(client: Consumer, name: str, partitions: list[int]) -> dict[int, tuple[int, int]]:
    """{partition: (first offset, next offset)} as a read_committed reader may see them."""
    return {each: _watermark(client, TopicPartition(name, each)) for each in partitions}


def _watermark(client: Consumer, place: TopicPartition) -> tuple[int, int]:
    over = deadline(ANSWER_S)
    while True:
        try:
            low, high = client.get_watermark_offsets(place, timeout=ANSWER_S)
        except KafkaException as error:
            if not _leaderless(error) or over():
                raise
            time.sleep(_PAUSE_S)
        else:
            return low, high


def log_offsets(
    admin: AdminClient, places: Iterable[TopicPartition], *, earliest: bool = False
) -> dict[tuple[str, int], int]:
    """{(physical topic, partition): its next offset for read_committed readers}, or the first offset it holds."""
    spec = OffsetSpec.earliest() if earliest else OffsetSpec.latest()  # type: ignore[no-untyped-call]  # without types
    asked: dict[TopicPartition, OffsetSpec] = dict.fromkeys(places, spec)
    found: dict[tuple[str, int], int] = {}
    over = deadline(ANSWER_S)
    while asked:
        futures = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=ANSWER_S)
        for place, future in futures.items():
            error = future.exception()
            if error is None:
                found[place.topic, place.partition] = future.result().offset
            elif not _leaderless(error) or over():
                raise error
        asked = {place: spec for place in asked if (place.topic, place.partition) not in found}
        if asked:
            time.sleep(_PAUSE_S)
            # A client that outlives a broker's restart keeps the leader's old epoch until it asks for all names again.
            admin.list_topics(timeout=ANSWER_S)
    return found


def _leaderless(error: BaseException) -> bool:
    """Whether the error is that of a partition that has its leader in a moment: it, or its broker, is a moment old."""
    return isinstance(error, KafkaException) and error.args[0].code() in _LEADERLESS


def read_to_end(
    client: Consumer,
    starts: Mapping[TopicPartition, int] | list[TopicPartition],
    *,
    idle: Callable[[], None] | None = None,
    batch: int = _BATCH,
) -> Iterator[Message]:
    """Yield the records of the assigned partitions up to their ends (PARTITION_EOF, never an offset).

    Raises:
        KafkaException: a partition cannot be read.
    """
    wanted = list(starts)
    client.assign(wanted)
    open_ = {(each.topic, each.partition) for each in wanted}
    while open_:
        for message in poll_batch(client, _POLL_S, batch):
            if ended(message):
                open_.discard((message.topic(), message.partition()))
            else:
                yield message
        if idle is not None:
            idle()


def poll_batch(client: Consumer, timeout_s: float, batch: int = _BATCH) -> list[Message]:
    """Wait for the first message only, and take what else is there: `consume` alone would wait to fill the batch.

    Messages may be PARTITION_EOF marks; other errors raise.

    Raises:
        KafkaException: a fatal or unexpected error of the client.
    """
    first = client.poll(timeout_s)
    if first is None:
        return []
    messages = [first, *client.consume(batch - 1, 0)]
    for message in messages:
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            if error.retriable() or error.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
                continue
            raise KafkaException(error)
    return [each for each in messages if each.error() is None or ended(each)]


def ended(message: Message) -> bool:
    """Whether the message is the mark of a partition's end."""
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF


def deadline(seconds: float) -> Callable[[], bool]:
    """A function that says whether the time is over."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end
