"""The settings of model update: its role, what the learner is, and how often item rows are published."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ValidationInfo, field_validator, model_validator

from services.model.config import ModelConfig
from services.model.fold import PLACES
from services.runtime.settings import RuntimeSettings, setting

_DEFAULTS = ModelConfig()
_DAY_S = 86_400
_MOST_ROWS = 100_000_000
"""A hundred times the default. Beyond it a table is hundreds of GB, and a slip of the keyboard more likely."""


class ModelUpdateSettings(RuntimeSettings):
    """What is learned, within which bounds. Every replica must have the same values of the model's settings."""

    role: Literal["both", "user", "item"] = setting(
        "both", "Which shards this process runs: user shards learn, item shards own the item rows."
    )
    learn_max_events: int = setting(
        4000, "Largest learning batch; a larger input is learned in several.", unit="events", ge=1
    )
    sweep_min_ms: int = setting(100, "Shortest time between two sweeps of changed item rows.", unit="ms", ge=0)
    sweep_bytes_per_s: int = setting(
        5_000_000,
        "Item rows published per second and item shard; sweeps wait longer to stay below it. A quarter of it while "
        "user shards are behind their input.",
        unit="bytes/s",
        ge=1000,
    )

    dim: int = setting(
        _DEFAULTS.dim, "Width of the factor vectors; a multiple of 8.", unit="floats", ge=8, le=256, multiple_of=8
    )
    model_seed: int = setting(_DEFAULTS.seed, "Mixed into initial values and random draws.", ge=0)
    history: int = setting(
        _DEFAULTS.history, "Newest items of a user that scoring looks at.", unit="items", ge=1, le=10_000
    )
    history_kept: int = setting(
        _DEFAULTS.history_kept, "Newest items of a user that are kept.", unit="items", ge=1, le=10_000
    )
    learning_rate: float = setting(_DEFAULTS.learning_rate, "Step size of the factor model (Adagrad).", gt=0, le=10)
    negatives: int = setting(
        _DEFAULTS.negatives, "Items drawn as negatives per positive event.", unit="items", ge=1, le=10_000
    )
    score_sample: float = setting(
        _DEFAULTS.score_sample, "Share of the events that the log-linear score learns from, at most.", gt=0, le=1
    )
    score_batch_events: int = setting(
        _DEFAULTS.score_batch_events,
        "Events of a learning batch that the score learns from, at most: large batches are those of a shard that is "
        "behind; 0 has no ceiling.",
        unit="events", ge=0,
    )  # fmt: skip
    pairs_written: int = setting(
        _DEFAULTS.pairs_written, "Newest items of a user that an event is counted with as a pair.",
        unit="items", ge=1, le=PLACES,
    )  # fmt: skip
    neighbours_read: int = setting(
        _DEFAULTS.neighbours_read,
        "Newest items of a user whose neighbours are looked at.",
        unit="items",
        ge=1,
        le=10_000,
    )
    max_items: int = setting(
        _DEFAULTS.max_items, "Item rows kept, over all item partitions.", unit="items", ge=1, le=_MOST_ROWS
    )
    max_features: int = setting(
        _DEFAULTS.max_features,
        "Content feature rows kept, over all item partitions.",
        unit="features",
        ge=1,
        le=_MOST_ROWS,
    )
    max_contexts: int = setting(
        _DEFAULTS.max_contexts,
        "Context feature rows kept, over all item partitions.",
        unit="features",
        ge=1,
        le=_MOST_ROWS,
    )
    max_users: int = setting(
        _DEFAULTS.max_users,
        "Users kept, over all user partitions; the longest idle are forgotten beyond it.",
        unit="users",
        ge=1,
        le=_MOST_ROWS,
    )
    user_idle_days: float = setting(
        _DEFAULTS.user_idle_s / _DAY_S,
        "A user without an event for this long (append time) is forgotten; 0 never is.",
        unit="days",
        ge=0,
        le=36_500,
    )
    max_neighbours: int = setting(_DEFAULTS.max_neighbours, "Neighbours kept of an item.", unit="items", ge=1, le=4096)
    max_seen: int = setting(_DEFAULTS.max_seen, "Items remembered as seen by a user.", unit="items", ge=1, le=65_536)
    item_expiry_s: float = setting(
        _DEFAULTS.item_expiry_s, "Forget item rows untouched for this long in event time; 0 never does.",
        unit="s", ge=0, le=36_500 * _DAY_S,
    )  # fmt: skip

    @field_validator("history_kept")
    @classmethod
    def _holds_the_history(cls, value: int, info: ValidationInfo) -> int:
        history = info.data.get("history", 0)
        if value < history:
            raise ValueError(f"{value} is less than history, which is {history}; raise it, or lower STREAMREC_HISTORY")
        return value

    @model_validator(mode="after")
    def _makes_a_model(self) -> Self:
        self.model()
        return self

    def model(self) -> ModelConfig:
        """The learner's configuration.

        Raises:
            ValueError: the values do not fit together (the message names them).
        """
        return ModelConfig(
            item_partitions=self.item_partitions,
            user_partitions=self.user_partitions,
            seed=self.model_seed,
            dim=self.dim,
            history=self.history,
            history_kept=self.history_kept,
            learning_rate=self.learning_rate,
            negatives=self.negatives,
            score_sample=self.score_sample,
            score_batch_events=self.score_batch_events,
            pairs_written=self.pairs_written,
            neighbours_read=self.neighbours_read,
            max_items=self.max_items,
            max_features=self.max_features,
            max_contexts=self.max_contexts,
            max_users=self.max_users,
            user_idle_s=self.user_idle_days * _DAY_S,
            max_neighbours=self.max_neighbours,
            max_seen=self.max_seen,
            item_expiry_s=self.item_expiry_s,
        )
