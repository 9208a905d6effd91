"""A run's figures as one plain map: what `--json` writes and the tables show."""

from __future__ import annotations

from typing import Any

import numpy as np

from services.evaluation.metrics import AGES, LENGTHS, by, curve, figures
from services.evaluation.prequential import Result
from services.model.config import ModelConfig
from services.model.layout import GAPS

_SHARES = ("factors", "co-visitation", "transition", "own history", "strictly next", "recent co-visitation", "context")


def _halflife(seconds: float) -> str:
    if not seconds:
        return "popularity, all time"
    hours = seconds / 3600
    return f"popularity, {hours:g} h" if hours < 24 else f"popularity, {hours / 24:g} d"


def expert_names(config: ModelConfig) -> list[str]:
    """Names of the columns of `Result.experts`."""
    popularity = [_halflife(seconds) for seconds in config.halflives_s]
    popularity += [f"popularity {i}" for i in range(len(popularity), 5)]
    return [*popularity, *_SHARES, "mixture"]


def report(result: Result, config: ModelConfig) -> dict[str, Any]:
    """Every figure of a run."""
    rank, n = result.rank, len(result.rank)
    experts = {name: figures(result.experts[:, i]) for i, name in enumerate(expert_names(config))}
    experts["factors, full catalogue"] = figures(result.factors)
    lengths = [(name, result.bucket // GAPS == i) for i, name in enumerate(LENGTHS)]
    ages = [(name, (result.age >= low) & (result.age <= high)) for name, low, high in AGES]
    return {
        "events": n,
        "all": figures(rank),
        "second half": figures(rank[n // 2 :]),
        "experts": {name: one for name, one in experts.items() if one["hr"] > 0},
        "by history length": by(rank, lengths),
        "by earlier events of the item": by(rank, ages),
        "curve": curve(rank),
        "delta bytes per event": result.delta_bytes / n,
        "delta bytes per event by block": {name: size / n for name, size in sorted(result.block_bytes.items())},
        "divergence": float(np.mean(result.divergence)) if result.divergence else 0.0,
        "model": config.to_record(),
    }
