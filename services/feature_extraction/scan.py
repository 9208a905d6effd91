"""Reading a batch by a kernel, and what the kernel does not take by the codec: one path behind both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from services.model.arrays import I64, U8

UNREAD, READ = range(2)
"""Whether the kernel has read a record."""


class Scanned(Protocol):
    """What a scan gives of n records, besides their fields."""

    @property
    def state(self) -> U8:
        """uint8[n] UNREAD or READ."""


S = TypeVar("S", bound=Scanned)
Refused = list[tuple[int, ValueError]]
"""(row, why) of the records that are not what they should be, in order."""


def scan(
    values: Sequence[bytes | None], read: Callable[[U8, I64], S], plain: Callable[[bytes], bytes]
) -> tuple[S, bytes, I64, Refused]:
    """Read records, a row each. A null value is UNREAD and not refused.

    Args:
        values: the records.
        read: calls the kernel on records end to end, uint8[size], that end at int64[n].
        plain: gives a record that the kernel does not take in the form that it takes; raises ValueError for one that is
            wrong.

    Returns:
        What was read, the bytes that it was read from, int64[n] where each record ends in them, and what was refused.

    Raises:
        RuntimeError: the kernel does not read what `plain` gives: the record would be neither taken nor refused.
    """
    records = [value or b"" for value in values]
    found, raw, ends = _read(records, read)
    refused: Refused = []
    again = False
    for row in np.flatnonzero(found.state == UNREAD).tolist():
        value = values[row]
        if value is None:
            continue
        try:
            records[row] = plain(value)
            again = True
        except ValueError as error:
            refused.append((row, error))
            records[row] = b""
    if again:
        found, raw, ends = _read(records, read)
        n, taken = len(values) - values.count(None) - len(refused), int(np.count_nonzero(found.state))
        if taken != n:
            raise RuntimeError(f"of {n} records that the codec takes, the scan reads {taken}")
    return found, raw, ends, refused


def _read(records: Sequence[bytes], read: Callable[[U8, I64], S]) -> tuple[S, bytes, I64]:
    raw, ends = b"".join(records), np.cumsum(np.fromiter(map(len, records), np.int64, len(records)))
    return read(np.frombuffer(raw, np.uint8), ends), raw, ends
