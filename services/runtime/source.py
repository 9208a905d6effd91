"""Reading: batches from the inputs of the running tasks, each from a position that the runtime chose."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from services.runtime.errors import FatalError
from services.runtime.log import Throttle
from services.runtime.tasks import Position
from services.runtime.trouble import Trouble
from services.runtime.writer import fatal

Grouped = dict[Position, list[Message]]
"""Records by partition, in offset order."""

_NEVER = 1 << 63
_PATIENCE_S = 1.0
"""How long records that can wait do."""


class Source:
    """A consumer with hand-made assignments: the inputs of tasks, or state and tables."""

    def __init__(self, config: dict[str, Any], prefix: str, trouble: Trouble) -> None:
        """`config`: see `client.consumer_config`."""
        self._prefix = prefix
        self._trouble = trouble
        self._log = trouble.log
        self._throttle = Throttle()
        self._names: dict[str, str] = {}
        self._broken: FatalError | None = None
        self._consumer = Consumer({**config, "error_cb": self._on_error})
        self._assigned: set[Position] = set()
        self._held: Grouped = {}
        """Records that wait for others to come."""
        self._held_since = 0.0
        self.ends: dict[Position, int] = {}
        """Position of each partition whose end was reached and from which nothing came since."""
        self.outside: set[Position] = set()
        """Partitions whose position is outside the log (retention overtook it); the loop repositions them."""

    def assign(self, positions: Mapping[Position, int]) -> None:
        """Begin to read partitions at these offsets."""
        if positions:
            self._consumer.incremental_assign(self._places(positions))
            self._assigned.update(positions)
            for position in positions:
                self.ends.pop(position, None)
                self._held.pop(position, None)

    def unassign(self, positions: Iterable[Position]) -> None:
        """Stop reading partitions; records of theirs that were fetched already are dropped."""
        gone = [position for position in positions if position in self._assigned]
        if gone:
            self._consumer.incremental_unassign(self._places(dict.fromkeys(gone, 0)))
            self._assigned.difference_update(gone)
        for position in gone:
            self.ends.pop(position, None)
            self.outside.discard(position)
            self._held.pop(position, None)

    def collect(
        self, limit: int, idle_s: float, least_s: float, most_s: float, patient: Collection[str] = ()
    ) -> Grouped:
        """One batch: wait at most `idle_s` for a first record, then gather for `least_s` to `most_s`.

        The batch is closed as soon as it holds `limit` records, or the input is drained and `least_s` has
        passed since the first record, or `most_s` has passed. Records of `patient` topics do not make a batch
        by themselves before they have waited for a second.
        """
        first = self._consumer.poll(idle_s)
        self._raise_broken()
        if first is None:
            return self._with_held({}, limit, patient)
        began = time.monotonic()
        messages = [first]
        if first.error() is None:
            self._gather(messages, limit - self._held_count(), began, least_s, most_s)
        return self._with_held(self._group(messages), limit, patient)

    def drain(self, limit: int, wait_s: float = 0) -> Grouped:
        """What is there already, at most `limit` records; waits up to `wait_s` for a first one."""
        messages: list[Message] = []
        if wait_s:
            first = self._consumer.poll(wait_s)
            if first is not None:
                messages.append(first)
        self._raise_broken()
        if messages or not wait_s:
            messages.extend(self._consumer.consume(limit - self._held_count() - len(messages), 0))
        return self._with_held(self._group(messages) if messages else {}, limit, ())

    def partitions(self, topic: str, timeout_s: float) -> int:
        """Number of partitions of a topic; 0 when it does not exist. Raises KafkaException without a broker."""
        found = self._consumer.list_topics(self._prefix + topic, timeout_s).topics.get(self._prefix + topic)
        return 0 if found is None or found.error is not None else len(found.partitions)

    def cluster_id(self, timeout_s: float) -> str:
        """The cluster's id; raises KafkaException without a broker."""
        return str(self._consumer.list_topics(timeout=timeout_s).cluster_id or "")

    def high(self, position: Position) -> int:
        """End of the log as the last fetch told it, or -1. Open transactions are counted in."""
        return int(self._consumer.get_watermark_offsets(self._place(position), cached=True)[1])

    def close(self) -> None:
        """Give up the consumer."""
        self._consumer.close()

    def _gather(self, messages: list[Message], limit: int, began: float, least_s: float, most_s: float) -> None:
        consume, poll = self._consumer.consume, self._consumer.poll
        while len(messages) < limit:
            more = consume(limit - len(messages), 0)
            messages.extend(more)
            elapsed = time.monotonic() - began
            if elapsed >= most_s:
                return
            if more:
                continue
            if elapsed >= least_s:
                return
            message = poll(least_s - elapsed)
            if message is not None:
                messages.append(message)

    def _with_held(self, grouped: Grouped, limit: int, patient: Collection[str]) -> Grouped:
        """These records and those that were held; nothing while all of them can wait."""
        if not self._held:
            if not grouped or not all(topic in patient for topic, _ in grouped):
                return grouped
            self._held_since = time.monotonic()
        for position, messages in grouped.items():
            self._held.setdefault(position, []).extend(messages)
        young = time.monotonic() < self._held_since + _PATIENCE_S
        if young and self._held_count() < limit and all(topic in patient for topic, _ in self._held):
            return {}
        held, self._held = self._held, {}
        return held

    def _held_count(self) -> int:
        return sum(map(len, self._held.values()))

    def _group(self, messages: list[Message]) -> Grouped:
        errors = list(map(Message.error, messages))
        if any(errors):
            for message, error in zip(messages, errors, strict=True):
                if error is not None:
                    self._judge(message, error)
            messages = [message for message, error in zip(messages, errors, strict=True) if error is None]
        by_place: dict[tuple[str | None, int | None], list[Message]] = {}
        last: tuple[str | None, int | None] = (None, None)
        into: list[Message] = []
        for message, topic, number in zip(
            messages, map(Message.topic, messages), map(Message.partition, messages), strict=True
        ):
            if number != last[1] or topic != last[0]:
                last = topic, number
                into = by_place.setdefault(last, [])
            into.append(message)
        grouped = {self._position(found[0]): found for found in by_place.values()}
        for position, found in grouped.items():
            if self.ends.get(position, _NEVER) <= (found[-1].offset() or 0):
                del self.ends[position]
        return grouped

    def _judge(self, message: Message, error: KafkaError) -> None:
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            self.ends[self._position(message)] = int(message.offset() or 0)
        elif code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            self.outside.add(self._position(message))
        elif error.fatal() or code == KafkaError._FATAL:
            raise fatal("reading", error)
        elif code in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED):
            raise FatalError(f"reading: {error.str()} ({error.name()}). Grant the ACLs listed in docs/operations.md.")
        elif self._throttle.due(error.name()):
            self._log.warning("source.trouble", error=error.str(), code=error.name())

    def _position(self, message: Message) -> Position:
        return str(message.topic()).removeprefix(self._prefix), int(message.partition() or 0)

    def _places(self, positions: Mapping[Position, int]) -> list[TopicPartition]:
        return [self._place(position, offset) for position, offset in positions.items()]

    def _place(self, position: Position, offset: int = 0) -> TopicPartition:
        return TopicPartition(self._prefix + position[0], position[1], offset)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._broken = fatal("reading", error)
        else:
            self._trouble(error)

    def _raise_broken(self) -> None:
        if self._broken is not None:
            raise self._broken
