"""Membership in the consumer group: which partitions of the leading topic are ours, and since when not any more.

The member reads nothing: its partitions stay paused, and `Source` reads them, and the followers, with assignments made
by hand. So every position is one that the runtime chose, in one way for leading topic and followers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from services.runtime.errors import FatalError
from services.runtime.log import Throttle
from services.runtime.tasks import Position
from services.runtime.trouble import Trouble
from services.runtime.writer import fatal

_COMMITTED_TIMEOUT_S = 0.5
_NOT_READ_FROM = 0
"""A start offset for paused partitions: any number that needs no look-up."""


class Listener(Protocol):
    """Who is told of rebalances. Called inside `poll` and `close`, on the loop's thread."""

    def assigned(self, partitions: list[int]) -> None:
        """Partitions were added to ours."""

    def revoked(self, partitions: list[int]) -> None:
        """Partitions are asked back: the last moment to commit for them."""

    def lost(self, partitions: list[int]) -> None:
        """Partitions were taken without asking: nothing may be committed for them."""


class Membership:
    """One member of one consumer group, subscribed to one topic."""

    def __init__(self, config: dict[str, Any], topic: str, prefix: str, listener: Listener, trouble: Trouble) -> None:
        """`topic`: the leading topic's name in Kafka."""
        self._trouble = trouble
        self._log = trouble.log
        self._topic = topic
        self._prefix = prefix
        self._listener: Listener | None = listener
        self._throttle = Throttle()
        self._broken: FatalError | None = None
        self._failure: BaseException | None = None
        self.joined = False
        """Whether the group has answered at least once, perhaps with no partition."""
        self._consumer = Consumer({**config, "error_cb": self._on_error})

    def join(self) -> None:
        """Subscribe: the group assigns partitions during later polls."""
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def poll(self) -> None:
        """Serve rebalances; tells the broker that the loop is alive.

        Raises:
            FatalError: this member was fenced, or may not join.
        """
        message = self._consumer.poll(0)
        self._raise_failure()
        error = None if message is None else message.error()
        if error is not None:
            self._judge(error)

    def committed(self, positions: Iterable[Position]) -> dict[Position, int] | None:
        """Committed positions of the group, -1 where there is none; None when they cannot be known yet.

        While a transaction with one of these positions is open (its owner was killed), the answer waits for
        its end: what comes after is read by nobody twice.
        """
        wanted = [TopicPartition(self._prefix + topic, partition) for topic, partition in positions]
        try:
            found = self._consumer.committed(wanted, _COMMITTED_TIMEOUT_S)
        except KafkaException as failure:
            error = failure.args[0]
            if error.fatal():
                raise fatal("committed", error) from failure
            if self._throttle.due("committed"):
                self._log.warning(
                    "group.wait",
                    doing="reading committed positions: they stand when no transaction with them is open",
                    error=error.str(),
                )
            return None
        if any(place.error for place in found):
            return None
        return {(place.topic.removeprefix(self._prefix), place.partition): max(place.offset, -1) for place in found}

    def metadata(self) -> Any:
        """The group metadata of this moment, for a transaction."""
        return self._consumer.consumer_group_metadata()

    def commit(self, offsets: list[TopicPartition]) -> None:
        """Commit synchronously; raises KafkaException when the group refuses one."""
        for place in self._consumer.commit(offsets=offsets, asynchronous=False) or ():
            if place.error:
                raise KafkaException(place.error)

    def limits(self, position: Position, timeout_s: float) -> tuple[int, int]:
        """(log start, last stable offset) as the broker says now; raises KafkaException without a broker.

        Asked here, because a consumer that reads has its connection taken by a waiting fetch.
        """
        place = TopicPartition(self._prefix + position[0], position[1])
        low, high = self._consumer.get_watermark_offsets(place, timeout_s)
        return low, high

    def close(self) -> None:
        """Leave the group (a static member keeps its place for its session timeout)."""
        self._consumer.close()
        self._raise_failure()

    def abandon(self) -> None:
        """Leave after a failure: nobody is told any more. Does nothing after `close`."""
        self._listener = None
        try:
            self._consumer.close()
        except (KafkaException, RuntimeError) as error:
            self._log.debug("group.abandoned", error=str(error))

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for place in partitions:
            place.offset = _NOT_READ_FROM
        self._guard(consumer.incremental_assign, partitions)
        self._guard(consumer.pause, partitions)
        self.joined = True
        if self._listener is not None:
            self._guard(self._listener.assigned, _numbers(partitions))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._listener is not None:
            self._guard(self._listener.revoked, _numbers(partitions))
        self._guard(consumer.incremental_unassign, partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._listener is not None:
            self._guard(self._listener.lost, _numbers(partitions))
        if self._failure is not None:
            # Whoever has our name now must not be thrown out by our joining again.
            self._guard(consumer.unsubscribe)
        self._guard(consumer.incremental_unassign, partitions)

    def _guard(self, call: Callable[..., object], *args: Any) -> None:
        """Call; an exception must not unwind through the C client, so `poll` raises it: the first of a callback.

        One failure brings others: a client that was fenced meanwhile refuses every call. The first one says why.
        """
        try:
            call(*args)
        except BaseException as error:  # whatever it was, `poll` raises it
            self._failure = self._failure or error

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        if self._broken is not None:
            raise self._broken

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:
            self._broken = fatal("group", error)
        else:
            self._trouble(error)

    def _judge(self, error: KafkaError) -> None:
        if error.fatal() or error.code() in (KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID):
            raise fatal("group", error)
        if error.code() in (KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED):
            raise FatalError(f"group: {error.str()} ({error.name()}). Grant the ACLs listed in docs/operations.md.")
        if error.code() != KafkaError._PARTITION_EOF and self._throttle.due(error.name()):
            self._log.warning("group.trouble", error=error.str(), code=error.name())


def _numbers(partitions: list[TopicPartition]) -> list[int]:
    return sorted(place.partition for place in partitions)
