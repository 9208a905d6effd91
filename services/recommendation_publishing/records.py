"""The user-state records of a slice, by column: most of them lie there as they came, the others have been decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.contracts.inner.user_state import CHUNK_KEY_BYTES, record_pieces
from services.model.arrays import I64
from services.model.kernels.packed_users import APPEND_MS, EVENT_MS, OFFSET
from services.model.packed_users import Records, read, user_form
from services.model.users import BLOCKS

USER_RECORD = user_form(record_pieces(BLOCKS))
"""The form in which records of user-state are read many at a time."""


def plain_records(keys: Sequence[bytes | None], values: Sequence[bytes | None]) -> list[bool]:
    """Which records of user-state are plain ones, so that they need no decoder."""
    plain: list[bool] = read(keys, values, USER_RECORD).plain.tolist()
    return plain


@dataclass(frozen=True, slots=True)
class UserRecords:
    """n records of user-state, in the order of the log."""

    users: list[bytes]
    """Whose each is."""
    values: Sequence[Any]
    """bytes of a plain one; UserRow or SeenChunk of one that was decoded; None deletes."""
    parts: Records
    """Where the parts of the plain ones lie, and of all which are rows."""
    rows: I64
    """int64[k] which of them are rows, deletions left out."""
    row_fields: I64
    """int64[k, 3] of each row: the offset up to which it has learned, event and append time (Unix ms) of its newest
    event."""

    @classmethod
    def of(cls, keys: Sequence[bytes | None], values: Sequence[Any]) -> UserRecords:
        """Read records; decoders have refused those without a key."""
        parts = read(keys, values, USER_RECORD)
        of_row = parts.chunks < 0
        users = [
            key if is_row else key[:-CHUNK_KEY_BYTES]
            for key, is_row in zip(map(_known, keys), of_row.tolist(), strict=True)
        ]
        held = np.fromiter((value is not None for value in values), np.bool_, len(values))
        rows = np.flatnonzero(of_row & held)
        fields = parts.fields[rows][:, [OFFSET, EVENT_MS, APPEND_MS]]
        for at in np.flatnonzero(~parts.plain[rows]).tolist():
            row = values[rows[at]]
            fields[at] = row["o"], row["t"], row["ts"]
        return cls(users, values, parts, rows, fields)

    def histories(self, at: I64) -> list[bytes]:
        """The histories of some rows, oldest item first."""
        found = self.parts.blocks("h", at)
        for i in np.flatnonzero(~self.parts.plain[at]).tolist():
            found[i] = self.values[at[i]].get("b", {}).get("h", b"")
        return found


def _known(key: bytes | None) -> bytes:
    return key or b""
