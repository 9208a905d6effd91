"""`streamrec lag`: how far each service is behind, per group, topic and partition."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Self

import typer
from confluent_kafka import TopicPartition
from rich.console import Group
from rich.live import Live
from rich.table import Table

from services.cli.groups import GROUPS, Positions, group_of, members
from services.cli.kafka import ANSWER_S, connect, log_offsets
from services.cli.options import command
from services.cli.show import JsonOption, count, out, print_json, several, table
from services.runtime.client import make_admin
from services.runtime.settings import KafkaSettings

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

_STATES = {"dead": "never started", "empty": "not running", "stable": "running"}
_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Line:
    """One partition of one topic as one group sees it."""

    group: str
    state: str
    members: int
    topic: str
    partition: int
    committed: int | None
    """Next offset to read; None when nothing was committed yet."""
    end: int

    @property
    def lag(self) -> int:
        """Offsets between the committed position and the end (transaction marks count)."""
        return self.end - (self.committed or 0)


@command(app, KafkaSettings, name="lag")
def lag(
    settings: KafkaSettings,
    *,
    live: Annotated[bool, typer.Option("--live", "-f", help="Show it again every second, with the rates.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show how far each service is behind.

    Gives committed position, end and lag per group and partition. Lag counts offsets, transaction marks
    included: the position of a service that has read everything can be a few offsets short of the end.
    """
    connect(settings, *dict.fromkeys(topic for topics in GROUPS.values() for topic in topics))
    with LagReader(settings) as reader:
        _show(reader, live=live, as_json=as_json)


def _show(reader: LagReader, *, live: bool, as_json: bool) -> None:
    if as_json:
        for lines in _readings(reader, live):
            print_json([_plain(line) for line in lines])
        return
    if not live:
        out.print(_tables(reader.read(), {}, 0.0))
        return
    with Live(console=out, auto_refresh=False) as screen:
        before: dict[tuple[str, str, int], int] = {}
        then = time.monotonic()
        for lines in _readings(reader, live):
            now = time.monotonic()
            screen.update(_tables(lines, before, now - then), refresh=True)
            before = {(line.group, line.topic, line.partition): line.committed or 0 for line in lines}
            then = now


def _readings(reader: LagReader, live: bool) -> Iterable[list[Line]]:
    yield reader.read()
    while live:
        time.sleep(_EVERY_S)
        yield reader.read()


class LagReader:
    """Reads the lag of every group, again and again, with clients that are kept until `close`."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Connects at the first reading."""
        self._settings = settings
        self._admin = make_admin(settings)
        self._positions = Positions(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up the clients."""
        self._positions.close()

    def read(self, processors: Collection[str] = tuple(GROUPS)) -> list[Line]:
        """The lag of some processors' groups now, in the order in which events flow."""
        settings, admin = self._settings, self._admin
        known = admin.list_topics(timeout=ANSWER_S).topics
        places = {
            processor: [
                TopicPartition(settings.topic_prefix + topic, partition)
                for topic in names
                if settings.topic_prefix + topic in known
                for partition in sorted(known[settings.topic_prefix + topic].partitions)
            ]
            for processor, names in GROUPS.items()
            if processor in processors
        }
        about = members(admin, [group_of(settings, processor) for processor in places])
        # Positions before ends: a position never seems to be behind an end that it has passed.
        positions = {
            processor: self._positions.of(group_of(settings, processor), wanted) for processor, wanted in places.items()
        }
        ends = log_offsets(admin, {place for each in places.values() for place in each})
        lines = []
        for processor, wanted in places.items():
            state, number = about.get(group_of(settings, processor), ("dead", 0))
            for place in wanted:
                key = (place.topic, place.partition)
                topic, position = place.topic.removeprefix(settings.topic_prefix), positions[processor].get(key)
                lines.append(Line(processor, state, number, topic, place.partition, position, ends.get(key, 0)))
        return lines


def running(settings: KafkaSettings) -> bool:
    """Whether any replica of any service is a member of its group now."""
    groups = [group_of(settings, processor) for processor in GROUPS]
    return any(number for _, number in members(make_admin(settings), groups).values())


def _plain(line: Line) -> dict[str, Any]:
    return {
        "group": line.group, "state": line.state, "members": line.members, "topic": line.topic,
        "partition": line.partition, "committed": line.committed, "end": line.end, "lag": line.lag,
    }  # fmt: skip


def _tables(lines: list[Line], before: dict[tuple[str, str, int], int], seconds: float) -> Group:
    columns = ["topic", "partition", "committed", "end", "lag", *(["per s"] if before else [])]
    made: list[Table] = []
    for group in dict.fromkeys(line.group for line in lines):
        own = [line for line in lines if line.group == group]
        rows = []
        for line in own:
            row = [
                line.topic, line.partition, "-" if line.committed is None else count(line.committed), count(line.end),
                count(line.lag),
            ]  # fmt: skip
            if before:
                moved = (line.committed or 0) - before.get((group, line.topic, line.partition), 0)
                row.append(count(moved / max(seconds, 1e-3)))
            rows.append(row)
        state = _STATES.get(own[0].state, own[0].state)
        head = f"{group}: {state}, {several(own[0].members, 'member')}, lag {count(sum(line.lag for line in own))}"
        made.append(table(columns, rows, head, right="partition,committed,end,lag,per s"))
    return Group(*made)
