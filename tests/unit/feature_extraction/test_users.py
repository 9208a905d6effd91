from __future__ import annotations

from services.contracts.inner import extraction_state as states
from services.feature_extraction.dedup import CHUNK_BYTES, DedupWindow
from services.feature_extraction.users import User, UserTable
from tests.unit.feature_extraction.driving import DAY_MS, new_row


def table(ceiling: int = 3) -> UserTable:
    """A table with rings of two chunks and two lists."""
    return UserTable(ceiling, DedupWindow(events=32, span_ms=DAY_MS), lists=2)


def row(**fields: int) -> bytes:
    """An encoded row."""
    return states.encode(new_row() | fields)  # type: ignore[arg-type]  # a TypedDict loses its name in |


def test_those_longest_quiet_make_room() -> None:
    """At the ceiling the user touched longest ago is handed back."""
    users = table()
    for name in ("a", "b", "c"):
        assert users.add(name, User()) == []
    users.touch("a")
    assert [name for name, _ in users.add("d", User())] == ["b"]
    assert len(users) == 3
    assert users.find("b") is None


def test_a_restore_takes_the_order_of_the_rows() -> None:
    """Recency is where the row stands in the topic, wherever the ring records stand."""
    users = table()
    users.load(states.window_key(b"b", 0), states.encode({"v": 1, "k": 0, "d": bytes(CHUNK_BYTES)}))
    users.load(b"a", row(ts=5))
    users.load(b"b", row(ts=9, dn=1))
    users.load(b"a", row(ts=7))
    users.restored()
    oldest = users.oldest()
    assert oldest is not None
    assert oldest[0] == "b"
    assert oldest[1].sealed == bytes(CHUNK_BYTES)
    assert users.newest_ts == 9


def test_ring_records_without_a_row_are_dropped() -> None:
    """What is left of a user whose row was deleted is not kept in memory."""
    users = table()
    users.load(b"a", row())
    users.load(states.list_key(b"a", 0), states.encode({"v": 1, "k": 0, "id": "l", "t": 0, "a": "", "h": b"", "x": []}))
    users.load(b"a", None)
    users.load(states.window_key(b"a", 0), states.encode({"v": 1, "k": 0, "d": bytes(CHUNK_BYTES)}))
    users.load(states.window_key(b"b", 0), None)
    users.restored()
    assert len(users) == 0
    assert users.oldest() is None


def test_restored_lists_stand_in_their_order() -> None:
    """The newest lists are kept, in the order of their numbers; a deleted one is gone."""
    users = table()
    users.load(b"a", row())
    for number in (2, 1, 3):
        record = states.encode({"v": 1, "k": number, "id": f"l{number}", "t": 0, "a": "", "h": b"", "x": []})
        users.load(states.list_key(b"a", number % 2), record)
    user = users.find("a")
    assert user is not None
    assert [states.decode_list(one)["k"] for one in user.lists] == [2, 3]
    users.load(states.list_key(b"a", 0), None)
    assert [states.decode_list(one)["k"] for one in user.lists] == [3]
