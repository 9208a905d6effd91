"""The rules of CONTRIBUTING.md that no linter has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted([*(ROOT / "services").rglob("*.py"), *(ROOT / "tests").rglob("*.py")])
TESTS = [path for path in MODULES if path.name.startswith("test_")]

MAX_LINES = 400

BLIND = {"Exception", "BaseException"}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_modules_are_short() -> None:
    """A module of the product holds one idea, in at most 400 lines."""
    lengths = {_name(path): len(path.read_text("utf-8").splitlines()) for path in MODULES if path not in TESTS}
    assert not {name: lines for name, lines in lengths.items() if lines > MAX_LINES}


def _is_blind(handler: ast.ExceptHandler) -> bool:
    kind = handler.type
    names = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return kind is None or any(isinstance(name, ast.Name) and name.id in BLIND for name in names)


def _reraises(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_blind_except_gives_its_reason() -> None:
    """Whoever catches everything and keeps it says on the line why nothing narrower will do."""
    wrong = []
    for path in MODULES:
        text = path.read_text("utf-8")
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ExceptHandler) and _is_blind(node) and not _reraises(node):
                comment = lines[node.lineno - 1].partition("#")[2]
                if not comment.replace("noqa", "").strip():
                    wrong.append(f"{_name(path)}:{node.lineno}")
    assert not wrong, f"except Exception without a reason on the line: {wrong}"


def test_every_test_states_a_behaviour() -> None:
    """Each test has a docstring whose first line is one sentence."""
    wrong = []
    for path in TESTS:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                doc = ast.get_docstring(node) or ""
                if not doc.rstrip().endswith("."):
                    wrong.append(f"{_name(path)}:{node.lineno} {node.name}")
    assert not wrong, f"tests without a sentence: {wrong}"


def test_no_class_takes_many_arguments() -> None:
    """A constructor has at most eight arguments beside self."""
    wrong = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                arguments = len(node.args.args) + len(node.args.kwonlyargs) - 1
                if arguments > 8:
                    wrong.append(f"{_name(path)}:{node.lineno}: {arguments}")
    assert not wrong, wrong


@pytest.mark.parametrize("word", ["TO" + "DO", "FIX" + "ME", "XX" + "X"])
def test_nothing_is_left_to_do(word: str) -> None:
    """What is not done is not promised in a comment."""
    wrong = [_name(path) for path in MODULES if re.search(rf"#.*\b{word}\b", path.read_text("utf-8"))]
    assert not wrong


def test_tests_mirror_the_services() -> None:
    """Unit tests stand in a folder of the package that they test."""
    packages = {path.name for path in (ROOT / "services").iterdir() if path.is_dir() and path.name != "__pycache__"}
    folders = {
        path.name for path in (ROOT / "tests" / "unit").iterdir() if path.is_dir() and path.name != "__pycache__"
    }
    assert folders <= packages
