"""Encoding and decoding of edge records: Confluent framing, Avro single-object and JSON, told apart per record."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from io import BytesIO
from typing import Any, Generic, TypeVar, cast

from fastavro import schemaless_reader, schemaless_writer

from services.contracts.edge import schemas
from services.contracts.edge.errors import EdgeRecordError
from services.contracts.edge.reader import reader
from services.contracts.edge.registry import Registry
from services.contracts.edge.rules import rule_of
from services.contracts.edge.values import validator

R = TypeVar("R")

CONFLUENT_MAGIC = b"\x00"
SINGLE_OBJECT_MAGIC = b"\xc3\x01"
JSON_START = b"{"
_CONFLUENT_HEADER_BYTES = 5
_SINGLE_OBJECT_HEADER_BYTES = 10
_STREAM = re.compile(r"<\S+ object at 0x[0-9a-f]+>")
"""How fastavro names what it reads: by its address, which says nothing and differs between two readings."""


class EdgeCodec(Generic[R]):
    """Bytes of one kind of edge record, both ways.

    Writes Confluent framing when given a registry, Avro single-object encoding otherwise. Reads those two and JSON,
    whichever a record is in, from any released or registered writer schema that the current schema can read.
    """

    def __init__(
        self,
        record: type[R],
        registry: Registry | None = None,
        subject: str = "",
        fields: Collection[str] | None = None,
    ) -> None:
        """Make the codec of a record.

        Args:
            record: one of the TypedDicts of `edge.records`.
            registry: where schema ids come from; None for no registry.
            subject: the registry subject to write under, "<topic>-value". Needed with a registry to encode.
            fields: names of the fields, at any depth, that decoded records need to have (those with ids among them);
                others may be missing. None for all.
        """
        self.record = record.__name__
        self.subject = subject
        self._schema = schemas.current(self.record)
        self._registry = registry
        self._header = b"" if registry is not None else SINGLE_OBJECT_MAGIC + self._schema.fingerprint
        self._rule = rule_of(self.record)
        self._complete = validator(self._schema.raw)
        self._current = self._schema.parsed
        self._read = reader(self._schema.raw, fields)
        # {header bytes: writer schema, or None when it is the current one, which needs no resolution}
        self._writers: dict[bytes, Any] = {
            SINGLE_OBJECT_MAGIC + mark: None if mark == self._schema.fingerprint else schema.parsed
            for mark, schema in schemas.writers(self.record).items()
        }

    def header(self) -> bytes:
        """What stands in front of the Avro bytes of every record that is written.

        Raises:
            RegistryError: the registry does not answer or refuses the schema.
        """
        return self._header or self._registered_header()

    def current_headers(self) -> list[bytes]:
        """The headers behind which the Avro bytes are those of the current schema, as far as they are known by now.

        The single-object header; and in Confluent framing what `decode` has met, in that order.
        """
        return [header for header, writer in self._writers.items() if writer is None]

    def encode(self, record: R) -> bytes:
        """Encode one record; fields with a default may be missing.

        Raises:
            EdgeRecordError: a field is wrong.
            RegistryError: the registry does not answer or refuses the schema.
        """
        out = BytesIO()
        out.write(self.header())
        try:
            self._rule(cast("dict[str, Any]", record))
            schemaless_writer(out, self._current, cast("dict[str, Any]", record))
        except EdgeRecordError:
            raise
        except Exception as error:  # fastavro raises many types for a wrong value; the slow path names the field
            return self._encode_slowly(record, error)
        return out.getvalue()

    def decode(self, value: bytes) -> R:
        """Decode one record in whichever of the three encodings it is.

        Raises:
            EdgeRecordError: unknown encoding, unknown schema, damaged bytes, or a field that is wrong.
            RegistryError: the registry does not answer.
        """
        if value[:2] == SINGLE_OBJECT_MAGIC:
            size = _SINGLE_OBJECT_HEADER_BYTES
        elif value[:1] == CONFLUENT_MAGIC:
            size = _CONFLUENT_HEADER_BYTES
        else:
            return self._decode_json(value)
        header = value[:size]
        try:
            writer = self._writers[header]
        except KeyError:
            writer = self._find_writer(header, size)
        try:
            record, end = self._read(value, size) if writer is None else self._resolve(value, size, writer)
        except Exception as error:  # damaged bytes raise EOFError, IndexError, UnicodeDecodeError, MemoryError, ...
            what = _STREAM.sub("the record", str(error))
            raise EdgeRecordError(self.record, "", f"damaged Avro bytes ({type(error).__name__}: {what})") from error
        if end != len(value):
            problem = "bytes follow the Avro record" if end < len(value) else "damaged Avro bytes (cut off)"
            raise EdgeRecordError(self.record, "", problem)
        self._rule(record)
        return cast("R", record)

    def complete(self, record: Mapping[str, Any]) -> R:
        """A validated copy of a plain mapping, defaults filled: what JSON input goes through.

        Raises:
            EdgeRecordError: a field is wrong.
        """
        whole = self._complete(record)
        self._rule(whole)
        return cast("R", whole)

    def _resolve(self, value: bytes, at: int, writer: Any) -> tuple[dict[str, Any], int]:
        source = BytesIO(value)
        source.seek(at)
        record = schemaless_reader(source, writer, self._current)
        return cast("dict[str, Any]", record), source.tell()

    def _decode_json(self, value: bytes) -> R:
        if value[:1] != JSON_START:
            raise EdgeRecordError(
                self.record,
                "",
                f"unknown encoding: starts with {value[:4].hex(' ') or 'nothing'}; "
                "expected 00 (schema registry framing), c3 01 (Avro single-object) or { (JSON)",
            )
        try:
            plain = _JSON.decode(value.decode())
        except (ValueError, RecursionError) as error:
            raise EdgeRecordError(self.record, "", f"not valid JSON ({error})") from error
        return self.complete(plain)

    def _find_writer(self, header: bytes, size: int) -> Any:
        if size == _SINGLE_OBJECT_HEADER_BYTES:
            raise EdgeRecordError(
                self.record,
                "",
                f"written with an unknown schema (fingerprint {header[2:].hex()}); this build knows "
                f"{', '.join(mark.hex() for mark in schemas.writers(self.record))}",
            )
        if len(header) < size:
            raise EdgeRecordError(self.record, "", f"{len(header)} bytes are too few for schema registry framing")
        schema_id = int.from_bytes(header[1:], "big")
        if self._registry is None:
            raise EdgeRecordError(
                self.record,
                "",
                f"framed for a schema registry (id {schema_id}), but none is configured; "
                "set STREAMREC_SCHEMA_REGISTRY_URL",
            )
        try:
            schema = schemas.schema_of(self._registry.schema_of(schema_id))
        except KeyError:
            raise EdgeRecordError(self.record, "", f"the registry has no schema with id {schema_id}") from None
        except ValueError as error:
            raise EdgeRecordError(self.record, "", f"schema {schema_id} of the registry: {error}") from error
        writer = None if schema.fingerprint == self._schema.fingerprint else schema.parsed
        self._writers[header] = writer
        return writer

    def _registered_header(self) -> bytes:
        if self._registry is None or not self.subject:
            raise RuntimeError(f"{self.record}: a codec with a registry needs a subject to encode")
        schema_id = self._registry.id_of(self.subject, self._schema.text)
        self._header = CONFLUENT_MAGIC + schema_id.to_bytes(4, "big")
        return self._header

    def _encode_slowly(self, record: R, error: Exception) -> bytes:
        whole = self.complete(cast("Mapping[str, Any]", record))
        out = BytesIO()
        out.write(self._header)
        try:
            schemaless_writer(out, self._current, cast("dict[str, Any]", whole))
        except Exception:  # the validator passed what fastavro refuses: report fastavro's first error
            raise EdgeRecordError(self.record, "", f"cannot be encoded ({error})") from error
        return out.getvalue()


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)
"""Made once: json.loads makes a decoder per call when it is given an option."""
