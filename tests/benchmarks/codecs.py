"""`python -m tests.benchmarks.codecs`: what encoding, decoding and hashing cost per record, in microseconds.

Method: the best of five runs of 50,000 calls on one core, so that other work on the machine disturbs least.
"""

from __future__ import annotations

import json
import timeit
from collections.abc import Callable
from io import BytesIO
from typing import Any

import fastavro
from rich.console import Console
from rich.table import Table

from services.contracts import keys
from services.contracts.edge import EdgeCodec, InteractionEvent, Item, RecommendationList, schemas

CALLS = 50_000
RUNS = 5

EVENT = {"user_id": "u123", "item_id": "i4567", "type": "rating", "value": 4.0, "event_time": 1_700_000_000_000}
ITEM = {"item_id": "i4567", "title": "The Third Man", "categories": ["Film noir", "Thriller"], "year": 1949}
LIST = {
    "list_id": "l1",
    "user_id": "u123",
    "published_at": 1_700_000_000_000,
    "why": "event",
    "items": [{"item_id": f"i{n}", "score": 1.0 / (n + 1), "rank": n + 1, "because": ["i1"]} for n in range(10)],
}


def per_call_us(call: Callable[[], Any], calls: int = CALLS) -> float:
    """Microseconds per call: the best of several runs."""
    return min(timeit.repeat(call, number=calls, repeat=RUNS)) / calls * 1e6


def measure() -> dict[str, float]:
    """{what: µs}."""
    found: dict[str, float] = {}
    for record, example in ((InteractionEvent, EVENT), (Item, ITEM), (RecommendationList, LIST)):
        codec: EdgeCodec[Any] = EdgeCodec(record)
        whole = codec.complete(example)
        avro, text = codec.encode(whole), json.dumps(example).encode()
        parsed = schemas.current(codec.record).parsed
        body = avro[10:]
        found[f"{codec.record}: encode ({len(avro)} bytes)"] = per_call_us(lambda: codec.encode(whole))  # noqa: B023 - called at once
        found[f"{codec.record}: decode"] = per_call_us(lambda: codec.decode(avro))  # noqa: B023 - called at once
        found[f"{codec.record}: decode, fastavro alone"] = per_call_us(
            lambda: fastavro.schemaless_reader(BytesIO(body), parsed, None)  # noqa: B023 - called at once
        )
        found[f"{codec.record}: decode JSON"] = per_call_us(lambda: codec.decode(text))  # noqa: B023 - called at once
    many = [b"user-%d" % number for number in range(1000)]
    found["partition of a key, cached"] = per_call_us(lambda: keys.partition_of(b"user-1", 8))
    found["partition of a key, not cached"] = per_call_us(lambda: keys.murmur2(b"user-12345"))
    found["partition of a key, 1000 at once"] = per_call_us(lambda: keys.partitions_of(many, 8), 500) / len(many)
    found["content features of an item"] = per_call_us(lambda: keys.content_features(ITEM), 5000)
    return found


def main() -> None:
    """Measure and print a table."""
    table = Table("", "µs", title="Cost per record, one core")
    for what, cost in measure().items():
        table.add_row(what, f"{cost:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
