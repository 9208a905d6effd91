"""Files of rows: CSV and JSON lines, gzip too, each row with its line number, and the file's identity."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import stat
import sys
import zlib
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

from services.cli.produce.columns import Mapper, Shape, known, object_mapper

_GZIP_MAGIC = b"\x1f\x8b"
_IDENTITY_BYTES = 1 << 20
_DELIMITERS = ",;\t|"
STDIN = "-"


class BadRowError(ValueError):
    """A row cannot be made a record. The message names the file and the line."""

    def __init__(self, file: str, line: int, problem: str) -> None:
        super().__init__(f"{file}, line {line}: {problem}")
        self.line = line


class SourceError(Exception):
    """The whole file cannot be read: absent columns, damaged gzip. The message names the file."""


class Source:
    """One open file of rows of one shape. Use as a context manager; iterate `rows` once."""

    def __init__(self, path: str, shape: Shape, columns: Mapping[str, str] | None = None) -> None:
        """Open the file and read its header.

        Args:
            path: the file, or "-" for standard input.
            shape: what the rows are.
            columns: {field: column} where the file's names are not known ones.

        Raises:
            SourceError: the file cannot be opened, a column is missing, or the file is not readable text.
        """
        check_file(path)
        self.path = path
        self.shape = shape
        self._columns = dict(columns or {})
        self._file: BinaryIO = sys.stdin.buffer if path == STDIN else cast("BinaryIO", Path(path).open("rb"))  # noqa: SIM115 - closed by `close`
        self.size_bytes = 0 if path == STDIN else Path(path).stat().st_size
        self.identity = "" if path == STDIN else identity(Path(path))
        """Hexadecimal; empty for standard input."""
        self.line = 0
        """Line number of the newest row (of its last line, when a quoted cell spans several)."""
        self.fields: dict[str, str] = {}
        """{field: column} of a CSV file; empty for JSON lines."""
        self._text = self._open_text()
        self.notes: list[str] = []
        """What a person should know of how the file is read."""
        try:
            self._records = self._start()
        except ValueError as error:
            self.close()
            raise SourceError(f"{path}: {error}") from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self.close()
            raise SourceError(f"{path}: damaged gzip file ({error})") from None

    def position_bytes(self) -> int:
        """How far the file has been read, of `size_bytes` (compressed bytes for gzip)."""
        return 0 if self.path == STDIN else self._file.tell()

    def rows(self, skip: int = 0) -> Iterator[dict[str, Any] | BadRowError]:
        """The records in file order; a row that is wrong comes as the error. Skips the first `skip` rows unread.

        Raises:
            SourceError: the file is damaged from here on.
        """
        records = self._records
        try:
            for number, record in enumerate(records):
                if number >= skip:
                    yield record
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise SourceError(f"{self.path}: damaged gzip file after line {self.line} ({error})") from None

    def close(self) -> None:
        """Close the file."""
        if self.path != STDIN:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_text(self) -> io.TextIOWrapper:
        raw: Any = self._file
        head = b"" if self.path == STDIN else self._file.read(2)
        if self.path != STDIN:
            self._file.seek(0)
        if head == _GZIP_MAGIC:
            raw = gzip.GzipFile(fileobj=self._file)
        # Bytes that are no UTF-8 pass through here and are refused with their line where the record is encoded.
        return io.TextIOWrapper(raw, "utf-8-sig", errors="surrogateescape", newline="")

    def _start(self) -> Iterator[dict[str, Any] | BadRowError]:
        first = ""
        before = 0
        for line in self._text:
            if line.strip():
                first = line
                break
            before += 1
        if not first:
            return iter(())
        if first.lstrip().startswith("{"):
            return self._json_lines(first, before)
        if first.lstrip().startswith("["):
            raise ValueError("a JSON array; write one object per line instead (JSON lines)")
        return self._csv(first, before)

    def _json_lines(self, first: str, before: int) -> Iterator[dict[str, Any] | BadRowError]:
        make = object_mapper(self.shape, self._columns)

        def records() -> Iterator[dict[str, Any] | BadRowError]:
            self.line = before
            lines = iter((first,))
            for source in (lines, self._text):
                for line in source:
                    self.line += 1
                    if not line.strip():
                        continue
                    try:
                        row = json.loads(line)
                        if not isinstance(row, dict):
                            raise ValueError(f"expected a JSON object, got {type(row).__name__}")  # noqa: TRY004
                        yield make(row)
                    except (ValueError, RecursionError) as error:
                        yield BadRowError(self.path, self.line, str(error))

        return records()

    def _csv(self, first: str, before: int) -> Iterator[dict[str, Any] | BadRowError]:
        delimiter = delimiter_of(first, self.shape, self._columns)
        columns = [name.strip() for name in next(csv.reader([first], delimiter=delimiter))]
        mapper = Mapper(self.shape, columns, self._columns)
        self.fields = mapper.fields
        if mapper.unused:
            self.notes.append(f"columns not used: {', '.join(mapper.unused)}")
        return self._csv_records(mapper, csv.reader(self._text, delimiter=delimiter, strict=True), before + 1)

    def _csv_records(self, mapper: Mapper, reader: Any, before: int) -> Iterator[dict[str, Any] | BadRowError]:
        while True:
            try:
                row = next(reader)
                if not row:
                    continue
                self.line = before + reader.line_num
                yield mapper.record(row)
            except StopIteration:
                return
            except (ValueError, csv.Error) as error:
                self.line = before + reader.line_num
                yield BadRowError(self.path, self.line, str(error))


def check_file(path: str) -> None:
    """See whether a file can be opened, without reading from it.

    Raises:
        SourceError: it cannot. Standard input always can.
    """
    if path == STDIN:
        return
    try:
        if stat.S_ISDIR(Path(path).stat().st_mode):
            raise SourceError(f"{path} is a folder; give a file")
    except OSError as error:
        known = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise SourceError(f"{path} {known}") from None
    if not os.access(path, os.R_OK):
        raise SourceError(f"{path} cannot be read (permission denied)")


def delimiter_of(header: str, shape: Shape, columns: Mapping[str, str]) -> str:
    """The delimiter under which most columns of a header line are known, or else the one that gives most columns.

    Comma, semicolon, tab or bar. Columns that a record needs may be missing: whoever reads the file says so.
    """

    def score(delimiter: str) -> tuple[int, int]:
        names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter))]
        chosen = {target: name for target, name in columns.items() if name in names and target in shape.aliases}
        return len(known(shape, names, chosen)), len(names)

    return max(_DELIMITERS, key=score)


def identity(path: Path) -> str:
    """Identity of a file's content: 12 hexadecimal digits of its size, first and last MiB."""
    size = path.stat().st_size
    digest = blake2b(str(size).encode(), digest_size=6)
    with path.open("rb") as file:
        digest.update(file.read(_IDENTITY_BYTES))
        if size > _IDENTITY_BYTES:
            file.seek(max(_IDENTITY_BYTES, size - _IDENTITY_BYTES))
            digest.update(file.read(_IDENTITY_BYTES))
    return digest.hexdigest()
