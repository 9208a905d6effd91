"""Which edge record travels in which topic."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from services.contracts import topics
from services.contracts.edge import records
from services.contracts.edge.codec import EdgeCodec
from services.contracts.edge.errors import EdgeRecordError
from services.contracts.edge.records import Item
from services.contracts.edge.registry import Registry
from services.contracts.keys import item_key


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


def decode_item(codec: EdgeCodec[Item], key: bytes, value: bytes) -> Item:
    """Decode a record of the items topic.

    Raises:
        EdgeRecordError: as `EdgeCodec.decode`; or the key is not the item's id. The topic is compacted by key: such a
            record would replace another item's, and a deletion of its own id would not reach it.
    """
    item = codec.decode(value)
    if item_key(item["item_id"]) != key:
        raise EdgeRecordError("Item", "item_id", f"{item['item_id']!r} stands under the key {key!r}; key items by id")
    return item
