"""Kafka's own console tools, run from the same jars as the broker."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import Any, NoReturn

from services.broker.errors import BrokerError
from services.broker.jars import Progress, classpath, deploy_folder
from services.broker.java import find_java

_TOOLS_PACKAGE = "org.apache.kafka.tools"

TOOLS = {
    "kafka-acls": f"{_TOOLS_PACKAGE}.AclCommand",
    "kafka-broker-api-versions": f"{_TOOLS_PACKAGE}.BrokerApiVersionsCommand",
    "kafka-client-metrics": f"{_TOOLS_PACKAGE}.ClientMetricsCommand",
    "kafka-cluster": f"{_TOOLS_PACKAGE}.ClusterTool",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-console-consumer": f"{_TOOLS_PACKAGE}.consumer.ConsoleConsumer",
    "kafka-console-producer": f"{_TOOLS_PACKAGE}.ConsoleProducer",
    "kafka-console-share-consumer": f"{_TOOLS_PACKAGE}.consumer.ConsoleShareConsumer",
    "kafka-consumer-groups": f"{_TOOLS_PACKAGE}.consumer.group.ConsumerGroupCommand",
    "kafka-consumer-perf-test": f"{_TOOLS_PACKAGE}.ConsumerPerformance",
    "kafka-delete-records": f"{_TOOLS_PACKAGE}.DeleteRecordsCommand",
    "kafka-dump-log": "kafka.tools.DumpLogSegments",
    "kafka-features": f"{_TOOLS_PACKAGE}.FeatureCommand",
    "kafka-get-offsets": f"{_TOOLS_PACKAGE}.GetOffsetShell",
    "kafka-groups": f"{_TOOLS_PACKAGE}.GroupsCommand",
    "kafka-leader-election": f"{_TOOLS_PACKAGE}.LeaderElectionCommand",
    "kafka-log-dirs": f"{_TOOLS_PACKAGE}.LogDirsCommand",
    "kafka-metadata-quorum": f"{_TOOLS_PACKAGE}.MetadataQuorumCommand",
    "kafka-producer-perf-test": f"{_TOOLS_PACKAGE}.ProducerPerformance",
    "kafka-reassign-partitions": f"{_TOOLS_PACKAGE}.reassign.ReassignPartitionsCommand",
    "kafka-share-groups": f"{_TOOLS_PACKAGE}.consumer.group.ShareGroupCommand",
    "kafka-storage": "kafka.tools.StorageTool",
    "kafka-topics": f"{_TOOLS_PACKAGE}.TopicCommand",
    "kafka-transactions": f"{_TOOLS_PACKAGE}.TransactionsCommand",
}
"""{name as in Kafka's bin folder, without .sh: main class}."""

_WITHOUT_BROKER = {"kafka-dump-log", "kafka-storage"}
# Sub-commands come first here, and --bootstrap-server belongs after them.
_AFTER_SUBCOMMAND = {"kafka-cluster"}
_NAMES_A_CLUSTER = ("--bootstrap-server", "--bootstrap-controller", "--help", "--version")


class UnknownToolError(BrokerError):
    """There is no console tool of that name."""


def tool_command(
    name: str, arguments: Sequence[str], bootstrap_servers: str | None = None, progress: Progress | None = None
) -> list[str]:
    """The command line that runs a console tool.

    Args:
        name: as in Kafka's bin folder, with or without `kafka-` and `.sh`.
        arguments: what follows the name.
        bootstrap_servers: given to the tool when its arguments name no cluster.
        progress: told when jars must be fetched first.

    Raises:
        BrokerError: no tool of that name, no Java, or no jars.
    """
    full = _full_name(name)
    cluster = []
    if bootstrap_servers and needs_cluster(name, arguments):
        cluster = ["--bootstrap-server", bootstrap_servers]
    ordered = [*arguments, *cluster] if full in _AFTER_SUBCOMMAND else [*cluster, *arguments]
    return [
        str(find_java().path),
        "-Xmx256m",
        # A tool lives for seconds: the second compiler would only compete with it.
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        f"-Dlog4j2.configurationFile={deploy_folder() / 'tools-log4j2.properties'}",
        "-cp",
        classpath(progress),
        TOOLS[full],
        *ordered,
    ]


def needs_cluster(name: str, arguments: Sequence[str]) -> bool:
    """Whether a console tool talks to a cluster and its arguments name none.

    Raises:
        UnknownToolError: no tool of that name.
    """
    named = any(argument.split("=")[0] in _NAMES_A_CLUSTER for argument in arguments)
    return not named and _full_name(name) not in _WITHOUT_BROKER


def _full_name(name: str) -> str:
    stem = name.removesuffix(".sh")
    full = stem if stem.startswith("kafka-") else f"kafka-{stem}"
    if full not in TOOLS:
        raise UnknownToolError(f"no console tool {name!r}; there are {', '.join(sorted(TOOLS))}")
    return full


def run_tool(
    name: str, arguments: Sequence[str], bootstrap_servers: str | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a console tool to its end and capture what it prints.

    Args:
        name: see `tool_command`.
        arguments: see `tool_command`.
        bootstrap_servers: see `tool_command`.
        options: further arguments of `subprocess.run` (input, timeout, ...).

    Raises:
        BrokerError: see `tool_command`. A failing tool raises nothing: look at `returncode`.
    """
    command = tool_command(name, arguments, bootstrap_servers)
    return subprocess.run(command, check=False, **{"capture_output": True, "text": True, **options})


def exec_tool(
    name: str, arguments: Sequence[str], bootstrap_servers: str | None = None, progress: Progress | None = None
) -> NoReturn:
    """Become a console tool: its input, output, signals and exit code are those of this process.

    Raises:
        BrokerError: see `tool_command`.
    """
    command = tool_command(name, arguments, bootstrap_servers, progress)
    os.execv(command[0], command)  # noqa: S606  no shell is wanted
