"""The table of blocks, the reserved keys and the configuration."""

from __future__ import annotations

import math

import pytest

from services.model import layout
from services.model.config import ModelConfig
from services.model.table import KINDS, kinds_of


def test_configuration_round_trip() -> None:
    """A configuration survives its record, and a record may name only some of the settings."""
    config = ModelConfig(dim=16, halflives_s=(60.0, 0.0), exclude_seen=False)
    assert ModelConfig.from_record(config.to_record()) == config
    assert ModelConfig.from_record({"dim": 16}) == ModelConfig(dim=16)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"dim": 30}, "dim must be a multiple of 8"),
        ({"max_items": 0}, "max_items must be at least 1"),
        ({"history": 50, "history_kept": 20}, "history_kept"),
        ({"halflives_s": []}, "halflives_s"),
        ({"halflives_s": [60.0] * 6}, "one to five"),
        ({"halflives_s": [0.0, 60.0]}, "end with 0"),
        ({"pairs_written": 33}, "pairs_written"),
        ({"score_batch_events": -1}, "score_batch_events"),
        ({"probation": 2.0}, "probation"),
        ({"colour": 1}, "unknown model settings: colour"),
    ],
)
def test_configuration_is_checked(record: dict[str, object], message: str) -> None:
    """A value out of range or an unknown name is refused with a message that names it."""
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_record(record)


@pytest.mark.parametrize(
    ("config", "batch", "share"),
    [
        (ModelConfig(), 1, 1.0),
        (ModelConfig(), 250, 1.0),
        (ModelConfig(), 1000, 0.25),
        (ModelConfig(), 4000, 0.0625),
        (ModelConfig(score_sample=0.1), 1000, 0.1),
        (ModelConfig(score_batch_events=0), 4000, 1.0),
    ],
)
def test_large_batches_teach_the_score_by_a_share(config: ModelConfig, batch: int, share: float) -> None:
    """The score learns from all of a small batch, and from so many events of a large one."""
    assert config.score_share(batch) == share


def test_block_names_are_unique() -> None:
    """A block's name alone says which row kind it belongs to."""
    names = [b.name for kind in KINDS for b in layout.blocks(ModelConfig(), kind)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("feature", [0, 1, 0x1000_0007, 0xFFFF_FFFF])
def test_feature_keys_invert(feature: int) -> None:
    """The key and the hash of a content feature's row follow from the feature."""
    key = layout.feature_key(feature)
    assert layout.row_kind(key) == "feature"
    assert layout.reserved_hash(key) == layout.feature_hash(feature)
    assert layout.feature_partition(feature, 8) == feature % 8


def test_system_keys() -> None:
    """System rows are numbered; the first has the plain key."""
    assert layout.system_key() == layout.SYSTEM_ITEM
    assert layout.reserved_hash(layout.SYSTEM_ITEM) == layout.system_hash(0)
    assert layout.reserved_hash(layout.system_key(7)) == layout.system_hash(7)
    with pytest.raises(ValueError, match="item id"):
        layout.reserved_hash("sku-1")


def test_kinds_of_keys() -> None:
    """Many keys are classified as one by one."""
    keys = ["a", "", layout.feature_key(3), layout.system_key(), layout.system_key(2)]
    assert [KINDS[c] for c in kinds_of(keys)] == [layout.row_kind(k) for k in keys]


def test_ticks_are_exact_in_float32() -> None:
    """An anchor of today is an integer that a float32 holds exactly."""
    tick = 1_790_000_000 // layout.TICK_S
    assert tick < 2**24
    assert math.log2(layout.TICK_S).is_integer()
