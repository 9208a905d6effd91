from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from services.cli import groups
from services.runtime.settings import KafkaSettings

PLACE = TopicPartition("features", 0)
COMING = (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS)


class _Consumer:
    """Answers with each of the given codes once, then with position 7."""

    def __init__(self, codes: Iterator[int]) -> None:
        self._codes = codes
        self.closed = False

    def committed(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        assert timeout > 0
        for code in self._codes:
            raise KafkaException(KafkaError(code))
        return [TopicPartition(each.topic, each.partition, 7) for each in places]

    def close(self) -> None:
        self.closed = True


class _Admin:
    """Describes every group with the next of the given answers."""

    def __init__(self, *answers: Any) -> None:
        self._answers = iter(answers)

    def describe_consumer_groups(self, names: list[str], request_timeout: float) -> dict[str, Future[Any]]:
        assert request_timeout > 0
        answer = next(self._answers)
        found = {}
        for name in names:
            future: Future[Any] = Future()
            if isinstance(answer, int):
                future.set_exception(KafkaException(KafkaError(answer)))
            else:
                future.set_result(answer)
            found[name] = future
        return found


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between two questions."""
    monkeypatch.setattr(groups, "_PAUSE_S", 0.0)


def _committed(monkeypatch: pytest.MonkeyPatch, *codes: int) -> dict[tuple[str, int], int]:
    made = [_Consumer(iter(codes))]
    waiting = iter(made)
    monkeypatch.setattr(groups, "make_consumer", lambda *_: next(waiting))
    try:
        with groups.Positions(KafkaSettings()) as positions:
            found = positions.of("g", [PLACE])
            # The client is kept: there is no second one.
            assert positions.of("g", [PLACE]) == found
            return found
    finally:
        assert made[0].closed


def test_positions_wait_for_the_coordinator(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a broker that has just started does not know the groups yet, it is asked again."""
    assert _committed(monkeypatch, *COMING) == {("features", 0): 7}


def test_positions_are_never_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other error is raised: no position at all would look like a group that has read nothing."""
    with pytest.raises(KafkaException):
        _committed(monkeypatch, KafkaError.GROUP_AUTHORIZATION_FAILED)


def test_waiting_for_the_coordinator_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A coordinator that does not come within the time is an error."""
    monkeypatch.setattr(groups, "ANSWER_S", 0.0)
    monkeypatch.setattr(groups, "make_consumer", lambda *_: SimpleNamespace(committed=_refuse, close=lambda: None))
    with pytest.raises(KafkaException):
        groups.Positions(KafkaSettings()).of("g", [PLACE])


def _refuse(*_: Any, **__: Any) -> Any:
    raise KafkaException(KafkaError(KafkaError.NOT_COORDINATOR))


def test_only_an_unknown_group_was_never_started() -> None:
    """A group that Kafka does not know has no members; an answer that does not come is no such group."""
    described = SimpleNamespace(state=SimpleNamespace(name="STABLE"), members=[1, 2])
    assert groups.members(_Admin(*COMING, described), ["g"]) == {"g": ("stable", 2)}  # type: ignore[arg-type]
    assert groups.members(_Admin(KafkaError.GROUP_ID_NOT_FOUND), ["g"]) == {}  # type: ignore[arg-type]
    with pytest.raises(KafkaException):
        groups.members(_Admin(KafkaError.GROUP_AUTHORIZATION_FAILED), ["g"])  # type: ignore[arg-type]
