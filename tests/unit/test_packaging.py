"""The wheel holds everything that an installation needs, and the repository what a contributor needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WHAT = ("services", "schemas", "deploy", "pyproject.toml", "setup.py", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built in a copy so that the checkout stays clean."""
    pytest.importorskip("setuptools", minversion="77", reason="building needs setuptools 77")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in WHAT:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    # No isolation and no dependencies: nothing is fetched.
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(source),
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return next(folder.glob("*.whl"))


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel_has_every_module(wheel: Path) -> None:
    """Every module of the checkout is in the wheel, and no test."""
    names = _names(wheel)
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "services").rglob("*.py")}
    assert modules <= names
    assert "services/py.typed" in names
    assert not any(name.startswith(("tests/", "schemas/", "deploy/")) for name in names)


def test_wheel_has_schemas_and_broker_files(wheel: Path) -> None:
    """Folders that stand at the top of the checkout are inside the package."""
    names = _names(wheel)
    for folder, inside, patterns in (
        ("schemas", "services/contracts/schemas", ("*.avsc", "released/*.json", "released/*/*.avsc")),
        ("deploy/kafka", "services/broker/kafka", ("*.properties", "*.lock")),
    ):
        files = [path for pattern in patterns for path in (ROOT / folder).glob(pattern)]
        assert files
        assert {f"{inside}/{path.relative_to(ROOT / folder)}" for path in files} <= names


def test_installed_schemas_are_found(wheel: Path, tmp_path: Path) -> None:
    """Out of the wheel and away from the checkout, the codecs find their schemas."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import sys; sys.path.insert(0, 'site')\n"
        "from services.contracts.edge import EdgeCodec, Item, schemas\n"
        "print(schemas.folder(), EdgeCodec(Item).decode(b'{\"item_id\": \"i\"}')['item_id'])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == f"{tmp_path / 'site' / 'services' / 'contracts' / 'schemas'} i"


def test_ruff_ignores_give_their_reason() -> None:
    """Every rule that is switched off says why."""
    text = (ROOT / "pyproject.toml").read_text()
    block = text[text.index("\nignore = [") : text.index("[tool.ruff.lint.per-file-ignores]")]
    for line in block.splitlines()[2:]:
        if line.strip().startswith('"'):
            assert re.search(r"#\s+\w{2,}", line), line


def test_make_help_lists_every_target() -> None:
    """Each target that a person may call has a line of help."""
    text = (ROOT / "Makefile").read_text()
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split())  # type: ignore[index]
    helped = set(re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE))
    assert phony == helped
