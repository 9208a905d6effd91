"""Rebalance callbacks in which one thing after the other goes wrong: `poll` raises the first, the cause of the rest."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from structlog.testing import capture_logs

from services.runtime import membership
from services.runtime.errors import FatalError, FencedError, StuckError
from services.runtime.log import logger
from services.runtime.membership import Membership
from services.runtime.trouble import Trouble

PLACES = [TopicPartition("in", 1), TopicPartition("in", 0)]


class Client:
    """A consumer that loses its partitions in the next poll; one that is fenced refuses every call."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.fenced = False
        self.calls: list[str] = []
        self.callbacks: dict[str, Any] = {}

    def subscribe(self, _topics: list[str], **callbacks: Any) -> None:
        """Take the callbacks."""
        self.callbacks = callbacks

    def poll(self, _timeout: float) -> None:
        """Take the partitions away."""
        self.callbacks["on_lost"](self, PLACES)

    def unsubscribe(self) -> None:
        """Refused when fenced."""
        self._call("unsubscribe")

    def incremental_unassign(self, _partitions: list[TopicPartition]) -> None:
        """Refused when fenced."""
        self._call("incremental_unassign")

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.fenced:
            raise KafkaException(KafkaError(KafkaError._FATAL))


class Told:
    """A listener whose `lost` fails, and by whose end the client has been fenced."""

    def __init__(self) -> None:
        self.fails: FatalError | None = None
        self.client: Client | None = None
        self.partitions: list[int] = []

    def assigned(self, partitions: list[int]) -> None:
        """Not called here."""
        raise AssertionError(partitions)

    revoked = assigned

    def lost(self, partitions: list[int]) -> None:
        """Fail while the client is fenced."""
        self.partitions = partitions
        if self.client is not None:
            self.client.fenced = True
        if self.fails is not None:
            raise self.fails


@pytest.fixture
def told() -> Told:
    """A listener."""
    return Told()


@pytest.fixture
def member(told: Told, monkeypatch: pytest.MonkeyPatch) -> Membership:
    """A member that has joined."""
    monkeypatch.setattr(membership, "Consumer", Client)
    made = Membership({}, "in", "", told, Trouble(logger()))
    made.join()
    return made


def _client(member: Membership) -> Client:
    client: Any = member._consumer
    assert isinstance(client, Client)
    return client


@pytest.mark.parametrize("failure", [StuckError("no answer"), FencedError("an heir")])
def test_the_first_failure_is_the_one_that_is_raised(member: Membership, told: Told, failure: FatalError) -> None:
    """A client that was fenced while partitions were given up refuses every call: that does not hide why."""
    told.fails, told.client = failure, _client(member)
    with pytest.raises(type(failure)) as caught:
        member.poll()
    assert caught.value is failure
    assert told.partitions == [0, 1]
    assert _client(member).calls == ["unsubscribe", "incremental_unassign"]


def test_partitions_lost_without_a_failure_are_joined_for_again(member: Membership, told: Told) -> None:
    """Only a failure ends the subscription."""
    member.poll()
    assert told.partitions == [0, 1]
    assert _client(member).calls == ["incremental_unassign"]


def test_a_refusal_alone_is_raised(member: Membership, told: Told) -> None:
    """What the client refuses in a callback comes out of `poll`, not through the client."""
    told.client = _client(member)
    with pytest.raises(KafkaException):
        member.poll()


def test_nobody_is_told_after_a_failure(member: Membership, told: Told) -> None:
    """`abandon` closes the client, whatever the client says."""

    def close() -> None:
        _client(member).poll(0)
        raise KafkaException(KafkaError(KafkaError._FATAL))

    _client(member).close = close  # type: ignore[attr-defined]
    with capture_logs() as logs:
        member.abandon()
    assert told.partitions == []
    assert [line["event"] for line in logs] == ["group.abandoned"]
