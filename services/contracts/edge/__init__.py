"""The public records at the edge of the system, and their encodings."""

from services.contracts.edge.codec import EdgeCodec
from services.contracts.edge.errors import EdgeRecordError
from services.contracts.edge.records import (
    ErasureRequest,
    InteractionEvent,
    Item,
    ModelVersion,
    QualityReport,
    RecommendationList,
    RecommendationRequest,
    RecommendedItem,
)
from services.contracts.edge.registry import Registry, RegistryError
from services.contracts.edge.topics import codec_for, decode_item

__all__ = [
    "EdgeCodec",
    "EdgeRecordError",
    "ErasureRequest",
    "InteractionEvent",
    "Item",
    "ModelVersion",
    "QualityReport",
    "RecommendationList",
    "RecommendationRequest",
    "RecommendedItem",
    "Registry",
    "RegistryError",
    "codec_for",
    "decode_item",
]
