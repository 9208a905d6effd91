"""What the clients of one loop tell of their connections: said now and then, and remembered."""

from __future__ import annotations

import time

from confluent_kafka import KafkaError

from services.runtime.log import Log, Throttle

_RECENT_S = 120.0
CUT_OFF = frozenset({KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT})


class Trouble:
    """The error callback of all clients of a loop."""

    def __init__(self, log: Log) -> None:
        """Nothing has happened yet."""
        self.log = log
        self._throttle = Throttle()
        self._cut_off_at = float("-inf")

    def __call__(self, error: KafkaError) -> None:
        """Note an error that a client reports of itself."""
        if error.code() in CUT_OFF:
            self._cut_off_at = time.monotonic()
        if self._throttle.due(error.name()):
            self.log.warning("kafka.trouble", error=error.str(), code=error.name())

    def recently_cut_off(self) -> bool:
        """Whether a connection to Kafka was broken lately.

        After that, the broker may have fenced us for no other reason than its own absence: a transaction that grew
        older than its timeout, a static member whose request to join was repeated. A process that was frozen while an
        heir was started in its place, the other way to be fenced, keeps its connections.
        """
        return time.monotonic() - self._cut_off_at < _RECENT_S
