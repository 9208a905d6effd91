"""Refusing item rows that were made under another model."""

from __future__ import annotations

from typing import Any

from services.model.config import ModelConfig
from services.runtime.errors import FatalError

LAYOUT = (
    "item_partitions", "seed", "dim", "halflives_s", "pair_halflife_s", "initial_accumulator",
    "max_items", "max_features", "max_contexts", "max_neighbours", "max_content",
)  # fmt: skip
"""What a row's bytes, its slot and its initial values follow from. The rest of the settings may change at a restart."""


_ADVICE = (
    "Give every replica of model-update the same settings; to change what rows look like, begin anew "
    "with another topic prefix."
)


class ModelMismatchError(FatalError):
    """The rows in item-state have another layout than this process's model settings give."""


def check_layout(config: ModelConfig, record: dict[str, Any]) -> None:
    """Compare the layout that a clock or a seal names with our own.

    Raises:
        ModelMismatchError: they differ; the message names the settings.
    """
    ours = config.to_record()
    differing = [name for name in LAYOUT if name in record and record[name] != ours[name]]
    if differing:
        values = ", ".join(f"{name} is {record[name]!r} there and {ours[name]!r} here" for name in differing)
        raise ModelMismatchError(f"item-state was written with other model settings: {values}. {_ADVICE}")


def unreadable(topic: str, which: str, error: ValueError) -> ModelMismatchError:
    """The error to raise when the model refuses a row of our own topics."""
    return ModelMismatchError(f"{topic}: {which} was written with other model settings ({error}). {_ADVICE}")
