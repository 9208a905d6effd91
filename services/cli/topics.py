"""`streamrec topics`: create, check and list the topics of the table."""

from __future__ import annotations

from typing import Any

import typer
from confluent_kafka import TopicPartition

from services.cli.errors import err
from services.cli.kafka import ANSWER_S, connect, log_offsets
from services.cli.options import command
from services.cli.show import JsonOption, count, out, print_json, table
from services.contracts import topics
from services.runtime.admin import Problem, check_topics, create_topics, told
from services.runtime.client import make_admin
from services.runtime.settings import KafkaSettings

_WIDE = 150
"""Columns of a terminal that who writes and reads a topic fits into."""
_MIDDLING = 100
"""Columns that two words of cleanup fit into, one after the other."""

app = typer.Typer(help="Create, check and list the topics.", no_args_is_help=True, add_completion=False)


@command(app, KafkaSettings, name="create")
def create(settings: KafkaSettings, as_json: JsonOption = False) -> None:
    """Create the topics that do not exist yet.

    Run it as often as you like: existing topics are compared with what the services need and never
    changed. Exit code 1 when one of them differs.
    """
    connect(settings)
    reports = create_topics(settings)
    problems = [problem for report in reports for problem in report.problems]
    if as_json:
        print_json(
            [
                {"topic": each.topic, "name": each.name, "partitions": each.partitions, "action": each.action}
                for each in reports
            ]
        )
    else:
        out.print(
            table(
                ["topic", "partitions", ""],
                [(each.name, each.partitions, each.action) for each in reports],
                right="partitions",
            )
        )
    _report(problems)


@command(app, KafkaSettings, name="check")
def check(settings: KafkaSettings, as_json: JsonOption = False) -> None:
    """Compare the topics with what the services need; exit code 1 when one is missing or differs."""
    connect(settings)
    problems = check_topics(settings)
    if as_json:
        print_json([{"topic": each.topic, "name": each.name, "what": each.what, "fix": each.fix} for each in problems])
        if problems:
            raise typer.Exit(1)
        return
    _report(problems)
    out.print(f"all {len(topics.TOPICS)} topics are as the services need them")


@command(app, KafkaSettings, name="list")
def list_(settings: KafkaSettings, as_json: JsonOption = False) -> None:
    """List every topic: what it carries, who writes it, who reads it, and how much is in it.

    Who writes and who reads is shown by terminals of 150 columns and more, and by --json.
    """
    connect(settings)
    held = _held(settings)
    lines: list[dict[str, Any]] = []
    for line in topics.TOPICS:
        name = line.physical(settings.topic_prefix)
        partitions, offsets = held.get(name, (0, 0))
        lines.append(
            {
                "topic": line.name,
                "name": name,
                "exists": name in held,
                "partitions": partitions,
                "offsets": offsets,
                "key": line.key,
                "value": line.value,
                "cleanup": line.cleanup,
                "written_by": list(line.written_by),
                "read_by": list(line.read_by),
            }
        )
    if as_json:
        print_json(lines)
        return
    wide = out.width >= _WIDE
    columns = ["topic", "partitions", "offsets", "carries", "cleanup", *(("written by", "read by") if wide else ())]
    out.print(
        table(
            columns,
            [
                (
                    each["name"],
                    each["partitions"] if each["exists"] else "missing",
                    count(each["offsets"]) if each["exists"] else "",
                    each["value"],
                    each["cleanup"].replace(",", ", " if out.width >= _MIDDLING else ",\n"),
                    *((", ".join(each["written_by"]), ", ".join(each["read_by"])) if wide else ()),
                )
                for each in lines
            ],
            right="partitions,offsets",
        )
    )
    out.print("offsets: last less first; transaction marks count, records that compaction removed do too", style="dim")


def _held(settings: KafkaSettings) -> dict[str, tuple[int, int]]:
    """{physical name: (partitions, offsets held)} of the topics that exist."""
    admin = make_admin(settings)
    names = {line.physical(settings.topic_prefix) for line in topics.TOPICS}
    found = {
        name: len(each.partitions)
        for name, each in admin.list_topics(timeout=ANSWER_S).topics.items()
        if name in names and each.error is None
    }
    ends = [TopicPartition(name, partition) for name, number in found.items() for partition in range(number)]
    sums = dict.fromkeys(found, 0)
    for (name, _), offset in log_offsets(admin, ends).items():
        sums[name] += offset
    for (name, _), offset in log_offsets(admin, ends, earliest=True).items():
        sums[name] -= offset
    return {name: (found[name], sums[name]) for name in found}


def _report(problems: list[Problem]) -> None:
    if not problems:
        return
    for line in told(problems):
        err.print(f"error: {line}", style="red", markup=False)
    raise typer.Exit(1)
