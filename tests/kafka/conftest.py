"""One real Kafka broker for the whole session, on a free port, with a data folder of its own."""

from __future__ import annotations

import importlib.util
import os
import uuid
from collections.abc import Iterator

import pytest

from services.broker.broker import LocalBroker
from services.broker.errors import NoJavaError
from services.broker.java import find_java
from services.broker.settings import BrokerSettings


def _missing() -> str | None:
    if importlib.util.find_spec("jgo") is None:
        return "the broker extra is not installed: pip install 'streamrec[broker]'"
    try:
        find_java()
    except NoJavaError as error:
        return str(error)
    return None


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """A started broker, shared by all tests: use topic names of your own (`prefix`).

    A test that stops or restarts a broker starts one of its own.
    """
    reason = _missing()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("kafka")
    settings = BrokerSettings.load(broker_port=0, broker_data_dir=folder / "broker", broker_start_timeout_s=180)
    with LocalBroker(settings) as running:
        yield running


@pytest.fixture
def prefix() -> str:
    """A topic prefix that no other test uses."""
    return f"t{os.getpid()}-{uuid.uuid4().hex[:8]}."


@pytest.fixture
def kafka(broker: LocalBroker) -> dict[str, str]:
    """Client configuration that reaches the shared broker."""
    return {"bootstrap.servers": broker.bootstrap_servers}
