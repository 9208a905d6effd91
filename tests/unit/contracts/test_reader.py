from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.edge import EdgeCodec, EdgeRecordError, RecommendationList
from services.contracts.edge.reader import reader

SCHEMA = {
    "type": "record",
    "name": "Outer",
    "fields": [
        {"name": "text", "type": "string"},
        {"name": "whole", "type": "long"},
        {"name": "small", "type": ["int", "null"]},
        {"name": "part", "type": ["null", "double"]},
        {"name": "single", "type": "float"},
        {"name": "flag", "type": "boolean"},
        {"name": "names", "type": {"type": "map", "values": "string"}},
        {
            "name": "inner",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Inner",
                    "fields": [
                        {"name": "id", "type": "string"},
                        {"name": "marks", "type": {"type": "array", "items": "long"}},
                        {"name": "flag", "type": "boolean"},
                    ],
                },
            },
        },
        {"name": "last", "type": ["null", "string"]},
    ],
}
LONGS = st.integers(-(2**63), 2**63 - 1)
INNER = st.fixed_dictionaries({"id": st.text(), "marks": st.lists(LONGS), "flag": st.booleans()})
OUTER = st.fixed_dictionaries(
    {
        "text": st.text(max_size=200),
        "whole": LONGS,
        "small": st.none() | st.integers(-(2**31), 2**31 - 1),
        "part": st.none() | st.floats(allow_nan=False),
        "single": st.floats(allow_nan=False, width=32),
        "flag": st.booleans(),
        "names": st.dictionaries(st.text(), st.text()),
        "inner": st.lists(INNER),
        "last": st.none() | st.text(),
    }
)


def written(record: Any) -> bytes:
    """A record as fastavro writes it."""
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(SCHEMA), record)
    return out.getvalue()


@given(record=OUTER, before=st.binary(max_size=3), behind=st.binary(max_size=3))
def test_reads_what_a_general_writer_wrote(record: dict[str, Any], before: bytes, behind: bytes) -> None:
    """Every type and every value, from a place inside the bytes, up to the record's end."""
    value = before + written(record)
    assert reader(SCHEMA)(value + behind, len(before)) == (record, len(value))


@given(record=OUTER, fields=st.sets(st.sampled_from(["text", "part", "names", "inner", "id", "flag", "last"])))
def test_fields_that_are_not_wanted_are_skipped(record: dict[str, Any], fields: set[str]) -> None:
    """A reader of some fields gives those, at any depth, and ends where the record ends."""
    value = written(record)
    kept = {name: given for name, given in record.items() if name in fields}
    if "inner" in kept:
        kept["inner"] = [{name: one[name] for name in one if name in fields} for one in kept["inner"]]
    assert reader(SCHEMA, fields)(value, 0) == (kept, len(value))


@given(record=OUTER, data=st.data())
def test_a_cut_off_record_is_noticed(record: dict[str, Any], data: st.DataObject) -> None:
    """A record without its last bytes raises, or ends beyond the bytes that there are; skipped fields too."""
    value = written(record)
    cut = value[: data.draw(st.integers(0, len(value) - 1))]
    for fields in (None, {"text"}):
        try:
            _, end = reader(SCHEMA, fields)(cut, 0)
        except (ValueError, IndexError, struct.error):
            continue
        assert end > len(cut)


def test_arrays_in_blocks_with_sizes() -> None:
    """A block may state its size in bytes, behind a negative count, and an array may have many blocks."""
    schema = {"type": "record", "name": "R", "fields": [{"name": "a", "type": {"type": "array", "items": "long"}}]}
    value = bytes([3, 4, 2, 4, 2, 6, 0])  # count -2, 2 bytes: 1, 2; count 1: 3; count 0
    assert reader(schema)(value, 0) == ({"a": [1, 2, 3]}, len(value))
    assert reader(schema, ())(value, 0) == ({}, len(value))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"\x01", id="a length of -1"),
        pytest.param(b"\x02a" + b"\xff" * 11, id="a number without end"),
        pytest.param(b"\x02a" + b"\xff" * 9 + b"\x7f", id="a number of 70 bits"),
        pytest.param(b"\x02a\x02\x08", id="a branch that the union does not have"),
        pytest.param(b"\x02\xff\x02", id="no UTF-8"),
    ],
)
def test_impossible_bytes_raise(value: bytes) -> None:
    """What no writer writes is a ValueError."""
    with pytest.raises(ValueError, match=r"length|64 bits|branch|decode"):
        reader(SCHEMA)(value, 0)


def test_types_that_no_edge_record_has() -> None:
    """A schema beyond the reader is noticed when it is compiled."""
    schema = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "bytes"}]}
    with pytest.raises(NotImplementedError, match="bytes"):
        reader(schema)


def test_a_codec_of_some_fields_checks_all_bytes() -> None:
    """A codec that reads some fields refuses trailing bytes and bad ids as one that reads all."""
    codec: EdgeCodec[Any] = EdgeCodec(RecommendationList, fields=("list_id", "user_id", "items", "item_id"))
    record: Any = {"list_id": "l", "user_id": "ann", "published_at": 1, "why": "event"}
    record["items"] = [{"item_id": "a", "score": 1.0, "rank": 300, "because": ["b"], "propensity": 0.5}]
    value = codec.encode(codec.complete(record))
    assert codec.decode(value) == {"list_id": "l", "user_id": "ann", "items": [{"item_id": "a"}]}
    for damaged in (value + b"\x00", value[:-1], value[:-3]):
        with pytest.raises(EdgeRecordError, match=r"bytes follow|damaged"):
            codec.decode(damaged)
