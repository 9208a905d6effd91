"""The learner's configuration: everything that learning depends on besides the log.

It travels in every batch seal and every clock, so that a rebuild needs the topics and nothing else.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

HOUR_S = 3600.0
DAY_S = 86400.0


@dataclass(frozen=True)
class ModelConfig:
    """What the learner is and how large it may become.

    Raises:
        ValueError: a value is out of its range (the message names it).
    """

    item_partitions: int = 8
    """Partition count of the item-keyed topics."""
    user_partitions: int = 1
    """Partition count of the user-keyed topics."""
    seed: int = 0
    """Mixed into every initial value and every random draw."""

    dim: int = 32
    """Width d of the factor vectors; a multiple of 8 (the kernels sum in 8 lanes)."""
    history: int = 50
    """Newest items of a user that the experts look at."""
    history_kept: int = 200
    """Newest items of a user that are kept (repeats look further back)."""
    halflives_s: tuple[float, ...] = (HOUR_S, 6 * HOUR_S, DAY_S, 7 * DAY_S, 0.0)
    """Half-lives of the popularity counts, seconds; 0 = no decay."""
    pair_halflife_s: float = 30 * DAY_S
    """Half-life of the decayed co-visitation and transition counts, seconds."""

    negatives: int = 100
    """Uniform negatives of one softmax step."""
    write_threshold: float = 0.03
    """Negatives of at least this probability are written (tau)."""
    history_rows_written: int = 5
    """Newest history rows that a softmax step writes."""
    learning_rate: float = 0.1
    initial_accumulator: float = 0.01
    l2: float = 0.001
    decay_short: float = 0.8
    """gamma of the first history sum."""
    decay_long: float = 0.97
    """gamma of the second history sum."""
    pairs_written: int = 8
    """Newest history items that an event is counted with as a pair."""
    neighbours_read: int = 10
    """Newest history items whose neighbours are looked at."""
    context_history: int = 5
    """Users with at most so many items in their history teach what is chosen in a context."""
    list_length: int = 15
    """Best items of each expert that are scored together while learning."""
    score_sample: float = 1.0
    """Share of the events that the log-linear score and the mixture learn from, at most."""
    score_batch_events: int = 250
    """Events of a learning batch that they learn from, about and at most: large batches are those of a shard that is
    behind, and that has no time for more. 0 = no ceiling."""
    score_warm_up: int = 20_000
    """Events of all users until which they learn from every event."""
    score_rate: float = 0.07
    """Learning rate of the log-linear weights."""
    trends: int = 512
    """Length of the lists of the most popular items."""
    negative_feedback: float = 0.3
    """Scale of the step for an event of negative weight."""
    dislike_weight: float = -0.5
    """Events of at most this weight count as seen; weaker negatives (an impression) do not."""

    max_items: int = 1_000_000
    """Ceiling of item rows, over all partitions."""
    max_features: int = 200_000
    """Ceiling of content feature rows, over all partitions."""
    max_contexts: int = 20_000
    """Ceiling of context feature rows, over all partitions."""
    max_users: int = 1_000_000
    """Ceiling of users, over all user partitions."""
    max_neighbours: int = 128
    """Ceiling of a neighbour list."""
    max_content: int = 64
    """Content features of an item; more are cut off."""
    max_categories: int = 32
    """Category counts of a user."""
    max_seen: int = 4096
    """Items remembered as seen by a user, newest first to stay."""
    user_idle_s: float = 180 * DAY_S
    """A user without an event for longer (append time) begins anew; 0 = never. User shards enforce it."""
    item_expiry_s: float = 0.0
    """Rows untouched for longer (in event time) are dropped; 0 = never."""
    probation: float = 0.1
    """Share of a full item table that rows of a single delta record may hold on to."""

    exclude_seen: bool = True
    """Whether items that a user has interacted with are left out of the candidates."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.dim % 8 or not 8 <= self.dim <= 256:
            raise ValueError(f"dim must be a multiple of 8 in [8, 256], not {self.dim}")
        for name in (
            "item_partitions", "user_partitions", "history", "negatives", "max_items", "max_features",
            "max_contexts", "max_users", "max_neighbours", "max_content", "max_categories", "max_seen",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.history_kept < self.history:
            raise ValueError("history_kept must be at least history")
        if self.score_batch_events < 0:
            raise ValueError(f"score_batch_events must be at least 0, not {self.score_batch_events}")
        if not 0 <= self.probation <= 1:
            raise ValueError("probation must be in [0, 1]")
        if not 1 <= len(self.halflives_s) <= 5 or min(self.halflives_s) < 0:
            # The mixture and the score have five columns for them (experts/__init__.py).
            raise ValueError("halflives_s must name one to five half-lives, each >= 0")
        if self.halflives_s[-1]:
            # The longest view of an item, which smooths the others, is its count of all time.
            raise ValueError("halflives_s must end with 0, which never decays")
        if not 0 <= self.pairs_written <= 32:
            # fold.PLACES
            raise ValueError(f"pairs_written must be in [0, 32], not {self.pairs_written}")

    def score_share(self, batch: int) -> float:
        """Share of the events of a learning batch of that size that the score learns from, after the warm-up."""
        if not self.score_batch_events:
            return self.score_sample
        return min(self.score_sample, self.score_batch_events / max(batch, 1))

    @property
    def users_per_partition(self) -> int:
        """Ceiling of users of one user partition."""
        return -(-self.max_users // self.user_partitions)

    @property
    def items_per_partition(self) -> int:
        """Ceiling of item rows in one item partition."""
        return -(-self.max_items // self.item_partitions)

    @property
    def features_per_partition(self) -> int:
        """Ceiling of feature rows in one item partition."""
        return -(-self.max_features // self.item_partitions)

    @property
    def contexts_per_partition(self) -> int:
        """Ceiling of context feature rows in one item partition."""
        return -(-self.max_contexts // self.item_partitions)

    def to_record(self) -> dict[str, Any]:
        """As a map of plain values, for msgpack or JSON."""
        record = asdict(self)
        record["halflives_s"] = list(self.halflives_s)
        return record

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> ModelConfig:
        """The inverse of `to_record`; values that are not named keep their defaults.

        Raises:
            ValueError: a name that this build does not know, or a value out of range.
        """
        unknown = set(record) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"unknown model settings: {', '.join(sorted(unknown))}")
        values = dict(record)
        if "halflives_s" in values:
            values["halflives_s"] = tuple(float(h) for h in values["halflives_s"])
        return cls(**values)
