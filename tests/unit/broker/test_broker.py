"""What is said of a broker that does not start; a real one is in tests/kafka."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from services.broker.broker import LocalBroker
from services.broker.errors import StartError
from services.broker.settings import BrokerSettings

OLD = "an ERROR of an earlier start\n"


@pytest.mark.parametrize(
    ("kafka", "java", "cause", "file"),
    [
        (None, "Unrecognized VM option", "Unrecognized VM option", "java.log"),
        ("", "Unrecognized VM option", "Unrecognized VM option", "java.log"),
        ("INFO starting\n", "OutOfMemoryError", "OutOfMemoryError", "java.log"),
        ("INFO starting\n[x] ERROR no room\n", "a warning", "no room", "kafka.log"),
    ],
)
def test_the_file_with_the_cause_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kafka: str | None, java: str, cause: str, file: str
) -> None:
    """Kafka's log where this start failed in Kafka; what Java printed where it came no further than Java."""
    broker = LocalBroker(BrokerSettings(broker_data_dir=tmp_path))
    monkeypatch.setattr(broker, "wait", lambda _seconds: 1)
    if kafka is not None:
        broker.log_file.write_text(OLD + kafka)
    broker.folder.java_log_file.write_text(java)
    with pytest.raises(StartError, match=rf"{cause} \(see {tmp_path}/{file}\)") as caught:
        broker._check_alive(len(OLD), time.monotonic() + 60)
    assert "earlier" not in str(caught.value)


@pytest.mark.parametrize(("kafka", "file"), [("", "java.log"), ("INFO starting\n", "kafka.log")])
def test_a_broker_that_does_not_answer_names_a_log_with_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kafka: str, file: str
) -> None:
    """Kafka has a log as soon as it runs at all."""
    broker = LocalBroker(BrokerSettings(broker_data_dir=tmp_path))
    monkeypatch.setattr(broker, "wait", lambda _seconds: None)
    broker.log_file.write_text(OLD + kafka)
    with pytest.raises(StartError, match=rf"\(see {tmp_path}/{file}\)"):
        broker._check_alive(len(OLD), 0.0)
