"""Writing one step: what both deliveries share, and exactly-once as one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from services.runtime.bounded import Bounded
from services.runtime.errors import AbortedError, FatalError, FencedError, NameHeldError, StuckError
from services.runtime.log import Throttle
from services.runtime.metrics import Metrics
from services.runtime.processor import Output
from services.runtime.tasks import Position
from services.runtime.trouble import Trouble

CALL_TIMEOUT_S = 5.0
_STUCK_AFTER_S = 3 * CALL_TIMEOUT_S
_BACKOFF_S = 0.05
_BUFFER_WAIT_S = 0.05
_MOST_FATAL = 4
"""A client has one fatal error in its life; the bound is for one that would tell of it for ever."""

FENCED = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.FENCED_INSTANCE_ID,
    }
)


class Members(Protocol):
    """What a writer needs of the group membership."""

    def metadata(self) -> Any:
        """The consumer group metadata of this moment."""

    def commit(self, offsets: list[TopicPartition]) -> None:
        """Commit synchronously; raises KafkaException."""


class Writer(Protocol):
    """Writes what one step sends, together with the input positions that it covers."""

    def begin(self) -> None:
        """Called once before anything is read: a transaction that a dead incarnation left open is ended."""

    def write(self, outputs: Sequence[Output], offsets: Mapping[Position, int]) -> None:
        """Write records and positions; when it returns, both stand.

        Raises:
            AbortedError: nothing of it stands, and the loop must begin anew.
            FatalError: nothing of it stands, or (at least once) perhaps the records, and the process must end.
        """

    def settle(self) -> None:
        """Try again to commit what could not be committed at its time."""

    def lost(self, positions: Mapping[Position, int]) -> None:
        """The partitions are somebody else's: nothing may be committed for them any more.

        Raises:
            FencedError: it is our very name that somebody else has taken.
            StuckError: only new clients can find out.
        """

    def close(self) -> None:
        """Give up the producer."""


class Sending:
    """The producing half: prefix, backpressure, errors in words."""

    def __init__(
        self, producer: Producer, prefix: str, metrics: Metrics, trouble: Trouble, check: Callable[[], None]
    ) -> None:
        self.producer = producer
        self.trouble = trouble
        self.log = trouble.log
        self.check = check
        """Raises when a clean stop has run out of time: asked in every loop that waits for a broker."""
        self.metrics = metrics
        self._names: dict[str, str] = {}
        self._prefix = prefix
        self._throttle = Throttle()

    def physical(self, topic: str) -> str:
        """Name in Kafka."""
        name = self._names.get(topic)
        if name is None:
            name = self._names[topic] = self._prefix + topic
        return name

    def partitions(self, offsets: Mapping[Position, int]) -> list[TopicPartition]:
        """Positions in Kafka's form."""
        return [
            TopicPartition(self.physical(topic), partition, offset) for (topic, partition), offset in offsets.items()
        ]

    def send(self, outputs: Sequence[Output]) -> None:
        """Hand records to the client, in order. A full queue is waited for: meanwhile no input is read."""
        produce = self.producer.produce
        names = self._names
        records = iter(outputs)
        record = next(records, None)
        while record is not None:
            try:
                while record is not None:
                    topic, key, value, partition, headers = record
                    name = names.get(topic) or self.physical(topic)
                    place = -1 if partition is None else partition
                    if headers:
                        produce(name, value, key, place, headers=list(headers))
                    else:
                        produce(name, value, key, place)
                    record = next(records, None)
            except BufferError:
                self.metrics.add("backpressure_waits_total")
                self.check()
                told = self.hear(_BUFFER_WAIT_S)
                if told is not None:
                    raise fatal("producing", told) from None
            except KafkaException as error:
                raise self._refused(error, record) from error

    def hear(self, wait_s: float = 0) -> KafkaError | None:
        """Let the client call back, after at most `wait_s`; the fatal error that it told of, if there is one.

        The client raises a fatal error out of whatever call serves its callbacks, and that call ends there. What stands
        behind it in the queue may tell of the broken connection that explains it, so it is heard too.
        """
        told = None
        for _ in range(_MOST_FATAL):
            try:
                self.producer.poll(wait_s)
            except KafkaException as failure:
                told, wait_s = told or failure.args[0], 0
            else:
                break
        return told

    def waiting(self, doing: str, error: KafkaError) -> None:
        """Say, at most now and then, that a call is being tried again."""
        self.check()
        if self._throttle.due(doing):
            self.log.warning("writer.wait", doing=doing, error=error.str(), code=error.name())

    def _refused(self, error: KafkaException, record: Output | None) -> Exception:
        inner = error.args[0]
        if inner.code() == KafkaError._FATAL:
            # It says no more than that there was a fatal error; which one, only a callback tells.
            return fatal("producing", self.hear() or inner)
        if inner.code() == KafkaError._STATE or inner.txn_requires_abort():
            # The transaction failed already, in the background; its cause comes with the abort.
            return AbortedError(f"producing: {inner.str()}")
        where = f"{record.topic} ({len(record.value or b'')} bytes)" if record else "?"
        return FatalError(f"Kafka refuses a record for {where}: {inner.str()} ({inner.name()})")


class ExactlyOnce:
    """One transaction per step: outputs, state changelog and consumed positions stand or fall together."""

    def __init__(self, sending: Sending, members: Members, timeout_s: float) -> None:
        """`sending.producer` has our transactional.id; `timeout_s` is the lifetime of a transaction."""
        self._timeout_s = timeout_s
        self._stuck = False
        self._sending = sending
        self._producer = sending.producer
        self._members = members
        self._bounded = Bounded("send-offsets")
        self._open = False

    def begin(self) -> None:
        """Register the transactional id: an open transaction of a dead incarnation is aborted, a zombie fenced."""
        self._call("init_transactions", lambda: self._producer.init_transactions(CALL_TIMEOUT_S))

    def write(self, outputs: Sequence[Output], offsets: Mapping[Position, int]) -> None:
        """One transaction: begin, produce, send positions, commit.

        When it aborts before the commit was sent, the same records and positions are tried once more. That is safe:
        nothing of the aborted try can be seen, no rebalance was served in between, and the broker checks the group's
        generation again. It saves a restore of everything when a rebalance ends at the wrong moment.
        """
        try:
            try:
                self._prepare(outputs, offsets)
            except AbortedError as error:
                self._abort(error, again=True)
                self._prepare(outputs, offsets)
            self._call("commit_transaction", lambda: self._producer.commit_transaction(CALL_TIMEOUT_S))
            self._open = False
        except AbortedError as error:
            self._abort(error)
            raise

    def lost(self, positions: Mapping[Position, int]) -> None:
        """Ask the broker whether our transactional id is still ours: before we join again and throw out an heir.

        Not after a broken connection: the broker's absence is the likely cause then, and we join again whatever the
        answer is. To wait for it would hold up the group's callback until the broker is back. By then the client has
        lost its member id, and is fenced by its own heartbeats; and the first call for the group on an old connection
        may never return. New clients have neither trouble.

        Args:
            positions: some positions of the partitions that were lost. The group refuses to take them from us, and
                the transaction is aborted anyhow; only the check of the id that comes before it matters.

        Raises:
            FencedError: somebody else has it.
            StuckError: the connection was broken, so that only new clients can go on.
        """
        if self._sending.trouble.recently_cut_off():
            raise StuckError("Kafka was away until the session in the group had ended")
        if not positions:
            return
        reason = AbortedError("a probe after lost partitions")
        try:
            self._prepare((), positions)
        except AbortedError as error:
            reason = error
        self._abort(reason)

    def settle(self) -> None:
        """Nothing is ever left over."""

    def close(self) -> None:
        """Abort what is open, so that readers need not wait for the transaction's timeout."""
        self._bounded.close()
        if self._bounded.stuck:
            return
        if self._open and not self._stuck:
            try:
                self._producer.abort_transaction(CALL_TIMEOUT_S)
            except KafkaException as error:
                self._sending.log.warning("transaction.left_open", error=error.args[0].str())
        self._sending.hear()
        self._producer.purge()

    def _prepare(self, outputs: Sequence[Output], offsets: Mapping[Position, int]) -> None:
        """Everything of a transaction except its commit."""
        self._call("begin_transaction", self._producer.begin_transaction)
        self._open = True
        self._sending.send(outputs)
        if offsets:
            self._send_offsets(offsets)

    def _send_offsets(self, offsets: Mapping[Position, int]) -> None:
        positions = self._sending.partitions(offsets)
        send = self._producer.send_offsets_to_transaction
        # Metadata is taken fresh for each try: the generation moves with every rebalance.
        self._call(
            "send_offsets",
            lambda: self._bounded.run(
                lambda: send(positions, self._members.metadata(), CALL_TIMEOUT_S), _STUCK_AFTER_S
            ),
        )

    def _abort(self, reason: AbortedError, *, again: bool = False) -> None:
        self._sending.log.warning("transaction.abort", reason=str(reason), again=again)
        self._sending.metrics.add("aborts_total")
        self._call("abort_transaction", lambda: self._producer.abort_transaction(CALL_TIMEOUT_S))
        self._open = False

    def _call(self, doing: str, call: Callable[[], None]) -> None:
        """Call until it is decided, as the client's three kinds of errors ask for.

        What is not decided within a transaction's lifetime never will be in a way that helps: the broker has ended the
        transaction, or the client has lost its way (after an outage, an abort may be "retriable" for ever). The new
        client that follows ends the transaction, and the group's positions then say what stands.
        """
        give_up = time.monotonic() + self._timeout_s
        while True:
            try:
                return call()
            except KafkaException as failure:
                # Here the client tells of a broken connection, which decides what being fenced means.
                error = self._sending.hear() or failure.args[0]
                if error.fatal():
                    raise fatal(doing, error) from failure
                if error.retriable():
                    self._sending.waiting(doing, error)
                    if time.monotonic() > give_up:
                        self._stuck = True
                        raise StuckError(
                            f"{doing}: undecided after {self._timeout_s:.0f} s ({error.str()})"
                        ) from failure
                    time.sleep(_BACKOFF_S)
                elif error.code() in FENCED:
                    # The member was fenced, not the producer: the transaction could be aborted, but to what end.
                    raise fatal(doing, error) from failure
                elif error.txn_requires_abort():
                    raise AbortedError(f"{doing}: {error.str()} ({error.name()})") from failure
                else:
                    raise fatal(doing, error) from failure


def fatal(doing: str, error: KafkaError) -> FatalError:
    """The exception for an error that ends the process, in words that say what to do."""
    # A fatal consumer error carries its cause in its text only.
    if error.code() in FENCED or "fenced" in error.str():
        return FencedError(
            f"{doing}: fenced ({error.name()}). Another process runs under this replica's name and has taken over; "
            "give every replica its own STREAMREC_INSTANCE."
        )
    if "instance ID is still used" in error.str():
        return NameHeldError(
            f"{doing}: the group holds this replica's name for another member. If no other process has the same "
            "STREAMREC_INSTANCE, it is one that died: its session ends after the broker's "
            "group.consumer.session.timeout.ms."
        )
    return FatalError(f"{doing}: {error.str()} ({error.name()})")
