"""kill -9 of every service, many times, at random moments of a stream: nothing is lost, nothing counts twice.

STREAMREC_TEST_KILLS sets how many kills (default 6), STREAMREC_TEST_SEED which moments.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from services.broker.broker import LocalBroker
from services.contracts.inner.user_state import split_key
from tests.kafka.system import MODULES, Process, System, system

KILLS = int(os.environ.get("STREAMREC_TEST_KILLS", "6"))
SEED = int(os.environ.get("STREAMREC_TEST_SEED", str(random.SystemRandom().randrange(10**6))))

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300 + 20 * KILLS)]

USERS, ITEMS = 60, 400
START_MS = 1_700_000_000_000
SMALL: dict[str, Any] = {"dim": 8, "negatives": 20, "max_items": 5000, "max_users": 5000, "checkpoint_interval_s": 2}


def event(number: int, rng: random.Random) -> dict[str, Any]:
    """One interaction; every twentieth repeats the event before the last ones of its user."""
    return {
        "event_id": f"e{number}",
        "user_id": f"u{rng.randrange(USERS)}",
        "item_id": f"i{int(ITEMS * rng.random() ** 2)}",
        "type": rng.choice(["view", "view", "click", "like", "purchase", "dislike", "impression"]),
        "event_time": START_MS + 1000 * number,
    }


class Stream:
    """Interactions in an order that is the same for every run: repeats and poison among them."""

    def __init__(self, target: System) -> None:
        self._target = target
        self._producer = target.producer()
        self._rng = random.Random(7)
        self._past: list[dict[str, Any]] = []
        self.accepted: dict[str, int] = {}
        """Events per user that are no repeats."""
        self.poison = 0

    def items(self) -> None:
        """Metadata of all items."""
        for number in range(ITEMS):
            item = {"item_id": f"i{number}", "title": f"Item {number}", "categories": [f"c{number % 7}"]}
            self._send("items", f"i{number}", json.dumps(item).encode())
        assert self._producer.flush(30) == 0

    def produce(self, n: int) -> None:
        """Append more interactions."""
        for _ in range(n):
            one = event(len(self._past), self._rng)
            self._past.append(one)
            self.accepted[one["user_id"]] = self.accepted.get(one["user_id"], 0) + 1
            self._send("interactions", one["user_id"], json.dumps(one).encode())
            if len(self._past) % 20 == 0:
                again = self._past[-7]
                self._send("interactions", again["user_id"], json.dumps(again).encode())
            if len(self._past) % 500 == 0:
                self.poison += 1
                self._send("interactions", one["user_id"], b'{"no": "event"}')
        assert self._producer.flush(30) == 0

    def _send(self, topic: str, key: str, value: bytes) -> None:
        self._producer.produce(self._target.topic(topic), value, key.encode())
        self._producer.poll(0)

    def learned(self) -> bool:
        """Whether every accepted event is in its user's row."""
        rows = {key.decode(): row["n"] for key, row in self._target.user_rows().items() if split_key(key)[1] is None}
        return rows == self.accepted


def histories(target: System) -> dict[str, tuple[Any, ...]]:
    """What of a user row does not depend on how the stream was cut into batches."""
    return {
        key.decode(): (row["n"], row["id"], row["t"], row["seen"], *(row["b"][name] for name in ("h", "ht", "c", "cn")))
        for key, row in target.user_rows().items()
        if split_key(key)[1] is None
    }


@contextmanager
def produced_meanwhile(stream: Stream, batches: int, size: int, pause_s: float) -> Iterator[None]:
    """A stream that goes on in the background."""
    stopping = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(batches):
                stream.produce(size)
                if stopping.wait(pause_s):
                    return
        except BaseException as error:  # a failure of the thread is one of the test
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    except BaseException:
        stopping.set()
        raise
    finally:
        thread.join()
    if failed:
        raise failed[0]


def start(target: System, name: str) -> Process:
    """The replica of a service."""
    return target.start(name, **(SMALL if name == "model-update" else {}))


def start_all(target: System) -> dict[str, Process]:
    """One replica of each service."""
    return {name: start(target, name) for name in MODULES}


def judged(target: System, stream: Stream) -> None:
    """Everything is learned and published once the services have stopped, and the logs prove it."""
    target.wait("everything learned", stream.learned)
    target.wait(
        "a list for every user",
        lambda: {one.key.decode() for one in target.read("recommendations")} >= set(stream.accepted),
    )
    assert len(target.read("dead-letters")) == stream.poison
    target.audit()
    target.assert_rebuilt()


def test_kill_of_any_service_at_any_time(broker: LocalBroker, prefix: str, tmp_path: Path) -> None:
    """After kills of all three services the audit passes, the rebuild is exact, and the users are as without kills."""
    print(f"STREAMREC_TEST_SEED={SEED}")  # noqa: T201 - pytest shows it when the test fails
    rng = random.Random(SEED)
    with system(broker, prefix + "killed.", tmp_path) as target:
        stream = Stream(target)
        stream.items()
        running = start_all(target)
        for process in running.values():
            process.ready()
        with produced_meanwhile(stream, 10 * KILLS, 20, 0.25):
            victims = [
                name for _ in range(-(-KILLS // len(MODULES))) for name in rng.sample(sorted(MODULES), len(MODULES))
            ]
            for name in victims[:KILLS]:
                time.sleep(rng.uniform(0.2, 3.0))
                running[name].kill()
                time.sleep(rng.choice([0.0, 0.0, rng.uniform(0, 2)]))
                running[name] = start(target, name)
        target.wait("everything learned", stream.learned)
        for process in running.values():
            process.ready()
            assert process.popen.poll() is None
        judged(target, stream)
        assert [process.terminate() for process in running.values()] == [0, 0, 0]
        (tmp_path / "calm").mkdir()
        with system(broker, prefix + "calm.", tmp_path / "calm") as calm:
            again = Stream(calm)
            again.items()
            running = start_all(calm)
            again.produce(sum(stream.accepted.values()))
            judged(calm, again)
            assert histories(target) == histories(calm)
            assert [process.terminate() for process in running.values()] == [0, 0, 0]


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_kill_of_one_of_two_learners(broker: LocalBroker, prefix: str, tmp_path: Path, protocol: str) -> None:
    """Two replicas of model update that join, are killed and come back in the middle of a stream: the logs prove it."""
    with system(broker, prefix, tmp_path, user_partitions=4) as target:
        stream = Stream(target)
        # A static member of the consumer protocol that was killed cannot come back before its session is over.
        settings = {**SMALL, "group_protocol": protocol, "membership": "static" if protocol == "classic" else "dynamic"}
        target.start("feature-extraction").ready()
        first = target.start("model-update", "one", **settings)
        first.ready()
        with produced_meanwhile(stream, 60, 20, 0.25):
            second = target.start("model-update", "two", **settings)
            second.ready()
            time.sleep(1)
            second.kill()
            time.sleep(1)
            second = target.start("model-update", "two", **settings)
            second.ready()
            first.kill()
            first = target.start("model-update", "one", **settings)
            first.ready()
            target.audit(live=True)
        target.wait("everything learned", stream.learned)
        target.audit()
        rebuild = target.assert_rebuilt()
        assert rebuild.events >= sum(stream.accepted.values())


def test_kill_at_least_once(broker: LocalBroker, prefix: str, tmp_path: Path) -> None:
    """At-least-once, deltas may repeat after kills of model update; no user's row misses an event or has it twice."""
    with system(broker, prefix, tmp_path) as target:
        target.settings["delivery"] = "at-least-once"
        stream = Stream(target)
        target.start("feature-extraction").ready()
        learner = start(target, "model-update")
        learner.ready()
        rng = random.Random(SEED)
        with produced_meanwhile(stream, 40, 20, 0.25):
            for _ in range(max(1, KILLS // 3)):
                time.sleep(rng.uniform(0.2, 2.0))
                learner.kill()
                learner = start(target, "model-update")
                learner.ready()
        target.wait("everything learned", stream.learned)
        assert learner.terminate() == 0
        target.audit("at-least-once")
