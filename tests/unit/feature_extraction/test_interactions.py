"""Interactions by column: the kernel and the codec read the same."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from copy import deepcopy
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.contracts.edge import EdgeCodec, InteractionEvent, RegistryError, schemas
from services.contracts.edge.binary import long
from services.feature_extraction import interactions
from services.feature_extraction.interactions import NO_TIME, InteractionReader
from services.feature_extraction.scan import READ, UNREAD
from tests.unit.contracts.made_records import of_type, records
from tests.unit.feature_extraction.driving import NOW, event

SCHEMA = schemas.current("InteractionEvent")
SINGLE = b"\xc3\x01" + SCHEMA.fingerprint
CURRENT, OLD, BROKEN, ABSENT = (b"\0" + number.to_bytes(4, "big") for number in range(1, 5))
"""Confluent headers: of the current schema, of one with fewer fields and other types, of no schema, of nothing."""
NAMES = ("event_id", "user_id", "item_id", "type", "session_id", "list_id")
"""Fields in the order of the columns of texts."""


def _old_schema() -> Any:
    old = deepcopy(SCHEMA.raw)
    old["fields"] = [field for field in old["fields"] if field["name"] not in ("session_id", "type")][::-1]
    for field in old["fields"]:
        if field["name"] == "value":
            field.update(type="int", default=0)
    return old


OLD_SCHEMA = _old_schema()


class Registry:
    """A registry of three schemas that counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def id_of(self, subject: str, schema: str) -> int:
        """The current schema's."""
        return 1

    def schema_of(self, schema_id: int) -> str:
        """Look up by id."""
        self.asked += 1
        return {1: SCHEMA.text, 2: json.dumps(OLD_SCHEMA), 3: "{}"}[schema_id]


class Heard(EdgeCodec[InteractionEvent]):
    """A codec that counts what it decodes."""

    heard = 0

    def decode(self, value: bytes) -> InteractionEvent:
        """Decode one record."""
        self.heard += 1
        return super().decode(value)


def codec(registry: Registry | None = None) -> Heard:
    """A codec that knows the registry."""
    return Heard(InteractionEvent, registry or Registry(), "interactions-value")


def padded(value: bytes, more: int) -> bytes:
    """A number in more bytes than it needs."""
    return value if more == 0 else value[:-1] + bytes([value[-1] | 0x80]) + b"\x80" * (more - 1) + b"\0"


class Writer:
    """Writes Avro in the usual way; when it may draw, in any way that can be read, and in some that cannot."""

    def __init__(self, draw: st.DrawFn | None = None) -> None:
        self.draw = draw

    def long(self, value: int) -> bytes:
        """A number, at times with needless bytes: up to ten can be, an eleventh cannot."""
        written = long(value)
        if self.draw is None:
            return written
        return padded(written, self.draw(st.sampled_from([0] * 40 + [1, 10 - len(written), 11 - len(written)])))

    def text(self, value: str | bytes) -> bytes:
        """A text, or bytes that are none."""
        body = value.encode() if isinstance(value, str) else value
        return self.long(len(body)) + body

    def optional(self, value: bytes | None) -> bytes:
        """A union with null."""
        return b"\0" if value is None else b"\2" + value

    def context(self, entries: list[tuple[Any, Any]]) -> bytes:
        """A map."""
        return self.blocks([self.text(name) + self.text(value) for name, value in entries])

    def blocks(self, entries: list[bytes]) -> bytes:
        """An array or a map, in blocks of any size that may state how long they are, rightly or not."""
        out = b""
        while entries:
            count = self.draw(st.integers(1, len(entries))) if self.draw else len(entries)
            block = b"".join(entries[:count])
            entries = entries[count:]
            sizes = [None, None, None, len(block), len(block), 0, -1, 2**63 - 1]
            stated = self.draw(st.sampled_from(sizes)) if self.draw else None
            out += long(count) + block if stated is None else long(-count) + long(stated) + block
        return out + b"\0"

    def event(self, record: dict[str, Any]) -> bytes:
        """The fields in the order of the schema."""
        texts = {name: None if record[name] is None else self.text(record[name]) for name in NAMES}
        value, time = record["value"], record["event_time"]
        return b"".join(
            [
                self.optional(texts["event_id"]),
                *(texts[name] or b"" for name in NAMES[1:4]),
                self.optional(None if value is None else struct.pack("<d", value)),
                self.optional(None if time is None else self.long(time)),
                self.optional(texts["session_id"]),
                self.context(record["context"]),
                self.optional(texts["list_id"]),
            ]
        )


TEXT_EDGES = ["", "\0", "x" * 3000, b"\xe0\x80\x80", b"\xed\xa0\x80"]
IDS = ["", "\0", "a\0", "x" * 1024, "x" * 1025, "é" * 512, "é" * 513, "用户", b"\xff", b"\xc3"]
EDGES: dict[str, list[Any]] = {
    **dict.fromkeys(("user_id", "item_id"), IDS),
    "type": ["", "\0", "x" * 2000, b"\x80"],
    "value": [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7e308],
    "event_time": [-(2**63), 1 - 2**63, 2**63 - 1, 0, -1],
    **dict.fromkeys(("event_id", "session_id", "list_id"), TEXT_EDGES),
    "context": [[(b"\xff", "a")], [("a", b"\xff")], [("", "")], [("a", "1"), ("b", "2"), ("a", "3")]],
}
"""Values at which a rule begins or ends; bytes are no UTF-8."""
right = records(SCHEMA.raw)


def damaged(draw: st.DrawFn, value: bytes) -> bytes:
    """Bytes with one of them missing, changed or added, or cut off."""
    how = draw(st.sampled_from(["cut", "drop", "change", "add", "more"]))
    at = draw(st.integers(0, len(value) - 1))
    some = draw(st.binary(min_size=1, max_size=2))
    return {
        "cut": value[:at],
        "drop": value[:at] + value[at + 1 :],
        "change": value[:at] + some[:1] + value[at + 1 :],
        "add": value[:at] + some + value[at:],
        "more": value + some,
    }[how]


@st.composite
def values(draw: st.DrawFn) -> bytes:
    """An interaction in one of the encodings, and in every second case with something unusual about it."""
    record, how = draw(right), draw(st.sampled_from(["avro"] * 5 + ["json", "old"]))
    if how == "json":
        kept = {name: record[name] for name in record if draw(st.sampled_from([True] * 9 + [False]))}
        value = json.dumps(kept).encode()
    elif how == "old":
        old = {field["name"]: record.get(field["name"]) for field in OLD_SCHEMA["fields"]}
        value = OLD + written(OLD_SCHEMA, {**old, "value": draw(of_type("int"))})
    else:
        record["context"] = list(record["context"].items())
        header = draw(st.sampled_from([SINGLE] * 6 + [CURRENT] * 6 + [BROKEN, ABSENT, b"\xc3\x01" + bytes(8), b""]))
        if draw(st.integers(0, 3)) == 0:
            name = draw(st.sampled_from(sorted(EDGES)))
            record[name] = draw(st.sampled_from(EDGES[name]))
        value = header + Writer(draw if draw(st.booleans()) else None).event(record)
    return damaged(draw, value) if value and draw(st.integers(0, 3)) == 0 else value


def written(schema: Any, record: Any) -> bytes:
    """A record as fastavro writes it in any schema."""
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(deepcopy(schema)), record)
    return out.getvalue()


def decoded(by: EdgeCodec[InteractionEvent], value: bytes | None) -> Any:
    """What the codec makes of a record; the error when it is none."""
    try:
        return None if value is None else by.decode(value)
    except ValueError as error:
        return error


def assert_same(given_values: Sequence[bytes | None], reader: InteractionReader | None = None) -> None:
    """The columns hold what the codec gives, and the refused records are those that it refuses."""
    by = codec()
    wanted = [decoded(by, value) for value in given_values]
    found = (reader or InteractionReader(codec())).read(given_values)
    errors = [(row, type(one), str(one)) for row, one in enumerate(wanted) if isinstance(one, ValueError)]
    assert [(row, type(error), str(error)) for row, error in found.refused] == errors
    assert found.columns.state.tolist() == [READ if isinstance(one, dict) else UNREAD for one in wanted]
    for row, one in enumerate(wanted):
        value, t_ms = float(found.columns.value[row]), int(found.columns.t_ms[row])
        if not isinstance(one, dict):
            assert math.isnan(value)
            assert t_ms == NO_TIME
            assert found.columns.context[row] == -1
            assert not found.columns.length[row].any()
            continue
        assert repr(None if math.isnan(value) else value) == repr(one["value"])
        assert t_ms == (NO_TIME if one["event_time"] is None else max(one["event_time"], NO_TIME + 1))
        assert [found.text(of, row) for of in range(interactions.TEXTS)] == [one[name] for name in NAMES]
        assert list(found.context(row).items()) == list(one["context"].items())
        assert (found.columns.context[row] < 0) == (not one["context"])
        assert found.event(row) == one


@given(st.lists(st.none() | values() | st.binary(max_size=30), max_size=6))
@example([None, b"", b"{}", b"\0", b"\xc3\x01", SINGLE, CURRENT])
def test_columns_are_what_the_codec_gives(given_values: list[bytes | None]) -> None:
    """Whatever the bytes: the same values, and the same records refused for the same reasons."""
    assert_same(given_values)
    known = InteractionReader(by := codec())
    by.decode(CURRENT + SINGLE_EVENTS[0][len(SINGLE) :])
    assert_same(given_values, known)


FULL = event(
    event_id="e" * 70,
    value=4.5,
    event_time=NOW,
    session_id="Sitzung für Ünal",
    context={"device": "phone", "place": "用户", "": ""},
    list_id="l-1",
)
EVENTS = [FULL, event(), event(value=-1e300, event_time=-1), event(context={"a": "b"})]
SINGLE_EVENTS = [EdgeCodec(InteractionEvent).encode(one) for one in EVENTS]  # type: ignore[arg-type]  # plain dicts


@pytest.mark.parametrize("header", [SINGLE, CURRENT])
def test_every_damage_of_a_byte(header: bytes) -> None:
    """Every prefix, every byte left out, doubled and changed to what means something: as the codec has it."""
    made: list[bytes | None] = []
    for one in SINGLE_EVENTS:
        whole = header + one[len(SINGLE) :]
        made += [whole[:end] for end in range(len(whole) + 1)] + [whole + b"\0", whole * 2]
        for at in range(len(whole)):
            made += [
                whole[:at] + bytes([byte]) + whole[at + 1 :] for byte in (0, 1, 2, 3, 4, 9, 126, 127, 128, 129, 255)
            ]
            made += [whole[:at] + whole[at + 1 :], whole[: at + 1] + whole[at:], whole[:at] + b"\x80" + whole[at:]]
    for reader in (None, InteractionReader(codec())):
        assert_same(made, reader)


def test_every_edge_of_a_field() -> None:
    """One after the other, the values at which a rule begins or ends: as the codec has it."""
    usual = {**FULL, "context": [("device", "phone")]}
    records = [{**usual, name: edge} for name, edges in EDGES.items() for edge in edges]
    made = [SINGLE + Writer().event(one) for one in records]
    assert Writer().event({**FULL, "context": list(FULL["context"].items())}) == SINGLE_EVENTS[0][len(SINGLE) :]
    assert_same(made)


def test_numbers_end_at_64_bits() -> None:
    """Times of up to ten bytes are numbers, with or without bits that do not fit."""
    before, behind = SINGLE_EVENTS[1][:-4], SINGLE_EVENTS[1][-3:]
    times = [b"\xff" * n + bytes([last]) for n in (7, 8, 9, 10) for last in (0, 1, 2, 3, 0x7F, 0x80, 0xFF)]
    times += [b"\x80" * n + bytes([last]) for n in (1, 8, 9, 10) for last in (0, 1, 2, 0x7F)]
    assert_same([before + b"\2" + time + behind for time in times])


def test_counts_of_blocks_that_cannot_be() -> None:
    """Counts and sizes of every magnitude and sign, with and without entries behind them."""
    whole = SINGLE_EVENTS[1]
    before, behind = whole[:-2], whole[-1:]
    numbers = [sign * 2**bits + more for bits in (0, 1, 6, 31, 62, 63) for sign in (1, -1) for more in (-1, 0)]
    counts = [long(number) for number in numbers if -(2**63) <= number < 2**63]
    entry = b"\2a\2b"
    made = [before + count + size + entry * n + end + behind for count in counts for size in (b"", *counts)
            for n in (0, 1, 2) for end in (b"", b"\0")]  # fmt: skip
    assert_same(made)


def test_plain_records_do_not_pass_the_codec() -> None:
    """The slow path is for what is unusual; a registered header is that once."""
    heard = codec()
    reader = InteractionReader(heard)
    framed = [CURRENT + one[len(SINGLE) :] for one in SINGLE_EVENTS]
    assert reader.read([*SINGLE_EVENTS, None]).columns.state.tolist() == [READ] * 4 + [UNREAD]
    assert heard.heard == 0
    for _ in range(3):
        assert reader.read([*SINGLE_EVENTS, *framed]).columns.state.tolist() == [READ] * 8
    assert heard.heard == len(framed)


def test_the_smallest_time_is_a_time() -> None:
    """A record that states the number which stands for none is not taken for one without a time."""
    value = codec().encode({**FULL, "event_time": NO_TIME})  # type: ignore[typeddict-item]  # a plain dict
    found = InteractionReader(codec()).read([value])
    assert found.columns.t_ms.tolist() == [NO_TIME + 1]
    assert found.event(0)["event_time"] == NO_TIME


def test_a_silent_registry_refuses_no_record() -> None:
    """What is not the record's fault leaves the reader as it came."""

    class Silent(Registry):
        def schema_of(self, schema_id: int) -> str:
            raise RegistryError("no answer")

    with pytest.raises(RegistryError, match="no answer"):
        InteractionReader(codec(Silent())).read([SINGLE_EVENTS[0], CURRENT + SINGLE_EVENTS[0][len(SINGLE) :]])


def test_a_record_is_never_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the kernel not read what the codec takes, that is a mistake of the program and no bad record."""
    monkeypatch.setattr(interactions, "MAX_ID_BYTES", 2)
    with pytest.raises(RuntimeError, match="of 1 records that the codec takes, the scan reads 0"):
        InteractionReader(codec()).read([b"{", None, SINGLE_EVENTS[0]])
