from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.inner import extraction_state, features
from services.contracts.inner.weights import WEIGHTS_KEY
from services.contracts.keys import category_feature, item_hash
from services.feature_extraction.processor import ITEMS, LISTS
from services.feature_extraction.settings import ExtractionSettings
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

USERS = ["ann", "bob", "cid", "dee"]


def settings(**changed: Any) -> ExtractionSettings:
    """Settings for as many partitions as the driver has."""
    return ExtractionSettings(user_partitions=PARTITIONS, **changed)


@st.composite
def logs(draw: st.DrawFn) -> list[list[tuple[int, bytes, Any]]]:
    """Interactions of every partition, some in the wrong one, of few users, items, ids and types, out of order."""
    rows: list[list[tuple[int, bytes, Any]]] = [[] for _ in range(PARTITIONS)]
    appended = NOW
    for _ in range(draw(st.integers(0, 60))):
        appended += draw(st.sampled_from([0, 1000, 20 * MINUTE_MS, HOUR_MS, 3 * DAY_MS, 40 * DAY_MS]))
        user = draw(st.sampled_from(USERS))
        behind = draw(st.sampled_from([None, 0, 1000, HOUR_MS, 2 * DAY_MS, -HOUR_MS, 2**60]))
        made = event(
            user,
            draw(st.sampled_from("abcd")),
            event_id=draw(st.sampled_from([None, None, "1", "2", "3", "4", "5", "6"])),
            type=draw(st.sampled_from(["view", "impression", "impression", "rating", "dislike"])),
            value=draw(st.sampled_from([None, 1.0, 4.0, 5.0])),
            event_time=None if behind is None else appended - behind,
            session_id=draw(st.sampled_from([None, None, "s", "t"])),
            context=draw(st.sampled_from([{}, {"device": "phone"}])),
            list_id=draw(st.sampled_from([None, None, "list"])),
        )
        partition = home(user) if draw(st.integers(0, 9)) else draw(st.integers(0, PARTITIONS - 1))
        rows[partition].append((appended, user.encode(), CODEC.encode(made)))
    return rows


def play(rows: list[list[tuple[int, bytes, Any]]], cuts: list[int], restarts: bool, **changed: Any) -> Driver:
    """Run a log in batches whose sizes are `cuts` in turn; with a restore between them when asked."""
    driver = Driver(settings(**changed))
    driver.describe(item("a", "Drama"), item("b", "Drama", "Crime"), item("c", "War"))
    done, turn = [0] * PARTITIONS, 0
    # A zero lets a partition wait, and the one puts an end to it.
    cuts = [*cuts, 1]
    while any(done[p] < len(rows[p]) for p in range(PARTITIONS)):
        slices = []
        for partition in range(PARTITIONS):
            size = cuts[(turn + turn // len(cuts)) % len(cuts)]
            turn += 1
            slices.append(
                slice_of("interactions", partition, done[partition], rows[partition][done[partition] :][:size])
            )
            done[partition] += len(slices[-1].offsets)
        driver.step(*slices)
        if restarts:
            driver.restart(checkpoint=turn % 3 == 0)
    return driver


def without_epoch(driver: Driver) -> list[dict[bytes, Any]]:
    """The compacted state topic, rows decoded, less what names the incarnation."""
    out = []
    for records in driver.state.values():
        decoded: dict[bytes, Any] = {}
        for key, value in records.items():
            if extraction_state.split_key(key)[1] == "row":
                decoded[key] = {**extraction_state.decode_row(value), "e": 0}
            else:
                decoded[key] = value
        out.append(decoded)
    return out


BOUNDS = st.sampled_from(
    [
        {},
        {"dedup_events": 16, "impressions_pending": 2, "preference_size": 1},
        {"extraction_max_users": 4, "extraction_idle_days": 30},
    ]
)


@given(logs(), st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any), st.booleans(), BOUNDS)
def test_any_batching_and_restore_gives_the_same(
    rows: list[list[tuple[int, bytes, Any]]], cuts: list[int], restarts: bool, bounds: dict[str, Any]
) -> None:
    """However a log is cut into steps, and whether the state is restored between them, features and rows are equal."""
    one = play(rows, [1000], restarts=False, **bounds)
    other = play(rows, cuts, restarts, **bounds)
    assert other.written == one.written
    # What has been idle for too long may still be there, or be gone: no event can tell.
    if not bounds.get("extraction_idle_days"):
        assert without_epoch(other) == without_epoch(one)


@given(logs(), st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any))
def test_every_interaction_is_accounted_for_exactly_once(
    rows: list[list[tuple[int, bytes, Any]]], cuts: list[int]
) -> None:
    """Seals tile each partition, and each offset is one feature, or named once as what else it was; all are counted."""
    driver = play(rows, cuts, restarts=False)
    for fate in ("dup", "late", "dead", "moved"):
        assert driver.fates[fate] == sum(len(seal[fate]) for seal in driver.seals)
    assert driver.fates["accepted"] == sum(seal["n"] for seal in driver.seals)
    for partition in range(PARTITIONS):
        seals = [seal for seal in driver.seals if seal["partition"] == partition]
        accounted = [one["src"][1] for one in driver.written[partition] if one["kind"] == "event"]
        assert sum(seal["n"] for seal in seals) == len(accounted)
        position = 0
        for seal in seals:
            assert seal["range"][0] == position
            position = seal["range"][1]
            named = [*seal["dup"], *seal["late"], *seal["dead"], *seal["moved"]]
            assert all(seal["range"][0] <= offset < seal["range"][1] for offset in named)
            accounted += named
        assert position == len(rows[partition])
        assert sorted(accounted) == list(range(position))


@given(logs(), st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_what_is_held_is_what_the_topic_holds(rows: list[list[tuple[int, bytes, Any]]], cuts: list[int]) -> None:
    """After every step a restore from the topic gives the rows that are in memory, in the same order."""
    driver = play(rows, cuts, restarts=False, dedup_events=16)
    held = driver.restored()
    driver.restart()
    assert driver.restored() == held


def test_a_feature_has_everything_that_was_computed() -> None:
    """One event gives one complete record, in its user's partition, under its user's key."""
    driver = Driver()
    driver.describe(item("a", "Drama"))
    driver.interact(event("ann", "a", event_id="e1", type="rating", value=4.0, event_time=NOW), at=NOW + 5)
    driver.interact(event("ann", "a", event_time=NOW + 1000), at=NOW + 1005)
    first, second = driver.of("ann")
    assert first | {"ctx": []} == {
        "v": 1,
        "kind": "event",
        "src": [home("ann"), 0],
        "user": "ann",
        "item": "a",
        "ih": item_hash("a"),
        "id": "e1",
        "type": "rating",
        "value": 4.0,
        "t": NOW,
        "ts": NOW + 5,
        "w": 1.0,
        "session": [0, 0, -1],
        "ctx": [],
        "content": driver.of("ann")[1]["content"],
        "pref": b"",
    }
    assert second["id"] == f"{home('ann')}@1"
    assert second["session"] == [0, 1, 1000]
    assert features.unpack_preference(second["pref"])[0][0] == category_feature("Drama")


def test_repeats_are_dropped_across_batches_and_restores() -> None:
    """An event id counts once, also when the repeat comes after a restart."""
    driver = Driver()
    driver.interact(event(event_id="x", event_time=NOW), event(event_id="x", event_time=NOW), together=True)
    driver.restart()
    driver.interact(event(event_id="x", event_time=NOW), event(event_id="y", event_time=NOW))
    assert [one["id"] for one in driver.of("ann")] == ["x", "y"]
    assert [seal["dup"] for seal in driver.seals] == [[1], [2], []]


def test_repeats_are_dropped_over_a_whole_window() -> None:
    """All of the newest event ids are remembered, in chunks of their own, through a restart."""
    driver = Driver()
    ids = [event(event_id=str(number), event_time=NOW + number) for number in range(140)]
    driver.interact(*ids)
    driver.restart()
    driver.interact(*ids[12:], together=True)
    assert driver.seals[-1]["n"] == 0
    assert len(driver.seals[-1]["dup"]) == 128
    parts = [extraction_state.split_key(key)[1] for key in driver.state[home("ann")]]
    assert sorted(parts) == ["row", *["window"] * 8]


def test_late_events_are_counted_and_not_learned() -> None:
    """An event far behind its user's newest one is named in the seal; a user's own old past is not late."""
    driver = Driver()
    driver.interact(
        event(event_time=NOW), event(event_time=NOW - 2 * DAY_MS), event("ann", "b", event_time=NOW - HOUR_MS)
    )
    assert [seal["late"] for seal in driver.seals] == [[], [1], []]
    driver.interact(event("bob", event_time=NOW - 900 * DAY_MS), at=NOW)
    assert len(driver.of("bob")) == 1


def test_a_straggler_does_not_turn_back_time() -> None:
    """Lateness is measured from the newest event, not from the last one."""
    driver = Driver()
    driver.interact(
        event(event_time=NOW), event(event_time=NOW - 20 * HOUR_MS), event(event_time=NOW - 30 * HOUR_MS), at=NOW
    )
    assert [seal["late"] for seal in driver.seals] == [[], [], [2]]


def test_deletions_under_impossible_keys_are_ignored() -> None:
    """A null value under a key that is no text stops nothing."""
    driver = Driver()
    driver.processor.load(slice_of(ITEMS, 0, 0, [(0, b"\xff", None)]))
    driver.feed("recommendations", [(NOW, b"\xff", None)], 0)
    assert not any(driver.state.values())


def test_nonsense_is_refused_and_accounted_for() -> None:
    """A time in another unit and a record without value are dead letters, named in the seal with the undecodable."""
    driver = Driver()
    slice_ = slice_of(
        "interactions", home("ann"), 0, [(NOW, b"ann", CODEC.encode(event(event_time=-5))), (NOW, b"ann", None)]
    )
    slice_.end, slice_.dead = 3, [2]
    driver.step(slice_)
    assert [(topic, offset) for topic, _, offset, *_ in driver.dead] == [("interactions", 0), ("interactions", 1)]
    assert driver.seals[0]["dead"] == [0, 1, 2]
    assert not any(driver.state.values())


def test_records_of_others_are_moved_as_they_came() -> None:
    """An interaction in a partition that does not own its user is written again, and left to the owner."""
    driver = Driver()
    wrong = (home("ann") + 1) % PARTITIONS
    as_it_came = b'{"item_id": "a",  "user_id": "ann"}'
    driver.feed("interactions", [(NOW, None, as_it_came)], wrong)
    assert driver.moved == [("interactions", home("ann"), b"ann", as_it_came)]
    assert driver.seals[0]["moved"] == [0]
    assert driver.of("ann") == []


def test_an_erased_user_leaves_nothing() -> None:
    """Rows, window chunks and lists are deleted, the user shard is told, and the user may begin anew."""
    driver = Driver()
    driver.serve("ann", served("l1", "ann", "ab", NOW))
    driver.interact(*(event(event_id=str(number), event_time=NOW) for number in range(40)))
    assert len(driver.state[home("ann")]) == 1 + 2 + 1
    driver.erase("ann")
    assert driver.state[home("ann")] == {}
    assert driver.of("ann")[-1] == {"v": 1, "kind": "erase", "src": [home("ann"), 0], "user": "ann"}
    driver.interact(event(event_id="1", event_time=NOW - 9 * DAY_MS))
    assert driver.of("ann")[-1]["session"] == [0, 0, -1]


def test_an_erasure_takes_the_events_of_its_own_batch_with_it() -> None:
    """What arrives together with an erasure is forgotten too."""
    driver = Driver()
    partition = home("ann")
    request = ({"request_id": None, "user_id": "ann", "requested_at": None}, b"raw")
    driver.step(
        slice_of("erasure-requests", partition, 0, [(NOW, b"ann", request)]),
        slice_of("interactions", partition, 0, [(NOW, b"ann", CODEC.encode(event()))]),
    )
    assert [one["kind"] for one in driver.of("ann")] == ["event", "erase"]
    assert driver.state[partition] == {}


def test_erasures_find_their_partition_and_unknown_users_are_passed_on() -> None:
    """A request in a wrong partition is written again; one for a user without state reaches the user shard too."""
    driver = Driver()
    driver.erase("ann", (home("ann") + 1) % PARTITIONS)
    assert driver.moved == [("erasure-requests", home("ann"), b"ann", b"raw")]
    driver.erase("ann")
    assert [one["kind"] for one in driver.of("ann")] == ["erase"]


def test_rings_that_have_shrunk_are_erased_whole() -> None:
    """Records from larger rings than today's are found and deleted with their user."""
    driver = Driver(settings(dedup_events=128, attribution_lists=3))
    for number in range(3):
        driver.serve("ann", served(f"l{number}", "ann", "a", NOW))
    driver.interact(*(event(event_id=str(number), event_time=NOW) for number in range(100)))
    small = Driver(settings(dedup_events=16, attribution_lists=1), state=driver.state)
    small.erase("ann")
    assert small.state[home("ann")] == {}


def test_the_least_recently_active_make_room() -> None:
    """At the ceiling the user who has been quiet longest is deleted, from the topic too."""
    partition = home("u0")
    users = [user for user in (f"u{number}" for number in range(100)) if home(user) == partition][:4]
    driver = Driver(settings(extraction_max_users=3 * PARTITIONS))
    for turn, user in enumerate([*users[:3], users[0], users[3]]):
        driver.interact(event(user, event_id=str(turn), event_time=NOW + turn))
    assert list(driver.state[partition]) == [user.encode() for user in (users[2], users[0], users[3])]
    driver.restart()
    driver.interact(event(users[1], event_time=NOW + 10))
    assert list(driver.state[partition]) == [user.encode() for user in (users[0], users[3], users[1])]


def test_the_idle_are_forgotten_by_append_time() -> None:
    """A user not heard of for long is deleted when others go on, and starts anew; old event times forget nobody."""
    other = next(user for user in (f"u{number}" for number in range(100)) if home(user) == home("ann"))
    driver = Driver(settings(extraction_idle_days=30))
    driver.interact(event("ann", event_id="1", event_time=NOW - 400 * DAY_MS), at=NOW)
    driver.interact(event(other, event_time=NOW), at=NOW + DAY_MS)
    assert b"ann" in driver.state[home("ann")]
    driver.interact(event(other, event_time=NOW), at=NOW + 31 * DAY_MS)
    assert b"ann" not in driver.state[home("ann")]


def test_events_respond_to_lists_that_were_served() -> None:
    """A served list is remembered through a restart, and an event on one of its items is attributed to it."""
    driver = Driver()
    driver.serve("ann", served("l1", "ann", "ab", NOW))
    driver.restart()
    driver.interact(event("ann", "b", event_time=NOW + 300), event("ann", "z", event_time=NOW + 301))
    assert driver.of("ann")[0]["list"] == {
        "list": "l1",
        "rank": 2,
        "arm": "default",
        "propensity": 1.0,
        "latency_ms": 300,
    }
    assert "list" not in driver.of("ann")[1]


def test_without_lists_only_names_are_attributed() -> None:
    """Where no lists are remembered, nothing is stored of them, and an event that names its list keeps the name."""
    driver = Driver(settings(attribution_lists=0))
    driver.serve("ann", served("l1", "ann", "ab", NOW))
    assert not any(driver.state.values())
    driver.interact(event("ann", "b", event_time=NOW + 300), event("ann", "b", event_time=NOW + 301, list_id="l1"))
    assert ["list" in one for one in driver.of("ann")] == [False, True]


def test_a_withdrawn_list_is_forgotten() -> None:
    """A null list deletes the user's lists, and a user who has done nothing else."""
    driver = Driver()
    driver.serve("ann", served("l1", "ann", "ab", NOW))
    driver.interact(event("ann", "z", event_time=NOW))
    driver.serve("ann", None)
    driver.serve("bob", served("l2", "bob", "ab", NOW))
    driver.serve("bob", None)
    driver.serve("cid", None)
    driver.interact(event("ann", "b", event_time=NOW + 1))
    assert "list" not in driver.of("ann")[-1]
    assert [*driver.state[home("ann")]] == [b"ann"]
    assert b"bob" not in driver.state[home("bob")]


def test_what_is_no_list_is_refused_and_the_others_are_kept() -> None:
    """A list that cannot be read is a dead letter that says why; those around it are remembered."""
    driver = Driver()
    good = [list_bytes(served(f"l{number}", "ann", "ab", NOW)) for number in range(2)]
    values = [good[0], b"poison", None, good[0][:-1], good[1]]
    driver.feed(LISTS, [(NOW, b"ann", value) for value in values], home("ann"))
    assert [(topic, partition, offset, why) for topic, partition, offset, _, why in driver.dead] == [
        ("recommendations", home("ann"), 1, "EdgeRecordError"),
        ("recommendations", home("ann"), 3, "EdgeRecordError"),
    ]
    assert "unknown encoding" in driver.dead[0][3]
    assert driver.seals == []
    kept = [value for key, value in driver.state[home("ann")].items() if key != b"ann"]
    assert [extraction_state.decode_list(value)["id"] for value in kept] == ["l1"]


def test_unanswered_impressions_become_weak_negatives() -> None:
    """Once the wait is over the next event of the user brings them in, before its own record, and an answer cancels."""
    driver = Driver()
    driver.interact(
        event("ann", "a", type="impression", event_id="i1", event_time=NOW),
        event("ann", "b", type="impression", event_id="i2", event_time=NOW),
        event("ann", "b", event_id="e1", event_time=NOW + MINUTE_MS),
        event("ann", "c", event_id="e2", event_time=NOW + 11 * MINUTE_MS),
    )
    records = driver.of("ann")
    assert [(one["kind"], one["id"]) for one in records] == [
        ("event", "i1"),
        ("event", "i2"),
        ("event", "e1"),
        ("implied", "i1"),
        ("event", "e2"),
    ]
    implied = records[3]
    assert (implied["item"], implied["t"], implied["src"]) == ("a", NOW, records[4]["src"])
    assert implied["w"] < 0
    assert records[0]["w"] == 0


def test_weights_change_while_running() -> None:
    """A control record among the items changes the weights of later events, and a null takes the change back."""
    driver = Driver(settings(event_weights="view=0.5"))

    def control(value: Any) -> None:
        driver.processor.load(slice_of(ITEMS, 0, 0, [(0, WEIGHTS_KEY, value)]))

    driver.interact(event(event_time=NOW))
    control({"view": 0.25})
    driver.interact(event(event_time=NOW + 1))
    control(None)
    driver.interact(event(event_time=NOW + 2))
    assert [one["w"] for one in driver.of("ann")] == [0.5, 0.25, 0.5]


@pytest.mark.parametrize("with_id", [True, False])
def test_a_second_reading_at_least_once_repeats_outputs_and_changes_nothing(with_id: bool) -> None:
    """What was accepted is given out again; repeats and late events are named again; rows stay as they are."""
    driver = Driver(settings(delivery="at-least-once"))
    ids = ["1", "2", "1", None] if with_id else [None] * 4
    events = [
        event(event_id=name, event_time=at)
        for name, at in zip(ids, [NOW, NOW + 1, NOW + 2, NOW - 3 * DAY_MS], strict=True)
    ]
    rows = [(NOW + 10, b"ann", CODEC.encode(one)) for one in events]
    driver.feed("interactions", rows, home("ann"))
    before, state = driver.of("ann"), dict(driver.state[home("ann")])
    driver.restart()
    driver.step(slice_of("interactions", home("ann"), 0, rows))
    after = driver.of("ann")[len(before) :]
    assert [one["src"] for one in after] == [one["src"] for one in before]
    assert driver.state[home("ann")] == state
    for name in ("dup", "late"):
        assert driver.seals[0][name] == driver.seals[1][name]


def test_a_second_reading_exactly_once_is_a_duplicate() -> None:
    """Row and feature were committed together: an interaction that the row includes is not given out again."""
    driver = Driver()
    rows = [(NOW, b"ann", CODEC.encode(event(event_time=NOW)))]
    driver.feed("interactions", rows, home("ann"))
    driver.step(slice_of("interactions", home("ann"), 0, rows))
    assert [seal["dup"] for seal in driver.seals] == [[], [0]]


def test_a_topic_made_anew_is_not_taken_for_a_second_reading() -> None:
    """Small offsets with newer append times are new events."""
    driver = Driver()
    driver.interact(*(event(event_time=NOW + number) for number in range(5)))
    driver.step(
        slice_of("interactions", home("ann"), 0, [(NOW + DAY_MS, b"ann", CODEC.encode(event(event_time=NOW + 9)))])
    )
    assert len(driver.of("ann")) == 6
