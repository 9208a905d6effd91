"""The root of the `streamrec` command: what there is, in four panels, and nothing else imported."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.lazy import Entry, lazy_group

_RUN = "Run the system"
_FEED = "Feed it and read from it"
_LOOK = "Look into it"
_SEE = "See it work"

COMMANDS: dict[str, Entry] = {
    "demo": Entry("services.cli.demo.command:app", "Start everything, replay a stream and show what is learned.", _SEE),
    "evaluate": Entry("services.cli.evaluate:app", "Measure the model on a file of events, without Kafka.", _SEE),
    "broker": Entry(
        "services.cli.broker:app", "Run Apache Kafka on this machine, with nothing installed but Python.", _RUN
    ),
    "topics": Entry("services.cli.topics:app", "Create, check and list the topics.", _RUN),
    "run": Entry("services.cli.run:app", "Run one of the three services in the foreground.", _RUN),
    "produce": Entry("services.cli.produce.command:app", "Replay events and items from files into Kafka.", _FEED),
    "recommend": Entry("services.cli.recommend:app", "Show a user's current list, or ask for a new one.", _FEED),
    "weights": Entry(
        "services.cli.weights:app", "Change the learning weights of event types while the system runs.", _FEED
    ),
    "erase": Entry("services.cli.erase:app", "Forget a user.", _FEED),
    "tail": Entry("services.cli.tail:app", "Print records of any topic as JSON lines.", _LOOK),
    "lag": Entry("services.cli.lag:app", "Show how far each service is behind.", _LOOK),
    "audit": Entry("services.cli.audit.command:app", "Prove from the topics that nothing was lost or repeated.", _LOOK),
}

app = typer.Typer(
    name="streamrec",
    cls=lazy_group(COMMANDS),
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from services import __version__

        typer.echo(f"streamrec {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """An online-learning recommender that runs as a Kafka stream processor.

    Every setting is an option and an environment variable; [bold]COMMAND --help[/bold] lists both.
    """


def main() -> None:
    """Entry point of the `streamrec` command."""
    app(prog_name="streamrec")
