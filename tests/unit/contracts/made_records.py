"""Hypothesis strategies for edge records, made from their Avro schemas."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NAMES_OF_IDS = ("user_id", "item_id", "list_id", "event_id", "request_id", "metric", "type")

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_ID = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=40)


def records(schema: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Valid records of a record schema, every field present."""
    return st.fixed_dictionaries({field["name"]: _values(field) for field in schema["fields"]})


def _values(field: Any) -> st.SearchStrategy[Any]:
    if field["name"] in NAMES_OF_IDS:
        return st.none() | _ID if isinstance(field["type"], list) else _ID
    if field["name"] == "k":
        return st.none() | st.integers(1, 1000)
    return of_type(field["type"])


def of_type(schema: Any) -> st.SearchStrategy[Any]:
    """Values of any type that the edge schemas use."""
    if isinstance(schema, list):
        return st.one_of([of_type(branch) for branch in schema])
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(kind, dict | list):
        return of_type(kind)
    made: dict[str, Any] = {
        "null": st.none(),
        "boolean": st.booleans(),
        "int": st.integers(-(2**31), 2**31 - 1),
        "long": st.integers(-(2**63), 2**63 - 1),
        "double": st.floats(allow_nan=False, allow_infinity=False),
        "string": _TEXT,
    }
    if kind in made:
        strategy: st.SearchStrategy[Any] = made[kind]
        return strategy
    if kind == "array":
        return st.lists(of_type(schema["items"]), max_size=4)
    if kind == "map":
        return st.dictionaries(_TEXT, of_type(schema["values"]), max_size=4)
    if kind == "record":
        return records(schema)
    raise NotImplementedError(f"no values for {schema!r}")
