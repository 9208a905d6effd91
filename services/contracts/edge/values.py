"""Validation of plain values (from JSON or from Python) against an Avro schema, with defaults filled.

Lenient where people are: a missing or null optional field takes its default, an integer is a double where a double
is expected, unknown fields are ignored as Avro readers do. Strict where leniency would lose data: a number is not a
string, and an unknown field whose name is nearly that of an absent one is an error.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from services.contracts.edge.errors import EdgeRecordError

Check = Callable[[Any, str], Any]
"""`check(value, path) -> value`: returns the value in the type of the schema or raises `EdgeRecordError`."""

_INT_RANGES = {"int": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}
_SHOWN_CHARACTERS = 60


def validator(raw: Any) -> Callable[[Any], Any]:
    """Compile a record schema (parsed JSON) into `validate(value) -> dict` with every field of the schema.

    `validate` raises `EdgeRecordError`, naming the first field that is wrong.
    """
    record = str(raw["name"])
    check = _compile(raw, record)
    return lambda value: check(value, "")


def shown(value: Any) -> str:
    """A short description of a value and its type, for messages."""
    names = {str: "string", bool: "boolean", int: "number", float: "number", list: "array", dict: "object"}
    if value is None:
        return "null"
    text = repr(value)
    if len(text) > _SHOWN_CHARACTERS:
        text = text[:_SHOWN_CHARACTERS] + "..."
    return f"{names.get(type(value), type(value).__name__)} {text}"


def _compile(schema: Any, record: str) -> Check:
    if isinstance(schema, list):
        return _union(schema, record)
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(kind, dict | list):
        return _compile(kind, record)
    compilers = {"record": _record, "array": _array, "map": _map}
    if kind in compilers:
        return compilers[kind](schema, record)
    if kind in _INT_RANGES:
        return _integer(kind, record)
    plain = {"string": _string, "double": _number, "float": _number, "boolean": _boolean, "null": _null}
    if kind in plain:
        return plain[kind](record)
    raise NotImplementedError(f"{record}: the edge records use no Avro type {kind!r}")


def _record(schema: Any, record: str) -> Check:
    fields = [
        (field["name"], _compile(field["type"], record), "default" in field, field.get("default"))
        for field in schema["fields"]
    ]
    names = {name for name, *_ in fields}

    def check(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise EdgeRecordError(record, path, f"expected an object, got {shown(value)}")
        prefix = f"{path}." if path else ""
        if not names.issuperset(value):
            _refuse_near_misses(value, prefix)
        out: dict[str, Any] = {}
        for name, check_field, has_default, default in fields:
            given = value.get(name)
            if given is not None:
                out[name] = check_field(given, prefix + name)
            elif has_default:
                out[name] = deepcopy(default) if default.__class__ in (dict, list) else default
            else:
                problem = "is null, but a value is required" if name in value else "is missing and has no default"
                raise EdgeRecordError(record, prefix + name, problem)
        return out

    def _refuse_near_misses(value: Mapping[str, Any], prefix: str) -> None:
        absent = [name for name in names if name not in value]
        for unknown in value:
            if unknown in names:
                continue
            near = difflib.get_close_matches(str(unknown), absent, n=1, cutoff=0.8)
            if near:
                raise EdgeRecordError(record, f"{prefix}{unknown}", f"unknown field; did you mean {near[0]!r}?")

    return check


def _union(branches: list[Any], record: str) -> Check:
    others = [branch for branch in branches if branch != "null"]
    if len(others) != 1 or len(branches) != len(others) + 1:
        raise NotImplementedError(f"{record}: the edge records use no union but of null and one type")
    inner = _compile(others[0], record)
    return lambda value, path: None if value is None else inner(value, path)


def _array(schema: Any, record: str) -> Check:
    inner = _compile(schema["items"], record)

    def check(value: Any, path: str) -> list[Any]:
        if not isinstance(value, list | tuple):
            raise EdgeRecordError(record, path, f"expected an array, got {shown(value)}")
        return [inner(entry, f"{path}[{index}]") for index, entry in enumerate(value)]

    return check


def _map(schema: Any, record: str) -> Check:
    inner = _compile(schema["values"], record)
    key_check = _string(record)

    def check(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise EdgeRecordError(record, path, f"expected an object, got {shown(value)}")
        return {key_check(key, path): inner(entry, f"{path}[{key!r}]") for key, entry in value.items()}

    return check


def _integer(kind: str, record: str) -> Check:
    low, high = _INT_RANGES[kind]

    def check(value: Any, path: str) -> int:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if not whole or isinstance(value, bool):
            raise EdgeRecordError(record, path, f"expected a whole number, got {shown(value)}")
        number = int(value)
        if not low <= number <= high:
            raise EdgeRecordError(record, path, f"{number} does not fit the type {kind}")
        return number

    return check


def _number(record: str) -> Check:
    def check(value: Any, path: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise EdgeRecordError(record, path, f"expected a number, got {shown(value)}")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise EdgeRecordError(record, path, f"expected a finite number, got {shown(value)}")
        return number

    return check


def _string(record: str) -> Check:
    def check(value: Any, path: str) -> str:
        if not isinstance(value, str):
            hint = "; write it in quotes" if isinstance(value, int | float) else ""
            raise EdgeRecordError(record, path, f"expected a string, got {shown(value)}{hint}")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise EdgeRecordError(record, path, f"not valid Unicode: {value!a}") from None
        return value

    return check


def _boolean(record: str) -> Check:
    def check(value: Any, path: str) -> bool:
        if not isinstance(value, bool):
            raise EdgeRecordError(record, path, f"expected true or false, got {shown(value)}")
        return value

    return check


def _null(record: str) -> Check:
    def check(value: Any, path: str) -> None:
        if value is not None:
            raise EdgeRecordError(record, path, f"expected null, got {shown(value)}")

    return check
