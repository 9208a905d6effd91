"""Printing results: for people as tables, for programs as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer
from rich import box
from rich.console import Console
from rich.table import Table

out = Console(highlight=False, soft_wrap=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")]


def print_json(value: Any) -> None:
    """One line of JSON on stdout."""
    typer.echo(to_json(value))


def to_json(value: Any) -> str:
    """JSON text; a number that JSON does not have (NaN, infinity) becomes null."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, list | tuple) else value


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None, right: str = "") -> Table:
    """A plain table; the columns named in `right` (comma-separated) are numbers. The first holds names, kept whole."""
    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False, collapse_padding=True)
    numbers = set(right.split(",")) - {""}
    for place, column in enumerate(columns):
        whole = place == 0 or column in numbers
        # What a narrow terminal has no room for goes on in the next line, and is never cut off.
        side: Literal["right", "left"] = "right" if column in numbers else "left"
        made.add_column(column, justify=side, no_wrap=whole, overflow="ellipsis" if whole else "fold")
    for row in rows:
        made.add_row(*("" if cell is None else str(cell) for cell in row))
    return made


def pairs(rows: Iterable[tuple[str, str]]) -> Table:
    """Names and values, without a head."""
    made = Table.grid(padding=(0, 2))
    for name, value in rows:
        made.add_row(f"  {name}", value)
    return made


def count(number: float) -> str:
    """1234567 -> 1,234,567."""
    return f"{number:,.0f}"


def several(number: int, thing: str) -> str:
    """1, "record" -> 1 record; 1234, "record" -> 1,234 records."""
    return f"{count(number)} {thing}{'' if number == 1 else 's'}"


def duration_ms(ms: float | None) -> str:
    """A duration as people say it."""
    if ms is None:
        return "-"
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if abs(ms) >= size * (10 if unit != "s" else 1):
            return f"{ms / size:.1f} {unit}"
    return f"{ms:.0f} ms"


def when(ms: int | None) -> str:
    """Unix ms as UTC text."""
    return "-" if ms is None else f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
