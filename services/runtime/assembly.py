"""Putting a loop together from settings: clients, writer, restorer, checkpoints, health."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from services.runtime.at_least_once import AtLeastOnce
from services.runtime.checkpoint import CheckpointStore
from services.runtime.client import (
    INPUT_FETCH,
    consumer_config,
    make_admin,
    member_config,
    producer_config,
    transactional_config,
)
from services.runtime.deadletters import DeadLetters
from services.runtime.health import Watch
from services.runtime.lifecycle import Keeper, Reading
from services.runtime.log import Log, logger
from services.runtime.loop import Loop, Parts
from services.runtime.membership import Membership
from services.runtime.metrics import Metrics
from services.runtime.processor import Processor
from services.runtime.replica import Replica
from services.runtime.restore import Limits, Restorer
from services.runtime.settings import RuntimeSettings
from services.runtime.source import Source
from services.runtime.tasks import Position, Task
from services.runtime.trouble import Trouble
from services.runtime.writer import ExactlyOnce, Sending, Writer

_ASK_TIMEOUT_S = 5.0
_ASK_AGAIN_S = 5.0
"""After a processor had nothing to store: it may hold effects that it writes with one of its next steps."""


def now_ms() -> int:
    """The wall clock, Unix ms."""
    return time.time_ns() // 1_000_000


def group_of(settings: RuntimeSettings, processor: str) -> str:
    """Name of a processor's consumer group."""
    return f"{settings.topic_prefix}streamrec.{processor}"


def transactional_id_of(settings: RuntimeSettings, processor: str, instance: str) -> str:
    """Transactional id of one replica of a processor."""
    return f"{group_of(settings, processor)}.{instance}"


def build(
    processor: Processor,
    settings: RuntimeSettings,
    replica: Replica,
    clock_ms: Callable[[], int] = now_ms,
    *,
    checkpoints: bool = True,
    instead_of: Loop | None = None,
) -> Loop:
    """One loop, with clients of its own. A broker must answer.

    Args:
        processor: what it drives.
        settings: of the service.
        replica: its name and folder.
        clock_ms: the wall clock, Unix ms.
        checkpoints: keep local checkpoints of the state topics.
        instead_of: a loop that has ended; its metrics, its watch and what it knows of outages go on.

    Raises:
        KafkaException: no broker answers.
    """
    group = group_of(settings, processor.name)
    prefix = settings.topic_prefix
    metrics = instead_of.metrics if instead_of else Metrics((("processor", processor.name),))
    watch = instead_of.watch if instead_of else Watch(processor.name, metrics, settings.stall_after_s)
    log = logger(processor=processor.name, instance=replica.instance)
    # An outage is the process's: an old client that finds its way only now may still fence the one in its place.
    trouble = instead_of.trouble if instead_of else Trouble(log)
    reader = Source(consumer_config(settings, group, log), prefix, trouble)
    store = _store(processor, settings, replica, reader, log) if checkpoints else None
    late = _Late()
    writer = _writer(settings, transactional_id_of(settings, processor.name, replica.instance), metrics, trouble, late)

    def member(loop: Loop) -> Membership:
        late.loop = loop
        late.members = Membership(
            member_config(settings, group, replica.instance, log),
            prefix + processor.inputs.leading,
            prefix,
            loop.life,
            trouble,
        )
        return late.members

    parts = Parts(
        member=member,
        reading=Reading(
            Source(consumer_config(settings, group, log, INPUT_FETCH), prefix, trouble),
            Restorer(processor, reader, (store, late.limits) if store else None, metrics, log),
            writer,
            CheckpointKeeper(processor, store, late.limits, metrics, settings) if store else Keeper(),
        ),
        dead_letters=DeadLetters(processor.name, prefix, settings.dead_letter_limit),
        metrics=metrics,
        watch=watch,
        trouble=trouble,
    )
    return Loop(processor, settings, parts, lambda: replica.next_epoch(clock_ms), clock_ms)


class CheckpointKeeper(Keeper):
    """Writes a task's checkpoint every interval and when it is given up."""

    def __init__(
        self, processor: Processor, store: CheckpointStore, limits: Limits, metrics: Metrics, settings: RuntimeSettings
    ) -> None:
        """`limits`: asks for the ends of logs."""
        self._processor = processor
        self._store = store
        self._limits = limits
        self._metrics = metrics
        self._interval_s = settings.checkpoint_interval_s
        self._due_at: dict[int, float] = {}

    def due(self, task: Task) -> bool:
        """Whether the interval has passed since the task ran first, or since its last checkpoint."""
        return time.monotonic() >= self._due_at.setdefault(task.partition, time.monotonic() + self._interval_s)

    def keep(self, task: Task, budget_s: float) -> None:
        """Write the checkpoint. Its offsets are the ends of the logs now: all that was written is committed."""
        began = time.monotonic()
        records = self._processor.dump(task.partition)
        self._due_at[task.partition] = began + (_ASK_AGAIN_S if records is None else self._interval_s)
        if records is None:
            return
        inputs = self._processor.inputs
        try:
            offsets = {
                topic: task.next[topic]
                if topic == inputs.leading
                else self._limits((topic, task.partition), budget_s)[1]
                for topic in inputs.state
            }
        except KafkaException:
            self._metrics.add("checkpoint_failures_total")
            return
        saved = self._store.save(task.partition, offsets, records, budget_s - (time.monotonic() - began))
        self._metrics.add("checkpoints_total" if saved else "checkpoint_failures_total")


class _Late:
    """What the writer needs of parts that are made after it."""

    loop: Loop
    members: Membership

    def check(self) -> None:
        self.loop.check_stop()

    def limits(self, position: Position, timeout_s: float) -> tuple[int, int]:
        return self.members.limits(position, timeout_s)

    def metadata(self) -> Any:
        return self.members.metadata()

    def commit(self, offsets: list[TopicPartition]) -> None:
        self.members.commit(offsets)


def _writer(
    settings: RuntimeSettings, transactional_id: str, metrics: Metrics, trouble: Trouble, late: _Late
) -> Writer:
    prefix = settings.topic_prefix
    if settings.delivery == "exactly-once":
        producer = Producer({**transactional_config(settings, transactional_id, trouble.log), "error_cb": trouble})
        sending = Sending(producer, prefix, metrics, trouble, late.check)
        return ExactlyOnce(sending, late, settings.transaction_timeout_ms / 1000)
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Any) -> None:
        if error is not None:
            failed.append(error)

    # The client calls back for failed messages only, so that a record costs no Python call.
    callbacks = {"on_delivery": delivered, "delivery.report.only.error": True, "error_cb": trouble}
    producer = Producer({**producer_config(settings, trouble.log), **callbacks})
    return AtLeastOnce(Sending(producer, prefix, metrics, trouble, late.check), late, failed)


def _store(
    processor: Processor, settings: RuntimeSettings, replica: Replica, reader: Source, log: Log
) -> CheckpointStore | None:
    state = processor.inputs.state
    if not state:
        return None
    ids = _topic_ids(make_admin(settings), {topic: settings.topic_prefix + topic for topic in state})
    return CheckpointStore(replica.folder / processor.name, reader.cluster_id(_ASK_TIMEOUT_S), ids, log)


def _topic_ids(admin: AdminClient, names: dict[str, str]) -> dict[str, str]:
    """The cluster's ids of topics; without them (an old broker), a checkpoint is matched by offsets only."""
    found = {}
    futures = admin.describe_topics(TopicCollection(list(names.values())), request_timeout=_ASK_TIMEOUT_S)
    for logical, name in names.items():
        try:
            found[logical] = str(futures[name].result(_ASK_TIMEOUT_S).topic_id)
        except (KafkaException, TimeoutError):
            found[logical] = ""
    return found
