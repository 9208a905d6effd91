"""Sends the rows of one file: encode, pace, watch deliveries, keep the position."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from services.cli.errors import CliError
from services.cli.produce.pace import Pace
from services.cli.produce.progress import Position, PositionFile
from services.cli.produce.source import BadRowError, Source
from services.cli.show import several
from services.contracts.edge import EdgeCodec
from services.runtime.client import producer_config
from services.runtime.settings import KafkaSettings

_POLL_EVERY = 1000
_CHECKPOINT_S = 2.0
_FLUSH_S = 120.0
_LONGEST_NAP_S = 0.1
_DELIVERY_TIMEOUT_MS = 60_000
_BAD_SHOWN = 10


@dataclass(slots=True)
class Plan:
    """How one file is sent."""

    topic: str
    """Physical name."""
    pace: Pace
    position: PositionFile | None = None
    """Where the position is kept; None for standard input."""
    resume: bool = False
    skip_bad: bool = False
    limit: int | None = None
    event_type: str | None = None
    """Type of events whose row says none; None when the records have no type."""
    event_ids: bool = True
    """Derive ids from file and line where a row has none."""
    now: bool = False
    """Leave out event times: an event happens when Kafka appends it."""
    notify: Callable[[int, int], None] | None = None
    """Called often with (records sent, bytes read)."""
    bad: Callable[[str], None] | None = None
    """Called with the message of each of the first bad rows that are skipped."""


@dataclass(slots=True)
class Sent:
    """What was sent."""

    records: int = 0
    skipped_bad: int = 0
    resumed_at: int = 0
    """Rows that an earlier run had sent already."""
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


def _advice(sent: int, *, kept: bool) -> str:
    """What to do about a bad line, once `sent` records before it are in Kafka."""
    if not sent:
        return "Mend the line, or pass --skip-bad to leave such lines out; nothing was sent yet."
    on = "--skip-bad --resume goes on without such lines" if kept else "--skip-bad leaves such lines out"
    return f"{several(sent, 'record')} before it had been sent: {on}; a mended file is sent from its start again."


class Sender:
    """Sends a source with one idempotent producer. A delivery error is fatal: what follows would be out of order."""

    def __init__(self, settings: KafkaSettings, codec: EdgeCodec[Any]) -> None:
        self._codec = codec
        self.sent = Sent()
        """What was sent; also when `send` ended with an error."""
        self._failed = 0
        self._failure = ""
        self._producer = Producer(
            {
                **producer_config(settings),
                # At a rate, records would otherwise go one by one, and a request costs the broker more than they do.
                "linger.ms": 20,
                "message.timeout.ms": _DELIVERY_TIMEOUT_MS,
                "delivery.report.only.error": True,
                "on_delivery": self._delivered,
            }
        )

    def send(self, source: Source, plan: Plan) -> Sent:
        """Send every row; returns when Kafka has acknowledged all.

        Raises:
            CliError: a delivery failed, a row is bad and bad rows are not skipped, or the position cannot be kept.
            SourceError: the file is damaged.
        """
        began = time.monotonic()
        position = plan.position.load() if plan.position and plan.resume else Position()
        sent = self.sent = Sent(resumed_at=position.rows)
        try:
            self._send_rows(source, plan, position, sent)
        finally:
            # What is under way is finished also when a bad row or Ctrl-C ends the run, so that --resume repeats little.
            self._checkpoint(plan, position)
        sent.seconds = time.monotonic() - began
        return sent

    def _send_rows(self, source: Source, plan: Plan, position: Position, sent: Sent) -> None:
        producer, encode, key_field = self._producer, self._codec.encode, source.shape.key
        prefix = f"{source.identity}-" if plan.event_ids and source.identity else ""
        is_event = plan.event_type is not None
        next_checkpoint = time.monotonic() + _CHECKPOINT_S
        for row in source.rows(skip=position.rows):
            if plan.limit is not None and sent.records >= plan.limit:
                return
            try:
                if isinstance(row, BadRowError):
                    raise row
                if is_event:
                    self._complete(row, plan, f"{prefix}{source.line}" if prefix else None)
                value = encode(row)
            except ValueError as error:
                self._bad(error, source, plan, sent, before=position.sent)
                position.rows += 1
                continue
            if not plan.pace.free:
                self._wait(plan.pace.wait_s(row.get("event_time")))
            if plan.now and is_event:
                row["event_time"] = None
                value = encode(row)
            self._produce(plan.topic, value, row[key_field].encode())
            position.rows += 1
            position.sent += 1
            sent.records += 1
            if not sent.records % _POLL_EVERY or not plan.pace.free:
                producer.poll(0)
                self._check()
                if plan.notify:
                    plan.notify(sent.records, source.position_bytes())
                if time.monotonic() >= next_checkpoint:
                    self._checkpoint(plan, position)
                    next_checkpoint = time.monotonic() + _CHECKPOINT_S

    def _complete(self, row: dict[str, Any], plan: Plan, event_id: str | None) -> None:
        if not row["type"]:
            row["type"] = plan.event_type
        if row["event_id"] is None:
            row["event_id"] = event_id

    def _bad(self, error: ValueError, source: Source, plan: Plan, sent: Sent, *, before: int) -> None:
        message = str(error) if isinstance(error, BadRowError) else f"{source.path}, line {source.line}: {error}"
        if not plan.skip_bad:
            raise CliError(f"{message}. {_advice(before, kept=plan.position is not None)}")
        sent.skipped_bad += 1
        if plan.bad and sent.skipped_bad <= _BAD_SHOWN:
            plan.bad(message)

    def _produce(self, topic: str, value: bytes, key: bytes) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key)
            except BufferError:
                # The queue is full: the broker is slower than the file. Nothing is dropped.
                self._producer.poll(_LONGEST_NAP_S)
                self._check()
            else:
                return

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._producer.poll(min(left, _LONGEST_NAP_S))
            self._check()

    def _checkpoint(self, plan: Plan, position: Position) -> None:
        left = self._producer.flush(_FLUSH_S)
        self._check()
        if left:
            raise CliError(f"{left} records were not acknowledged within {_FLUSH_S:.0f} s; is the broker running?")
        if plan.position:
            try:
                plan.position.save(position)
            except OSError as error:
                raise CliError(
                    f"{error.strerror or error}: the position cannot be kept in {plan.position.path}; "
                    f"{several(self.sent.records, 'record')} had been sent. Make room, or give another --state-dir, "
                    "and run again with --resume: events that are sent twice carry the same ids and are dropped."
                ) from None

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed += 1
            self._failure = self._failure or error.str()

    def _check(self) -> None:
        if self._failed:
            raise CliError(
                f"{self._failed} records could not be delivered ({self._failure}). What came before them is in Kafka; "
                "run again with --resume to go on from there."
            )
