"""Connects feature extraction to Kafka's topics."""

from __future__ import annotations

from typing import Any

from services.contracts.edge import Registry, codec_for, decode_item
from services.contracts.inner import weights
from services.feature_extraction import columns, served
from services.feature_extraction.interactions import InteractionReader
from services.feature_extraction.processor import (
    ERASURES,
    INTERACTIONS,
    ITEMS,
    LISTS,
    NAME,
    STATE,
    FeatureExtraction,
)
from services.feature_extraction.served import SERVED_FIELDS, ListReader
from services.feature_extraction.settings import ExtractionSettings
from services.runtime.processor import DecodeError, Decoder, Headers, Processor, as_it_came
from services.runtime.registry import registry_of
from services.runtime.service import run

_SHOWN_BYTES = 80
"""Of a key that is not text: enough to find it again."""


def processors(settings: ExtractionSettings, _shard: str) -> list[Processor]:
    """The one processor of this service."""
    columns.compile_kernels()
    served.compile_kernels()
    registry = registry_of(settings)
    events = codec_for(INTERACTIONS, registry, settings.topic_prefix)
    lists = codec_for(LISTS, registry, settings.topic_prefix, SERVED_FIELDS)
    reads = decoders(settings, registry)
    return [FeatureExtraction(settings, reads, InteractionReader(events), ListReader(lists))]


def decoders(settings: ExtractionSettings, registry: Registry | None = None) -> dict[str, Decoder]:
    """The decoders of every topic that is read, by logical name."""
    erasures, items = (codec_for(topic, registry, settings.topic_prefix) for topic in (ERASURES, ITEMS))

    def erasure(_key: bytes | None, value: bytes | None, _headers: Headers) -> Any:
        return None if value is None else (erasures.decode(value), value)

    def item(key: bytes | None, value: bytes | None, _headers: Headers) -> Any:
        name = _text(key)
        if value is None:
            return None
        if key == weights.WEIGHTS_KEY:
            return weights.decode(value)
        if name.startswith("\x00"):
            raise DecodeError(f"unknown reserved key {name!r}")
        return decode_item(items, name.encode(), value)

    def served(key: bytes | None, value: bytes | None, _headers: Headers) -> Any:
        _text(key)
        # Read many at a time (`ListReader`), and not where nothing is attributed.
        return value if settings.attribution_lists else None

    def state(key: bytes | None, value: bytes | None, _headers: Headers) -> Any:
        _text(key)
        return value

    return {INTERACTIONS: as_it_came, ERASURES: erasure, ITEMS: item, LISTS: served, STATE: state}


def main() -> int:
    """Run the service until it is told to stop; returns the exit code."""
    return run(NAME, ExtractionSettings, processors)


def _text(key: bytes | None) -> str:
    """A key as text: it says whose record it is, and must be there."""
    if not key:
        raise DecodeError("the record has no key")
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"the record's key is not UTF-8: {key[:_SHOWN_BYTES]!r} ({error.reason})") from None
