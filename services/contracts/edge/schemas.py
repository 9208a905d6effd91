"""The Avro schemas of the edge records, current and released, as files and as parsed by fastavro."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fastavro.schema import fingerprint as avro_fingerprint
from fastavro.schema import parse_schema, to_parsing_canonical_form

RECORDS = (
    "InteractionEvent",
    "Item",
    "RecommendationRequest",
    "ErasureRequest",
    "RecommendationList",
    "QualityReport",
)
"""Names of the edge records; each has a schema of that name."""


@dataclass(frozen=True, slots=True)
class Schema:
    """One schema: its JSON text, the fastavro form, and the fingerprint of its canonical form."""

    name: str
    text: str
    """JSON without white space, as a registry stores it (docs and defaults included)."""
    raw: Any
    """The parsed JSON."""
    parsed: Any
    """What fastavro's readers and writers take."""
    fingerprint: bytes
    """CRC-64-AVRO of the parsing canonical form, 8 bytes little-endian."""


def schema_of(text: str) -> Schema:
    """Parse a schema given as JSON text.

    Raises:
        ValueError: not JSON, or not an Avro record schema.
    """
    raw = json.loads(text)
    if not isinstance(raw, dict) or raw.get("type") != "record":
        raise ValueError("not an Avro record schema")
    try:
        parsed = parse_schema(json.loads(text))
    except Exception as error:  # fastavro raises its own family, KeyError and TypeError for broken schemas
        raise ValueError(f"not an Avro schema: {error}") from error
    # Without white space the text has one form, so that a registry sees one schema and not many.
    compact = json.dumps(raw, separators=(",", ":"), ensure_ascii=False)
    return Schema(str(raw.get("name")), compact, raw, parsed, fingerprint_of(parsed))


def fingerprint_of(parsed: Any) -> bytes:
    """CRC-64-AVRO of a schema's parsing canonical form, 8 bytes little-endian as in the single-object encoding."""
    # fastavro gives the little-endian bytes in hexadecimal; a test holds it to the vectors of the specification.
    return bytes.fromhex(avro_fingerprint(to_parsing_canonical_form(parsed), "CRC-64-AVRO"))


@cache
def folder() -> Path:
    """The folder of the .avsc files: inside the package in an installed wheel, `schemas/` in a checkout."""
    here = Path(__file__).resolve()
    for candidate in (here.parents[1] / "schemas", here.parents[3] / "schemas"):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"no schemas folder beside {here}: the installation of streamrec is not complete")


@cache
def current(record: str) -> Schema:
    """The schema that this build writes."""
    if record not in RECORDS:
        raise KeyError(f"no edge record is called {record!r}; there are {', '.join(RECORDS)}")
    return schema_of((folder() / f"{record}.avsc").read_text("utf-8"))


@cache
def released(record: str) -> tuple[Schema, ...]:
    """Every released version, oldest first: what producers in the field may still write."""
    files = sorted((folder() / "released" / record).glob("v*.avsc"), key=lambda path: int(path.stem[1:]))
    return tuple(schema_of(path.read_text("utf-8")) for path in files)


@cache
def writers(record: str) -> dict[bytes, Schema]:
    """{fingerprint: schema} of every version that a single-object record may have been written with."""
    return {schema.fingerprint: schema for schema in (*released(record), current(record))}
