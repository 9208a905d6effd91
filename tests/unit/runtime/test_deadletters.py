"""Dead letters: what they carry, and the limit of their rate."""

from __future__ import annotations

import pytest
from confluent_kafka import Message

from services.runtime.deadletters import DeadLetters
from services.runtime.decoding import Bad
from services.runtime.errors import DeadLetterLimitError


def _bad(offset: int) -> Bad:
    message = Message(topic="p.in", partition=2, offset=offset, key=b"k", value=b"\xff", headers=[("own", b"1")])
    return Bad("in", 2, offset, "ValueError", "why not", message)


def test_a_letter_is_the_record_and_why() -> None:
    """Key, bytes and headers are the original's; the error headers come after them."""
    (letter,) = DeadLetters("svc", "p.", 0).letters([_bad(7)], 0)
    assert (letter.topic, letter.key, letter.value) == ("dead-letters", b"k", b"\xff")
    assert letter.headers == (
        ("own", b"1"),
        ("__streamrec.errors.service", b"svc"),
        ("__streamrec.errors.topic", b"p.in"),
        ("__streamrec.errors.partition", b"2"),
        ("__streamrec.errors.offset", b"7"),
        ("__streamrec.errors.exception", b"ValueError"),
        ("__streamrec.errors.message", b"why not"),
    )


def test_the_limit_counts_a_minute() -> None:
    """As many as the limit pass within a minute; one more raises, and a minute later there is room again."""
    letters = DeadLetters("svc", "", 3)
    letters.letters([_bad(0), _bad(1)], 0)
    letters.letters([_bad(2)], 30_000)
    with pytest.raises(DeadLetterLimitError, match="in/2@3: why not"):
        letters.letters([_bad(3)], 59_999)
    later = DeadLetters("svc", "", 3)
    later.letters([_bad(0), _bad(1), _bad(2)], 0)
    assert len(later.letters([_bad(3), _bad(4)], 60_000)) == 2


def test_no_limit() -> None:
    """Zero never stops."""
    assert len(DeadLetters("svc", "", 0).letters([_bad(n) for n in range(5000)], 0)) == 5000
