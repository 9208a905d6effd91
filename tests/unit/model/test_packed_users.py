"""User rows in their wire form: the records of the decoder, and the rows of the plain way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.inner import user_state
from services.contracts.inner.codec import InnerRecordError
from services.contracts.inner.user_state import record_pieces, seen_key, split_key
from services.model.config import ModelConfig
from services.model.kernels import packed_users as columns
from services.model.packed_users import Records, heads_of, read, set_rows, user_form, write
from services.model.users import BLOCKS, UserTable, category_count, history_push, seen_add

CONFIG = ModelConfig(dim=8, history=4, history_kept=5, max_categories=3, max_users=100)
FORM = user_form(record_pieces(BLOCKS))
NUMBERS = {"p": 0, "o": 1, "e": 2, "n": 3, "t": 4, "ts": 5, "seen": 6}
"""Names of the numbers of a row, and their columns."""

numbers = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 300)
lists = st.integers(0, 8)


@st.composite
def layouts(draw: st.DrawFn) -> dict[str, bytes]:
    """Blocks of the sizes of CONFIG, with lists up to some entries past the limits."""
    sizes = {"p": 4 * 9, "at": 16}
    sizes["h"], sizes["c"] = 8 * draw(lists), 4 * draw(lists)
    sizes["ht"], sizes["cn"] = sizes["h"] // 2, sizes["c"]
    return {name: draw(st.binary(min_size=sizes[name], max_size=sizes[name])) for name in BLOCKS}


rows = st.builds(
    lambda *values: dict(zip(user_state.UserRow.__annotations__, values, strict=True)),
    st.just(user_state.VERSION), numbers, numbers, numbers, numbers, st.text(max_size=40), numbers, numbers,
    layouts() | st.tuples(*[st.binary(max_size=300)] * 6).map(lambda blocks: dict(zip(BLOCKS, blocks, strict=True))),
    st.binary(max_size=30), numbers,
)  # fmt: skip
chunks = st.builds(lambda items: {"v": user_state.VERSION, "s": items}, st.binary(max_size=300))
users = st.binary(min_size=1, max_size=12)
plain_records = st.tuples(users.filter(lambda key: split_key(key)[1] is None), rows) | st.tuples(
    st.builds(seen_key, users, st.integers(0, 2**32 - 1)), chunks
)


def _reversed(record: dict[str, Any]) -> bytes:
    return user_state.encode(dict(reversed(record.items())))  # type: ignore[arg-type]  # odd on purpose


def _changed(**fields: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda record: user_state.encode({**record, **fields})  # type: ignore[arg-type]  # odd on purpose


def _without_last(record: dict[str, Any]) -> bytes:
    return user_state.encode(dict(list(record.items())[:-1]))  # type: ignore[arg-type]  # odd on purpose


ODDITIES: list[Callable[[dict[str, Any]], bytes]] = [
    lambda _: b"",
    lambda record: msgpack.packb(record) + b"\0",
    lambda record: msgpack.packb(record)[:-1],
    lambda record: msgpack.packb(record, use_single_float=True)[:2],
    lambda record: msgpack.packb(record).replace(b"\xa1v\x01", b"\xa1v\xcc\x01"),
    lambda record: msgpack.packb([record]),
    _reversed,
    _without_last,
    _changed(v=2),
    _changed(v=True),
    _changed(more=1),
    _changed(seen=1.0),
    _changed(seen=2**64 - 1),
    _changed(pref=None, s=None),
    _changed(b={}),
    _changed(id=b"bytes"),
]
"""What can be wrong or unusual with a record."""


def assert_read(records: Records, at: int, key: bytes, value: bytes) -> None:
    """What is known of a plain record is what the decoder gives."""
    _, chunk = split_key(key)
    assert records.chunks[at] == (-1 if chunk is None else chunk)
    if chunk is not None:
        assert records.items(np.array([at])) == [user_state.decode_chunk(value)["s"]]
        return
    row: dict[str, Any] = dict(user_state.decode_row(value))
    assert {name: records.fields[at, column] for name, column in NUMBERS.items()} == {
        name: row[name] for name in NUMBERS
    }
    assert {name: records.blocks(name, np.array([at])) for name in BLOCKS} == {k: [v] for k, v in row["b"].items()}
    for name, column in (("id", columns.ID), ("pref", columns.PREFERENCE)):
        start, size = records.fields[at, column : column + 2]
        part = records.raw[start : start + size]
        assert part == (row[name].encode() if name == "id" else row[name])


def a_row(blocks: dict[str, bytes], event_id: str = "e") -> bytes:
    """A record of a row with these blocks."""
    return user_state.encode(
        {"v": 1, "p": 0, "o": 0, "e": 0, "n": 0, "id": event_id, "t": 0, "ts": 0, "b": blocks, "pref": b"", "seen": 0}
    )


@given(st.lists(st.tuples(plain_records, st.none() | st.sampled_from(ODDITIES))))
def test_records_are_what_the_decoder_gives(drawn: list[tuple[tuple[bytes, Any], Any]]) -> None:
    """Plain records are known as such wherever they stand, and read as they are; of odd ones only the key is read."""
    keys = [key for (key, _), _ in drawn]
    values = [(bend or user_state.encode)(record) for (_, record), bend in drawn]
    records = read(keys, values, FORM)
    for at, (key, value, (_, bend)) in enumerate(zip(keys, values, drawn, strict=True)):
        assert records.chunks[at] == (-1 if split_key(key)[1] is None else split_key(key)[1])
        assert bend or records.plain[at]
        if records.plain[at]:
            assert_read(records, at, key, value)
        else:
            assert not records.fields[at].any()


def test_what_is_null_decoded_or_without_a_key_is_not_plain() -> None:
    """A deletion, a record that was decoded, and a record that nobody can be told to own are no plain ones."""
    value = user_state.encode({"v": 1, "s": b""})
    given_keys = [b"u", b"u", None, b"", seen_key(b"u", 3)]
    assert not read(given_keys, [None, {"v": 1}, value, value, None], FORM).plain.any()
    assert read(given_keys[-1:], [value], FORM).plain.all()


@given(plain_records, st.data())
def test_damage_is_left_to_the_decoder(record: tuple[bytes, Any], data: st.DataObject) -> None:
    """What passes for a plain record is one to the decoder too, and the same, whatever byte was changed or lost."""
    key, value = record[0], user_state.encode(record[1])
    at = data.draw(st.integers(0, len(value) - 1))
    broken = value[:at] + data.draw(st.binary(max_size=2)) + value[at + 1 :]
    records = read([key], [broken], FORM)
    if records.plain[0]:
        assert_read(records, 0, key, broken)
    assert not read([key, key], [value[:-1], value + b"\0"], FORM).plain.any()


def test_an_id_that_is_no_text_is_not_plain() -> None:
    """Bytes that are not UTF-8 are refused as the decoder refuses them."""
    value = a_row(dict.fromkeys(BLOCKS, b""), "??")
    broken = value.replace(b"??", b"\xc3(")
    assert read([b"u", b"u"], [value, broken], FORM).plain.tolist() == [True, False]
    with pytest.raises(InnerRecordError):
        user_state.decode_row(broken)


@given(st.lists(st.tuples(st.integers(0, 4), layouts()), max_size=8))
def test_rows_that_are_copied_are_those_that_are_loaded(script: list[tuple[int, dict[str, bytes]]]) -> None:
    """A table that copies blocks from records is the one that loads them; of several rows of a user the last stays."""
    names, blocks = [b"user-%d" % number for number, _ in script], [layout for _, layout in script]
    values = [a_row(each) for each in blocks]
    copied, loaded = UserTable(CONFIG), UserTable(CONFIG)
    set_rows(copied, copied.slots(names), read(names, values, FORM))
    loaded.load(names, blocks)
    assert sorted(copied.users()) == sorted(loaded.users()) == sorted(set(names))
    for name in names:
        one, other = copied.find(name), loaded.find(name)
        assert copied.dump(np.array([one])) == loaded.dump(np.array([other]))
        assert copied.arrays.saved[one] == loaded.arrays.saved[other]


@pytest.mark.parametrize(("block", "size"), [("p", 32), ("at", 8), ("h", 7), ("ht", 8), ("c", 3), ("cn", 8)])
def test_rows_of_another_layout_are_refused_as_loaded_ones_are(block: str, size: int) -> None:
    """A block of another size is refused with the same words, and then nothing of the rows was taken."""
    table = UserTable(CONFIG)
    slots = table.slots([b"ann", b"bob"])
    before = table.dump(slots)
    good = {"p": bytes(36), "at": bytes(16), "h": b"", "ht": b"", "c": b"", "cn": b""}
    values = [a_row(each) for each in (good, {**good, block: bytes(size)})]
    with pytest.raises(ValueError, match="does not have the model's layout: a block has another size"):
        set_rows(table, slots, read([b"ann", b"bob"], values, FORM))
    with pytest.raises(ValueError, match="does not have the model's layout: a block has another size"):
        table.load([b"ann", b"bob"], [good, {**good, block: bytes(size)}])
    assert table.dump(slots) == before


@dataclass(frozen=True)
class Step:
    """What one user does between two writes, and what its row then says."""

    user: bytes
    events: int
    numbers: list[int]
    event_id: str
    preference: bytes


steps = st.builds(
    Step,
    st.sampled_from([b"a", b"user", "\u00fcser-number".encode(), b"x" * 300]),
    st.integers(0, 9) | st.sampled_from([200, 255, 256, 257, 299, 300, 301, 555, 700]),
    st.lists(numbers, min_size=6, max_size=6),
    st.text(max_size=40) | st.sampled_from(["e" * 31, "e" * 32, "e" * 255, "e" * 256]),
    st.binary(max_size=40) | st.sampled_from([bytes(255), bytes(256), bytes(65535), bytes(65536)]),
)


@pytest.mark.parametrize("max_seen", [300, 512, 100])
@given(st.lists(st.lists(steps, max_size=4, unique_by=lambda step: step.user), max_size=4))
def test_written_records_are_the_codecs(max_seen: int, script: list[list[Step]]) -> None:
    """Rows and the seen chunks that changed, or all of them, are what the codec makes of them, key by key."""
    config = replace(CONFIG, max_seen=max_seen, history_kept=50)
    table, twin = UserTable(config), UserTable(config)
    item = 0
    for batch in script:
        slots = table.slots([step.user for step in batch])
        twin.slots([step.user for step in batch])
        for step, slot in zip(batch, slots.tolist(), strict=True):
            for _ in range(step.events):
                item += 1
                for each in (table, twin):
                    history_push(each.arrays, slot, np.uint64(item), item, config.history_kept)
                    category_count(each.arrays, slot, np.array([item % 5], np.uint32), 0.9)
                    seen_add(each.arrays, slot, np.uint64(item))
        numbers_ = np.array([[*step.numbers, 0] for step in batch], np.int64).reshape(-1, columns.NUMBERS)
        numbers_[:, columns.SEEN] = table.arrays.seen.length[slots]
        texts = [step.event_id.encode() for step in batch], [step.preference for step in batch]
        everything = np.zeros(len(batch), np.int64), table.arrays.seen.length[slots].astype(np.int64)
        dumped = write(table, slots, heads_of(numbers_, *texts, everything), FORM)
        changed = write(table, slots, heads_of(numbers_, *texts, table.seen_since(slots)), FORM)
        wanted_all: list[tuple[bytes, bytes]] = []
        wanted: list[tuple[bytes, bytes]] = []
        for step, slot in zip(batch, slots.tolist(), strict=True):
            p, o, e, n, t, ts = step.numbers
            row: user_state.UserRow = {
                "v": 1, "p": p, "o": o, "e": e, "n": n, "id": step.event_id, "t": t, "ts": ts,
                "b": twin.dump(np.array([slot]))[0], "pref": step.preference, "seen": twin.seen_count(slot),
            }  # fmt: skip
            for found, chunks_ in ((wanted_all, twin.seen_chunks(slot)), (wanted, twin.seen_changes(slot))):
                found.append((step.user, user_state.encode(row)))
                found += [(seen_key(step.user, at), user_state.encode({"v": 1, "s": hashes})) for at, hashes in chunks_]
        assert list(zip(*changed, strict=True)) == wanted
        assert list(zip(*dumped, strict=True)) == wanted_all


def test_a_form_has_a_piece_for_every_part() -> None:
    """A form of more or fewer blocks than user rows have is refused."""
    with pytest.raises(ValueError, match="17 pieces, not 12"):
        user_form(record_pieces(["p"]))
