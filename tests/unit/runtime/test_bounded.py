"""Bounded calls: answers and errors come through, and what never returns is left behind."""

from __future__ import annotations

import threading

import pytest

from services.runtime.bounded import Bounded
from services.runtime.errors import StuckError


def test_answers_and_errors_come_through() -> None:
    """A call is made on the other thread, and its exception raised here."""
    bounded = Bounded("test")
    threads: list[str] = []
    bounded.run(lambda: threads.append(threading.current_thread().name), 10)
    with pytest.raises(ZeroDivisionError):
        bounded.run(lambda: 1 / 0, 10)
    bounded.run(lambda: threads.append("again"), 10)
    bounded.close()
    assert threads == ["test", "again"]
    assert not bounded.stuck


def test_a_call_that_does_not_return_is_left_behind() -> None:
    """The caller goes on with an error after its time."""
    bounded = Bounded("test")
    release = threading.Event()
    with pytest.raises(StuckError):
        bounded.run(lambda: release.wait(30), 0.01)
    assert bounded.stuck
    release.set()
    bounded.close()
