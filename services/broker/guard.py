"""Ends the broker when the process that started it dies: run beside Java, as a script.

`python guard.py PID` reads its standard input, a pipe whose other end only the starter holds. A line
means a clean stop, and the guard leaves. The end of the file without one means that the starter is
gone, however it went: the guard then stops the broker. Works wherever there are pipes, does not depend on
the thread that started Java, and gives Kafka a clean shutdown, which a parent-death signal would too,
but on Linux only.
"""

from __future__ import annotations

import os
import signal
import sys
import time

_GRACE_S = 20.0


def main(pid: int) -> None:
    """Wait for the starter's word or its death; in the latter case stop process `pid`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read(1):
        return
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
    main(int(sys.argv[1]))
