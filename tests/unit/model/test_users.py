"""The user table: rows, histories, the set of items seen, the ceiling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model.config import ModelConfig
from services.model.users import SEEN_CHUNK, UserTable, category_count, history_push, seen_add

CONFIG = ModelConfig(dim=8, history=3, history_kept=5, max_users=100, max_seen=600, max_categories=4)


def dump(users: UserTable, *slots: int) -> list[dict[str, bytes]]:
    """Wire forms of rows."""
    return users.dump(np.array(slots, np.int64))


@given(st.lists(st.integers(1, 9), max_size=30))
def test_history_keeps_the_newest(items: list[int]) -> None:
    """A history holds the newest items and their times, newest first, and drops the oldest."""
    users = UserTable(CONFIG)
    slot = users.slot(b"u")
    for second, item in enumerate(items):
        history_push(users.arrays, slot, np.uint64(item), second, CONFIG.history_kept)
    hashes, times = users.history(slot)
    assert hashes.tolist() == items[::-1][:5]
    assert times.tolist() == list(range(len(items)))[::-1][:5]


@given(st.lists(st.tuples(st.integers(1, 900), st.booleans()), max_size=60), st.integers(0, 700))
def test_seen_chunks_restore_the_set(items: list[tuple[int, bool]], before: int) -> None:
    """The chunks reported over time, the last of each number, restore the set of items seen."""
    users, other = UserTable(CONFIG), UserTable(CONFIG)
    slot = users.slot(b"u")
    chunks: dict[int, bytes] = {}
    added = [(10_000 + i, False) for i in range(before)] + items
    distinct = []
    for item, ask in added:
        if seen_add(users.arrays, slot, np.uint64(item)):
            distinct.append(item)
        if ask:
            chunks.update(users.seen_changes(slot))
    chunks.update(users.seen_changes(slot))
    assert users.seen_changes(slot) == []
    for number, hashes in reversed(chunks.items()):
        assert len(hashes) <= 8 * SEEN_CHUNK
        other.load_seen([b"u"], [number], [hashes])
    copy = int(other.load([b"u"], dump(users, slot))[0])
    assert other.seen(copy).tolist() == users.seen(slot).tolist()
    assert dict(users.seen_chunks(slot)) == chunks
    assert set(distinct[-500:]) <= set(users.seen(slot).tolist())
    assert users.seen_count(slot) == min(len(distinct), 600)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(1, SEEN_CHUNK)), max_size=12))
def test_seen_chunks_of_many_users_come_at_once(arrivals: list[tuple[int, int, int]]) -> None:
    """Chunks taken in together leave what they leave one after the other: the last of a number stands."""
    together, apart = UserTable(CONFIG), UserTable(CONFIG)
    records = [
        (b"user-%d" % user, chunk, np.arange(1000 * at, 1000 * at + n, dtype=np.uint64).tobytes())
        for at, (user, chunk, n) in enumerate(arrivals, 1)
    ]
    plain: dict[bytes, list[int]] = {}
    for user, chunk, items in records:
        apart.load_seen([user], [chunk], [items])
        ring, first, values = plain.setdefault(user, []), chunk * SEEN_CHUNK, np.frombuffer(items, np.uint64).tolist()
        ring += [0] * (first - len(ring))
        ring[first : first + len(values)] = values
    slots = together.load_seen(*zip(*records, strict=True)) if records else np.zeros(0, np.int64)
    assert slots.tolist() == together.find_many([user for user, *_ in records]).tolist()
    for user, ring in plain.items():
        assert together.seen(together.find(user)).tolist() == ring[: CONFIG.max_seen]
        assert apart.seen(apart.find(user)).tolist() == ring[: CONFIG.max_seen]


def test_an_event_rewrites_one_chunk() -> None:
    """One more item changes one chunk, however many the user has."""
    users = UserTable(CONFIG)
    slot = users.slot(b"u")
    for item in range(1, 590):
        seen_add(users.arrays, slot, np.uint64(item))
    users.seen_changes(slot)
    seen_add(users.arrays, slot, np.uint64(1000))
    ((chunk, hashes),) = users.seen_changes(slot)
    assert chunk == 589 // SEEN_CHUNK
    assert len(hashes) == 8 * (590 % SEEN_CHUNK)


def test_row_round_trip() -> None:
    """A user's row survives its wire form in another table, to the bit."""
    users, other = UserTable(CONFIG), UserTable(CONFIG)
    slot = users.slot(b"u")
    for second in range(7):
        history_push(users.arrays, slot, np.uint64(second + 1), second, CONFIG.history_kept)
        category_count(users.arrays, slot, np.array([second % 3], np.uint32), 0.97)
        seen_add(users.arrays, slot, np.uint64(second + 1))
    users.arrays.touch[slot] = 77
    assert other.dump(other.load([b"u"], dump(users, slot))) == dump(users, slot)


def test_many_rows_at_once_are_many_rows_one_by_one() -> None:
    """Rows that come together, one user twice, new users among them, are what they are when they come in turn."""
    source, together, alone = UserTable(CONFIG), UserTable(CONFIG), UserTable(CONFIG)
    names = [b"user-%d" % number for number in (0, 1, 2, 3, 1, 4)]
    rows = []
    for second, name in enumerate(names):
        slot = source.slot(name)
        for event in range(second):
            history_push(source.arrays, slot, np.uint64(10 * second + event + 1), second, CONFIG.history_kept)
            category_count(source.arrays, slot, np.array([event], np.uint32), 0.97)
        source.arrays.touch[slot] = second
        rows += dump(source, slot)
    together.slot(b"user-3")
    alone.slot(b"user-3")
    slots = together.load(names, rows)
    assert slots.tolist() == [together.find(name) for name in names]
    for name, row in zip(names, rows, strict=True):
        alone.load([name], [row])
    for name in names:
        assert dump(together, together.find(name)) == dump(alone, alone.find(name))


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_other_layouts_are_refused(damage: str) -> None:
    """A user row without a block or with a short one is refused."""
    users = UserTable(CONFIG)
    (row,) = dump(users, users.slot(b"u"))
    if damage == "missing":
        del row["ht"]
    else:
        row["p"] = row["p"][:-4]
    with pytest.raises(ValueError, match="user row"):
        users.load([b"u"], [row])


def test_new_users_start_from_their_id() -> None:
    """Initial vectors depend on the id, not on the slot, and start afresh after a drop."""
    users, other = UserTable(CONFIG), UserTable(CONFIG)
    other.slot(b"someone")
    first = dump(users, users.slot(b"u"))
    assert dump(other, other.slot(b"u")) == first
    history_push(users.arrays, users.slot(b"u"), np.uint64(3), 1, 5)
    users.drop(b"u")
    users.drop(b"u")
    assert users.find(b"u") == -1
    assert dump(users, users.slot(b"u")) == first


def test_category_counts_decay_by_event() -> None:
    """Counts shrink by the decay at each event; a full list gives way at its weakest category."""
    users = UserTable(CONFIG)
    slot = users.slot(b"u")
    for category in (1, 1, 2, 3, 4, 5):
        category_count(users.arrays, slot, np.array([category], np.uint32), 0.5)
    pool = users.arrays.categories
    at = pool.where[slot]
    counts = dict(zip(pool.keys[at : at + 4].tolist(), pool.values[at : at + 4, 0].tolist(), strict=True))
    assert counts == {5: 1.0, 2: 0.125, 3: 0.25, 4: 0.5}


def test_ids_of_any_bytes() -> None:
    """Users are found and listed by ids of any length up to a kilobyte; longer ones are refused."""
    users = UserTable(CONFIG)
    ids = [b"", b"\x00", b"a", b"abcd", "é".encode() * 100, bytes(range(256)) * 4]
    for user in ids:
        users.slot(user)
    assert sorted(users.users()) == sorted(ids)
    with pytest.raises(ValueError, match="longer than"):
        users.slot(b"x" * 1025)


def test_ceiling_forgets_the_least_recent() -> None:
    """Past the ceiling of a partition, the users with the oldest newest events go; others stay."""
    config = replace(CONFIG, max_users=20, user_partitions=2)
    users = UserTable(config)
    for partition in (0, 1):
        for i in range(12 if partition == 0 else 8):
            slot = users.slot(b"%d-%d" % (partition, i))
            users.arrays.touch[slot] = (partition << 48) | (100 - i)
    gone = users.trim()
    assert [g.user for g in gone] == [b"0-11", b"0-10", b"0-9"]
    assert {g.partition for g in gone} == {0}
    assert len(users) == 17
    assert users.trim() == []


def test_memory_stays_flat_past_the_ceiling() -> None:
    """Thirty times as many users as the ceiling take no more memory than two times as many."""
    config = replace(CONFIG, max_users=200)
    users = UserTable(config)
    sizes = []
    for round_ in range(30):
        for i in range(200):
            slot = users.slot(b"user-%d-%d" % (round_, i))
            users.arrays.touch[slot] = round_ * 200 + i
            for item in range(20):
                history_push(users.arrays, slot, np.uint64(item + 1), item, 5)
                seen_add(users.arrays, slot, np.uint64(item + 1))
        users.trim()
        sizes.append(users.nbytes())
    assert len(users) <= 200
    assert max(sizes) <= 1.02 * sizes[1]


def test_memory_per_user() -> None:
    """A user takes at most 1.3 times the raw bytes of the row and the set of items seen."""
    config = replace(CONFIG, dim=32, history=50, history_kept=200, max_users=3000)
    users = UserTable(config)
    payload = 0
    for i in range(2000):
        slot = users.slot(b"user-%06d" % i)
        for item in range(200):
            history_push(users.arrays, slot, np.uint64(item + 1), item, 200)
            seen_add(users.arrays, slot, np.uint64(item + 1))
        payload += sum(map(len, dump(users, slot)[0].values())) + sum(len(h) for _, h in users.seen_chunks(slot))
    assert users.nbytes() <= 1.3 * payload
