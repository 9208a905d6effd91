"""Items known from their metadata, whether or not anybody has touched them: availability, and the ranker of the
untouched."""

from __future__ import annotations

import numpy as np

from services.model.arena import HashIndex, list_bytes, list_clear, list_pool, lists_set, reserve
from services.model.arrays import U32, U64, Mask
from services.model.cold import ColdRanker
from services.model.config import ModelConfig
from services.model.kernels.cold import NEWEST
from services.model.names import key_words
from services.model.table import MAX_KEY_BYTES


class Catalogue:
    """Items by hash, at most config.max_items of them, each in a slot of the catalogue's own."""

    def __init__(self, config: ModelConfig) -> None:
        self.restricted = False
        """Whether only items that are here may be recommended."""
        self.index = HashIndex()
        """Slots by item hash."""
        self.hashes: U64 = reserve((config.max_items,), np.uint64)
        self._available: Mask = reserve((config.max_items,), np.bool_)
        self.names = list_pool(config.max_items, MAX_KEY_BYTES // 4 + 1, np.uint32, 0)
        """Ids by slot (model/names.py)."""
        self.cold = ColdRanker(config.max_items, config.max_features, config.max_content, config.seed)
        """Knows the items' content."""
        self._free: list[int] = []
        self._top = 0

    def __len__(self) -> int:
        """Number of items."""
        return self.index.size

    def put(self, item: int, item_id: str, content: U32, *, available: bool = True) -> bool:
        """Add an item or replace what is known of it; False when the catalogue is full.

        Args:
            item: hash of the item.
            item_id: its id.
            content: uint32[k] content features.
            available: whether it may be recommended.
        """
        slot = self.index.find(item)
        if slot < 0:
            if not self._free and self._top == len(self.hashes):
                return False
            slot = self._free.pop() if self._free else self._top
            self._top = max(self._top, slot + 1)
            self.index.insert(np.array([item], np.uint64), np.array([slot], np.int64))
            self.hashes[slot] = item
            words = key_words(item_id.encode())
            lists_set(self.names, np.array([slot], np.int64), np.array([0, len(words)], np.int64), words)
        self._available[slot] = available
        self.cold.put(slot, content)
        return True

    def remove(self, item: int) -> None:
        """Forget an item; nothing happens when it is not there."""
        slot = self.index.find(item)
        if slot >= 0:
            self.index.remove(np.array([item], np.uint64))
            self.hashes[slot] = 0
            self.cold.remove(slot)
            list_clear(self.names, slot)
            self._free.append(slot)

    def allowed(self, items: U64) -> Mask:
        """bool[n] whether items may be recommended: not unavailable, and here when `restricted`."""
        slots = self.index.find_many(items)
        return np.where(slots >= 0, self._available[slots], not self.restricted)

    def untouched(self, items: U64) -> Mask:
        """bool[n] whether items are here and nobody has touched them, as far as is known."""
        slots = self.index.find_many(items)
        return np.where(slots >= 0, self.cold.untouched(slots), False)

    def occurred(self, items: U64) -> None:
        """Items that have item rows, in the order of their first occurrences."""
        if self.cold.waiting:
            for slot in self.index.find_many(items[self.untouched(items)]).tolist():
                self.cold.touch(slot)

    def gone(self, items: U64) -> None:
        """Items whose rows were evicted: nothing is known of them any more but their content."""
        slots = self.index.find_many(items)
        for slot in slots[slots >= 0].tolist():
            self.cold.release(slot)

    def first_occurrence(self, history: U64) -> None:
        """Learn from a user's newest items, newest first, of which the first one was untouched."""
        slots = self.index.find_many(history[: NEWEST + 1])
        self.cold.learn(int(slots[0]), slots[1:])

    def nbytes(self) -> int:
        """Resident bytes."""
        return self.cold.nbytes() + list_bytes(self.names) + self.index.nbytes + 9 * len(self)
