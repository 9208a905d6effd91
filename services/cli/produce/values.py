"""Single values of a file: times, numbers, lists and ids as people write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

_UNITS_PER_MS = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3, "sec": 1e3, "seconds": 1e3}
_TRUE = frozenset(("true", "1", "yes", "y", "t"))
_FALSE = frozenset(("false", "0", "no", "n", "f"))
# A number of seconds stays below 1e11 until the year 5138; milliseconds are above it from 1973 on.
_LARGEST_S, _LARGEST_MS, _LARGEST_US = 1e11, 1e14, 1e17

Parse = Callable[[Any], Any]


def text(value: Any) -> str:
    """A string; a whole number is taken for an id that was written without quotes."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"expected text, got {value!r}")


def optional_text(value: Any) -> str | None:
    """A string, or None for nothing."""
    return None if value is None or value == "" else text(value)


def number(value: Any) -> float | None:
    """A number, or None for nothing."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        raise ValueError(f"expected a number, got {value!r}")  # noqa: TRY004 - a value of the file, not of the program
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"expected a number, got {value!r}") from None


def whole(value: Any) -> int | None:
    """A whole number, or None for nothing."""
    found = number(value)
    if found is None:
        return None
    if not found.is_integer():
        raise ValueError(f"expected a whole number, got {value!r}")
    return int(found)


def truth(value: Any) -> bool:
    """true/false, 1/0, yes/no; nothing is true."""
    if isinstance(value, bool):
        return value
    if value is None or value == "":
        return True
    word = str(value).strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError(f"expected true or false, got {value!r}")


def names(value: Any) -> list[str]:
    """A list of names: a JSON array, or text separated by | (by ; when there is no |)."""
    if value is None or value == "":
        return []
    if isinstance(value, list):
        return [text(each) for each in value]
    if not isinstance(value, str):
        raise ValueError(f"expected a list, got {value!r}")  # noqa: TRY004 - a value of the file, not of the program
    if value.startswith("["):
        try:
            return names(json.loads(value))
        except json.JSONDecodeError as error:
            raise ValueError(f"not a JSON array ({error})") from None
    parts = value.split("|" if "|" in value else ";")
    return [each for part in parts if (each := part.strip())]


def mapping(value: Any) -> dict[str, str]:
    """A map of text to text: a JSON object, or one as text."""
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"not a JSON object ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, got {value!r}")  # noqa: TRY004 - a value of the file, not of the program
    return {
        str(name): json.dumps(entry) if isinstance(entry, bool | float) else text(entry)
        for name, entry in value.items()
        if entry is not None
    }


def time_parser(column: str) -> Parse:
    """The parser of a time column, to Unix ms: the name's suffix (_ms, _s, _us, _ns) fixes the unit of numbers."""
    unit = column.lower().rpartition("_")[2]
    factor = _UNITS_PER_MS.get(unit)

    def parse(value: Any) -> int | None:
        if value is None or value == "":
            return None
        if factor == 1.0 and isinstance(value, str) and value.isdecimal():
            return int(value)
        try:
            moment = float(value)
        except (TypeError, ValueError):
            return _iso(value)
        if factor is not None:
            return int(moment * factor)
        size = abs(moment)
        if size < _LARGEST_S:
            return int(moment * 1e3)
        if size < _LARGEST_MS:
            return int(moment)
        return int(moment / 1e3 if size < _LARGEST_US else moment / 1e6)

    return parse


def _iso(value: Any) -> int:
    try:
        moment = datetime.fromisoformat(str(value).strip())
    except ValueError:
        raise ValueError(f"expected a time as a number or as 2026-01-31T12:00:00Z, got {value!r}") from None
    # A time without a zone is UTC: the same file gives the same events on every machine.
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
