"""The configuration table's mechanism, and the settings every service shares.

A setting is one field: name, environment variable (STREAMREC_ + name in capitals), unit, default
and doc stand together, and validation, `--help`, the README's table and the compose file follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX = "STREAMREC_"
_LONGEST_PREFIX = 200
"""A topic's name has at most 249 characters."""


class SettingsError(ValueError):
    """A setting is wrong. The message names it, its environment variable and what to do."""


_MOST = 2**31 - 1
"""Of a setting that names no bound of its own: what every clock, kernel and client takes in its unit."""


def setting(default: Any, doc: str, *, unit: str = "", **constraints: Any) -> Any:
    """Declare one setting: default, one-sentence doc, unit, and pydantic constraints (ge, le, ...).

    Every number is finite, and every whole number has a bound.
    """
    if isinstance(default, float):
        constraints.setdefault("allow_inf_nan", False)
    elif isinstance(default, int) and not isinstance(default, bool):
        constraints.setdefault("le", _MOST)
    return Field(default=default, description=doc, json_schema_extra={"unit": unit}, **constraints)


class Settings(BaseSettings):
    """Base of every settings table: reads STREAMREC_* variables, refuses wrong values by name."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="ignore", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _a_folder(cls, value: Any, info: ValidationInfo) -> Any:
        # An empty path is the current folder, which nobody means who leaves a variable empty.
        if isinstance(value, str) and not value.strip() and cls.model_fields[str(info.field_name)].annotation is Path:
            raise ValueError("is empty; name a folder, or leave the setting out to have the default")
        return value

    @classmethod
    def load(cls, **overrides: Any) -> Any:
        """Read the environment; `overrides` (from the command line) win.

        Raises:
            SettingsError: a value is not valid.
        """
        try:
            return cls(**{name: value for name, value in overrides.items() if value is not None})
        except ValidationError as error:
            raise SettingsError(_explain(cls, error)) from None


class Row(NamedTuple):
    """One line of the configuration table."""

    name: str
    env: str
    unit: str
    default: str
    doc: str
    field: FieldInfo


def rows(table: type[Settings]) -> Iterator[Row]:
    """The lines of a settings table, in the order of declaration."""
    for name, field in table.model_fields.items():
        extra = field.json_schema_extra
        unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
        default = "" if field.default is None else str(field.default)
        yield Row(name, ENV_PREFIX + name.upper(), unit, default, field.description or "", field)


def _explain(table: type[Settings], error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        name = str(problem["loc"][0]) if problem["loc"] else "?"
        field = table.model_fields.get(name)
        doc = f" ({(field.description or '').rstrip('.')})" if field else ""
        # A table's own check says what it got; of pydantic's checks only the message is fit for people.
        own = problem.get("ctx", {}).get("error")
        what = str(own) if isinstance(own, ValueError) else f"{problem['msg']}, got {problem.get('input')!r}"
        what = what.removeprefix(f"{name.replace('_', ' ')}: ").removeprefix(f"{name}: ").rstrip(".")
        if not problem["loc"]:
            # Of several settings together, which the text names.
            lines.append(f"{what}.")
            continue
        lines.append(f"{name}: {what}{doc}. Set {ENV_PREFIX}{name.upper()} or --{name.replace('_', '-')}.")
    return "\n".join(lines)


class KafkaSettings(Settings):
    """Where Kafka is and how topics are named and laid out. Every command reads these."""

    bootstrap_servers: str = setting("127.0.0.1:9092", "Kafka brokers, host:port, comma-separated.")
    topic_prefix: str = setting("", "Prefix of every topic, group and transactional id.")
    user_partitions: int = setting(4, "Partitions of every user-keyed topic.", unit="partitions", ge=1)
    item_partitions: int = setting(2, "Partitions of every item-keyed topic.", unit="partitions", ge=1)
    replication_factor: int = setting(1, "Replicas of every topic that is created.", unit="replicas", ge=1)
    schema_registry_url: str = setting(
        "", "Confluent-compatible schema registry; empty writes Avro single-object encoding."
    )
    kafka_properties_file: str = setting(
        "",
        "File of librdkafka properties (name=value lines) for every client; "
        "STREAMREC_KAFKA_<NAME>, with _ for ., sets one, and STREAMREC_KAFKA_<NAME>_FILE reads it from a file.",
    )

    @field_validator("topic_prefix")
    @classmethod
    def _legal(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9._-]*", value) or len(value) > _LONGEST_PREFIX:
            raise ValueError(
                f"Kafka's names have letters, digits, '.', '_' and '-' only, and a prefix at most {_LONGEST_PREFIX} of "
                f"them; got {value!r}"
            )
        return value

    @field_validator("bootstrap_servers")
    @classmethod
    def _an_address(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty, and no client finds a broker without an address")
        return value


class RuntimeSettings(KafkaSettings):
    """How a service runs: delivery, batching, membership, state and observability."""

    delivery: Literal["exactly-once", "at-least-once"] = setting(
        "exactly-once", "exactly-once (transactions) or at-least-once (lower latency, outputs may repeat)."
    )
    commit_min_ms: int = setting(
        20,
        "Commit when the input is drained and this long, or twice the time of the last commit, has passed since the "
        "batch's first record.",
        unit="ms",
        ge=0,
    )
    commit_max_ms: int = setting(100, "Commit at the latest this long after the batch's first record.", unit="ms", ge=1)
    batch_max_records: int = setting(8000, "Largest batch handed to one step.", unit="records", ge=1, le=1_000_000)
    transaction_timeout_ms: int = setting(
        10_000, "The broker aborts a transaction left open this long.", unit="ms", ge=1000
    )
    session_timeout_ms: int = setting(
        10_000, "A member silent this long loses its partitions (classic protocol).", unit="ms", ge=6000, le=3_600_000
    )
    group_protocol: Literal["classic", "consumer"] = setting(
        "classic", "classic (cooperative-sticky) or consumer (KIP-848, brokers from 4.0)."
    )
    membership: Literal["static", "dynamic"] = setting(
        "static", "static keeps a stopped replica's partitions for its session timeout; dynamic leaves at once."
    )
    instance: str = setting(
        "", "Stable name of this replica; empty takes the host name and the first free slot in state_dir."
    )
    state_dir: Path = setting(Path("~/.local/state/streamrec"), "Folder of local checkpoints and replica slots.")
    checkpoint_interval_s: int = setting(300, "Time between two local checkpoints of a partition.", unit="s", ge=1)
    revoke_budget_ms: int = setting(5000, "Longest time a revoked partition may take to close.", unit="ms", ge=100)
    stop_budget_ms: int = setting(20_000, "Longest time a clean stop may take.", unit="ms", ge=1000)
    dead_letter_limit: int = setting(
        1000, "Dead letters within a minute that stop the service; 0 never stops it.", unit="records/min", ge=0
    )
    stall_after_s: int = setting(
        60, "Fail the health check when a lagging partition has not moved for this long.", unit="s", ge=1
    )
    validate_invariants: bool = setting(False, "Check the runtime's invariants in every turn of the loop (tests do).")
    summary_interval_s: int = setting(30, "Time between two summary lines in the log; 0 writes none.", unit="s", ge=0)
    http_host: str = setting("127.0.0.1", "Address of the health and metrics endpoints.")
    http_port: int = setting(
        0, "Port of /healthz, /readyz and /metrics; 0 takes a free one.", unit="port", ge=0, le=65535
    )
    log_format: Literal["console", "json"] = setting("console", "Log lines for people or for machines.")
    log_level: Literal["debug", "info", "warning", "error"] = setting("info", "Least severe level that is logged.")
