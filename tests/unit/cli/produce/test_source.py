from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.produce.columns import EVENTS, ITEMS, match
from services.cli.produce.source import BadRowError, Source, SourceError, delimiter_of, identity
from services.contracts.edge import codec_for

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=12)
EVENT = st.fixed_dictionaries(
    {
        "user_id": TEXT,
        "item_id": TEXT,
        "type": TEXT,
        "value": st.none() | st.floats(-1e6, 1e6),
        "event_time": st.none() | st.integers(10**12, 2 * 10**12),
        "session_id": st.none() | TEXT,
    }
)


def _read(path: Path, shape: Any = EVENTS, **columns: str) -> list[Any]:
    with Source(str(path), shape, columns) as source:
        return list(source.rows())


def _csv(rows: list[dict[str, Any]], delimiter: str = ",") -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@given(st.lists(EVENT, min_size=1, max_size=6), st.sampled_from([",", ";", "\t"]), st.booleans())
def test_csv_gives_the_events_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], delimiter: str, packed: bool
) -> None:
    """Whatever text is in the cells (quotes, commas, line breaks), with any delimiter, packed or not."""
    path = tmp_path_factory.mktemp("csv") / ("events.csv.gz" if packed else "events.csv")
    data = _csv(rows, delimiter).encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    found = _read(path)
    assert [{name: each[name] for name in row} for each, row in zip(found, rows, strict=True)] == rows


@given(st.lists(EVENT, min_size=1, max_size=6))
def test_json_lines_give_the_events_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    """JSON lines carry the fields by name, absent ones are blank, and every record can be encoded."""
    path = tmp_path_factory.mktemp("jsonl") / "events.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    found = _read(path)
    codec = codec_for("interactions")
    for each, row in zip(found, rows, strict=True):
        assert {name: each[name] for name in row} == row
        assert codec.decode(codec.encode(each)) == each


def test_documented_columns(tmp_path: Path) -> None:
    """The columns of the documentation are read into the fields of the records."""
    events = tmp_path / "events.csv"
    events.write_text("user_id,item_id,event_type,value,timestamp_ms\n12439,2171847,rating,6.0,1362062307000\n")
    items = tmp_path / "items.csv"
    items.write_text("item_id,title,year,categories\n10002,INFLATABLE GLOBE ,1908,Action|Short\n10003,,,\n")
    assert _read(events) == [
        {
            "event_id": None, "user_id": "12439", "item_id": "2171847", "type": "rating", "value": 6.0,
            "event_time": 1362062307000, "session_id": None, "context": {}, "list_id": None,
        }
    ]  # fmt: skip
    first, second = _read(items, ITEMS)
    assert (first["title"], first["year"], first["categories"]) == ("INFLATABLE GLOBE ", 1908, ["Action", "Short"])
    assert (second["title"], second["year"], second["categories"], second["available"]) == ("", None, [], True)


def test_other_names_and_maps(tmp_path: Path) -> None:
    """Usual other names are understood, and columns with a dot are entries of a map."""
    path = tmp_path / "events.tsv"
    path.write_text("User ID\tmovieId\trating\tts\tcontext.device\tnoise\nu\tm\t3\t1700000000\tphone\tx\n")
    with Source(str(path), EVENTS) as source:
        (event,) = source.rows()
        assert source.notes == ["columns not used: noise"]
        assert source.fields["value"] == "rating"
    assert isinstance(event, dict)
    assert (event["user_id"], event["item_id"], event["value"]) == ("u", "m", 3.0)
    assert (event["event_time"], event["context"]) == (1_700_000_000_000, {"device": "phone"})


def test_chosen_columns(tmp_path: Path) -> None:
    """A column can be named; a field or column that does not exist is an error."""
    path = tmp_path / "events.csv"
    path.write_text("who,what\nu,i\n")
    (event,) = _read(path, user_id="who", item_id="what")
    assert (event["user_id"], event["item_id"]) == ("u", "i")
    with pytest.raises(SourceError, match=r"no column for user_id among who, what"):
        _read(path)
    with pytest.raises(SourceError, match="there is no column 'whom'"):
        _read(path, user_id="whom")
    with pytest.raises(ValueError, match="no field"):
        match(EVENTS, ["a"], {"nothing": "a"})


def test_bad_rows_carry_their_line(tmp_path: Path) -> None:
    """A wrong row comes as an error with file and line, and reading goes on after it."""
    path = tmp_path / "events.csv"
    path.write_text('\nuser,item,value\nu1,i1,1\n\nu2,i2\nu3,"i\n3",x\nu4,i4,4\n')
    found = _read(path)
    assert [each.line if isinstance(each, BadRowError) else each["user_id"] for each in found] == ["u1", 5, 7, "u4"]
    assert "columns" in str(found[1])
    assert "column value" in str(found[2])
    lines = tmp_path / "events.jsonl"
    lines.write_text('{"user": "u", "item": "i"}\n\nnot json\n[1]\n{"user": "u"}\n{"user": 7, "item": 8}\n')
    found = _read(lines)
    assert [each.line if isinstance(each, BadRowError) else each["user_id"] for each in found] == ["u", 3, 4, 5, "7"]


def test_rows_can_be_skipped_without_losing_the_line(tmp_path: Path) -> None:
    """A resumed reading starts after the skipped rows and still knows the lines."""
    path = tmp_path / "events.csv"
    path.write_text("user,item\n" + "".join(f"u{number},i\n" for number in range(10)))
    with Source(str(path), EVENTS) as source:
        rows = source.rows(skip=7)
        first = next(rows)
        assert isinstance(first, dict)
        assert (first["user_id"], source.line) == ("u7", 9)
        assert len(list(rows)) == 2


def test_damaged_gzip_is_told(tmp_path: Path) -> None:
    """A gzip file that was cut off gives its rows and then an error with the line."""
    path = tmp_path / "events.csv.gz"
    data = gzip.compress(("user,item\n" + "".join(f"u{n * n},i{n}\n" for n in range(100_000))).encode())
    path.write_bytes(data[: len(data) // 2])
    with Source(str(path), EVENTS) as source, pytest.raises(SourceError, match=r"damaged gzip file after line \d+"):
        list(source.rows())


def test_array_is_refused_with_advice(tmp_path: Path) -> None:
    """A JSON array is not JSON lines, and the message says what to do."""
    path = tmp_path / "events.json"
    path.write_text('[{"user": "u"}]')
    with pytest.raises(SourceError, match="one object per line"):
        Source(str(path), EVENTS)


def test_empty_file(tmp_path: Path) -> None:
    """An empty file has no rows."""
    path = tmp_path / "events.csv"
    path.write_text("\n\n")
    assert _read(path) == []


def test_delimiter_by_known_columns() -> None:
    """The delimiter is the one under which the columns are known."""
    assert delimiter_of("user;item;ts\n", EVENTS, {}) == ";"
    assert delimiter_of("user,item|x\n", EVENTS, {}) == ","
    assert delimiter_of("who;what;when\n", EVENTS, {"user_id": "who", "item_id": "what"}) == ";"


def test_delimiter_of_unknown_columns() -> None:
    """Where the user's column is not known, or none is, the header is split at what splits it: comma if at nothing."""
    assert delimiter_of("who;movie;stars;ts\n", EVENTS, {}) == ";"
    assert delimiter_of("who|what|a, b or c\n", EVENTS, {}) == "|"
    assert delimiter_of("who\n", EVENTS, {}) == ","


def test_the_columns_of_a_refused_file_are_named(tmp_path: Path) -> None:
    """The message lists the columns one by one, so that --column can name one of them."""
    path = tmp_path / "events.csv"
    path.write_text("who;movie;stars;ts\na;b;3;1\n")
    with pytest.raises(SourceError, match="no column for user_id among who, movie, stars, ts; known names are user_id"):
        _read(path)


def test_identity_is_the_contents(tmp_path: Path) -> None:
    """A file that is moved keeps its identity, one that changes does not."""
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"x" * 3_000_000)
    b.write_bytes(b"x" * 3_000_000)
    before = identity(a)
    assert identity(b) == before
    b.write_bytes(b"x" * 2_999_999 + b"y")
    assert identity(b) != before


@given(st.binary(max_size=200))
def test_any_bytes_give_rows_or_a_clear_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """No content of a file breaks the reader or the encoding of what it gives."""
    path = tmp_path_factory.mktemp("bytes") / "events.csv"
    path.write_bytes(b"user,item,value\n" + data)
    codec = codec_for("interactions")
    for row in _read(path):
        if not isinstance(row, BadRowError):
            try:
                codec.encode({**row, "type": "view"})
            except ValueError as error:
                assert "InteractionEvent" in str(error)  # noqa: PT017 - which of the two ways it takes is left open
