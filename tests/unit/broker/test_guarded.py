"""Processes that do not outlive their starter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from services.broker import guarded

_WAIT_S = 60
_STARTER = """
import os, signal, sys
from services.broker import guarded
guarded.start([sys.executable, "-c", "import time; time.sleep(600)"])
os.kill(os.getpid(), signal.SIGKILL)
"""


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("GUARD_TEST") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@pytest.mark.parametrize("attempt", range(3))
def test_a_starter_that_is_killed_at_once_leaves_nothing(tmp_path: Path, attempt: int) -> None:
    """A process is guarded from its first moment on: kill -9 of the starter right behind its start ends it too."""
    mark = f"{tmp_path}-{attempt}"
    starter = subprocess.run([sys.executable, "-c", _STARTER], env={**os.environ, "GUARD_TEST": mark}, check=False)
    assert starter.returncode == -signal.SIGKILL
    end = time.monotonic() + _WAIT_S
    while left := _marked(mark):
        assert time.monotonic() < end, left
        time.sleep(0.05)


def test_a_process_that_is_stopped_frees_its_guard() -> None:
    """A clean stop ends the guard too, and the process keeps its exit code."""
    process, guard = guarded.start([sys.executable, "-c", "raise SystemExit(7)"])
    assert process.wait(_WAIT_S) == 7
    guard.communicate(b"\n", timeout=_WAIT_S)
    assert guard.returncode == 0
