"""Task states: only the legal transitions, and invariants that notice a wrong one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.tasks import LEGAL, IllegalTransitionError, Task, Tasks, TaskState


def test_every_state_is_in_the_table() -> None:
    """The table says for each state where it may go."""
    assert set(LEGAL) == set(TaskState)


@pytest.mark.parametrize("start", list(TaskState))
@pytest.mark.parametrize("to", list(TaskState))
def test_only_legal_transitions(start: TaskState, to: TaskState) -> None:
    """A task moves along the edges of the table and refuses every other."""
    task = Task(0, ("in",), state=start)
    if to in LEGAL[start]:
        task.move(to)
        assert task.state is to
    else:
        with pytest.raises(IllegalTransitionError):
            task.move(to)


@given(st.lists(st.tuples(st.sampled_from(["add", "open", "run", "reset", "close"]), st.integers(0, 3)), max_size=40))
def test_invariants_hold_whatever_the_group_does(events: list[tuple[str, int]]) -> None:
    """Any order of assignments, restores, aborts and revocations keeps the tasks consistent."""
    tasks = Tasks(("in", "side"))
    for what, partition in events:
        task = tasks.get(partition)
        if what == "add":
            tasks.add(partition)
        elif what == "close":
            tasks.close(partition)
        elif what == "reset":
            tasks.reset()
        elif task is not None and what == "open" and task.state is TaskState.ASSIGNED:
            task.move(TaskState.RESTORING)
            task.pending.add("state")
        elif task is not None and what == "run" and task.state is TaskState.RESTORING:
            task.move(TaskState.RUNNING)
            task.next.update({"in": 0, "side": 5})
        tasks.validate()
    assert tasks.all_running() == (len(tasks.having(TaskState.RUNNING)) == len(tasks))


@pytest.mark.parametrize(
    "broken",
    [
        Task(1, ("in",), state=TaskState.RUNNING),
        Task(1, ("in",), state=TaskState.RUNNING, next={"other": 1}),
        Task(1, ("in",), state=TaskState.RUNNING, next={"in": -1}),
        Task(1, ("in",), state=TaskState.ASSIGNED, pending={"state"}),
        Task(1, ("in",), state=TaskState.CLOSED),
        Task(2, ("in",)),
    ],
)
def test_a_broken_invariant_is_noticed(broken: Task) -> None:
    """Positions without a running task, a task under a wrong partition and the like raise."""
    tasks = Tasks(("in",))
    tasks._tasks[1] = broken
    with pytest.raises(AssertionError):
        tasks.validate()


def test_assigned_again_keeps_the_task() -> None:
    """A cooperative rebalance that names a partition again does not begin it anew."""
    tasks = Tasks(("in",))
    task = tasks.add(3)
    assert tasks.add(3) is task
