"""The audit's checks: clean logs pass, and each kind of corruption is found where it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgpack
import pytest

from services.cli.audit.checks import READ_ORDER, Chunk, Finding, Log, checkers
from services.contracts.inner import features
from services.contracts.inner.features import BATCH_KEY
from services.contracts.inner.item_deltas import SEAL_KEY
from services.contracts.inner.item_state import CLOCK_KEY
from services.runtime.processor import Output
from tests.unit.model_update.world import ITEM_PARTITIONS, USER_PARTITIONS, Event, World, event_record

Ends = dict[tuple[str, int], int]
"""{(topic, partition): chosen end}."""
PARTITIONS = {"user-state": 3, "features": 3, "interactions": 3, "item-state": 2, "item-deltas": 2}


@dataclass
class Records:
    """All records of a run, which a test may tamper with: {topic: {partition: [[offset, key, value], ...]}}."""

    logs: dict[str, dict[int, list[list[Any]]]]
    starts: dict[tuple[str, int], int] = field(default_factory=dict)

    def audit(
        self, delivery: str = "exactly-once", *, live: bool = False, cut: bool = False, ends: Ends | None = None
    ) -> list[Finding]:
        """Run all checks; `cut`: the rows end amid a batch; `ends`: the chosen ends."""
        checks = checkers(delivery, USER_PARTITIONS, ITEM_PARTITIONS, live=live)
        logs = []
        for topic in READ_ORDER:
            for partition, records in self.logs[topic].items():
                start = self.starts.get((topic, partition), 0)
                high = (records[-1][0] + 2) if records else 0
                end = min(high, (ends or {}).get((topic, partition), high))
                kept = [record for record in records if start <= record[0] < end]
                chosen = end < high or (cut and topic == "user-state")
                logs.append(Log(topic, partition, start, end, cut=chosen))
                for at in range(0, len(kept), 7):
                    offsets, keys, values = zip(*kept[at : at + 7], strict=True)
                    for check in checks:
                        if topic in check.topics:
                            check.feed(Chunk(topic, partition, offsets, keys, values))
        return [finding for check in checks for finding in check.finish(logs)]

    def errors(self, delivery: str = "exactly-once") -> list[Finding]:
        """The findings that refute."""
        return [finding for finding in self.audit(delivery) if finding.level == "error"]

    def find(self, topic: str, wanted: Callable[[Any, Any], bool], skip: int = 0) -> tuple[int, list[Any]]:
        """(partition, record) of the first record for which `wanted(key, decoded)` holds."""
        for partition, records in self.logs[topic].items():
            for record in records:
                if record[2] is not None and wanted(record[1], msgpack.unpackb(record[2])):
                    if not skip:
                        return partition, record
                    skip -= 1
        raise LookupError(topic)

    def change(self, record: list[Any], **values: Any) -> None:
        """Overwrite fields of a record's value."""
        record[2] = msgpack.packb({**msgpack.unpackb(record[2]), **values})


def extracted(world: World) -> dict[int, list[list[Any]]]:
    """Lets a world learn features as feature extraction writes them; returns the interactions that they came from."""
    interactions: dict[int, list[list[Any]]] = {p: [] for p in range(USER_PARTITIONS)}
    positions = dict.fromkeys(range(USER_PARTITIONS), 0)
    number = 0
    for batch in range(24):
        partition = batch % USER_PARTITIONS
        start = position = positions[partition]
        outputs: list[Output] = []
        aside: dict[str, list[int]] = {"dup": [], "late": [], "dead": [], "moved": []}
        for n in range(5):
            interactions[partition].append([position, b"k", b"v"])
            if n == 3:
                list(aside.values())[batch % 4].append(position)
            else:
                event = Event(user=partition + 3 * (number % 3), item=number * 7 % 11)
                record = event_record(event, partition, number)
                record["src"] = [partition, position]
                outputs.append(Output("features", record["user"].encode(), features.encode(record), partition))
                number += 1
            position += 1
        # The transaction marker of the producer.
        position += 1
        positions[partition] = position
        seal = {"v": 1, "kind": "batch", "partition": partition, "range": [start, position], "n": 4, **aside}
        outputs.append(Output("features", BATCH_KEY, features.encode(seal), partition))  # type: ignore[arg-type]
        world.logs.write(outputs)
        if batch % 5 == 4:
            world.settle()
        if batch == 12:
            world.restart_users(0)
            world.restart_items(1)
    erase = {"v": 1, "kind": "erase", "src": [0, 1], "user": "user-0"}
    world.logs.write([Output("features", b"user-0", features.encode(erase), 0)])  # type: ignore[arg-type]
    world.settle()
    return interactions


@pytest.fixture
def records() -> Records:
    """A clean run with two user shards, restarts and an erasure."""
    world = World(shards=2, max_events=9)
    interactions = extracted(world)
    logs: dict[str, dict[int, list[list[Any]]]] = {"interactions": interactions}
    for topic in READ_ORDER:
        if topic != "interactions":
            logs[topic] = {
                p: [[m.offset(), m.key(), m.value()] for m in world.logs.read((topic, p))]
                for p in range(PARTITIONS[topic])
            }
    return Records(logs)


def _only(errors: list[Finding], check: str, topic: str) -> Finding:
    assert errors
    assert {error.check for error in errors} >= {check}
    return next(error for error in errors if error.check == check and error.topic in (topic, ""))


def test_a_clean_run_passes(records: Records) -> None:
    """Nothing is found in the logs of a run with restarts, two shards and an erasure; everything is counted."""
    assert records.audit() == []


def test_a_live_tail_is_no_error(records: Records) -> None:
    """Features that are not learned and interactions that are not extracted yet are notes."""
    for partition in range(USER_PARTITIONS):
        records.logs["interactions"][partition].append([10_000, b"k", b"v"])
    partition, record = records.find("features", lambda key, _: key != BATCH_KEY)
    end = records.logs["features"][partition][-1][0]
    records.logs["features"][partition].append([end + 5, record[1], record[2]])
    errors = [e for e in records.errors() if e.check != "interactions"]
    assert errors == []
    notes = [finding for finding in records.audit() if finding.level == "note"]
    assert {note.check for note in notes} == {"interactions", "batches"}


def test_rows_of_an_earlier_moment_are_no_error(records: Records) -> None:
    """On a live system user-state is read before the batches: rows that lag behind them are only told apart then."""
    for share in (0.4, 0.7, 0.9):
        cut = Records({topic: dict(logs) for topic, logs in records.logs.items()})
        for partition, log in cut.logs["user-state"].items():
            cut.logs["user-state"][partition] = log[: round(share * len(log))]
        for partition, log in cut.logs["item-state"].items():
            cut.logs["item-state"][partition] = log[: round(share * len(log))]
        found = cut.audit(live=True, cut=True)
        assert [finding for finding in found if finding.level == "error"] == []
        assert {finding.message for finding in found if finding.check == "user-state"} <= {
            f"Not judged: {n} rows, because the reading may have ended amid their batch." for n in range(100)
        }
        assert {error.check for error in cut.errors()} == {"user-state"}


def test_a_live_audit_judges_every_row_when_nothing_is_in_flight(records: Records) -> None:
    """On an idle system the last batch of every partition is judged as well: nothing is noted, and a fault is found."""
    assert records.audit(live=True) == []
    newest = [record for record in records.logs["user-state"][1] if len(record[1]) < 10][-1]
    records.change(newest, n=99)
    (error,) = records.audit(live=True)
    assert (error.topic, error.partition, error.offset) == ("user-state", 1, newest[0])
    assert all(finding.level == "note" for finding in records.audit(live=True, cut=True))


def test_a_live_audit_reads_whole_transactions(records: Records) -> None:
    """Where user-state ends between two transactions, all rows are judged and later batches are no error."""
    for share in (0.4, 0.7, 0.9):
        early = Records({topic: dict(logs) for topic, logs in records.logs.items()})
        for partition, log in early.logs["user-state"].items():
            ends = [n for n in range(1, len(log)) if log[n][0] != log[n - 1][0] + 1]
            early.logs["user-state"][partition] = log[: ends[round(share * (len(ends) - 1))]]
        assert [finding for finding in early.audit(live=True) if finding.check == "user-state"] == []


def test_no_chosen_end_refutes_a_clean_run(records: Records) -> None:
    """Wherever the reading of a partition ends, effects of what was not read are noted at most."""
    for topic, logs in records.logs.items():
        for partition, log in logs.items():
            for end, _, _ in log:
                found = records.audit(ends={(topic, partition): end})
                assert [finding for finding in found if finding.level == "error"] == [], (topic, partition, end)


def test_no_chosen_ends_together_refute_a_clean_run(records: Records) -> None:
    """The same with an end in every partition, at random."""
    random = Random(7)
    for _ in range(150):
        ends = {
            (topic, partition): random.randrange(log[-1][0] + 2)
            for topic, logs in records.logs.items()
            for partition, log in logs.items()
            if random.random() < 0.6
        }
        assert [finding for finding in records.audit(ends=ends) if finding.level == "error"] == [], ends


def test_chosen_ends_of_a_compacted_log_refute_nothing(records: Records) -> None:
    """A row that left the log for the sake of a later one behind the end is not missing, and nothing else is wrong."""
    for topic in ("user-state", "item-state"):
        for partition, log in records.logs[topic].items():
            last = {record[1]: record[0] for record in log}
            kept = [record for record in log if last[record[1]] == record[0] and record[2] is not None]
            records.logs[topic][partition] = [*kept, *(log[-1:] if log[-1] not in kept else [])]
    assert records.audit() == []
    for topic in records.logs:
        for partition, log in records.logs[topic].items():
            for end, _, _ in log[::2]:
                found = records.audit(ends={(topic, partition): end})
                assert [finding for finding in found if finding.level == "error"] == [], (topic, partition, end)


def test_what_is_wrong_before_a_chosen_end_is_found(records: Records) -> None:
    """A feature or a batch that is lost is found as soon as what follows it was read, and not before."""
    partition, feature = records.find("features", lambda key, _: key != BATCH_KEY, skip=4)
    seal = next(r for r in records.logs["features"][partition] if r[1] == BATCH_KEY and r[0] > feature[0])
    records.logs["features"][partition].remove(feature)
    source = msgpack.unpackb(feature[2])["src"][1]
    for end in range(records.logs["features"][partition][-1][0]):
        errors = [f for f in records.audit(ends={("features", partition): end}) if f.level == "error"]
        named = {(error.topic, error.offset) for error in errors}
        assert (("interactions", source) in named) == (end > seal[0])


def test_rows_before_a_chosen_end_are_judged(records: Records) -> None:
    """A wrong user row and a lost one are errors also where another partition, or a later part, is not read."""
    log = records.logs["user-state"][1]
    rows = [record for record in log if len(record[1]) < 10 and record[2] is not None]
    last = {record[1]: record for record in rows}
    wrong, lost = list(last.values())[:2]
    records.change(wrong, n=99)
    records.logs["user-state"][1] = [record for record in log if record[1] != lost[1]]
    ends = {(t, p): logs[-1][0] * 9 // 10 for t in ("interactions", "features") for p, logs in records.logs[t].items()}
    ends = {place: end for place, end in ends.items() if place != ("features", 1)}
    errors = [finding for finding in records.audit(ends=ends) if finding.level == "error"]
    assert {(error.check, error.partition) for error in errors} == {("user-state", 1)}
    assert any(error.offset == wrong[0] for error in errors)
    assert any("no row" in error.message for error in errors)


def test_a_missing_batch_is_found(records: Records) -> None:
    """Without one seal there is a gap in the features, and deltas without a batch."""
    partition, record = records.find("item-deltas", lambda key, _: key == SEAL_KEY, skip=3)
    records.logs["item-deltas"][partition].remove(record)
    error = _only(records.errors(), "batches", "item-deltas")
    assert error.offset > record[0]


def test_a_repeated_batch_is_found(records: Records) -> None:
    """A batch that learns features again is an overlap; at-least-once, where it may happen, a note."""
    partition, record = records.find("item-deltas", lambda key, _: key == SEAL_KEY, skip=3)
    again = [records.logs["item-deltas"][partition][-1][0] + 3, record[1], record[2]]
    records.change(again, b=99, e=77)
    records.logs["item-deltas"][partition].append(again)
    error = _only(records.errors(), "batches", "item-deltas")
    assert error.offset == again[0]
    assert [e for e in records.errors("at-least-once") if e.check == "batches"] == []


def test_a_wrong_count_of_a_batch_is_found(records: Records) -> None:
    """A seal must count the events in its ranges."""
    _, record = records.find("item-deltas", lambda key, value: key == SEAL_KEY and value["events"] > 0)
    records.change(record, events=1000)
    assert _only(records.errors(), "batches", "item-deltas").offset == record[0]


def test_lost_deltas_are_found(records: Records) -> None:
    """Without one delta record the rows are not what the log adds up to."""
    partition, record = records.find("item-deltas", lambda key, _: key != SEAL_KEY, skip=2)
    records.logs["item-deltas"][partition].remove(record)
    assert _only(records.errors(), "item-state", "item-state").partition == partition


def test_one_changed_bit_of_an_item_row_is_found(records: Records) -> None:
    """Rows are compared bit for bit."""
    for partition, log in records.logs["item-state"].items():
        last = {record[1]: record for record in log if record[1] != CLOCK_KEY and record[2] is not None}
        key, record = next(iter(last.items()))
        value = msgpack.unpackb(record[2])
        name = next(iter(value["b"]))
        block = bytearray(value["b"][name])
        block[0] ^= 1
        records.change(record, b={**value["b"], name: bytes(block)})
        error = _only(records.errors(), "item-state", "item-state")
        assert (error.partition, error.offset) == (partition, record[0])
        assert repr(key.decode()) in error.message
        return


def test_a_lost_item_row_is_found(records: Records) -> None:
    """A row that was folded and never published is missing."""
    log = records.logs["item-state"][0]
    key = next(record[1] for record in log if record[1] != CLOCK_KEY)
    records.logs["item-state"][0] = [record for record in log if record[1] != key]
    assert _only(records.errors(), "item-state", "item-state").partition == 0


def test_a_wrong_user_row_is_found(records: Records) -> None:
    """A row's position is the end of a batch, and its count that of the user's events."""
    partition, log = next((p, log) for p, log in records.logs["user-state"].items() if log)
    last = {record[1]: record for record in log if len(record[1]) < 10 and record[2] is not None}
    record = list(last.values())[-1]
    held = record[2]
    for change in ({"n": 1}, {"o": msgpack.unpackb(held)["o"] - 1}, {"o": 10**6}):
        record[2] = held
        records.change(record, **change)
        error = _only(records.errors(), "user-state", "user-state")
        assert (error.partition, error.offset) == (partition, record[0])


def test_a_lost_user_row_is_found(records: Records) -> None:
    """A user with events has a row."""
    log = records.logs["user-state"][1]
    key = log[-1][1][:6]
    records.logs["user-state"][1] = [record for record in log if record[1] != key]
    assert _only(records.errors(), "user-state", "features").partition == 1


def test_a_lost_feature_is_found(records: Records) -> None:
    """An interaction whose feature is gone is accounted for by nothing, and the counts are wrong."""
    partition, record = records.find("features", lambda key, _: key != BATCH_KEY, skip=4)
    records.logs["features"][partition].remove(record)
    errors = records.errors()
    lost = _only(errors, "interactions", "interactions")
    assert (lost.partition, lost.offset) == (partition, msgpack.unpackb(record[2])["src"][1])
    assert {error.check for error in errors} >= {"interactions", "batches"}


def test_a_repeated_feature_is_found(records: Records) -> None:
    """An interaction that became two features is accounted for twice."""
    partition, record = records.find("features", lambda key, _: key != BATCH_KEY, skip=4)
    at = records.logs["features"][partition].index(record)
    records.logs["features"][partition].insert(at + 1, [record[0] + 0.5, record[1], record[2]])
    assert _only(records.errors(), "interactions", "interactions").partition == partition


def test_a_lost_extraction_batch_is_found(records: Records) -> None:
    """A range that no seal of feature extraction covers is a gap."""
    partition, record = records.find("features", lambda key, _: key == BATCH_KEY, skip=2)
    records.logs["features"][partition].remove(record)
    assert _only(records.errors(), "interactions", "features").partition == partition


def test_what_retention_took_is_said(records: Records) -> None:
    """With logs that do not go back to their start, the rest is checked and a note says what was not."""
    for topic in ("item-deltas", "features", "interactions"):
        for partition, log in records.logs[topic].items():
            records.starts[topic, partition] = log[len(log) // 3][0]
    findings = records.audit()
    assert [finding for finding in findings if finding.level == "error"] == []
    assert {finding.check for finding in findings} == {"interactions", "batches", "item-state", "user-state"}


def test_many_errors_are_counted(records: Records) -> None:
    """Twenty errors of a kind are listed, the others counted."""
    for partition in range(USER_PARTITIONS):
        records.logs["features"][partition] = [r for r in records.logs["features"][partition] if r[1] == BATCH_KEY]
    errors = [error for error in records.errors() if error.check == "interactions"]
    assert any("more of the kind" in error.message for error in errors)
