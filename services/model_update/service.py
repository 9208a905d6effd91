"""Connects the shards to Kafka's topics."""

from __future__ import annotations

from services.model.warm import compile_kernels
from services.model_update import columns
from services.model_update.item_shard import ItemShard
from services.model_update.settings import ModelUpdateSettings
from services.model_update.user_shard import UserShard
from services.runtime.processor import Processor
from services.runtime.service import run
from services.runtime.settings import SettingsError

NAME = "model-update"


def processors(settings: ModelUpdateSettings, shard: str) -> list[Processor]:
    """The shards that this process runs.

    Args:
        settings: role, learner, pace of the sweeps.
        shard: stable name of this replica.

    Raises:
        SettingsError: the learner's settings do not fit together.
    """
    try:
        config = settings.model()
    except ValueError as error:
        raise SettingsError(str(error)) from None
    compile_kernels(config)
    columns.compile_kernels()
    chosen: list[Processor] = []
    if settings.role in ("both", "user"):
        # A step has no more records than a batch of the runtime.
        most = min(settings.learn_max_events, settings.batch_max_records)
        chosen.append(UserShard(config, shard, most, waits=True))
    if settings.role in ("both", "item"):
        chosen.append(ItemShard(config, settings.sweep_min_ms, settings.sweep_bytes_per_s))
    return chosen


def main() -> int:
    """Run the service until it is told to stop; returns the exit code."""
    return run(NAME, ModelUpdateSettings, processors)
