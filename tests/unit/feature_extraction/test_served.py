"""Served lists by column: the kernel keeps of a list what a reader of the decoded record would keep."""

from __future__ import annotations

import json
import math
import struct
from array import array
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.contracts.edge import EdgeCodec, RecommendationList, RegistryError, schemas
from services.contracts.edge.binary import long
from services.contracts.inner import extraction_state
from services.contracts.inner.extraction_state import VERSION
from services.contracts.keys import item_hash
from services.feature_extraction import served
from services.feature_extraction.scan import READ, UNREAD
from services.feature_extraction.served import SERVED_FIELDS, WITHDRAWN, ListReader
from tests.unit.contracts.made_records import records
from tests.unit.feature_extraction.driving import LIST_CODEC, NOW
from tests.unit.feature_extraction.test_interactions import IDS, TEXT_EDGES, Writer, damaged, written

SCHEMA = schemas.current("RecommendationList")
SINGLE = b"\xc3\x01" + SCHEMA.fingerprint
CURRENT, OLD, BROKEN, ABSENT = (b"\0" + number.to_bytes(4, "big") for number in range(1, 5))
"""Confluent headers: of the current schema, of one with fewer fields and other types, of no schema, of nothing."""
NUMBERS = (0, 127, 128, 255, 256, 65_536, 2**32)
"""Numbers of lists that take one, two, three, five and nine bytes."""


def _old_schema() -> Any:
    old = deepcopy(SCHEMA.raw)
    old["fields"] = [field for field in old["fields"] if field["name"] not in ("arm", "fallback")][::-1]
    for field in old["fields"]:
        if field["name"] == "published_at":
            field["type"] = "int"
        if field["name"] == "items":
            entry = field["type"]["items"]
            entry["fields"] = [one for one in entry["fields"] if one["name"] != "because"]
            entry["fields"][-1]["type"] = ["null", "float"]
    return old


OLD_SCHEMA = _old_schema()


class Registry:
    """A registry of three schemas."""

    def id_of(self, subject: str, schema: str) -> int:
        """The current schema's."""
        return 1

    def schema_of(self, schema_id: int) -> str:
        """Look up by id."""
        return {1: SCHEMA.text, 2: json.dumps(OLD_SCHEMA), 3: "{}"}[schema_id]


class Heard(EdgeCodec[RecommendationList]):
    """A codec that counts what it decodes."""

    heard = 0

    def decode(self, value: bytes) -> RecommendationList:
        """Decode one record."""
        self.heard += 1
        return super().decode(value)


def codec(registry: Registry | None = None) -> Heard:
    """A codec as the service has it."""
    return Heard(RecommendationList, registry or Registry(), "recommendations-value", SERVED_FIELDS)


class ListWriter(Writer):
    """Writes lists in any way that can be read, and in some that cannot."""

    def number(self, value: int | bytes) -> bytes:
        """A number, or bytes that stand in its place."""
        return value if isinstance(value, bytes) else self.long(value)

    def item(self, one: dict[str, Any]) -> bytes:
        """The fields of an item in the order of the schema."""
        drawn = one["propensity"]
        return b"".join(
            [
                self.text(one["item_id"]),
                struct.pack("<d", one["score"]),
                self.number(one["rank"]),
                self.text(one["signal"]),
                self.blocks([self.text(name) for name in one["because"]]),
                self.optional(None if drawn is None else struct.pack("<d", drawn)),
            ]
        )

    def list(self, record: dict[str, Any]) -> bytes:
        """The fields in the order of the schema."""

        def text(name: str) -> bytes:
            return self.optional(None if record[name] is None else self.text(record[name]))

        def number(name: str) -> bytes:
            return self.optional(None if record[name] is None else self.number(record[name]))

        model = record["model"]
        return b"".join(
            [
                self.text(record["list_id"]),
                self.text(record["user_id"]),
                self.blocks([self.item(one) for one in record["items"]]),
                text("learned_event_id"),
                number("learned_event_time"),
                number("learned_append_time"),
                self.number(record["published_at"]),
                number("latency_ms"),
                self.optional(None if model is None else b"".join(self.number(one) for one in model.values())),
                self.text(record["arm"]),
                self.text(record["why"]),
                text("request_id"),
                text("fallback"),
            ]
        )


TEXTS = [*TEXT_EDGES, *IDS]
POWERS = [2**bits + more for bits in (5, 7, 8, 15, 16, 31, 32) for more in (-1, 0, 1)]
LONGS: list[Any] = [-(2**63), 2**63 - 1, *POWERS, *(-power for power in POWERS)]
FAR = b"\x80" * 10 + b"\0"
"""A number of more than 64 bits."""
TIMES = [*LONGS[:2], FAR]
EDGES: dict[str, list[Any]] = {
    "user_id": IDS,
    **dict.fromkeys(("list_id", "arm", "why", "learned_event_id", "request_id", "fallback"), TEXTS),
    "published_at": [*LONGS, FAR],
    **dict.fromkeys(("learned_event_time", "learned_append_time", "latency_ms"), TIMES),
    "model": [{"epoch": 1, "partition": FAR, "offset": -1}],
}
"""Values at which a rule begins or ends; bytes are no UTF-8, or no number."""
ITEM_EDGES: dict[str, list[Any]] = {
    **dict.fromkeys(("item_id", "signal"), TEXTS),
    "score": [math.nan, math.inf],
    "rank": [0, -1, 2**31 - 1, 2**40, FAR],
    "because": [[b"\xff"], [""] * 3],
    "propensity": [math.nan, math.inf, -0.0, 0.0, 1.0, 2.0, 5e-324],
}
right = records(SCHEMA.raw)


@st.composite
def values(draw: st.DrawFn) -> bytes:
    """A list in one of the encodings, and in every second case with something unusual about it."""
    record, how = draw(right), draw(st.sampled_from(["avro"] * 5 + ["json", "old"]))
    if how == "json":
        kept = {name: record[name] for name in record if draw(st.sampled_from([True] * 9 + [False]))}
        value = json.dumps(kept).encode()
    elif how == "old":
        value = OLD + written(OLD_SCHEMA, {**record, "published_at": draw(st.integers(-(2**31), 2**31 - 1))})
    else:
        header = draw(st.sampled_from([SINGLE] * 6 + [CURRENT] * 6 + [BROKEN, ABSENT, b"\xc3\x01" + bytes(8), b""]))
        if draw(st.integers(0, 3)) == 0:
            name = draw(st.sampled_from(sorted(EDGES)))
            record[name] = draw(st.sampled_from(EDGES[name]))
        if record["items"] and draw(st.integers(0, 3)) == 0:
            name = draw(st.sampled_from(sorted(ITEM_EDGES)))
            draw(st.sampled_from(record["items"]))[name] = draw(st.sampled_from(ITEM_EDGES[name]))
        value = header + ListWriter(draw if draw(st.booleans()) else None).list(record)
    return damaged(draw, value) if value and draw(st.integers(0, 3)) == 0 else value


def packed(record: Any, number: int) -> bytes:
    """What is kept of a decoded list, the plain way."""
    items = record["items"]
    return extraction_state.encode(
        {
            "v": VERSION,
            "k": number,
            "id": record["list_id"],
            "t": record["published_at"],
            "a": record["arm"],
            "h": array("Q", [item_hash(item["item_id"]) for item in items]).tobytes(),
            "x": [[rank, item["propensity"]] for rank, item in enumerate(items, 1) if item["propensity"] is not None],
        }
    )


def decoded(by: EdgeCodec[RecommendationList], value: bytes | None) -> Any:
    """What the codec makes of a record; the error when it is none."""
    try:
        return None if value is None else by.decode(value)
    except ValueError as error:
        return error


def assert_same(given_values: Sequence[bytes | None], reader: ListReader | None = None) -> list[int]:
    """What is kept is what the plain way keeps, and what is refused is what the codec refuses; returns the states."""
    by = codec()
    wanted = [decoded(by, value) for value in given_values]
    found = (reader or ListReader(codec())).read(given_values)
    errors = [(row, type(one), str(one)) for row, one in enumerate(wanted) if isinstance(one, ValueError)]
    assert [(row, type(error), str(error)) for row, error in found.refused] == errors
    states = [WITHDRAWN if one is None else READ if isinstance(one, dict) else UNREAD for one in wanted]
    assert found.state == states
    for row, one in enumerate(wanted):
        if states[row] != READ:
            assert (found.ids[row], found.bodies[row]) == (b"", b"")
            continue
        assert found.ids[row] == one["list_id"].encode()
        for number in NUMBERS:
            assert extraction_state.encode_list(number, found.bodies[row]) == packed(one, number)
    return states


@given(st.lists(st.none() | values() | st.binary(max_size=30), max_size=6))
@example([None, b"", b"{}", b"\0", b"\xc3\x01", SINGLE, CURRENT])
def test_bodies_are_what_the_codec_gives(given_values: list[bytes | None]) -> None:
    """Whatever the bytes: the same is kept, and the same records are refused for the same reasons."""
    assert_same(given_values)
    known = ListReader(by := codec())
    by.decode(CURRENT + SINGLE_LISTS[0][len(SINGLE) :])
    assert_same(given_values, known)


def a_list(items: int = 2, **fields: Any) -> dict[str, Any]:
    """A list with something in every field; every second item was drawn."""
    return {
        "list_id": "l-1",
        "user_id": "Ünal",
        "items": [
            {
                "item_id": f"用-{n}",
                "score": -0.5,
                "rank": n + 1,
                "signal": "content",
                "because": ["a", "b"][: n % 3],
                "propensity": None if n % 2 else 0.25,
            }
            for n in range(items)
        ],
        "learned_event_id": "e",
        "learned_event_time": NOW,
        "learned_append_time": NOW,
        "published_at": NOW,
        "latency_ms": 70,
        "model": {"epoch": 1, "partition": 2, "offset": 300},
        "arm": "bold",
        "why": "request",
        "request_id": "r",
        "fallback": "new-user",
        **fields,
    }


BARE = a_list(
    0,
    **dict.fromkeys(("learned_event_id", "learned_event_time", "learned_append_time", "latency_ms")),
    **dict.fromkeys(("model", "request_id", "fallback")),
)
SINGLE_LISTS = [LIST_CODEC.encode(cast(RecommendationList, one)) for one in (a_list(), BARE)]


def test_lists_in_every_encoding_are_kept() -> None:
    """Avro with and without a registry, of the current schema and of an older one, and JSON."""
    body, old = SINGLE_LISTS[0][len(SINGLE) :], written(OLD_SCHEMA, a_list(published_at=5))
    least = {"list_id": "l", "user_id": "u", "items": [], "published_at": 0, "why": "event"}
    made = [SINGLE + body, CURRENT + body, OLD + old, *(json.dumps(one).encode() for one in (a_list(), least))]
    assert assert_same(made) == [READ] * 5


@pytest.mark.parametrize("header", [SINGLE, CURRENT])
def test_every_damage_of_a_byte(header: bytes) -> None:
    """Every prefix, every byte left out, doubled and changed to what means something: as the codec has it."""
    made: list[bytes | None] = []
    for one in SINGLE_LISTS:
        whole = header + one[len(SINGLE) :]
        made += [whole[:end] for end in range(len(whole) + 1)] + [whole + b"\0", whole * 2]
        for at in range(len(whole)):
            made += [whole[:at] + bytes([byte]) + whole[at + 1 :] for byte in (0, 1, 2, 3, 4, 9, 127, 128, 129, 255)]
            made += [whole[:at] + whole[at + 1 :], whole[: at + 1] + whole[at:], whole[:at] + b"\x80" + whole[at:]]
    for reader in (None, ListReader(codec())):
        assert_same(made, reader)


def test_every_edge_of_a_field() -> None:
    """One after the other, the values at which a rule begins or ends: as the codec has it."""
    assert ListWriter().list(a_list()) == SINGLE_LISTS[0][len(SINGLE) :]
    made = [a_list(**{name: edge}) for name, edges in EDGES.items() for edge in edges]
    for name, edges in ITEM_EDGES.items():
        for edge in edges:
            made.append(a_list())
            made[-1]["items"][1][name] = edge
    assert_same([SINGLE + ListWriter().list(one) for one in made])


@pytest.mark.parametrize("damage", [{"why": b"\xff"}, {"fallback": b"\xff"}, {"latency_ms": FAR}])
def test_what_nobody_reads_is_not_looked_at(damage: dict[str, Any]) -> None:
    """A text that is none, or a number that is too long, in a field that is passed over, refuses no list."""
    assert assert_same([SINGLE + ListWriter().list(a_list(**damage))]) == [READ]


@pytest.mark.parametrize("items", [1, 15, 16, 31, 32, 33, 8191, 8192, 131_073])
def test_lists_of_any_length(items: int) -> None:
    """Every form that the head of an array or of bytes can have; and a short list behind a long one."""
    long_one = a_list(items, list_id="l" * items)
    assert assert_same([*(SINGLE + ListWriter().list(one) for one in (long_one, a_list())), None]) == [
        READ,
        READ,
        WITHDRAWN,
    ]


def test_counts_of_blocks_that_cannot_be() -> None:
    """Counts and sizes of every magnitude and sign, with and without items behind them."""
    before = SINGLE + b"\2l\2u"
    behind = SINGLE_LISTS[1][SINGLE_LISTS[1].index("Ünal".encode()) + len("Ünal".encode()) + 1 :]
    numbers = [sign * 2**bits + more for bits in (0, 1, 6, 31, 62, 63) for sign in (1, -1) for more in (-1, 0)]
    counts = [long(number) for number in numbers if -(2**63) <= number < 2**63]
    item = ListWriter().item(a_list()["items"][0])
    made = [before + count + size + item * n + end + behind for count in counts for size in (b"", *counts)
            for n in (0, 1, 2) for end in (b"", b"\0")]  # fmt: skip
    made += [before + long(1) + item[:-10] + count + size + b"\0\0\0" + behind for count in counts for size in counts]
    assert READ in assert_same(made)


def test_plain_records_do_not_pass_the_codec() -> None:
    """The slow path is for what is unusual; a registered header is that once."""
    heard = codec()
    reader = ListReader(heard)
    framed = [CURRENT + one[len(SINGLE) :] for one in SINGLE_LISTS]
    assert reader.read([*SINGLE_LISTS, None]).state == [READ, READ, WITHDRAWN]
    assert heard.heard == 0
    for _ in range(3):
        assert reader.read([*SINGLE_LISTS, *framed]).state == [READ] * 4
    assert heard.heard == len(framed)


def test_a_silent_registry_refuses_no_record() -> None:
    """What is not the record's fault leaves the reader as it came."""

    class Silent(Registry):
        def schema_of(self, schema_id: int) -> str:
            raise RegistryError("no answer")

    with pytest.raises(RegistryError, match="no answer"):
        ListReader(codec(Silent())).read([SINGLE_LISTS[0], CURRENT + SINGLE_LISTS[0][len(SINGLE) :]])


def test_a_record_is_never_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the kernel not read what the codec takes, that is a mistake of the program and no bad record."""
    monkeypatch.setattr(served, "MAX_ID_BYTES", 2)
    with pytest.raises(RuntimeError, match="of 1 records that the codec takes, the scan reads 0"):
        ListReader(codec()).read([b"{", None, SINGLE_LISTS[0]])


def test_compiled_before_the_first_batch() -> None:
    """After the warm-up no batch meets the compiler."""
    served.compile_kernels()
    before = len(served._read_all.signatures)  # type: ignore[attr-defined]  # numba's
    assert ListReader(codec()).read([*SINGLE_LISTS, b"x", None]).state == [READ, READ, UNREAD, WITHDRAWN]
    assert len(served._read_all.signatures) == before > 0  # type: ignore[attr-defined]  # numba's
