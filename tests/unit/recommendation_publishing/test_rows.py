"""The rows of users, as publishing holds them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.inner import user_state
from services.contracts.inner.user_state import VERSION, SeenChunk, UserRow, seen_key
from services.model.config import ModelConfig
from services.model.users import UserTable
from services.recommendation_publishing.records import UserRecords
from services.recommendation_publishing.rows import UserRows

CONFIG = ModelConfig(dim=8, max_users=5000)
TABLE = UserTable(CONFIG)
BLOCKS = TABLE.dump(np.array([TABLE.slot(b"somebody")]))[0]


def a_row(offset: int) -> UserRow:
    """A row that has learned everything before an offset."""
    blocks = {**BLOCKS, "at": np.array([offset, 0], np.uint64).tobytes()}
    return {
        "v": VERSION, "p": 3, "o": offset, "e": 7, "n": 1, "id": f"event-{offset}", "t": 10 * offset,
        "ts": 10 * offset + 5, "b": blocks, "pref": b"", "seen": 0,
    }  # fmt: skip


def a_chunk(*items: int) -> SeenChunk:
    """A seen chunk."""
    return {"v": VERSION, "s": np.array(items, np.uint64).tobytes()}


def receive(rows: UserRows, *records: tuple[bytes, Any]) -> None:
    """Take in records by key, together."""
    rows.receive(UserRecords.of([key for key, _ in records], [record for _, record in records]))


def test_every_user_has_learned_from_its_own_newest_event() -> None:
    """What is told of a user is of that user's newest row, however many users there are."""
    rows = UserRows(UserTable(CONFIG))
    users = [b"user-%d" % n for n in range(3000)]
    for offset, user in enumerate([*users, *users[::2]], 1):
        receive(rows, (user, a_row(offset)))
    newest = [3001 + n // 2 if n % 2 == 0 else 1 + n for n in range(3000)]
    learned = rows.learned(users)
    assert learned.slots.tolist() == rows.table.find_many(users).tolist()
    assert list(learned.event_ids) == [f"event-{offset}" for offset in newest]
    assert learned.version.tolist() == [[7, 3, offset] for offset in newest]
    assert (learned.append_ms - learned.event_ms).tolist() == [5] * 3000
    assert sorted(rows.of_partition(3)) == sorted(users)
    assert rows.of_partition(2) == []


def test_a_user_of_whom_only_items_seen_have_come_has_no_row() -> None:
    """A chunk may come before its row; until the row is there its user is a stranger, and then the items count."""
    rows = UserRows(UserTable(CONFIG))
    receive(rows, (seen_key(b"ann", 0), a_chunk(4, 5)))
    assert rows.slots([b"ann", b"nobody"]).tolist() == [-1, -1]
    receive(rows, (b"ann", a_row(1)))
    (slot,) = rows.slots([b"ann"])
    assert rows.table.seen(slot).tolist() == [4, 5]


def test_the_newest_row_wins_in_whatever_order_rows_come() -> None:
    """A row behind the one that is held is dropped, before it was asked for and after."""
    rows = UserRows(UserTable(CONFIG))
    for offset in (5, 3):
        receive(rows, (b"ann", a_row(offset)))
    assert rows.learned([b"ann"]).version[0, 2] == 5
    receive(rows, (b"ann", a_row(4)))
    assert rows.learned([b"ann"]).version[0, 2] == 5


def test_a_dropped_user_leaves_its_slot_empty() -> None:
    """Whoever gets the slot of a user that was dropped has learned nothing yet."""
    rows = UserRows(UserTable(CONFIG))
    receive(rows, (b"ann", a_row(1)))
    assert rows.slots([b"ann"])[0] >= 0
    rows.drop(b"ann")
    receive(rows, (seen_key(b"bob", 0), a_chunk(4)))
    assert rows.slots([b"ann", b"bob"]).tolist() == [-1, -1]


users = st.sampled_from([b"ann", b"bob", b"eve"])
deletions = st.tuples(users, st.none())
rows_ = st.tuples(users, st.integers(1, 9).map(a_row))
chunks_ = st.tuples(
    st.builds(seen_key, users, st.integers(0, 2)),
    st.lists(st.integers(1, 99), max_size=5).map(lambda all_: a_chunk(*all_)),
)
asked = st.lists(users, min_size=1, max_size=4)
Script = list[tuple[list[tuple[tuple[bytes, Any], bool]], list[bytes]]]
"""Records, each with whether it is left as it came, and who is asked for then."""
scripts = st.lists(st.tuples(st.lists(st.tuples(rows_ | chunks_ | deletions, st.booleans()), max_size=12), asked))


def told(rows: UserRows, users: list[bytes]) -> list[Any]:
    """All that rows say of users, wherever these stand."""
    learned = rows.learned(users)
    found = []
    for at, slot in enumerate(learned.slots.tolist()):
        if slot >= 0:
            held = rows.table.dump(np.array([slot])), rows.table.seen(slot).tolist(), learned.version[at].tolist()
            found.append(
                (users[at], learned.event_ids[at], int(learned.event_ms[at]), int(learned.append_ms[at]), *held)
            )
    return found


@given(scripts)
def test_records_as_they_came_are_those_that_were_decoded(
    script: list[tuple[list[tuple[Any, bool]], list[bytes]]],
) -> None:
    """Rows, chunks and deletions lead to the same table, together or one by one, decoded, left as bytes, or mixed."""
    mixed, decoded = UserRows(UserTable(CONFIG)), UserRows(UserTable(CONFIG))
    for records, who in script:
        receive(
            mixed, *[(key, user_state.encode(value) if value and left else value) for (key, value), left in records]
        )
        for record, _ in records:
            receive(decoded, record)
        assert told(mixed, who) == told(decoded, who)
        assert mixed.clock.at(1000) == decoded.clock.at(1000)
    everybody = [b"ann", b"bob", b"eve"]
    assert sorted(mixed.of_partition(3)) == sorted(decoded.of_partition(3))
    assert told(mixed, everybody) == told(decoded, everybody)
