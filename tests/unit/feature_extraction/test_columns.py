from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.inner import extraction_state as states
from services.contracts.inner.codec import pack
from services.contracts.keys import user_key
from services.feature_extraction import columns
from services.feature_extraction.kernels.batch import sort_out
from services.feature_extraction.processor import INTERACTIONS, LISTS, STATE
from services.feature_extraction.timing import OLDEST_SECONDS
from services.runtime.processor import Batch, Output, Outputs
from tests.unit.feature_extraction.driving import (
    CODEC,
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    NOW,
    PARTITIONS,
    Driver,
    event,
    home,
    item,
    list_bytes,
    served,
    slice_of,
)
from tests.unit.feature_extraction.test_processor import settings

USERS = ["ann", "bob", "Zoë", "日" * 90]
ITEMS = ["a", "b", "c", "unknown", "é" * 40]
Rows = list[tuple[int, bytes, Any]]


def ids() -> st.SearchStrategy[str | None]:
    """Event ids, with repeats."""
    return st.one_of(st.none(), st.integers(0, 60).map(str), st.sampled_from(["", "ü", "x" * 300]))


@st.composite
def events(draw: st.DrawFn, appended: int) -> dict[str, Any]:
    """An interaction as producers send them."""
    behind = draw(
        st.sampled_from([None, 0, 0, 1000, HOUR_MS, 2 * DAY_MS, 3 * DAY_MS, -HOUR_MS, -MINUTE_MS, 2**60, -(2**61)])
    )
    stated = None if behind is None else appended - behind
    return event(
        draw(st.sampled_from(USERS)),
        draw(st.sampled_from(ITEMS)),
        event_id=draw(ids()),
        type=draw(st.sampled_from(["view", "view", "rating", "rating", "dislike", "hide", "odd", "impression"])),
        value=draw(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([1.0, 5.0]))),
        event_time=draw(st.sampled_from([stated, stated, stated, appended // 1000, OLDEST_SECONDS])),
        session_id=draw(st.sampled_from([None, None, "s", "t", "", "ß"])),
        context=draw(st.sampled_from([{}, {}, {"device": "phone"}, {"b": "1", "a": "2", "c": ""}])),
        list_id=draw(st.sampled_from([None, None, None, "list-1", "list-2", "list-9", "l" * 300])),
    )


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[list[Rows], list[Rows]]]:
    """What each step is given: served lists and interactions by partition, some in the wrong one, some damaged."""
    appended, made = NOW, []
    for _ in range(draw(st.integers(1, 4))):
        lists: list[Rows] = [[] for _ in range(PARTITIONS)]
        inputs: list[Rows] = [[] for _ in range(PARTITIONS)]
        for _ in range(draw(st.integers(0, 3))):
            user, number = draw(st.sampled_from(USERS)), draw(st.integers(1, 4))
            record = served(
                f"list-{number}", user, draw(st.lists(st.sampled_from(ITEMS), unique=True)), appended - HOUR_MS // 2
            )
            if record["items"] and draw(st.booleans()):
                record["items"][0]["propensity"] = draw(st.floats(0.1, 1))
            lists[home(user)].append((appended, user_key(user), list_bytes(record)))
        for _ in range(draw(st.integers(0, 60))):
            appended += draw(st.sampled_from([0, 0, 1000, 20 * MINUTE_MS, HOUR_MS, 3 * DAY_MS, 40 * DAY_MS]))
            one = draw(events(appended))
            partition = home(one["user_id"]) if draw(st.integers(0, 19)) else draw(st.integers(0, PARTITIONS - 1))
            good = CODEC.encode(one)
            odd = st.sampled_from([None, b"poison", good[:-1], b'{"user_id": "ann", "item_id": "a"}'])
            value = good if draw(st.integers(0, 19)) else draw(odd)
            inputs[partition].append((appended, user_key(one["user_id"]), value))
        made.append((lists, inputs))
    return made


def play(given: list[tuple[list[Rows], list[Rows]]], **changed: Any) -> list[Outputs]:
    """Everything that each step sends, counts and refuses."""
    driver = Driver(settings(**changed))
    driver.describe(item("a", "Drama"), item("b", "Drama", "Crime"), {**item("c", "War"), "year": 1949, "title": "Sea"})
    positions, outs = [0] * PARTITIONS, []
    for lists, inputs in given:
        slices = [slice_of(LISTS, p, 0, rows) for p, rows in enumerate(lists) if rows]
        for partition, rows in enumerate(inputs):
            slices.append(slice_of(INTERACTIONS, partition, positions[partition], rows))
            positions[partition] = slices[-1].end
        outs.append(Outputs())
        driver.processor.step(Batch(NOW, slices), outs[-1])
    return outs


def ordered(out: Outputs) -> list[Output]:
    """What is sent, with the chunks of windows in the order of their keys: no two are of one user and slot."""
    chunks = [one for one in out.records if one.topic == STATE and states.split_key(one.key or b"")[1] == "window"]
    return [*sorted(chunks), *(one for one in out.records if one not in chunks)]


BOUNDS = st.sampled_from(
    [
        {},
        {"dedup_events": 16, "dedup_span_s": 100 * 86_400, "preference_size": 2},
        {"extraction_max_users": 8, "extraction_idle_days": 30},
        {"delivery": "at-least-once", "allowed_lateness_s": 10 * 86_400},
        {"event_weights": "odd=-0.5,hide=0", "rating_margin": 0.5, "attribution_window_s": 86_400},
    ]
)


@given(steps(), BOUNDS)
def test_columns_are_the_plain_extractor(given: list[tuple[list[Rows], list[Rows]]], bounds: dict[str, Any]) -> None:
    """Whoever takes an interaction, kernels or the plain extractor, the same bytes are written and the same counted."""
    fast = play(given, **bounds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "sort_out", lambda *args: args[2].plain.fill(1))
        plain = play(given, **bounds)
    for one, other in zip(fast, plain, strict=True):
        assert ordered(one) == ordered(other)
        assert sorted(one.dead) == sorted(other.dead)
        assert one.counts == other.counts


def test_ordinary_users_are_not_left_to_the_plain_extractor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of all kinds but impressions, of new and known users, with lists, contexts and ratings, go by column."""
    driver = Driver(settings())
    monkeypatch.setattr(driver.processor, "_plain", lambda *_: pytest.fail("left to the plain extractor"))
    driver.serve("ann", served("list-1", "ann", ["a", "b"], NOW))
    for day in range(3):
        for n in range(20):
            at = NOW + day * DAY_MS + n * MINUTE_MS
            driver.interact(
                event("ann", "a", event_id=f"{day}-{n}", event_time=at, type="rating", value=n % 5, context={"x": "y"}),
                event("ann", "b", event_time=at, session_id="s", list_id="list-1"),
                together=True,
            )
    assert len(driver.of("ann")) == 120


def test_rows_of_other_writers_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row whose fields stand in another order, or with one more, is the plain extractor's; nothing of it is lost."""
    seen: list[int] = []

    def watched(*args: Any) -> None:
        sort_out(*args)
        seen.append(int(args[2].plain.sum()))

    monkeypatch.setattr(columns, "sort_out", watched)
    driver = Driver()
    driver.interact(event("ann", "a", event_id="1", event_time=NOW))
    assert seen == [0]
    row = states.decode_row(driver.state[home("ann")][b"ann"])
    driver.state[home("ann")][b"ann"] = pack({**dict(reversed(row.items())), "new": 1})
    driver.restart()
    driver.interact(event("ann", "a", event_id="1", event_time=NOW), event("ann", "b", event_id="2", event_time=NOW))
    assert seen == [0, 1, 1]
    assert [one["id"] for one in driver.of("ann")] == ["1", "2"]
