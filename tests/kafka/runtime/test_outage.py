"""A broker that is missing, stops and comes back."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from services.broker.broker import LocalBroker
from services.broker.settings import BrokerSettings
from services.runtime.admin import create_topics
from tests.kafka.runtime.hop import EVENTS, HopSettings, Process, check, event, produce, wait_for

pytestmark = pytest.mark.kafka


def test_broker_stops_and_comes_back(broker: Any, tmp_path: Path) -> None:
    """A service that finds no broker waits; one whose broker restarts goes on by itself, and nothing counts twice."""
    del broker  # only for its reasons to skip
    first = LocalBroker(BrokerSettings(broker_port=0, broker_data_dir=tmp_path / "kafka", broker_start_timeout_s=180))
    with first:
        port = int(first.bootstrap_servers.rsplit(":", 1)[1])
        settings = HopSettings(
            bootstrap_servers=first.bootstrap_servers,
            topic_prefix="outage.",
            state_dir=tmp_path / "state",
            transaction_timeout_ms=5000,
            session_timeout_ms=6000,
            hop_step_ms=20,
            batch_max_records=20,
        )
        create_topics(settings)
        process = Process(settings, "a", tmp_path / "log")
        process.ready()
        produce(settings, EVENTS, [(b"user%d" % (number % 20), event(number)) for number in range(1000)])
        wait_for(settings, 100)
    waiting = Process(settings, "b", tmp_path / "log-b")
    for _ in range(200):
        if waiting.events("service.waiting"):
            break
        threading.Event().wait(0.1)
    assert settings.bootstrap_servers in waiting.events("service.waiting")[0]["reason"]
    assert waiting.terminate() == 0
    assert process.process.poll() is None
    again = BrokerSettings(broker_port=port, broker_data_dir=tmp_path / "kafka", broker_start_timeout_s=180)
    with LocalBroker(again):
        produce(settings, EVENTS, [(b"user%d" % (number % 20), event(number)) for number in range(1000, 1100)])
        found = wait_for(settings, 1100)
        assert process.terminate() == 0
    check(found, range(1100))
