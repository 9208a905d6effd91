from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka.admin import AdminClient

from services.broker.broker import LocalBroker
from tests.kafka.system import MODULES

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

WAIT_S = 180


def _demo(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "services.cli", "demo", "--seconds", "5", "--rate", "100", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # Marks every process that descends from this one.
        env={**os.environ, "DEMO_TEST": str(folder)},
    )  # fmt: skip


def _descendants(folder: Path) -> list[psutil.Process]:
    """Processes that the demo of this folder started and that live."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get("DEMO_TEST") == str(folder)
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def _services(folder: Path) -> list[psutil.Process]:
    names = set(MODULES.values())
    found = []
    for process in _descendants(folder):
        try:
            if names & set(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def _wait(holds: Any, what: str) -> None:
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(0.1)


def test_demo_shows_learning_and_leaves_nothing(broker: LocalBroker, tmp_path: Path) -> None:
    """A short demo on a running cluster ends with 0, a clean audit and a sample list, and removes its topics."""
    process = _demo(tmp_path, "--json", "--broker", broker.bootstrap_servers)
    output, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, errors
    report = json.loads(output)
    assert report["ok"]
    assert report["audit"]["verdict"] == "clean"
    assert report["events"] >= 500
    assert report["lists"] > 0
    assert report["freshness_ms"]["p50"] > 0
    assert report["waiting"] == 0
    assert set(report["exit_codes"].values()) == {0}
    assert report["sample"]["items"]
    assert _descendants(tmp_path) == []
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    _wait(lambda: not [name for name in admin.list_topics(timeout=10).topics if "streamrec-demo" in name], "no topics")


def test_demo_of_files(broker: LocalBroker, tmp_path: Path) -> None:
    """With one's own files the demo replays those, up to their end."""
    events, items = tmp_path / "events.csv", tmp_path / "items.csv"
    rows = [f"u{n % 15},i{n * 7 % 40},view,,{1_700_000_000_000 + n * 1000}\n" for n in range(300)]
    events.write_text("user_id,item_id,event_type,value,timestamp_ms\n" + "".join(rows))
    items.write_text("item_id,title\n" + "".join(f"i{n},Thing {n}\n" for n in range(40)))
    process = _demo(
        tmp_path, "--json", "--broker", broker.bootstrap_servers, "--events", str(events), "--items", str(items)
    )
    output, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, errors
    report = json.loads(output)
    assert report["events"] == 300
    assert report["audit"]["verdict"] == "clean"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ended_demo_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and even kill -9 in the middle leave no broker and no service behind."""
    process = _demo(tmp_path, "--keep", str(tmp_path / "kept"))
    try:
        _wait(lambda: len(_services(tmp_path)) == 3 or process.poll() is not None, "three services")
        assert process.poll() is None, process.communicate()
        process.send_signal(number)
        _, errors = process.communicate(timeout=WAIT_S)
        # A shell says 130 to both: Python ends by SIGINT when the interrupt came inside of an exec of source text.
        codes = {signal.SIGINT: {130, -signal.SIGINT}, signal.SIGTERM: {143}, signal.SIGKILL: {-9}}
        assert process.returncode in codes[number], errors
        _wait(lambda: not _descendants(tmp_path), "nothing is left")
    finally:
        for left in _descendants(tmp_path):
            left.kill()


def test_failing_service_is_reported(broker: LocalBroker, tmp_path: Path) -> None:
    """A service that cannot start ends the demo with a message that quotes its log, and nothing stays."""
    environment = {**os.environ, "DEMO_TEST": str(tmp_path), "STREAMREC_GROUP_PROTOCOL": "nonsense"}
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "demo", "--seconds", "5", "--broker", broker.bootstrap_servers],
        capture_output=True, text=True, check=False, env=environment, timeout=WAIT_S,
    )  # fmt: skip
    assert done.returncode == 1
    assert "ended with code 2" in done.stderr
    assert "group_protocol" in done.stderr
    assert "Traceback" not in done.stderr
    assert _descendants(tmp_path) == []
