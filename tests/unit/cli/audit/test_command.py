"""How a verdict is printed."""

from __future__ import annotations

import pytest

from services.cli.audit.checks import Finding, checkers
from services.cli.audit.command import Verdict, show
from services.cli.audit.reading import Reading


def test_a_finding_is_shown_with_the_place_that_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    """Topic, partition and offset where they are known, and no offset that is none."""
    check = checkers("exactly-once", 1, 1)[0]
    found = (
        Finding("x", "note", "With an offset.", "features", 2, 17),
        Finding("x", "note", "Without.", "features", 2),
        Finding("x", "note", "Nowhere."),
    )
    show(Verdict(((check, found),), Reading(()), 1.0))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "note: With an offset. [features/2 @ 17]" in lines
    assert "note: Without. [features/2]" in lines
    assert "note: Nowhere." in lines
