"""A broker that restarts under all three services, after their sessions have ended: they go on, all counts once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from services.broker.broker import LocalBroker
from services.broker.settings import BrokerSettings
from tests.kafka.system import Process, system
from tests.kafka.test_crash import Stream, judged, start_all

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

WAIT_S = 90.0
SAFE_S = 2.0
"""Longer than a heartbeat's interval, in which a member hears that it was fenced."""


def test_a_restart_after_the_sessions_have_ended(broker: Any, tmp_path: Path) -> None:
    """The broker is back when the members have lost their partitions: no service ends, and the logs are whole."""
    del broker  # only for its reasons to skip
    settings = BrokerSettings(broker_port=0, broker_data_dir=tmp_path / "kafka", broker_start_timeout_s=180)
    with LocalBroker(settings) as first, system(first, "outage.", tmp_path) as target:
        port = int(first.bootstrap_servers.rsplit(":", 1)[1])
        stream = Stream(target)
        stream.items()
        running = start_all(target)
        stream.produce(100)
        for process in running.values():
            process.ready()
        target.wait("everything learned", stream.learned, WAIT_S)
        first.stop()
        # Who was about to read what had just been served is built anew for the transaction that it could not begin.
        target.wait("partitions lost", lambda: all(map(_lost, running.values())), WAIT_S)
        with LocalBroker(settings.model_copy(update={"broker_port": port})):
            time.sleep(SAFE_S)
            stream.produce(100)
            target.wait("everything learned", stream.learned, WAIT_S)
            judged(target, stream)
            for process in running.values():
                process.ready()
            assert [process.terminate() for process in running.values()] == [0, 0, 0]


def _lost(process: Process) -> bool:
    return bool(process.events("group.lost") or process.events("loop.rebuild"))
