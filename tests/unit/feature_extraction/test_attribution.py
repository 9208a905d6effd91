from __future__ import annotations

from typing import Any

from services.contracts.inner import extraction_state
from services.contracts.keys import item_hash
from services.feature_extraction.attribution import Attributions
from services.feature_extraction.served import ListReader
from tests.unit.feature_extraction.driving import HOUR_MS, LIST_CODEC, NOW, list_bytes, served

PARTS = Attributions(window_ms=HOUR_MS, lists=3)
READER = ListReader(LIST_CODEC)


def remembered(*lists: dict[str, Any]) -> list[bytes]:
    """Lists as a user's row holds them."""
    kept: list[bytes] = []
    read = READER.read([list_bytes(record) for record in lists])
    for list_id, body in zip(read.ids, read.bodies, strict=True):
        result = PARTS.remember(kept, list_id, body)
        kept = kept if result is None else result[0]
    return kept


def test_the_newest_list_with_the_item_is_the_cause() -> None:
    """Without a list id, the newest list that holds the item, with rank and latency."""
    kept = remembered(
        served("l1", "ann", "ab", NOW), served("l2", "ann", "cab", NOW + 10), served("l3", "ann", "c", NOW)
    )
    assert PARTS.attribute(kept, None, item_hash("b"), NOW + 500) == {
        "list": "l2",
        "rank": 3,
        "arm": "default",
        "propensity": 1.0,
        "latency_ms": 490,
    }


def test_nothing_is_attributed_outside_the_window() -> None:
    """Neither to a list that is too old, nor to one that came after the event, nor to one without the item."""
    kept = remembered(served("l1", "ann", "ab", NOW))
    assert PARTS.attribute(kept, None, item_hash("a"), NOW + HOUR_MS) is not None
    assert PARTS.attribute(kept, None, item_hash("a"), NOW + HOUR_MS + 1) is None
    assert PARTS.attribute(kept, None, item_hash("a"), NOW - 1) is None
    assert PARTS.attribute(kept, None, item_hash("z"), NOW + 1) is None


def test_a_named_list_is_believed() -> None:
    """An event that names its list is attributed to it, with rank 0 when the list lacks the item."""
    kept = remembered(served("l1", "ann", "ab", NOW, arm="bold"), served("l2", "ann", "ab", NOW))
    found = PARTS.attribute(kept, "l1", item_hash("b"), NOW + 5 * HOUR_MS)
    assert found == {"list": "l1", "rank": 2, "arm": "bold", "propensity": 1.0, "latency_ms": 5 * HOUR_MS}
    other = PARTS.attribute(kept, "l1", item_hash("z"), NOW)
    assert other is not None
    assert (other["rank"], other["propensity"]) == (0, 0.0)


def test_an_unknown_list_keeps_its_name() -> None:
    """A list that is no longer remembered leaves its id, and says that nothing else is known."""
    assert PARTS.attribute([], "old", item_hash("a"), NOW) == {
        "list": "old",
        "rank": 0,
        "arm": "",
        "propensity": 0.0,
        "latency_ms": -1,
    }


def test_explored_positions_carry_their_propensity() -> None:
    """The probability with which an explored item was drawn comes with the event."""
    record = served("l1", "ann", "abc", NOW)
    record["items"][1]["propensity"] = 0.125
    kept = remembered(record)
    found = [PARTS.attribute(kept, None, item_hash(name), NOW) for name in "abc"]
    assert [one and one["propensity"] for one in found] == [1.0, 0.125, 1.0]


def test_lists_are_numbered_bounded_and_kept_once() -> None:
    """The newest lists stay, a list that is read again does not count twice."""
    kept = remembered(*(served(f"l{number}", "ann", "a", NOW) for number in (0, 1, 1, 2, 3, 4)))
    assert [extraction_state.decode_list(one)["k"] for one in kept] == [2, 3, 4]
    assert [extraction_state.decode_list(one)["id"] for one in kept] == ["l2", "l3", "l4"]
