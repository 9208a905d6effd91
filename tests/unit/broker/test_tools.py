from __future__ import annotations

from pathlib import Path

import pytest

from services.broker import tools
from services.broker.java import Java


@pytest.fixture(autouse=True)
def _without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are built, not run."""
    monkeypatch.setattr(tools, "find_java", lambda: Java(Path("java"), 17, "test"))
    monkeypatch.setattr(tools, "classpath", lambda _progress: "jars")


def _arguments(name: str, *arguments: str) -> list[str]:
    command = tools.tool_command(name, arguments, "b:1")
    return command[command.index("jars") + 1 :]


@pytest.mark.parametrize("name", ["kafka-topics", "kafka-topics.sh", "topics"])
def test_names_as_people_type_them(name: str) -> None:
    """The name works with and without kafka- and .sh, and the broker's address is filled in."""
    assert _arguments(name, "--list") == ["org.apache.kafka.tools.TopicCommand", "--bootstrap-server", "b:1", "--list"]


@pytest.mark.parametrize("given", [["--bootstrap-server", "x:1"], ["--bootstrap-server=x:1"], ["--help"]])
def test_given_address_is_kept(given: list[str]) -> None:
    """Nothing is added when the arguments name a cluster or ask for help."""
    assert _arguments("kafka-topics", *given)[1:] == given


def test_offline_tools_get_no_address() -> None:
    """A tool that reads files takes no broker."""
    assert _arguments("kafka-dump-log", "--files", "f")[1:] == ["--files", "f"]


def test_address_follows_a_subcommand() -> None:
    """Where the first argument is a sub-command the address comes after it."""
    assert _arguments("kafka-cluster", "cluster-id")[1:] == ["cluster-id", "--bootstrap-server", "b:1"]


def test_unknown_tool_lists_the_known() -> None:
    """A wrong name is an error that shows the right ones."""
    with pytest.raises(tools.UnknownToolError, match="kafka-topics"):
        tools.tool_command("kafka-nothing", [])
