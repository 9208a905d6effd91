"""The records that rankings become."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.edge import RecommendationList, RecommendedItem, codec_for
from services.contracts.keys import item_hash
from services.model.arena import HashIndex, list_pool, lists_set, pointers
from services.model.experts import NAMES
from services.model.kernels.serving import REASONS
from services.model.names import key_words
from services.recommendation_publishing.avro import Entries, Ids, ids_of, item_arrays, long_rows
from services.recommendation_publishing.lists import Learned, Occasion, recommendation_lists

CODEC = codec_for("recommendations")
ID = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=40)
LONG = st.integers(-(2**61), 2**61)
INT64 = st.integers(-(2**63), 2**63 - 1)


class Item(NamedTuple):
    """What a list says of an item."""

    item_id: str
    score: float
    signal: int
    because: list[str]
    propensity: float | None


class Made(NamedTuple):
    """One list, as the arguments of what makes it."""

    user: str
    occasion: Occasion
    items: list[Item]
    event_id: str | None
    """None for a user without a row."""
    event_ms: int
    append_ms: int
    version: tuple[int, int, int]
    arm: str
    fallback: str | None


ITEM = st.builds(
    Item,
    ID,
    st.floats(allow_nan=False),
    st.integers(0, len(NAMES) - 1),
    st.lists(ID, max_size=REASONS),
    st.none() | st.floats(0, 1),
)
MADE = st.builds(
    Made,
    ID,
    st.builds(Occasion, st.sampled_from(["event", "request", "refresh"]), ID, st.none() | ID),
    st.lists(ITEM, max_size=70),
    st.none() | ID,
    LONG,
    LONG,
    st.tuples(LONG, st.integers(0, 2**20), LONG),
    ID,
    st.none() | ID,
)


def some_ids(names: Sequence[str]) -> Ids:
    """The ids of these items and of no others."""
    index, pool = HashIndex(), list_pool(len(names) + 1, 64, np.uint32, 0)
    for slot, name in enumerate(names, 1):
        words, at = key_words(name.encode()), np.array([slot], np.int64)
        index.insert(np.array([item_hash(name)], np.uint64), at)
        lists_set(pool, at, pointers([len(words)]), words)
    return ids_of(index, pool)


def columns(lists: Sequence[Sequence[Item]]) -> Entries:
    """Items of lists side by side."""
    items = [item for one in lists for item in one]
    hashes = np.zeros((len(items), 1 + REASONS), np.uint64)
    for row, item in zip(hashes, items, strict=True):
        names = [item.item_id, *item.because]
        row[: len(names)] = [item_hash(name) for name in names]
    return Entries(
        pointers([len(one) for one in lists]),
        hashes,
        np.array([item.score for item in items], np.float64),
        np.array([item.signal for item in items], np.uint8),
        np.array([np.nan if item.propensity is None else item.propensity for item in items], np.float64),
    )


def known(ids: Ids, lists: Sequence[Sequence[Item]]) -> list[bytes]:
    """The items' bytes where all ids are in one place."""
    return item_arrays(ids, some_ids([]), columns(lists))


def written(made: Sequence[Made], items: Sequence[bytes], now_ms: int) -> list[bytes]:
    """The records' bytes, as publishing writes them."""
    learned = Learned(
        np.array([-1 if one.event_id is None else 0 for one in made], np.int64),
        [one.event_id or "" for one in made],
        np.array([one.event_ms for one in made], np.int64),
        np.array([one.append_ms for one in made], np.int64),
        np.array([one.version for one in made], np.int64).reshape(-1, 3),
    )
    users = [one.user.encode() for one in made]
    arms, fallbacks = [one.arm for one in made], [one.fallback for one in made]
    occasions = [one.occasion for one in made]
    records = recommendation_lists(users, occasions, learned, items, arms, fallbacks, now_ms)
    return [CODEC.header() + record for record in records]


def plain_items(items: Sequence[Item]) -> list[RecommendedItem]:
    """The items of a record."""
    return [
        {
            "item_id": item.item_id, "score": item.score, "rank": rank, "signal": NAMES[item.signal],
            "because": item.because, "propensity": item.propensity,
        }
        for rank, item in enumerate(items, 1)
    ]  # fmt: skip


def plain(made: Made, now_ms: int) -> RecommendationList:
    """The record."""
    learned = made.event_id is not None
    epoch, partition, offset = made.version
    return {
        "list_id": made.occasion.list_id,
        "user_id": made.user,
        "items": plain_items(made.items),
        "learned_event_id": made.event_id,
        "learned_event_time": made.event_ms if learned else None,
        "learned_append_time": made.append_ms if learned else None,
        "published_at": now_ms,
        "latency_ms": now_ms - made.event_ms if learned else None,
        "model": {"epoch": epoch, "partition": partition, "offset": offset} if learned else None,
        "arm": made.arm,
        "why": made.occasion.why,
        "request_id": made.occasion.request_id,
        "fallback": made.fallback,
    }


def test_a_list_carries_order_reasons_and_what_it_has_learned() -> None:
    """Ranks count from 1 in the order shown, and the newest learned event dates the list."""
    items = [Item("a", 3.0, NAMES.index("factors"), ["x"], None), Item("c", 1.0, NAMES.index("content"), [], 0.1)]
    made = Made("ann", Occasion("event", "e1-41"), items, "event-7", 1000, 1500, (5, 1, 42), "control", None)
    (value,) = written([made], known(some_ids(["x", "a", "b", "c"]), [items]), 1800)
    record = cast(RecommendationList, CODEC.decode(value))
    assert [(item["item_id"], item["rank"], item["propensity"]) for item in record["items"]] == [
        ("a", 1, None),
        ("c", 2, 0.1),
    ]
    assert record["items"][0]["because"] == ["x"]
    assert record["items"][0]["signal"] == "factors"
    assert (record["learned_event_id"], record["latency_ms"], record["why"]) == ("event-7", 800, "event")
    assert record["model"] == {"epoch": 5, "partition": 1, "offset": 42}


@given(st.lists(MADE, max_size=6), LONG, st.randoms(use_true_random=False))
def test_the_bytes_are_those_of_the_codec(made: list[Made], now_ms: int, random: Random) -> None:
    """Whatever is in the lists of a step, and wherever the ids stand, the bytes are those that Avro's own writer makes
    of the records."""
    names = sorted({name for one in made for item in one.items for name in (item.item_id, *item.because)})
    with_rows = [name for name in names if random.random() < 0.5]
    ids = some_ids(with_rows), some_ids([name for name in names if name not in with_rows])
    items = item_arrays(*ids, columns([one.items for one in made]))
    assert written(made, items, now_ms) == [CODEC.encode(plain(one, now_ms)) for one in made]


@given(ITEM, st.sets(st.integers(0, REASONS - 1)))
def test_a_reason_that_nobody_knows_is_left_out(item: Item, lost: set[int]) -> None:
    """An earlier item whose row is gone, and which the catalogue does not list, is no reason; the others stay."""
    gone = {name for r, name in enumerate(item.because) if r in lost} - {item.item_id}
    rest = item._replace(because=[name for name in item.because if name not in gone])
    ids = some_ids([item.item_id, *rest.because])
    assert known(ids, [[item]]) == known(ids, [[rest]])


def test_an_item_without_an_id_is_not_listed_in_silence() -> None:
    """A listed item that neither the rows nor the catalogue know is an error that names its hash."""
    with pytest.raises(LookupError, match=str(item_hash("gone"))):
        known(some_ids(["a"]), [[Item("gone", 1.0, 0, [], None)]])


@given(st.lists(st.tuples(INT64, INT64), max_size=20))
def test_rows_of_longs_are_those_of_the_plain_rule(rows: list[tuple[int, int]]) -> None:
    """Every 64-bit number has the bytes that the specification says: zigzag, then seven bits a byte, lowest first."""

    def plain_long(value: int) -> bytes:
        rest = 2 * value if value >= 0 else -2 * value - 1
        digits = [rest & 0x7F]
        while rest := rest >> 7:
            digits.append(rest & 0x7F)
        return bytes([*(digit | 0x80 for digit in digits[:-1]), digits[-1]])

    assert long_rows(np.array(rows, np.int64).reshape(-1, 2)) == [plain_long(a) + plain_long(b) for a, b in rows]
