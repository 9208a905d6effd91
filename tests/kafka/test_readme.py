"""The README's Python examples, run as they stand against a real broker and the three services."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.broker.broker import LocalBroker
from tests.kafka.system import MODULES, System

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def system(broker: LocalBroker, tmp_path: Path) -> Iterator[System]:
    """The topics under the names that the README uses, and all services."""
    system = System(broker.bootstrap_servers, "", tmp_path)
    system.create()
    for service in MODULES:
        system.start(service)
    yield system
    system.stop()


def example(name: str, bootstrap: str) -> str:
    """One code block of the README, pointed at the test's broker."""
    page = (ROOT / "README.md").read_text("utf-8")
    found = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```", page, re.DOTALL)
    assert found, name
    assert "127.0.0.1:9092" in found[1]
    return found[1].replace("127.0.0.1:9092", bootstrap)


def test_the_examples_produce_an_event_and_print_the_list_that_learned_from_it(system: System) -> None:
    """A newcomer who pastes the two blocks sees a list for the user of the first in the second."""
    subprocess.run([sys.executable, "-c", example("produce", system.broker)], check=True, timeout=60)
    consumer = subprocess.Popen(
        [sys.executable, "-u", "-c", example("consume", system.broker)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert consumer.stdout is not None
        line = consumer.stdout.readline()
    finally:
        consumer.kill()
        consumer.communicate()
    assert "'user_id': 'ann'" in line
    assert "'why': 'event'" in line
