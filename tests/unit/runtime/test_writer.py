"""What the writers do about a connection that was broken; transactions are tested on a broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from services.runtime import at_least_once
from services.runtime.at_least_once import AtLeastOnce
from services.runtime.errors import FatalError, FencedError, StuckError
from services.runtime.log import logger
from services.runtime.metrics import Metrics
from services.runtime.processor import Output
from services.runtime.trouble import Trouble
from services.runtime.writer import ExactlyOnce, Sending

POSITIONS = {("in", 0): 7}
FATAL = KafkaException(KafkaError(KafkaError._FENCED, "taken", fatal=True))
RECORD = Output("out", b"v", b"k", None, ())


class Client:
    """A producer whose id somebody else has taken. It tells of its connection when it is polled."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.tell: Callable[[], None] = lambda: None
        self.refusal: Exception = BufferError()
        self.fence = FATAL

    def begin_transaction(self) -> None:
        """Fine: nothing is asked of the broker."""
        self.calls.append("begin")

    def produce(self, *_: object) -> None:
        """The client's queue is full, or what a test says."""
        raise self.refusal

    def flush(self, _timeout: float) -> int:
        """Callbacks."""
        self.tell()
        return 0

    def send_offsets_to_transaction(self, *_: object) -> None:
        """Fenced."""
        self.calls.append("send_offsets")
        raise self.fence

    def poll(self, _timeout: float) -> int:
        """Callbacks."""
        self.tell()
        return 0

    def purge(self) -> None:
        """Nothing is left."""


class Members:
    """A group that takes anything."""

    def metadata(self) -> object:
        """Of no group."""
        return None

    def commit(self, _offsets: object) -> None:
        """Not called here."""
        raise AssertionError


def _writer(client: Client) -> tuple[ExactlyOnce, Trouble]:
    trouble = Trouble(logger())
    sending = Sending(cast(Any, client), "", Metrics(), trouble, lambda: None)
    return ExactlyOnce(sending, Members(), 1.0), trouble


def test_lost_partitions_are_asked_about() -> None:
    """With its connections whole, a loop that lost its partitions asks for an heir before it joins again."""
    client = Client()
    writer, _ = _writer(client)
    with pytest.raises(FencedError, match="STREAMREC_INSTANCE"):
        writer.lost(POSITIONS)
    assert client.calls == ["begin", "send_offsets"]


def test_nothing_is_asked_after_a_broken_connection() -> None:
    """The broker was away: new clients go on, at once, so that the group's callback need not wait for its return."""
    client = Client()
    writer, trouble = _writer(client)
    trouble(KafkaError(KafkaError._TRANSPORT))
    for positions in ({}, POSITIONS):
        with pytest.raises(StuckError):
            writer.lost(positions)
    assert client.calls == []


def test_a_broken_connection_is_known_when_the_fence_is_met() -> None:
    """The loop was inside a step while the broker was away: what the client has to tell is heard before judging."""
    client = Client()
    writer, trouble = _writer(client)
    client.tell = lambda: trouble(KafkaError(KafkaError._TRANSPORT))
    with pytest.raises(FencedError):
        writer.write((), POSITIONS)
    assert trouble.recently_cut_off()


def _telling(trouble: Trouble) -> Callable[[], None]:
    """What a client with a fatal error calls back: it raises that error once, and what it knows of its connection
    stands behind it.
    """
    left: list[KafkaException] = [FATAL]

    def tell() -> None:
        if left:
            raise left.pop()
        trouble(KafkaError(KafkaError._TRANSPORT))

    return tell


def test_a_fatal_error_out_of_a_callback_is_the_one_to_judge() -> None:
    """The call was told to try again while the client was fenced in the background: that decides, and no traceback."""
    client = Client()
    client.fence = KafkaException(KafkaError(KafkaError._TIMED_OUT, "later", retriable=True))
    writer, trouble = _writer(client)
    client.tell = _telling(trouble)
    with pytest.raises(FencedError, match="STREAMREC_INSTANCE"):
        writer.write((), POSITIONS)
    assert trouble.recently_cut_off()


@pytest.mark.parametrize("refusal", [BufferError(), KafkaException(KafkaError(KafkaError._FATAL))])
def test_a_fatal_error_is_met_while_records_are_handed_over(refusal: Exception) -> None:
    """A full queue is waited for in the client's callbacks; a record is refused without the cause: both end alike."""
    client = Client()
    client.refusal = refusal
    writer, trouble = _writer(client)
    client.tell = _telling(trouble)
    with pytest.raises(FencedError, match="producing: fenced"):
        writer.write([RECORD], POSITIONS)
    assert trouble.recently_cut_off()


def test_a_flush_that_meets_a_fatal_error_says_which() -> None:
    """At least once has no transaction to lose: the process ends with the reason in words."""
    client = Client()
    trouble = Trouble(logger())

    def tell() -> None:
        raise KafkaException(KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "out of order", fatal=True))

    client.tell = tell
    sending = Sending(cast(Any, client), "", Metrics(), trouble, lambda: None)
    with pytest.raises(FatalError, match=r"flush: out of order \(OUT_OF_ORDER_SEQUENCE_NUMBER\)"):
        AtLeastOnce(sending, Members(), []).write((), POSITIONS)


class Away(Members):
    """A group whose coordinator is away: a commit does not return before it is back, or is refused then."""

    def __init__(self) -> None:
        self.back = threading.Event()
        self.refusal: Exception | None = None
        self.committed: list[dict[int, int]] = []

    def commit(self, offsets: Any) -> None:
        """Wait, and take the positions."""
        assert self.back.wait(30)
        if self.refusal is not None:
            raise self.refusal
        self.committed.append({place.partition: place.offset for place in offsets})


def _at_least_once(monkeypatch: pytest.MonkeyPatch, members: Away) -> AtLeastOnce:
    monkeypatch.setattr(at_least_once, "CALL_TIMEOUT_S", 0.01)
    sending = Sending(cast(Any, Client()), "", Metrics(), Trouble(logger()), lambda: None)
    return AtLeastOnce(sending, members, [])


def _settled(writer: AtLeastOnce, holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        writer.settle()
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("not settled")


def test_a_commit_that_does_not_return_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the coordinator is away, writing goes on; what it was to commit is committed when it is back."""
    members = Away()
    writer = _at_least_once(monkeypatch, members)
    writer.write((), {("in", 0): 7, ("in", 1): 3})
    writer.write((), {("in", 0): 9})
    assert members.committed == []
    members.back.set()
    _settled(writer, lambda: len(members.committed) == 2)
    # The second commit has what came after the first was asked for, and no more.
    assert members.committed == [{0: 7, 1: 3}, {0: 9}]
    writer.settle()
    assert len(members.committed) == 2
    writer.close()


def test_a_commit_that_is_refused_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The group refuses a commit of an old generation, and takes it later, without what is lost meanwhile."""
    members = Away()
    members.refusal = KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION))
    members.back.set()
    writer = _at_least_once(monkeypatch, members)
    writer.write((), {("in", 0): 7, ("in", 1): 3})
    writer.lost({("in", 1): 3})
    members.refusal = None
    _settled(writer, lambda: bool(members.committed))
    assert members.committed[-1] == {0: 7}
    writer.close()


def test_a_commit_that_never_returns_needs_new_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a minute a commit is taken for lost, with its client."""
    members = Away()
    writer = _at_least_once(monkeypatch, members)
    writer.write((), POSITIONS)
    monkeypatch.setattr(at_least_once, "_STUCK_AFTER_S", 0.0)
    with pytest.raises(StuckError, match="did not return from a commit"):
        writer.settle()
    members.back.set()
    writer.close()
