"""What extraction keeps of the items topic: content features by item id."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from services.contracts.inner.features import pack_features, unpack_features
from services.contracts.keys import KIND_CATEGORY, content_features, feature_kind, item_key

_COUNT = struct.Struct("<I")
_NOTHING: tuple[bytes, Sequence[int]] = (b"", [])
_UNPACKED_ITEMS = 1 << 14
"""Items, the busiest of late, that are kept unpacked too."""


class ItemTable:
    """Content features of every item that the items topic describes, 4 bytes each."""

    def __init__(self) -> None:
        """Start empty."""
        self._content: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        """Number of items described."""
        return len(self._content)

    def put(self, item_id: str, record: Mapping[str, Any] | None) -> None:
        """Take in an item's record; None forgets the item."""
        key = item_key(item_id)
        if record is None:
            self._content.pop(key, None)
        else:
            features = content_features(record)
            categories = sum(feature_kind(feature) == KIND_CATEGORY for feature in features)
            self._content[key] = _COUNT.pack(categories) + pack_features(features)

    def packed(self, key: bytes) -> bytes:
        """How many of the content features of the item with a key are categories, and the features: uint32[], packed.

        Categories come first. Empty for an item without metadata.
        """
        return self._content.get(key, b"")

    def content(self, item_id: str) -> tuple[bytes, Sequence[int]]:
        """(all content features as they travel, those that are categories); empty for an item without metadata."""
        packed = self.packed(item_key(item_id))
        return _unpacked(packed) if packed else _NOTHING


@lru_cache(maxsize=_UNPACKED_ITEMS)
def _unpacked(packed: bytes) -> tuple[bytes, Sequence[int]]:
    (categories,) = _COUNT.unpack_from(packed)
    return packed[_COUNT.size :], unpack_features(packed[_COUNT.size : _COUNT.size * (1 + categories)])
