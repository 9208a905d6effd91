"""Kafka's jars: fetched once from Maven repositories by jgo, checked, and kept in the user's cache.

`jars.lock` lists every jar with its SHA-256. Resolving the dependency graph is a matter of
minutes of small downloads and of jgo's rules; a list is exact, quick, and safe to fetch in parallel.
`python -m services.broker.lock` writes it anew after a change of the pinned version.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from services.broker.errors import JarsError
from services.broker.version import KAFKA_VERSION

LOCK_NAME = "jars.lock"
_DOWNLOADS = 8
"""Parallel downloads: dozens of jars are latency-bound one by one."""

Progress = Callable[[str], None]


class LockedJar(NamedTuple):
    """One line of the jar list."""

    coordinate: str
    """group:artifact:version."""
    sha256: str

    @property
    def filename(self) -> str:
        """artifact-version.jar."""
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


def deploy_folder() -> Path:
    """The folder of the local broker's files: inside the package when installed, deploy/kafka in a checkout.

    Raises:
        BrokerError: neither exists.
    """
    here = Path(__file__).resolve()
    for candidate in (here.parent / "kafka", here.parents[2] / "deploy" / "kafka"):
        if (candidate / LOCK_NAME).is_file():
            return candidate
    raise JarsError(f"no deploy/kafka folder beside {here}: the installation of streamrec is not complete")


def locked_jars(path: Path | None = None) -> list[LockedJar]:
    """Read the jar list."""
    lines = (path or deploy_folder() / LOCK_NAME).read_text().splitlines()
    return [LockedJar(*line.split()) for line in lines if line and not line.startswith("#")]


def cache_folder() -> Path:
    """Where the jars are kept: XDG_CACHE_HOME (default ~/.cache) / streamrec / kafka-VERSION."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "streamrec" / f"kafka-{KAFKA_VERSION}"


def classpath(progress: Progress | None = None) -> str:
    """The class path of broker and tools, fetching the jars when the cache lacks any.

    Args:
        progress: told once, in a sentence, when something must be fetched.

    Raises:
        JarsError: a jar cannot be fetched or does not have the listed checksum, or the cache cannot be written.
    """
    jars = locked_jars()
    folder = cache_folder()
    missing = [jar for jar in jars if not (folder / jar.filename).is_file()]
    if missing:
        if progress is not None:
            progress(f"fetching Apache Kafka {KAFKA_VERSION} ({len(missing)} jars, 45 MB, once) into {folder}")
        _fetch_all(missing, folder)
    return os.pathsep.join(str(folder / jar.filename) for jar in jars)


def _fetch_all(jars: list[LockedJar], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".fetch-", dir=folder))
    except OSError as error:
        raise JarsError(f"cannot write the cache folder {folder}: {error.strerror}. Set XDG_CACHE_HOME.") from error
    try:
        context = maven(scratch)
        with ThreadPoolExecutor(_DOWNLOADS) as pool:
            for work in [pool.submit(_fetch, context, jar, folder) for jar in jars]:
                work.result()
    except OSError as error:  # requests' errors are OSErrors too
        raise JarsError(
            f"cannot fetch Apache Kafka {KAFKA_VERSION}: {_reason(error)}. The first start needs the network; "
            f"later ones use {folder}. A Maven mirror can be named in jgo's configuration file."
        ) from error
    except RuntimeError as error:  # jgo's word for an artifact that no repository has
        raise JarsError(f"a Maven repository lacks a jar of Apache Kafka {KAFKA_VERSION}: {error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _reason(error: OSError) -> str:
    """Who did not answer, rather than the four nested errors of the HTTP client."""
    url = getattr(getattr(error, "request", None), "url", None)
    return f"no connection to {urlsplit(url).hostname} ({type(error).__name__})" if url else str(error)


def _fetch(context: Any, jar: LockedJar, folder: Path) -> None:
    path = Path(context.create_dependency(jar.coordinate).artifact.resolve())
    found = sha256(path)
    if found != jar.sha256:
        raise JarsError(
            f"{jar.coordinate} was fetched with checksum {found}, expected {jar.sha256}: "
            "the download is damaged or the repository serves another file. Try again, or check the mirror."
        )
    # A rename is atomic: another process sees the whole jar or none.
    path.replace(folder / jar.filename)


def maven(repo_cache: Path) -> Any:
    """A jgo context: Maven Central and the repositories of the user's jgo configuration.

    Raises:
        JarsError: jgo is not installed.
    """
    try:
        from jgo.config import GlobalSettings
        from jgo.constants import MAVEN_CENTRAL_URL
        from jgo.maven import MavenContext
    except ImportError as error:
        raise JarsError(
            "jgo, which fetches Kafka's jars, is not installed: `pip install 'streamrec[broker]'`."
        ) from error
    # The user's own first: a mirror inside a company is faster, or the only one that answers.
    repositories = {**GlobalSettings.load().repositories, "central": MAVEN_CENTRAL_URL}
    return MavenContext(repo_cache=repo_cache, remote_repos=repositories, timeout=60)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
