"""Who may import whom, by reading the source."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ROOT / "services"
MODULES = sorted(SERVICES.rglob("*.py"))

ALLOWED = {
    "contracts": set[str](),
    "model": set[str](),
    "runtime": {"contracts"},
    "broker": {"runtime", "contracts"},
    "evaluation": {"model", "contracts"},
    "feature_extraction": {"contracts", "model", "runtime"},
    "model_update": {"contracts", "model", "runtime"},
    "recommendation_publishing": {"contracts", "model", "runtime"},
}
"""{package: packages of ours that it may import beside itself}; cli may import all."""

KAFKA_USERS = {"runtime", "broker", "cli"}

PURE = {"contracts", "model", "evaluation"}
"""Packages without I/O other than files they are given, without a clock and without a network."""

IMPURE_MODULES = {
    "time",
    "socket",
    "threading",
    "asyncio",
    "subprocess",
    "requests",
    "urllib",
    "http",
    "confluent_kafka",
}

PLUMBING = {"service.py", "settings.py", "__main__.py", "__init__.py"}
"""Modules of a service package that connect its core to the runtime."""


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every imported module of a file, wherever in the file the import stands: (line, dotted name)."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import hides what it imports"
            module = node.module or ""
            yield node.lineno, module
            # `from services import model` imports a package by the name behind it.
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names if module == "services")


def _package(path: Path) -> str:
    parts = path.relative_to(SERVICES).parts
    return parts[0] if len(parts) > 1 else ""


def _where(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def test_every_package_has_a_rule() -> None:
    """A new package does not slip past the rules."""
    packages = {_package(path) for path in MODULES} - {""}
    assert packages <= {*ALLOWED, "cli"}


def test_packages_import_only_what_they_may() -> None:
    """Contracts and model stand alone, runtime on contracts, a service never on another service."""
    wrong = []
    for path in MODULES:
        package = _package(path)
        if package in ("cli", ""):
            continue
        for line, name in _imports(path):
            parts = name.split(".")
            if parts[0] == "services" and len(parts) > 1 and parts[1] not in {package, *ALLOWED[package]}:
                wrong.append(f"{_where(path, line)}: {package} must not import services.{parts[1]}")
    assert not wrong, "\n".join(wrong)


def test_only_some_talk_to_kafka() -> None:
    """The Kafka client is imported by runtime, broker and cli alone."""
    wrong = [
        _where(path, line)
        for path in MODULES
        if _package(path) not in KAFKA_USERS
        for line, name in _imports(path)
        if name.split(".")[0] == "confluent_kafka"
    ]
    assert not wrong, f"confluent_kafka imported in {wrong}"


def test_pure_packages_have_no_clock_and_no_io() -> None:
    """What is deterministic by contract imports nothing that could make it not so."""
    wrong = [
        f"{_where(path, line)}: {name}"
        for path in MODULES
        if _package(path) in PURE
        for line, name in _imports(path)
        if name.split(".")[0] in IMPURE_MODULES and not (_package(path) == "evaluation" and name == "time")
    ]
    assert not wrong, "\n".join(wrong)


def test_cores_of_services_have_no_clock_and_no_io() -> None:
    """In a service package only the plumbing may touch the world; the rest is a pure core."""
    services = {"feature_extraction", "model_update", "recommendation_publishing"}
    wrong = [
        f"{_where(path, line)}: {name}"
        for path in MODULES
        if _package(path) in services and path.name not in PLUMBING
        for line, name in _imports(path)
        if name.split(".")[0] in IMPURE_MODULES
    ]
    assert not wrong, "\n".join(wrong)


def test_declared_dependencies_cover_the_imports() -> None:
    """Every third-party module that is imported at the top of a module is a declared dependency."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {re.split(r"[\[><=]", line)[0].strip().replace("-", "_") for line in project["dependencies"]}
    # numba and pydantic bring these along, at the one version that fits.
    known = declared | {"llvmlite", "pydantic_core", "services"}
    wrong = set()
    for path in MODULES:
        for node in ast.parse(path.read_text("utf-8")).body:
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            wrong |= {
                f"{_where(path, node.lineno)}: {name}"
                for name in names
                if name.split(".")[0] not in known | sys.stdlib_module_names
            }
    assert not wrong, "\n".join(sorted(wrong))


@pytest.mark.parametrize("text", ["import confluent_kafka", "def f():\n    from confluent_kafka import Consumer"])
def test_imports_are_found_wherever_they_stand(tmp_path: Path, text: str) -> None:
    """An import inside a function counts too."""
    path = tmp_path / "m.py"
    path.write_text(text)
    assert [name for _, name in _imports(path)] == ["confluent_kafka"]
