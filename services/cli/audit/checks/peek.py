"""Reading the first fields of an inner record without decoding the rest."""

from __future__ import annotations

from typing import Any

import msgpack

from services.contracts.inner.codec import InnerRecordError

_KIND = b"\xa1v\x01\xa4kind"
"""Packed "v": 1, "kind": what every features and item-deltas record of this version begins with."""
_SRC = b"\xa3src\x92"
_PREFIX_BYTES = 1024
_WIDTHS = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}


def kind_of(value: bytes) -> tuple[str, int]:
    """(kind of a features or item-deltas record, position behind it).

    Raises:
        InnerRecordError: the record does not begin as all of this version do.
    """
    first = value[0] if value else 0
    at = 1 if 0x80 <= first <= 0x8F else 3 if first == 0xDE else 0
    end = at + len(_KIND)
    if not at or value[at:end] != _KIND or not 0xA0 <= value[end] <= 0xBF:
        raise InnerRecordError("not an inner record of this version")
    length = value[end] & 0x1F
    return value[end + 1 : end + 1 + length].decode(), end + 1 + length


def source_of(value: bytes, at: int) -> tuple[int, int]:
    """(partition, offset) of the interaction behind a feature; `at` is where `kind_of` stopped.

    Raises:
        InnerRecordError: something else stands there.
    """
    if value[at : at + len(_SRC)] != _SRC:
        raise InnerRecordError("a feature without its source")
    partition, at = _uint(value, at + len(_SRC))
    offset, _ = _uint(value, at)
    return partition, offset


def _uint(value: bytes, at: int) -> tuple[int, int]:
    first = value[at]
    if first < 0x80:
        return first, at + 1
    width = _WIDTHS.get(first)
    if width is None:
        raise InnerRecordError("a source that is not two numbers")
    return int.from_bytes(value[at + 1 : at + 1 + width], "big"), at + 1 + width


def fields_of(value: bytes, names: int) -> dict[str, Any]:
    """The first fields of a packed map, `names` of them, without reading the others.

    Raises:
        InnerRecordError: not a packed map, or its first fields are unusually long.
    """
    unpacker = msgpack.Unpacker()
    unpacker.feed(value[:_PREFIX_BYTES])
    try:
        return {unpacker.unpack(): unpacker.unpack() for _ in range(min(names, unpacker.read_map_header()))}
    except Exception as error:  # msgpack raises ValueError subclasses and its own exceptions alike
        raise InnerRecordError(f"not a packed map ({error})") from error
