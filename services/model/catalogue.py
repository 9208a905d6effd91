"""Items known from their metadata, whether or not anybody has touched them: content and availability."""

from __future__ import annotations

import numpy as np

from services.model.arena import HashIndex, list_bytes, list_clear, list_pool, lists_set, reserve
from services.model.arrays import F32, U32, U64, Mask
from services.model.config import ModelConfig
from services.model.jit import kernel
from services.model.names import key_words, words_key
from services.model.table import MAX_KEY_BYTES
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
        self.restricted = False
        """Whether only items that are here may be recommended."""
        self._index = HashIndex()
        self._hashes: U64 = reserve((config.max_items,), np.uint64)
        self._available: Mask = reserve((config.max_items,), np.bool_)
        self._names = list_pool(config.max_items, MAX_KEY_BYTES // 4 + 1, np.uint32, 0)
        self._lists = list_pool(config.max_items, config.max_content, np.uint32, 0)
        self._free: list[int] = []
        self._top = 0

    def __len__(self) -> int:
        """Number of items."""
        return self._index.size

    def put(self, item: int, item_id: str, content: U32, *, available: bool = True) -> bool:
        """Add an item or replace what is known of it; False when the catalogue is full.

        Args:
            item: hash of the item.
            item_id: its id.
            content: uint32[k] content features.
            available: whether it may be recommended.
        """
        slot = self._index.find(item)
        if slot < 0:
            if not self._free and self._top == len(self._hashes):
                return False
            slot = self._free.pop() if self._free else self._top
            self._top = max(self._top, slot + 1)
            self._index.insert(np.array([item], np.uint64), np.array([slot], np.int64))
            self._hashes[slot] = item
            words = key_words(item_id.encode())
            lists_set(self._names, np.array([slot], np.int64), np.array([0, len(words)], np.int64), words)
        self._available[slot] = available
        lists_set(self._lists, np.array([slot], np.int64), np.array([0, len(content)], np.int64), content)
        return True

    def remove(self, item: int) -> None:
        """Forget an item; nothing happens when it is not there."""
        slot = self._index.find(item)
        if slot >= 0:
            self._index.remove(item)
            self._hashes[slot] = 0
            list_clear(self._lists, slot)
            list_clear(self._names, slot)
            self._free.append(slot)

    def item_id(self, item: int) -> str:
        """Id of an item; "" when it is not there."""
        slot = self._index.find(item)
        if slot < 0:
            return ""
        at = int(self._names.where[slot])
        return words_key(self._names.keys[at : at + int(self._names.length[slot])]).decode()

    def allowed(self, items: U64) -> Mask:
        """bool[n] whether items may be recommended: not unavailable, and here when `restricted`."""
        slots = self._index.find_many(items)
        return np.where(slots >= 0, self._available[slots], not self.restricted)

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
        return np.asarray(hashes[hashes != 0])

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
        return list_bytes(self._lists) + list_bytes(self._names) + self._index.nbytes + 9 * len(self)
