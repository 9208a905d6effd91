"""Event weights that change while the services run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from services.broker.broker import LocalBroker
from services.cli.app import app
from services.model_update import decoders
from tests.kafka.system import System

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


@pytest.fixture
def system(broker: LocalBroker, prefix: str, tmp_path: Path) -> Iterator[System]:
    """Feature extraction on topics of its own."""
    system = System(broker.bootstrap_servers, prefix, tmp_path)
    system.create()
    system.start("feature-extraction").ready()
    yield system
    system.stop()


def weights(system: System, *arguments: str) -> Any:
    """Run `streamrec weights`."""
    environment = {"STREAMREC_BOOTSTRAP_SERVERS": system.broker, "STREAMREC_TOPIC_PREFIX": system.prefix}
    return CliRunner().invoke(app, ["weights", *arguments], env=environment)


def learned_with(system: System, user: str) -> float:
    """Click as a user never seen, and wait for the weight in the feature record."""
    producer = system.producer()
    event = {"user_id": user, "item_id": "mug", "type": "click"}
    producer.produce(system.topic("interactions"), json.dumps(event).encode(), user.encode())
    producer.flush()
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        for one in system.read("features"):
            if one.key == user.encode():
                record: Any = decoders.feature(one.key, one.value, ())
                return float(record["w"])
        time.sleep(0.2)
    raise AssertionError(f"no feature for {user}")


def test_a_change_of_weights_reaches_the_features_and_can_be_taken_back(system: System) -> None:
    """Without a restart, the next events carry the new weight; after a reset the configured one again."""
    before = learned_with(system, "ann")
    assert weights(system, "click=0.25").exit_code == 0
    changed, n = before, 0
    while changed == before and n < 20:
        changed, n = learned_with(system, f"bob{n}"), n + 1
    assert changed == 0.25
    assert weights(system, "--reset").exit_code == 0
    while changed == 0.25 and n < 40:
        changed, n = learned_with(system, f"cid{n}"), n + 1
    assert changed == before


def test_a_wrong_weight_is_refused_by_name(system: System) -> None:
    """The command says which entry is wrong, and sends nothing."""
    for arguments in (["click=x"], ["click=1e9"], [], ["click=1", "--reset"]):
        result = weights(system, *arguments)
        assert result.exit_code == 2
        assert "error" in result.output
    assert system.read("items") == []
