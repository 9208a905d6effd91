"""Sub-commands that are imported when they are called, so that `--help` answers at once."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from services.cli.help import laid_out


class Entry(NamedTuple):
    """One sub-command of a lazy group."""

    target: str
    """`module:attribute` of the typer app."""
    summary: str
    """What `--help` of the group says: the first line of the command's own help."""
    panel: str


class LazyGroup(TyperGroup):
    """A group that knows the names and summaries of its commands, and imports the one that is called."""

    table: dict[str, Entry] = {}  # noqa: RUF012 - `lazy_group` replaces it in a class of its own

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, entry in self.table.items():
            self.add_command(TyperCommand(name, help=entry.summary, rich_help_panel=entry.panel))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is called, and import it."""
        name, stub, rest = super().resolve_command(ctx, args)
        return name, load(name, self.table[name]) if name in self.table else stub, rest


def lazy_group(table: dict[str, Entry]) -> type[LazyGroup]:
    """The class of a group with these commands, for `typer.Typer(cls=...)`."""
    return type("Group", (LazyGroup,), {"table": table})


def load(name: str, entry: Entry) -> Any:
    """Import a command and make it."""
    module, _, attribute = entry.target.partition(":")
    app: typer.Typer = getattr(import_module(module), attribute)
    made = typer.main.get_command(app)
    made.name = name
    for each in (made, *getattr(made, "commands", {}).values()):
        laid_out(each)
    return made
