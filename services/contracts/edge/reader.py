"""Avro readers compiled to Python: one function per schema, two to four times as fast as a general reader.

Every event passes here, and a general reader finds out for every field of every record what the schema said once. It
reads records whose writer had this very schema; schemas that differ need resolution, which is fastavro's work.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

Reader = Callable[[bytes, int], tuple[dict[str, Any], int]]
"""`read(value, at) -> (record, end)`.

Raises ValueError, IndexError or struct.error for damaged bytes; or returns an end beyond the value's, because what
reaches past it is noticed once, at the end, and not at every field.
"""

_LONGEST_SHIFT = 63
_U64 = (1 << 64) - 1
_LENGTH = (
    "n = v[p]",
    "p += 1",
    # One byte, and not negative (lengths are zigzag numbers too): all but long strings.
    "if n & 129:",
    "    n, p = length(v, p - 1)",
    "else:",
    "    n >>= 1",
)
_FIXED = {"double": ("double", 8), "float": ("float", 4)}


def reader(raw: Any, fields: Collection[str] | None = None) -> Reader:
    """Compile the reader of a record schema.

    Args:
        raw: the schema, parsed JSON.
        fields: names of the fields to read, at any depth; the others are skipped and missing in the record, which
            costs half as much. None reads all.
    """
    body = [f"    {line}" for line in _Compiler(fields).read(raw, "r")]
    source = "\n".join(["def read(v, p):", *body, "    return r, p"])
    namespace: dict[str, Any] = {
        "long": _long,
        "length": _length,
        "double": struct.Struct("<d").unpack_from,
        "float": struct.Struct("<f").unpack_from,
    }
    exec(source, namespace)  # noqa: S102 - made from our own schemas' field names, as dataclasses make __init__
    made: Reader = namespace["read"]
    return made


class _Compiler:
    """Writes the lines that read or skip one value at `v[p]` and move `p` behind it."""

    def __init__(self, fields: Collection[str] | None) -> None:
        self._fields = fields
        self._made = 0

    def read(self, schema: Any, into: str) -> Iterator[str]:
        """Lines that read a value into a variable."""
        kind = _kind(schema)
        if kind == "union":
            yield from self._union(schema, f"{into} = None", lambda branch: self.read(branch, into))
        elif kind == "record":
            made = []
            for field in schema["fields"]:
                if self._fields is None or field["name"] in self._fields:
                    name = self._name()
                    yield from self.read(field["type"], name)
                    made.append(f"{field['name']!r}: {name}")
                else:
                    yield from self._skip(field["type"])
            yield f"{into} = {{{', '.join(made)}}}"
        elif kind == "array":
            entry = self._name()
            yield f"{into} = []"
            yield from self._blocks([*self.read(schema["items"], entry), f"{into}.append({entry})"])
        elif kind == "map":
            key, entry = self._name(), self._name()
            lines = [*self.read("string", key), *self.read(schema["values"], entry), f"{into}[{key}] = {entry}"]
            yield f"{into} = {{}}"
            yield from self._blocks(lines)
        elif kind == "string":
            yield from (*_LENGTH, "q = p + n", f"{into} = v[p:q].decode()", "p = q")
        elif kind in ("int", "long"):
            yield from _number(into)
        elif kind in _FIXED:
            unpack, size = _FIXED[kind]
            yield from (f"{into} = {unpack}(v, p)[0]", f"p += {size}")
        elif kind == "boolean":
            yield from (f"{into} = v[p] != 0", "p += 1")
        else:
            raise NotImplementedError(f"the edge records use no Avro type {kind!r}")

    def _skip(self, schema: Any) -> Iterator[str]:
        kind = _kind(schema)
        if kind == "union":
            yield from self._union(schema, "pass", self._skip)
        elif kind == "record":
            for field in schema["fields"]:
                yield from self._skip(field["type"])
        elif kind == "array":
            yield from self._blocks([*self._skip(schema["items"])])
        elif kind == "map":
            yield from self._blocks([*self._skip("string"), *self._skip(schema["values"])])
        elif kind == "string":
            yield from (*_LENGTH, "p += n")
        elif kind in ("int", "long"):
            yield from ("while v[p] > 127:", "    p += 1", "p += 1")
        elif kind in _FIXED:
            yield f"p += {_FIXED[kind][1]}"
        else:
            yield from self.read(schema, self._name())

    @staticmethod
    def _union(schema: Any, nothing: str, of: Callable[[Any], Iterator[str]]) -> Iterator[str]:
        yield "b = v[p]"
        yield "p += 1"
        for index, branch in enumerate(schema):
            yield f"{'elif' if index else 'if'} b == {2 * index}:"
            yield from _indented([nothing] if branch == "null" else of(branch))
        yield "else:"
        yield "    raise ValueError(f'no branch {b} in a union')"

    def _blocks(self, lines: list[str]) -> Iterator[str]:
        """The blocks of an array or a map: a count, the entries, and so on until a count of 0."""
        count = self._name()
        yield from _number(count)
        yield f"while {count}:"
        # A negative count is followed by the block's size, for readers that skip it.
        yield f"    if {count} < 0:"
        yield f"        {count} = -{count}"
        yield "        q, p = length(v, p)"
        yield f"    for _ in range({count}):"
        yield from _indented(_indented(lines))
        yield from _indented(_number(count))

    def _name(self) -> str:
        self._made += 1
        return f"x{self._made}"


def _kind(schema: Any) -> str:
    if isinstance(schema, list):
        return "union"
    return str(schema["type"] if isinstance(schema, dict) else schema)


def _number(into: str) -> Iterator[str]:
    yield f"{into} = v[p]"
    yield f"if {into} < 128:"
    yield f"    {into} = ({into} >> 1) ^ -({into} & 1)"
    yield "    p += 1"
    yield "else:"
    yield f"    {into}, p = long(v, p)"


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"    {line}" for line in lines)


def _long(value: bytes, at: int) -> tuple[int, int]:
    """A zigzag number at a place, and the place behind it."""
    byte = value[at]
    at += 1
    number = byte & 127
    shift = 7
    while byte > 127:
        if shift > _LONGEST_SHIFT:
            raise ValueError("a number of more than 64 bits")
        byte = value[at]
        at += 1
        number |= (byte & 127) << shift
        shift += 7
    if number > _U64:
        raise ValueError("a number of more than 64 bits")
    return (number >> 1) ^ -(number & 1), at


def _length(value: bytes, at: int) -> tuple[int, int]:
    length, at = _long(value, at)
    if length < 0:
        raise ValueError(f"a length of {length}")
    return length, at
