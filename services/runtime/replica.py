"""The name of this replica: stable over restarts, held by a lock file, with epochs that never go back."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import threading
from collections.abc import Callable
from io import FileIO
from pathlib import Path

from services.runtime.log import logger
from services.runtime.settings import SettingsError

_SLOTS = 1000
_MOST_DIGITS = 18
"""Epochs travel as int64; a longer number is not one that we wrote."""
_LOCK = "lock"
_READ_BYTES = 1024


class Replica:
    """A name that no other live process on this machine has, and a folder of its own."""

    def __init__(self, instance: str, folder: Path, lock: FileIO) -> None:
        """Use `take`. `lock` has no buffer, so what could not be written does not come up again when it is closed."""
        self.instance = instance
        self.folder = folder
        self._lock = lock
        self._epoch = _number(os.pread(lock.fileno(), _READ_BYTES, 0))
        # The loops of a process begin their incarnations on threads of their own, and share the name.
        self._writing = threading.Lock()

    @classmethod
    def take(cls, state_dir: Path, service: str, instance: str = "") -> Replica:
        """Take the name that is configured, or the host's name with the first free slot.

        The same process takes the same slot again after a restart, so that its transactional id stays, and a
        transaction that was left hanging is cleared at once.

        Raises:
            SettingsError: the configured name is taken on this machine, or the folder cannot be written.
        """
        base = state_dir.expanduser() / _safe(service)
        names = [instance] if instance else [f"{socket.gethostname()}-{slot}" for slot in range(_SLOTS)]
        try:
            for name in names:
                folder = base / _safe(name)
                folder.mkdir(parents=True, exist_ok=True)
                lock = FileIO(os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666), "r+")
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    lock.close()
                    continue
                return cls(name, folder, lock)
        except OSError as error:
            raise SettingsError(
                f"state_dir: cannot use {error.filename or base} ({error.strerror}). Give a folder with room that this "
                "user may write with STREAMREC_STATE_DIR or --state-dir."
            ) from None
        raise SettingsError(
            f"instance: a {service} called {' or '.join(names[:1])} runs on this machine already. "
            "Set STREAMREC_INSTANCE or --instance to another name."
        )

    def next_epoch(self, clock_ms: Callable[[], int]) -> int:
        """A number larger than any before: the clock, or one more than the last if the clock went back.

        On a full disk it cannot be noted. The next start then has the clock and what was noted before, as a replica
        without a lasting state_dir has the clock alone: enough unless the clock goes back in between.
        """
        with self._writing:
            self._epoch = max(clock_ms(), self._epoch + 1)
            digits = str(self._epoch).encode("ascii")
            try:
                # In place, where most file systems need no new room; cut off afterwards, so that nothing is lost.
                os.pwrite(self._lock.fileno(), digits, 0)
                os.ftruncate(self._lock.fileno(), len(digits))
            except OSError as error:
                logger(instance=self.instance).warning(
                    "epoch.not_noted", path=str(self.folder / _LOCK), error=error.strerror, epoch=self._epoch,
                    consequence="make room: after the next start, epochs grow only if the clock has not gone back",
                )  # fmt: skip
            return self._epoch

    def release(self) -> None:
        """Give the name up. Does nothing the second time."""
        self._lock.close()


def _number(text: bytes) -> int:
    digits = text.strip()
    return int(digits) if digits.isdigit() and len(digits) <= _MOST_DIGITS else 0


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name) or os.curdir
