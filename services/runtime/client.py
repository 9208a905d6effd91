"""The one place where Kafka clients are configured: what each needs, and what operators may pass through."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from services.contracts.topics import MAX_MESSAGE_BYTES
from services.runtime.lines import Lines
from services.runtime.log import Log
from services.runtime.settings import KafkaSettings, RuntimeSettings, SettingsError

PASSTHROUGH = "STREAMREC_KAFKA_"
"""STREAMREC_KAFKA_SASL_USERNAME=x sets sasl.username=x in every client."""
_FILE = "_FILE"
_PROPERTIES_FILE = "STREAMREC_KAFKA_PROPERTIES_FILE"

RESERVED = frozenset(
    {
        "acks",
        "auto.offset.reset",
        "bootstrap.servers",
        "delivery.report.only.error",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "heartbeat.interval.ms",
        "isolation.level",
        "message.timeout.ms",
        "partition.assignment.strategy",
        "partitioner",
        "session.timeout.ms",
        "transaction.timeout.ms",
        "transactional.id",
    }
)
"""Properties that a promise of the runtime depends on: they have settings of their own or are fixed."""

_SECRET_WORDS = ("password", "secret", "ssl.key", "sasl.username", "token", "oauthbearer.config", "jaas", "pem")
REDACTED = "[redacted]"

FETCH_WAIT_MS = 100
"""How long a fetch waits at the broker when there is nothing: also how long the end of a partition may take to be
told, and a newly assigned partition may wait for the fetch under way."""
INPUT_FETCH = {"fetch.wait.max.ms": 500, "queued.min.messages": 1}
"""For the inputs of a loop, which are read for as long as it runs: fetches cost the broker a request each. What comes
ends a fetch at once, so it may wait; and while a batch is worked on, what has come need not be asked for record by
record."""
_QUEUED_KBYTES = 32 * 1024
_PRODUCER_QUEUE_KBYTES = 64 * 1024
_MESSAGE_TIMEOUT_SHARE = 0.8
_HEARTBEATS_PER_SESSION = 4
_POLL_INTERVAL_MS = 300_000
"""The client's default."""
_QUIET = {
    # librdkafka's own lines about every lost connection are replaced by one log event of the runtime.
    "log_level": 2,
    "log.connection.close": False,
}


def passthrough(settings: KafkaSettings, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Librdkafka properties that the operator set: the properties file first, then the environment over it.

    Raises:
        SettingsError: a property that the runtime owns, or a file that cannot be read.
    """
    return {name: given.value for name, given in _given(settings, environment).items()}


@contextmanager
def naming_properties(settings: KafkaSettings) -> Iterator[None]:
    """For clients that are made within: what librdkafka refuses of the properties passed through is a wrong setting.

    Raises:
        SettingsError: librdkafka does not take a property; the message names where it was set.
    """
    try:
        yield
    except KafkaException as failure:
        error, given = failure.args[0], _given(settings)
        if error.code() != KafkaError._INVALID_ARG or not given:
            raise
        what = error.str().strip().rstrip(".")
        for name, (value, _) in given.items():
            if is_secret(name):
                what = what.replace(f'"{value}"', REDACTED)
        # Librdkafka may call a property by another of its names, or refuse several together.
        places = [place for name, (_, place) in given.items() if name in what] or [place for _, place in given.values()]
        raise SettingsError(
            f"{', '.join(dict.fromkeys(places))}: the Kafka client refuses it: {what}. Correct or remove it; "
            "librdkafka's CONFIGURATION.md lists the properties."
        ) from None


class _Given(NamedTuple):
    """A property that the operator set."""

    value: str
    place: str
    """The environment variable, or the file with its line."""


def _given(settings: KafkaSettings, environment: Mapping[str, str] | None = None) -> dict[str, _Given]:
    environment = os.environ if environment is None else environment
    found: dict[str, _Given] = {}
    if settings.kafka_properties_file:
        found.update(_read_properties(settings.kafka_properties_file))
    for name, value in environment.items():
        if not name.startswith(PASSTHROUGH) or name == _PROPERTIES_FILE:
            continue
        if name.endswith(_FILE):
            found[_property(name.removesuffix(_FILE))] = _Given(_read(name, value).strip(), name)
        else:
            found[_property(name)] = _Given(value, name)
    for name, given in found.items():
        if name in RESERVED:
            raise SettingsError(
                f"{name} may not be passed to librdkafka: the runtime's promises depend on it. Remove {given.place}, "
                "and see `streamrec run SERVICE --help` for the setting that stands for it."
            )
    return found


def redacted(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The properties as they may be logged: secrets are blanked out."""
    return {name: REDACTED if is_secret(name) else value for name, value in properties.items()}


def is_secret(name: str) -> bool:
    """Whether a property's value must never be shown."""
    return any(word in name for word in _SECRET_WORDS)


def common_config(settings: KafkaSettings, log: Log | None = None) -> dict[str, Any]:
    """What every client has: address, quiet logs, and the properties passed through.

    Args:
        settings: of the service or command.
        log: where librdkafka's own lines go, for a client that is polled all its life; None leaves them to stderr.
    """
    given = passthrough(settings)
    # Who debugs librdkafka wants its thousands of lines at their time, also those of a call that does not return.
    lines = {} if log is None or "debug" in given else {"logger": Lines(log)}
    return {"bootstrap.servers": settings.bootstrap_servers, **_QUIET, **lines, **given}


def consumer_config(
    settings: KafkaSettings, group: str, log: Log | None = None, fetch: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """A consumer with hand-made assignments: read_committed, every offset given, ends of partitions told."""
    return {
        "fetch.wait.max.ms": FETCH_WAIT_MS,
        **(fetch or {}),
        "queued.max.messages.kbytes": _QUEUED_KBYTES,
        # A full queue is looked at again after this time; the default of 1 s would be a pause in the stream.
        "fetch.queue.backoff.ms": 10,
        **common_config(settings, log),
        "group.id": group,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        # An offset outside the log is an error to report, never a silent jump.
        "auto.offset.reset": "error",
    }


def member_config(settings: RuntimeSettings, group: str, instance: str, log: Log | None = None) -> dict[str, Any]:
    """The member of the consumer group. Its partitions stay paused; another consumer reads them."""
    config = {
        # Librdkafka takes no session that is longer.
        "max.poll.interval.ms": max(_POLL_INTERVAL_MS, settings.session_timeout_ms),
        **consumer_config(settings, group, log),
        "group.protocol": settings.group_protocol,
    }
    if settings.membership == "static":
        config["group.instance.id"] = instance
    if settings.group_protocol == "classic":
        # With the KIP-848 protocol these are the broker's to set, and setting them is an error.
        config["session.timeout.ms"] = settings.session_timeout_ms
        config["heartbeat.interval.ms"] = settings.session_timeout_ms // _HEARTBEATS_PER_SESSION
        config["partition.assignment.strategy"] = "cooperative-sticky"
    return config


def producer_config(settings: KafkaSettings, log: Log | None = None) -> dict[str, Any]:
    """An idempotent producer that partitions as the Java client does."""
    return {
        "linger.ms": 5,
        "queue.buffering.max.kbytes": _PRODUCER_QUEUE_KBYTES,
        "message.max.bytes": MAX_MESSAGE_BYTES,
        **common_config(settings, log),
        "partitioner": "murmur2_random",
        "enable.idempotence": True,
    }


def transactional_config(settings: RuntimeSettings, transactional_id: str, log: Log | None = None) -> dict[str, Any]:
    """The producer of one loop under exactly-once."""
    return {
        **producer_config(settings, log),
        "transactional.id": transactional_id,
        "transaction.timeout.ms": settings.transaction_timeout_ms,
        # A transaction that begins while the broker still writes the end of the one before is told to try again: after
        # the default of 100 ms that doubles the time of a commit (measured back to back: p90 130 -> 40 ms).
        "retry.backoff.ms": 20,
        # A message must fail before its transaction does, so that the loop hears of it first.
        "message.timeout.ms": int(settings.transaction_timeout_ms * _MESSAGE_TIMEOUT_SHARE),
    }


def make_consumer(settings: KafkaSettings, group: str = "streamrec-reader", **extra: Any) -> Consumer:
    """A read_committed consumer for `assign`: reports PARTITION_EOF, commits nothing, joins no group."""
    with naming_properties(settings):
        return Consumer({**consumer_config(settings, group), **_dotted(extra)})


def make_producer(settings: KafkaSettings, **extra: Any) -> Producer:
    """An idempotent producer with murmur2 partitioning, e.g. `make_producer(settings, linger_ms=50)`."""
    with naming_properties(settings):
        return Producer({**producer_config(settings), **_dotted(extra)})


def make_admin(settings: KafkaSettings) -> AdminClient:
    """An AdminClient. Keep it in a variable until its futures are done."""
    with naming_properties(settings):
        return AdminClient(common_config(settings))


def _dotted(extra: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "."): value for name, value in extra.items()}


def _property(variable: str) -> str:
    return variable.removeprefix(PASSTHROUGH).lower().replace("_", ".")


def _read(variable: str, path: str) -> str:
    try:
        return Path(path).expanduser().read_text("utf-8")
    except OSError as error:
        raise SettingsError(f"{variable}: cannot read {path} ({error.strerror}). Give a readable file.") from None


def _read_properties(path: str) -> dict[str, _Given]:
    found = {}
    for number, line in enumerate(_read(_PROPERTIES_FILE, path).splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith(("#", "!")):
            continue
        name, equals, value = stripped.partition("=")
        if not equals:
            raise SettingsError(f"{path}, line {number}: expected name=value.")
        found[name.strip()] = _Given(value.strip(), f"{path}, line {number}")
    return found
