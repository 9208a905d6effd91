"""The loop on the client's mock cluster, at-least-once."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from services.runtime.assembly import build
from services.runtime.at_least_once import AtLeastOnce
from services.runtime.errors import AbortedError
from services.runtime.settings import RuntimeSettings
from services.runtime.source import Source
from services.runtime.writer import Sending
from tests.runtime.conftest import Cluster, Faults, Running

SOME = [(b"k", b"v%d" % number) for number in range(300)]


def test_tables_first_then_everything_in_order(cluster: Cluster, settings: RuntimeSettings, running: Running) -> None:
    """The table is read before the first step, and records come out as they went in."""
    cluster.produce(settings.topic_prefix + "words", [(b"hello", b"world")])
    cluster.produce(settings.topic_prefix + "in", SOME)
    running.start()
    running.until("echoed", lambda: len(running.echo.seen) >= len(SOME))
    assert running.echo.words == {b"hello": b"world"}
    assert running.echo.seen == [value for _, value in SOME]
    assert cluster.read(settings, "out", len(SOME)) == SOME
    assert running.loop.metrics.counter("records_in_total") == len(SOME)


def test_a_processor_is_given_no_more_than_it_asks_for(
    cluster: Cluster, settings: RuntimeSettings, running: Running
) -> None:
    """Without appetite nothing is processed while tables are still read; then batches are as small as asked for."""
    running.echo.hunger = 0
    cluster.produce(settings.topic_prefix + "in", SOME)
    running.start()
    held = (("part", "held"),)
    running.until("held", lambda: running.loop.metrics.counter("seconds_total", held))
    running.until("owned", lambda: list(running.loop.tasks) and running.loop.tasks.all_running())
    cluster.produce(settings.topic_prefix + "words", [(b"hello", b"world")])
    running.until("the table is read", lambda: running.echo.words)
    assert running.echo.seen == []
    running.echo.hunger = 7
    running.until("echoed", lambda: len(running.echo.seen) >= len(SOME))
    assert running.echo.seen == [value for _, value in SOME]
    assert running.echo.largest == 7


def test_a_restart_goes_on_at_the_committed_position(
    cluster: Cluster, settings: RuntimeSettings, running: Running
) -> None:
    """What was committed is not read again after a clean stop."""
    cluster.produce(settings.topic_prefix + "in", SOME)
    running.start()
    running.until("echoed", lambda: len(running.echo.seen) >= len(SOME))
    running.stop()
    cluster.produce(settings.topic_prefix + "in", [(b"k", b"later")])
    again = Running(settings, "b").start()
    again.until("echoed", lambda: again.echo.seen)
    again.stop()
    assert again.echo.seen == [b"later"]
    assert again.error is None


def test_poison_is_set_aside(cluster: Cluster, settings: RuntimeSettings, running: Running) -> None:
    """A record that cannot be decoded becomes a dead letter and its neighbours go through."""
    cluster.produce(settings.topic_prefix + "in", [(b"a", b"1"), (b"a", b"poison"), (b"a", b"2")])
    running.start()
    running.until("echoed", lambda: len(running.echo.seen) == 2)
    running.until("counted", lambda: running.loop.metrics.counter("dead_letters_total") == 1)
    assert running.echo.seen == [b"1", b"2"]


def test_an_undelivered_record_begins_a_new_incarnation(
    cluster: Cluster, settings: RuntimeSettings, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a record is given up by the client, its input is not committed: everything is read anew."""
    fail = [1]
    write = AtLeastOnce.write

    def failing(self: AtLeastOnce, outputs: Any, offsets: Any) -> None:
        if fail:
            fail.clear()
            raise AbortedError("a record was not delivered")
        write(self, outputs, offsets)

    monkeypatch.setattr(AtLeastOnce, "write", failing)
    cluster.produce(settings.topic_prefix + "in", SOME)
    running.start()
    running.until("echoed", lambda: running.loop.metrics.counter("records_in_total") >= len(SOME))
    assert len(running.echo.epochs) == 2
    assert running.echo.epochs[0] < running.echo.epochs[1]
    assert cluster.read(settings, "out", len(SOME)) == SOME


def test_a_refused_commit_is_made_up_for(
    cluster: Cluster, settings: RuntimeSettings, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that the group refuses (a rebalance under way) is tried again in the turns that follow."""
    refuse = [3]
    commit = running.loop._member.commit

    def refusing(offsets: Any) -> None:
        if refuse[0]:
            refuse[0] -= 1
            raise KafkaException(KafkaError(KafkaError.REBALANCE_IN_PROGRESS))
        commit(offsets)

    monkeypatch.setattr(running.loop._member, "commit", refusing)
    cluster.produce(settings.topic_prefix + "in", SOME)
    running.start()
    running.until("echoed", lambda: len(running.echo.seen) >= len(SOME))
    running.until("committed", lambda: (running.loop._member.committed([("in", 0)]) or {}).get(("in", 0)) == len(SOME))
    assert len(running.echo.epochs) == 1


def test_a_full_queue_is_waited_for(
    cluster: Cluster, settings: RuntimeSettings, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A producer queue that is full holds up the loop and drops nothing."""
    waits = [5]
    send = Sending.send

    class Full:
        """A producer whose queue is full now and then."""

        def __init__(self, real: Any) -> None:
            self.real = real

        def produce(self, *args: Any, **options: Any) -> None:
            """Refuse a few times."""
            if waits[0]:
                waits[0] -= 1
                raise BufferError("queue full")
            self.real.produce(*args, **options)

        def poll(self, timeout: float) -> int:
            """As the real one."""
            return int(self.real.poll(timeout))

    def full(self: Sending, outputs: Any) -> None:
        real = self.producer
        self.producer = Full(real)  # type: ignore[assignment]
        try:
            send(self, outputs)
        finally:
            self.producer = real

    monkeypatch.setattr(Sending, "send", full)
    cluster.produce(settings.topic_prefix + "in", SOME)
    running.start()
    running.until("echoed", lambda: running.loop.metrics.counter("records_in_total") >= len(SOME))
    assert running.loop.metrics.counter("backpressure_waits_total") == 5
    assert cluster.read(settings, "out", len(SOME)) == SOME


def test_positions_below_the_log_are_put_right(
    cluster: Cluster, settings: RuntimeSettings, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When retention overtakes a running task, it says so and goes on: it is never alive but idle."""
    cluster.produce(settings.topic_prefix + "in", SOME)
    running.start()
    running.until("echoed", lambda: len(running.echo.seen) >= len(SOME))
    limits = running.loop._member.limits
    monkeypatch.setattr(
        running.loop._member, "limits", lambda position, timeout_s: (len(SOME), limits(position, timeout_s)[1])
    )
    source = running.loop._source
    assert isinstance(source, Source)
    task = running.loop.tasks.get(0)
    assert task is not None
    task.next["in"] = 5
    source.outside.add(("in", 0))
    running.until("repositioned", lambda: running.loop.metrics.counter("repositions_total") == 1)
    cluster.produce(settings.topic_prefix + "in", [(b"k", b"later")])
    running.until("echoed", lambda: running.echo.seen[-1] == b"later")


def test_two_replicas_share(cluster: Cluster, settings: RuntimeSettings) -> None:
    """A second member of the group takes partitions over; together they see everything."""
    first, second = Running(settings, "a").start(), Running(settings, "b").start()
    try:
        for partition in range(4):
            cluster.produce(settings.topic_prefix + "in", SOME[:50], partition)
        first.until("all seen", lambda: len(first.echo.seen) + len(second.echo.seen) >= 200)
    finally:
        first.stop()
        second.stop()
    assert first.error is None
    assert second.error is None


def test_a_broker_that_goes_and_comes(
    cluster: Cluster, settings: RuntimeSettings, running: Running, faults: Faults
) -> None:
    """While the broker is down the loop keeps turning and loses nothing; when it is back, the stream goes on."""
    running.start()
    cluster.produce(settings.topic_prefix + "in", SOME[:100])
    running.until("echoed", lambda: len(running.echo.seen) >= 100)
    faults.down()
    running.until("noticed", running.loop.trouble.recently_cut_off)
    assert running.loop.watch.problems() == []
    faults.up()
    cluster.produce(settings.topic_prefix + "in", SOME[100:])
    running.until("echoed", lambda: len(running.echo.seen) >= len(SOME))
    assert cluster.read(settings, "out", len(SOME)) == SOME


def test_what_was_heard_of_an_outage_outlives_the_clients(running: Running) -> None:
    """New clients that are fenced for an outage that the old ones met are built anew, like those."""
    running.start()
    running.loop.trouble(KafkaError(KafkaError._TRANSPORT))
    following = build(running.echo, running.loop.settings, running.replica, checkpoints=False, instead_of=running.loop)
    assert following.trouble.recently_cut_off()


def test_what_a_processor_measures_reaches_the_metrics(
    cluster: Cluster, settings: RuntimeSettings, running: Running
) -> None:
    """Observations and counts are counted, and gauges set, once the step is committed."""
    cluster.produce(settings.topic_prefix + "in", SOME)
    running.start()
    learner = (("arm", "learner"),)
    running.until("gauged", lambda: running.loop.metrics.gauge("quality_events", learner) == len(SOME))
    samples = {
        sample.name: sample.value
        for family in running.loop.metrics.families()
        for sample in family.samples
        if sample.labels.get("le") in (None, "+Inf")
    }
    assert samples["streamrec_event_age_seconds_count"] == len(SOME)
    assert samples["streamrec_interactions_total"] == len(SOME)
