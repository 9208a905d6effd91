"""Topics and settings of each test's own on the shared broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.runtime.admin import create_topics
from tests.kafka.runtime.hop import STARTED, HopSettings


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    """A failing test leaves no process."""
    yield
    for process in list(STARTED):
        process.kill()


@pytest.fixture
def settings(broker: Any, prefix: str, tmp_path: Path) -> HopSettings:
    """Short time-outs, invariants checked, all topics created."""
    made = HopSettings(
        bootstrap_servers=broker.bootstrap_servers,
        topic_prefix=prefix,
        state_dir=tmp_path / "state",
        membership="dynamic",
        session_timeout_ms=6000,
        transaction_timeout_ms=5000,
        validate_invariants=True,
    )
    create_topics(made)
    return made
