"""What checks are given and what they give back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from services.model.arrays import I64

MOST_FINDINGS = 20
"""Errors of one kind that are listed; the rest are counted."""

Level = Literal["error", "note"]


@dataclass(slots=True)
class Chunk:
    """Consecutive committed records of one partition, as raw bytes, in offset order."""

    topic: str
    """Logical name."""
    partition: int
    offsets: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a check has to say. An error refutes; a note says what could not be checked."""

    check: str
    level: Level
    message: str
    topic: str = ""
    partition: int = -1
    offset: int = -1


@dataclass(frozen=True, slots=True)
class Log:
    """What was read of one partition: positions [start, end)."""

    topic: str
    partition: int
    start: int
    end: int
    cut: bool = False
    """Whether the end was chosen and the partition holds more: what lies there is known to no check, and effects of it
    in other topics are not judged."""


class Checker(Protocol):
    """One check. Topics are fed in READ_ORDER, each partition in offset order."""

    name: str
    title: str
    """What it proves, in one line."""
    topics: tuple[str, ...]

    def feed(self, chunk: Chunk) -> None:
        """Take in records."""

    def finish(self, logs: Sequence[Log]) -> list[Finding]:
        """All has been read: judge."""

    def counts(self) -> dict[str, int]:
        """What was checked, for people."""


class Findings:
    """Collects findings, and counts instead when one kind of error has been listed often enough."""

    def __init__(self, check: str) -> None:
        self._check = check
        self._found: list[Finding] = []
        self._kinds: dict[str, int] = {}

    def error(self, kind: str, message: str, topic: str, partition: int, offset: int) -> None:
        """Note an error; `kind` groups those that are alike."""
        n = self._kinds[kind] = self._kinds.get(kind, 0) + 1
        if n <= MOST_FINDINGS:
            self._found.append(Finding(self._check, "error", message, topic, partition, int(offset)))

    def note(self, message: str, topic: str = "", partition: int = -1, offset: int = -1) -> None:
        """Say what could not be checked."""
        self._found.append(Finding(self._check, "note", message, topic, partition, int(offset)))

    def all(self) -> list[Finding]:
        """Everything found, with one more error for each kind that was cut short."""
        more = [
            Finding(self._check, "error", f"{n - MOST_FINDINGS} more of the kind: {kind}.")
            for kind, n in self._kinds.items()
            if n > MOST_FINDINGS
        ]
        return self._found + more


@dataclass(slots=True)
class Numbers:
    """A growing int64 array."""

    _parts: list[Any] = field(default_factory=list)

    def extend(self, values: Sequence[int] | I64) -> None:
        """Append values."""
        if len(values):
            self._parts.append(np.asarray(values, np.int64))

    def array(self) -> I64:
        """int64[n] of all that was appended."""
        if len(self._parts) != 1:
            self._parts = [np.concatenate(self._parts) if self._parts else np.zeros(0, np.int64)]
        joined: I64 = self._parts[0]
        return joined


class Continuity:
    """Whether a compacted log still holds everything that was written up to some offset, seen from its offsets."""

    def __init__(self) -> None:
        self._next = 0
        self.whole = True
        """False once more than a transaction's mark is missing: compaction may have removed records for the sake of
        later ones."""

    def see(self, offset: int) -> None:
        """The next record stands at this offset."""
        if offset > self._next + 1:
            self.whole = False
        self._next = offset + 1


class Starts:
    """The positions read, by topic and partition."""

    def __init__(self, logs: Sequence[Log]) -> None:
        self._logs = {(log.topic, log.partition): log for log in logs}

    def start(self, topic: str, partition: int) -> int:
        """Where the log began."""
        log = self._logs.get((topic, partition))
        return log.start if log else 0

    def end(self, topic: str, partition: int) -> int:
        """Where the audit stopped."""
        log = self._logs.get((topic, partition))
        return log.end if log else 0

    def cut(self, topic: str, partition: int) -> bool:
        """Whether the partition holds more than was read."""
        log = self._logs.get((topic, partition))
        return log.cut if log else False
