"""The whole loop on a real broker: what goes in at the edge comes out as lists that have learned from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from typer.testing import CliRunner

from services.broker.broker import LocalBroker
from services.broker.tools import run_tool
from services.cli.app import app
from services.contracts.edge import codec_for
from services.contracts.inner import features
from tests.kafka.system import System, system

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

USERS, ITEMS = 12, 40
SERVICES = ("feature-extraction", "model-update", "recommendation-publishing")


class Shop:
    """A running system, commands against it, and files to feed it with."""

    def __init__(self, made: System, folder: Path) -> None:
        self.system = made
        self.folder = folder
        self.first: dict[str, Any] = {}
        """The lists that followed the history."""

    def run(self, *arguments: str, code: int = 0) -> str:
        """A command's standard output."""
        environment = {
            "STREAMREC_BOOTSTRAP_SERVERS": self.system.broker,
            "STREAMREC_TOPIC_PREFIX": self.system.prefix,
            "STREAMREC_USER_PARTITIONS": str(self.system.user_partitions),
            "STREAMREC_ITEM_PARTITIONS": str(self.system.item_partitions),
            "STREAMREC_STATE_DIR": str(self.folder / "cli"),
        }
        result = CliRunner().invoke(app, list(arguments), env=environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.stdout

    def produce(self, name: str, events: list[dict[str, Any]]) -> None:
        """Send events through a file."""
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(event) + "\n" for event in events), "utf-8")
        self.run("produce", "--events", str(path))

    def lists(self) -> dict[str, Any]:
        """The current list of every user."""
        codec = codec_for("recommendations")
        return {one.key.decode(): codec.decode(one.value) for one in self.system.read("recommendations") if one.value}

    def learned(self, user: str, event_id: str) -> Callable[[], bool]:
        """Whether the user's current list has learned from an event."""
        return lambda: self.lists().get(user, {}).get("learned_event_id") == event_id


@pytest.fixture(scope="module")
def shop(broker: LocalBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The three services, fed with a small history: every user took turns through the items of one of two tastes."""
    folder = tmp_path_factory.mktemp("loop")
    with system(broker, f"loop-{folder.name}.", folder) as made:
        for service in SERVICES:
            made.start(service, publish_interval_ms=0)
        for process in made.processes:
            process.ready()
        shop = Shop(made, folder)
        items = folder / "items.csv"
        rows = [f"i{number},Item {number},{'tea' if number % 2 else 'coffee'}\n" for number in range(ITEMS)]
        items.write_text("item_id,title,categories\n" + "".join(rows), "utf-8")
        shop.run("produce", "--items", str(items))
        history = [
            {
                "event_id": f"h{turn}-{user}", "user_id": f"u{user}", "item_id": _item(turn, user), "type": "view",
                "event_time": 1_700_000_000_000 + turn * 60_000 + user,
            }
            for turn in range(10)
            for user in range(USERS)
        ]  # fmt: skip
        shop.produce("history", history)
        made.wait("a list of every user that has learned from all", lambda: _all_learned(shop))
        shop.first = shop.lists()
        yield shop
        for process in made.processes:
            assert process.terminate() == 0, process.tail()


def _item(turn: int, user: int) -> str:
    """What a user chose: an item of one of the two tastes."""
    return f"i{(2 * turn * (user + 1) + user) % ITEMS}"


def _all_learned(shop: Shop) -> bool:
    lists = shop.lists()
    return all(lists.get(f"u{user}", {}).get("learned_event_id") == f"h9-{user}" for user in range(USERS))


def test_lists_have_learned_and_say_so(shop: Shop) -> None:
    """Every active user has a list of available, unseen items that names the newest event and the model's version."""
    lists = shop.first
    history = {f"u{user}": {_item(turn, user) for turn in range(10)} for user in range(USERS)}
    assert set(history) <= set(lists)
    for user, seen in history.items():
        found = lists[user]
        items = [item["item_id"] for item in found["items"]]
        assert len(items) == len(set(items)) == 20
        assert not seen & set(items)
        assert [item["rank"] for item in found["items"]] == list(range(1, 21))
        assert all(item["signal"] for item in found["items"])
        assert found["model"]["offset"] > 0
        assert found["published_at"] >= found["learned_append_time"]


def test_next_event_changes_the_list(shop: Shop) -> None:
    """An event is learned from at once: the next list names it and no longer holds the item."""
    before = shop.lists()["u1"]
    item = before["items"][0]["item_id"]
    shop.produce("next", [{"event_id": "next", "user_id": "u1", "item_id": item, "event_time": 1_700_001_000_000}])
    shop.system.wait("a list that has learned", shop.learned("u1", "next"))
    after = shop.lists()["u1"]
    assert item not in [each["item_id"] for each in after["items"]]
    shown = json.loads(shop.run("recommend", "u1", "--json"))
    assert shown["list_id"] == after["list_id"]


def test_event_is_attributed_to_the_list_that_caused_it(shop: Shop) -> None:
    """An event that responds to a served list carries the list's id and the item's rank into the features."""
    served = shop.lists()["u2"]
    item = served["items"][2]
    shop.system.wait("the served list to be known", lambda: _knows(shop, "u2"))
    event = {"event_id": "resp", "user_id": "u2", "item_id": item["item_id"], "type": "click",
             "event_time": 1_700_001_000_000, "list_id": served["list_id"]}  # fmt: skip
    shop.produce("response", [event])
    shop.system.wait("a list that has learned", shop.learned("u2", "resp"))
    (feature,) = [each for each in _features(shop) if each.get("id") == "resp"]
    assert feature["list"]["list"] == served["list_id"]
    assert feature["list"]["rank"] == 3


def _features(shop: Shop) -> list[Any]:
    return [features.decode(one.value) for one in shop.system.read("features") if one.value is not None]


def _knows(shop: Shop, user: str) -> bool:
    return any(one.key.startswith(user.encode() + b"\x00l") for one in shop.system.read("extraction-state"))


def test_request_with_length_and_exclusions(shop: Shop) -> None:
    """A request is answered with k items, without those it excludes, also for a user never seen."""
    first = shop.lists()["u3"]["items"][0]["item_id"]
    options = ("--exclude", first, "--context", "device=phone", "--wait", "60", "--json")
    answer = json.loads(shop.run("recommend", "u3", "-k", "5", *options))
    assert answer["why"] == "request"
    assert len(answer["items"]) == 5
    assert first not in [item["item_id"] for item in answer["items"]]
    stranger = json.loads(shop.run("recommend", "stranger", "-k", "3", "--wait", "60", "--json"))
    assert (len(stranger["items"]), stranger["fallback"]) == (3, "new-user")


def test_plain_client_reads_lists(shop: Shop) -> None:
    """A consumer with nothing but confluent-kafka and the published schema reads the recommendations."""
    folder = Path(__file__).parents[2] / "schemas"
    schema = fastavro.schema.load_schema(str(folder / "RecommendationList.avsc"))
    consumer = Consumer(
        {"bootstrap.servers": shop.system.broker, "group.id": "plain", "isolation.level": "read_committed"}
    )
    name = shop.system.topic("recommendations")
    found: dict[str, Any] = {}
    try:
        consumer.assign([TopicPartition(name, each, OFFSET_BEGINNING) for each in range(shop.system.user_partitions)])
        # A message without a value is falsy.
        while (message := consumer.poll(10.0)) is not None:
            assert message.error() is None
            value, key = message.value(), message.key()
            if value is None or key is None:
                continue
            assert bytes(value)[:2] == b"\xc3\x01"
            record: Any = fastavro.schemaless_reader(BytesIO(bytes(value)[10:]), schema, None)
            found[bytes(key).decode()] = record
            if set(shop.first) <= set(found):
                break
    finally:
        consumer.close()
    assert set(shop.first) <= set(found)
    assert all(record["user_id"] == user for user, record in found.items())


def test_console_consumer_reads_lists(shop: Shop) -> None:
    """Kafka's own console consumer prints lists with their keys."""
    done = run_tool(
        "kafka-console-consumer",
        ["--topic", shop.system.topic("recommendations"), "--from-beginning", "--max-messages", "5",
         "--timeout-ms", "60000", "--isolation-level", "read_committed",
         "--formatter-property", "print.key=true", "--formatter-property", "print.value=true"],
        shop.system.broker,
        # Avro is no text: only the keys are readable here.
        errors="replace",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Processed a total of 5 messages" in done.stderr
    assert any(line.startswith("u") for line in done.stdout.splitlines())


def test_erasure_forgets_the_user(shop: Shop) -> None:
    """After an erasure the user's rows are deleted and the list is withdrawn."""
    shop.run("erase", "u5", "--yes")
    shop.system.wait("the list to be withdrawn", lambda: "u5" not in _current(shop))
    shop.system.wait("the user's row to be deleted", lambda: b"u5" not in shop.system.user_rows())


def _current(shop: Shop) -> set[str]:
    newest = {one.key.decode(): one.value for one in shop.system.read("recommendations")}
    return {user for user, value in newest.items() if value is not None}


def test_lag_is_near_zero_when_all_is_done(shop: Shop) -> None:
    """Drained services stand at the end of their inputs, transaction marks aside."""
    lines = json.loads(shop.run("lag", "--json"))
    leading = ("interactions", "features", "item-deltas", "user-state")
    shop.system.wait(
        "the services to drain",
        lambda: all(line["lag"] <= 1 for line in json.loads(shop.run("lag", "--json")) if line["topic"] in leading),
    )
    assert {line["group"] for line in lines} == {
        "feature-extraction", "user-shard", "item-shard", "recommendation-publishing",
    }  # fmt: skip


def test_live_audit_is_clean(shop: Shop) -> None:
    """The audit of the running system refutes nothing, and a rebuild gives every delta again."""
    verdict = json.loads(shop.run("audit", "--json", "--rebuild"))
    assert verdict["verdict"] == "clean", verdict["findings"]
    assert {check["name"] for check in verdict["checks"]} >= {"rebuild"}
    assert not [finding for finding in verdict["findings"] if finding["check"] == "user-state"]
