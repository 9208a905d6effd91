"""Sending single records that a person typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaException, Message

from services.cli.errors import CliError
from services.cli.kafka import ANSWER_S
from services.contracts.edge import EdgeRecordError, codec_for
from services.contracts.topics import physical
from services.runtime.client import make_producer
from services.runtime.registry import registry_of
from services.runtime.settings import KafkaSettings


def send_one(settings: KafkaSettings, topic: str, key: str, record: Mapping[str, Any]) -> tuple[int, int]:
    """Send one edge record and wait for its acknowledgement: (partition, offset).

    Raises:
        CliError: the record is not valid, or Kafka did not take it.
    """
    try:
        value = codec_for(topic, registry_of(settings), settings.topic_prefix).encode(record)
    except EdgeRecordError as error:
        raise CliError(str(error), code=2) from None
    return send_bytes(settings, topic, key.encode(), value)


def send_bytes(settings: KafkaSettings, topic: str, key: bytes, value: bytes | None) -> tuple[int, int]:
    """Send one record as it is and wait for its acknowledgement: (partition, offset).

    Raises:
        CliError: Kafka did not take it.
    """
    taken: list[tuple[Any, Message]] = []
    producer = make_producer(settings, message_timeout_ms=int(ANSWER_S * 1000))
    producer.produce(
        physical(topic, settings.topic_prefix),
        value,
        key,
        on_delivery=lambda error, message: taken.append((error, message)),
    )
    producer.flush(ANSWER_S + 1)
    if not taken:
        raise CliError(f"{topic}: Kafka did not answer within {ANSWER_S:.0f} s")
    failure, message = taken[0]
    if failure is not None:
        raise KafkaException(failure)
    return message.partition() or 0, message.offset() or 0
