"""`streamrec run NAME`: one service in the foreground, with every setting of it as an option."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module

import typer

from services.cli.lazy import Entry, lazy_group
from services.cli.options import command
from services.contracts.topics import FEATURE_EXTRACTION, MODEL_UPDATE, PUBLISHING
from services.runtime.settings import ENV_PREFIX, Settings

SERVICES: dict[str, tuple[str, str, str]] = {
    FEATURE_EXTRACTION: (
        "services.feature_extraction",
        "ExtractionSettings",
        "Turn interactions into features: sessions, preferences, attribution.",
    ),
    MODEL_UPDATE: (
        "services.model_update",
        "ModelUpdateSettings",
        "Learn from features: user shards and item shards.",
    ),
    PUBLISHING: (
        "services.recommendation_publishing",
        "PublishingSettings",
        "Rank the catalogue for users and publish their lists.",
    ),
}
"""{service: (package, settings class, summary)}."""

app = typer.Typer(
    cls=lazy_group(
        {
            name: Entry(f"services.cli.run:{name.replace('-', '_')}", summary, "Services")
            for name, (_, _, summary) in SERVICES.items()
        }
    ),
    help="""Run one of the three services in the foreground.

    Start as many replicas of each as there are partitions; they share the work. SIGTERM or Ctrl-C ends
    a service cleanly. [bold]run NAME --help[/bold] lists its settings.""",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
)


@app.callback()
def _group() -> None:
    pass


def settings_of(service: str) -> type[Settings]:
    """The settings table of a service."""
    package, table, _ = SERVICES[service]
    found: type[Settings] = getattr(import_module(f"{package}.settings"), table)
    return found


def environment(settings: Settings) -> dict[str, str]:
    """The environment variables that say what these settings say: those that were given, not the defaults."""
    return {ENV_PREFIX + name.upper(): str(getattr(settings, name)) for name in sorted(settings.model_fields_set)}


def service_app(service: str) -> typer.Typer:
    """The command that runs a service."""
    package, _, summary = SERVICES[service]
    made = typer.Typer(add_completion=False, rich_markup_mode="rich")

    def run(settings: Settings) -> None:
        # A service reads its settings from the environment, however it was started.
        os.environ.update(environment(settings))
        main: Callable[[], int] = import_module(f"{package}.service").main
        raise typer.Exit(main())

    run.__doc__ = f"{summary}\n\nThe same as `python -m {package}` with these settings in the environment."
    command(made, settings_of(service), name=service)(run)
    return made


def __getattr__(attribute: str) -> typer.Typer:
    # Each command is made when it is called: its settings are the only part of its service that is imported.
    service = attribute.replace("_", "-")
    if service in SERVICES:
        return service_app(service)
    raise AttributeError(attribute)
