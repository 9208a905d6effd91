"""Topics on a real broker: created from the table, checked against it, and safe for old timestamps."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from services.contracts import topics
from services.contracts.keys import partition_of
from services.runtime.admin import (
    BrokerUnavailableError,
    TopicsError,
    check_topics,
    create_topics,
    require_topics,
    told,
    wait_for_broker,
)
from services.runtime.settings import KafkaSettings

pytestmark = pytest.mark.kafka


@pytest.fixture
def settings(broker: Any) -> KafkaSettings:
    """Settings with a prefix of the test's own on the shared broker."""
    prefix = f"t{uuid.uuid4().hex[:8]}."
    return KafkaSettings(
        bootstrap_servers=broker.bootstrap_servers, topic_prefix=prefix, user_partitions=3, item_partitions=2
    )


def _with(settings: KafkaSettings, **changes: Any) -> KafkaSettings:
    return settings.model_copy(update=changes)


def _make(settings: KafkaSettings, name: str, partitions: int, **config: str) -> None:
    physical = topics.physical(name, settings.topic_prefix)
    client = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    for future in client.create_topics([NewTopic(physical, partitions, 1, config=config)]).values():
        future.result()
    give_up = time.monotonic() + 30
    # The controller answers before the broker has heard of the topic.
    while physical not in client.list_topics(timeout=10).topics:
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_create_is_idempotent(settings: KafkaSettings) -> None:
    """Creating twice creates once, and the result passes the check."""
    first, second = create_topics(settings), create_topics(settings)
    assert [report.action for report in first] == ["created"] * len(topics.TOPICS)
    assert [report.action for report in second] == ["exists"] * len(topics.TOPICS)
    assert [report.partitions for report in first] == [line.partitions(3, 2) for line in topics.TOPICS]
    assert not any(report.problems for report in [*first, *second])
    assert check_topics(settings) == []
    require_topics(settings, ["interactions", "items"])


def test_missing_topics_are_named(settings: KafkaSettings) -> None:
    """A service on an empty cluster is told which topics are missing and how to make them."""
    with pytest.raises(TopicsError, match=r"\.interactions, .*features: missing.*topics create") as caught:
        require_topics(settings, ["interactions", "features"])
    assert f"{settings.topic_prefix}features" in str(caught.value)
    assert "item-state" not in str(caught.value)


def test_what_exists_is_kept_and_the_rest_is_created(settings: KafkaSettings) -> None:
    """A topic that an operator made differently is reported, not touched; missing ones are still made."""
    _make(settings, "interactions", 5)
    reports = {report.topic: report for report in create_topics(settings)}
    assert (reports["interactions"].action, reports["interactions"].partitions) == ("exists", 5)
    whats = [problem.what for problem in reports["interactions"].problems]
    assert any("5 partitions where 3 are configured" in what for what in whats)
    assert any("message.timestamp.type is CreateTime, needed is LogAppendTime" in what for what in whats)
    assert reports["features"].action == "created"
    assert reports["features"].problems == ()


def test_partition_counts_that_differ_are_refused(settings: KafkaSettings) -> None:
    """A service does not start on topics that are not co-partitioned, and is told what to set."""
    create_topics(settings)
    with pytest.raises(TopicsError, match="STREAMREC_USER_PARTITIONS=3") as caught:
        require_topics(_with(settings, user_partitions=4), ["interactions", "features"])
    assert str(caught.value) == (
        f"The topics are not as this service needs them. {settings.topic_prefix}interactions, "
        f"{settings.topic_prefix}features: 3 partitions where 4 are configured. Set STREAMREC_USER_PARTITIONS=3."
    )
    require_topics(_with(settings, user_partitions=4), ["item-deltas"])


def test_one_topic_that_differs_from_its_kind_is_named(settings: KafkaSettings) -> None:
    """No setting fits all of them: the one that is to go is named, once."""
    _make(settings, "features", 5, **{"message.timestamp.type": "LogAppendTime", "max.message.bytes": "16777216"})
    create_topics(settings)
    (line,) = told(check_topics(settings))
    assert line.startswith(f"{settings.topic_prefix}features: 5 partitions where 3 are configured. All user-keyed")


def test_wrong_cleanup_is_refused(settings: KafkaSettings) -> None:
    """State in a topic that deletes would be lost by age: refused, with the command that repairs it."""
    _make(settings, "user-state", 3, **{"cleanup.policy": "delete"})
    found = check_topics(settings, ["user-state"])
    assert {problem.what.split(" is ")[0] for problem in found} >= {"cleanup.policy", "message.timestamp.type"}
    assert "--add-config 'cleanup.policy=[compact]'" in found[0].fix


def test_retention_is_the_operator_s(settings: KafkaSettings) -> None:
    """Another retention is a decision, not a mistake."""
    create_topics(settings)
    client = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    entry = ConfigEntry("retention.ms", "3600000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(
        ResourceType.TOPIC, topics.physical("features", settings.topic_prefix), incremental_configs=[entry]
    )
    for future in client.incremental_alter_configs([resource]).values():
        future.result()
    assert check_topics(settings) == []


def test_configs_can_be_overridden(settings: KafkaSettings) -> None:
    """A caller may tune a topic when it creates it."""
    create_topics(settings, {"item-state": {"segment.ms": "1000"}})
    client = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    resource = ConfigResource(ResourceType.TOPIC, topics.physical("item-state", settings.topic_prefix))
    entries = next(iter(client.describe_configs([resource]).values())).result()
    assert entries["segment.ms"].value == "1000"
    assert entries["cleanup.policy"].value == "compact"


def test_too_many_replicas_is_a_clear_error(settings: KafkaSettings) -> None:
    """Asking for more replicas than there are brokers names the setting."""
    with pytest.raises(TopicsError, match="STREAMREC_REPLICATION_FACTOR"):
        create_topics(_with(settings, replication_factor=3))


def test_old_and_future_timestamps_survive(settings: KafkaSettings) -> None:
    """A producer that stamps records with 1996 or 2099 loses none of them; Kafka stamps them with now."""
    create_topics(settings)
    topic = topics.physical("interactions", settings.topic_prefix)
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "partitioner": "murmur2_random"})
    errors: list[Any] = []
    stamps = [820_454_400_000, 4_070_908_800_000]
    for stamp in stamps:
        producer.produce(
            topic, b"{}", b"ana", timestamp=stamp, on_delivery=lambda error, _: errors.append(error) if error else None
        )
    assert producer.flush(30) == 0
    assert errors == []
    received = _read(settings, topic, len(stamps))
    now_ms = time.time() * 1000
    assert all(abs(message.timestamp()[1] - now_ms) < 600_000 for message in received)


def test_keys_land_where_we_compute_them(settings: KafkaSettings) -> None:
    """Our partition of a key is the one that the client's murmur2 partitioner chooses."""
    create_topics(settings)
    topic = topics.physical("features", settings.topic_prefix)
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "partitioner": "murmur2_random"})
    names = [f"user-{number}".encode() for number in range(50)] + ["zoë".encode(), b"x" * 300]
    for name in names:
        producer.produce(topic, b"", name)
    assert producer.flush(30) == 0
    for message in _read(settings, topic, len(names)):
        assert message.partition() == partition_of(message.key(), 3)


def _read(settings: KafkaSettings, topic: str, count: int) -> list[Any]:
    consumer = Consumer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "group.id": f"{settings.topic_prefix}test",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    try:
        consumer.subscribe([topic])
        received: list[Any] = []
        give_up = time.monotonic() + 60
        while len(received) < count and time.monotonic() < give_up:
            message = consumer.poll(0.5)
            if message is not None:
                assert message.error() is None
                received.append(message)
        assert len(received) == count
        return received
    finally:
        consumer.close()


def test_waiting_for_a_broker_that_is_there(settings: KafkaSettings) -> None:
    """With a broker the wait ends at once, without a message."""
    said: list[str] = []
    assert wait_for_broker(settings, timeout_s=30, on_wait=said.append)
    assert said == []


def test_waiting_for_a_broker_that_is_not() -> None:
    """Without a broker the wait says where it looks, and gives up with what to do."""
    nowhere = KafkaSettings(bootstrap_servers="127.0.0.1:1")
    said: list[str] = []
    with pytest.raises(BrokerUnavailableError, match=r"127\.0\.0\.1:1.*streamrec broker.*STREAMREC_BOOTSTRAP_SERVERS"):
        wait_for_broker(nowhere, timeout_s=0, on_wait=said.append)
    assert wait_for_broker(nowhere, on_wait=said.append, stop=lambda: bool(said)) is False
    assert "no Kafka broker answers at 127.0.0.1:1" in said[0]
    with pytest.raises(BrokerUnavailableError, match="streamrec broker"):
        check_topics(nowhere, timeout_s=1)
