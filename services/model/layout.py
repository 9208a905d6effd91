"""The parameter blocks of a row: names, shapes and the rule by which deltas are folded in.

Four kinds of rows live in the item partitions: items, content features, context features, and system
rows (totals, mixture weights, gates). A row is a set of named blocks:

    sum       float32[width]; deltas are added
    decayed   counts at several half-lives, float32[m] and the anchor they are valid at (ticks)
    adagrad   float32[width] parameters in groups that share an Adagrad accumulator
    pairs     a bounded list of (neighbour hash, float32[m] counts), one anchor (ticks), and the sums of
              the counts over all neighbours there ever were
    replace   a bounded list of uint32, last writer wins
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from services.model.config import ModelConfig

Kind = Literal["sum", "decayed", "adagrad", "pairs", "replace"]
RowKind = Literal["item", "feature", "system", "context"]

SYSTEM_ITEM = "\x00system"
"""Key of the first system row; others start with it. All live in partition 0."""
FEATURE_PREFIX = "\x00f"
CONTEXT_PREFIX = "\x00c"

TICK_S = 128
"""Seconds of an anchor tick. Ticks since 1970 stay below 2^24 until 2038, so a float32 holds them
exactly; the finest half-life in use is an hour."""

BUCKETS = 35
"""History length (7) x time since the user's last event (5)."""
GAPS = 5
EXPERTS = 12
"""Room for experts in a bucket's mixture weights."""
SCORE_FEATURES = 28
"""Room for features of the log-linear score."""
MIXTURE_MEMORY = 500.0
"""Events that a bucket's mixture weights remember."""

SCORE_CROWDING = 0.5
"""Crowding of the log-linear weights. One feature alone would need the learning rate, 0.07; but the experts say much
the same, and what their evidence has in common is learned by all of their weights at once (docs/decisions/005)."""


@dataclass(frozen=True, slots=True)
class Block:
    """One named block of a row kind."""

    name: str
    row: RowKind
    kind: Kind
    width: int = 1
    """Parameters (sum, adagrad), counts (decayed, pairs: m); 1 for replace."""
    group: int = 1
    """adagrad: parameters that share one accumulator; divides width."""
    halflives_s: tuple[float, ...] = ()
    """decayed, pairs: half-life of each count in seconds, 0 = none."""
    scale: float = 0.0
    """sum, adagrad: standard deviation of the initial values around `start`."""
    start: float = 0.0
    cap: float = 0.0
    """sum: a row whose sum passes it is scaled back to it; 0 = none."""
    accumulator: float = 0.0
    """adagrad: initial accumulator."""
    crowding: float = 0.0
    """adagrad: how much less a delta counts for what other shards did to the row meanwhile (fold.py)."""
    limit: int = 0
    """pairs, replace: ceiling of the list."""

    @property
    def groups(self) -> int:
        """Number of accumulators."""
        return self.width // self.group if self.kind == "adagrad" else 0

    @property
    def is_list(self) -> bool:
        """Whether the block has a variable length."""
        return self.kind in ("pairs", "replace")

    @property
    def stored_width(self) -> int:
        """float32 of a fixed-width row on the wire: parameters, then accumulators or the anchor."""
        return {"sum": self.width, "decayed": self.width + 1, "adagrad": self.width + self.groups}[self.kind]

    @property
    def packed(self) -> bool:
        """Whether deltas travel at 16 bits: rows of vectors, which are most of the traffic."""
        return self.kind == "adagrad" and self.row != "system" and self.width % 2 == 0

    @property
    def delta_width(self) -> int:
        """float32 of one delta: decayed ends with its anchor; adagrad is the parameter differences (two
        float16 in the place of a float32 when packed), then per group the accumulator growth, then the
        accumulator seen at the end; pairs is the weight and the bits of (place, tick), see fold.py."""
        return {
            "sum": self.width,
            "decayed": self.width + 1,
            "adagrad": (self.width // 2 if self.packed else self.width) + 2 * self.groups,
            "pairs": 2,
            "replace": 1,
        }[self.kind]


@lru_cache(maxsize=64)
def blocks(config: ModelConfig, row: RowKind) -> tuple[Block, ...]:
    """The blocks of a row kind, in the order in which they are folded."""
    d, rate, start = config.dim, config.pair_halflife_s, config.initial_accumulator
    near = config.max_neighbours

    def vectors(name: str, row: RowKind) -> Block:
        return Block(name, row, "adagrad", d, d, scale=0.1, accumulator=start)

    table: dict[RowKind, tuple[Block, ...]] = {
        "item": (
            Block("pop", "item", "decayed", len(config.halflives_s), halflives_s=config.halflives_s),
            vectors("q", "item"),
            # The bias steps at the rate of its vector's accumulator.
            Block("b", "item", "sum"),
            vectors("v", "item"),
            # Neighbours: [co-visits, h -> x at 1/(1+k), x -> h at 1/(1+k), strictly next, the first two decayed].
            Block("near", "item", "pairs", 6, halflives_s=(0.0, 0.0, 0.0, 0.0, rate, rate), limit=near),
            Block("content", "item", "replace", limit=config.max_content),
        ),
        # Events of items that have the feature (categories only), and items that have it.
        "feature": (Block("fn", "feature", "sum", 2),),
        # What users without a history chose in the circumstance: counted like a neighbour at place 0.
        "context": (Block("chosen", "context", "pairs", 6, halflives_s=(0.0, 0.0, 0.0, 0.0, rate, rate), limit=near),),
        # Row 0 is what all share; row 1 + b belongs to bucket b.
        "system": (
            Block("totals", "system", "decayed", len(config.halflives_s), halflives_s=config.halflives_s),
            Block("pi", "system", "sum", EXPERTS, start=1.0, cap=MIXTURE_MEMORY),
            Block("w", "system", "adagrad", SCORE_FEATURES, 1, accumulator=1.0, crowding=SCORE_CROWDING),
            Block("gates", "system", "adagrad", 2 * GAPS, 1, start=1.0, accumulator=1.0),
        ),
    }
    return table[row]


def row_kind(key: str) -> RowKind:
    """The kind of a row, from its key."""
    if not key.startswith("\x00"):
        return "item"
    if key.startswith(CONTEXT_PREFIX):
        return "context"
    return "feature" if key.startswith(FEATURE_PREFIX) else "system"


def feature_key(feature: int) -> str:
    """Key of the row of a content feature (uint32)."""
    return f"{FEATURE_PREFIX}{feature:08x}"


def context_key(feature: int) -> str:
    """Key of the row of a context feature (uint32)."""
    return f"{CONTEXT_PREFIX}{feature:08x}"


def feature_partition(feature: int, item_partitions: int) -> int:
    """Item partition that owns a content or context feature."""
    return feature % item_partitions


def feature_hash(feature: int) -> int:
    """Hash of a content feature's row: the feature itself under a high tag, so that it inverts."""
    return (0xFEA7_0000 << 32) | feature


def context_hash(feature: int) -> int:
    """Hash of a context feature's row, as `feature_hash`."""
    return (0xC047_0000 << 32) | feature


def system_hash(ordinal: int = 0) -> int:
    """Hash of a system row."""
    return (0x5E57_0000 << 32) | ordinal


def system_key(ordinal: int = 0) -> str:
    """Key of a system row."""
    return SYSTEM_ITEM if ordinal == 0 else f"{SYSTEM_ITEM}{ordinal}"


def reserved_hash(key: str) -> int:
    """Hash of a reserved key.

    Raises:
        ValueError: the key is an item id.
    """
    kind = row_kind(key)
    if kind == "item":
        raise ValueError("an item id is hashed by the contracts, not by the layout")
    if kind == "feature":
        return feature_hash(int(key[len(FEATURE_PREFIX) :], 16))
    if kind == "context":
        return context_hash(int(key[len(CONTEXT_PREFIX) :], 16))
    return system_hash(int(key[len(SYSTEM_ITEM) :] or 0))
