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
    answers,
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
    stream = Stream(settings)
    first = Process(settings, "a", tmp_path / "a")
    first.ready()
    stream.produce(200)
    with stream.going_on():
        wait_for(settings, 200)
        second = Process(settings, "b", tmp_path / "b")
        stream.until_seen("b", {EVENTS, REQUESTS})
        assert second.terminate() == 0
    stream.produce(200)
    found = wait_for(settings, stream.produced)
    assert first.terminate() == 0
    check(found, range(stream.produced))
    # Both worked, each on both topics of its partitions: the followers went with their leader.
    assert {(answer["by"], answer["topic"]) for answer in found} == {
        (replica, topic) for replica in "ab" for topic in (EVENTS, REQUESTS)
    }


class Stream:
    """Events and requests, numbered, until the test has seen enough."""

    def __init__(self, settings: HopSettings) -> None:
        self._settings = settings
        self.produced = 0

    def produce(self, count: int) -> None:
        """Three events, then a request, and so on."""
        for topic, fits in ((EVENTS, (0, 1, 2)), (REQUESTS, (3,))):
            numbers = [number for number in range(self.produced, self.produced + count) if number % 4 in fits]
            produce(self._settings, topic, [(b"user%d" % (number // 4 % USERS), event(number)) for number in numbers])
        self.produced += count

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Some more of it every moment, in the background."""
        enough = threading.Event()

        def work() -> None:
            while not enough.wait(0.05):
                self.produce(20)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            enough.set()
            thread.join()

    def until_seen(self, replica: str, topics: set[str]) -> None:
        """Wait until a replica has answered records of all these topics."""
        for _ in range(300):
            if {answer["topic"] for answer in answers(self._settings) if answer["by"] == replica} == topics:
                return
            threading.Event().wait(0.2)
        raise AssertionError(f"{replica} does nothing")


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
