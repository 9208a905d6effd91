"""What Kafka knows of the services' consumer groups: state, members, committed positions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from services.cli.kafka import ANSWER_S, deadline
from services.runtime.client import make_consumer
from services.runtime.settings import KafkaSettings

T = TypeVar("T")

GROUPS: dict[str, tuple[str, ...]] = {
    "feature-extraction": ("interactions", "recommendations", "erasure-requests"),
    "user-shard": ("features",),
    "item-shard": ("item-deltas",),
    "recommendation-publishing": ("user-state", "recommendation-requests", "erasure-requests"),
}
"""{processor: the topics whose positions its group commits, leading first}."""

_PAUSE_S = 0.2
_COMING = (
    KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)  # fmt: skip
"""What a broker answers in the first seconds after its start, before it has read the groups."""


def group_of(settings: KafkaSettings, processor: str) -> str:
    """The consumer group of a processor."""
    return f"{settings.topic_prefix}streamrec.{processor}"


def members(admin: AdminClient, groups: list[str]) -> dict[str, tuple[str, int]]:
    """{group: (state, members)} of the groups that were used at some time.

    Raises:
        KafkaException: the broker does not say.
    """

    def ask() -> dict[str, tuple[str, int]]:
        found = {}
        for group, future in admin.describe_consumer_groups(groups, request_timeout=ANSWER_S).items():
            error = future.exception()
            if error is None:
                described = future.result()
                found[group] = (described.state.name.lower().replace("_", " "), len(described.members))
            # A group that was never used is an error of its own kind or a dead group, by broker version.
            elif _code(error) != KafkaError.GROUP_ID_NOT_FOUND:
                raise error
        return found

    return _patiently(ask)


class Positions:
    """Asks for the committed positions of groups, with a client for each that is kept until `close`."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Connects at the first question."""
        self._settings = settings
        # Not the admin client, whose list_consumer_group_offsets crashes (librdkafka 2.x) when the broker is not the
        # coordinator yet.
        self._clients: dict[str, Consumer] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def of(self, group: str, places: list[TopicPartition]) -> dict[tuple[str, int], int]:
        """{(physical topic, partition): position} of the places where a group has committed one.

        Raises:
            KafkaException: the broker does not say.
        """
        if not places:
            return {}
        if group not in self._clients:
            self._clients[group] = make_consumer(self._settings, group)
        client = self._clients[group]

        def ask() -> list[TopicPartition]:
            answer = client.committed(places, timeout=ANSWER_S)
            for each in answer:
                if each.error is not None:
                    raise KafkaException(each.error)
            return answer

        return {(each.topic, each.partition): each.offset for each in _patiently(ask) if each.offset >= 0}

    def close(self) -> None:
        """Give up the clients."""
        while self._clients:
            self._clients.popitem()[1].close()


def _patiently(ask: Callable[[], T]) -> T:
    """The answer to a question, asked again while the coordinator of a group is coming."""
    over: Callable[[], bool] | None = None
    while True:
        try:
            return ask()
        except KafkaException as error:
            # The time runs from the first such answer: the first question may have waited long for the broker itself.
            over = over or deadline(ANSWER_S)
            if _code(error) not in _COMING or over():
                raise
            time.sleep(_PAUSE_S)


def _code(error: BaseException) -> int | None:
    inner = error.args[0] if error.args else None
    return inner.code() if isinstance(inner, KafkaError) else None
