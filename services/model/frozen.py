"""A copy of the item rows as they are now, which learns nothing more."""

from __future__ import annotations

import numpy as np

from services.model.replica import Replica
from services.model.rows import RowChange

_PAGE = 4096
"""Rows copied at a time: their wire form exists for a page only."""


def frozen_copy(rows: Replica) -> Replica:
    """A replica with the confirmed rows of another one. It costs the memory of its rows."""
    copy = Replica(rows.config)
    partitions = rows.config.item_partitions
    for kind in rows.tables:
        table = kind.table
        used = np.flatnonzero(table.keys[: kind.confirmed])
        for partition in range(partitions):
            mine = used[used % partitions == partition]
            for first in range(0, len(mine), _PAGE):
                at = mine[first : first + _PAGE]
                changes = [
                    RowChange(key, hash_, slot, count, blocks)
                    for key, hash_, slot, count, blocks in zip(
                        table.key_of(at),
                        table.keys[at].tolist(),
                        (at // partitions).tolist(),
                        table.counts[at].tolist(),
                        table.get(at),
                        strict=True,
                    )
                ]
                copy.take(partition, changes, None)
    return copy
