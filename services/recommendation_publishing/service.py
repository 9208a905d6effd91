"""Connects the publisher to Kafka's topics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.contracts.edge import codec_for, decode_item
from services.contracts.inner import sweeps, user_state
from services.contracts.inner.weights import RESERVED
from services.model.config import ModelConfig
from services.model.packed import rows_among
from services.model.warm import compile_kernels
from services.recommendation_publishing import avro
from services.recommendation_publishing.engine import ITEM_ROW
from services.recommendation_publishing.publisher import (
    ERASURES,
    ITEM_ROWS,
    ITEMS,
    LISTS,
    QUALITY,
    REQUESTS,
    ROWS,
    Codecs,
    Publisher,
)
from services.recommendation_publishing.records import plain_records
from services.recommendation_publishing.settings import PublishingSettings
from services.runtime.processor import DecodeError, Decoder, LeavesRows, Processor
from services.runtime.registry import registry_of
from services.runtime.service import run

NAME = "recommendation-publishing"
TOPICS = (ITEMS, REQUESTS, ERASURES, LISTS, QUALITY)
"""The topics with edge records."""


def processors(settings: PublishingSettings, shard: str) -> list[Processor]:
    """The one processor of this service."""
    compile_kernels(ModelConfig(item_partitions=settings.item_partitions))
    avro.compile_kernels()
    registry = registry_of(settings)
    codecs = {topic: codec_for(topic, registry, settings.topic_prefix) for topic in TOPICS}
    decoders: dict[str, Decoder] = {
        ROWS: LeavesRows(plain_records, _keyed(_user_record)),
        ITEM_ROWS: LeavesRows(lambda keys, values: rows_among(keys, values, ITEM_ROW), _keyed(sweeps.decode)),
        # Reserved keys are control records of feature extraction; as a deletion of no item they do nothing here.
        ITEMS: _keyed(
            lambda key, value: (
                None if value is None or key.startswith(RESERVED) else decode_item(codecs[ITEMS], key, value)
            )
        ),
        REQUESTS: _edge(codecs[REQUESTS].decode),
        ERASURES: _edge(codecs[ERASURES].decode),
    }
    written = Codecs(codecs[LISTS], codecs[REQUESTS], codecs[QUALITY])
    return [Publisher(settings, decoders, written, shard)]


def main() -> int:
    """Run the service until it is told to stop; returns the exit code."""
    return run(NAME, PublishingSettings, processors)


def _keyed(decode: Callable[[bytes, bytes | None], Any]) -> Decoder:
    """A decoder of a compacted topic: the key says whose record it is, and must be there."""

    def decoder(key: bytes | None, value: bytes | None, _headers: tuple[tuple[str, bytes], ...]) -> Any:
        if not key:
            raise DecodeError("the record has no key")
        return decode(key, value)

    return decoder


def _edge(decode: Callable[[bytes], Any]) -> Decoder:
    """A decoder of an input topic whose record says itself whose it is."""

    def decoder(_key: bytes | None, value: bytes | None, _headers: tuple[tuple[str, bytes], ...]) -> Any:
        if value is None:
            raise DecodeError("the record has no value")
        return decode(value)

    return decoder


def _user_record(key: bytes, value: bytes | None) -> Any:
    if value is None:
        return None
    _, chunk = user_state.split_key(key)
    return user_state.decode_row(value) if chunk is None else user_state.decode_chunk(value)
