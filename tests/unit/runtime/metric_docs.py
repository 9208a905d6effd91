"""`python -m tests.unit.runtime.metric_docs` writes the table of metrics in docs/operations.md anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from services.runtime.metrics import DOCS, CounterName, GaugeName, ObservationName

PAGE = Path(__file__).resolve().parents[3] / "docs" / "operations.md"
BEGIN, END = "<!-- made by tests.unit.runtime.metric_docs: metrics -->", "<!-- end -->"


def lines() -> Iterator[str]:
    """The table of metrics."""
    yield "| metric | kind | meaning |"
    yield "|---|---|---|"
    for kind, names in (("counter", CounterName), ("gauge", GaugeName), ("histogram", ObservationName)):
        for name in get_args(names):
            yield f"| `{name}` | {kind} | {DOCS[name]} |"


def rendered(page: str) -> str:
    """The page with its table made anew."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return head + "\n".join([BEGIN, "", *lines(), "", END]) + tail


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text("utf-8")), "utf-8")
