"""Tasks: one per partition of the leading topic, each in one state, with a table of legal transitions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum


class TaskState(Enum):
    """Where a task stands between being assigned and being given up."""

    ASSIGNED = "assigned"
    """The group gave us the partition. The processor knows nothing of it yet."""
    RESTORING = "restoring"
    """Opened in the processor; its state is being read. No record of its inputs is read."""
    RUNNING = "running"
    """Its inputs are read and stepped."""
    CLOSED = "closed"
    """Given up: revoked, lost, or the service stops. Never leaves this state."""


LEGAL: dict[TaskState, frozenset[TaskState]] = {
    TaskState.ASSIGNED: frozenset({TaskState.RESTORING, TaskState.CLOSED}),
    TaskState.RESTORING: frozenset({TaskState.RUNNING, TaskState.ASSIGNED, TaskState.CLOSED}),
    TaskState.RUNNING: frozenset({TaskState.ASSIGNED, TaskState.CLOSED}),
    TaskState.CLOSED: frozenset(),
}
"""Back to ASSIGNED: a transaction was aborted, and everything is read anew."""


class IllegalTransitionError(RuntimeError):
    """A task was moved along an edge that the table does not have: a bug of the runtime."""


Position = tuple[str, int]
"""(logical topic, partition)."""


@dataclass(slots=True)
class Task:
    """One partition of the leading topic and the same partition of the followers."""

    partition: int
    inputs: tuple[str, ...]
    """Leading topic first, then the followers (logical names)."""
    state: TaskState = TaskState.ASSIGNED
    committed: dict[str, int] | None = None
    """Committed positions by topic (-1: none), once the group has told them."""
    pending: set[str] = field(default_factory=set)
    """State topics that are not read to their end yet. Filled only while RESTORING."""
    next: dict[str, int] = field(default_factory=dict)
    """Position of each input: the next offset to hand to a step. Filled only while RUNNING."""

    def move(self, to: TaskState) -> None:
        """Change state.

        Raises:
            IllegalTransitionError: the table has no such edge.
        """
        if to not in LEGAL[self.state]:
            raise IllegalTransitionError(f"task {self.partition}: {self.state.value} -> {to.value}")
        self.state = to
        if to is not TaskState.RUNNING:
            self.next.clear()
        if to is not TaskState.RESTORING:
            self.pending.clear()
        if to is TaskState.ASSIGNED:
            self.committed = None


class Tasks:
    """The tasks this replica has now, by partition."""

    def __init__(self, inputs: tuple[str, ...]) -> None:
        """`inputs`: leading topic first, then the followers."""
        self.inputs = inputs
        self._tasks: dict[int, Task] = {}

    def __iter__(self) -> Iterator[Task]:
        """The tasks in partition order."""
        return iter([self._tasks[partition] for partition in sorted(self._tasks)])

    def __len__(self) -> int:
        """Number of tasks."""
        return len(self._tasks)

    def get(self, partition: int) -> Task | None:
        """The task of a partition, or None."""
        return self._tasks.get(partition)

    def add(self, partition: int) -> Task:
        """A new task, ASSIGNED. A partition that is assigned again keeps its task."""
        task = self._tasks.get(partition)
        if task is None:
            task = self._tasks[partition] = Task(partition, self.inputs)
        return task

    def close(self, partition: int) -> Task | None:
        """Close and forget a task; None when there is none."""
        task = self._tasks.pop(partition, None)
        if task is not None:
            task.move(TaskState.CLOSED)
        return task

    def reset(self) -> None:
        """Everything is read anew: every task goes back to ASSIGNED."""
        for task in self:
            if task.state is not TaskState.ASSIGNED:
                task.move(TaskState.ASSIGNED)

    def having(self, state: TaskState) -> list[Task]:
        """The tasks in a state, in partition order."""
        return [task for task in self if task.state is state]

    def all_running(self) -> bool:
        """Whether every task is RUNNING (also when there is none)."""
        return all(task.state is TaskState.RUNNING for task in self._tasks.values())

    def validate(self) -> None:
        """Check the invariants; cheap, and on in tests.

        Raises:
            AssertionError: an invariant does not hold.
        """
        for partition, task in self._tasks.items():
            _require(task.partition == partition, "a task is filed under its partition", task)
            _require(task.state is not TaskState.CLOSED, "a closed task is forgotten", task)
            _require(
                (task.state is TaskState.RUNNING) == bool(task.next), "positions exist exactly while running", task
            )
            _require(not task.pending or task.state is TaskState.RESTORING, "only a restoring task waits", task)
            if task.next:
                _require(set(task.next) == set(self.inputs), "every input has a position", task)
                _require(min(task.next.values()) >= 0, "positions are offsets", task)


def _require(holds: bool, invariant: str, task: Task) -> None:
    if not holds:
        raise AssertionError(f"{invariant}: {task}")
