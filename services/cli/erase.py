"""`streamrec erase USER`: ask every service to forget a user."""

from __future__ import annotations

import time
import uuid
from typing import Annotated

import typer

from services.cli.errors import CliError
from services.cli.kafka import connect
from services.cli.options import command
from services.cli.send import send_one
from services.cli.show import JsonOption, out, print_json
from services.contracts.edge import ErasureRequest
from services.runtime.settings import KafkaSettings

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@command(app, KafkaSettings, name="erase")
def erase(
    settings: KafkaSettings,
    *,
    user: Annotated[str, typer.Argument(metavar="USER", show_default=False, help="Id of the user to forget.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    request_id: Annotated[
        str | None, typer.Option("--request-id", metavar="TEXT", help="Your reference, for the logs.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Forget a user.

    Every service deletes what it holds of the user, and the current list is withdrawn. The records leave
    the disks when Kafka compacts the topics: within a day, and with their topics' retention where they
    are logs (interactions, features). Dead letters keep the bytes of a user's unreadable records for their
    retention, 30 days. What the item rows learned from the user stays. Asks first: without a terminal give --yes.
    """
    connect(settings, "erasure-requests")
    if not yes and not typer.confirm(f"Forget user {user}? This cannot be undone.", err=True):
        raise CliError("nothing was done")
    request: ErasureRequest = {
        "request_id": request_id or str(uuid.uuid4()),
        "user_id": user,
        "requested_at": time.time_ns() // 1_000_000,
    }
    partition, offset = send_one(settings, "erasure-requests", user, request)
    if as_json:
        print_json({**request, "partition": partition, "offset": offset})
    else:
        out.print(f"asked for (erasure-requests, partition {partition}, offset {offset})", markup=False)
