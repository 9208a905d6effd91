"""Services as child processes that end with the demo, however it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.broker import guarded
from services.broker.broker import free_port
from services.cli.errors import CliError

_STOP_S = 15.0
_KILL_S = 5.0
_ASK_S = 2.0
_LOG_LINES = 5


class Child:
    """A Python process in a process group of its own, that ends when this process does."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log_file: Path) -> None:
        """Start it.

        Args:
            arguments: of the interpreter.
            environment: over that of this process.
            log_file: where its output is appended.
        """
        self.log_file = log_file
        with log_file.open("ab") as log:
            # Ctrl-C reaches the demo only, which then ends its children in order. The guard ends them when it cannot.
            self._process, self._guard = guarded.start(
                [sys.executable, *arguments], stdout=log, stderr=log, env={**os.environ, **environment}
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def ended(self) -> int | None:
        """Exit code, None while it runs."""
        return self._process.poll()

    def last_lines(self) -> str:
        """The end of its log, on one line."""
        lines = self.log_file.read_text("utf-8", errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines[-_LOG_LINES:] if line.strip()) or "it said nothing"

    def end(self) -> None:
        """Ask it to stop (SIGTERM); `finish` waits."""
        self._signal(signal.SIGTERM)

    def finish(self, seconds: float = _STOP_S) -> int | None:
        """Wait for its end, kill its process group after the time: the exit code, None when it had to be killed."""
        code: int | None = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(seconds)
        if code is None:
            self._signal(signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_KILL_S)
        with contextlib.suppress(BrokenPipeError, subprocess.TimeoutExpired, ValueError):
            self._guard.communicate(b"\n", timeout=_KILL_S)
        return code

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def compiler(folder: Path) -> Child:
    """A process that compiles the kernels into numba's cache; takes seconds when they are there."""
    return Child(["-m", "services.cli.warm"], {}, folder / "compile.log")


class Service(Child):
    """One service with a log file and a health endpoint."""

    def __init__(self, name: str, package: str, environment: Mapping[str, str], folder: Path) -> None:
        """Start it.

        Args:
            name: for messages and the log file.
            package: `python -m package` runs it.
            environment: settings, over those of this process.
            folder: where the log file goes.
        """
        self.name = name
        self.package = package
        self.port = free_port()
        listening = {"STREAMREC_HTTP_HOST": "127.0.0.1", "STREAMREC_HTTP_PORT": str(self.port)}
        super().__init__(["-m", package], {**environment, **listening}, folder / f"{name}.log")

    def ready(self) -> bool:
        """Whether it has its partitions and has read its state and tables.

        Raises:
            CliError: it has ended.
        """
        self.check()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=_ASK_S) as answer:
                return bool(json.load(answer)["ready"])
        except (urllib.error.URLError, OSError, ValueError):
            return False

    def check(self) -> None:
        """Raise CliError when the service has ended by itself."""
        code = self.ended()
        if code is not None:
            raise CliError(f"{self.name} ended with code {code}: {self.last_lines()} (see {self.log_file})")


class Fleet:
    """The services of one demo."""

    def __init__(self) -> None:
        self.services: list[Service] = []

    def start(self, name: str, package: str, environment: Mapping[str, str], folder: Path) -> None:
        """Start one more."""
        self.services.append(Service(name, package, environment, folder))

    def wait_ready(self, seconds: float) -> None:
        """Wait until all are ready.

        Raises:
            CliError: one ended, or the time is over.
        """
        end = time.monotonic() + seconds
        while not all(each.ready() for each in self.services):
            self.check()
            if time.monotonic() > end:
                late = [each for each in self.services if not each.ready()] or self.services
                where = f"{late[0].last_lines()} (see {late[0].log_file})"
                raise CliError(f"{late[0].name} is not ready after {seconds:.0f} s: {where}")
            time.sleep(0.1)

    def check(self) -> None:
        """Raise CliError when one has ended by itself."""
        for each in self.services:
            each.check()

    def stop(self) -> dict[str, int | None]:
        """End all, downstream last: {name: exit code, None for one that had to be killed}."""
        for each in self.services:
            each.end()
        over = time.monotonic() + _STOP_S
        codes = {each.name: each.finish(max(0.1, over - time.monotonic())) for each in self.services}
        self.services.clear()
        return codes
