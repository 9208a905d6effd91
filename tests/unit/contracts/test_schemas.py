"""Schemas: documented, matched by the TypedDicts, and never changed in a way that breaks old records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from io import BytesIO
from pathlib import Path
from typing import Any, get_args, get_type_hints

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts import topics
from services.contracts.edge import records as typed
from services.contracts.edge import schemas
from tests.unit.contracts.evolution import breaks, without_docs
from tests.unit.contracts.made_records import records

every_record = pytest.mark.parametrize("record", schemas.RECORDS)


def _all_fields(schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    for field in schema["fields"]:
        yield f"{path}.{field['name']}", field
        stack = [field["type"]]
        while stack:
            kind = stack.pop()
            if isinstance(kind, list):
                stack.extend(kind)
            elif isinstance(kind, dict):
                if kind["type"] == "record":
                    yield from _all_fields(kind, f"{path}.{kind['name']}")
                else:
                    stack.extend(kind[key] for key in ("items", "values") if key in kind)


@every_record
def test_every_field_has_a_doc(record: str) -> None:
    """A person who has only the schema file learns what each field means."""
    raw = schemas.current(record).raw
    assert raw["doc"]
    for path, field in _all_fields(raw, record):
        doc = field.get("doc", "")
        assert doc.endswith("."), f"{path} has no doc that is a sentence"
        if "default" in field:
            assert "Default " in doc, f"the doc of {path} does not say what its default means"


@every_record
def test_times_state_their_unit(record: str) -> None:
    """Every field that is a moment or a duration says in which unit."""
    for path, field in _all_fields(schemas.current(record).raw, record):
        if path.endswith(("_time", "_at", "_ms", "window_start", "window_end")):
            assert "millisecond" in field["doc"] or "Event time" in field["doc"], path


@every_record
def test_typed_dict_has_the_schema_s_fields(record: str) -> None:
    """The Python types and the schema of a record name the same fields with the same types."""
    _compare(getattr(typed, record), schemas.current(record).raw)


def _compare(cls: Any, raw: Any) -> None:
    hints = get_type_hints(cls)
    assert list(hints) == [field["name"] for field in raw["fields"]]
    for field in raw["fields"]:
        _compare_type(hints[field["name"]], field["type"])


def _compare_type(hint: Any, kind: Any) -> None:
    plain = {"string": str, "double": float, "long": int, "int": int, "boolean": bool}
    if isinstance(kind, list):
        other = next(branch for branch in kind if branch != "null")
        inner = [arg for arg in get_args(hint) if arg is not type(None)]
        assert len(inner) == len(get_args(hint)) - 1, f"{hint} is not optional"
        _compare_type(inner[0], other)
    elif isinstance(kind, dict) and kind["type"] == "record":
        _compare(hint, kind)
    elif isinstance(kind, dict):
        assert hint.__origin__ is {"array": list, "map": dict}[kind["type"]]
        _compare_type(get_args(hint)[-1], kind.get("items") or kind.get("values"))
    else:
        assert hint is plain[kind]


def test_every_edge_topic_has_a_schema() -> None:
    """The topic table and the schema folder name the same records."""
    assert {line.value for line in topics.TOPICS if line.format == "edge"} == set(schemas.RECORDS)
    assert {path.stem for path in schemas.folder().glob("*.avsc")} == set(schemas.RECORDS)


@every_record
def test_current_schema_is_the_newest_released(record: str) -> None:
    """A change of a schema is not forgotten to be released: its records could not be read back by fingerprint."""
    newest = schemas.released(record)[-1]
    assert without_docs(schemas.current(record).raw) == without_docs(newest.raw), (
        f"schemas/{record}.avsc differs from its newest released version: add "
        f"schemas/released/{record}/v{len(schemas.released(record)) + 1}.avsc, see schemas/README.md"
    )


def test_released_files_never_change() -> None:
    """A released version is what producers in the field write: its file is frozen."""
    root = schemas.folder() / "released"
    frozen = json.loads((root / "fingerprints.json").read_text())
    found = {_label(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in root.glob("*/v*.avsc")}
    assert found == frozen


def _label(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


@every_record
def test_current_schema_breaks_no_released_one(record: str) -> None:
    """By the written rules, every released record stays readable."""
    for version in schemas.released(record):
        assert breaks(schemas.current(record).raw, version.raw) == []


@every_record
@given(data=st.data())
def test_current_schema_decodes_released_records(record: str, data: st.DataObject) -> None:
    """By Avro's own resolution, records of every released version are read, with shared fields kept."""
    for version in schemas.released(record):
        written = data.draw(records(version.raw))
        out = BytesIO()
        fastavro.schemaless_writer(out, version.parsed, written)
        out.seek(0)
        read: Any = fastavro.schemaless_reader(out, version.parsed, schemas.current(record).parsed)
        assert {name: read[name] for name in written if name in read} == written


def _drop_default(raw: Any) -> None:
    del raw["fields"][0]["default"]


def _add_required(raw: Any) -> None:
    raw["fields"].append({"name": "colour", "type": "string", "doc": "New."})


def _retype(raw: Any) -> None:
    raw["fields"][1]["type"] = "long"


def _narrow(raw: Any) -> None:
    raw["fields"][4]["type"] = ["null", "long"]


def _require(raw: Any) -> None:
    raw["fields"][4]["type"] = "double"


def _rename_field(raw: Any) -> None:
    raw["fields"][1]["name"] = "userId"


def _rename_record(raw: Any) -> None:
    raw["name"] = "Interaction"


def _retype_map(raw: Any) -> None:
    raw["fields"][7]["type"] = {"type": "map", "values": "double"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_drop_default, r"event_id: lost its default"),
        (_add_required, r"colour: a new field needs a default"),
        (_retype, r"user_id: the type changed from string to long"),
        (_narrow, r"value: old records hold double"),
        (_require, r"value: the type changed from null to double"),
        (_rename_field, r"userId: a new field needs a default"),
        (_rename_record, r"renamed from InteractionEvent to Interaction"),
        (_retype_map, r"context\{\}: the type changed from string to double"),
    ],
)
def test_breaking_change_is_refused(change: Callable[[Any], None], reason: str) -> None:
    """Each kind of breaking change is found, and the message names the field."""
    old = schemas.current("InteractionEvent").raw
    new = deepcopy(old)
    change(new)
    found = breaks(new, old)
    assert any(reason.replace("\\", "") in line for line in found), found


def _add_optional(raw: Any) -> None:
    raw["fields"].append({"name": "colour", "type": ["null", "string"], "default": None, "doc": "New."})


def _remove(raw: Any) -> None:
    del raw["fields"][6]


def _widen(raw: Any) -> None:
    raw["fields"][5]["type"] = ["null", "double"]


def _make_optional(raw: Any) -> None:
    raw["fields"][2]["type"] = ["null", "string"]


def _reword(raw: Any) -> None:
    raw["fields"][0]["doc"] = "Said otherwise."


@pytest.mark.parametrize("change", [_add_optional, _remove, _widen, _make_optional, _reword])
@given(data=st.data())
def test_allowed_change_reads_old_records(change: Callable[[Any], None], data: st.DataObject) -> None:
    """What the rules allow, Avro's resolution can indeed read: rules and decoder agree."""
    old = schemas.current("InteractionEvent").raw
    new = deepcopy(old)
    change(new)
    assert breaks(new, old) == []
    written = data.draw(records(old))
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(deepcopy(old)), written)
    out.seek(0)
    read = fastavro.schemaless_reader(out, fastavro.parse_schema(deepcopy(old)), fastavro.parse_schema(new))
    assert isinstance(read, dict)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [("null", 0x63DD24E7CC258F8A), ("int", 0x7275D51A3F395C8F), ("string", 0x8F014872634503C7)],
)
def test_fingerprint_is_that_of_the_specification(schema: str, expected: int) -> None:
    """CRC-64-AVRO agrees with the vectors that come with Avro's Java implementation, little-endian."""
    assert schemas.fingerprint_of(schema) == expected.to_bytes(8, "little")


@every_record
def test_fingerprint_agrees_with_the_definition(record: str) -> None:
    """The library's fingerprint equals the specification's algorithm, written out, on the canonical form."""
    schema = schemas.current(record)
    canonical = fastavro.schema.to_parsing_canonical_form(schema.parsed)
    crc = empty = 0xC15D213AA4D7A795
    for byte in canonical.encode():
        entry = (crc ^ byte) & 0xFF
        for _ in range(8):
            entry = (entry >> 1) ^ (empty if entry & 1 else 0)
        crc = (crc >> 8) ^ entry
    assert schema.fingerprint == crc.to_bytes(8, "little")


@pytest.mark.parametrize("text", ["", "[]", '"string"', '{"type": "record"}', "{"])
def test_what_is_no_schema_is_refused(text: str) -> None:
    """A broken schema (of a registry, say) is a ValueError, whatever is wrong with it."""
    with pytest.raises(ValueError, match=r"."):
        schemas.schema_of(text)


def test_unknown_record_is_named() -> None:
    """Asking for a record that does not exist lists those that do."""
    with pytest.raises(KeyError, match="InteractionEvent"):
        schemas.current("Interaction")
