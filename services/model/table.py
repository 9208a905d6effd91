"""A table of rows of one kind: every block in arenas of its own, found by the hash of the key.

Owners and replicas hold their rows in the same table; they differ in who says where a row stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from zlib import crc32

import numpy as np

from services.model import fold
from services.model.arena import (
    HashIndex,
    Lists,
    list_bytes,
    list_clear,
    list_pool,
    list_reserve,
    list_tidy,
    lists_get,
    lists_set,
    pointers,
    reserve,
)
from services.model.arrays import F32, I64, U32, U64
from services.model.config import ModelConfig
from services.model.jit import kernel
from services.model.layout import Block, RowKind, blocks
from services.model.rows import DeltaSet
from services.model.seeds import init_rows

MAX_KEY_BYTES = 1024
"""Longest item id, bytes of UTF-8."""


@kernel
def _pairs_set(pool: Lists, data: F32, rows: I64, ptr: I64, words: U32, floats: F32) -> None:
    """Rows from their wire form: the anchor, m sums, then per entry the neighbour (2 words) and m counts."""
    m = pool.values.shape[1]
    for i in range(len(rows)):
        row = rows[i]
        list_clear(pool, row)
        for j in range(1 + m):
            data[row, j] = floats[ptr[i] + j]
        n = (ptr[i + 1] - ptr[i] - 1 - m) // (2 + m)
        if n <= 0:
            continue
        list_reserve(pool, row, n)
        for e in range(n):
            source, to = ptr[i] + 1 + m + e * (2 + m), pool.where[row] + e
            pool.keys[to] = np.uint64(words[source]) | (np.uint64(words[source + 1]) << np.uint64(32))
            for j in range(m):
                pool.values[to, j] = floats[source + 2 + j]
        pool.length[row] = n


@kernel
def _pairs_get(pool: Lists, data: F32, rows: I64, ptr: I64, words: U32, floats: F32) -> None:
    """The inverse; `words` and `floats` are two views of one buffer."""
    m = pool.values.shape[1]
    for i in range(len(rows)):
        row = rows[i]
        for j in range(1 + m):
            floats[ptr[i] + j] = data[row, j]
        for e in range(pool.length[row]):
            to, source = ptr[i] + 1 + m + e * (2 + m), pool.where[row] + e
            words[to] = np.uint32(pool.keys[source] & np.uint64(0xFFFFFFFF))
            words[to + 1] = np.uint32(pool.keys[source] >> np.uint64(32))
            for j in range(m):
                floats[to + 2 + j] = pool.values[source, j]


@kernel
def _clear_lists(pool: Lists, rows: I64) -> None:
    for i in range(len(rows)):
        list_clear(pool, rows[i])


class BlockStore:
    """The arenas of one block."""

    def __init__(self, block: Block, room: int) -> None:
        self.block = block
        self.data: F32 = reserve((0, 0), np.float32)
        """float32[room, width]; a decayed block's anchor is the last column; pairs: [room, 1 + m], the
        anchor and the sums of the counts."""
        self.acc: F32 = reserve((0, 0), np.float32)
        """float32[room, groups] of an adagrad block."""
        self.rates = fold.rates(block)
        self.lists: Lists | None = None
        if block.kind == "pairs":
            self.data = reserve((room, 1 + block.width), np.float32)
            self.lists = list_pool(room, block.limit, np.uint64, block.width)
        elif block.kind == "replace":
            self.lists = list_pool(room, block.limit, np.uint32, 0)
        else:
            self.data = reserve((room, block.width + (block.kind == "decayed")), np.float32)
            self.acc = reserve((room, block.groups), np.float32)

    def init(self, rows: I64, hashes: U64, seed: int) -> None:
        """Initial values."""
        block = self.block
        if self.lists is not None:
            _clear_lists(self.lists, rows)
        if block.kind in ("decayed", "pairs"):
            self.data[rows] = 0.0
        elif block.kind != "replace":
            salt = crc32(block.name.encode()) ^ (seed << 32)
            init_rows(self.data, rows, hashes, salt, block.scale, block.start)
        if block.groups:
            self.acc[rows] = np.float32(block.accumulator)

    def set(self, rows: I64, parts: Sequence[bytes]) -> None:
        """Rows from their wire form."""
        joined = np.frombuffer(b"".join(parts), np.uint32)
        if self.lists is None:
            values = joined.view(np.float32).reshape(len(rows), self.block.stored_width)
            width = self.data.shape[1]
            self.data[rows] = values[:, :width]
            if self.block.groups:
                self.acc[rows] = values[:, width:]
            return
        ptr = pointers([len(part) // 4 for part in parts])
        if self.block.kind == "pairs":
            entries, rest = np.divmod(np.diff(ptr) - 1 - self.block.width, 2 + self.block.width)
            if rest.any() or entries.min() < 0 or entries.max() > self.block.limit:
                raise ValueError(f"a list is cut off, or longer than {self.block.limit} entries")
            _pairs_set(self.lists, self.data, rows, ptr, joined, joined.view(np.float32))
        else:
            lists_set(self.lists, rows, ptr, joined)

    def get(self, rows: I64) -> list[bytes]:
        """The wire form of rows."""
        if self.lists is None:
            values = self.data[rows]
            if self.block.groups:
                values = np.concatenate([values, self.acc[rows]], axis=1)
            raw, width = values.tobytes(), values.shape[1] * 4
            return [raw[i : i + width] for i in range(0, len(raw), width)]
        lengths = self.lists.length[rows].astype(np.int64)
        pairs = self.block.kind == "pairs"
        ptr = pointers(lengths * (2 + self.block.width) + 1 + self.block.width if pairs else lengths)
        words = np.empty(int(ptr[-1]), np.uint32)
        if pairs:
            _pairs_get(self.lists, self.data, rows, ptr, words, words.view(np.float32))
        else:
            lists_get(self.lists, rows, ptr, words)
        raw, ends = words.tobytes(), (ptr * 4).tolist()
        return [raw[a:b] for a, b in pairwise(ends)]

    def fold(self, rows: I64, values: F32, neighbours: U64 | None) -> None:
        """Fold deltas; a row of -1 is skipped."""
        kind = self.block.kind
        if kind == "sum":
            fold.fold_sum(self.data, rows, values, self.block.cap)
        elif kind == "decayed":
            fold.fold_decayed(self.data, rows, values, self.rates)
        elif kind == "adagrad":
            fold.fold_adagrad(self.data, self.acc, rows, fold.unpack(values, self.block), self.block.crowding)
        elif kind == "replace" and self.lists is not None:
            fold.fold_replace(self.lists, rows, values.view(np.uint32).reshape(-1))
        elif self.lists is not None and neighbours is not None:
            weights, codes = np.ascontiguousarray(values[:, 0]), np.ascontiguousarray(values.view(np.uint32)[:, 1])
            fold.fold_pairs(self.lists, self.data, rows, neighbours, weights, codes, self.rates)
        else:
            raise ValueError(f"deltas of the pairs block {self.block.name!r} name no neighbours")


class RowTable:
    """Rows of one kind, by position in the arenas."""

    def __init__(self, config: ModelConfig, kind: RowKind, room: int) -> None:
        self.kind = kind
        self.seed = config.seed
        self.room = room
        self.index = HashIndex()
        self.keys: U64 = reserve((room,), np.uint64)
        """Hash of the row at a position; 0 = empty."""
        self.counts: U32 = reserve((room,), np.uint32)
        self.names = list_pool(room, MAX_KEY_BYTES // 4 + 1, np.uint32, 0)
        self.stores = {block.name: BlockStore(block, room) for block in blocks(config, kind)}

    def __len__(self) -> int:
        """Number of rows."""
        return self.index.size

    def place(self, rows: I64, hashes: U64, keys: Sequence[str]) -> None:
        """Put new rows with initial values at empty positions."""
        self.index.insert(hashes, rows)
        self.keys[rows] = hashes
        self.counts[rows] = 0
        encoded = [key.encode() for key in keys]
        lengths = [len(e) for e in encoded]
        if max(lengths) > MAX_KEY_BYTES:
            raise ValueError(f"an item id is longer than {MAX_KEY_BYTES} bytes")
        # The last word of a name carries its length in bytes.
        packed = b"".join(e + b"\0" * (-len(e) % 4) + len(e).to_bytes(4, "little") for e in encoded)
        words = np.frombuffer(packed, np.uint32)
        lists_set(self.names, rows, pointers([-(-n // 4) + 1 for n in lengths]), words)
        for store in self.stores.values():
            store.init(rows, hashes, self.seed)

    def key_of(self, rows: I64) -> list[str]:
        """The keys of rows."""
        ptr = pointers(self.names.length[rows])
        words = np.empty(int(ptr[-1]), np.uint32)
        lists_get(self.names, rows, ptr, words)
        raw, starts = words.tobytes(), (ptr[:-1] * 4).tolist()
        lengths = words[ptr[1:] - 1].tolist()
        if raw.isascii():
            # A slice of text for each key, in place of a slice and a decoding.
            text = raw.decode("ascii")
            return [text[at : at + n] for at, n in zip(starts, lengths, strict=True)]
        return [raw[at : at + n].decode() for at, n in zip(starts, lengths, strict=True)]

    def remove(self, rows: I64) -> None:
        """Empty positions, each of which holds a row."""
        self.index.remove(self.keys[rows])
        self.keys[rows] = 0
        _clear_lists(self.names, rows)
        for store in self.stores.values():
            if store.lists is not None:
                _clear_lists(store.lists, rows)

    def set(self, rows: I64, states: Sequence[dict[str, bytes]], counts: Sequence[int]) -> None:
        """Overwrite rows that are in place with their wire form.

        Raises:
            ValueError: a block is missing or of another size: the row has another layout.
        """
        self.counts[rows] = counts
        for name, store in self.stores.items():
            try:
                store.set(rows, [state[name] for state in states])
            except (KeyError, ValueError) as error:
                raise ValueError(f"rows do not have the layout of block {name!r}: {error}") from error

    def get(self, rows: I64) -> list[dict[str, bytes]]:
        """The wire form of rows."""
        names = list(self.stores)
        columns = [store.get(rows) for store in self.stores.values()]
        return [dict(zip(names, parts, strict=True)) for parts in zip(*columns, strict=True)]

    def fold(self, deltas: DeltaSet, rows: I64, skip: str = "") -> None:
        """Fold the blocks of this kind but one; `rows` int64[len(deltas.ids)] gives each id's position or -1."""
        for name, store in self.stores.items():
            block = deltas.blocks.get(name)
            if block is not None and name != skip:
                store.fold(rows[block.rows], block.values, block.neighbours)

    def tidy(self) -> None:
        """Give idle list memory back; to be called now and then between batches."""
        list_tidy(self.names)
        for store in self.stores.values():
            if store.lists is not None:
                list_tidy(store.lists)

    def nbytes(self) -> int:
        """Resident bytes of the rows in use."""
        header = self.keys.itemsize + self.counts.itemsize
        total = self.index.nbytes + list_bytes(self.names) + len(self) * header
        for store in self.stores.values():
            if store.lists is not None:
                total += list_bytes(store.lists)
            columns = store.data.shape[1] + store.acc.shape[1]
            total += len(self) * 4 * columns
        return int(total)


_CODES = {"f": 1, "c": 3}
"""Codes by the letter behind the NUL of a reserved key."""


def kinds_of(ids: Sequence[str]) -> Any:
    """uint8[n] codes of the kinds in KINDS (layout.row_kind, for many keys)."""
    codes = np.zeros(len(ids), np.uint8)
    # Only what begins with NUL is less; almost all ids are items'.
    for i in [i for i, key in enumerate(ids) if key < "\x01"]:
        codes[i] = _CODES.get(ids[i][1:2], 2) if ids[i] else 0
    return codes


KINDS: tuple[RowKind, ...] = ("item", "feature", "system", "context")
"""Row kinds by the codes of `kinds_of`."""
SYSTEM_ROOM = 64
"""Ceiling of system rows."""
