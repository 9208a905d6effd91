"""Making the RecommendationList record of a ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from services.contracts.edge import ModelVersion, RecommendationList, RecommendedItem

Why = Literal["event", "request", "refresh"]


@dataclass(frozen=True, slots=True)
class Learned:
    """The newest event that a user's row has learned from, and the row's version."""

    event_id: str
    event_time_ms: int
    append_time_ms: int
    version: ModelVersion


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why a list is published now."""

    why: Why
    list_id: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """One ranked item, with ids instead of hashes."""

    item_id: str
    score: float
    signal: str
    because: list[str]


def recommendation_list(
    user_id: str,
    occasion: Occasion,
    learned: Learned | None,
    ranked: Sequence[Ranked],
    positions: tuple[Sequence[int], Sequence[float | None]],
    arm: str,
    fallback: str | None,
    now_ms: int,
) -> RecommendationList:
    """Put a list together.

    Args:
        user_id: for whom.
        occasion: why, and under which ids.
        learned: what the user's row has learned from; None for a user without a row.
        ranked: items, best first; at least as many as the positions refer to.
        positions: for each position the index into `ranked` and its propensity when explored (`Explorer.draw`).
        arm: the user's experiment arm.
        fallback: why the full model was not used, or None.
        now_ms: publish time, Unix ms.
    """
    items: list[RecommendedItem] = [
        {
            "item_id": ranked[index].item_id,
            "score": ranked[index].score,
            "rank": rank,
            "signal": ranked[index].signal,
            "because": ranked[index].because,
            "propensity": propensity,
        }
        for rank, (index, propensity) in enumerate(zip(*positions, strict=True), 1)
    ]
    return {
        "list_id": occasion.list_id,
        "user_id": user_id,
        "items": items,
        "learned_event_id": learned.event_id if learned else None,
        "learned_event_time": learned.event_time_ms if learned else None,
        "learned_append_time": learned.append_time_ms if learned else None,
        "published_at": now_ms,
        "latency_ms": now_ms - learned.event_time_ms if learned else None,
        "model": learned.version if learned else None,
        "arm": arm,
        "why": occasion.why,
        "request_id": occasion.request_id,
        "fallback": fallback,
    }
