"""Topics on the cluster: wait for a broker, create what the topic table says, check what is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from services.contracts import topics
from services.contracts.topics import Topic
from services.runtime.client import make_admin
from services.runtime.settings import ENV_PREFIX, KafkaSettings

_PROBE_TIMEOUT_S = 2.0
"""Longest single question to a broker that may not be there."""
_SAY_AGAIN_AFTER_S = 10.0
_PAUSE_S = 0.5
_VISIBLE_POLL_S = 0.05


class BrokerUnavailableError(RuntimeError):
    """No broker answers. The message says which address was tried and what to do."""


class TopicsError(RuntimeError):
    """Topics are missing or not as the services need them. The message lists every problem and what to do."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One way in which a topic differs from the topic table."""

    topic: str
    """Logical name."""
    name: str
    """Name in Kafka."""
    what: str
    fix: str
    """What to do; no full stop at the end."""


@dataclass(frozen=True, slots=True)
class TopicReport:
    """What `create_topics` found or did for one topic."""

    topic: str
    """Logical name."""
    name: str
    """Name in Kafka."""
    partitions: int
    action: Literal["created", "exists"]
    problems: tuple[Problem, ...] = ()
    """How an existing topic differs from the table; nothing is changed."""


def wait_for_broker(
    settings: KafkaSettings,
    timeout_s: float | None = None,
    on_wait: Callable[[str], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> bool:
    """Wait until a broker answers.

    Args:
        settings: where the brokers are.
        timeout_s: give up after this long; None waits for ever.
        on_wait: called with a message for people when the first attempt fails and every ten seconds after it.
        stop: asked between two attempts; true ends the wait.

    Returns:
        True when a broker answered, False when `stop` ended the wait.

    Raises:
        BrokerUnavailableError: no broker answered in time.
    """
    client = make_admin(settings)
    began = time.monotonic()
    say_at = began
    while not (stop and stop()):
        try:
            client.list_topics(timeout=_PROBE_TIMEOUT_S)
        except KafkaException as error:
            waited = time.monotonic() - began
            if timeout_s is not None and waited >= timeout_s:
                raise _unavailable(settings, error) from None
            if on_wait and time.monotonic() >= say_at:
                on_wait(f"no Kafka broker answers at {settings.bootstrap_servers} ({_reason(error)}); waiting for it")
                say_at = time.monotonic() + _SAY_AGAIN_AFTER_S
            # An unresolvable name or a refused login fails at once, and must not be asked in a tight loop.
            time.sleep(_PAUSE_S)
        else:
            return True
    return False


def create_topics(
    settings: KafkaSettings,
    configs: Mapping[str, Mapping[str, str]] | None = None,
    timeout_s: float = 30.0,
) -> list[TopicReport]:
    """Create the topics of the table that do not exist; existing ones are left as they are and reported.

    Args:
        settings: cluster, prefix, partition counts and replication factor.
        configs: {logical name: topic configs} that override the table's.
        timeout_s: longest time for the whole.

    Returns:
        One report per topic, in the order of the table.

    Raises:
        BrokerUnavailableError: no broker answers.
        TopicsError: the broker refused to create a topic.
    """
    client = make_admin(settings)
    existing = _partition_counts(client, settings, timeout_s)
    missing = [line for line in topics.TOPICS if line.physical(settings.topic_prefix) not in existing]
    new = [
        NewTopic(
            line.physical(settings.topic_prefix),
            num_partitions=_partitions(line, settings),
            replication_factor=settings.replication_factor,
            config={**line.create_configs(), **(configs or {}).get(line.name, {})},
        )
        for line in missing
    ]
    created: set[str] = set()
    counts = existing
    if new:
        created = _created(client.create_topics(new, operation_timeout=timeout_s, request_timeout=timeout_s))
        counts = _wait_visible(client, settings, [topic.topic for topic in new], timeout_s)
    problems = _by_topic(check_topics(settings, timeout_s=timeout_s))
    return [
        TopicReport(
            line.name, name, counts[name], "created" if name in created else "exists", tuple(problems[line.name])
        )
        for line in topics.TOPICS
        for name in [line.physical(settings.topic_prefix)]
    ]


def check_topics(settings: KafkaSettings, names: Iterable[str] | None = None, timeout_s: float = 30.0) -> list[Problem]:
    """Compare the topics on the cluster with the table: existence, partition counts and the configs relied on.

    Retention and other tuning may differ. Configs that the client may not describe are not compared.

    Args:
        settings: cluster, prefix and partition counts.
        names: logical names to look at; None for the whole table.
        timeout_s: longest time for each question.

    Returns:
        Every problem found, in the order of the table; empty when all is well.

    Raises:
        BrokerUnavailableError: no broker answers.
        KeyError: an unknown name.
    """
    wanted = list(topics.TOPICS) if names is None else [topics.topic(name) for name in dict.fromkeys(names)]
    client = make_admin(settings)
    counts = _partition_counts(client, settings, timeout_s)
    present = [line for line in wanted if line.physical(settings.topic_prefix) in counts]
    found = _configs(client, [line.physical(settings.topic_prefix) for line in present], timeout_s)
    problems: list[Problem] = []
    for line in wanted:
        name = line.physical(settings.topic_prefix)
        if name not in counts:
            problems.append(
                Problem(line.name, name, "missing, or not to be seen by this user", "Run `streamrec topics create`")
            )
            continue
        problems.extend(_count_problems(line, name, counts, settings))
        problems.extend(_config_problems(line, name, found.get(name)))
    return problems


def require_topics(settings: KafkaSettings, names: Iterable[str], timeout_s: float = 30.0) -> None:
    """What a service calls at its start: refuse to run on topics that would break it.

    Raises:
        TopicsError: topics are missing, are not co-partitioned, or have the wrong cleanup or timestamps.
        BrokerUnavailableError: no broker answers.
    """
    problems = check_topics(settings, names, timeout_s)
    if problems:
        # One line: it becomes a value in the log.
        raise TopicsError(" ".join(["The topics are not as this service needs them.", *told(problems)]))


def told(problems: Iterable[Problem]) -> list[str]:
    """What people read: one line per cause, with the topics that share it and what to do."""
    names: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        names.setdefault((problem.what, problem.fix), []).append(problem.name)
    return [f"{', '.join(sharing)}: {what}. {fix}." for (what, fix), sharing in names.items()]


def _partitions(line: Topic, settings: KafkaSettings) -> int:
    return line.partitions(settings.user_partitions, settings.item_partitions)


def _partition_counts(client: AdminClient, settings: KafkaSettings, timeout_s: float) -> dict[str, int]:
    try:
        metadata = client.list_topics(timeout=timeout_s)
    except KafkaException as error:
        raise _unavailable(settings, error) from None
    return {name: len(found.partitions) for name, found in metadata.topics.items() if found.error is None}


def _created(futures: Mapping[str, Future[Any]]) -> set[str]:
    """Names of the topics that were made by these requests."""
    created, refused = set(), []
    for name, future in futures.items():
        try:
            future.result()
        except KafkaException as error:
            # Another replica may have created it in between, or its metadata had not reached this broker yet.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                refused.append(f"{name}: {_reason(error)}")
        else:
            created.add(name)
    if refused:
        raise TopicsError(
            "the broker refused to create topics:\n  " + "\n  ".join(refused) + "\n"
            f"Check {ENV_PREFIX}REPLICATION_FACTOR against the number of brokers, and the CREATE permission."
        )
    return created


def _wait_visible(client: AdminClient, settings: KafkaSettings, names: list[str], timeout_s: float) -> dict[str, int]:
    # The controller answers before every broker has heard of the topics.
    give_up = time.monotonic() + timeout_s
    while not set(names) <= (counts := _partition_counts(client, settings, timeout_s)).keys():
        if time.monotonic() > give_up:
            raise TopicsError(
                f"the topics were created, but are not visible after {timeout_s:.0f} s: {', '.join(names)}"
            )
        time.sleep(_VISIBLE_POLL_S)
    return counts


def _configs(client: AdminClient, names: list[str], timeout_s: float) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    found = {}
    for resource, future in client.describe_configs(resources, request_timeout=timeout_s).items():
        try:
            entries = future.result()
        except KafkaException as error:
            if error.args[0].code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED):
                continue
            raise
        found[resource.name] = {name: str(entry.value) for name, entry in entries.items()}
    return found


def _count_problems(line: Topic, name: str, counts: Mapping[str, int], settings: KafkaSettings) -> Iterator[Problem]:
    count, expected = counts[name], _partitions(line, settings)
    if count == expected or line.partitioned_by == "none":
        # A topic that is not partitioned by an id may have any number.
        return
    alike = [
        each.physical(settings.topic_prefix) for each in topics.TOPICS if each.partitioned_by == line.partitioned_by
    ]
    if {counts[each] for each in alike if each in counts} == {count}:
        fix = f"Set {ENV_PREFIX}{line.partitioned_by.upper()}_PARTITIONS={count}"
    else:
        fix = (
            f"All {line.partitioned_by}-keyed topics must have the same count: delete what differs (its records are "
            "lost) and run `streamrec topics create`"
        )
    yield Problem(line.name, name, f"{count} partitions where {expected} are configured", fix)


def _config_problems(line: Topic, name: str, found: Mapping[str, str] | None) -> Iterator[Problem]:
    if found is None:
        return
    for key, expected in line.required_configs().items():
        value = found.get(key, "")
        if key == "max.message.bytes":
            ok = int(value or 0) >= int(expected)
        else:
            ok = {part.strip() for part in value.split(",")} == set(expected.split(","))
        if not ok:
            yield Problem(
                line.name,
                name,
                f"{key} is {value or 'not set'}, needed is {expected}",
                f"Run `streamrec broker tool kafka-configs --bootstrap-server ADDRESS --alter --entity-type topics "
                f"--entity-name {name} --add-config '{key}=[{expected}]'`",
            )


def _by_topic(problems: Iterable[Problem]) -> dict[str, list[Problem]]:
    grouped: dict[str, list[Problem]] = {line.name: [] for line in topics.TOPICS}
    for problem in problems:
        grouped[problem.topic].append(problem)
    return grouped


def _unavailable(settings: KafkaSettings, error: KafkaException) -> BrokerUnavailableError:
    return BrokerUnavailableError(
        f"no Kafka broker answers at {settings.bootstrap_servers} ({_reason(error)}). "
        f"Start one with `streamrec broker`, or set {ENV_PREFIX}BOOTSTRAP_SERVERS."
    )


def _reason(error: KafkaException) -> str:
    inner = error.args[0] if error.args else error
    return str(inner.str()) if isinstance(inner, KafkaError) else str(inner)
