"""The schema registry client, against the client's own in-process registry."""

from __future__ import annotations

from typing import Any

import pytest

from services.contracts.edge import EdgeCodec, EdgeRecordError, InteractionEvent, RegistryError
from services.runtime.registry import ConfluentRegistry, registry_of
from services.runtime.settings import KafkaSettings, SettingsError

client_module = pytest.importorskip("confluent_kafka.schema_registry", reason="the registry extra is not installed")


def test_no_registry_is_configured() -> None:
    """An empty URL means no registry, and single-object encoding."""
    assert registry_of(KafkaSettings(schema_registry_url="")) is None


def test_records_go_through_a_registry() -> None:
    """With a registry a record is framed with its schema's id, and read back by it."""
    registry = registry_of(KafkaSettings(schema_registry_url="mock://"))
    assert registry is not None
    codec = EdgeCodec(InteractionEvent, registry, "interactions-value")
    event = codec.complete({"user_id": "u", "item_id": "i"})
    value = codec.encode(event)
    assert value[:1] == b"\x00"
    assert codec.decode(value) == event
    assert EdgeCodec(InteractionEvent, registry, "other-value").decode(value) == event


def test_unknown_id_is_a_bad_record() -> None:
    """An id that the registry does not have is the record's fault."""
    registry = registry_of(KafkaSettings(schema_registry_url="mock://"))
    with pytest.raises(EdgeRecordError, match="no schema with id 99"):
        EdgeCodec(InteractionEvent, registry).decode(b"\x00\x00\x00\x00\x63a")


class _Down:
    def register_schema(self, subject: str, schema: Any) -> int:
        raise ConnectionError("refused")

    def get_schema(self, schema_id: int) -> Any:
        raise ConnectionError("refused")


def test_registry_that_is_down() -> None:
    """A registry that does not answer is an error of its own kind, in both directions."""
    down: Any = _Down()
    registry = ConfluentRegistry(down)
    with pytest.raises(RegistryError, match="interactions-value: refused"):
        registry.id_of("interactions-value", "{}")
    with pytest.raises(RegistryError, match="schema 7: refused"):
        registry.schema_of(7)


def test_url_that_is_none() -> None:
    """A URL that the client does not take is a settings error that names the variable."""
    with pytest.raises(SettingsError, match="STREAMREC_SCHEMA_REGISTRY_URL"):
        registry_of(KafkaSettings(schema_registry_url="localhost:8081"))
