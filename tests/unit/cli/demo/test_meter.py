from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.demo.meter import Meter
from services.cli.demo.popularity import Popularity


def _event(number: int, user: str, item: str, kind: str = "view", time_ms: int = 0) -> dict[str, Any]:
    return {"event_id": f"e{number}", "user_id": user, "item_id": item, "type": kind, "event_time": time_ms}


def _list(user: str, learned: str | None, *items: str) -> dict[str, Any]:
    ranked = [{"item_id": item, "rank": rank} for rank, item in enumerate(items, 1)]
    return {"list_id": f"l-{user}-{learned}", "learned_event_id": learned, "items": ranked}


def _send(meter: Meter, event: dict[str, Any], now_s: float = 0.0) -> str | None:
    answered = meter.before(event)
    meter.sent(event, now_s)
    return answered


def test_freshness_is_from_sending_to_reading() -> None:
    """A list settles the event that it names and every earlier one of its user."""
    meter = Meter(k=2)
    _send(meter, _event(1, "u", "a"), 10.0)
    _send(meter, _event(2, "u", "b"), 10.5)
    _send(meter, _event(3, "u", "c"), 10.9)
    _send(meter, _event(4, "w", "c"), 10.9)
    meter.received("u", _list("u", "e2", "x"), 11.0)
    snapshot = meter.snapshot()
    assert snapshot.waiting == 2
    assert snapshot.freshness_ms["n"] == 2
    assert snapshot.freshness_ms["p50"] == pytest.approx(750)


def test_lists_that_learned_nothing_new_settle_nothing() -> None:
    """A list on request, or one that names an event settled before, does not count."""
    meter = Meter(k=2)
    _send(meter, _event(1, "u", "a"), 1.0)
    meter.received("u", _list("u", None, "x"), 2.0)
    meter.received("u", _list("u", "e0", "x"), 2.0)
    assert meter.snapshot().waiting == 1
    meter.received("u", _list("u", "e1", "x"), 3.0)
    meter.received("u", _list("u", "e1", "x"), 4.0)
    assert meter.snapshot().freshness_ms["n"] == 1


def test_impressions_are_not_waited_for() -> None:
    """An impression is sent and settled, but is neither fresh nor waiting."""
    meter = Meter(k=2)
    _send(meter, _event(1, "u", "a", "impression"), 1.0)
    assert meter.snapshot().waiting == 0
    meter.received("u", _list("u", "e1", "x"), 2.0)
    assert meter.snapshot().freshness_ms == {"n": 0.0}


def test_hits_are_prequential() -> None:
    """An event is scored against the list that came before it, and against what was popular before it."""
    meter = Meter(k=1)
    _send(meter, _event(1, "w", "popular"))
    _send(meter, _event(2, "u", "first"))
    assert meter.snapshot().scored == 0, "no list yet: nothing to compare"
    meter.received("u", _list("u", "e2", "right", "second"), 1.0)
    assert _send(meter, _event(3, "u", "right")) == "l-u-e2"
    assert _send(meter, _event(4, "u", "popular")) is None
    assert _send(meter, _event(5, "u", "second")) == "l-u-e2", "in the list, below k"
    snapshot = meter.snapshot()
    assert (snapshot.scored, snapshot.hits, snapshot.popularity_hits) == (3, 1, 1)
    assert snapshot.hit_rate == pytest.approx(1 / 3)


def test_only_new_items_are_scored() -> None:
    """An item that the user has seen is not scored, unless repeats are."""
    for exclude, scored in ((True, 0), (False, 1)):
        meter = Meter(k=1, exclude_seen=exclude)
        _send(meter, _event(1, "u", "a"))
        meter.received("u", _list("u", "e1", "a"), 1.0)
        _send(meter, _event(2, "u", "a"))
        assert meter.snapshot().scored == scored


@pytest.mark.parametrize("kind", ["impression", "dislike", "hide"])
def test_what_is_no_choice_is_not_scored(kind: str) -> None:
    """Impressions and rejections are no hits."""
    meter = Meter(k=1)
    meter.received("u", _list("u", None, "a"), 1.0)
    _send(meter, _event(1, "u", "a", kind))
    assert meter.snapshot().scored == 0


def test_withdrawn_list_is_forgotten() -> None:
    """A null value takes the user's list away."""
    meter = Meter(k=1)
    meter.received("u", _list("u", None, "a"), 1.0)
    meter.received("u", None, 2.0)
    assert meter.lists == {}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 10**9)), min_size=1, max_size=60), st.integers(1, 6))
def test_popularity_is_the_decayed_count(events: list[tuple[int, int]], k: int) -> None:
    """The top list is that of counts that halve every half-life, computed the plain way."""
    half_life_ms, popularity = 1_000_000.0, Popularity(1_000_000.0)
    events = sorted(events, key=lambda event: event[1])
    for item, time_ms in events:
        popularity.add(str(item), time_ms)
    end = events[-1][1]
    plain: dict[str, float] = {}
    for item, time_ms in events:
        plain[str(item)] = plain.get(str(item), 0.0) + 2.0 ** ((time_ms - end) / half_life_ms)
    found = popularity.top(k, set(), stale=1)
    assert len(found) == min(k, len(plain))
    weights = sorted(plain.values(), reverse=True)
    assert [plain[item] for item in found] == pytest.approx(weights[: len(found)], abs=1e-12)


def test_popularity_leaves_out_what_it_is_told_to() -> None:
    """Items in `without` are passed over."""
    popularity = Popularity(1000.0)
    for item in ("a", "a", "a", "b", "b", "c"):
        popularity.add(item, 0)
    assert popularity.top(2, {"a"}) == ["b", "c"]
