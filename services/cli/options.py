"""Commands whose options are made from settings tables: one option per setting, nothing typed twice."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import typer

from services.cli.errors import guarded
from services.runtime.settings import Row, Settings, rows

F = TypeVar("F", bound=Callable[..., Any])


def command(
    group: typer.Typer, *tables: type[Settings], name: str | None = None, panel: str | None = None, **extra: Any
) -> Callable[[F], F]:
    """Register a function as a command of `group`.

    The first parameters of the function are the loaded settings, one per table and in the order of
    `tables`; what follows are the command's own typer parameters. A setting that two tables share
    becomes one option. Options that are not given fall back to the environment, then to the default.
    """

    def register(function: F) -> F:
        own = list(inspect.signature(function).parameters.values())[len(tables) :]
        hints = get_type_hints(function, include_extras=True)
        parameters = [
            parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in own
        ]
        made = option_parameters(tables, taken={parameter.name for parameter in own})
        names = [set(table.model_fields) for table in tables]

        def call(**values: Any) -> Any:
            loaded = [
                table.load(**{key: values[key] for key in fields if key in values})
                for table, fields in zip(tables, names, strict=True)
            ]
            return function(*loaded, **{parameter.name: values[parameter.name] for parameter in own})

        call.__name__ = function.__name__
        call.__doc__ = inspect.getdoc(function)
        call.__module__ = function.__module__
        group.command(name, rich_help_panel=panel, **extra)(signed(guarded(call), [*parameters, *made]))
        return function

    return register


def signed(function: F, parameters: list[inspect.Parameter]) -> F:
    """The function, with the signature that typer is to see."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {each.name: each.annotation for each in parameters}
    return function


def option_parameters(
    tables: tuple[type[Settings], ...], taken: set[str] | None = None, short: str = ""
) -> list[inspect.Parameter]:
    """One keyword parameter per setting of the tables, each setting once, annotated for typer.

    `short`: what the options of settings that begin with it may leave out (`broker_`: --port is --broker-port).
    """
    seen = set(taken or ())
    made = []
    for table in tables:
        for row in rows(table):
            if row.name in seen:
                continue
            seen.add(row.name)
            made.append(
                inspect.Parameter(
                    row.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(table, row, short)
                )
            )
    return made


def _annotation(table: type[Settings], row: Row, short: str) -> Any:
    flag = "--" + row.name.replace("_", "-")
    shorter = ["--" + row.name.removeprefix(short).replace("_", "-")] if short and row.name.startswith(short) else []
    default = " ".join(part for part in (row.default, row.unit) if part) if row.default else "empty"
    is_bool = row.field.annotation is bool
    option = typer.Option(
        *shorter,
        f"{flag}/--no-{row.name.replace('_', '-')}" if is_bool else flag,
        envvar=row.env,
        help=row.doc,
        show_default=default,
        show_envvar=True,
        metavar=None if is_bool else metavar(row),
        rich_help_panel=panel_of(table, row.name),
    )
    return Annotated[bool | None if is_bool else str | None, option]


def panel_of(table: type[Settings], name: str) -> str:
    """Heading over a setting: the title of the most basic table that declares it."""
    for base in reversed(table.__mro__):
        if issubclass(base, Settings) and name in base.model_fields:
            return title(base)
    return title(table)


def title(table: type[Settings]) -> str:
    """`RuntimeSettings` -> `Runtime settings`."""
    stem = table.__name__.removesuffix("Settings")
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in stem).strip()
    return f"{words.capitalize()} settings" if words else "Settings"


def metavar(row: Row) -> str:
    """What stands for the value in --help: the choices, the unit, or the type."""
    annotation = row.field.annotation
    if get_origin(annotation) is Literal:
        return "|".join(str(choice) for choice in get_args(annotation))
    if row.unit:
        return row.unit.upper()
    if annotation in (int, float):
        return "NUMBER"
    return "PATH" if getattr(annotation, "__name__", "") == "Path" else "TEXT"
