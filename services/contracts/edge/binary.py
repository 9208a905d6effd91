"""Avro's bytes of single values, for a record that is written so often that it is put together by hand.

Whoever does so shows in a test that the bytes are those that the codec writes.
"""

from __future__ import annotations

NULL = b"\x00"
"""The first branch of a union with null."""
_SECOND = b"\x02"
_SMALL = 64


def _zigzag(value: int) -> bytes:
    rest = (value << 1) ^ (value >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


_SMALL_LONGS = [_zigzag(value) for value in range(_SMALL)]


def long(value: int) -> bytes:
    """An int or a long: -2^63 <= value < 2^63."""
    return _SMALL_LONGS[value] if 0 <= value < _SMALL else _zigzag(value)


def string(value: str) -> bytes:
    """A string."""
    encoded = value.encode()
    return long(len(encoded)) + encoded


def optional(value: bytes | None) -> bytes:
    """A union of null and the type of a value that is bytes already."""
    return NULL if value is None else _SECOND + value
