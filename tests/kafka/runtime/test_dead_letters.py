"""Dead letters on a real broker: bytes and headers, tables, and the limit that stops a service."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from services.runtime.assembly import group_of
from services.runtime.client import make_consumer
from services.runtime.errors import DeadLetterLimitError
from tests.kafka.runtime.hop import (
    EVENTS,
    ITEMS,
    NAME,
    HopSettings,
    OnThread,
    Process,
    answers,
    check,
    event,
    on_thread,
    produce,
    read,
    wait_for,
)

pytestmark = pytest.mark.kafka

LETTERS = "dead-letters"


def test_bytes_and_headers_are_kept(settings: HopSettings) -> None:
    """A poison record arrives whole, with its own headers and with what was wrong; its neighbours are processed."""
    produce(settings, EVENTS, [(b"ann", event(0))], partition=2)
    produce(
        settings, EVENTS, [(b"ann", b"\xff\x00 not json")], partition=2, headers=[("trace", b"42"), ("trace", b"43")]
    )
    produce(settings, EVENTS, [(b"ann", None)], partition=2)
    produce(settings, EVENTS, [(b"ann", event(1))], partition=2)
    with on_thread(settings):
        found = wait_for(settings, 2)
    check(found, [0, 1])
    poison, refused = read(settings, LETTERS)
    assert (poison.key, poison.value) == (b"ann", b"\xff\x00 not json")
    assert poison.headers[:2] == (("trace", b"42"), ("trace", b"43"))
    errors = dict(poison.headers[2:])
    assert errors["__streamrec.errors.service"] == NAME.encode()
    assert errors["__streamrec.errors.topic"] == (settings.topic_prefix + EVENTS).encode()
    assert errors["__streamrec.errors.partition"] == b"2"
    assert errors["__streamrec.errors.offset"] == b"1"
    assert errors["__streamrec.errors.exception"] == b"UnicodeDecodeError"
    assert errors["__streamrec.errors.message"]
    assert refused.value is None
    assert dict(refused.headers)["__streamrec.errors.exception"] == b"Refused"


def test_a_bad_table_record_is_reported_once(settings: HopSettings) -> None:
    """All replicas read the tables, yet a bad record is one dead letter, also after restarts."""
    produce(settings, ITEMS, [(b"item1", b"poison"), (b"item2", event(2))])
    with on_thread(settings, "a") as hop, on_thread(settings, "b"):
        hop.until("reported", lambda: read(settings, LETTERS))
        assert list(hop.hop.items) == [b"item2"]
        produce(settings, ITEMS, [(b"item3", b"poison too")])
        hop.until("reported", lambda: len(read(settings, LETTERS)) >= 2)
    with on_thread(settings, "a"):
        produce(settings, EVENTS, [(b"ann", event(0))])
        wait_for(settings, 1)
    assert sorted(letter.value or b"" for letter in read(settings, LETTERS)) == [b"poison", b"poison too"]


def test_the_limit_stops_the_service(settings: HopSettings) -> None:
    """Above the limit the service stops with a clear error, and what stopped it is neither written nor committed."""
    limited = settings.model_copy(update={"dead_letter_limit": 10})
    produce(settings, EVENTS, [(b"ann", event(number)) for number in range(20)], partition=0)
    with on_thread(limited):
        wait_for(settings, 20)
    end = _committed(settings)
    produce(settings, EVENTS, [(b"ann", b"poison")] * 11, partition=0)
    hop = OnThread(limited)
    hop.wait()
    assert isinstance(hop.error, DeadLetterLimitError)
    assert "STREAMREC_DEAD_LETTER_LIMIT" in str(hop.error)
    letters = read(settings, LETTERS)
    assert len(letters) <= 10
    assert _committed(settings) == end + len(letters)


def test_the_limit_ends_the_process(settings: HopSettings, tmp_path: Path) -> None:
    """The process exits with an error; with a higher limit it goes on where it stopped."""
    produce(settings, EVENTS, [(b"ann", b"poison")] * 50 + [(b"ann", event(0))], partition=0)
    process = Process(settings.model_copy(update={"dead_letter_limit": 5}), "a", tmp_path / "log")
    assert process.wait() == 1
    assert [item["kind"] for item in process.events("loop.failed")] == ["DeadLetterLimitError"]
    with on_thread(settings):
        wait_for(settings, 1)
    check(answers(settings), [0])
    assert len(read(settings, LETTERS)) == 50


def _committed(settings: HopSettings) -> int:
    consumer = make_consumer(settings, group_of(settings, NAME))
    try:
        return consumer.committed([TopicPartition(settings.topic_prefix + EVENTS, 0)], 10)[0].offset
    finally:
        consumer.close()
