"""The record that a ranking becomes."""

from __future__ import annotations

from services.contracts.edge import codec_for
from services.recommendation_publishing.lists import Learned, Occasion, Ranked, recommendation_list

RANKED = [Ranked("a", 3.0, "factors", ["x"]), Ranked("b", 2.0, "popularity-1d", []), Ranked("c", 1.0, "content", [])]


def test_a_list_carries_order_reasons_and_what_it_has_learned() -> None:
    """Ranks count from 1 in the order shown, and the newest learned event dates the list."""
    learned = Learned("event-7", 1000, 1500, {"epoch": 5, "partition": 1, "offset": 42})
    record = recommendation_list(
        "ann", Occasion("event", "e1-41"), learned, RANKED, ([0, 2], [None, 0.1]), "control", None, 1800
    )
    assert [(item["item_id"], item["rank"], item["propensity"]) for item in record["items"]] == [
        ("a", 1, None),
        ("c", 2, 0.1),
    ]
    assert record["items"][0]["because"] == ["x"]
    assert (record["learned_event_id"], record["latency_ms"], record["why"]) == ("event-7", 800, "event")


def test_every_list_can_be_written_and_read_back() -> None:
    """A list for a user never seen, made on request, survives the topic's encoding."""
    record = recommendation_list(
        "bob", Occasion("request", "r0-3", "q1"), None, RANKED, ([0, 1, 2], [None] * 3), "new", "new-user", 5
    )
    codec = codec_for("recommendations")
    assert codec.decode(codec.encode(record)) == record
