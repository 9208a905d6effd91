"""Lists of rows that are filled in byte by byte."""

from __future__ import annotations

from typing import Any

from services.model.arena import Lists, list_clear, list_reserve
from services.model.jit import kernel


@kernel
def list_room(pool: Lists, row: int, n: int) -> Any:
    """Give a row a list of n entries, at most the limit, to be filled in; returns where."""
    list_clear(pool, row)
    if n > 0:
        list_reserve(pool, row, n)
        pool.length[row] = n
    return pool.where[row]
