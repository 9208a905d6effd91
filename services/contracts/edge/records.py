"""The edge records as Python sees them: one TypedDict per schema, every field present.

The meaning, unit and default of each field stand in `schemas/<record>.avsc`; a test compares.
"""

from __future__ import annotations

from typing import TypedDict


class InteractionEvent(TypedDict):
    """Something a user did to an item. Topic interactions."""

    event_id: str | None
    user_id: str
    item_id: str
    type: str
    value: float | None
    event_time: int | None
    session_id: str | None
    context: dict[str, str]
    list_id: str | None


class Item(TypedDict):
    """What is known of an item. Topic items."""

    item_id: str
    title: str
    categories: list[str]
    year: int | None
    attributes: dict[str, str]
    available: bool
    created_at: int | None


class RecommendationRequest(TypedDict):
    """Asks for a list now. Topic recommendation-requests."""

    request_id: str | None
    user_id: str
    k: int | None
    exclude: list[str]
    context: dict[str, str]
    exclude_seen: bool | None


class ErasureRequest(TypedDict):
    """Forget a user. Topic erasure-requests."""

    request_id: str | None
    user_id: str
    requested_at: int | None


class RecommendedItem(TypedDict):
    """One position of a list."""

    item_id: str
    score: float
    rank: int
    signal: str
    because: list[str]
    propensity: float | None


class ModelVersion(TypedDict):
    """A position in the features log that the model had learned up to."""

    epoch: int
    partition: int
    offset: int


class RecommendationList(TypedDict):
    """The items recommended to a user at a moment. Topic recommendations."""

    list_id: str
    user_id: str
    items: list[RecommendedItem]
    learned_event_id: str | None
    learned_event_time: int | None
    learned_append_time: int | None
    published_at: int
    latency_ms: int | None
    model: ModelVersion | None
    arm: str
    why: str
    request_id: str | None
    fallback: str | None


class QualityReport(TypedDict):
    """One measured figure of one window. Topic quality."""

    metric: str
    value: float
    events: int
    window_start: int | None
    window_end: int
    service: str
    shard: str
    arm: str
    dimensions: dict[str, str]
