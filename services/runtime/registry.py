"""The schema registry behind the edge codecs: Confluent's client, made only when a registry is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.contracts.edge.registry import Registry, RegistryError
from services.runtime.settings import KafkaSettings, SettingsError

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import SchemaRegistryClient

_NOT_FOUND = 404
_ASK_TIMEOUT_S = 10


class ConfluentRegistry:
    """A Confluent-compatible schema registry; ids and schemas are cached by the client."""

    def __init__(self, client: SchemaRegistryClient) -> None:
        """Wrap a client; `SchemaRegistryClient.new_client({"url": "mock://"})` is one for tests."""
        self._client = client

    def id_of(self, subject: str, schema: str) -> int:
        """The id of a schema under a subject, registering it when it is new; raises `RegistryError`."""
        from confluent_kafka.schema_registry import Schema

        try:
            return int(self._client.register_schema(subject, Schema(schema, "AVRO")))
        except Exception as error:  # the client raises its own, HTTP and socket errors alike
            raise RegistryError(f"cannot register the schema of {subject}: {error}") from error

    def schema_of(self, schema_id: int) -> str:
        """The schema with this id, as JSON text; raises KeyError (no such id) or `RegistryError`."""
        try:
            schema = self._client.get_schema(schema_id)
        except Exception as error:  # the client raises its own, HTTP and socket errors alike
            if getattr(error, "http_status_code", None) == _NOT_FOUND:
                raise KeyError(schema_id) from None
            raise RegistryError(f"cannot fetch schema {schema_id}: {error}") from error
        if schema.schema_type not in (None, "AVRO") or schema.schema_str is None:
            raise KeyError(schema_id)
        return str(schema.schema_str)


def registry_of(settings: KafkaSettings) -> Registry | None:
    """The configured registry, or None when records are to carry schema fingerprints instead.

    User and password may stand in the URL. Nothing is asked of the registry yet.

    Raises:
        SettingsError: the client's dependencies are not installed, or the URL is not one.
    """
    url = settings.schema_registry_url
    if not url:
        return None
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient
    except ImportError as error:
        raise SettingsError(
            f"schema_registry_url is set, but the registry client is not installed ({error}). "
            "Run `pip install streamrec[registry]` or unset STREAMREC_SCHEMA_REGISTRY_URL."
        ) from error
    try:
        client = SchemaRegistryClient.new_client({"url": url, "timeout": _ASK_TIMEOUT_S})
    except (ValueError, TypeError) as error:
        raise SettingsError(
            f"schema_registry_url: {error}. Set STREAMREC_SCHEMA_REGISTRY_URL to an http(s) URL."
        ) from error
    return ConfluentRegistry(client)
