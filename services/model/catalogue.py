"""Items known from their metadata, whether or not anybody has touched them."""

from __future__ import annotations

import numpy as np

from services.model.arena import HashIndex, list_bytes, list_clear, list_pool, lists_set, reserve
from services.model.arrays import F32, U32, U64
from services.model.config import ModelConfig
from services.model.jit import kernel
from services.model.users import UserTable


@kernel
def _affinity(keys: U32, where: int, n: int, own: U32, counts: F32) -> float:
    total = 0.0
    for i in range(where, where + n):
        for j in range(len(own)):
            if own[j] == keys[i]:
                total += counts[j]
    return total


class Catalogue:
    """Content features of items, by item hash; at most config.max_items of them."""

    def __init__(self, config: ModelConfig) -> None:
        self._index = HashIndex()
        self._hashes: U64 = reserve((config.max_items,), np.uint64)
        self._lists = list_pool(config.max_items, config.max_content, np.uint32, 0)
        self._free: list[int] = []
        self._top = 0

    def __len__(self) -> int:
        """Number of items."""
        return self._index.size

    def set_content(self, item: int, content: U32) -> bool:
        """Add an item or replace its features; False when the catalogue is full."""
        slot = self._index.find(item)
        if slot < 0:
            if not self._free and self._top == len(self._hashes):
                return False
            slot = self._free.pop() if self._free else self._top
            self._top = max(self._top, slot + 1)
            self._index.insert(np.array([item], np.uint64), np.array([slot], np.int64))
            self._hashes[slot] = item
        lists_set(self._lists, np.array([slot], np.int64), np.array([0, len(content)], np.int64), content)
        return True

    def remove(self, item: int) -> None:
        """Forget an item; nothing happens when it is not there."""
        slot = self._index.find(item)
        if slot >= 0:
            self._index.remove(item)
            self._hashes[slot] = 0
            list_clear(self._lists, slot)
            self._free.append(slot)

    def content(self, item: int) -> U32:
        """uint32[k] features of an item; empty when it is not there."""
        slot = self._index.find(item)
        if slot < 0:
            return np.zeros(0, np.uint32)
        at = int(self._lists.where[slot])
        return self._lists.keys[at : at + int(self._lists.length[slot])]  # type: ignore[no-any-return]  # Lists.keys is Any

    def items(self) -> U64:
        """uint64[n] hashes of all items."""
        hashes = self._hashes[: self._top]
        return hashes[hashes != 0]

    def affinity(self, items: U64, users: UserTable, user: int) -> F32:
        """float32[n] how much of a user's decayed category counts falls on the features of items."""
        out: F32 = np.zeros(len(items), np.float32)
        if user < 0:
            return out
        pool = users.arrays.categories
        at = int(pool.where[user])
        end = at + int(pool.length[user])
        own, counts = pool.keys[at:end], pool.values[at:end, 0]
        slots = self._index.find_many(items)
        for i, slot in enumerate(slots.tolist()):
            n = int(self._lists.length[slot])
            out[i] = _affinity(self._lists.keys, int(self._lists.where[slot]), n, own, counts)
        return out

    def nbytes(self) -> int:
        """Resident bytes."""
        return list_bytes(self._lists) + self._index.nbytes + 8 * len(self)
