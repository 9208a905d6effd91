"""The README says what is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli.app import app
from tests.unit.cli.settings_docs import PAGE, rendered

ROOT = Path(__file__).resolve().parents[3]


def test_the_configuration_table_is_that_of_the_settings() -> None:
    """Every setting stands in the README with its variable, default, unit and meaning."""
    page = PAGE.read_text("utf-8")
    assert page == rendered(page), "run: python -m tests.unit.cli.settings_docs"


def test_every_linked_file_exists() -> None:
    """A reader who follows a link of the README, or of a page in docs, finds something."""
    for page in [PAGE, *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text("utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_every_make_target_of_the_readme_exists() -> None:
    """The commands that the README starts with are there."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"\bmake ([a-z-]+)\b", PAGE.read_text("utf-8")):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def console_lines() -> list[str]:
    """Every `streamrec` command that the README and the pages in docs show."""
    found = []
    for page in [PAGE, *(ROOT / "docs").rglob("*.md")]:
        for block in re.findall(r"```console\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            found += re.findall(r"\$ streamrec ([^\n|&#]+)", block)
    # What follows `broker tool` belongs to Kafka's own tools.
    return sorted({line.strip() for line in found if not line.startswith("broker tool")})


@pytest.mark.parametrize("line", console_lines())
def test_every_command_that_is_shown_parses(line: str) -> None:
    """A command may be copied from the documentation: its options exist."""
    result = CliRunner().invoke(app, [*shlex.split(line), "--help"])
    assert result.exit_code == 0, result.output
