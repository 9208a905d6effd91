"""`streamrec evaluate`: the prequential protocol on files, without Kafka, with the cores that the services run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from services.cli.errors import CliError, err, guarded
from services.cli.plot import learning_curve
from services.cli.produce.columns import EVENTS, ITEMS, Shape
from services.cli.produce.source import BadRowError, Source, SourceError
from services.cli.show import count, out, table
from services.evaluation.cold import first_occurrences
from services.evaluation.prequential import Simulation
from services.evaluation.report import report
from services.evaluation.stream import Stream, stream
from services.model.config import ModelConfig

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

ITEM_PARTITIONS = 4


@app.command(name="evaluate")
@guarded
def evaluate(  # noqa: PLR0913  (one option each)
    *,
    events: Annotated[str, typer.Option(help="CSV or JSON lines of events, gzip or not.", metavar="FILE")],
    items: Annotated[str | None, typer.Option(help="CSV or JSON lines of items.", metavar="FILE")] = None,
    exclude_seen: Annotated[
        bool, typer.Option("--exclude-seen", help="Never list what the user has interacted with.")
    ] = False,
    shards: Annotated[int, typer.Option(help="User shards.", min=1)] = 1,
    exchange_events: Annotated[int, typer.Option(help="Events of all shards between two exchanges.", min=1)] = 100,
    steady: Annotated[
        bool,
        typer.Option("--steady", help="Exchange no sooner while several shards share a young model, as services do."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of initial values and draws.")] = 0,
    limit: Annotated[int | None, typer.Option(help="Use only the first events.", min=1)] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write every figure to a file; elsewhere --json prints.", metavar="FILE"),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the learning curve, as SVG.", metavar="FILE")] = None,
) -> None:
    """Measure the model on a file of events: rank every event's item, then learn from it.

    Candidates are the items of all earlier events, less the user's own with [bold]--exclude-seen[/bold]
    (then an event that repeats a pair is not scored). An item that never occurred before is a miss.
    """
    data = read(events, items, limit)
    config = config_for(data, exclude_seen=exclude_seen, seed=seed)
    simulation = Simulation(data, config, shards, exchange_events, steady=steady)
    started = time.monotonic()
    with _progress() as bar:
        task = bar.add_task("events", total=len(data))
        result = simulation.run(progress=lambda done: bar.update(task, completed=done))
    found = report(result, config)
    found["first occurrences"] = first_occurrences(data, seed)
    found["seconds"] = round(time.monotonic() - started, 1)
    found["shards"], found["exchange events"], found["steady"] = shards, exchange_events, not simulation.waits
    show(found)
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=1), "utf-8")
    if plot is not None:
        plot.write_text(learning_curve(found["curve"]), "utf-8")


def config_for(data: Stream, *, exclude_seen: bool, seed: int = 0) -> ModelConfig:
    """The shipped learner with room for all of a stream."""
    return ModelConfig(
        item_partitions=ITEM_PARTITIONS,
        seed=seed,
        exclude_seen=exclude_seen,
        max_items=max(2 * len(data.items), 1000),
        max_users=max(2 * len(data.users), 1000),
    )


def read(events: str, items: str | None, limit: int | None) -> Stream:
    """The stream of two files.

    Raises:
        CliError: a file cannot be read, or has no usable events.
    """
    rows, contexts = [], []
    for number, record in enumerate(_records(events, EVENTS)):
        if limit is not None and number >= limit:
            break
        t = record["event_time"]
        if t is None:
            raise CliError(f"{events}: event {number + 1} has no time", code=2)
        rows.append((record["user_id"], record["item_id"], int(t)))
        contexts.append(record["context"])
    metadata = list(_records(items, ITEMS)) if items else []
    try:
        return stream(rows, metadata, contexts)
    except ValueError as error:
        raise CliError(f"{events}: {error}", code=2) from None


def _records(path: str, shape: Shape) -> Iterator[dict[str, Any]]:
    try:
        with Source(path, shape) as source:
            for record in source.rows():
                if isinstance(record, BadRowError):
                    err.print(f"skipped: {record}", style="yellow", markup=False)
                else:
                    yield record
    except SourceError as error:
        raise CliError(str(error), code=2) from None


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err, transient=True)


def show(found: dict[str, Any]) -> None:
    """Print the tables."""

    def line(name: str, one: dict[str, float]) -> tuple[str, ...]:
        return name, f"{one['hr']:.4f}", f"{one['ndcg']:.4f}", f"{one['mrr']:.4f}", count(one["events"])

    columns, right = ("", "HR@10", "NDCG@10", "MRR", "events"), "HR@10,NDCG@10,MRR,events"
    rows = [line("the learner", found["all"]), line("  second half", found["second half"])]
    rows += [line(name, one) for name, one in sorted(found["experts"].items(), key=lambda each: -each[1]["hr"])]
    out.print(table(columns, rows, "The learner and its experts", right))
    for name in ("by history length", "by earlier events of the item"):
        out.print(table(columns, [line(group, one) for group, one in found[name].items()], name.capitalize(), right))
    first = found["first occurrences"]
    if first["events"]:
        out.print(
            f"First occurrences among items never seen: HR@10 {first['hr']:.4f}, HR@50 {first['hr50']:.4f}, "
            f"mean percentile {first['percentile']:.3f} ({count(first['events'])} events)"
        )
    sooner = "" if found["steady"] else ", sooner while the model is young"
    out.print(
        f"{count(found['events'])} events in {found['seconds']:.0f} s, {found['shards']} shard(s), an exchange every "
        f"{found['exchange events']} events{sooner}; {found['delta bytes per event']:.0f} bytes of item-deltas per "
        f"event; replicas {found['divergence']:.1%} apart before an exchange"
    )
