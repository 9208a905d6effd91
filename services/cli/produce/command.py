"""`streamrec produce`: replay files of items and events into Kafka."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from services.cli.errors import CliError, err
from services.cli.kafka import ANSWER_S, connect, partition_count
from services.cli.options import command
from services.cli.produce.columns import EVENTS, ITEMS, Shape, fold
from services.cli.produce.pace import Pace, parse_speed
from services.cli.produce.progress import PositionFile
from services.cli.produce.sender import Plan, Sender, Sent
from services.cli.produce.source import STDIN, Source, SourceError, check_file
from services.cli.show import JsonOption, count, out, print_json, several
from services.contracts.edge import codec_for
from services.contracts.topics import physical
from services.runtime.client import make_consumer
from services.runtime.registry import registry_of
from services.runtime.settings import KafkaSettings, RuntimeSettings

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

_PLAIN_EVERY_S = 5.0
_RATE_FROM = 100
"""Records from which on a rate says something: below, it is that of opening connections."""
_RATING_COLUMNS = {"rating", "stars", "score"}


@command(app, KafkaSettings, name="produce")
def produce(  # noqa: PLR0913 - one parameter per option
    settings: KafkaSettings,
    *,
    events: Annotated[
        str | None, typer.Option("--events", metavar="FILE", help="Events: CSV or JSON lines, .gz too; - is stdin.")
    ] = None,
    items: Annotated[
        str | None, typer.Option("--items", metavar="FILE", help="Items, sent before the events; as --events.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", min=0.001, metavar="EVENTS/S", help="Send events at this rate.")
    ] = None,
    speed: Annotated[
        str | None,
        typer.Option("--speed", metavar="10x", help="Send events at this multiple of real time, by their event times."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the last run of the same file into the same topic ended.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out bad lines and count them, instead of stopping at the first.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Send at most N events and N items.")
    ] = None,
    event_type: Annotated[
        str | None,
        typer.Option(
            "--event-type",
            metavar="TYPE",
            show_default="rating for a column of ratings, else view",
            help="Type of events whose line has none.",
        ),
    ] = None,
    now: Annotated[
        bool, typer.Option("--now", help="Leave out event times: events happen when they are sent.")
    ] = False,
    event_ids: Annotated[
        bool,
        typer.Option(
            "--event-ids/--no-event-ids",
            help="Give events without id one made of file and line, so that a repeat is recognised.",
        ),
    ] = True,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="FIELD=NAME", help="Column NAME is field FIELD; may be given several times."),
    ] = None,
    state_dir: Annotated[
        Path,
        typer.Option("--state-dir", envvar="STREAMREC_STATE_DIR", metavar="PATH", help="Where positions are kept."),
    ] = RuntimeSettings.model_fields["state_dir"].default,
    as_json: JsonOption = False,
) -> None:
    """Replay events and items from files into Kafka.

    Event columns: user_id, item_id, event_type, value, timestamp_ms, and where there are any event_id,
    session_id, list_id, context.NAME. Item columns: item_id, title, year, categories (separated by |),
    available, created_at, attributes.NAME. Common other names (user, movie_id, rating, ts, genres, ...)
    are understood, --column names any other. As fast as possible unless --rate or --speed is given.

    Every record is acknowledged when the command ends with code 0. A run that was cut off goes on with
    --resume; the few events around the cut that are sent twice carry the same ids and are dropped as
    duplicates.
    """  # fmt: skip
    if events is None and items is None:
        raise CliError("nothing to send: give --events FILE, --items FILE or both", code=2)
    if rate is not None and speed is not None:
        raise CliError("--rate and --speed exclude each other", code=2)
    if events == items == STDIN:
        raise CliError("only one of --events and --items can be standard input", code=2)
    try:
        times = parse_speed(speed) if speed is not None else None
    except ValueError as error:
        raise CliError(f"--speed: {error}", code=2) from None
    chosen = _columns(column or [])
    _check_files(events, items)
    connect(settings)
    cluster = _check_topics(settings, [shape for path, shape in ((items, ITEMS), (events, EVENTS)) if path])
    report: dict[str, Any] = {}
    for path, shape in ((items, ITEMS), (events, EVENTS)):
        if path is None:
            continue
        with _open(path, shape, chosen) as source:
            topic = physical(shape.topic, settings.topic_prefix)
            plan = Plan(
                topic=topic,
                pace=Pace(time.monotonic, rate, times) if shape is EVENTS else Pace(time.monotonic),
                position=PositionFile(state_dir, source.identity, cluster, topic) if source.identity else None,
                resume=resume,
                skip_bad=skip_bad,
                limit=limit,
                event_type=_event_type(source, event_type) if shape is EVENTS else None,
                event_ids=event_ids,
                now=now,
                bad=lambda message: err.print(f"skipped: {message}", style="yellow", markup=False),
            )
            for note in source.notes:
                err.print(f"{path}: {note}", style="dim", markup=False)
            sender = Sender(settings, codec_for(shape.topic, registry_of(settings), settings.topic_prefix))
            with _progress(shape.topic, source.size_bytes) as plan.notify:
                sent = _send(sender, source, plan)
        report[shape.topic] = _summary(sent)
        if not as_json:
            _say(shape.topic, path, sent)
    if as_json:
        print_json(report)


def _check_files(*paths: str | None) -> None:
    """See before anything is sent whether all files are there."""
    try:
        for path in paths:
            if path is not None:
                check_file(path)
    except SourceError as error:
        raise CliError(str(error), code=2) from None


def _columns(given: list[str]) -> dict[str, str]:
    chosen = {}
    for each in given:
        target, equals, name = each.partition("=")
        if not equals or not target or not name:
            raise CliError(f"--column {each}: expected FIELD=NAME, such as user_id=visitor", code=2)
        chosen[target] = name
    return chosen


def _open(path: str, shape: Shape, chosen: dict[str, str]) -> Source:
    both = {"events": EVENTS, "items": ITEMS}
    known = {target for each in both.values() for target in each.aliases}
    unknown = [target for target in chosen if target not in known]
    if unknown:
        raise CliError(f"--column: there is no field {unknown[0]!r}; there are {', '.join(sorted(known))}", code=2)
    try:
        # With both files given, a field of the one may be absent from the other.
        return Source(path, shape, {target: name for target, name in chosen.items() if target in shape.aliases})
    except SourceError as error:
        raise CliError(str(error), code=2) from None


def _send(sender: Sender, source: Source, plan: Plan) -> Sent:
    try:
        return sender.send(source, plan)
    except SourceError as error:
        raise CliError(f"{error}; {several(sender.sent.records, 'record')} before it had been sent") from None
    except KeyboardInterrupt:
        on = "; --resume goes on from there" if plan.position else ""
        err.print(f"interrupted: {several(sender.sent.records, 'record')} sent{on}", style="yellow", markup=False)
        raise typer.Exit(130) from None


def _check_topics(settings: KafkaSettings, shapes: list[Shape]) -> str:
    """Cluster id, once the topics are known to exist."""
    client = make_consumer(settings)
    try:
        for shape in shapes:
            partition_count(client, physical(shape.topic, settings.topic_prefix))
        return str(client.list_topics(timeout=ANSWER_S).cluster_id)
    finally:
        client.close()


def _event_type(source: Source, given: str | None) -> str:
    if given:
        return given
    return "rating" if fold(source.fields.get("value", "")) in _RATING_COLUMNS else "view"


@contextmanager
def _progress(what: str, total: int) -> Iterator[Any]:
    """A progress bar over the file's bytes on a terminal, a line now and then elsewhere."""
    if not err.is_terminal:
        last = [time.monotonic()]

        def line(sent: int, _read: int) -> None:
            if time.monotonic() - last[0] >= _PLAIN_EVERY_S:
                last[0] = time.monotonic()
                err.print(f"{what}: {count(sent)} sent")

        yield line
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[sent]} sent"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=err, transient=True) as bar:
        task: TaskID = bar.add_task(what, total=total or None, sent="0")
        began = time.monotonic()

        def update(sent: int, read: int) -> None:
            rate = sent / max(time.monotonic() - began, 1e-3)
            bar.update(task, completed=read, sent=f"{count(sent)} ({count(rate)}/s)")

        yield update


def _summary(sent: Sent) -> dict[str, Any]:
    return {
        "sent": sent.records,
        "skipped_bad": sent.skipped_bad,
        "resumed_at_row": sent.resumed_at,
        "seconds": round(sent.seconds, 3),
    }


def _say(topic: str, path: str, sent: Sent) -> None:
    if sent.resumed_at and not sent.records and not sent.skipped_bad:
        out.print(f"{topic}: all of {path} had been sent already", markup=False)
        return
    parts = [f"{topic}: {count(sent.records)} sent in {sent.seconds:.1f} s"]
    if sent.records >= _RATE_FROM:
        parts[0] += f" ({count(sent.records / max(sent.seconds, 1e-3))}/s)"
    if sent.resumed_at:
        parts.append(f"after the {count(sent.resumed_at)} rows of an earlier run")
    if sent.skipped_bad:
        parts.append(f"{count(sent.skipped_bad)} bad lines left out")
    out.print(", ".join(parts), markup=False)
    sys.stdout.flush()
