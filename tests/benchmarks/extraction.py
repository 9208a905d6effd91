"""`python -m tests.benchmarks.extraction`: what feature extraction costs per event, CPU microseconds, by part.

Everything between the two Kafka clients, on real encoded records: what the runtime does per record, the step, and
handing the outputs to a producer that drops them. As many served lists and batches as a system at full speed has. CPU
time of the process and not wall time, so that other work on the machine disturbs least; the best of several rounds.
The ratio to decoding alone says more than microseconds where machines differ.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from typing import Any, cast

from confluent_kafka import Message
from rich.console import Console
from rich.table import Table

from services.contracts.edge import RecommendationList, codec_for
from services.contracts.keys import partition_of
from services.feature_extraction.processor import INTERACTIONS, ITEMS, LISTS, FeatureExtraction
from services.feature_extraction.service import processors
from services.feature_extraction.settings import ExtractionSettings
from services.runtime.decoding import decode
from services.runtime.log import logger
from services.runtime.metrics import Metrics
from services.runtime.processor import Batch, Outputs
from services.runtime.stepping import Turn
from services.runtime.trouble import Trouble
from services.runtime.writer import Sending
from tests.benchmarks.pipeline.load import Load, events, items

_BATCH = 4000
_EVENTS_PER_LIST = 10
_LIST_ITEMS = 20
_WARM_UP_BATCHES = 5

Place = tuple[str, int]


class Bench:
    """One replica that owns every partition, fed batch by batch."""

    def __init__(self, catalogue: int) -> None:
        """Load a catalogue."""
        self._settings = ExtractionSettings()
        (self.processor,) = processors(self._settings, "bench")
        assert isinstance(self.processor, FeatureExtraction)
        self.processor.start(1)
        loaded = [
            Message(topic=ITEMS, key=key, value=value, offset=at) for at, (key, value) in enumerate(items(catalogue))
        ]
        self.processor.load(decode(ITEMS, 0, 0, loaded, self.processor.decoders[ITEMS])[0])
        for partition in range(self._settings.user_partitions):
            self.processor.open(partition)
        self._sending = Sending(cast(Any, _Dropping()), "", Metrics(), Trouble(logger()), lambda: None)
        self._ends: dict[Place, int] = defaultdict(int)
        self._lists = codec_for(LISTS)
        self._catalogue = catalogue
        self.spent: dict[str, float] = defaultdict(float)

    def batches(self, load: Load) -> list[dict[Place, list[Message]]]:
        """The records of a load as the client hands them out, with a list for every tenth event."""
        now = time.time_ns() // 1_000_000
        made = []
        for start in range(0, len(load), _BATCH):
            grouped: dict[Place, list[Message]] = defaultdict(list)
            for at in range(start, min(start + _BATCH, len(load))):
                user = load.users[at]
                self._append(grouped, INTERACTIONS, user, load.values[at], now)
                if at % _EVENTS_PER_LIST == 0:
                    self._append(grouped, LISTS, user, self._lists.encode(self._list(at, user, now)), now)
            made.append(dict(grouped))
        return made

    def run(self, grouped: dict[Place, list[Message]]) -> None:
        """One turn of the loop without its clients."""
        turn, out = Turn(Batch(0)), Outputs()
        began = time.process_time()
        for topic, partition in sorted(grouped):
            found = grouped[topic, partition]
            turn.take((topic, partition), found[0].offset() or 0, found, self.processor.decoders[topic])
            began = self._spend(f"decode {topic}", began)
        self.processor.step(turn.batch, out)
        began = self._spend("step", began)
        turn.positions(out)
        self._sending.send(out.records)
        self._spend("produce", began)
        assert not turn.bad

    def _spend(self, part: str, began: float) -> float:
        now = time.process_time()
        self.spent[part] += now - began
        return now

    def _append(self, grouped: dict[Place, list[Message]], topic: str, user: str, value: bytes, now: int) -> None:
        place = topic, partition_of(user.encode(), self._settings.user_partitions)
        message = Message(
            topic=topic,
            partition=place[1],
            offset=self._ends[place],
            key=user.encode(),
            value=value,
            timestamp=(2, now),
        )
        grouped[place].append(message)
        self._ends[place] += 1

    def _list(self, number: int, user: str, now: int) -> RecommendationList:
        return {
            "list_id": f"{user}-{number}",
            "user_id": user,
            "items": [
                {
                    "item_id": f"item-{(number * 31 + rank * 7) % self._catalogue:05d}",
                    "score": 1 / rank, "rank": rank, "signal": "factors",
                    "because": ["item-00001", "item-00002"], "propensity": None,
                }
                for rank in range(1, _LIST_ITEMS + 1)
            ],
            "learned_event_id": f"b-{number}", "learned_event_time": now, "learned_append_time": now,
            "published_at": now, "latency_ms": 0, "model": {"epoch": 1, "partition": 0, "offset": number},
            "arm": "default", "why": "event", "request_id": None, "fallback": None,
        }  # fmt: skip


class _Dropping:
    """A producer that takes everything and keeps nothing."""

    def produce(self, topic: str, value: bytes | None, key: bytes | None, partition: int) -> None:
        pass


def measure(rounds: int, events_per_round: int, users: int, catalogue: int) -> dict[str, float]:
    """{part: CPU µs per event}, each the best of the rounds."""
    bench = Bench(catalogue)
    warm_up = _WARM_UP_BATCHES * _BATCH
    for grouped in bench.batches(events(1, warm_up, users, catalogue)):
        bench.run(grouped)
    best: dict[str, float] = {}
    for number in range(rounds):
        first = warm_up + number * events_per_round
        batches = bench.batches(events(1, events_per_round, users, catalogue, first=first))
        bench.spent.clear()
        for grouped in batches:
            bench.run(grouped)
        for part, seconds in bench.spent.items():
            best[part] = min(best.get(part, float("inf")), seconds / events_per_round * 1e6)
    return best


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=20_000, help="events per round")
    parser.add_argument("--users", type=int, default=25_000)
    parser.add_argument("--items", type=int, default=12_000)
    options = parser.parse_args()
    found = measure(options.rounds, options.events, options.users, options.items)
    alone = found[f"decode {INTERACTIONS}"]
    table = Table("", "µs/event", "of decoding", title="CPU of feature extraction per event, one core, no client")
    for part, cost in [*found.items(), ("all", sum(found.values()))]:
        table.add_row(part, f"{cost:.2f}", f"{cost / alone:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
