"""Writing one step at least once: produce, flush, commit."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException

from services.runtime.bounded import Bounded
from services.runtime.errors import AbortedError, StuckError
from services.runtime.processor import Output
from services.runtime.tasks import Position
from services.runtime.writer import CALL_TIMEOUT_S, FENCED, Members, Sending, fatal

_STUCK_AFTER_S = 60.0


class AtLeastOnce:
    """Produce, flush, then commit: after a crash in between, outputs repeat."""

    def __init__(self, sending: Sending, members: Members, failed: list[KafkaError]) -> None:
        """`failed`: where the producer's callback puts the errors of messages that the client gave up."""
        self._sending = sending
        self._producer = sending.producer
        self._members = members
        self._failed = failed
        self._left: dict[Position, int] = {}
        self._bounded = Bounded("commit")
        self._asked: dict[Position, int] | None = None
        """What a commit that has not returned yet is for, and when it began."""
        self._asked_at = 0.0

    def begin(self) -> None:
        """Nothing to register."""

    def write(self, outputs: Sequence[Output], offsets: Mapping[Position, int]) -> None:
        """Produce, wait until every record is acknowledged, commit the positions."""
        self._sending.send(outputs)
        self._flush()
        if self._failed:
            error = self._failed[0]
            self._failed.clear()
            # Records before and after it may stand: they repeat, which at-least-once allows.
            raise AbortedError(f"a record was not delivered: {error.str()} ({error.name()})")
        self._left.update(offsets)
        self.settle()

    def _flush(self) -> None:
        try:
            while self._producer.flush(CALL_TIMEOUT_S):
                self._sending.waiting("flush", KafkaError(KafkaError._TIMED_OUT))
        except KafkaException as failure:
            # A flush calls back, and so raises what a callback tells of.
            raise fatal("flush", failure.args[0]) from failure

    def settle(self) -> None:
        """Commit what is left over. A refusal is not an error: the group decides whose the partitions are.

        While the broker is away a commit may not return. The loop then goes on, and asks again how it ended.

        Raises:
            StuckError: it has not returned for so long that only new clients can go on.
        """
        wait_s = 0.0
        if self._asked is None:
            if not self._left:
                return None
            self._asked, self._asked_at, wait_s = dict(self._left), time.monotonic(), CALL_TIMEOUT_S
            places = self._sending.partitions(self._asked)
            self._bounded.begin(lambda: self._members.commit(places))
        try:
            if not self._bounded.ended(wait_s):
                return self._undecided()
        except KafkaException as failure:
            self._asked = None
            error = failure.args[0]
            if error.fatal() or error.code() in FENCED:
                raise fatal("commit", error) from failure
            return self._sending.waiting("commit", error)
        self._left = {place: end for place, end in self._left.items() if self._asked.get(place) != end}
        self._asked = None
        return None

    def _undecided(self) -> None:
        waited_s = time.monotonic() - self._asked_at
        if waited_s > _STUCK_AFTER_S:
            raise StuckError(f"the Kafka client did not return from a commit within {waited_s:.0f} s")
        self._sending.waiting("commit", KafkaError(KafkaError._TIMED_OUT))

    def lost(self, positions: Mapping[Position, int]) -> None:
        """The partitions are no longer ours: their left-over positions may not be committed."""
        for position in positions:
            self._left.pop(position, None)

    def close(self) -> None:
        """Drop what is not acknowledged; nothing after the last `write`."""
        self._bounded.close()
        self._sending.hear()
        self._producer.purge()
