"""Calls that must end: the client's own timeout is not always kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from services.runtime.errors import StuckError


class Bounded:
    """Runs calls on a thread of its own and waits only so long for each.

    `send_offsets_to_transaction` can wait for ever when the group's coordinator went away (librdkafka issues 5456 and
    5511, open in 2.16), and a call inside the client cannot be interrupted. So it is left behind, with its client.
    """

    def __init__(self, name: str) -> None:
        """`name`: of the thread."""
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._answers: SimpleQueue[BaseException | None] = SimpleQueue()
        self.stuck = False
        """A call did not return: nothing more may be asked of the client it was for."""
        # A daemon, so that a call that never returns does not hold up the end of the process.
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def run(self, call: Callable[[], object], timeout_s: float) -> None:
        """Call, and raise what it raised.

        Raises:
            StuckError: it did not return in time.
        """
        self.begin(call)
        if not self.ended(timeout_s):
            self.stuck = True
            raise StuckError(f"the Kafka client did not return from a call within {timeout_s:.0f} s")

    def begin(self, call: Callable[[], object]) -> None:
        """Begin a call; `ended` must say that it has ended before the next one."""
        self._calls.put(call)

    def ended(self, timeout_s: float) -> bool:
        """Whether the call that was begun ends within this time; raises what it raised."""
        try:
            failure = self._answers.get(timeout=timeout_s)
        except Empty:
            return False
        if failure is not None:
            raise failure
        return True

    def close(self) -> None:
        """End the thread, unless a call holds it."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call()
            except BaseException as error:  # whatever it was belongs to the caller
                self._answers.put(error)
            else:
                self._answers.put(None)
