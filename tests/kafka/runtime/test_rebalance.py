"""Rebalances on a real broker, in both group protocols, also in the middle of a restore."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.runtime.tasks import TaskState
from tests.kafka.runtime.hop import (
    EVENTS,
    REQUESTS,
    STATE,
    HopSettings,
    OnThread,
    Process,
    check,
    event,
    on_thread,
    produce,
    wait_for,
)

pytestmark = pytest.mark.kafka

USERS = 40


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_replicas_come_and_go(settings: HopSettings, tmp_path: Path, protocol: str) -> None:
    """A second replica joins and leaves in the middle of a stream: nothing is lost, nothing counts twice."""
    settings = settings.model_copy(update={"group_protocol": protocol, "hop_step_ms": 5})
    total = 2400
    events = [(b"user%d" % (number % USERS), event(number)) for number in range(total)]
    requests = [(b"user%d" % (number % USERS), event(total + number)) for number in range(total // 4)]
    streams = [
        threading.Thread(target=produce, args=(settings, EVENTS, events), kwargs={"per_s": 300}),
        threading.Thread(target=produce, args=(settings, REQUESTS, requests), kwargs={"per_s": 75}),
    ]
    first = Process(settings, "a", tmp_path / "a")
    first.ready()
    for stream in streams:
        stream.start()
    wait_for(settings, 200)
    second = Process(settings, "b", tmp_path / "b")
    second.ready()
    for _ in range(100):
        if second.events("task.running"):
            break
        threading.Event().wait(0.1)
    wait_for(settings, 1500)
    assert second.terminate() == 0
    for stream in streams:
        stream.join()
    found = wait_for(settings, total + total // 4)
    assert first.terminate() == 0
    check(found, range(total + total // 4))
    # Both worked, each on both topics of its partitions: the followers went with their leader.
    assert {(answer["by"], answer["topic"]) for answer in found} == {
        (replica, topic) for replica in "ab" for topic in (EVENTS, REQUESTS)
    }
    assert not first.events("transaction.abort")


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_rebalance_in_the_middle_of_a_restore(settings: HopSettings, protocol: str) -> None:
    """A replica that joins while another restores takes its share, and both finish with the right state."""
    settings = settings.model_copy(update={"group_protocol": protocol, "hop_load_us": 300})
    rows = [(b"user%d" % number, b"7") for number in range(20_000)]
    produce(settings, STATE, rows)
    with restoring(settings, "a") as first, on_thread(settings, "b") as second:
        hops = (first, second)
        first.until("all run", lambda: sum(len(hop.loop.tasks.having(TaskState.RUNNING)) for hop in hops) == 4)
        held = {**first.hop.counts, **second.hop.counts}
        assert sorted(held) == [0, 1, 2, 3]
        assert first.hop.counts
        assert second.hop.counts
        assert sum(map(len, held.values())) == len(rows)
        produce(settings, EVENTS, [(key, event(number)) for number, (key, _) in enumerate(rows[:100])])
        found = wait_for(settings, 100)
    assert {answer["count"] for answer in found} == {8}
    # The partitions that stayed were not read from their start again.
    for partition in first.hop.counts:
        assert first.hop.loads[partition] == sorted(set(first.hop.loads[partition]))


@contextmanager
def restoring(settings: HopSettings, instance: str) -> Iterator[OnThread]:
    """A hop that has begun to restore and is far from done."""
    hop = OnThread(settings, instance)
    try:
        hop.until("restoring", lambda: hop.loop.metrics.counter("records_loaded_total") > 500)
        assert not hop.loop.watch.ready
        yield hop
    finally:
        hop.loop.stop()
        hop.wait()
