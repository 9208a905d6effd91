"""The events of a demo: the generated shop, or files of one's own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from services.cli.demo.shop import DAY_MS, shop
from services.cli.errors import CliError, err
from services.cli.produce.columns import EVENTS, ITEMS, Shape
from services.cli.produce.source import BadRowError, Source, SourceError
from services.contracts.edge import EdgeRecordError, codec_for

_SHOP_DAYS = 30.0


@dataclass(slots=True)
class Stream:
    """What is replayed."""

    title: str
    items: list[dict[str, Any]]
    events: Iterator[dict[str, Any]]
    """Complete InteractionEvent records, each with an id and an event time."""


def generated(seed: int, events: int) -> Stream:
    """The shop: a month of its life that ends now, as large as the number of events allows to learn."""
    users, items = max(50, events // 25), max(200, min(2000, events // 12))
    start_ms = time.time_ns() // 1_000_000 - int(_SHOP_DAYS * DAY_MS)
    catalogue, stream = shop(seed, events, users, items, start_ms=start_ms, days=_SHOP_DAYS)
    title = f"a made-up shop: {items:,} items, {users:,} customers, a month of their life (seed {seed})"
    return Stream(title, catalogue, stream)


def from_files(events: str, items: str | None, limit: int) -> Stream:
    """The first events of a file, and all items of another.

    Raises:
        CliError: a file cannot be read, has no events, or a line is bad.
    """
    stream = _records(events, EVENTS)
    # The first event is read before anything is started, to see that there is one.
    first = next(stream, None)
    if first is None:
        raise CliError(f"{events}: there are no events", code=2)
    catalogue = list(_records(items, ITEMS)) if items else []
    return Stream(f"{events}, up to {limit:,} events of it", catalogue, islice(chain((first,), stream), limit))


def _records(path: str, shape: Shape) -> Iterator[dict[str, Any]]:
    codec = codec_for(shape.topic)
    try:
        with Source(path, shape) as source:
            for note in source.notes:
                err.print(f"{path}: {note}", style="dim", markup=False)
            rating = source.fields.get("value", "").lower() in ("rating", "stars", "score")
            for row in source.rows():
                if isinstance(row, BadRowError):
                    raise CliError(str(row))
                if shape is EVENTS:
                    row["type"] = row["type"] or ("rating" if rating else "view")
                    row["event_id"] = row["event_id"] or f"{source.identity}-{source.line}"
                    row["event_time"] = row["event_time"] or time.time_ns() // 1_000_000
                try:
                    yield codec.complete(row)
                except EdgeRecordError as error:
                    raise CliError(f"{path}, line {source.line}: {error}") from None
    except SourceError as error:
        raise CliError(str(error), code=2) from None
