"""Drives the processor without Kafka: a log of interactions in, decoded outputs and the compacted state out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from services.contracts.edge import RecommendationList, codec_for
from services.contracts.inner import features
from services.contracts.inner.extraction_state import VERSION, ExtractionRow
from services.contracts.inner.features import BATCH_KEY
from services.contracts.keys import partition_of
from services.feature_extraction.interactions import InteractionReader
from services.feature_extraction.processor import ERASURES, INTERACTIONS, ITEMS, LISTS, STATE, FeatureExtraction
from services.feature_extraction.served import ListReader
from services.feature_extraction.settings import ExtractionSettings
from services.runtime.processor import Batch, Outputs, Slice

PARTITIONS = 4
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
NOW = 1_700_000_000_000
CODEC = codec_for(INTERACTIONS)
LIST_CODEC = codec_for(LISTS)


def event(user: str = "ann", item: str = "a", **fields: Any) -> dict[str, Any]:
    """An InteractionEvent with every field."""
    return {
        "event_id": None,
        "user_id": user,
        "item_id": item,
        "type": "view",
        "value": None,
        "event_time": None,
        "session_id": None,
        "context": {},
        "list_id": None,
        **fields,
    }


def item(item_id: str, *categories: str) -> dict[str, Any]:
    """An Item with every field."""
    return {
        "item_id": item_id,
        "title": "",
        "categories": list(categories),
        "year": None,
        "attributes": {},
        "available": True,
        "created_at": None,
    }


def served(list_id: str, user: str, items: Sequence[str], published_at: int, **fields: Any) -> dict[str, Any]:
    """A RecommendationList with every field."""
    ranked = [{"item_id": name, "score": 1 / rank, "rank": rank} for rank, name in enumerate(items, 1)]
    made = {"list_id": list_id, "user_id": user, "items": ranked, "published_at": published_at, "why": "event"}
    return {**LIST_CODEC.complete({**made, **fields})}


def list_bytes(record: dict[str, Any]) -> bytes:
    """A list as it is published."""
    return LIST_CODEC.encode(cast(RecommendationList, record))


def new_row() -> ExtractionRow:
    """The row of a user who has done nothing yet."""
    return {
        "v": VERSION,
        "p": 0,
        "o": 0,
        "e": 1,
        "ts": 0,
        "t": 0,
        "n": 0,
        "s": [0, 0, -1],
        "r": [0, 0.0, 0.0],
        "d": b"",
        "dn": 0,
        "pt": 0,
        "pc": [],
        "pw": [],
        "im": [],
    }


def home(user: str) -> int:
    """The partition that owns a user."""
    return partition_of(user.encode(), PARTITIONS)


def slice_of(topic: str, partition: int, start: int, rows: Iterable[tuple[int, bytes | None, Any]]) -> Slice:
    """A slice without gaps of (append time, key, value) rows."""
    slice_ = Slice(topic, partition, start, start)
    for timestamp, key, value in rows:
        slice_.offsets.append(slice_.end)
        slice_.timestamps.append(timestamp)
        slice_.keys.append(key)
        slice_.values.append(value)
        slice_.end += 1
    return slice_


@dataclass
class Driver:
    """One replica that owns every partition, and the topics it writes to."""

    settings: ExtractionSettings = field(default_factory=lambda: ExtractionSettings(user_partitions=PARTITIONS))
    written: dict[int, list[Any]] = field(default_factory=lambda: {partition: [] for partition in range(PARTITIONS)})
    """Decoded records of the features topic, seals apart."""
    seals: list[Any] = field(default_factory=list)
    state: dict[int, dict[bytes, bytes]] = field(default_factory=lambda: {p: {} for p in range(PARTITIONS)})
    """The compacted extraction-state topic: keys in the order of their last write."""
    moved: list[tuple[str, int | None, bytes | None, bytes | None]] = field(default_factory=list)
    dead: list[tuple[str, int, int, str, str]] = field(default_factory=list)
    positions: dict[tuple[str, int], int] = field(default_factory=dict)
    fates: Counter[str] = field(default_factory=Counter)
    """The counter `interactions_total` by its label."""
    epoch: int = 0

    def __post_init__(self) -> None:
        """Begin the first incarnation."""
        self.processor = FeatureExtraction(self.settings, {}, InteractionReader(CODEC), ListReader(LIST_CODEC))
        self.items: list[dict[str, Any]] = []
        self.restart()

    def restart(self, checkpoint: bool = False) -> None:
        """Begin a new incarnation, restored from the topic or from what a checkpoint would hold."""
        stored = self.state
        if checkpoint:
            stored = {p: {key: value for _, key, value in self.processor.dump(p) or ()} for p in range(PARTITIONS)}
        self.epoch += 1
        self.processor.start(self.epoch)
        self.describe(*self.items)
        for partition, records in stored.items():
            self.processor.open(partition)
            self.processor.load(slice_of(STATE, partition, 0, ((0, key, value) for key, value in records.items())))
            assert self.processor.restored(partition) is None

    def describe(self, *items: dict[str, Any]) -> None:
        """Put items into the items topic."""
        self.items = list(items)
        self.processor.load(slice_of(ITEMS, 0, 0, ((0, one["item_id"].encode(), one) for one in items)))

    def step(self, *slices: Slice) -> None:
        """One step over these slices; its outputs are kept."""
        out = Outputs()
        self.processor.step(Batch(NOW, sorted(slices, key=lambda one: (one.topic, one.partition))), out)
        self.dead += out.dead
        for name, amount, ((_, fate),) in out.counts:
            assert name == "interactions_total"
            self.fates[fate] += int(amount)
        for record in out.records:
            if record.topic == STATE:
                assert record.key is not None
                assert record.partition is not None
                self.state[record.partition].pop(record.key, None)
                if record.value is not None:
                    self.state[record.partition][record.key] = record.value
            elif record.topic == "features":
                assert record.value is not None
                decoded = features.decode(record.value)
                if decoded["kind"] == "batch":
                    assert record.key == BATCH_KEY
                    assert record.partition == decoded["partition"]
                    self.seals.append(decoded)
                else:
                    assert record.key == decoded["user"].encode()
                    assert record.partition is not None
                    self.written[record.partition].append(decoded)
            else:
                self.moved.append((record.topic, record.partition, record.key, record.value))

    def feed(self, topic: str, rows: Iterable[tuple[int, bytes | None, Any]], partition: int = 0) -> None:
        """One step over the next rows of one partition of a topic."""
        slice_ = slice_of(topic, partition, self.positions.get((topic, partition), 0), rows)
        self.positions[topic, partition] = slice_.end
        self.step(slice_)

    def interact(self, *events: dict[str, Any], at: int | None = None, together: bool = False) -> None:
        """Produce events of one user; append time is the event time, or `at`. Each is a batch, or all are one."""
        rows = [(at or one["event_time"] or NOW, one["user_id"].encode(), CODEC.encode(one)) for one in events]
        for chunk in [rows] if together else [[row] for row in rows]:
            self.feed(INTERACTIONS, chunk, home(events[0]["user_id"]))

    def serve(self, user: str, record: dict[str, Any] | None, at: int = NOW) -> None:
        """Publish a list."""
        self.feed(LISTS, [(at, user.encode(), record and list_bytes(record))], home(user))

    def erase(self, user: str, partition: int | None = None) -> None:
        """Ask to forget a user."""
        request = ({"request_id": None, "user_id": user, "requested_at": None}, b"raw")
        self.feed(ERASURES, [(NOW, user.encode(), request)], home(user) if partition is None else partition)

    def of(self, user: str) -> list[Any]:
        """The feature records of a user."""
        return [one for one in self.written[home(user)] if one["user"] == user]

    def restored(self) -> dict[int, list[tuple[str, bytes, bytes]]]:
        """What the processor holds, record for record."""
        return {partition: list(self.processor.dump(partition) or ()) for partition in range(PARTITIONS)}
