"""Dead letters: the original record with error headers in the manner of KIP-1034, and a limit on their rate."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from services.runtime.decoding import Bad
from services.runtime.errors import DeadLetterLimitError
from services.runtime.processor import Output

TOPIC = "dead-letters"
PREFIX = "__streamrec.errors."
"""Of the header names: service, topic, partition, offset, exception, message."""

_WINDOW_MS = 60_000
_SHOWN = 3


class DeadLetters:
    """Makes dead letters and counts them."""

    def __init__(self, service: str, topic_prefix: str, limit: int) -> None:
        """`limit`: dead letters within a minute that are still accepted; 0 for any number."""
        self._service = service.encode()
        self._topic_prefix = topic_prefix
        self._limit = limit
        self._recent: deque[tuple[int, int]] = deque()
        self._count = 0

    def letters(self, bad: Sequence[Bad], now_ms: int) -> list[Output]:
        """One record per bad one, for the transaction that carries its offset.

        Raises:
            DeadLetterLimitError: the rate is too high; nothing of this batch may be committed.
        """
        self._admit(bad, now_ms)
        return [self._letter(item) for item in bad]

    def _letter(self, item: Bad) -> Output:
        original = tuple(item.message.headers() or ())
        errors = (
            (PREFIX + "service", self._service),
            (PREFIX + "topic", (self._topic_prefix + item.topic).encode()),
            (PREFIX + "partition", str(item.partition).encode()),
            (PREFIX + "offset", str(item.offset).encode()),
            (PREFIX + "exception", item.exception.encode()),
            (PREFIX + "message", item.why.encode()),
        )
        return Output(TOPIC, item.message.key(), item.message.value(), None, (*original, *errors))  # type: ignore[arg-type]

    def _admit(self, bad: Sequence[Bad], now_ms: int) -> None:
        if not bad:
            return
        self._recent.append((now_ms, len(bad)))
        self._count += len(bad)
        while self._recent[0][0] <= now_ms - _WINDOW_MS:
            self._count -= self._recent.popleft()[1]
        if self._limit and self._count > self._limit:
            shown = "; ".join(f"{item.topic}/{item.partition}@{item.offset}: {item.why}" for item in bad[:_SHOWN])
            raise DeadLetterLimitError(
                f"{self._count} records within a minute could not be processed, the limit is {self._limit} "
                f"(STREAMREC_DEAD_LETTER_LIMIT). The last ones were not committed: {shown}. Correct what writes them "
                "and start again, or raise the limit to send them to dead-letters."
            )
