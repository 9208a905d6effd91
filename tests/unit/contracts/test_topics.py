"""The topic table: complete, consistent, and what the services rely on."""

from __future__ import annotations

import pytest

from services.contracts import topics
from tests.unit.contracts import topic_docs

every_topic = pytest.mark.parametrize("line", topics.TOPICS, ids=lambda line: str(line.name))


def test_table_has_the_contract_s_topics() -> None:
    """Exactly the topics of the architecture, with their keys' partitioning and cleanup."""
    assert {line.name: (line.partitioned_by, line.cleanup) for line in topics.TOPICS} == {
        "interactions": ("user", "delete"),
        "items": ("item", "compact"),
        "recommendation-requests": ("user", "delete"),
        "erasure-requests": ("user", "delete"),
        "features": ("user", "delete"),
        "extraction-state": ("user", "compact"),
        "user-state": ("user", "compact"),
        "item-deltas": ("item", "delete"),
        "item-state": ("item", "compact"),
        "recommendations": ("user", "compact,delete"),
        "quality": ("none", "delete"),
        "dead-letters": ("none", "delete"),
    }


@every_topic
def test_topics_are_stamped_with_append_time(line: topics.Topic) -> None:
    """A producer's old timestamps neither expire a record at once nor have it refused."""
    assert line.required_configs()["message.timestamp.type"] == "LogAppendTime"


@every_topic
def test_only_deleting_topics_have_a_retention(line: topics.Topic) -> None:
    """State is kept for ever; whatever is deleted by age says after how long."""
    assert ("delete" in line.cleanup.split(",")) == (line.retention_ms is not None)
    assert ("retention.ms" in line.create_configs()) == (line.retention_ms is not None)


@every_topic
def test_someone_writes_and_reads_it(line: topics.Topic) -> None:
    """Every topic has writers and readers, by known names."""
    known = {*topics.SERVICES, topics.PRODUCERS, topics.CONSUMERS}
    assert line.written_by
    assert line.read_by
    assert set(line.written_by) | set(line.read_by) <= known


@every_topic
def test_configs_are_strings(line: topics.Topic) -> None:
    """Kafka's admin API takes strings, and what is required is also what is made."""
    assert all(isinstance(value, str) for value in line.create_configs().values())
    assert line.required_configs().items() <= line.create_configs().items()


def test_rebuild_inputs_are_kept_equally_long() -> None:
    """A rebuild needs features and item-deltas of the same time."""
    assert topics.topic("features").retention_ms == topics.topic("item-deltas").retention_ms


def test_partition_counts_and_names() -> None:
    """Counts follow the kind of key, names and subjects take the prefix."""
    line = topics.topic("item-state")
    assert (line.partitions(8, 3), topics.topic("user-state").partitions(8, 3)) == (3, 8)
    assert topics.topic("quality").partitions(8, 3) == 1
    assert line.physical("shop.") == "shop.item-state"
    assert line.subject("shop.") == "shop.item-state-value"
    assert topics.physical("items", "") == "items"


def test_unknown_topic_is_named() -> None:
    """A misspelt name lists the names that there are."""
    with pytest.raises(KeyError, match="no topic is called 'item'; there are interactions, items"):
        topics.topic("item")


def test_access_of_a_service() -> None:
    """The access list of a service is what its ACLs must allow, and not more."""
    assert set(topics.access(topics.FEATURE_EXTRACTION)) == {
        ("interactions", "read"),
        ("interactions", "write"),
        ("items", "read"),
        ("erasure-requests", "read"),
        ("features", "write"),
        ("extraction-state", "read"),
        ("extraction-state", "write"),
        ("recommendations", "read"),
        ("quality", "write"),
        ("dead-letters", "write"),
    }


def test_documentation_has_the_table() -> None:
    """The page about topics is made from the table: `python -m tests.unit.contracts.topic_docs` makes it anew."""
    page = topic_docs.PAGE.read_text("utf-8")
    assert topic_docs.rendered(page) == page
