"""Which edge record travels in which topic."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from services.contracts import topics
from services.contracts.edge import records
from services.contracts.edge.codec import EdgeCodec
from services.contracts.edge.registry import Registry


def codec_for(
    topic: str, registry: Registry | None = None, prefix: str = "", fields: Collection[str] | None = None
) -> EdgeCodec[Any]:
    """The codec of an edge topic's values, with the registry subject of its physical name.

    Args:
        topic: logical name.
        registry: where schema ids come from; None for no registry.
        prefix: the configured topic prefix.
        fields: see `EdgeCodec`.

    Raises:
        KeyError: no topic of that name.
        ValueError: the topic carries no edge records.
    """
    line = topics.topic(topic)
    if line.format != "edge":
        raise ValueError(f"topic {topic} carries {line.value}, not edge records")
    return EdgeCodec(getattr(records, line.value), registry, line.subject(prefix), fields)
