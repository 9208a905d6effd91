"""msgpack with a version check, shared by every inner record."""

from __future__ import annotations

from typing import Any

import msgpack


class InnerRecordError(ValueError):
    """An inner record is not a msgpack map of the version that this build reads."""


def pack(record: Any) -> bytes:
    """Encode one inner record (a TypedDict with its version under "v")."""
    packed: bytes = msgpack.packb(record)
    return packed


def unpack(value: bytes, version: int, kind: str) -> Any:
    """Decode one inner record and check its version.

    Raises:
        InnerRecordError: not msgpack, not a map, or another version.
    """
    try:
        record = msgpack.unpackb(value)
    except Exception as error:  # msgpack raises ValueError subclasses and its own exceptions alike
        raise InnerRecordError(f"{kind}: not msgpack ({error})") from error
    if not isinstance(record, dict) or record.get("v") != version:
        found = record.get("v") if isinstance(record, dict) else type(record).__name__
        raise InnerRecordError(f"{kind}: expected version {version}, found {found!r}")
    return record
