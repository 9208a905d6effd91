"""Publishing as a processor: rows, items and requests in, lists out."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from services.contracts.context import context_features
from services.contracts.edge import codec_for
from services.contracts.inner import item_state, user_state
from services.contracts.keys import item_hash, partition_of
from services.model.config import ModelConfig
from services.model.events import EventBatch, event_seed, ragged
from services.model.learner import Learner
from services.model.owner import ItemOwner
from services.model.recommender import Query
from services.recommendation_publishing.engine import ModelMismatchError
from services.recommendation_publishing.publisher import ERASURES, ITEM_ROWS, ITEMS, LISTS, REQUESTS, ROWS, Publisher
from services.recommendation_publishing.service import processors
from services.recommendation_publishing.settings import PublishingSettings
from services.runtime.processor import Batch, Outputs, Slice

CONFIG = ModelConfig(item_partitions=1, max_items=500, max_features=100, max_users=2000)
_LEARNED_MS = 1_700_000_000_000


def a_slice(topic: str, records: list[tuple[bytes, Any]], start: int = 0) -> Slice:
    """Records of partition 0, at consecutive offsets."""
    n = len(records)
    keys: list[bytes | None] = [key for key, _ in records]
    values = [value for _, value in records]
    return Slice(topic, 0, start, start + n, list(range(start, start + n)), [0] * n, keys, values)


@dataclass
class World:
    """A publisher of one user partition, and the learner that writes its inputs."""

    publisher: Publisher
    learner: Learner = field(default_factory=lambda: Learner(CONFIG))
    owner: ItemOwner = field(default_factory=lambda: ItemOwner(CONFIG, 0))
    offsets: Any = field(default_factory=itertools.count)
    rows_at: int = 0
    batches: int = 0
    sweeps: int = 0

    def learn(self, events: list[tuple[str, str]], context: dict[str, str] | None = None) -> list[tuple[bytes, Any]]:
        """Learn (user, item) pairs, all in one context; returns the user-state records."""
        users = [user.encode() for user, _ in events]
        n = len(events)
        ptr, values = ragged([[] for _ in events])
        around, features = ragged([context_features(_LEARNED_MS, context or {}) for _ in events])
        first = next(self.offsets)
        for _ in range(n - 1):
            next(self.offsets)
        batch = EventBatch(
            user=np.array([self.learner.users.slot(user) for user in users], np.int32),
            item=np.array([item_hash(item) for _, item in events], np.uint64),
            item_id=[item for _, item in events],
            item_partition=np.zeros(n, np.int32),
            t_ms=np.arange(first, first + n) * 1000 + _LEARNED_MS,
            weight=np.ones(n, np.float32),
            value=np.full(n, np.nan, np.float32),
            seed=np.array([event_seed(0, first + i) for i in range(n)], np.uint64),
            content_ptr=ptr,
            content=values,
            context_ptr=around,
            context=features,
        )
        for deltas in self.learner.learn(batch, self.batches).values():
            self.owner.fold(deltas)
        self.batches += 1
        records: list[tuple[bytes, Any]] = []
        for user in dict.fromkeys(users):
            slot = self.learner.users.slot(user)
            row: user_state.UserRow = {
                "v": user_state.VERSION, "p": 0, "o": first + n, "e": 1, "n": 1, "id": f"event-{first + n - 1}",
                "t": 5_000, "ts": 6_000, "b": self.learner.users.dump(np.array([slot]))[0], "pref": b"",
                "seen": self.learner.users.seen_count(slot),
            }  # fmt: skip
            records.append((user, row))
            records += [
                (user_state.seen_key(user, chunk), {"v": user_state.VERSION, "s": hashes})
                for chunk, hashes in self.learner.users.seen_changes(slot)
            ]
        return records

    def sweep(self) -> None:
        """Publish the item rows that changed."""
        self.sweeps += 1
        rows: list[tuple[bytes, Any]] = []
        for change in self.owner.sweep():
            assert change.blocks is not None
            row = {"v": item_state.VERSION, "o": 0, "c": change.count, "slot": change.slot, "b": change.blocks}
            rows.append((change.key.encode(), row))
        clock = {
            "v": item_state.VERSION, "o": self.batches, "folded": {}, "sweep": self.sweeps, "model": CONFIG.to_record()
        }  # fmt: skip
        self.publisher.load(a_slice(ITEM_ROWS, [*rows, (item_state.CLOCK_KEY, clock)]))

    def step(self, now_ms: int, **inputs: list[tuple[bytes, Any]]) -> Outputs:
        """Run one step on user rows, requests and erasures."""
        slices = []
        if "rows" in inputs:
            slices.append(a_slice(ROWS, inputs["rows"], self.rows_at))
            self.rows_at += len(inputs["rows"])
        slices += [
            a_slice(topic, inputs[name])
            for name, topic in (("requests", REQUESTS), ("erasures", ERASURES))
            if name in inputs
        ]
        out = Outputs()
        self.publisher.step(Batch(now_ms, slices), out)
        return out


def lists(out: Outputs) -> list[Any]:
    """The lists of a step, decoded."""
    codec = codec_for(LISTS)
    return [codec.decode(record.value) for record in out.records if record.topic == LISTS and record.value]


def request(user: str, **fields: Any) -> tuple[bytes, Any]:
    """A request as the decoder gives it."""
    whole = {
        "request_id": "q",
        "user_id": user,
        "k": None,
        "exclude": [],
        "context": {},
        "exclude_seen": None,
        **fields,
    }
    return user.encode(), whole


def world(**settings: Any) -> World:
    """A fresh publisher that owns the only user partition."""
    configured = PublishingSettings(user_partitions=1, item_partitions=1, list_size=5, **settings)
    (publisher,) = processors(configured, "shard-0")
    assert isinstance(publisher, Publisher)
    publisher.start(1)
    publisher.open(0)
    publisher.restored(0)
    return World(publisher)


CROWD = [(f"u{n}", f"i{(n * 7 + k) % 12}") for n in range(20) for k in range(4)]


def test_an_event_leads_to_a_list_that_has_learned_from_it() -> None:
    """The list names the newest event, leaves out what was seen, and says why each item is in it."""
    w = world()
    w.publisher.load(a_slice(ROWS, w.learn(CROWD)))
    w.sweep()
    out = w.step(10_000, rows=w.learn([("ann", "i3"), ("ann", "i4")]))
    (record,) = lists(out)
    assert record["user_id"] == "ann"
    assert record["why"] == "event"
    assert (record["learned_event_id"], record["learned_append_time"]) == ("event-81", 6_000)
    items = [item["item_id"] for item in record["items"]]
    assert len(items) == len(set(items)) == 5
    assert not {"i3", "i4"} & set(items)
    assert all(item["signal"] for item in record["items"])
    assert out.positions[ROWS, 0] == w.rows_at


def test_events_before_the_first_sweep_are_owed_their_list() -> None:
    """Nothing is committed past a row whose list could not be made yet, and the list comes with the first clock."""
    w = world()
    out = w.step(0, rows=w.learn([("ann", "i3"), ("bob", "i4")]))
    assert lists(out) == []
    assert out.positions[ROWS, 0] == 0
    w.sweep()
    assert w.publisher.wake_at() is not None
    out = w.step(100)
    assert {record["user_id"] for record in lists(out)} == {"ann", "bob"}
    assert out.positions[ROWS, 0] == w.rows_at


def test_a_request_is_answered_with_its_size_and_without_its_exclusions() -> None:
    """k, exclusions and exclude_seen hold; the answer carries the request's id."""
    w = world()
    w.publisher.load(a_slice(ROWS, w.learn([*CROWD, ("ann", "i3")])))
    w.sweep()
    out = w.step(0, requests=[request("ann", k=9, exclude=["i5", "i6"], exclude_seen=False)])
    (record,) = lists(out)
    assert (record["why"], record["request_id"], record["fallback"]) == ("request", "q", None)
    items = {item["item_id"] for item in record["items"]}
    assert len(items) == 9
    assert not {"i5", "i6"} & items


def test_a_user_never_seen_gets_what_is_popular_now() -> None:
    """A stranger's request falls back to popularity, and the list says so."""
    w = world()
    w.learn([*CROWD, *[(f"v{n}", "i7") for n in range(30)]])
    w.sweep()
    (record,) = lists(w.step(0, requests=[request("stranger")]))
    assert record["fallback"] == "new-user"
    assert record["items"][0]["item_id"] == "i7"
    assert record["model"] is None


def test_a_stranger_gets_what_is_chosen_in_the_context_of_the_request() -> None:
    """A request of a user never seen is answered by what newcomers chose in the context that it brings."""
    w = world()
    for number in range(60):
        region = "ns"[number % 2]
        w.learn([(f"{number}-{i}", f"{region}{i % 9}") for i in range(18)], {"region": region})
    w.sweep()
    for region in "ns":
        asked = request("nobody", k=5, context={"region": region})
        (made,) = lists(w.step(_LEARNED_MS, requests=[asked]))
        assert {item["item_id"][0] for item in made["items"]} == {region}


def test_an_item_without_events_is_recommended_when_nothing_else_is_left() -> None:
    """On the first day there is a catalogue and no event: the catalogue is served."""
    w = world()
    item: dict[str, Any] = {"item_id": "new", "title": "New", "categories": [], "year": None, "available": True}
    w.publisher.load(a_slice(ITEMS, [(b"new", item)]))
    (record,) = lists(w.step(0, requests=[request("ann")]))
    assert [entry["item_id"] for entry in record["items"]] == ["new"]


def announced(item_id: str, category: str) -> tuple[bytes, dict[str, Any]]:
    """A record of the items topic."""
    about = {"item_id": item_id, "title": item_id, "categories": [category], "year": None, "available": True}
    return item_id.encode(), about


def jazz_and_rock(**settings: Any) -> World:
    """Everybody but ann and bob takes everything; ann takes jazz, bob rock; all of it is touched."""
    w = world(**settings)
    w.publisher.load(a_slice(ITEMS, [announced(f"{kind}-{n}", kind) for kind in ("jazz", "rock") for n in range(15)]))
    crowd = [(f"u{n}", f"{kind}-{(n + k) % 15}") for n in range(20) for k in range(5) for kind in ("jazz", "rock")]
    taken = [(user, f"{kind}-{n}") for user, kind in (("ann", "jazz"), ("bob", "rock")) for n in range(4)]
    w.publisher.load(a_slice(ROWS, w.learn([*crowd, *taken])))
    w.sweep()
    return w


def test_an_item_that_was_only_announced_enters_the_lists_of_those_whose_taste_it_fits() -> None:
    """A place in twenty is for an item that nobody has touched, where it fits the user's taste, and only there."""
    w = jazz_and_rock()
    w.publisher.load(a_slice(ITEMS, [announced("brand-new", "jazz")]))
    for_ann, for_bob = lists(w.step(0, requests=[request("ann", k=20), request("bob", k=20)]))
    assert [item["item_id"] for item in for_ann["items"]].index("brand-new") == 19
    assert for_ann["items"][19]["signal"] == "content"
    assert for_ann["items"][18]["score"] >= for_ann["items"][19]["score"] > 0
    assert len(for_bob["items"]) == 20
    assert "brand-new" not in {item["item_id"] for item in for_bob["items"]}


def test_how_many_places_new_items_get_is_a_setting() -> None:
    """With one place in five for new items two of them are in a list of ten, with none there is none."""
    for every, places in ((5, [4, 9]), (0, [])):
        w = jazz_and_rock(new_item_every=every)
        w.publisher.load(a_slice(ITEMS, [announced(f"new-{n}", "jazz") for n in range(3)]))
        (record,) = lists(w.step(0, requests=[request("ann", k=10)]))
        assert [at for at, item in enumerate(record["items"]) if item["item_id"].startswith("new")] == places


def test_an_announced_item_is_listed_only_where_it_may_be() -> None:
    """Neither excluded nor unavailable items get the place, nor one that the user has just taken."""
    w = jazz_and_rock()
    w.publisher.load(a_slice(ITEMS, [announced("brand-new", "jazz")]))
    (record,) = lists(w.step(0, requests=[request("ann", k=20, exclude=["brand-new"])]))
    assert "brand-new" not in {item["item_id"] for item in record["items"]}
    key, about = announced("brand-new", "jazz")
    w.publisher.load(a_slice(ITEMS, [(key, {**about, "available": False})]))
    (record,) = lists(w.step(0, requests=[request("ann", k=20)]))
    assert "brand-new" not in {item["item_id"] for item in record["items"]}
    w.publisher.load(a_slice(ITEMS, [announced("brand-new", "jazz")]))
    out = w.step(10_000, rows=w.learn([("ann", "brand-new")]), requests=[request("ann", k=20)])
    assert all("brand-new" not in {item["item_id"] for item in record["items"]} for record in lists(out))


def test_the_ranker_of_untouched_items_learns_from_first_occurrences() -> None:
    """A new user row whose newest item was untouched moves the weights; the item's own row is no further lesson."""
    w = jazz_and_rock()
    names = [f"new-{n}" for n in range(60)]
    w.publisher.load(a_slice(ITEMS, [announced(name, ("jazz", "rock")[n % 2]) for n, name in enumerate(names)]))
    w.step(0, requests=[request("ann")])
    cold = w.publisher._engine._catalogue.cold
    before = cold.weights.copy()
    w.step(0, rows=w.learn([("ann", "new-0")]))
    assert cold.waiting == 59
    moved = cold.weights.copy()
    assert (moved != before).any()
    w.sweep()
    assert cold.waiting == 59
    w.step(0, rows=w.learn([("ann", "jazz-9")]))
    assert (cold.weights == moved).all()


def test_a_stranger_gets_trends_and_what_is_like_recent_first_occurrences() -> None:
    """Without history the announced item of the kind that people now begin to take is the one that is listed."""
    w = jazz_and_rock()
    w.step(0)
    for n in range(12):
        w.publisher.load(a_slice(ITEMS, [announced(f"fresh-{n}", "jazz")]))
        w.step(0, rows=w.learn([(f"u{n}", f"fresh-{n}")]))
        w.sweep()
    w.publisher.load(a_slice(ITEMS, [announced(f"last-{kind}", kind) for kind in ("jazz", "rock")]))
    (record,) = lists(w.step(0, requests=[request("stranger", k=20)]))
    listed = [item["item_id"] for item in record["items"]]
    assert listed[19] == "last-jazz"
    assert "last-rock" not in listed


def test_with_nothing_to_recommend_a_request_still_gets_an_answer() -> None:
    """An empty list with its reason is better than silence."""
    (record,) = lists(world().step(0, requests=[request("ann")]))
    assert (record["items"], record["fallback"]) == ([], "empty-catalogue")


def test_unavailable_and_deleted_items_are_not_recommended() -> None:
    """With a catalogue, an item that is unavailable or not in it any more never shows, however popular."""
    w = world()
    w.learn([*CROWD, *[(f"v{n}", "i7") for n in range(30)]])
    w.sweep()
    about: dict[str, Any] = {"title": "", "categories": [], "year": None, "available": True}
    everything = [(f"i{n}".encode(), {**about, "item_id": f"i{n}", "available": n != 7}) for n in range(12)]
    w.publisher.load(a_slice(ITEMS, [*everything, (b"i1", None)]))
    (record,) = lists(w.step(0, requests=[request("stranger", k=20)]))
    assert {item["item_id"] for item in record["items"]} == {f"i{n}" for n in range(12)} - {"i7", "i1"}


def test_an_erased_user_is_withdrawn_and_forgotten() -> None:
    """The erasure withdraws the list; so does the shard's own deletion, which may come later."""
    w = world()
    w.publisher.load(a_slice(ROWS, w.learn([*CROWD, ("ann", "i3")])))
    w.sweep()
    out = w.step(0, erasures=[(b"ann", {"request_id": None, "user_id": "ann", "requested_at": None})])
    assert [(record.key, record.value) for record in out.records if record.topic == LISTS] == [(b"ann", None)]
    late = w.step(10_000, rows=[*w.learn([("ann", "i4")]), (b"ann", None)])
    assert [record.value for record in late.records if record.topic == LISTS] == [None]
    (record,) = lists(w.step(20_000, requests=[request("ann")]))
    assert record["fallback"] == "new-user"


def test_a_request_in_another_partition_is_handed_on() -> None:
    """A producer that partitions otherwise still gets its answer: from the partition that holds the row."""
    settings = PublishingSettings(user_partitions=8, item_partitions=1)
    (publisher,) = processors(settings, "shard-0")
    publisher.start(1)
    publisher.open(0)
    user = next(f"u{n}" for n in range(100) if partition_of(f"u{n}".encode(), 8) != 0)
    out = Outputs()
    publisher.step(Batch(0, [a_slice(REQUESTS, [request(user)])]), out)
    (record,) = out.records
    assert (record.topic, record.key, record.partition) == (REQUESTS, user.encode(), None)
    assert record.value is not None
    assert codec_for(REQUESTS).decode(record.value)["user_id"] == user


def test_a_row_behind_the_restored_one_changes_nothing_but_is_owed_a_list() -> None:
    """After a restart the log is read again from the committed position: the newest row wins, the list is made."""
    w = world()
    old = w.learn([*CROWD, ("ann", "i3")])[-2:]
    new = w.learn([("ann", "i4")])
    w.publisher.load(a_slice(ROWS, [*old, *new]))
    w.sweep()
    (record,) = lists(w.step(0, rows=old))
    assert record["user_id"] == "ann"
    assert record["learned_event_id"] == new[0][1]["id"]


def test_a_closed_partition_leaves_nothing_behind() -> None:
    """The users of a partition that moved away are strangers here."""
    w = world()
    w.publisher.load(a_slice(ROWS, w.learn([*CROWD, ("ann", "i3")])))
    w.sweep()
    w.step(0)
    w.publisher.close(0)
    w.publisher.open(0)
    (record,) = lists(w.step(0, requests=[request("ann")]))
    assert record["fallback"] == "new-user"


def test_item_shards_that_disagree_on_the_model_stop_the_service() -> None:
    """A list from rows of two layouts would be nonsense: the error says what to do."""
    w = world()
    w.learn(CROWD)
    w.sweep()
    other = {"v": 1, "o": 9, "folded": {}, "sweep": 9, "model": {**CONFIG.to_record(), "dim": 64}}
    with pytest.raises(ModelMismatchError, match=r"dim.*same settings"):
        w.publisher.load(a_slice(ITEM_ROWS, [(item_state.CLOCK_KEY, other)]))


def test_lists_of_a_replay_are_made_as_of_its_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decays and gaps are taken at the time of the newest event that was learned, however long ago it happened."""
    w = world()
    year_ms, appended_ms = 365 * 86_400_000, _LEARNED_MS + 365 * 86_400_000
    old = {"t": appended_ms - year_ms, "ts": appended_ms}
    rows = [(key, {**row, **old} if "b" in row else row) for key, row in w.learn(CROWD)]
    w.sweep()
    asked: list[int] = []
    rank = w.publisher._engine.rank

    def noted(queries: list[Query], **more: Any) -> Any:
        asked.extend(query.now_ms for query in queries)
        return rank(queries, **more)

    monkeypatch.setattr(w.publisher._engine, "rank", noted)
    assert lists(w.step(appended_ms + 700, rows=rows))
    assert set(asked) == {appended_ms - year_ms + 700}
