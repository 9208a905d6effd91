"""Judging lists on live events, through the publisher."""

from __future__ import annotations

from services.contracts.edge import codec_for
from services.recommendation_publishing.publisher import QUALITY
from services.runtime.processor import Outputs
from tests.unit.recommendation_publishing.test_publisher import CROWD, a_slice, lists, request, world

EVERY_EVENT = {"quality_sample": 1.0, "quality_interval_s": 1}


def reported(out: Outputs) -> dict[tuple[str, str], float]:
    """{(arm, metric): value} of a step's quality reports."""
    codec = codec_for(QUALITY)
    records = [codec.decode(record.value) for record in out.records if record.topic == QUALITY and record.value]
    return {(record["arm"], record["metric"]): record["value"] for record in records}


def test_an_event_is_judged_with_what_was_known_before_it() -> None:
    """The item that everybody takes, and that this user takes next, counts as a hit of all three."""
    w = world(**EVERY_EVENT)
    popular = [(f"v{n}", "hit") for n in range(30)]
    w.publisher.load(a_slice("user-state", w.learn([*CROWD, *popular, ("ann", "i3")])))
    w.sweep()
    w.step(0)
    w.step(0, rows=w.learn([("ann", "hit")]))
    figures = reported(w.step(2_000))
    for arm in ("learner", "popularity", "frozen"):
        assert figures[arm, "hr_at_10"] == 1.0, arm
    assert figures["popularity", "mrr_at_10"] == 1.0


def test_figures_are_reported_when_nothing_more_comes() -> None:
    """A replica whose input has stopped is woken for its report, and for none after it."""
    w = world(**EVERY_EVENT)
    w.publisher.load(a_slice("user-state", w.learn([*CROWD, ("ann", "i3")])))
    w.sweep()
    w.step(0)
    assert w.publisher.wake_at() is None
    w.step(0, rows=w.learn([("ann", "hit")]))
    while (at := w.publisher.wake_at()) is not None and at < 1_000:
        w.step(at)
    assert at == 1_000
    assert reported(w.step(at))
    assert w.publisher.wake_at() is None


def test_the_figures_are_gauges_too() -> None:
    """What goes to the quality topic stands at the metrics endpoint with the same values, by arm."""
    w = world(**EVERY_EVENT)
    w.publisher.load(a_slice("user-state", w.learn([*CROWD, ("ann", "i3")])))
    w.sweep()
    w.step(0)
    w.step(0, rows=w.learn([("ann", "hit")]))
    out = w.step(2_000)
    figures = reported(out)
    gauges = {(dict(labels).get("arm"), str(name)): value for name, value, labels in out.gauges}
    for arm in ("learner", "popularity", "frozen"):
        assert gauges.pop((arm, "quality_events")) == 1
        for metric in ("hr_at_10", "ndcg_at_10", "mrr_at_10"):
            assert gauges.pop((arm, f"quality_{metric}")) == figures[arm, metric]
    assert gauges == {(None, "quality_fallback"): 0.0}


def test_repeats_of_a_seen_item_and_jumps_are_not_judged() -> None:
    """Where seen items are left out a repeat cannot be hit, and a row that is two events ahead says nothing."""
    w = world(**EVERY_EVENT)
    w.publisher.load(a_slice("user-state", w.learn([*CROWD, ("ann", "i3"), ("bob", "i4")])))
    w.sweep()
    w.step(0)
    w.step(0, rows=w.learn([("ann", "i3"), ("bob", "i5"), ("bob", "i6")]))
    assert reported(w.step(2_000)) == {}


def test_a_learner_below_popularity_is_replaced_and_the_list_says_so() -> None:
    """While the learner is off, lists are popularity's, marked as a fall-back; then it comes back."""
    w = world(**EVERY_EVENT)
    w.publisher.load(a_slice("user-state", w.learn([*CROWD, *[(f"v{n}", "hit") for n in range(30)], ("ann", "i3")])))
    w.sweep()
    w.step(0)
    quality = w.publisher._judge.quality
    for _ in range(400):
        quality.add({"learner": 0, "popularity": 1})
    (record,) = lists(w.step(0, requests=[request("ann")]))
    assert record["fallback"] == "below-popularity"
    assert record["items"][0]["item_id"] == "hit"
    assert {item["signal"] for item in record["items"]} == {"popularity"}
    for _ in range(6000):
        quality.add({"learner": 1, "popularity": 0})
    (record,) = lists(w.step(0, requests=[request("ann")]))
    assert record["fallback"] is None
