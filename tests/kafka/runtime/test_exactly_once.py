"""Exactly-once on a real broker: kills, aborts, zombies, clean stops."""

from __future__ import annotations

import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from services.runtime.errors import AbortedError
from services.runtime.writer import ExactlyOnce
from tests.kafka.runtime.hop import (
    EVENTS,
    ITEMS,
    REQUESTS,
    HopSettings,
    Process,
    check,
    event,
    on_thread,
    produce,
    wait_for,
)

pytestmark = pytest.mark.kafka

USERS = 40


def _events(count: int) -> list[tuple[bytes, bytes]]:
    return [(b"user%d" % (number % USERS), event(number)) for number in range(count)]


def test_kill_9_at_random_moments(settings: HopSettings, tmp_path: Path) -> None:
    """However often the process is killed, every event counts once, in the order of its user."""
    total, kills = 3000, 6
    stream = threading.Thread(target=produce, args=(settings, EVENTS, _events(total)), kwargs={"per_s": 300})
    stream.start()
    chance = random.Random(7)
    busy = settings.model_copy(update={"hop_step_ms": 15, "membership": "static"})
    process = Process(busy, "a", tmp_path / "log")
    process.ready()
    for _ in range(kills):
        time.sleep(chance.uniform(0.05, 1.0))
        process.kill()
        process = Process(busy, "a", tmp_path / "log")
        if chance.random() < 0.7:
            # Otherwise it is killed again while it restores.
            process.ready()
    stream.join()
    found = wait_for(settings, total)
    assert process.terminate() == 0
    check(found, range(total))


def test_kill_9_with_the_new_group_protocol(settings: HopSettings, tmp_path: Path) -> None:
    """The broker holds a dead static member's name for its session: the restart waits for it and goes on."""
    settings = settings.model_copy(update={"membership": "static", "group_protocol": "consumer"})
    produce(settings, EVENTS, _events(100))
    process = Process(settings, "a", tmp_path / "log")
    wait_for(settings, 100)
    process.kill()
    produce(settings, EVENTS, [(b"user0", event(100))])
    process = Process(settings, "a", tmp_path / "log")
    found = wait_for(settings, 101)
    assert process.events("loop.rebuild")
    assert process.terminate() == 0
    check(found, range(101))


def test_sigterm_commits_and_exits_zero(settings: HopSettings, tmp_path: Path) -> None:
    """SIGTERM finishes the batch and exits 0; the next start goes on after it, with its state."""
    produce(settings, EVENTS, _events(500))
    process = Process(settings, "a", tmp_path / "log")
    wait_for(settings, 1)
    assert process.terminate() == 0
    assert process.events("service.stopped")
    again = Process(settings, "a", tmp_path / "log")
    again.ready()
    found = wait_for(settings, 500)
    assert again.terminate() == 0
    check(found, range(500))


def test_a_fenced_zombie_writes_nothing(settings: HopSettings, tmp_path: Path) -> None:
    """A process that was frozen while another took its name ends with an error, and nothing counts twice."""
    static = settings.model_copy(update={"membership": "static", "hop_step_ms": 30})
    zombie = Process(static, "a", tmp_path / "zombie")
    zombie.ready()
    produce(settings, EVENTS, _events(300))
    wait_for(settings, 1)
    zombie.send(signal.SIGSTOP)
    # Another machine: the lock file of the name does not help there.
    other = static.model_copy(update={"state_dir": tmp_path / "other"})
    heir = Process(other, "a", tmp_path / "heir")
    heir.ready()
    wait_for(settings, 300)
    zombie.send(signal.SIGCONT)
    produce(settings, EVENTS, [(b"user0", event(300))])
    assert zombie.wait() != 0
    assert [item["kind"] for item in zombie.events("loop.failed")] == ["FencedError"]
    found = wait_for(settings, 301)
    assert heir.terminate() == 0
    check(found, range(301))


@pytest.mark.parametrize("times", [1, 2])
def test_an_aborted_transaction_leaves_nothing(
    settings: HopSettings, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """An abort is tried again with the same records; a second one begins a new incarnation that reads all anew."""
    produce(settings, EVENTS, _events(200))
    left = [times]
    prepare = ExactlyOnce._prepare

    def failing(self: ExactlyOnce, outputs: Any, offsets: Any) -> None:
        if left[0] and outputs:
            left[0] -= 1
            prepare(self, outputs, offsets)
            self._producer.flush(10)
            raise AbortedError("the test says so")
        prepare(self, outputs, offsets)

    monkeypatch.setattr(ExactlyOnce, "_prepare", failing)
    with on_thread(settings) as hop:
        found = wait_for(settings, 200)
        produce(settings, EVENTS, [(b"user0", event(200))])
        found = wait_for(settings, 201)
        assert len(hop.hop.epochs) == times
        assert hop.hop.epochs == sorted(set(hop.hop.epochs))
    check(found, range(201))


def test_followers_and_tables(settings: HopSettings) -> None:
    """Followers are stepped with their partition, and tables are read before the first step and kept up to date."""
    produce(settings, ITEMS, [(b"item%d" % number, event(number)) for number in range(50)])
    produce(settings, EVENTS, _events(100))
    produce(settings, REQUESTS, [(b"user%d" % number, event(1000 + number)) for number in range(USERS)])
    with on_thread(settings) as hop:
        found = wait_for(settings, 100 + USERS)
        assert {answer["items"] for answer in found} == {50}
        produce(settings, ITEMS, [(b"item0", None), (b"item1", None)])
        hop.until("the table follows", lambda: len(hop.hop.items) == 48)
    check(found, [*range(100), *range(1000, 1000 + USERS)])
    assert {answer["topic"] for answer in found} == {EVENTS, REQUESTS}
