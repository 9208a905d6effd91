"""Features by column: the kernel and the decoder read the same."""

from __future__ import annotations

import struct
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from services.contracts.inner import features
from services.contracts.inner.codec import pack
from services.model_update import columns, decoders, plain
from services.model_update.plain import BATCH, CONTENT, CONTEXT, ERASE, EVENT, ID, IMPLIED, ITEM, PREFERENCE, USER
from tests.unit.model_update.world import Event as Made
from tests.unit.model_update.world import World, assert_rebuilt, event_record

KINDS = {"event": EVENT, "implied": IMPLIED, "erase": ERASE, "batch": BATCH}
TEXTS = {"user": USER, "item": ITEM, "id": ID}
BYTES = {"ctx": CONTEXT, "content": CONTENT, "pref": PREFERENCE}
INTEGERS = {0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
"""Formats of msgpack's integers, by their first byte."""
COUNTED = {
    str: {0xD9: ">B", 0xDA: ">H", 0xDB: ">I"},
    bytes: {0xC4: ">B", 0xC5: ">H", 0xC6: ">I"},
    list: {0xDC: ">H", 0xDD: ">I"},
    dict: {0xDE: ">H", 0xDF: ">I"},
}
"""Formats of lengths and counts."""


@st.composite
def encodings(draw: st.DrawFn, value: Any) -> bytes:
    """One of the ways that msgpack has to write a value."""
    formats, number, body = INTEGERS, value, b""
    ways = [pack(value)]
    if isinstance(value, float):
        return draw(st.sampled_from([one for one in (short_float(value), pack(value)) if one]))
    if isinstance(value, str | bytes | list | dict):
        formats = COUNTED[type(value)]
        if isinstance(value, list):
            body = b"".join(draw(encodings(one)) for one in value)
        elif isinstance(value, dict):
            body = b"".join(draw(encodings(name)) + draw(encodings(value[name])) for name in value)
        else:
            body = value.encode() if isinstance(value, str) else value
        number = len(value) if isinstance(value, list | dict) else len(body)
    elif value is None or isinstance(value, bool):
        formats = {}
    for first, form in formats.items():
        with suppress(struct.error):
            ways.append(bytes([first]) + struct.pack(form, number) + body)
    return draw(st.sampled_from(ways))


def short_float(value: float) -> bytes | None:
    """A float in four bytes, where they hold it."""
    with suppress(OverflowError):
        packed = struct.pack(">f", value)
        if repr(struct.unpack(">f", packed)[0]) == repr(value):
            return b"\xca" + packed
    return None


numbers = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.floats(width=32),
    st.integers(-40, 300),
)
names = st.one_of(st.text(max_size=12), st.sampled_from(["ann", "Ünal", "用户", "x" * 300]))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, names, st.binary(max_size=9)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=3)),
    max_leaves=6,
)
words = st.lists(st.integers(0, 2**32 - 1), max_size=4).map(features.pack_features)
right: dict[str, st.SearchStrategy[Any]] = {
    "v": st.just(features.VERSION),
    "kind": st.sampled_from(["event"] * 4 + ["implied", "erase", "batch"]),
    "ih": st.integers(0, 2**64 - 1),
    "value": st.one_of(st.none(), numbers),
    "t": st.integers(-(2**63), 2**63 - 1),
    "ts": st.integers(-(2**63), 2**63 - 1),
    "w": numbers,
    "user": names,
    "item": names,
    "id": names,
    "ctx": words,
    "content": words,
    "pref": st.binary(max_size=16),
}
wrong = st.one_of(values, st.sampled_from(["events", "", 2, 1.0, True, b"event", 2**64 - 1, -1, b"\0\0\0"]))


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """A features record: as it should be, and in two cases of three with something unusual about it."""
    fields = [(name, draw(strategy)) for name, strategy in right.items()]
    fields += draw(st.dictionaries(names.filter(lambda name: name not in right), values, max_size=3)).items()
    fields = draw(st.permutations(fields))
    fault = draw(st.sampled_from(["none"] * 4 + ["missing", "wrong", "twice", "cut", "more", "changed", "key", "odd"]))
    at = draw(st.integers(0, len(fields) - 1))
    if fault == "missing":
        del fields[at]
    elif fault == "wrong":
        fields[at] = fields[at][0], draw(wrong)
    elif fault == "twice":
        fields.append((fields[at][0], draw(wrong)))
    parts = [draw(encodings(name)) + draw(encodings(value)) for name, value in fields]
    if fault == "key":
        parts.append(draw(st.sampled_from([pack(b"k"), pack(7), pack(None)])) + pack(1))
    elif fault == "odd":
        inside = draw(st.sampled_from([b"\xc1", b"\xd4\x05\x00", b"\xd6\xff\0\0\0\1", b"\xa1\xff", b"\x81\x01\x01"]))
        parts.append(pack("odd") + draw(st.sampled_from([inside, b"\x91" + inside, b"\x81\xa1k" + inside])))
    whole = struct.pack(">BH", 0xDE, len(parts)) + b"".join(parts)
    if fault == "cut":
        return whole[: draw(st.integers(0, len(whole) - 1))]
    if fault == "changed":
        where = draw(st.integers(0, len(whole) - 1))
        return whole[:where] + draw(st.binary(min_size=1, max_size=2)) + whole[where + 1 :]
    return whole + (draw(st.binary(min_size=1, max_size=3)) if fault == "more" else b"")


def is_right(record: dict[str, Any]) -> bool:
    """Whether what learning reads of a decoded record has the types that it should have."""
    if record["kind"] == "batch":
        return True
    if record["kind"] == "erase":
        return isinstance(record["user"], str)
    return (
        all(isinstance(record[name], str) for name in TEXTS)
        and all(isinstance(record[name], bytes) for name in BYTES)
        and len(record["ctx"]) % 4 == len(record["content"]) % 4 == 0
        and type(record["ih"]) is type(record["t"]) is type(record["ts"]) is int
        and record["ih"] >= 0
        and max(record["t"], record["ts"]) < 2**63
        and type(record["w"]) in (int, float)
        and (record["value"] is None or type(record["value"]) in (int, float))
    )


def decoded(value: bytes | None) -> Any:
    """What the decoder makes of a record; the error when it is none."""
    try:
        record = decoders.feature(None, value)
    except ValueError as error:
        return error
    if record is not None and not is_right(record):
        return ValueError("feature with a field of a wrong type")
    return record


def float_bits(values: list[Any]) -> list[int]:
    """The bits of numbers as numpy converts them; one kind of NaN."""
    with np.errstate(all="ignore"):
        numbers = np.array([np.nan if value is None else value for value in values], np.float64).astype(np.float32)
    numbers[np.isnan(numbers)] = np.nan
    bits: list[int] = numbers.view(np.uint32).tolist()
    return bits


def assert_same(given_values: list[bytes | None]) -> None:
    """The columns hold what the decoder gives, and the refused records are those that it refuses."""
    wanted = [decoded(value) for value in given_values]
    found = columns.read(given_values)
    errors = [(row, type(one), str(one)) for row, one in enumerate(wanted) if isinstance(one, ValueError)]
    assert [(row, type(error), str(error)) for row, error in found.refused] == errors
    kinds = [KINDS[one["kind"]] if isinstance(one, dict) else BATCH for one in wanted]
    assert found.columns.kind.tolist() == kinds
    known = np.flatnonzero(np.isin(kinds, [EVENT, IMPLIED]))
    events = [wanted[row] for row in known.tolist()]
    for column, name in (("item_hash", "ih"), ("t_ms", "t"), ("ts_ms", "ts")):
        assert getattr(found.columns, column)[known].tolist() == [event[name] for event in events]
    for column, name in (("value", "value"), ("weight", "w")):
        assert float_bits(getattr(found.columns, column)[known]) == float_bits([event[name] for event in events])
    for name, text in TEXTS.items():
        assert found.texts(text, known) == [event[name] for event in events]
        first, which = found.distinct(text, known)
        assert found.texts(text, first) == list(dict.fromkeys(event[name] for event in events))
        assert found.texts(text, first[which]) == [event[name] for event in events]
    for name, field in BYTES.items():
        assert found.parts(field, known) == [event[name] for event in events]
    for name in ("ctx", "content"):
        ptr, packed = found.words(BYTES[name], known)
        lists = [features.unpack_features(event[name]) for event in events]
        assert [packed[a:b].tolist() for a, b in pairwise(ptr)] == lists
    erased = np.flatnonzero(np.equal(kinds, ERASE))
    assert found.texts(USER, erased) == [wanted[row]["user"] for row in erased.tolist()]


@given(st.lists(st.one_of(st.none(), records(), st.binary(max_size=30)), max_size=6))
@example([None, b"", pack([1]), pack({"v": 1}), pack({"v": 1, "kind": "erase"}), pack({"v": 1, "kind": ["event"]})])
def test_columns_are_what_the_decoder_gives(given_values: list[bytes | None]) -> None:
    """Whatever the bytes: the same values bit for bit, and the same records refused for the same reasons."""
    assert_same(given_values)


def test_every_way_to_be_unusual() -> None:
    """One after the other, all that can be wrong with a record and every edge of a field: as the decoder has it."""
    event = {**event_record(Made(1, 2), 0, 3)}
    edges = [sign * 2**bits + more for bits in (0, 5, 7, 8, 15, 16, 31, 32, 62) for sign in (1, -1) for more in (-1, 0)]
    edges += [2**63 - 1, 2**63, 2**64 - 1, -(2**63)]
    others = [None, True, 0.1, 1e300, -0.0, float("nan"), float("inf"), "", "event", "erase", b"", b"abc", b"abcd"]
    fields = [{**event, name: value} for name in right for value in (*edges, *others, [], [1], {"a": 1}, [[1]])]
    fields += [{key: event[key] for key in event if key != name} for name in event]
    made = [pack(one) for one in fields]
    whole = pack(event)
    made += [whole[:end] for end in range(len(whole))] + [whole + b"\0"]
    odd = [b"\xc1", b"\xd4\5\0", b"\xc7\1\5\0", b"\xd6\xff\0\0\0\1", b"\xa1\xff", b"\x81\1\1", b"\x91\x91\1"]
    wraps = [b"", b"\x91", b"\x81\xa1k", b"\x81\xa1\xff", b"\x81\xc4\1k"]
    inside = [wrap + one for one in (*odd, b"\1") for wrap in wraps]
    extra = bytes([0xDE, 0, len(event) + 1]) + whole[3:]
    made += [extra + pack("odd") + one for one in inside]
    made += [extra + key + b"\1" for key in (b"\xa1\xff", b"\xc4\1k", b"\1", b"\xc0", b"\xa0", b"\xa1\0")]
    for value in made:
        assert_same([value])
    assert_same(list(made))


def test_texts_are_utf_8() -> None:
    """An id that Python cannot decode is refused, any other is taken: two bytes and the edges of longer sequences."""
    edges = [0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0]
    texts = [bytes([first, second]) for first in range(256) for second in edges]
    texts += [bytes([first, second, end]) for first in range(0xDF, 256) for second in edges for end in edges]
    texts += [bytes([first, second, 0x80, end]) for first in range(0xEF, 0xF6) for second in edges for end in edges]
    head = b"\x83\xa1v\1\xa4kind\xa5erase\xa4user"
    assert_same([head + bytes([0xA0 | len(text)]) + text for text in texts])


def test_what_extraction_writes_is_plain() -> None:
    """The slow path is for what is unusual: records as they are written do not take it."""
    served: features.Attribution = {"list": "l", "rank": 1, "arm": "a", "propensity": 0.5, "latency_ms": 7}
    event = event_record(Made(1, 2), 0, 3)
    seal: features.ExtractionBatch = {
        "v": 1,
        "kind": "batch",
        "partition": 0,
        "range": [0, 9],
        "n": 1,
        "dup": [1],
        "late": [],
        "dead": [2],
        "moved": [],
    }
    written = [
        features.encode(event),
        features.encode({**event, "list": served}),
        features.encode({**event, "user": "Ünal", "list": None}),
        features.encode({"v": 1, "kind": "erase", "src": [0, 1], "user": "ann"}),
        features.encode(seal),
    ]
    out, ends = plain.empty_columns(len(written)), np.cumsum([len(one) for one in written])
    plain.read_plain(np.frombuffer(b"".join(written), np.uint8), ends, features.VERSION, out)
    assert out.kind.tolist() == [EVENT, EVENT, EVENT, ERASE, BATCH]


def test_what_is_no_feature_goes_to_dead_letters() -> None:
    """The decoder's reason is in the dead letter; the records around it are learned, and the logs explain it all."""
    world = World()
    world.produce(Made(1, 1), Made(1, 2))
    partition = next(p for p in range(3) if world.logs.read(("features", p)))
    bad = [b"\xc1", features.encode({**event_record(Made(1, 3), partition, 9), "v": 2}), pack({"v": 1, "kind": "x"})]
    offsets = [world.logs.append("features", b"user-1", value, partition) for value in bad]
    world.produce(Made(1, 4))
    result = world.users[0].step()
    assert [(one.offset, one.exception) for one in result.dead] == list(
        zip(offsets, ["InnerRecordError", "InnerRecordError", "ValueError"], strict=True)
    )
    assert [one.why.split(" (")[0] for one in result.dead] == [
        "feature: not msgpack",
        "feature: expected version 1, found 2",
        "unknown kind of feature 'x'",
    ]
    assert result.positions["features", partition] == world.logs.end(("features", partition)) - 1
    world.settle()
    assert world.histories()["user-1"][0] == 3
    assert_rebuilt(world)
