"""A small model update in memory: made-up features, user shards and item shards on the runtime's test driver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.contracts.inner import features, user_state
from services.contracts.inner.sweeps import SweepReader
from services.contracts.keys import KIND_CATEGORY, KIND_YEAR, feature, item_hash, partition_of
from services.model.config import ModelConfig
from services.model_update import decoders
from services.model_update.item_shard import ItemShard
from services.model_update.rebuild import Rebuild
from services.model_update.user_shard import UserShard
from services.runtime.processor import Output, as_it_came
from services.runtime.testing import Driver, Logs

USER_PARTITIONS = 3
ITEM_PARTITIONS = 2
TOPICS = {"features": USER_PARTITIONS, "user-state": USER_PARTITIONS} | {
    "item-deltas": ITEM_PARTITIONS,
    "item-state": ITEM_PARTITIONS,
}
SMALL = ModelConfig(
    item_partitions=ITEM_PARTITIONS,
    user_partitions=USER_PARTITIONS,
    dim=8,
    history=6,
    history_kept=9,
    negatives=12,
    max_items=1000,
    max_features=40,
    max_users=1000,
    max_seen=600,
    max_neighbours=5,
)
START_MS = 1_700_000_000_000


@dataclass(frozen=True)
class Event:
    """An event as a test writes it."""

    user: int
    item: int
    weight: float = 1.0
    minutes: int = 0
    kind: str = "event"


def event_record(event: Event, partition: int, number: int) -> features.EventFeature:
    """The feature record of an event; `number` makes its id."""
    item = f"item-{event.item}"
    return {
        "v": features.VERSION,
        "kind": "implied" if event.kind == "implied" else "event",
        "src": [partition, number],
        "user": f"user-{event.user}",
        "item": item,
        "ih": item_hash(item),
        "id": f"e{number}",
        "type": "view",
        "value": None if event.item % 2 else 4.0,
        "t": START_MS + event.minutes * 60_000,
        "ts": START_MS + number,
        "w": event.weight,
        "session": [0, 0, -1],
        "ctx": features.pack_features([7]),
        "content": features.pack_features(
            [feature(KIND_CATEGORY, event.item % 3), feature(KIND_YEAR, 1990 + event.item)]
        ),
        "pref": features.pack_preference([(event.item % 3, 1.0 + number)]),
    }


class World:
    """Features in, user shards and item shards on shared logs.

    Each user partition is owned by one of the user shards, each item partition by one of the item shards.
    """

    def __init__(self, config: ModelConfig = SMALL, shards: int = 1, max_events: int = 100) -> None:
        self.config = config
        self.max_events = max_events
        self.logs = Logs(TOPICS)
        self.produced = 0
        self.epoch = 1
        self.users = [self._driver(self.user_shard(n)) for n in range(shards)]
        self.items = [self._driver(ItemShard(config, 0, 10**9)) for _ in range(ITEM_PARTITIONS)]
        for partition in range(USER_PARTITIONS):
            self.users[partition % shards].open(partition)
        for partition in range(ITEM_PARTITIONS):
            self.items[partition].open(partition)

    def user_shard(self, number: int) -> UserShard:
        """A new process of the user shard with this number."""
        return UserShard(self.config, f"shard-{number}", self.max_events)

    def _driver(self, processor: Any) -> Driver:
        self.epoch += 1
        return Driver(processor, self.logs, epoch=self.epoch * 1000)

    def produce(self, *events: Event) -> None:
        """Append the features of events, each as a transaction of its own."""
        for event in events:
            user = f"user-{event.user}"
            partition = partition_of(user.encode(), USER_PARTITIONS)
            if event.kind == "erase":
                record: Any = {"v": features.VERSION, "kind": "erase", "src": [partition, self.produced], "user": user}
            else:
                record = event_record(event, partition, self.produced)
            self.produced += 1
            self.logs.write([Output("features", user.encode(), features.encode(record), partition)])

    def settle(self) -> None:
        """Let everything that is under way arrive."""
        for driver in (*self.users, *self.items, *self.users):
            driver.drain()

    def move(self, partition: int, to: int) -> None:
        """Give a user partition to another user shard."""
        for driver in self.users:
            if driver.tasks.get(partition) is not None:
                driver.close(partition)
        self.users[to].open(partition)

    def restart_users(self, number: int) -> None:
        """Kill a user shard between two steps and start it again."""
        self.users[number].crash(self.user_shard(number))

    def restart_items(self, number: int) -> None:
        """Kill an item shard between two steps and start it again."""
        self.items[number].crash(ItemShard(self.config, 0, 10**9))

    def rebuild(self, *, probe: bool = False) -> Rebuild:
        """A rebuild of what the logs hold."""
        return Rebuild(
            {p: self.decoded("features", p, as_it_came) for p in range(USER_PARTITIONS)},
            {p: self.decoded("item-deltas", p, decoders.deltas) for p in range(ITEM_PARTITIONS)},
            probe=probe,
        )

    def decoded(self, topic: str, partition: int, decode: Any) -> list[tuple[int, Any]]:
        """(offset, decoded record) of a partition."""
        return [(m.offset() or 0, decode(m.key(), m.value())) for m in self.logs.read((topic, partition))]

    def user_bytes(self) -> dict[bytes, bytes]:
        """What user-state holds, as it is in Kafka, by key."""
        held = {output.key or b"": output.value for output in self.logs.records("user-state")}
        return {key: value for key, value in held.items() if value is not None}

    def user_records(self) -> dict[bytes, Any]:
        """What user-state holds, by key."""
        return {key: decoders.user_record(key, value) for key, value in self.user_bytes().items()}

    def item_records(self, partition: int) -> tuple[dict[str, Any], int]:
        """(sealed rows of item-state by key, position of the last clock)."""
        reader, held, position = SweepReader(), {}, 0
        for message in self.logs.read(("item-state", partition)):
            key = message.key() or b""
            sweep = reader.feed(partition, key, decoders.item_row(key, message.value()))
            if sweep is not None:
                held.update(sweep.rows)
                position = sweep.clock["o"]
        return {key: row for key, row in held.items() if row is not None}, position

    def histories(self) -> dict[str, tuple[int, bytes]]:
        """{user: (events counted, history bytes)}: what does not depend on how the stream was cut into batches."""
        return {
            key.decode(): (record["n"], record["b"]["h"])
            for key, record in self.user_records().items()
            if user_state.split_key(key)[1] is None
        }


def assert_rebuilt(world: World) -> None:
    """The logs give every delta, user row and item row again, to the last bit."""
    rebuild = world.rebuild()
    assert rebuild.run() is None
    assert rebuild.user_records == world.user_bytes()
    for partition in range(ITEM_PARTITIONS):
        rows, position = world.item_records(partition)
        again = {row.key: (row.slot, row.count, row.blocks) for row in rebuild.item_rows(partition, position)}
        assert again == {key: (row["slot"], row["c"], row["b"]) for key, row in rows.items()}
