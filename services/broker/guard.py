"""Ends a process when the one that started it dies: run beside it, as a script.

`python guard.py` reads its standard input, a pipe whose other end only the starter holds, and, until it has said its
process id there, the process that is guarded. A second line means a clean stop, and the guard leaves. The end of the
file without one means that the starter is gone, however it went: the guard then stops the process. Works wherever there
are pipes, does not depend on the thread that started the process, and gives it a clean shutdown, which a parent-death
signal would too, but on Linux only.

`python guard.py FD COMMAND...` says its id into the pipe FD and becomes the command: a starter that is killed at any
moment leaves no process that no guard knows.
"""

from __future__ import annotations

import os
import signal
import sys
import time

_GRACE_S = 20.0


def main(arguments: list[str]) -> None:
    """Become a guarded command, or guard one."""
    if arguments:
        pipe = int(arguments[0])
        os.write(pipe, b"%d\n" % os.getpid())
        os.close(pipe)
        os.execvp(arguments[1], arguments[1:])  # noqa: S606 - the command of the starter, as it was given
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    said = sys.stdin.buffer.readline().strip()
    if not said or sys.stdin.buffer.read(1):
        return
    pid = int(said)
    for number, wait_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, 0.0)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        end = time.monotonic() + wait_s
        while time.monotonic() < end:
            time.sleep(0.1)
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return


if __name__ == "__main__":
    main(sys.argv[1:])
