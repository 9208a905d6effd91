"""`streamrec weights TYPE=WEIGHT ...`: change how strongly each type of event is learned, without a restart."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.errors import CliError
from services.cli.kafka import connect
from services.cli.options import command
from services.cli.send import send_bytes
from services.cli.show import JsonOption, out, print_json
from services.contracts.inner.weights import WEIGHTS_KEY, encode
from services.feature_extraction.weights import parse_weights
from services.runtime.settings import KafkaSettings

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@command(app, KafkaSettings, name="weights")
def weights_command(
    settings: KafkaSettings,
    *,
    weights: Annotated[
        list[str] | None,
        typer.Argument(metavar="TYPE=WEIGHT...", show_default=False, help="For example: view=0.5 purchase=2."),
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Go back to the weights that the services are set to.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Change the learning weights of event types while the system runs.

    The weights given here replace those given here before, and win over STREAMREC_EVENT_WEIGHTS. The
    change is a record in the items topic, and every feature record carries the weight that it was given, so a
    rebuild learns what was learned. A weight above 0 is a positive of that strength, 0 is not learned,
    below 0 speaks against the item.
    """  # fmt: skip
    if bool(weights) == reset:
        raise CliError("give TYPE=WEIGHT, for example view=0.5, or --reset", code=2)
    try:
        table = parse_weights(",".join(weights or []))
        value = None if reset else encode(table)
    except ValueError as error:
        raise CliError(str(error), code=2) from None
    connect(settings, "items")
    partition, offset = send_bytes(settings, "items", WEIGHTS_KEY, value)
    if as_json:
        print_json({"weights": table, "partition": partition, "offset": offset})
    else:
        what = (
            "back to the configured weights" if reset else ", ".join(f"{kind}={one:g}" for kind, one in table.items())
        )
        out.print(f"changed: {what} (items, partition {partition}, offset {offset})", markup=False)
