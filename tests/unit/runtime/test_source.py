"""Collecting a batch: closed when drained and old enough, when full, or when too old; on a clock of the test's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message

from services.runtime.log import logger
from services.runtime.source import Source
from services.runtime.trouble import Trouble

LEAST_S, MOST_S = 0.02, 0.1


class Stream:
    """A consumer whose records arrive at given times of a clock that only its own waits move."""

    def __init__(self, _config: Any) -> None:
        self.now = 0.0
        self.arrivals: list[tuple[float, Message]] = []

    def monotonic(self) -> float:
        """The clock."""
        return self.now

    def poll(self, timeout: float) -> Message | None:
        """One record, waited for."""
        if self.arrivals and self.arrivals[0][0] <= self.now + timeout:
            at, message = self.arrivals.pop(0)
            self.now = max(self.now, at)
            return message
        self.now += timeout
        return None

    def consume(self, count: int, timeout: float) -> list[Message]:
        """What is there; each look costs a millisecond."""
        assert timeout == 0
        self.now += 0.001
        ready = [message for at, message in self.arrivals if at <= self.now][:count]
        del self.arrivals[: len(ready)]
        return ready

    def incremental_assign(self, _places: Any) -> None:
        """Which partitions are read does not matter here."""

    incremental_unassign = incremental_assign


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Stream:
    """The consumer behind `source`."""
    made = Stream({})
    monkeypatch.setattr("services.runtime.source.Consumer", lambda _config: made)
    monkeypatch.setattr("services.runtime.source.time", SimpleNamespace(monotonic=made.monotonic))
    return made


@pytest.fixture
def source(stream: Stream) -> Source:
    """A source on the stream."""
    assert stream is not None
    return Source({}, "p.", Trouble(logger()))


def _record(offset: int, partition: int = 0, topic: str = "in") -> Message:
    return Message(topic=f"p.{topic}", partition=partition, offset=offset, key=b"k", value=b"v")


def _collect(source: Source, limit: int = 1000, idle_s: float = 1.0) -> int:
    grouped = source.collect(limit, idle_s, LEAST_S, MOST_S, patient=("served",))
    return sum(map(len, grouped.values()))


def test_drained_closes_after_the_least_time(source: Source, stream: Stream) -> None:
    """A lone record waits for company for the least time, then goes."""
    stream.arrivals = [(0.5, _record(0)), (0.51, _record(1)), (0.6, _record(2))]
    assert _collect(source) == 2
    assert stream.now == pytest.approx(0.5 + LEAST_S, abs=0.005)


def test_a_steady_stream_closes_at_the_most(source: Source, stream: Stream) -> None:
    """While more keeps coming, the batch grows until the longest time."""
    stream.arrivals = [(number * 0.0005, _record(number)) for number in range(1000)]
    assert _collect(source) == pytest.approx(MOST_S / 0.0005, rel=0.1)
    assert stream.now == pytest.approx(MOST_S, abs=0.005)


def test_a_full_batch_closes_at_once(source: Source, stream: Stream) -> None:
    """A backlog fills the batch without any wait, and nothing beyond the limit is taken."""
    stream.arrivals = [(0.0, _record(number)) for number in range(100)]
    assert _collect(source, 30) == 30
    assert stream.now < LEAST_S
    assert len(stream.arrivals) == 70


def test_nothing_comes(source: Source, stream: Stream) -> None:
    """Without input the wait is the idle time."""
    assert _collect(source) == 0
    assert stream.now == pytest.approx(1.0)


def test_grouped_by_partition_in_order(source: Source, stream: Stream) -> None:
    """Records of interleaved partitions are taken apart, logical names without the prefix."""
    stream.arrivals = [(0.0, _record(number, number % 3)) for number in range(9)]
    grouped = source.collect(100, 1.0, LEAST_S, MOST_S)
    assert {place: [message.offset() for message in found] for place, found in grouped.items()} == {
        ("in", 0): [0, 3, 6],
        ("in", 1): [1, 4, 7],
        ("in", 2): [2, 5, 8],
    }


def test_ends_come_and_go(source: Source, stream: Stream) -> None:
    """The end of a partition is known until something comes from it."""
    end = Message(topic="p.in", partition=0, offset=7, error=KafkaError(KafkaError._PARTITION_EOF))
    stream.arrivals = [(0.0, end)]
    assert _collect(source) == 0
    assert source.ends == {("in", 0): 7}
    stream.arrivals = [(0.0, _record(8))]
    assert _collect(source) == 1
    assert source.ends == {}


def test_a_position_outside_the_log_is_noticed(source: Source, stream: Stream) -> None:
    """The loop hears of a partition that retention has overtaken."""
    gone = Message(topic="p.in", partition=2, offset=0, error=KafkaError(KafkaError._AUTO_OFFSET_RESET))
    stream.arrivals = [(0.0, gone)]
    assert _collect(source) == 0
    assert source.outside == {("in", 2)}


def test_patient_records_wait_for_a_second(source: Source, stream: Stream) -> None:
    """What can wait makes no batch by itself at once; after a second all of it goes, in order."""
    stream.arrivals = [(0.1 * number, _record(number, topic="served")) for number in range(5)]
    taken, looks = 0, 0
    while not taken:
        taken, looks = _collect(source, idle_s=0.1), looks + 1
    assert taken == 5
    assert looks > 5
    assert stream.now == pytest.approx(1.0, abs=0.2)
    assert _collect(source) == 0


def test_patient_records_go_with_others(source: Source, stream: Stream) -> None:
    """Whatever else comes takes along what waited, which stands before what came with it."""
    served = [_record(number, topic="served") for number in range(3)]
    stream.arrivals = [(0.0, served[0]), (0.1, served[1]), (0.3, served[2]), (0.3, _record(9))]
    assert _collect(source, idle_s=0.1) == 0
    assert _collect(source, idle_s=0.1) == 0
    grouped = source.collect(1000, 1.0, LEAST_S, MOST_S, patient=("served",))
    assert {place: [message.offset() for message in found] for place, found in grouped.items()} == {
        ("served", 0): [0, 1, 2],
        ("in", 0): [9],
    }


def test_patient_records_fill_a_batch(source: Source, stream: Stream) -> None:
    """No more waits than a batch holds."""
    stream.arrivals = [(0.0, _record(number, topic="served")) for number in range(20)]
    assert _collect(source, 10) == 10
    assert _collect(source, 30) == 0


def test_what_waited_counts_in_the_batch(source: Source, stream: Stream) -> None:
    """A batch with records that waited holds no more than another, and the rest comes with the next."""
    stream.arrivals = [(0.0, _record(number, topic="served")) for number in range(6)]
    assert _collect(source, 10) == 0
    stream.arrivals = [(0.1, _record(number)) for number in range(20)]
    assert _collect(source, 10) == 10
    assert _collect(source, 100) == 16


def test_a_partition_given_up_keeps_nothing_waiting(source: Source, stream: Stream) -> None:
    """What waited for others is not delivered once its partition is unassigned, or assigned at a position anew."""
    source.assign({("served", 0): 0, ("served", 1): 0})
    stream.arrivals = [(0.0, _record(0, 0, "served")), (0.0, _record(0, 1, "served"))]
    assert _collect(source) == 0
    source.unassign([("served", 0)])
    source.assign({("served", 1): 0})
    stream.arrivals = [(0.5, _record(5))]
    assert _collect(source) == 1
