"""The rows of users, as publishing holds them."""

from __future__ import annotations

import numpy as np

from services.contracts.inner.user_state import VERSION, SeenChunk, UserRow
from services.model.config import ModelConfig
from services.model.users import UserTable
from services.recommendation_publishing.rows import UserRows

CONFIG = ModelConfig(dim=8, max_users=5000)
TABLE = UserTable(CONFIG)
BLOCKS = TABLE.dump(np.array([TABLE.slot(b"somebody")]))[0]


def a_row(offset: int) -> UserRow:
    """A row that has learned everything before an offset."""
    return {
        "v": VERSION, "p": 3, "o": offset, "e": 7, "n": 1, "id": f"event-{offset}", "t": 10 * offset,
        "ts": 10 * offset + 5, "b": BLOCKS, "pref": b"", "seen": 0,
    }  # fmt: skip


def a_chunk(*items: int) -> SeenChunk:
    """A seen chunk."""
    return {"v": VERSION, "s": np.array(items, np.uint64).tobytes()}


def test_every_user_has_learned_from_its_own_newest_event() -> None:
    """What is told of a user is of that user's newest row, however many users there are."""
    rows = UserRows(UserTable(CONFIG))
    users = [b"user-%d" % n for n in range(3000)]
    for offset, user in enumerate([*users, *users[::2]], 1):
        rows.receive(user, None, a_row(offset))
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
    rows.receive(b"ann", 0, a_chunk(4, 5))
    assert rows.slots([b"ann", b"nobody"]).tolist() == [-1, -1]
    rows.receive(b"ann", None, a_row(1))
    (slot,) = rows.slots([b"ann"])
    assert rows.table.seen(slot).tolist() == [4, 5]


def test_the_newest_row_wins_in_whatever_order_rows_come() -> None:
    """A row behind the one that is held is dropped, before it was asked for and after."""
    rows = UserRows(UserTable(CONFIG))
    for offset in (5, 3):
        rows.receive(b"ann", None, a_row(offset))
    assert rows.learned([b"ann"]).version[0, 2] == 5
    rows.receive(b"ann", None, a_row(4))
    assert rows.learned([b"ann"]).version[0, 2] == 5


def test_a_dropped_user_leaves_its_slot_empty() -> None:
    """Whoever gets the slot of a user that was dropped has learned nothing yet."""
    rows = UserRows(UserTable(CONFIG))
    rows.receive(b"ann", None, a_row(1))
    assert rows.slots([b"ann"])[0] >= 0
    rows.drop(b"ann")
    rows.receive(b"bob", 0, a_chunk(4))
    assert rows.slots([b"ann", b"bob"]).tolist() == [-1, -1]
