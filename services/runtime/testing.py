"""A broker-free test driver: runs a processor as the loop does, on logs in memory, with a clock that the test sets.

    kafka = Logs({"features": 2, "item-deltas": 2})
    driver = Driver(processor, kafka)
    driver.open(0, 1)
    kafka.append("features", b"ann", value)
    result = driver.step()

Several drivers may share one `Logs`, so that the output of one is the input of the next.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from confluent_kafka import Message

from services.contracts.keys import partition_of
from services.runtime.deadletters import DeadLetters
from services.runtime.decoding import Bad, decode
from services.runtime.metrics import GaugeName, Labels
from services.runtime.processor import Batch, Headers, Output, Outputs, Processor
from services.runtime.stepping import Turn
from services.runtime.tasks import Position, Task, Tasks, TaskState

_NO_LIMIT = 0
_MOST_ROUNDS = 10_000


class Logs:
    """Topics in memory: what is appended gets the next offset of its partition."""

    def __init__(self, partitions: dict[str, int] | int = 1, *, gaps: bool = True) -> None:
        """Make the logs.

        Args:
            partitions: partition count by logical topic, or one count for all.
            gaps: leave a hole after each transaction, where Kafka has its control record.
        """
        self._partitions = partitions
        self._gaps = gaps
        self._logs: dict[Position, list[Message]] = {}
        self._ends: dict[Position, int] = {}
        self.committed: dict[str, dict[Position, int]] = {}
        """Committed positions by processor name."""

    def partitions(self, topic: str) -> int:
        """Partition count of a topic."""
        return self._partitions if isinstance(self._partitions, int) else self._partitions.get(topic, 1)

    def append(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers = (),
        timestamp_ms: int = 0,
    ) -> int:
        """Append one record as an outside producer would; returns its offset."""
        if partition is None:
            partition = partition_of(key or b"", self.partitions(topic))
        place = topic, partition
        offset = self._ends.get(place, 0)
        self._logs.setdefault(place, []).append(
            Message(
                topic=topic, partition=partition, offset=offset, key=key, value=value,
                headers=list(headers), timestamp=(2, timestamp_ms),
            )
        )  # fmt: skip
        self._ends[place] = offset + 1
        return offset

    def write(self, outputs: Iterable[Output], timestamp_ms: int = 0) -> None:
        """Append the outputs of one transaction."""
        touched = set()
        for topic, key, value, partition, headers in outputs:
            place = partition_of(key or b"", self.partitions(topic)) if partition is None else partition
            self.append(topic, key, value, place, headers, timestamp_ms)
            touched.add((topic, place))
        if self._gaps:
            for position in touched:
                self._ends[position] += 1

    def read(self, place: Position, start: int = 0, limit: int | None = None) -> list[Message]:
        """Records of a partition from an offset on."""
        log = self._logs.get(place, [])
        first = bisect_left(log, start, key=lambda message: int(message.offset() or 0))
        return log[first:] if limit is None else log[first : first + limit]

    def records(self, topic: str) -> list[Output]:
        """All records of a topic, by partition and offset."""
        return [
            Output(topic, message.key(), message.value(), partition, tuple(message.headers() or ()))  # type: ignore[arg-type]
            for partition in range(self.partitions(topic))
            for message in self.read((topic, partition))
        ]

    def end(self, place: Position) -> int:
        """Next offset of a partition."""
        return self._ends.get(place, 0)

    def compact(self, topic: str) -> None:
        """Keep the last record of each key only, as compaction does; offsets stay."""
        for place, log in self._logs.items():
            if place[0] == topic:
                last = {message.key(): message.offset() for message in log}
                self._logs[place] = [message for message in log if last[message.key()] == message.offset()]


@dataclass(slots=True)
class Result:
    """What one step did."""

    batch: Batch
    outputs: list[Output] = field(default_factory=list)
    dead: list[Bad] = field(default_factory=list)
    positions: dict[Position, int] = field(default_factory=dict)
    """Positions committed by this step."""
    observations: dict[str, list[float]] = field(default_factory=dict)
    gauges: dict[tuple[GaugeName, Labels], float] = field(default_factory=dict)

    def to(self, topic: str) -> list[Output]:
        """The outputs for one topic, in order."""
        return [output for output in self.outputs if output.topic == topic]


class Driver:
    """Runs one processor on `Logs`: opens, restores, steps, commits, crashes and comes back."""

    def __init__(self, processor: Processor, logs: Logs, now_ms: int = 1_000_000, epoch: int = 1) -> None:
        """Start the first incarnation; tables are read at once."""
        self.processor = processor
        self.logs = logs
        self.now_ms = now_ms
        """The clock that steps see; set it as you like."""
        self.epoch = epoch
        inputs = processor.inputs
        self.tasks = Tasks((inputs.leading, *inputs.followers))
        self._tables: dict[Position, int] = {}
        self._dead_letters = DeadLetters(processor.name, "", _NO_LIMIT)
        self._start()

    @property
    def committed(self) -> dict[Position, int]:
        """Committed positions of this processor's group."""
        return self.logs.committed.setdefault(self.processor.name, {})

    def open(self, *partitions: int) -> None:
        """Own partitions: restore their state from the logs and resume as the runtime does."""
        for partition in partitions:
            task = self.tasks.add(partition)
            self.processor.open(partition)
            task.move(TaskState.RESTORING)
            for topic in self.processor.inputs.state:
                self._load((topic, partition), 0)
            self._run(task, self.processor.restored(partition))
        self.tasks.validate()

    def close(self, *partitions: int) -> None:
        """Give partitions up, as a rebalance does."""
        for partition in partitions:
            self.tasks.close(partition)
            self.processor.close(partition)

    def crash(self, processor: Processor | None = None) -> None:
        """Lose everything in memory and come back from the logs, with a new epoch and the same partitions.

        With another `processor` (a new object of the same kind) it is a restart of the process; without, the path
        after an aborted transaction.
        """
        self.processor = processor or self.processor
        self.epoch += 1
        mine = [task.partition for task in self.tasks]
        self.tasks = Tasks(self.tasks.inputs)
        self._start()
        self.open(*mine)

    def step(self, limit: int | None = None, *, commit: bool = True) -> Result:
        """Load new table records, step over what is new (at most `limit` records per partition), write, commit.

        With `commit=False` nothing is written: a crash between the step and its commit; call `crash` after it.
        """
        for place, start in self._tables.items():
            self._tables[place] = self._load(place, start)
        turn = Turn(Batch(self.now_ms))
        left = self.processor.appetite(self.now_ms)
        for topic in sorted(self.tasks.inputs):
            for task in self.tasks:
                most = min((most for most in (limit, left) if most is not None), default=None)
                found = self.logs.read((topic, task.partition), task.next[topic], most)
                left = None if left is None else left - len(found)
                if found:
                    decoder = self.processor.decoders[topic]
                    turn.take((topic, task.partition), task.next[topic], found, decoder)
        out = Outputs()
        self.processor.step(turn.batch, out)
        turn.refuse(out)
        result = Result(turn.batch, out.records, turn.bad, turn.positions(out))
        for name, value in out.observations:
            values = list(value) if isinstance(value, Sequence) or hasattr(value, "__len__") else [float(value)]  # type: ignore[arg-type]
            result.observations.setdefault(name, []).extend(map(float, values))
        result.gauges.update({(gauge, labels): level for gauge, level, labels in out.gauges})
        if commit:
            self._commit(result)
        return result

    def drain(self, limit: int | None = None) -> list[Result]:
        """Step until no input is left, and once more for every timer that is due."""
        results: list[Result] = []
        for _ in range(_MOST_ROUNDS):
            due = self.processor.wake_at()
            if not self.waiting() and (due is None or due > self.now_ms):
                return results
            results.append(self.step(limit))
        raise AssertionError(f"{self.processor.name} is not done after {_MOST_ROUNDS} steps: does its timer move on?")

    def waiting(self) -> int:
        """Records of the inputs that no step has seen."""
        return sum(
            len(self.logs.read((topic, task.partition), task.next[topic]))
            for task in self.tasks
            for topic in task.inputs
        )

    def checkpoint(self, partition: int) -> list[Output] | None:
        """What a local checkpoint of the partition would hold now."""
        records = self.processor.dump(partition)
        return None if records is None else [Output(topic, key, value, partition) for topic, key, value in records]

    def _start(self) -> None:
        self.processor.start(self.epoch)
        self._tables = {
            (topic, partition): 0
            for topic in self.processor.inputs.tables
            for partition in range(self.logs.partitions(topic))
        }
        for place in self._tables:
            self._tables[place] = self._load(place, 0)

    def _load(self, place: Position, start: int) -> int:
        found = self.logs.read(place, start)
        if not found:
            return start
        slice_, _ = decode(*place, start, found, self.processor.decoders[place[0]])
        self.processor.load(slice_)
        return slice_.end

    def _run(self, task: Task, resume: int | None) -> None:
        task.move(TaskState.RUNNING)
        for topic in task.inputs:
            task.next[topic] = self.committed.get((topic, task.partition), 0)
        if resume is not None:
            task.next[task.inputs[0]] = resume

    def _commit(self, result: Result) -> None:
        letters = self._dead_letters.letters(result.dead, self.now_ms)
        self.logs.write([*result.outputs, *letters], self.now_ms)
        self.committed.update(result.positions)
        for slice_ in result.batch.slices:
            task = self.tasks.get(slice_.partition)
            if task is not None:
                task.next[slice_.topic] = slice_.end
