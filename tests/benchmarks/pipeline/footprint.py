"""What the events left behind: bytes per event on the topics, memory per row."""

from __future__ import annotations

from typing import Any

from confluent_kafka import OFFSET_BEGINNING, TopicPartition

from services.cli.kafka import partition_count, read_to_end, reader
from services.contracts.inner import sweeps
from services.contracts.topics import physical
from services.model.config import ModelConfig
from services.model.replica import Replica
from services.model.users import UserTable
from services.recommendation_publishing.engine import Engine
from services.recommendation_publishing.records import UserRecords
from services.runtime.settings import KafkaSettings

TOPICS = ("features", "extraction-state", "user-state", "item-deltas", "item-state", "recommendations")


def bytes_per_event(settings: KafkaSettings, events: int) -> dict[str, dict[str, float]]:
    """{topic: {"bytes": per event, "records": per event}}, keys and values, before compression and compaction."""
    found = {}
    client = reader(settings)
    try:
        for topic in TOPICS:
            size = count = 0
            for message in read_to_end(client, _whole(client, topic, settings)):
                size += len(message.key() or b"") + len(message.value() or b"")
                count += 1
            found[topic] = {"bytes": size / events, "records": count / events}
    finally:
        client.close()
    return found


def memory_per_row(settings: KafkaSettings) -> dict[str, Any]:
    """{"user_row_bytes", "users", "item_row_bytes", "items"}: the tables as publishing holds them."""
    client = reader(settings)
    engine = Engine("auto", settings.item_partitions, 20)
    try:
        for message in read_to_end(client, _whole(client, "item-state", settings)):
            key, value = bytes(message.key() or b""), message.value()
            engine.load_items(
                message.partition() or 0, key, sweeps.decode(key, None if value is None else bytes(value))
            )
        for message in read_to_end(client, _whole(client, "user-state", settings)):
            engine.rows.receive(UserRecords.of([message.key()], [message.value()]))
    finally:
        client.close()
    engine.rows.settle_all()
    users, replica = engine.rows.table, engine._replica
    empty = UserTable(ModelConfig()).nbytes(), Replica(ModelConfig()).rows_bytes()
    rows = replica.stats().items + replica.stats().features
    return {
        "users": len(users),
        "user_row_bytes": (users.nbytes() - empty[0]) / max(1, len(users)),
        "items": rows,
        "item_row_bytes": (replica.rows_bytes() - empty[1]) / max(1, rows),
    }


def _whole(client: Any, topic: str, settings: KafkaSettings) -> list[TopicPartition]:
    name = physical(topic, settings.topic_prefix)
    return [TopicPartition(name, each, OFFSET_BEGINNING) for each in range(partition_count(client, name))]
