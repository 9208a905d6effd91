"""The live figures and the decision between learner and popularity."""

from __future__ import annotations

import random

import pytest

from services.recommendation_publishing.quality import Comparison, LiveQuality


def fed(learner: float, popularity: float, events: int, comparison: Comparison | None = None) -> Comparison:
    """A comparison after events on which the two hit with these probabilities."""
    draw = random.Random(7)
    comparison = comparison or Comparison()
    for _ in range(events):
        comparison.add(float(draw.random() < learner) - float(draw.random() < popularity))
    return comparison


def test_a_learner_that_is_worse_is_taken_off_and_comes_back_when_it_draws_level() -> None:
    """Publishing falls back to popularity while the learner is below it, and not longer."""
    comparison = fed(0.05, 0.12, 3000)
    assert comparison.below
    assert fed(0.05, 0.12, 500, comparison).below
    assert not fed(0.2, 0.1, 6000, comparison).below


@pytest.mark.parametrize("rates", [(0.1, 0.1), (0.12, 0.1), (0.0, 0.0)])
def test_chance_does_not_take_a_learner_off_that_is_no_worse(rates: tuple[float, float]) -> None:
    """Equal or better learners stay on."""
    comparison = Comparison()
    draw = random.Random(3)
    for _ in range(5000):
        comparison.add(float(draw.random() < rates[0]) - float(draw.random() < rates[1]))
        assert not comparison.below


def test_a_few_events_decide_nothing() -> None:
    """A bad first minute is no verdict."""
    assert not fed(0.0, 1.0, 200).below


def test_reports_give_the_figures_of_the_interval_by_arm() -> None:
    """Hit rate, NDCG and MRR of learner and shadows, once per interval, then from zero again."""
    quality = LiveQuality("a-0", interval_ms=1000)
    assert list(quality.reports(0)) == []
    assert quality.wake_at() is None
    quality.add({"learner": 1, "popularity": 0, "frozen": 2})
    quality.add({"learner": 0, "popularity": 10, "frozen": 0})
    assert list(quality.reports(999)) == []
    assert quality.wake_at() == 1000
    reports = list(quality.reports(1000))
    figures = {(report["arm"], report["metric"]): report["value"] for report in reports}
    assert figures["learner", "hr_at_10"] == 0.5
    assert figures["learner", "ndcg_at_10"] == 0.5
    assert figures["frozen", "mrr_at_10"] == 0.25
    assert figures["popularity", "hr_at_10"] == 0.5
    assert figures["learner", "learner_below_popularity"] == 0.0
    assert {(report["shard"], report["window_start"], report["window_end"]) for report in reports} == {("a-0", 0, 1000)}
    assert list(quality.reports(5000)) == []
