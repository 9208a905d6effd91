"""What is served against the plain evidence and score of every item."""

from __future__ import annotations

import numpy as np
import pytest

from services.model.config import ModelConfig
from services.model.experts import FEATURES, MIXTURE
from services.model.recommender import Query, Recommender
from tests.unit.model.kernels.plain_ranking import PlainRanking
from tests.unit.model.simulation import Event, World

CONFIG = ModelConfig(
    item_partitions=2, dim=8, history=6, history_kept=12, negatives=20, max_items=200, max_users=200, max_neighbours=24,
    neighbours_read=4, score_warm_up=10_000, context_history=3,
)  # fmt: skip
NOW = 1_700_000_000_000
ITEMS, USERS = 50, 30
EVERYTHING = 4 * ITEMS
"""Places that no list can fill: every expert offers all that it knows."""


@pytest.fixture(scope="module", params=[True, False], ids=["seen left out", "seen listed"])
def world(request: pytest.FixtureRequest) -> World:
    """Users who wander through items in sessions, for two days, in two contexts."""
    config = ModelConfig(**{**CONFIG.to_record(), "halflives_s": CONFIG.halflives_s, "exclude_seen": request.param})
    world, rng = World(config, 1), np.random.default_rng(3)
    for batch in range(12):
        events = []
        for k in range(60):
            user, item = int(rng.integers(USERS)), min(int(rng.zipf(1.3)), ITEMS) - 1
            at = NOW + batch * 14_400_000 + k * 60_000
            events.append(Event(user, (item + user * 3) % ITEMS, at, 1.0, (user % 2, 9)))
        world.learn(0, events)
        world.settle()
    return world


@pytest.mark.parametrize("user", [*range(0, USERS, 4), -1])
def test_what_is_served_has_the_plain_evidence_and_score(world: World, user: int) -> None:
    """Every listed item's columns, shares, score and place are those of the formulas, for users with and without a
    history."""
    learner = world.shards[0].learner
    slot = -1 if user < 0 else learner.users.find(b"user-0-%d" % user)
    now_ms, repeats = NOW + 11 * 14_400_000 + 70 * 60_000, not world.config.exclude_seen
    recommender = Recommender(world.config, learner.replica, learner.users)
    context = np.array([1, 9], np.uint32)
    query = Query(slot, now_ms, EVERYTHING, np.zeros(0, np.uint64), context, world.config.exclude_seen)
    (ranking,) = recommender.recommend([query])
    work, plain = recommender._work, PlainRanking(learner, slot, now_ms // 1000, context.tolist(), repeats)
    assert work is not None
    listed = ranking.items.tolist()
    assert len(listed) > ITEMS // 2
    scores = []
    for item, at in zip(listed, work.order.tolist(), strict=False):
        columns, shares, score = plain.judge(item)
        np.testing.assert_allclose(work.features[at, : len(FEATURES)], columns, rtol=1e-3, atol=2e-4)
        np.testing.assert_allclose(work.shares[at, : len(MIXTURE)], shares, rtol=1e-3, atol=1e-7)
        assert work.scores[at] == pytest.approx(score, abs=2e-3)
        scores.append(score)
    assert (np.diff(scores) < 4e-3).all(), "best first"
    softmax = np.exp(np.array(scores) - max(scores))
    np.testing.assert_allclose(ranking.scores, softmax / softmax.sum(), rtol=2e-2, atol=1e-6)
