"""The one loop: membership, restore, collect, decode, step, write, commit; then the same again.

Everything happens on one thread. A rebalance is served between two steps only, so at that moment everything that was
processed is committed, and nothing that was read ahead counts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from services.runtime.deadletters import DeadLetters
from services.runtime.errors import AbortedError, StopBudgetError
from services.runtime.health import Summary, Watch
from services.runtime.lifecycle import Lifecycle, Reading
from services.runtime.log import Throttle
from services.runtime.membership import Membership
from services.runtime.metrics import Metrics
from services.runtime.processor import Batch, Outputs, Processor, Slice
from services.runtime.settings import RuntimeSettings
from services.runtime.source import Grouped
from services.runtime.stepping import Turn
from services.runtime.tasks import TaskState
from services.runtime.trouble import Trouble

_IDLE_S = 0.1
"""Longest wait for input: how late a stop, a rebalance or a table record may be noticed when idle."""
_RESTORE_WAIT_S = 0.02
_GATHER_WRITES = 2.0
"""A batch is gathered for so many times as long as the last one took to write, within the settings: transactions then
take a third of a loop's time at most, and a broker that is busy is given fewer of them. A transaction that begins
right behind another would also be told to try again."""
_HOUSE_S = 1.0
_PROGRESS_S = 5.0


@dataclass(slots=True)
class Parts:
    """What a loop is put together from; `assembly.build` makes it."""

    member: Callable[[Loop], Membership]
    reading: Reading
    dead_letters: DeadLetters
    metrics: Metrics
    watch: Watch
    trouble: Trouble


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
        self.trouble = parts.trouble
        self.log = parts.trouble.log
        self.life = Lifecycle(
            processor,
            parts.reading,
            parts.watch,
            parts.metrics,
            self.log,
            settings.revoke_budget_ms / 1000,
            self.check_stop,
        )
        self.tasks = self.life.tasks
        self.epoch = 0
        self._next_epoch = next_epoch
        self._clock_ms = clock_ms
        self._source = parts.reading.source
        self._restorer = parts.reading.restorer
        self._writer = parts.reading.writer
        self._dead_letters = parts.dead_letters
        self._member = self.life.member = parts.member(self)
        self._stop = threading.Event()
        self._stop_by = float("inf")
        self._house_at = 0.0
        self._write_s = 0.0
        self._throttle = Throttle(_PROGRESS_S)
        self._summary = Summary(self.metrics, settings.summary_interval_s)

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
            self._member.abandon()
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
        self.life.advance()
        began = self._spent("other", began)
        self._restorer.pump(_RESTORE_WAIT_S if self._restorer.busy else 0)
        began = self._spent("load", began)
        appetite = self.processor.appetite(self._clock_ms())
        if appetite == 0:
            grouped: Grouped = {}
            # What is waited for comes with the tables.
            self._restorer.pump(_RESTORE_WAIT_S)
            self._spent("held", began)
        else:
            grouped = self._collect(appetite)
            self._spent("poll", began)
        try:
            self._step(grouped)
        except AbortedError:
            self._incarnate()
        if self.settings.validate_invariants:
            self.tasks.validate()
        self._keep_house()

    def _incarnate(self) -> None:
        self.epoch = self._next_epoch()
        self.metrics.set("epoch", self.epoch)
        self.metrics.add("incarnations_total")
        self.log.info("loop.incarnation", epoch=self.epoch)
        self.life.begin(self.epoch)

    # --- one step -----------------------------------------------------------------------------------------------

    def _collect(self, appetite: int | None) -> Grouped:
        settings = self.settings
        limit = settings.batch_max_records if appetite is None else min(appetite, settings.batch_max_records)
        if self._restorer.busy or not self.tasks.all_running():
            # Others wait for a restore: take what is there, and come back.
            wait_s = 0 if self._restorer.busy else _RESTORE_WAIT_S
            return self._source.drain(limit, wait_s)
        idle_s = _IDLE_S
        wake = self.processor.wake_at()
        if wake is not None:
            idle_s = min(idle_s, max(0.0, (wake - self._clock_ms()) / 1000))
        most_s = settings.commit_max_ms / 1000
        least_s = min(max(settings.commit_min_ms / 1000, _GATHER_WRITES * self._write_s), most_s)
        grouped = self._source.collect(limit, idle_s, least_s, most_s, self.processor.inputs.patient)
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
        self._write_s = self._spent("produce_commit", began) - began
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
        """Every replica reads the tables; the owner of task 0 reports their bad records.

        Its committed positions of the tables say up to where they are reported already: each is reported once.
        """
        if not self._restorer.bad:
            return
        found, owner = self._restorer.bad, self.tasks.get(0)
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
        for gauge, level, labels in out.gauges:
            self.metrics.set(gauge, level, labels)
        for counter, amount, labels in out.counts:
            self.metrics.add(counter, amount, labels)

    # --- housekeeping -------------------------------------------------------------------------------------------

    def _keep_house(self) -> None:
        now = time.monotonic()
        if now < self._house_at:
            return
        self._house_at = now + _HOUSE_S
        if self._restorer.busy and self._throttle.due("restore"):
            self.log.info("restore.progress", loaded=self._restorer.loaded, remaining=self._restorer.remaining())
        self.watch.look(self.tasks, self._source, self._restorer, joined=self._member.joined)
        self._summary.say(self.log, self.watch)
        began = time.perf_counter()
        self.life.keep_one()
        self._spent("checkpoint", began)

    def _spent(self, part: str, began: float) -> float:
        now = time.perf_counter()
        self.metrics.add("seconds_total", now - began, (("part", part),))
        return now


def _count(slice_: Slice) -> int:
    return len(slice_.offsets) + len(slice_.dead)
