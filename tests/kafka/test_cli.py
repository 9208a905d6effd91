from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from services.broker.broker import LocalBroker
from services.cli.app import app
from services.cli.kafka import poll_batch, reader, watermarks
from services.cli.show import out
from services.contracts.edge import codec_for
from services.contracts.inner import user_state
from services.contracts.keys import partition_of
from services.contracts.topics import TOPICS
from services.runtime.settings import KafkaSettings

pytestmark = pytest.mark.kafka

Run = Callable[..., Any]
COLUMNS = "user_id,item_id,event_type,value,timestamp_ms\n"


@pytest.fixture
def environment(broker: LocalBroker, prefix: str, tmp_path: Path) -> dict[str, str]:
    """Settings of every command of a test."""
    return {
        "STREAMREC_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "STREAMREC_TOPIC_PREFIX": prefix,
        "STREAMREC_STATE_DIR": str(tmp_path / "state"),
        "COLUMNS": "200",
    }


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    """Run a command; its exit code must be the expected one."""

    def call(*arguments: str, code: int = 0, **options: Any) -> Any:
        result = CliRunner().invoke(app, list(arguments), env=environment, **options)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return call


@pytest.fixture
def topics(run: Run) -> None:
    """The topics of the test."""
    run("topics", "create")


def _lines(result: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_topics_are_created_checked_and_listed(run: Run) -> None:
    """`create` makes every topic once, `check` finds nothing wrong, `list` knows their sizes."""
    missing = json.loads(run("topics", "check", "--json", code=1).stdout)
    assert {problem["topic"] for problem in missing} == {line.name for line in TOPICS}
    first = json.loads(run("topics", "create", "--json").stdout)
    assert {report["action"] for report in first} == {"created"}
    again = json.loads(run("topics", "create", "--json").stdout)
    assert {report["action"] for report in again} == {"exists"}
    assert "as the services need them" in run("topics", "check").output
    listed = {line["topic"]: line for line in json.loads(run("topics", "list", "--json").stdout)}
    assert listed["interactions"]["partitions"] == 4
    assert "interactions" in run("topics", "list").output


def test_list_of_topics_is_whole_on_a_narrow_terminal(run: Run, topics: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """In eighty columns, even with long names, nothing is cut off."""
    monkeypatch.setattr(out, "_width", 80)
    text = run("topics", "list").stdout
    assert "recommendation-requests" in text
    assert "…" not in text


def test_json_is_unharmed_by_a_warning(run: Run, topics: None, environment: dict[str, str]) -> None:
    """A misspelled variable is named on stderr: what a program reads from stdout stays JSON."""
    environment["STREAMREC_TOPIC_PREFIXX"] = "a."
    result = run("topics", "list", "--json")
    assert len(json.loads(result.stdout)) == len(TOPICS)
    assert "did you mean STREAMREC_TOPIC_PREFIX?" in result.stderr


def test_mismatch_is_named_with_its_remedy(run: Run, topics: None) -> None:
    """Other partition counts than those on the cluster are a clear error."""
    result = run("topics", "check", "--user-partitions", "3", code=1)
    assert result.output.count("4 partitions where 3 are configured. Set STREAMREC_USER_PARTITIONS=4.") == 1


def test_produce_sends_files_and_tail_shows_them(run: Run, topics: None, tmp_path: Path) -> None:
    """Events and items of files arrive decoded, under the keys and in the partitions that the services expect."""
    events, items = tmp_path / "events.csv.gz", tmp_path / "items.csv"
    rows = [f"u{number % 5},i{number},view,,{1_700_000_000_000 + number}\n" for number in range(50)]
    events.write_bytes(gzip.compress((COLUMNS + "".join(rows)).encode()))
    items.write_text("item_id,title,year,categories\ni1,One,1999,a|b\n")
    sent = json.loads(run("produce", "--events", str(events), "--items", str(items), "--json").stdout)
    assert (sent["interactions"]["sent"], sent["items"]["sent"]) == (50, 1)
    found = _lines(run("tail", "interactions", "--from-beginning"))
    assert sorted(line["value"]["item_id"] for line in found) == sorted(f"i{number}" for number in range(50))
    assert all(line["partition"] == partition_of(line["key"].encode(), 4) for line in found)
    assert len({line["value"]["event_id"] for line in found}) == 50
    mine = _lines(run("tail", "interactions", "--user", "u3", "--limit", "2"))
    assert [line["value"]["item_id"] for line in mine] == ["i43", "i48"]
    (item,) = _lines(run("tail", "items", "--item", "i1"))
    assert item["value"]["categories"] == ["a", "b"]


def test_bad_line_stops_with_its_number(run: Run, topics: None, tmp_path: Path) -> None:
    """A bad line is an error with its number; --skip-bad leaves it out and counts it."""
    path = tmp_path / "events.csv"
    path.write_text(COLUMNS + "u1,i1,view,,1\nu1,i2,view,many,2\nu1,i3,view,,3\n")
    result = run("produce", "--events", str(path), code=1)
    assert "line 3" in result.output
    assert "column value" in result.output
    assert "1 record before it had been sent: --skip-bad --resume goes on without such lines" in result.output
    assert len(_lines(run("tail", "interactions", "--from-beginning"))) == 1
    result = run("produce", "--events", str(path), "--resume", "--skip-bad", "--json")
    assert json.loads(result.stdout.splitlines()[-1])["interactions"] | {"seconds": 0} == {
        "sent": 1, "skipped_bad": 1, "resumed_at_row": 1, "seconds": 0,
    }  # fmt: skip


def test_interrupted_produce_says_how_to_go_on(
    run: Run, topics: None, environment: dict[str, str], tmp_path: Path
) -> None:
    """After Ctrl-C the command says how many records Kafka has, and --resume sends exactly the others."""
    path = tmp_path / "events.csv"
    count = 3000
    path.write_text(COLUMNS + "".join(f"u{number},i{number},view,,{number + 10**12}\n" for number in range(count)))
    command = [sys.executable, "-m", "services.cli", "produce", "--events", str(path), "--rate", "50"]
    # Tests that run in the background ignore interrupts, and so would what they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    end = time.monotonic() + 60
    while not _lines(run("tail", "interactions", "-n", "1")):
        assert time.monotonic() < end, "nothing was sent"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    found = re.search(r"interrupted: (\d+) records? sent; --resume goes on from there", said)
    assert found, said
    rest = json.loads(run("produce", "--events", str(path), "--resume", "--json").stdout)["interactions"]
    assert (rest["resumed_at_row"], rest["sent"]) == (int(found[1]), count - int(found[1]))
    assert len(_lines(run("tail", "interactions", "--from-beginning"))) == count


def test_killed_produce_resumes(run: Run, topics: None, environment: dict[str, str], tmp_path: Path) -> None:
    """After kill -9, --resume completes the file: every event is there, repeats carry the ids they had."""
    path = tmp_path / "events.csv"
    count = 12_000
    path.write_text(COLUMNS + "".join(f"u{number},i{number},view,,{number + 10**12}\n" for number in range(count)))
    command = [sys.executable, "-m", "services.cli", "produce", "--events", str(path), "--rate", "2000"]
    process = subprocess.Popen(command, env={**os.environ, **environment})
    state = tmp_path / "state" / "produce"
    end = time.monotonic() + 60
    while not (state.exists() and list(state.glob("*.json"))):
        assert time.monotonic() < end, "no position was saved"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    resumed = json.loads(run("produce", "--events", str(path), "--resume", "--json").stdout)["interactions"]
    assert 0 < resumed["resumed_at_row"] < count
    assert resumed["resumed_at_row"] + resumed["sent"] == count
    values = [line["value"] for line in _lines(run("tail", "interactions", "--from-beginning"))]
    assert len({value["event_id"] for value in values}) == len({value["item_id"] for value in values}) == count
    nothing = json.loads(run("produce", "--events", str(path), "--resume", "--json").stdout)["interactions"]
    assert nothing["sent"] == 0


@pytest.mark.parametrize(
    ("arguments", "topic"),
    [
        (["lag"], "interactions"),
        (["lag", "--json"], "interactions"),
        (["weights", "view=1"], "items"),
        (["weights", "--reset"], "items"),
        (["erase", "a", "--yes"], "erasure-requests"),
        (["erase", "a"], "erasure-requests"),
        (["recommend", "a", "--request"], "recommendations"),
        (["tail", "items"], "items"),
        (["audit"], "user-state"),
    ],
    ids=" ".join,
)
def test_missing_topics_are_named_at_once(run: Run, prefix: str, arguments: list[str], topic: str) -> None:
    """A command that needs topics says which one is missing and how to make it, instead of nothing or a time-out."""
    result = run(*arguments, code=1)
    assert f"topic {prefix}{topic} does not exist; run `streamrec topics create`" in result.stderr
    assert result.stdout == ""


def test_produce_needs_its_topics(run: Run, tmp_path: Path) -> None:
    """Without topics nothing is created by accident: the error says how to create them."""
    path = tmp_path / "events.csv"
    path.write_text(COLUMNS + "u,i,view,,1\n")
    assert "streamrec topics create" in run("produce", "--events", str(path), code=1).output


def test_tail_shows_inner_and_bad_records(run: Run, topics: None, kafka: dict[str, str], prefix: str) -> None:
    """Inner records are shown with their arrays, a record that cannot be decoded with its error."""
    producer = Producer(kafka)
    chunk = user_state.encode({"v": 1, "s": (5).to_bytes(8, "little")})
    producer.produce(f"{prefix}user-state", chunk, user_state.seen_key(b"u", 0), partition=0)
    producer.produce(f"{prefix}interactions", b"\x01\x02", b"u")
    producer.produce(f"{prefix}dead-letters", b"\xff", b"u", headers={"service": b"x"})
    producer.flush(30)
    (row,) = _lines(run("tail", "user-state", "--from-beginning"))
    assert row["value"]["s"] == [5]
    (bad,) = _lines(run("tail", "interactions"))
    assert "unknown encoding" in bad["error"]
    (dead,) = _lines(run("tail", "dead-letters", "--user", "u"))
    assert _lines(run("tail", "dead-letters", "--item", "v")) == []
    assert (dead["headers"], dead["value"]) == ({"service": "x"}, {"base64": "/w=="})


def test_tail_takes_physical_names(run: Run, topics: None, prefix: str) -> None:
    """A topic may be given by its name in Kafka; an unknown one and a wrong key are errors of usage."""
    assert run("tail", f"{prefix}items").stdout == ""
    assert "there are interactions" in run("tail", "nothing", code=2).output
    assert "not keyed by user" in run("tail", "items", "--user", "u", code=2).output


def test_recommend_shows_the_current_list(run: Run, topics: None, kafka: dict[str, str], prefix: str) -> None:
    """The newest list of the user is shown with titles and reasons; a withdrawn one is not."""
    lists, items, producer = codec_for("recommendations"), codec_for("items"), Producer(kafka)
    assert "there is no list" in run("recommend", "u", code=1).output
    for number in (1, 2):
        record = lists.complete(
            {
                "list_id": f"l{number}", "user_id": "u", "published_at": 1000, "why": "event",
                "items": [{"item_id": "i1", "score": 0.5, "rank": 1, "signal": "factors", "because": ["i2"]}],
            }
        )  # fmt: skip
        producer.produce(f"{prefix}recommendations", lists.encode(record), b"u", partition=partition_of(b"u", 4))
    producer.produce(f"{prefix}items", items.encode(items.complete({"item_id": "i2", "title": "The Second"})), b"i2")
    producer.flush(30)
    shown = run("recommend", "u").output
    assert "list l2" in shown
    assert "because of The Second" in shown
    assert json.loads(run("recommend", "u", "--json").stdout)["list_id"] == "l2"
    producer.produce(f"{prefix}recommendations", None, b"u", partition=partition_of(b"u", 4))
    producer.flush(30)
    assert "there is no list" in run("recommend", "u", code=1).output


def test_request_without_service_ends(run: Run, topics: None) -> None:
    """A request that nobody answers ends after its wait, and says what to look at."""
    result = run("recommend", "u", "--request", "--wait", "0.5", code=1)
    assert "no answer within 0.5 s" in result.output
    (request,) = _lines(run("tail", "recommendation-requests"))
    assert request["value"]["user_id"] == "u"


def test_erase_asks_first(run: Run, topics: None) -> None:
    """Nothing is sent without a yes; with it the request says who and when."""
    run("erase", "u", input="n\n", code=1)
    assert _lines(run("tail", "erasure-requests")) == []
    run("erase", "u", input="y\n")
    run("erase", "w", "--yes", "--request-id", "case-7")
    found = {line["key"]: line["value"] for line in _lines(run("tail", "erasure-requests"))}
    assert found["w"]["request_id"] == "case-7"
    assert found["u"]["requested_at"] > 1_600_000_000_000


def test_lag_counts_what_nobody_has_read(run: Run, topics: None, tmp_path: Path) -> None:
    """Before any service ran, the lag is everything that was produced."""
    path = tmp_path / "events.csv"
    path.write_text(COLUMNS + "".join(f"u{number},i,view,,{number + 1}\n" for number in range(30)))
    run("produce", "--events", str(path))
    lines = json.loads(run("lag", "--json").stdout)
    behind = {line["topic"]: 0 for line in lines}
    for line in lines:
        behind[line["topic"]] += line["lag"]
    assert behind["interactions"] == 30
    assert behind["features"] == 0
    assert "never started" in run("lag").output


def test_audit_of_empty_topics_is_clean(run: Run, topics: None) -> None:
    """Nothing happened, nothing is refuted, and the ends of one audit are those of the next."""
    verdict = json.loads(run("audit", "--json").stdout)
    assert verdict["verdict"] == "clean"
    assert {log["end"] for log in verdict["logs"]} == {0}
    assert "audit: clean" in run("audit").output


def test_audit_reads_up_to_the_chosen_offset(run: Run, topics: None, tmp_path: Path) -> None:
    """--until and --ends-from stop before later records; an offset that is not there is an error of usage."""
    path = tmp_path / "events.jsonl"
    path.write_text("".join('{"user_id": "u", "item_id": "i"}\n' for _ in range(20)))
    run("produce", "--events", str(path))
    place = f"interactions:{partition_of(b'u', 4)}"
    some = run("audit", "--json", "--until", f"{place}=7").stdout
    logs = {f"{log['topic']}:{log['partition']}": log["end"] for log in json.loads(some)["logs"]}
    assert logs[place] == 7
    saved = tmp_path / "audit.json"
    saved.write_text(some)
    assert json.loads(run("audit", "--json", "--ends-from", str(saved)).stdout)["logs"] == json.loads(some)["logs"]
    assert "holds offsets 0 to 20" in run("audit", "--until", f"{place}=21", code=2).output
    assert "expected TOPIC:PARTITION=OFFSET" in run("audit", "--until", "x", code=2).output


def test_reader_follows_new_records(
    broker: LocalBroker, run: Run, topics: None, kafka: dict[str, str], prefix: str
) -> None:
    """A reader that stands at the ends gets what comes after them."""
    settings = KafkaSettings.load(bootstrap_servers=broker.bootstrap_servers, topic_prefix=prefix)
    client = reader(settings)
    try:
        assert set(watermarks(client, f"{prefix}items", [0, 1]).values()) == {(0, 0)}
        from confluent_kafka import TopicPartition

        client.assign([TopicPartition(f"{prefix}items", 0, 0)])
        producer = Producer(kafka)
        producer.produce(f"{prefix}items", b"{}", b"k", partition=0)
        producer.flush(30)
        found: list[Any] = []
        end = time.monotonic() + 60
        while not found:
            assert time.monotonic() < end
            found = [each for each in poll_batch(client, 0.2) if each.error() is None]
        assert found[0].key() == b"k"
    finally:
        client.close()
