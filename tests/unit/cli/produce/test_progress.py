from __future__ import annotations

from pathlib import Path

import pytest

from services.cli.produce.progress import Position, PositionFile


def test_position_survives(tmp_path: Path) -> None:
    """What was saved is loaded by the next run."""
    PositionFile(tmp_path, "abc", "cluster", "interactions").save(Position(rows=7, sent=5))
    assert PositionFile(tmp_path, "abc", "cluster", "interactions").load() == Position(rows=7, sent=5)


def test_positions_are_kept_apart(tmp_path: Path) -> None:
    """Another file, cluster or topic starts at its own beginning."""
    PositionFile(tmp_path, "abc", "cluster", "interactions").save(Position(rows=7))
    for other in (("abd", "cluster", "interactions"), ("abc", "c2", "interactions"), ("abc", "cluster", "items")):
        assert PositionFile(tmp_path, *other).load() == Position()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"rows": "x"}', '{"rows": 1}'])
def test_damaged_position_is_the_start(tmp_path: Path, damage: str) -> None:
    """A position file that cannot be read means the start: events are sent twice rather than not at all."""
    file = PositionFile(tmp_path, "abc", "cluster", "interactions")
    file.save(Position(rows=7))
    file.path.write_text(damage)
    assert file.load() == Position()
