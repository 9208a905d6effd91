"""`streamrec audit`: the command around the checks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from services.cli.audit.checks import READ_ORDER, Checker, Finding, checkers
from services.cli.audit.reading import LIVE_PAUSE_S, Place, Reading, chunks, take_ends
from services.cli.errors import CliError, err
from services.cli.kafka import reader
from services.cli.lag import running
from services.cli.options import command
from services.cli.show import JsonOption, count, out, print_json
from services.contracts import topics
from services.runtime.settings import KafkaSettings, RuntimeSettings

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

_PLAIN_EVERY_S = 5.0
_PHRASES = {
    "dup": "duplicates",
    "implied": "of these implied by unanswered impressions (features without an interaction of their own)",
}
"""Counts whose names do not say to people what they are."""
_STYLE = {True: "green", False: "red"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an audit found."""

    checks: tuple[tuple[Checker, tuple[Finding, ...]], ...]
    """Every check with its findings."""
    reading: Reading
    seconds: float

    @property
    def clean(self) -> bool:
        """Whether nothing was refuted."""
        return not any(finding.level == "error" for _, findings in self.checks for finding in findings)

    def to_json(self) -> dict[str, Any]:
        """For programs: verdict, checks with counts, findings with offsets, and what was read."""
        return {
            "verdict": "clean" if self.clean else "refuted",
            "checks": [
                {"name": check.name, "title": check.title, "clean": _holds(findings), "counts": check.counts()}
                for check, findings in self.checks
            ],
            "findings": [asdict(finding) for _, findings in self.checks for finding in findings],
            "logs": [asdict(log) for log in self.reading.logs],
            "seconds": round(self.seconds, 3),
        }


def audit(
    settings: KafkaSettings,
    delivery: str = "exactly-once",
    until: Mapping[Place, int] | None = None,
    progress: Callable[[str, int], None] | None = None,
    begin: Callable[[Reading], None] | None = None,
    live: bool | None = None,
    *,
    rebuild: bool = False,
) -> Verdict:
    """Read the topics read_committed and check them.

    Args:
        settings: where the topics are.
        delivery: what the services promise.
        until: {(topic, partition): end} where to stop earlier than the end.
        progress: called with (topic, offsets read since the last call).
        begin: called with what will be read, before the reading.
        live: whether services run meanwhile; None asks Kafka, which takes a replica that has just stopped for running.
        rebuild: compute every parameter again as well.

    Raises:
        CliError: topics are missing, or retention interferes.
    """
    began = time.monotonic()
    client = reader(settings)
    try:
        live = running(settings) if live is None else live
        checks = checkers(delivery, settings.user_partitions, settings.item_partitions, live=live)
        if rebuild:
            from services.cli.audit.rebuild import RebuildCheck

            checks.append(RebuildCheck(settings.user_partitions, settings.item_partitions, live=live))
        wanted = [topic for topic in READ_ORDER if any(topic in check.topics for check in checks)]
        pause_s = LIVE_PAUSE_S if live else 0.0
        reading = take_ends(client, wanted, settings.topic_prefix, until or {}, pause_s)
        if begin:
            begin(reading)
        for chunk in chunks(client, reading, settings.topic_prefix, progress or (lambda _topic, _offsets: None)):
            for check in checks:
                if chunk.topic in check.topics:
                    check.feed(chunk)
        found = tuple((check, tuple(check.finish(reading.logs))) for check in checks)
    finally:
        client.close()
    return Verdict(found, reading, time.monotonic() - began)


@command(app, KafkaSettings, name="audit")
def audit_command(
    settings: KafkaSettings,
    *,
    until: Annotated[
        list[str] | None,
        typer.Option(
            "--until",
            metavar="TOPIC:PARTITION=OFFSET",
            help="Stop before this offset; several times for several partitions. The others are read to their ends.",
        ),
    ] = None,
    ends_from: Annotated[
        Path | None,
        typer.Option("--ends-from", metavar="FILE", help="Stop where the audit of this --json output stopped."),
    ] = None,
    delivery: Annotated[
        str,
        typer.Option(
            "--delivery",
            envvar="STREAMREC_DELIVERY",
            metavar="exactly-once|at-least-once",
            help="What the services promise: with at-least-once repeats are not an error.",
        ),
    ] = RuntimeSettings.model_fields["delivery"].default,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Also learn everything again from features and item-deltas, and compare every parameter bit for bit. "
            "Takes the time that learning took, and memory for both logs.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Prove from the topics that nothing was lost or repeated.

    Or shows where it was. Reads the topics read_committed, from their starts to their ends at this moment or
    to chosen offsets, and checks that learning batches tile the features of every partition, that every
    interaction is accounted for once, that item-state is the fold of the item-deltas bit for bit, and that
    user rows carry the last offset of their batches. Works on a live system. Exit code 0: clean, 1: refuted.
    """  # fmt: skip
    stops = {**_stops_of_file(ends_from), **_stops(until or [])}
    with _progress() as (begin, progress):
        verdict = audit(settings, delivery, stops, progress, begin, rebuild=rebuild)
    if as_json:
        print_json(verdict.to_json())
    else:
        show(verdict)
    if not verdict.clean:
        raise typer.Exit(1)


def show(verdict: Verdict) -> None:
    """Print a verdict for people."""
    for check, findings in verdict.checks:
        holds = _holds(findings)
        named = [
            (_PHRASES.get(name, name.replace("_", " ")), number)
            for name, number in check.counts().items()
            if number or name != "implied"
        ]
        counts = ", ".join(f"{count(number)} {name}" for name, number in named)
        out.print(f"{'holds  ' if holds else 'REFUTED'}  {check.title}", style=_STYLE[holds], markup=False)
        if counts:
            out.print(f"         {counts}", style="dim", markup=False)
        for finding in findings:
            style = "red" if finding.level == "error" else "yellow"
            out.print(f"         {finding.level}: {finding.message}{_where(finding)}", style=style, markup=False)
    ends = ", ".join(
        f"{topic} " + " ".join(f"{log.partition}:{log.start}-{log.end}" for log in verdict.reading.of(topic))
        for topic in dict.fromkeys(log.topic for log in verdict.reading.logs)
    )
    out.print(f"read: {ends}", style="dim", markup=False)
    word = "clean" if verdict.clean else "refuted"
    out.print(
        f"audit: {word} ({count(verdict.reading.total)} offsets in {verdict.seconds:.1f} s)",
        style=f"bold {_STYLE[verdict.clean]}",
    )


def _where(finding: Finding) -> str:
    if not finding.topic:
        return ""
    return f" [{finding.topic}/{finding.partition}{f' @ {finding.offset}' if finding.offset >= 0 else ''}]"


def _holds(findings: Sequence[Finding]) -> bool:
    return not any(finding.level == "error" for finding in findings)


def _stops(given: list[str]) -> dict[Place, int]:
    stops: dict[Place, int] = {}
    for each in given:
        place, _, offset = each.partition("=")
        topic, _, partition = place.partition(":")
        if topic not in topics.BY_NAME or not partition.isdecimal() or not offset.isdecimal():
            raise CliError(f"--until {each}: expected TOPIC:PARTITION=OFFSET, such as features:0=1234", code=2)
        stops[topic, int(partition)] = int(offset)
    return stops


def _stops_of_file(path: Path | None) -> dict[Place, int]:
    if path is None:
        return {}
    try:
        logs = json.loads(path.read_text("utf-8"))["logs"]
        return {(str(log["topic"]), int(log["partition"])): int(log["end"]) for log in logs}
    except (ValueError, KeyError, TypeError) as error:
        raise CliError(f"--ends-from {path}: not the output of `streamrec audit --json` ({error})", code=2) from None


@contextmanager
def _progress() -> Iterator[tuple[Callable[[Reading], None], Callable[[str, int], None]]]:
    """(begin, progress): a bar on a terminal, a line now and then elsewhere."""
    if not err.is_terminal:
        state = {"done": 0, "total": 0, "said": time.monotonic()}

        def begin_plain(reading: Reading) -> None:
            state["total"] = reading.total

        def plain(topic: str, offsets: int) -> None:
            state["done"] += offsets
            if time.monotonic() - state["said"] >= _PLAIN_EVERY_S:
                state["said"] = time.monotonic()
                err.print(f"audit: {count(state['done'])} of {count(state['total'])} offsets, reading {topic}")

        yield begin_plain, plain
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
        TextColumn("{task.completed:,.0f} offsets"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("taking the ends", total=None)

        def begin(reading: Reading) -> None:
            bar.update(task, total=reading.total)

        def advance(topic: str, offsets: int) -> None:
            bar.update(task, advance=offsets, description=topic)

        yield begin, advance
