"""The same stream through the real topics: one process per user shard, paced in events.

K events are sent, then everything is given time to be learned, folded and swept, then the next K: the exchange that
`Simulation` imitates. Quality comes from the logs afterwards: the rebuild learns every batch again at the clock that it
was learned at, ranks each item before it, and compares the deltas with those in the log bit for bit.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from services.broker.broker import LocalBroker
from services.broker.settings import BrokerSettings
from services.cli.audit.reading import chunks, take_ends
from services.cli.demo.processes import Fleet
from services.cli.kafka import reader
from services.cli.lag import LagReader, Line
from services.contracts.edge import InteractionEvent, codec_for
from services.contracts.topics import physical
from services.evaluation.stream import Stream
from services.model.arrays import F32
from services.model_update import decoders
from services.model_update.rebuild import Rebuild
from services.runtime.admin import create_topics
from services.runtime.processor import as_it_came
from services.runtime.settings import KafkaSettings
from tests.benchmarks.pipeline.clients import Sender

_CHAIN = (("feature-extraction", "interactions"), ("user-shard", "features"), ("item-shard", "item-deltas"))
_READY_S, _ROUND_S = 600.0, 120.0
_SWEEP_S = 0.5
"""From a drained item shard to sweeps in all replicas: sweep_min_ms and a few polls."""
_LOOK_S, _CALM_LOOKS = 0.1, 3


@dataclass(frozen=True, slots=True)
class Live:
    """What a run through the topics gave."""

    ranks: F32
    """float32[events learned from]"""
    batches: int
    events_per_exchange: float
    """Events by the number of clocks that batches were learned at."""
    delta_bytes: int
    """Values of item-deltas, seals included."""


def run(data: Stream, items: Sequence[tuple[bytes, bytes]], shards: int, exchange_events: int) -> Live:
    """Send a stream through a broker, `shards` user shards and one item shard, and rank it from the logs.

    Args:
        data: the events.
        items: (key, value) records of the catalogue.
        shards: user partitions, and processes that own one each.
        exchange_events: events between two exchanges.

    Raises:
        CliError: a service has ended.
        RuntimeError: the services do not keep up, or the rebuild does not give the log's deltas.
    """
    with tempfile.TemporaryDirectory(prefix="streamrec-sharding-") as made, ExitStack() as stack:
        folder, fleet = Path(made), Fleet()
        stack.callback(fleet.stop)
        with LocalBroker(BrokerSettings.load(broker_port=0, broker_data_dir=folder / "broker")) as broker:
            settings = KafkaSettings.load(
                bootstrap_servers=broker.bootstrap_servers, topic_prefix="sharding.", user_partitions=shards
            )
            create_topics(settings)
            _start(fleet, settings, folder, shards)
            _send(fleet, settings, data, items, exchange_events)
            fleet.stop()
            return _rank(settings, len(data))


def _start(fleet: Fleet, settings: KafkaSettings, folder: Path, shards: int) -> None:
    common = {
        "STREAMREC_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "STREAMREC_TOPIC_PREFIX": settings.topic_prefix,
        "STREAMREC_USER_PARTITIONS": str(shards),
        "STREAMREC_SWEEP_BYTES_PER_S": "1000000000",
    }
    roles: list[tuple[str, str, dict[str, str]]] = [("feature-extraction", "services.feature_extraction", {})]
    roles.append(("item-shard", "services.model_update", {"STREAMREC_ROLE": "item"}))
    roles += [(f"user-shard-{n}", "services.model_update", {"STREAMREC_ROLE": "user"}) for n in range(shards)]
    for name, package, own in roles:
        mine = {"STREAMREC_INSTANCE": name, "STREAMREC_STATE_DIR": str(folder / name)}
        fleet.start(name, package, common | mine | own, folder)
    fleet.wait_ready(_READY_S)


def _send(
    fleet: Fleet, settings: KafkaSettings, data: Stream, items: Sequence[tuple[bytes, bytes]], exchange_events: int
) -> None:
    sender, lag = Sender(settings), LagReader(settings)
    producers = {"interactions": 0, "features": 1, "item-deltas": settings.user_partitions}
    sender.send(physical("items", settings.topic_prefix), items)
    _settle(fleet, lag.read, producers)
    records = _records(data)
    while part := list(itertools.islice(records, exchange_events)):
        sender.send(physical("interactions", settings.topic_prefix), part)
        _settle(fleet, lag.read, producers)


def _settle(fleet: Fleet, look: Callable[[], list[Line]], producers: dict[str, int]) -> None:
    """Wait until nothing is left to learn and to fold, and the sweeps are out.

    Behind the last record of a partition stand the marks of the transactions that wrote to it at the end: as many as
    it has producers at most, and no position passes them.
    """
    end, calm, before = time.monotonic() + _ROUND_S, 0, None
    # What one service has just written may be missing from the first look.
    while calm < _CALM_LOOKS:
        fleet.check()
        if time.monotonic() > end:
            raise RuntimeError(f"the services did not finish a round within {_ROUND_S:.0f} s: {before}")
        lines = [line for line in look() if (line.group, line.topic) in _CHAIN and line.end]
        now = [(line.topic, line.partition, line.committed, line.end) for line in lines]
        done = all(line.lag <= producers[line.topic] for line in lines)
        calm = calm + 1 if done and now == before else 0
        before = now
        time.sleep(_LOOK_S)
    time.sleep(_SWEEP_S)


def _records(data: Stream) -> Iterator[tuple[bytes, bytes]]:
    codec = codec_for("interactions")
    for number, (user, item, t_ms) in enumerate(
        zip(data.user.tolist(), data.item.tolist(), data.t_ms.tolist(), strict=True)
    ):
        record: InteractionEvent = {
            "event_id": f"s-{number}",
            "user_id": data.users[user],
            "item_id": data.items[item],
            "type": "view",
            "value": None,
            "event_time": t_ms,
            "session_id": None,
            "context": {},
            "list_id": None,
        }
        yield record["user_id"].encode(), codec.encode(record)


def _rank(settings: KafkaSettings, events: int) -> Live:
    logs: dict[str, dict[int, list[tuple[int, Any]]]] = {
        "features": {each: [] for each in range(settings.user_partitions)},
        "item-deltas": {each: [] for each in range(settings.item_partitions)},
    }
    decode = {"features": as_it_came, "item-deltas": decoders.deltas}
    size, client = 0, reader(settings)
    try:
        reading = take_ends(client, list(logs), settings.topic_prefix, {}, 0.0)
        for chunk in chunks(client, reading, settings.topic_prefix, lambda _topic, _offsets: None):
            log = logs[chunk.topic][chunk.partition]
            for offset, key, value in zip(chunk.offsets, chunk.keys, chunk.values, strict=True):
                log.append((offset, decode[chunk.topic](key, value)))
                size += len(value or b"") if chunk.topic == "item-deltas" else 0
    finally:
        client.close()
    rebuild = Rebuild(logs["features"], logs["item-deltas"], probe=True)
    difference = rebuild.run()
    if difference is not None:
        raise RuntimeError(f"the rebuild is not what the services computed: {difference.message}")
    if rebuild.events != events:
        raise RuntimeError(f"{events} events were sent, {rebuild.events} were learned from")
    return Live(np.concatenate(rebuild.ranks), rebuild.batches, events / len(rebuild.clocks), size)
