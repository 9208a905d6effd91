"""What the codecs ask of a schema registry; the client that talks to one lives in the runtime."""

from __future__ import annotations

from typing import Protocol


class RegistryError(RuntimeError):
    """The registry cannot be asked now, or refuses the schema. Not the record's fault, so not a `ValueError`:
    the runtime must retry or stop, never dead-letter."""


class Registry(Protocol):
    """A Confluent-compatible schema registry."""

    def id_of(self, subject: str, schema: str) -> int:
        """The id of a schema under a subject, registering it when it is new.

        Raises:
            RegistryError: no answer, or the registry refuses the schema.
        """

    def schema_of(self, schema_id: int) -> str:
        """The schema with this id, as JSON text.

        Raises:
            KeyError: the registry has no such id.
            RegistryError: no answer.
        """
