"""Local checkpoints: one file per task that makes a restart fast and is never trusted when it does not match.

File: magic, 4-byte header length, JSON header, then msgpack triples (topic number, key, value), then a footer with the
number of records and a CRC-32 of everything before it. Written to a temporary name, synced, renamed.
"""

from __future__ import annotations

import json
import os
import struct
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgpack

from services.contracts.topics import TOMBSTONE_RETENTION_MS
from services.runtime.log import Log

MAGIC = b"SRCKPT01"
FORMAT = 1
_FOOTER = struct.Struct("<8sQI")
_FOOTER_MAGIC = b"SRCKPEND"
_LENGTH = struct.Struct("<I")
_READ_BYTES = 1 << 20
_WRITE_BYTES = 1 << 18
_CHECK_EVERY = 1_000


class InvalidCheckpointError(ValueError):
    """A checkpoint does not match what it should be valid for, or is damaged."""


class Stored:
    """A valid checkpoint that is being loaded."""

    def __init__(self, path: Path, header: Mapping[str, Any], file: BinaryIO, size: int) -> None:
        """`file` stands at the first record; `size` bytes of records follow."""
        self.path = path
        self.offsets: dict[str, int] = {name: int(at["offset"]) for name, at in header["topics"].items()}
        """Where each state topic continues after the checkpoint."""
        self._names = list(header["topics"])
        self._file = file
        self._left = size
        self._unpacker = msgpack.Unpacker(max_buffer_size=0)
        self._carried: tuple[str, bytes, bytes] | None = None

    def take(self, limit: int) -> tuple[str, list[tuple[bytes, bytes]]]:
        """The next records of one topic, at most `limit`; an empty list at the end."""
        topic, found = "", list[tuple[bytes, bytes]]()
        while len(found) < limit:
            record, self._carried = self._carried or self._next(), None
            if record is None:
                break
            if found and record[0] != topic:
                self._carried = record
                break
            topic = record[0]
            found.append(record[1:])
        return topic, found

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _next(self) -> tuple[str, bytes, bytes] | None:
        while True:
            try:
                number, key, value = next(self._unpacker)
            except StopIteration:
                if not self._left:
                    return None
                data = self._file.read(min(_READ_BYTES, self._left))
                self._left -= len(data)
                if not data:
                    return None
                self._unpacker.feed(data)
            else:
                return self._names[number], key, value


class CheckpointStore:
    """The checkpoints of one processor of one replica."""

    def __init__(self, folder: Path, cluster: str, topic_ids: Mapping[str, str], log: Log) -> None:
        """`topic_ids`: {logical state topic: the cluster's id of it}; another id means another topic."""
        self._folder = folder
        self._cluster = cluster
        self._topic_ids = dict(topic_ids)
        self._log = log

    def path(self, partition: int) -> Path:
        """Where the checkpoint of a partition stands."""
        return self._folder / f"{partition}.checkpoint"

    def save(
        self,
        partition: int,
        offsets: Mapping[str, int],
        records: Iterable[tuple[str, bytes, bytes]],
        budget_s: float,
    ) -> bool:
        """Write a checkpoint; false when the disk or the time did not allow it (the old one stays).

        Args:
            partition: of the task.
            offsets: {state topic: offset from which its log must be read after this checkpoint}.
            records: (topic, key, value) of everything that is owned.
            budget_s: longest time it may take.
        """
        path = self.path(partition)
        temporary = path.with_suffix(".tmp")
        began = time.monotonic()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                count = self._write(file, partition, offsets, records, began + budget_s)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(self._folder)
        except (OSError, TimeoutError) as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            self._log.error(
                "checkpoint.failed",
                partition=partition,
                path=str(path),
                error=str(error),
                consequence="the service goes on; a restart reads more from the topics",
            )
            return False
        took = time.monotonic() - began
        self._log.debug("checkpoint.saved", partition=partition, records=count, seconds=round(took, 3))
        return True

    def open(self, partition: int, limits: Mapping[str, tuple[int, int]]) -> Stored | None:
        """A checkpoint that is whole and fits, or None. One that is not is logged and wiped.

        Args:
            partition: of the task.
            limits: {state topic: (log start, log end)} as the broker says now.
        """
        path = self.path(partition)
        with suppress(OSError):
            path.with_suffix(".tmp").unlink(missing_ok=True)
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        except OSError as error:
            self._log.warning("checkpoint.unreadable", partition=partition, path=str(path), error=str(error))
            return None
        try:
            size = _verify(file)
            header = _header(file)
            self._match(header, partition, limits)
        except (InvalidCheckpointError, OSError) as error:
            file.close()
            self._log.warning(
                "checkpoint.refused", partition=partition, path=str(path), reason=str(error), action="wiped"
            )
            self.wipe(partition)
            return None
        return Stored(path, header, file, size - file.tell())

    def wipe(self, partition: int) -> None:
        """Remove the checkpoint of a partition."""
        try:
            self.path(partition).unlink(missing_ok=True)
        except OSError as error:
            self._log.warning("checkpoint.not_wiped", partition=partition, error=str(error))

    def _write(
        self,
        file: BinaryIO,
        partition: int,
        offsets: Mapping[str, int],
        records: Iterable[tuple[str, bytes, bytes]],
        deadline: float,
    ) -> int:
        numbers = {topic: number for number, topic in enumerate(offsets)}
        header = {
            "format": FORMAT,
            "cluster": self._cluster,
            "partition": partition,
            "written_ms": time.time_ns() // 1_000_000,
            "topics": {
                topic: {"id": self._topic_ids.get(topic, ""), "offset": offset} for topic, offset in offsets.items()
            },
        }
        encoded = json.dumps(header).encode()
        buffer = bytearray(MAGIC + _LENGTH.pack(len(encoded)) + encoded)
        packer = msgpack.Packer(autoreset=True)
        count, checksum = 0, 0
        for topic, key, value in records:
            buffer += packer.pack((numbers[topic], key, value))
            count += 1
            if len(buffer) >= _WRITE_BYTES:
                file.write(buffer)
                checksum = zlib.crc32(buffer, checksum)
                buffer.clear()
            if count % _CHECK_EVERY == 0 and time.monotonic() > deadline:
                raise TimeoutError(f"out of time after {count} records")
        checksum = zlib.crc32(buffer, checksum)
        file.write(buffer)
        file.write(_FOOTER.pack(_FOOTER_MAGIC, count, zlib.crc32(str(count).encode(), checksum)))
        return count

    def _match(self, header: Mapping[str, Any], partition: int, limits: Mapping[str, tuple[int, int]]) -> None:
        if header.get("format") != FORMAT:
            raise InvalidCheckpointError(f"format {header.get('format')}, this build reads {FORMAT}")
        if header["cluster"] != self._cluster:
            raise InvalidCheckpointError("it belongs to another Kafka cluster")
        if header["partition"] != partition:
            raise InvalidCheckpointError(f"it belongs to partition {header['partition']}")
        if time.time_ns() // 1_000_000 - header["written_ms"] > TOMBSTONE_RETENTION_MS:
            raise InvalidCheckpointError("it is older than the records of deletions are kept")
        if set(header["topics"]) != set(limits):
            raise InvalidCheckpointError(f"it holds {sorted(header['topics'])}, needed are {sorted(limits)}")
        for topic, (low, high) in limits.items():
            at = header["topics"][topic]
            if at["id"] != self._topic_ids.get(topic, ""):
                raise InvalidCheckpointError(f"{topic} was made anew since")
            if not low <= at["offset"] <= high:
                raise InvalidCheckpointError(f"{topic} spans [{low}, {high}), the checkpoint is of {at['offset']}")


def _verify(file: BinaryIO) -> int:
    """Check the file as a whole; returns where its records end."""
    size = file.seek(0, os.SEEK_END) - _FOOTER.size
    if size < len(MAGIC) + _LENGTH.size:
        raise InvalidCheckpointError("it is too short")
    file.seek(size)
    magic, count, expected = _FOOTER.unpack(file.read(_FOOTER.size))
    if magic != _FOOTER_MAGIC:
        raise InvalidCheckpointError("it was not written to its end")
    file.seek(0)
    checksum = 0
    for block in _blocks(file, size):
        checksum = zlib.crc32(block, checksum)
    if zlib.crc32(str(count).encode(), checksum) != expected:
        raise InvalidCheckpointError("its checksum does not match")
    return size


def _header(file: BinaryIO) -> Mapping[str, Any]:
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        raise InvalidCheckpointError("it is not a checkpoint")
    (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
    header: Mapping[str, Any] = json.loads(file.read(length))
    return header


def _blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        block = file.read(min(_READ_BYTES, size))
        if not block:
            raise InvalidCheckpointError("it ends too early")
        size -= len(block)
        yield block


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
