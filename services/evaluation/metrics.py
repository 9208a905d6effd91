"""Figures from ranks: HR@10, NDCG@10 and MRR, overall and by what distinguishes events."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from services.model.arrays import F32

TOP = 10
"""Length of the list that HR and NDCG look at."""
AGES: tuple[tuple[str, float, float], ...] = (
    ("first", 0, 0), ("1-20", 1, 20), ("21-100", 21, 100), ("more", 101, float("inf")),
)  # fmt: skip
"""Buckets of an item's earlier events; 1-20 is protocol B."""
LENGTHS = ("0", "1-2", "3-5", "6-10", "11-20", "21-50", "more")
"""Buckets of a user's history length, as the model has them."""


def figures(rank: F32) -> dict[str, float]:
    """Figures of ranks (1 is best, 0 = missed, negative = not scored, which does not count).

    >>> {name: round(value, 3) for name, value in figures(np.array([1, 3, 0, -1], np.float32)).items()}
    {'events': 3, 'hr': 0.667, 'ndcg': 0.5, 'mrr': 0.444}
    """
    scored = rank[rank >= 0].astype(np.float64)
    if not len(scored):
        return {"events": 0, "hr": 0.0, "ndcg": 0.0, "mrr": 0.0}
    hit = (scored > 0) & (scored <= TOP)
    known = np.maximum(scored, 1.0)
    return {
        "events": len(scored),
        "hr": float(hit.mean()),
        "ndcg": float(np.where(hit, 1.0 / np.log2(1.0 + known), 0.0).mean()),
        "mrr": float(np.where(scored > 0, 1.0 / known, 0.0).mean()),
    }


def by(rank: F32, groups: list[tuple[str, npt.NDArray[np.bool_]]]) -> dict[str, dict[str, float]]:
    """Figures of each group of events that has a scored one."""
    found = {name: figures(rank[mask]) for name, mask in groups}
    return {name: one for name, one in found.items() if one["events"]}


def curve(rank: F32, parts: int = 50) -> list[dict[str, Any]]:
    """HR and NDCG of consecutive stretches of the stream: the learning curve."""
    stretches = np.array_split(np.arange(len(rank)), min(parts, len(rank)))
    return [{"to": int(part[-1]) + 1, **figures(rank[part])} for part in stretches]
