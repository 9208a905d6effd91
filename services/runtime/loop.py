"""The one loop: membership, restore, collect, decode, step, write, commit; then the same again.

Everything happens on one thread. A rebalance is served between two steps only, so at that moment everything that was
processed is committed, and nothing that was read ahead counts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import KafkaException

from services.runtime.deadletters import DeadLetters
from services.runtime.errors import AbortedError, PositionError, StopBudgetError
from services.runtime.health import Watch
from services.runtime.log import Log, Throttle
from services.runtime.membership import Membership
from services.runtime.metrics import Metrics
from services.runtime.processor import Batch, Outputs, Processor, Slice
from services.runtime.restore import Restorer
from services.runtime.settings import RuntimeSettings
from services.runtime.source import Grouped, Source
from services.runtime.stepping import Turn
from services.runtime.tasks import Task, Tasks, TaskState
from services.runtime.writer import AtLeastOnce, Writer

_IDLE_S = 0.1
"""Longest wait for input: how late a stop, a rebalance or a table record may be noticed when idle."""
_RESTORE_WAIT_S = 0.02
_LIMITS_TIMEOUT_S = 2.0
_PAST_END_PATIENCE_S = 30.0
"""A position past the end may be a new partition leader that has not caught up yet; after this long it is not."""
_HOUSE_S = 1.0


@dataclass(slots=True)
class Parts:
    """What a loop is put together from; `service.build` makes it."""

    member: Callable[[Loop], Membership]
    source: Source
    restorer: Restorer
    writer: Writer
    dead_letters: DeadLetters
    metrics: Metrics
    watch: Watch
    keeper: Keeper
    log: Log


class Keeper:
    """Writes checkpoints when they are due. The default keeps none."""

    def due(self, task: Task) -> bool:
        """Whether a periodic checkpoint of this task is due."""
        del task
        return False

    def keep(self, task: Task) -> None:
        """Write a checkpoint of a running task; everything it has processed is committed."""
        del task


class Loop:
    """Drives one processor: a thread of its own calls `run`."""

    def __init__(
        self,
        processor: Processor,
        settings: RuntimeSettings,
        parts: Parts,
        next_epoch: Callable[[], int],
        clock_ms: Callable[[], int],
    ) -> None:
        """`next_epoch`: a number larger than any that this replica had before."""
        self.processor = processor
        self.settings = settings
        self.metrics = parts.metrics
        self.watch = parts.watch
        self.log = parts.log
        inputs = processor.inputs
        self.tasks = Tasks((inputs.leading, *inputs.followers))
        self.epoch = 0
        self._next_epoch = next_epoch
        self._clock_ms = clock_ms
        self._source = parts.source
        self._restorer = parts.restorer
        self._writer = parts.writer
        self._dead_letters = parts.dead_letters
        self._keeper = parts.keeper
        self._member = parts.member(self)
        self._stop = threading.Event()
        self._stop_by = float("inf")
        self._resume: dict[int, int | None] = {}
        self._past_end: dict[int, float] = {}
        self._throttle = Throttle()
        self._house_at = 0.0
        self._summary_at = 0.0

    # --- life -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run until `stop`, then leave cleanly; raises what ended it otherwise."""
        try:
            self._writer.begin()
            self._incarnate()
            self._member.join()
            while not self._stop.is_set():
                self.turn()
            self.log.info("loop.stopping")
            self._member.close()
            self.log.info("loop.stopped")
        finally:
            self._writer.close()
            self._source.close()
            self._restorer.close()

    def stop(self) -> None:
        """Ask the loop to finish its batch, commit, leave and return. Safe from any thread."""
        self._stop_by = time.monotonic() + self.settings.stop_budget_ms / 1000
        self._stop.set()

    def check_stop(self) -> None:
        """Called wherever the loop waits for a broker; raises `StopBudgetError` when a stop may wait no longer."""
        if time.monotonic() > self._stop_by:
            raise StopBudgetError(
                f"Kafka did not answer within the stop budget ({self.settings.stop_budget_ms} ms); what was not "
                "committed is processed again at the next start."
            )

    def turn(self) -> None:
        """One turn: rebalance, restore, one batch, one step."""
        self.watch.beat()
        began = time.perf_counter()
        self._member.poll()
        self._advance()
        began = self._spent("other", began)
        self._restorer.pump(_RESTORE_WAIT_S if self._restorer.busy else 0)
        began = self._spent("load", began)
        grouped = self._collect()
        self._spent("poll", began)
        try:
            if self._source.outside:
                self._reposition()
            self._step(grouped)
        except AbortedError:
            self.metrics.add("aborts_total")
            self._incarnate()
        self._keep_house()

    def _incarnate(self) -> None:
        """Begin anew with empty state: the one path after a start and after every aborted transaction."""
        self.epoch = self._next_epoch()
        self.metrics.set("epoch", self.epoch)
        self.log.info("loop.incarnation", epoch=self.epoch)
        self._source.unassign([(topic, task.partition) for task in self.tasks for topic in self.tasks.inputs])
        self._resume.clear()
        self.tasks.reset()
        self.processor.start(self.epoch)
        while True:
            try:
                return self._restorer.begin()
            except KafkaException as failure:
                self._wait("reading tables", failure)

    # --- rebalance (called inside the membership's poll and close) ----------------------------------------------

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
        for partition in partitions:
            task = self.tasks.get(partition)
            spent_ms = (time.monotonic() - began) * 1000
            if task is not None and task.state is TaskState.RUNNING and spent_ms < self.settings.revoke_budget_ms:
                self._keeper.keep(task)
            self._close(partition)
        self.log.info("group.revoked", partitions=partitions, ms=round((time.monotonic() - began) * 1000))

    def lost(self, partitions: list[int]) -> None:
        """Partitions that somebody else owns already: nothing is committed for them."""
        self.metrics.add("lost_total", len(partitions))
        self.log.warning("group.lost", partitions=partitions)
        if isinstance(self._writer, AtLeastOnce):
            self._writer.forget(partitions)
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

    # --- bringing tasks forward ---------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Open what is assigned, run what is restored."""
        fresh = self.tasks.having(TaskState.ASSIGNED)
        if fresh:
            self._open(fresh)
        if not self._restorer.tables_read:
            return
        for task in self.tasks.having(TaskState.RESTORING):
            if self._restorer.finished(task):
                self._run(task)

    def _open(self, fresh: list[Task]) -> None:
        found = self._member.committed([(topic, task.partition) for task in fresh for topic in task.inputs])
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
        self.log.info("task.running", partition=task.partition, positions=positions, epoch=self.epoch)
        return None

    def _positions(self, task: Task, resume: int | None) -> dict[str, int] | None:
        positions: dict[str, int] = {}
        for topic in task.inputs:
            wanted = (task.committed or {}).get(topic, -1)
            if resume is not None and topic == self.processor.inputs.leading:
                wanted = resume
            low, high = self._member.limits((topic, task.partition), _LIMITS_TIMEOUT_S)
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
            self._source.unassign([(topic, partition)])
            if task is None or task.state is not TaskState.RUNNING:
                continue
            low, _ = self._member.limits((topic, partition), _LIMITS_TIMEOUT_S)
            self._say_lost(topic, partition, task.next[topic], low)
            task.next[topic] = max(low, task.next[topic])
            self._source.assign({(topic, partition): task.next[topic]})

    # --- one step -----------------------------------------------------------------------------------------------

    def _collect(self) -> Grouped:
        settings = self.settings
        if self._restorer.busy or not self.tasks.all_running():
            # Others wait for a restore: take what is there, and come back.
            return self._source.drain(settings.batch_max_records)
        idle_s = _IDLE_S
        wake = self.processor.wake_at()
        if wake is not None:
            idle_s = min(idle_s, max(0.0, (wake - self._clock_ms()) / 1000))
        grouped = self._source.collect(
            settings.batch_max_records, idle_s, settings.commit_min_ms / 1000, settings.commit_max_ms / 1000
        )
        if grouped:
            # What other services said of the items meanwhile belongs to this batch.
            self._restorer.pump(0)
        return grouped

    def _step(self, grouped: Grouped) -> None:
        began = time.perf_counter()
        turn = self._decode(grouped)
        self._add_table_letters(turn)
        wake = self.processor.wake_at() if self._can_step() else None
        if not turn.batch.slices and not turn.bad and (wake is None or wake > turn.batch.now_ms):
            return self._writer.settle()
        began = self._spent("decode", began)
        out = Outputs()
        if turn.batch.slices or (wake is not None and wake <= turn.batch.now_ms):
            self.processor.step(turn.batch, out)
        began = self._spent("step", began)
        turn.refuse(out)
        offsets = turn.positions(out)
        records = out.records
        if turn.bad:
            records = [*records, *self._dead_letters.letters(turn.bad, turn.batch.now_ms)]
        if records or offsets:
            self._writer.write(records, offsets)
        self._account(turn, out, time.perf_counter() - began)
        self._spent("produce_commit", began)
        return None

    def _can_step(self) -> bool:
        return self._restorer.tables_read

    def _decode(self, grouped: Grouped) -> Turn:
        turn = Turn(Batch(self._clock_ms()))
        for topic, partition in sorted(grouped):
            task = self.tasks.get(partition)
            if task is not None and task.state is TaskState.RUNNING:
                decoder = self.processor.decoders[topic]
                turn.take((topic, partition), task.next[topic], grouped[topic, partition], decoder)
        return turn

    def _add_table_letters(self, turn: Turn) -> None:
        """Every replica reads the tables; the owner of task 0 reports their bad records, once."""
        if not self._restorer.bad:
            return
        found, owner = self._restorer.bad, self.tasks.get(0)
        if owner is None:
            found.clear()
        if owner is None or owner.state is not TaskState.RUNNING:
            return
        reported = self._member.committed({(item.topic, item.partition) for item in found})
        if reported is None:
            return
        turn.bad.extend(item for item in found if item.offset >= reported[item.topic, item.partition])
        found.clear()

    def _account(self, turn: Turn, out: Outputs, seconds: float) -> None:
        total = 0
        for slice_ in turn.batch.slices:
            task = self.tasks.get(slice_.partition)
            if task is not None:
                task.next[slice_.topic] = slice_.end
            total += _count(slice_)
            self.metrics.add("records_in_total", _count(slice_), (("topic", slice_.topic),))
            self.watch.moved((slice_.topic, slice_.partition))
        self.metrics.add("steps_total")
        self.metrics.add("records_out_total", len(out.records))
        self.metrics.observe("commit_seconds", seconds)
        if total:
            self.metrics.observe("batch_records", total)
        if turn.bad:
            self.metrics.add("dead_letters_total", len(turn.bad))
            self.log.warning(
                "deadletter.written", records=len(turn.bad), first=f"{turn.bad[0].topic}@{turn.bad[0].offset}",
                why=turn.bad[0].why,
            )  # fmt: skip
        for name, value in out.observations:
            self.metrics.observe(name, value)

    # --- housekeeping -------------------------------------------------------------------------------------------

    def _keep_house(self) -> None:
        now = time.monotonic()
        if now < self._house_at:
            return
        self._house_at = now + _HOUSE_S
        self.watch.look(self.tasks, self._source, self._restorer, joined=self._member.joined)
        for task in self.tasks.having(TaskState.RUNNING):
            if self._keeper.due(task):
                began = time.perf_counter()
                self._keeper.keep(task)
                self._spent("checkpoint", began)
                break

    def _wait(self, doing: str, failure: KafkaException) -> None:
        self.check_stop()
        if self._throttle.due(doing):
            self.log.warning("kafka.wait", doing=doing, error=failure.args[0].str())

    def _spent(self, part: str, began: float) -> float:
        now = time.perf_counter()
        self.metrics.add("seconds_total", now - began, (("part", part),))
        return now


def _count(slice_: Slice) -> int:
    return len(slice_.offsets) + len(slice_.dead)
