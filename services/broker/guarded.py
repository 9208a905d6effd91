"""Starting a process that does not outlive the one that started it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from services.broker import guard as script

_SCRIPT = [sys.executable, "-I", "-S", script.__file__]


def start(
    command: Sequence[str], pass_fds: Sequence[int] = (), **options: Any
) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
    """Start a command in a session of its own; returns it and its guard (guard.py).

    Args:
        command: its words.
        pass_fds: open files that it inherits.
        options: of Popen.
    """
    guard = subprocess.Popen(
        _SCRIPT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    if guard.stdin is None:
        raise RuntimeError("a guard without a pipe")
    pipe = guard.stdin.fileno()
    try:
        process = subprocess.Popen(
            [*_SCRIPT, str(pipe), *command],
            stdin=subprocess.DEVNULL,
            pass_fds=(pipe, *pass_fds),
            start_new_session=True,
            **options,
        )
    except BaseException:
        guard.communicate()
        raise
    return process, guard
