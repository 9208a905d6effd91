"""The rules of `schemas/README.md` as code: in what a new schema cannot read what an old one wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_WIDER = {
    "int": {"int", "long", "float", "double"},
    "long": {"long", "float", "double"},
    "float": {"float", "double"},
    "string": {"string", "bytes"},
    "bytes": {"bytes", "string"},
}


def breaks(reader: Any, writer: Any, path: str = "") -> list[str]:
    """Every reason why `reader` cannot read records of `writer`; empty when it can.

    Both are parsed JSON of record schemas. A reason names the field and says what to do.
    """
    return list(_breaks(reader, writer, path or str(reader.get("name", ""))))


def _breaks(reader: Any, writer: Any, path: str) -> Iterator[str]:
    if isinstance(writer, list):
        for branch in writer:
            yield from _breaks(reader, branch, path)
        return
    if isinstance(reader, list):
        if not any(not list(_breaks(branch, writer, path)) for branch in reader):
            yield f"{path}: old records hold {_kind(writer)}, which the new type {_names(reader)} has no place for"
        return
    old, new = _kind(writer), _kind(reader)
    if new not in _WIDER.get(old, {old}):
        yield f"{path}: the type changed from {old} to {new}; add a new field instead"
    elif old == "record":
        yield from _record_breaks(reader, writer, path)
    elif old == "array":
        yield from _breaks(reader["items"], writer["items"], f"{path}[]")
    elif old == "map":
        yield from _breaks(reader["values"], writer["values"], f"{path}{{}}")
    elif old in ("enum", "fixed") and reader != writer:
        yield f"{path}: an {old} must not change"


def _record_breaks(reader: Any, writer: Any, path: str) -> Iterator[str]:
    if reader["name"] != writer["name"]:
        yield f"{path}: the record was renamed from {writer['name']} to {reader['name']}"
    written = {field["name"]: field for field in writer["fields"]}
    for field in reader["fields"]:
        where = f"{path}.{field['name']}"
        if field["name"] in written:
            old = written[field["name"]]
            yield from _breaks(field["type"], old["type"], where)
            if "default" in old and "default" not in field:
                yield f"{where}: lost its default, which producers of JSON rely on"
        elif "default" not in field:
            yield f"{where}: a new field needs a default, or old records cannot be read"


def _kind(schema: Any) -> str:
    if isinstance(schema, dict):
        return _kind(schema["type"])
    return str(schema)


def _names(union: list[Any]) -> str:
    return "[" + ", ".join(map(_kind, union)) + "]"


def without_docs(schema: Any) -> Any:
    """A schema without its docs: what must be equal for two schemas to mean the same bytes and defaults."""
    if isinstance(schema, dict):
        return {key: without_docs(value) for key, value in schema.items() if key != "doc"}
    if isinstance(schema, list):
        return [without_docs(value) for value in schema]
    return schema
