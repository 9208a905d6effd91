"""The one topic table: what `streamrec topics create` makes, `check` compares and the ACL documentation lists.

Every topic is stamped with the broker's append time. A producer's own timestamps (a replay of last year's events) would
otherwise be deleted by time-based retention at once, or be refused; event time travels inside the record.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

MAX_MESSAGE_BYTES = 8 * 1024 * 1024
"""Largest record batch of the inner topics, dead-letters and recommendations: one learning batch's deltas for an item
partition are one record. The producers' message.max.bytes must be the same."""

TOMBSTONE_RETENTION_MS = 7 * DAY_MS
"""How long a compacted topic keeps the record of a deletion. A local checkpoint older than this may have missed a
deletion for good, and must be ignored."""

FORGET_WITHIN_MS = DAY_MS
"""Latest moment at which compaction may begin with a record, so that an erased user's old rows leave the disks."""

FEATURE_EXTRACTION = "feature-extraction"
MODEL_UPDATE = "model-update"
PUBLISHING = "recommendation-publishing"
SERVICES = (FEATURE_EXTRACTION, MODEL_UPDATE, PUBLISHING)
"""The three services, as in `streamrec run <name>`."""
PRODUCERS = "producers"
"""Whoever writes events, items and requests."""
CONSUMERS = "consumers"
"""Whoever reads lists and reports."""

Cleanup = Literal["delete", "compact", "compact,delete"]
PartitionedBy = Literal["user", "item", "none"]


@dataclass(frozen=True, slots=True)
class Topic:
    """One line of the topic table."""

    name: str
    """Logical name; `physical` adds the prefix."""
    key: str
    """What the key is, for people."""
    value: str
    """The edge record's name, or what an inner record is."""
    format: Literal["edge", "inner", "original"]
    """edge: Avro or JSON; inner: msgpack; original: the bytes of another topic's record."""
    partitioned_by: PartitionedBy
    """Which partition count it has; "none" is one partition."""
    cleanup: Cleanup
    written_by: tuple[str, ...]
    read_by: tuple[str, ...]
    retention_ms: int | None = None
    """Default retention of a topic whose cleanup deletes; operators may change it."""
    configs: dict[str, str] = field(default_factory=dict)
    """Further defaults of the topic."""

    def physical(self, prefix: str) -> str:
        """Name in Kafka."""
        return prefix + self.name

    def subject(self, prefix: str) -> str:
        """Subject of its values in a schema registry."""
        return f"{prefix}{self.name}-value"

    def partitions(self, user_partitions: int, item_partitions: int) -> int:
        """Partition count under the configured counts."""
        return {"user": user_partitions, "item": item_partitions, "none": 1}[self.partitioned_by]

    def required_configs(self) -> dict[str, str]:
        """What the services rely on: `check` refuses a topic that differs."""
        required = {"cleanup.policy": self.cleanup, "message.timestamp.type": "LogAppendTime"}
        if "max.message.bytes" in self.configs:
            required["max.message.bytes"] = self.configs["max.message.bytes"]
        return required

    def create_configs(self) -> dict[str, str]:
        """Every config that `create` sets: the required ones and the defaults."""
        made = dict(self.required_configs())
        if self.retention_ms is not None:
            made["retention.ms"] = str(self.retention_ms)
        made.update(self.configs)
        return made


_LARGE = {"max.message.bytes": str(MAX_MESSAGE_BYTES)}

_STATE = {
    **_LARGE,
    # Only closed segments are compacted, and a restore reads all of the open one: small and young segments bound it.
    "segment.bytes": str(64 * 1024 * 1024),
    "segment.ms": str(HOUR_MS),
    "min.cleanable.dirty.ratio": "0.3",
    # A live reader sees every sweep and every row whole; compaction comes after it.
    "min.compaction.lag.ms": str(10 * MINUTE_MS),
    "max.compaction.lag.ms": str(FORGET_WITHIN_MS),
    "delete.retention.ms": str(TOMBSTONE_RETENTION_MS),
}

TOPICS: tuple[Topic, ...] = (
    Topic(
        "interactions", "user_id", "InteractionEvent", "edge", "user", "delete",
        written_by=(PRODUCERS, FEATURE_EXTRACTION), read_by=(FEATURE_EXTRACTION,), retention_ms=7 * DAY_MS,
    ),
    Topic(
        "items", "item_id", "Item", "edge", "item", "compact",
        written_by=(PRODUCERS,), read_by=(FEATURE_EXTRACTION, PUBLISHING),
        configs={"segment.ms": str(DAY_MS), "delete.retention.ms": str(TOMBSTONE_RETENTION_MS)},
    ),
    Topic(
        "recommendation-requests", "user_id", "RecommendationRequest", "edge", "user", "delete",
        written_by=(PRODUCERS,), read_by=(PUBLISHING,), retention_ms=DAY_MS,
    ),
    Topic(
        "erasure-requests", "user_id", "ErasureRequest", "edge", "user", "delete",
        # Long enough for a service that was stopped for weeks, not forever: a user id is personal data too.
        written_by=(PRODUCERS,), read_by=(FEATURE_EXTRACTION, PUBLISHING), retention_ms=30 * DAY_MS,
    ),
    Topic(
        "features", "user_id", "feature record", "inner", "user", "delete",
        written_by=(FEATURE_EXTRACTION,), read_by=(MODEL_UPDATE,), retention_ms=7 * DAY_MS, configs=_LARGE,
    ),
    Topic(
        "extraction-state", "user_id", "extraction row", "inner", "user", "compact",
        written_by=(FEATURE_EXTRACTION,), read_by=(FEATURE_EXTRACTION,), configs=_STATE,
    ),
    Topic(
        "user-state", "user_id", "user row", "inner", "user", "compact",
        written_by=(MODEL_UPDATE,), read_by=(MODEL_UPDATE, PUBLISHING), configs=_STATE,
    ),
    Topic(
        "item-deltas", "item_id", "summed parameter deltas", "inner", "item", "delete",
        written_by=(MODEL_UPDATE,), read_by=(MODEL_UPDATE,), retention_ms=7 * DAY_MS, configs=_LARGE,
    ),
    Topic(
        "item-state", "item_id", "item row", "inner", "item", "compact",
        written_by=(MODEL_UPDATE,), read_by=(MODEL_UPDATE, PUBLISHING), configs=_STATE,
    ),
    Topic(
        "recommendations", "user_id", "RecommendationList", "edge", "user", "compact,delete",
        written_by=(PUBLISHING,), read_by=(CONSUMERS, FEATURE_EXTRACTION), retention_ms=30 * DAY_MS,
        configs={
            **_LARGE,
            "segment.ms": str(HOUR_MS),
            "max.compaction.lag.ms": str(FORGET_WITHIN_MS),
            "delete.retention.ms": str(TOMBSTONE_RETENTION_MS),
        },
    ),
    Topic(
        "quality", "shard/metric", "QualityReport", "edge", "none", "delete",
        written_by=SERVICES, read_by=(CONSUMERS,), retention_ms=30 * DAY_MS,
    ),
    Topic(
        "dead-letters", "original key", "original bytes and error headers", "original", "none", "delete",
        written_by=SERVICES, read_by=(CONSUMERS,), retention_ms=30 * DAY_MS, configs=_LARGE,
    ),
)  # fmt: skip

BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TOPICS}
"""The table by logical name."""


def topic(name: str) -> Topic:
    """One line of the table by logical name.

    Raises:
        KeyError: there is no such topic.
    """
    try:
        return BY_NAME[name]
    except KeyError:
        raise KeyError(f"no topic is called {name!r}; there are {', '.join(BY_NAME)}") from None


def physical(name: str, prefix: str) -> str:
    """Name in Kafka of a logical topic; raises KeyError for an unknown one."""
    return topic(name).physical(prefix)


def access(service: str) -> Iterator[tuple[str, Literal["read", "write"]]]:
    """The access that a service needs, as (logical topic, read or write): what its ACLs must allow."""
    for line in TOPICS:
        if service in line.read_by:
            yield line.name, "read"
        if service in line.written_by:
            yield line.name, "write"
