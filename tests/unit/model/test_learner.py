"""What a learner takes from a batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.model.config import ModelConfig
from services.model.learner import Learner
from tests.unit.model.simulation import Event, event_batch

CONFIG = ModelConfig(
    item_partitions=1, dim=8, negatives=5, max_items=1000, max_features=10, max_users=1000,
    exclude_seen=False, score_warm_up=0, score_batch_events=20,
)  # fmt: skip


def _taught(config: ModelConfig, count: int) -> float:
    """Events that taught the mixture in a batch of that many, each of which adds responsibilities of 1 in all."""
    learner = Learner(config)
    rng = np.random.default_rng(1)
    events = [Event(int(rng.integers(8)), int(rng.integers(24)), 1_700_000_000_000 + i, 1.0) for i in range(count)]
    # All items are known from a first batch on.
    learner.learn(event_batch(learner, 0, 0, events), 0)
    deltas = learner.learn(event_batch(learner, 0, count, events), 1)
    return float(deltas[0].blocks["pi"].values.sum())


@pytest.mark.parametrize(("count", "low", "high"), [(15, 15, 15), (20, 20, 20), (400, 8, 36)])
def test_a_large_batch_teaches_the_score_by_some_of_its_events(count: int, low: int, high: int) -> None:
    """All events of a small batch teach the mixture, and of a large one about as many as the ceiling."""
    assert low - 0.01 <= _taught(CONFIG, count) <= high + 0.01


def test_without_a_ceiling_every_event_teaches_the_score() -> None:
    """With a ceiling of 0 the size of a batch does not matter."""
    assert _taught(replace(CONFIG, score_batch_events=0), 400) == pytest.approx(400, abs=0.1)
