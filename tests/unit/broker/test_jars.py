from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from services.broker import jars
from services.broker.errors import JarsError
from services.broker.version import KAFKA_VERSION, SCALA_VERSION

WEB = "services.broker.jars.maven"


class FakeMaven:
    """A repository whose only answer is a file with given content, or an error."""

    def __init__(self, folder: Path, content: bytes, error: Exception | None = None) -> None:
        self.folder, self.content, self.error = folder, content, error
        self.asked: list[str] = []

    def create_dependency(self, coordinate: str) -> Any:
        """What jgo's context does: an object whose artifact resolves to a path."""
        self.asked.append(coordinate)
        outer = self

        class Artifact:
            def resolve(self) -> Path:
                if outer.error:
                    raise outer.error
                path = outer.folder / coordinate.replace(":", "-")
                path.write_bytes(outer.content)
                return path

        class Dependency:
            artifact = Artifact()

        return Dependency()


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A list of two jars and an empty cache; returns the cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    digest = hashlib.sha256(b"jar").hexdigest()
    both = [jars.LockedJar("g:one:1", digest), jars.LockedJar("g:two:2", digest)]
    monkeypatch.setattr(jars, "locked_jars", lambda: both)
    return jars.cache_folder()


def _serve(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, error: Exception | None = None
) -> FakeMaven:
    fake = FakeMaven(tmp_path, content, error)
    monkeypatch.setattr(jars, "maven", lambda _: fake)
    return fake


def test_list_is_of_the_pinned_version() -> None:
    """Every Kafka artifact of jars.lock has the pinned version, and broker and tools are among them."""
    coordinates = [jar.coordinate.split(":") for jar in jars.locked_jars()]
    kafka = {artifact: version for group, artifact, version in coordinates if group == "org.apache.kafka"}
    assert {f"kafka_{SCALA_VERSION}", "kafka-tools", "kafka-clients"} <= set(kafka)
    assert set(kafka.values()) == {KAFKA_VERSION}


def test_list_has_checksums_and_a_log_binding() -> None:
    """Each jar has a SHA-256, file names are unique, and Kafka's log goes through log4j."""
    listed = jars.locked_jars()
    assert all(re.fullmatch("[0-9a-f]{64}", jar.sha256) for jar in listed)
    assert len({jar.filename for jar in listed}) == len(listed)
    assert any(":log4j-slf4j-impl:" in jar.coordinate for jar in listed)


def test_jars_are_fetched_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, listed: Path) -> None:
    """The first call fetches and says so; the second works from the cache and asks nobody."""
    fake = _serve(monkeypatch, tmp_path, b"jar")
    said: list[str] = []
    first = jars.classpath(said.append)
    assert len(fake.asked) == 2
    assert len(said) == 1
    assert jars.classpath(said.append) == first
    assert len(fake.asked) == 2
    assert sorted(path.name for path in listed.iterdir()) == ["one-1.jar", "two-2.jar"]


def test_only_missing_jars_are_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, listed: Path) -> None:
    """A cache that an interrupted download left half full is completed."""
    listed.mkdir(parents=True)
    (listed / "one-1.jar").write_bytes(b"jar")
    fake = _serve(monkeypatch, tmp_path, b"jar")
    jars.classpath()
    assert fake.asked == ["g:two:2"]


def test_damaged_jar_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, listed: Path) -> None:
    """A download with another checksum is an error and does not enter the cache."""
    _serve(monkeypatch, tmp_path, b"something else")
    with pytest.raises(JarsError, match="checksum"):
        jars.classpath()
    assert list(listed.iterdir()) == []


def test_no_network_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, listed: Path) -> None:
    """Without a network the error says that only the first start needs one."""
    _serve(monkeypatch, tmp_path, b"", ConnectionError("name not known"))
    with pytest.raises(JarsError, match="first start needs the network"):
        jars.classpath()


def test_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache folder that cannot be made is named, with the variable that moves it."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(JarsError, match="XDG_CACHE_HOME"):
        jars.classpath()
