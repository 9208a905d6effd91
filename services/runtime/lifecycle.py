"""The life of tasks: assigned, restored, run, given up; what a rebalance does, and where inputs resume."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import KafkaException

from services.runtime.errors import PositionError
from services.runtime.health import Watch
from services.runtime.log import Log, Throttle
from services.runtime.membership import Membership
from services.runtime.metrics import Metrics
from services.runtime.processor import Processor
from services.runtime.restore import Restorer
from services.runtime.source import Source
from services.runtime.tasks import Task, Tasks, TaskState
from services.runtime.writer import Writer

_LIMITS_TIMEOUT_S = 2.0
_PAST_END_PATIENCE_S = 30.0
"""A position past the end may be a new partition leader that has not caught up yet; after this long it is not."""


class Keeper:
    """Writes checkpoints when they are due. The default keeps none."""

    def due(self, task: Task) -> bool:
        """Whether a periodic checkpoint of this task is due."""
        del task
        return False

    def keep(self, task: Task, budget_s: float) -> None:
        """Write a checkpoint of a running task, all of whose steps are committed, in at most this time."""
        del task, budget_s


@dataclass(slots=True)
class Reading:
    """Who reads and writes for the tasks."""

    source: Source
    restorer: Restorer
    writer: Writer
    keeper: Keeper


class Lifecycle:
    """Brings the tasks of one loop forward, and is told of rebalances (a `membership.Listener`)."""

    def __init__(
        self,
        processor: Processor,
        reading: Reading,
        watch: Watch,
        metrics: Metrics,
        log: Log,
        revoke_budget_s: float,
        check_stop: Callable[[], None],
    ) -> None:
        """`check_stop` raises when a clean stop may wait no longer; `member` is set before the first call."""
        self.member: Membership
        self.processor = processor
        self.tasks = Tasks((processor.inputs.leading, *processor.inputs.followers))
        self.metrics = metrics
        self.watch = watch
        self.log = log
        self._source = reading.source
        self._restorer = reading.restorer
        self._writer = reading.writer
        self._keeper = reading.keeper
        self._revoke_budget_s = revoke_budget_s
        self._check_stop = check_stop
        self._resume: dict[int, int | None] = {}
        self._past_end: dict[int, float] = {}
        self._throttle = Throttle()

    def begin(self, epoch: int) -> None:
        """A new incarnation with empty state: the one path after a start and after every aborted transaction."""
        self._source.unassign([(topic, task.partition) for task in self.tasks for topic in self.tasks.inputs])
        self._resume.clear()
        self._past_end.clear()
        self.tasks.reset()
        self.processor.start(epoch)
        while True:
            try:
                return self._restorer.begin()
            except KafkaException as failure:
                self._wait("reading tables", failure)

    def advance(self) -> None:
        """Open what is assigned, run what is restored, put right what retention has overtaken."""
        fresh = self.tasks.having(TaskState.ASSIGNED)
        if fresh:
            self._open(fresh)
        if self._restorer.tables_read:
            for task in self.tasks.having(TaskState.RESTORING):
                if self._restorer.finished(task):
                    self._run(task)
        if self._source.outside:
            self._reposition()

    def keep_one(self) -> None:
        """Write one checkpoint that is due, if any."""
        for task in self.tasks.having(TaskState.RUNNING):
            if self._keeper.due(task):
                return self._keeper.keep(task, self._revoke_budget_s)
        return None

    def assigned(self, partitions: list[int]) -> None:
        """New partitions: their tasks begin in the turns that follow."""
        self.metrics.add("assigns_total", len(partitions))
        self.log.info("group.assigned", partitions=partitions)
        for partition in partitions:
            self.tasks.add(partition)

    def revoked(self, partitions: list[int]) -> None:
        """Give partitions up: commit what is left, keep a checkpoint, close."""
        self.metrics.add("revokes_total", len(partitions))
        began = time.monotonic()
        self._writer.settle()
        try:
            for partition in partitions:
                task = self.tasks.get(partition)
                left_s = self._revoke_budget_s - (time.monotonic() - began)
                if task is not None and task.state is TaskState.RUNNING and left_s > 0:
                    self._keeper.keep(task, left_s)
        finally:
            for partition in partitions:
                self._close(partition)
        self.log.info("group.revoked", partitions=partitions, ms=round((time.monotonic() - began) * 1000))

    def lost(self, partitions: list[int]) -> None:
        """Partitions that somebody else owns already: nothing is committed for them."""
        self.metrics.add("lost_total", len(partitions))
        self.log.warning("group.lost", partitions=partitions)
        running = [task for task in self.tasks.having(TaskState.RUNNING) if task.partition in partitions]
        try:
            self._writer.lost({(topic, task.partition): task.next[topic] for task in running for topic in task.next})
        finally:
            for partition in partitions:
                self._close(partition)

    def _close(self, partition: int) -> None:
        task = self.tasks.get(partition)
        if task is None:
            return
        opened = task.state is not TaskState.ASSIGNED
        self._restorer.drop(partition)
        self._source.unassign([(topic, partition) for topic in self.tasks.inputs])
        self._resume.pop(partition, None)
        self._past_end.pop(partition, None)
        self.tasks.close(partition)
        if opened:
            self.processor.close(partition)

    def _open(self, fresh: list[Task]) -> None:
        found = self.member.committed([(topic, task.partition) for task in fresh for topic in task.inputs])
        if found is None:
            return
        for task in fresh:
            task.committed = {topic: found[topic, task.partition] for topic in task.inputs}
            self.processor.open(task.partition)
            task.move(TaskState.RESTORING)
            try:
                self._restorer.open(task)
            except KafkaException as failure:
                # Without the ends of its logs nothing is begun; the next turn tries again.
                task.move(TaskState.ASSIGNED)
                self.processor.close(task.partition)
                self._wait("restoring", failure)
                return

    def _run(self, task: Task) -> None:
        """State is complete: read the inputs from where it says, or from the committed positions."""
        if task.partition not in self._resume:
            self._resume[task.partition] = self.processor.restored(task.partition)
        try:
            positions = self._positions(task, self._resume[task.partition])
        except KafkaException as failure:
            return self._wait("finding positions", failure)
        if positions is None:
            return None
        task.move(TaskState.RUNNING)
        task.next.update(positions)
        self._resume.pop(task.partition)
        self._source.assign({(topic, task.partition): position for topic, position in positions.items()})
        self.watch.moved_all((topic, task.partition) for topic in positions)
        self.log.info("task.running", partition=task.partition, positions=positions)
        return None

    def _positions(self, task: Task, resume: int | None) -> dict[str, int] | None:
        positions: dict[str, int] = {}
        for topic in task.inputs:
            wanted = (task.committed or {}).get(topic, -1)
            if resume is not None and topic == self.processor.inputs.leading:
                wanted = resume
            low, high = self.member.limits((topic, task.partition), _LIMITS_TIMEOUT_S)
            if wanted > high:
                self._past(task, topic, wanted, high)
                return None
            if 0 <= wanted < low:
                self._say_lost(topic, task.partition, wanted, low)
            positions[topic] = max(wanted, low)
        self._past_end.pop(task.partition, None)
        return positions

    def _past(self, task: Task, topic: str, wanted: int, high: int) -> None:
        since = self._past_end.setdefault(task.partition, time.monotonic())
        if time.monotonic() - since > _PAST_END_PATIENCE_S:
            raise PositionError(
                f"{topic}/{task.partition}: the committed position {wanted} is past the end of the topic ({high}): the "
                "topic was made anew or lost records. Stop the service, reset the group with `streamrec broker tool "
                "kafka-consumer-groups --reset-offsets`, and delete the state topics if they describe the old topic."
            )

    def _say_lost(self, topic: str, partition: int, wanted: int, low: int) -> None:
        self.metrics.add("repositions_total", 1, (("topic", topic),))
        self.log.error(
            "input.lost_to_retention",
            topic=topic,
            partition=partition,
            position=wanted,
            log_start=low,
            records=low - wanted,
            consequence="these records were deleted before they were processed; going on at the start of the log",
        )

    def _reposition(self) -> None:
        """Retention overtook a running task: say so, and go on at the start of the log."""
        for topic, partition in list(self._source.outside):
            task = self.tasks.get(partition)
            if task is None or task.state is not TaskState.RUNNING:
                self._source.unassign([(topic, partition)])
                continue
            try:
                low, _ = self.member.limits((topic, partition), _LIMITS_TIMEOUT_S)
            except KafkaException as failure:
                return self._wait("finding the start of a log", failure)
            self._source.unassign([(topic, partition)])
            self._say_lost(topic, partition, task.next[topic], low)
            task.next[topic] = max(low, task.next[topic])
            self._source.assign({(topic, partition): task.next[topic]})
        return None

    def _wait(self, doing: str, failure: KafkaException) -> None:
        self._check_stop()
        if self._throttle.due(doing):
            self.log.warning("kafka.wait", doing=doing, error=failure.args[0].str())
