"""How help is laid out: names whole, all else folded where a terminal is narrow, and paragraphs as wide as it is."""

from __future__ import annotations

import inspect
from typing import Any

from typer.core import TyperCommand, TyperGroup

_WHOLE = 32
"""Columns up to which the names of options are kept whole, so that eighty columns leave room for what they mean."""


def laid_out(command: TyperCommand | TyperGroup) -> None:
    """Give a command help that folds and whose paragraphs are as wide as the terminal."""
    command.help = reflowed(inspect.cleandoc(command.help or ""))
    plain = command.format_help

    def format_help(*arguments: Any) -> None:
        _fold()
        plain(*arguments)

    command.format_help = format_help  # type: ignore[method-assign,assignment]


def _fold() -> None:
    """Make tables of options fold.

    Typer has no setting for it: its tables, whose columns it makes one by one, end what is too long in an ellipsis.
    """
    # Only help needs what typer needs for it.
    from rich.columns import Columns
    from rich.table import Table
    from rich.text import Text
    from typer import rich_utils

    class Folding(Table):
        widest = 0
        """Of the names, in columns."""

        def add_row(self, *cells: Any, **options: Any) -> None:
            super().add_row(*cells, **options)
            for column, cell in zip(self.columns, cells, strict=False):
                column.overflow = "fold"
                for text in cell.renderables if isinstance(cell, Columns) else ():
                    if isinstance(text, Text):
                        text.overflow = "fold"
                if isinstance(cell, Text) and cell.plain.startswith("--") and column is self.columns[0]:
                    self.widest = max(self.widest, cell.cell_len)
                    column.no_wrap = self.widest <= _WHOLE

    rich_utils.Table = Folding  # type: ignore[attr-defined]  # imported there, not exported


def reflowed(text: str) -> str:
    """A text whose paragraphs are single lines, so that they break where the terminal ends.

    Paragraphs with an indented line stay as they are.
    """
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        paragraph if any(line[:1].isspace() for line in paragraph.splitlines()) else " ".join(paragraph.splitlines())
        for paragraph in paragraphs
    )
