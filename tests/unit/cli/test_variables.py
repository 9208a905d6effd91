"""What is said of environment variables that are no settings."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from services.cli.app import app
from services.cli.variables import unknown_variables

MISSPELLED = {"STREAMREC_BOOTSTRAP_SERVER": "127.0.0.1:9999", "STREAMREC_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
WARNING = "STREAMREC_BOOTSTRAP_SERVER is no setting and has no effect; did you mean STREAMREC_BOOTSTRAP_SERVERS?"


def invoke(*arguments: str) -> Any:
    """Run a command with a misspelled variable in its environment, and nothing listening where it looks."""
    return CliRunner().invoke(app, arguments, env=MISSPELLED)


def test_a_variable_that_nothing_reads_is_named_with_the_closest_that_is_read() -> None:
    """A misspelled setting is not silently without effect; settings of any command and Kafka's own are no mistakes."""
    given = [
        "STREAMREC_LIST_SIZ", "STREAMREC_LIST_SIZE", "STREAMREC_BROKER_PORT", "STREAMREC_KAFKA_SASL_USERNAME", "PATH",
        "STREAMREC_TEST_SEED", "STREAMREC_CLUSTER_ID",
    ]  # fmt: skip
    assert list(unknown_variables(given)) == [
        "STREAMREC_LIST_SIZ is no setting and has no effect; did you mean STREAMREC_LIST_SIZE?"
    ]


def test_a_variable_that_is_like_no_setting_gets_no_guess() -> None:
    """The prefix, which all have, makes two names no more alike."""
    assert list(unknown_variables(["STREAMREC_FOO"])) == ["STREAMREC_FOO is no setting and has no effect"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["audit"],
        ["broker", "tool", "kafka-nothing"],
        ["broker", "--heap-mb", "0"],
        ["demo", "--items", "items.csv"],
        ["erase", "ann", "--yes"],
        ["evaluate", "--events", "absent.csv"],
        ["lag"],
        ["produce", "--items", "items.csv"],
        ["recommend", "ann"],
        ["run", "feature-extraction", "--item-partitions", "0"],
        ["tail", "items"],
        ["topics", "check"],
        ["topics", "create"],
        ["topics", "list"],
        ["weights", "view=1"],
    ],
    ids=" ".join,
)
def test_every_command_warns_of_a_misspelled_variable(arguments: list[str]) -> None:
    """A command that looks at another cluster than was meant says so, once and on stderr."""
    result = invoke(*arguments)
    assert result.exit_code != 0
    assert result.stderr.count(WARNING) == 1
    assert WARNING not in result.stdout


def test_help_is_without_warnings() -> None:
    """Whoever only asks for help is told nothing of the environment."""
    for arguments in (["lag", "--help"], ["topics", "list", "--help"], ["--version"], ["broker", "tool", "--help"]):
        result = invoke(*arguments)
        assert result.exit_code == 0
        assert WARNING not in result.output
