"""The deduplication window: the newest event ids of a user.

A window is bytes: entries of a 64-bit hash, the event time and the offset, oldest first. Searching bytes is a memchr
and costs no Python object per id. The newest entries are in the user's row; every CHUNK_ENTRIES of them are sealed
into a chunk of their own, so that an event rewrites a fraction of its user's window.
"""

from __future__ import annotations

import struct
from hashlib import blake2b

from services.contracts.inner.extraction_state import CHUNK_ENTRIES, ENTRY_BYTES, ExtractionRow

CHUNK_BYTES = CHUNK_ENTRIES * ENTRY_BYTES
_TAIL = struct.Struct("<II")
_U32 = 0xFFFFFFFF


def event_mark(event_id: str) -> bytes:
    """64-bit hash of an event id: bytes[8]."""
    return blake2b(event_id.encode(), digest_size=8).digest()


def find(window: bytes, mark: bytes) -> int:
    """Position in bytes of the oldest entry with a mark, or -1."""
    at = window.find(mark)
    while at >= 0 and at % ENTRY_BYTES:
        # The bytes of two neighbouring entries may look like the mark.
        at = window.find(mark, at + 1)
    return at


class DedupWindow:
    """Finds and remembers event ids."""

    def __init__(self, events: int, span_ms: int) -> None:
        """Bound the window.

        Args:
            events: ids remembered at least, once there were as many; full chunks of them and the open one.
            span_ms: event time behind the user's newest event from which an id is no longer a repeat.
        """
        self.chunks = -(-events // CHUNK_ENTRIES)
        self._span_s = -(-span_ms // 1000)

    def offset_of(self, row: ExtractionRow, sealed: bytes, mark: bytes) -> int | None:
        """Offset (low 32 bits) of the event that holds an id, or None when the id is new."""
        if mark not in row["d"] and mark not in sealed:
            return None
        for window in (row["d"], sealed):
            at = find(window, mark)
            if at >= 0:
                second, offset = _TAIL.unpack_from(window, at + 8)
                if second >= row["t"] // 1000 - self._span_s:
                    return int(offset)
        return None

    def accepted(self, row: ExtractionRow, sealed: bytes, offset: int) -> bool | None:
        """Whether the event at an offset was accepted into the window; None when it does not reach back so far."""
        window = sealed + row["d"]
        offsets = [_TAIL.unpack_from(window, at + 8)[1] for at in range(0, len(window), ENTRY_BYTES)]
        if offset & _U32 in offsets:
            return True
        return False if offsets and offsets[0] <= offset & _U32 else None

    def add(self, row: ExtractionRow, mark: bytes, event_ms: int, offset: int) -> bytes | None:
        """Remember an id; returns the chunk that is now full, to be sealed, or None."""
        window = row["d"] + mark + _TAIL.pack(event_ms // 1000 & _U32, offset & _U32)
        if len(window) < CHUNK_BYTES:
            row["d"] = window
            return None
        row["d"] = b""
        row["dn"] += 1
        return window

    def keep(self, sealed: bytes, chunk: bytes) -> bytes:
        """The sealed chunks after one more, without those that fall out of the window."""
        return (sealed + chunk)[-self.chunks * CHUNK_BYTES :]

    def restore(self, chunks: dict[int, bytes], sealed: int) -> bytes:
        """Join the chunks read from the topic that belong to a row with `sealed` chunks.

        The newest ones without a gap. A chunk that is newer than its row (written just before a crash, in
        at-least-once mode) holds ids of events that will come again: it is left out.
        """
        joined: list[bytes] = []
        for number in range(sealed - 1, max(sealed - 1 - self.chunks, -1), -1):
            if number not in chunks:
                break
            joined.append(chunks[number])
        return b"".join(reversed(joined))
