"""`streamrec demo`: the command around a demo."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from services.cli.audit.command import show as show_audit
from services.cli.demo.run import Plan, Report, events_of, run
from services.cli.demo.screen import Screen
from services.cli.demo.streams import from_files, generated
from services.cli.errors import CliError, err
from services.cli.options import command
from services.cli.recommend import show_list
from services.cli.show import JsonOption, count, duration_ms, out, pairs, print_json
from services.runtime.settings import KafkaSettings

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

_SPARE_SHARE = 1.2
"""A made-up month is longer than what is replayed of it."""
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@command(app, KafkaSettings, name="demo")
def demo(  # noqa: PLR0913 - one parameter per option
    settings: KafkaSettings,
    *,
    seconds: Annotated[float, typer.Option("--seconds", min=1, metavar="S", help="Length of the replay.")] = 45.0,
    rate: Annotated[float, typer.Option("--rate", min=1, metavar="EVENTS/S", help="Speed of the replay.")] = 600.0,
    events: Annotated[
        str | None, typer.Option("--events", metavar="FILE", help="Replay this file, as `produce` reads it.")
    ] = None,
    items: Annotated[str | None, typer.Option("--items", metavar="FILE", help="The items of --events.")] = None,
    broker: Annotated[
        str | None,
        typer.Option("--broker", metavar="ADDRESS", help="Use this cluster instead of starting a broker."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="NUMBER", help="Of the made-up shop.")] = 1,
    repeats: Annotated[
        bool, typer.Option("--repeats", help="Recommend and count items that the user has seen, too.")
    ] = False,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep", metavar="FOLDER", help="Keep the broker's data and the services' logs in this new folder."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Start everything, replay a stream and show what is learned.

    Starts a Kafka broker and the three services in a temporary folder, replays the month of a made-up
    shop (or your own files) and shows events in, lists out, freshness (event sent to a list that has
    learned from it), the hit rate of the lists against popularity, and lag. Ends by itself with a summary
    and the verdict of the audit, stops everything, and exits with 0 when all is well.
    """  # fmt: skip
    if items is not None and events is None:
        raise CliError("--items goes with --events", code=2)
    if keep is not None and keep.exists() and not (keep.is_dir() and not any(keep.iterdir())):
        raise CliError(
            f"--keep {keep}: give a new folder, or an empty one; this has the data of something else", code=2
        )
    if events is None:
        stream = generated(seed, int(rate * seconds * _SPARE_SHARE) + 1000)
    else:
        stream = from_files(events, items, sum(events_of(seconds, rate)))
    plan = Plan(stream=stream, seconds=seconds, rate=rate, broker=broker, keep=keep, repeats=repeats)
    with ended_by_signals(), Screen(err if as_json else out) as screen:
        screen.state.title = stream.title
        report = run(plan, settings, screen)
    if as_json:
        print_json(_json(plan, report))
    else:
        _show(plan, report)
    if not report.ok():
        raise typer.Exit(1)


class _Interrupted(KeyboardInterrupt):
    """A KeyboardInterrupt itself makes Python end by SIGINT, whatever the exit code, when it came inside of an exec."""


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does: in order. While it stops, none of them cuts it short.

    Raises:
        typer.Exit: with 128 and the number of the signal, as shells say it (143, 129).
    """
    came: list[int] = []

    def interrupt(given: int, _frame: FrameType | None) -> None:
        came.append(given)
        for number in (*_SIGNALS, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        raise _Interrupted

    before = {number: signal.signal(number, interrupt) for number in (*_SIGNALS, signal.SIGINT)}
    try:
        yield
    except BaseException:  # a library's C code may have made another error of the interrupt
        if not came:
            raise
        if came[0] == signal.SIGINT:
            raise _Interrupted from None
        err.print(f"ended by {signal.Signals(came[0]).name}", style="yellow")
        raise typer.Exit(128 + came[0]) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(plan: Plan, report: Report) -> None:
    now, fresh = report.snapshot, report.snapshot.freshness_ms
    lift = f" (×{now.hit_rate / now.popularity_hit_rate:.2f})" if now.popularity_hit_rate else ""
    terms = "all events" if plan.repeats else "items new to the user"
    out.print("Summary", style="bold")
    out.print(
        pairs(
            [
                ("stream", plan.stream.title),
                ("events in", f"{count(now.events)} of {count(now.users)} users, {count(plan.rate)}/s"),
                ("lists out", count(now.lists)),
                ("freshness", f"p50 {duration_ms(fresh.get('p50'))}, p99 {duration_ms(fresh.get('p99'))}"),
                (f"hit rate@{plan.k}", f"{now.hit_rate:.4f} over {count(now.scored)} events ({terms})"),
                ("popularity", f"{now.popularity_hit_rate:.4f}{lift}"),
                ("not yet in a list", count(now.waiting)),
                ("set-up, replay", f"{report.setup_s:.0f} s, {report.stream_s:.0f} s"),
            ]
        )
    )
    if report.sample is not None:
        titles = {item["item_id"]: item["title"] for item in plan.stream.items}
        history = ", ".join(titles.get(item) or item for item in report.history)
        out.print(f"A list, for a user who last had to do with {history}:", markup=False)
        show_list(_first(report.sample, plan.k), titles)
    for name, code in report.exit_codes.items():
        if code != 0:
            out.print(f"{name} ended with {'a kill' if code is None else f'code {code}'}", style="red", markup=False)
    if report.verdict is not None:
        show_audit(report.verdict)
    if plan.keep is not None:
        out.print(f"logs and data are in {plan.keep}", markup=False)


def _first(record: Mapping[str, Any], k: int) -> Any:
    return {**record, "items": record["items"][:k]}


def _json(plan: Plan, report: Report) -> dict[str, Any]:
    now = report.snapshot
    return {
        "ok": report.ok(),
        "stream": plan.stream.title,
        "rate": plan.rate,
        "setup_s": round(report.setup_s, 2),
        "stream_s": round(report.stream_s, 2),
        "events": now.events,
        "lists": now.lists,
        "users": now.users,
        "freshness_ms": {name: round(value, 1) for name, value in now.freshness_ms.items()},
        f"hit_rate_at_{plan.k}": now.hit_rate,
        f"popularity_hit_rate_at_{plan.k}": now.popularity_hit_rate,
        "scored": now.scored,
        "waiting": now.waiting,
        "exit_codes": report.exit_codes,
        "audit": report.verdict.to_json() if report.verdict else None,
        "sample": report.sample,
        "history": report.history,
    }
