"""The record that a ranking becomes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.contracts.edge import RecommendationList, codec_for
from services.contracts.edge.binary import array, string
from services.recommendation_publishing.lists import Learned, Occasion, Ranked, recommendation_list

CODEC = codec_for("recommendations")
RANKED = Ranked(
    [string("a"), string("b"), string("c")],
    [3.0, 2.0, 1.0],
    [string("factors"), string("popularity"), string("content")],
    [array([string("x")]), array([]), array([])],
)
ID = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=40)
LONG = st.integers(-(2**62), 2**62)


def read(value: bytes) -> RecommendationList:
    """What a consumer of the topic reads."""
    record: RecommendationList = CODEC.decode(CODEC.header() + value)
    return record


def test_a_list_carries_order_reasons_and_what_it_has_learned() -> None:
    """Ranks count from 1 in the order shown, and the newest learned event dates the list."""
    learned = Learned("event-7", 1000, 1500, {"epoch": 5, "partition": 1, "offset": 42})
    record = read(
        recommendation_list(
            b"ann", Occasion("event", "e1-41"), learned, RANKED, ([0, 2], [None, 0.1]), "control", None, 1800
        )
    )
    assert [(item["item_id"], item["rank"], item["propensity"]) for item in record["items"]] == [
        ("a", 1, None),
        ("c", 2, 0.1),
    ]
    assert record["items"][0]["because"] == ["x"]
    assert (record["learned_event_id"], record["latency_ms"], record["why"]) == ("event-7", 800, "event")


@given(
    user=ID,
    occasion=st.builds(Occasion, st.sampled_from(["event", "request", "refresh"]), ID, st.none() | ID),
    learned=st.none()
    | st.builds(
        Learned,
        ID,
        LONG,
        LONG,
        st.fixed_dictionaries({"epoch": LONG, "partition": st.integers(0, 2**20), "offset": LONG}),
    ),
    items=st.lists(
        st.tuples(
            ID,
            st.floats(allow_nan=False),
            st.sampled_from(["factors", "content"]),
            st.lists(ID, max_size=3),
            st.none() | st.floats(0, 1),
        ),
        max_size=70,
    ),
    arm=ID,
    fallback=st.none() | ID,
    now_ms=LONG,
)
def test_the_bytes_are_those_of_the_codec(
    user: str,
    occasion: Occasion,
    learned: Learned | None,
    items: list[tuple[str, float, str, list[str], float | None]],
    arm: str,
    fallback: str | None,
    now_ms: int,
) -> None:
    """Whatever is in a list, the bytes put together by hand are the ones that Avro's own writer makes of the record."""
    ranked = Ranked(
        [string(name) for name, *_ in items],
        [score for _, score, *_ in items],
        [string(signal) for _, _, signal, *_ in items],
        [array([string(one) for one in earlier]) for *_, earlier, _ in items],
    )
    record: RecommendationList = {
        "list_id": occasion.list_id,
        "user_id": user,
        "items": [
            {
                "item_id": name, "score": score, "rank": rank, "signal": signal, "because": earlier,
                "propensity": propensity,
            }
            for rank, (name, score, signal, earlier, propensity) in enumerate(items, 1)
        ],
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
    }  # fmt: skip
    positions = list(range(len(items))), [propensity for *_, propensity in items]
    made = recommendation_list(user.encode(), occasion, learned, ranked, positions, arm, fallback, now_ms)
    assert CODEC.header() + made == CODEC.encode(record)
