"""The local broker on the real thing: its life cycle, its errors, its guarantees and its tools."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from services.broker.broker import LocalBroker
from services.broker.errors import DataFolderError, PortTakenError, StartError
from services.broker.jars import classpath
from services.broker.settings import BrokerSettings
from services.broker.storage import MARKER
from services.broker.tools import TOOLS, run_tool
from services.broker.version import KAFKA_VERSION

pytestmark = pytest.mark.kafka

Make = Callable[..., LocalBroker]


@pytest.fixture
def make(broker: LocalBroker, tmp_path: Path) -> Iterator[Make]:
    """Brokers of a test's own; asks for the shared one first, so that it skips where that does."""
    made = []

    def one(folder: Path | None = None, port: int = 0, **more: object) -> LocalBroker:
        settings = BrokerSettings.load(
            **{"broker_start_timeout_s": 150, **more}, broker_port=port, broker_data_dir=folder or tmp_path / "own"
        )
        made.append(LocalBroker(settings))
        return made[-1]

    yield one
    for each in made:
        each.kill()


def _create(servers: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": servers})
    for done in admin.create_topics([NewTopic(topic, 1, 1)]).values():
        done.result()


def _transaction(servers: str, topic: str, values: list[bytes], identity: str, *, commit: bool = True) -> None:
    producer = Producer({"bootstrap.servers": servers, "transactional.id": identity})
    producer.init_transactions()
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value)
    producer.flush()
    if commit:
        producer.commit_transaction()
    else:
        producer.abort_transaction()


def _read(servers: str, topic: str, isolation: str = "read_committed") -> list[bytes]:
    """Every record from the start of partition 0 to its end."""
    consumer = Consumer({
        "bootstrap.servers": servers, "group.id": "unused", "isolation.level": isolation,
        "enable.auto.commit": False, "enable.partition.eof": True,
    })  # fmt: skip
    consumer.assign([TopicPartition(topic, 0, 0)])
    values = []
    try:
        for _ in range(1000):
            message = consumer.poll(1.0)
            if message is None:
                continue
            error = message.error()
            if error is None:
                values.append(message.value() or b"")
            elif error.code() == KafkaError._PARTITION_EOF:
                return values
            else:
                raise KafkaException(error)
    finally:
        consumer.close()
    raise AssertionError("no end of the partition")


def test_aborted_records_stay_hidden(broker: LocalBroker, prefix: str) -> None:
    """A read_committed consumer sees the committed transaction only, a read_uncommitted one sees both."""
    topic = f"{prefix}letters"
    _create(broker.bootstrap_servers, topic)
    _transaction(broker.bootstrap_servers, topic, [b"a", b"b"], prefix)
    _transaction(broker.bootstrap_servers, topic, [b"x"], prefix, commit=False)
    _transaction(broker.bootstrap_servers, topic, [b"c"], prefix)
    assert _read(broker.bootstrap_servers, topic) == [b"a", b"b", b"c"]
    assert _read(broker.bootstrap_servers, topic, "read_uncommitted") == [b"a", b"b", b"x", b"c"]


def test_topics_are_not_made_by_accident(broker: LocalBroker, prefix: str) -> None:
    """Producing to a topic that does not exist is an error and creates nothing."""
    failed = []
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "message.timeout.ms": 5000})
    producer.produce(f"{prefix}typo", b"x", on_delivery=lambda error, _: failed.append(error))
    producer.flush()
    assert failed
    assert failed[0] is not None
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    assert f"{prefix}typo" not in admin.list_topics(timeout=10).topics


def test_restart_and_kill_keep_the_data(make: Make) -> None:
    """What was committed is there after a clean restart and after a kill, at the same address."""
    own = make().start()
    address = own.bootstrap_servers
    _create(address, "kept")
    _transaction(address, "kept", [b"1"], "writer")
    own.restart()
    assert own.bootstrap_servers == address
    _transaction(address, "kept", [b"2"], "writer")
    os.kill(own.pid, signal.SIGKILL)
    own.wait()
    assert not own.running()
    own.start()
    assert own.bootstrap_servers == address
    assert _read(address, "kept") == [b"1", b"2"]


def test_folder_has_one_broker(broker: LocalBroker, make: Make) -> None:
    """A second broker on a folder in use is refused and the first one goes on."""
    with pytest.raises(DataFolderError, match="already running"):
        make(folder=broker.folder.path).start()
    assert broker.running()


def test_port_taken(broker: LocalBroker, make: Make) -> None:
    """A port in use is named in the error, and no process is left."""
    own = make(port=broker.port)
    with pytest.raises(PortTakenError, match=str(broker.port)):
        own.start()
    assert not own.running()
    own.folder.open()  # the folder was given back
    own.folder.close()


@pytest.mark.parametrize("change", [{"kafka_version": "3.9.0"}, {"cluster_id": "AAAAAAAAAAAAAAAAAAAAAA"}])
def test_folder_of_another_kafka_is_refused(
    broker: LocalBroker, make: Make, tmp_path: Path, change: dict[str, str]
) -> None:
    """A folder that another version or another cluster formatted is not touched."""
    data = tmp_path / "own" / "data"
    data.mkdir(parents=True)
    marker = json.loads((broker.folder.data / MARKER).read_text())
    (data / "meta.properties").write_text((broker.folder.data / "meta.properties").read_text())
    (data / MARKER).write_text(json.dumps({**marker, **change}))
    with pytest.raises(DataFolderError, match="Kafka"):
        make().start()
    assert sorted(path.name for path in data.iterdir()) == ["meta.properties", MARKER]


def test_java_that_fails_is_explained(make: Make) -> None:
    """When Java does not start, the error carries its words and nothing is left running."""
    own = make(broker_java_options="-XX:NoSuchOption")
    with pytest.raises(StartError, match="NoSuchOption"):
        own.start()
    assert not own.running()


def test_broker_ends_with_its_parent(broker: LocalBroker, tmp_path: Path) -> None:
    """When the process that started it is killed, the broker shuts down and frees its folder."""
    program = (
        "import sys, time\nfrom pathlib import Path\n"
        "from services.broker.broker import LocalBroker\nfrom services.broker.settings import BrokerSettings\n"
        "own = LocalBroker(BrokerSettings.load(broker_port=0, broker_data_dir=Path(sys.argv[1]),"
        " broker_start_timeout_s=150)).start()\n"
        "print(own.pid, flush=True)\ntime.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "own")], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent:
        java = int(parent.stdout.readline())
        parent.kill()
    for _ in range(600):
        if not _alive(java):
            break
        time.sleep(0.1)
    assert not _alive(java)
    assert (tmp_path / "own" / "data" / ".kafka_cleanshutdown").exists()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    # Where nobody waits for orphans a process that has ended keeps its number.
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_console_tools(broker: LocalBroker, prefix: str) -> None:
    """Kafka's own tools create a topic, write to it and read it back."""
    topic = f"{prefix}console"
    servers = broker.bootstrap_servers
    created = run_tool("kafka-topics", ["--create", "--topic", topic, "--partitions", "2"], servers, timeout=120)
    assert created.returncode == 0, created.stderr
    written = run_tool("console-producer", ["--topic", topic], servers, input="one\ntwo\n", timeout=120)
    assert written.returncode == 0, written.stderr
    arguments = ["--topic", topic, "--from-beginning", "--max-messages", "2", "--isolation-level", "read_committed"]
    read = run_tool("kafka-console-consumer.sh", arguments, servers, timeout=120)
    assert sorted(read.stdout.split()) == ["one", "two"], read.stderr


def test_tools_match_the_broker(broker: LocalBroker) -> None:
    """The tools are of the pinned version."""
    shown = run_tool("kafka-topics", ["--version"], timeout=120)
    assert shown.stdout.split()[0] == KAFKA_VERSION


def test_every_tool_is_in_the_jars() -> None:
    """Each tool that is listed has its class in the jars of the pinned version."""
    held: set[str] = set()
    for jar in classpath().split(os.pathsep):
        with ZipFile(jar) as archive:
            held.update(archive.namelist())
    assert [name for name, tool in TOOLS.items() if tool.replace(".", "/") + ".class" not in held] == []


def test_command_prints_ready_and_stops(broker: LocalBroker, tmp_path: Path) -> None:
    """`streamrec broker` says where it listens, and ends with 0 on SIGTERM."""
    command = [
        sys.executable, "-m", "services.cli", "broker", "--port", "0", "--data-dir", str(tmp_path / "own"),
    ]  # fmt: skip
    environment = {**os.environ, "STREAMREC_BROKER_START_TIMEOUT_S": "150"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "is ready at 127.0.0.1:" in line
        address = line.split(" ready at ")[1].split()[0]
        _create(address, "t")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert (tmp_path / "own" / "data" / ".kafka_cleanshutdown").exists()
