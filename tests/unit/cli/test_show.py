"""Tables and words for people."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from services.cli.show import several, table


def test_a_narrow_table_is_complete() -> None:
    """A cell that does not fit goes on in the next line; the first column and numbers stay whole."""
    made = table(["topic", "size", "carries"], [("recommendation-requests", "1,234,567", "RecommendationRequest")])
    text = StringIO()
    Console(file=text, width=48).print(made)
    assert "…" not in text.getvalue()
    assert "recommendation-requests" in text.getvalue()
    assert "1,234,567" in text.getvalue()
    assert "".join(line[36:].strip() for line in text.getvalue().splitlines()[3:]) == "RecommendationRequest"


def test_one_thing_is_not_plural() -> None:
    """Numbers and what they count agree."""
    assert [several(number, "member") for number in (0, 1, 2, 1234)] == [
        "0 members", "1 member", "2 members", "1,234 members",
    ]  # fmt: skip
