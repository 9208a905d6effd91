from __future__ import annotations

import os
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from services import __version__
from services.broker.version import KAFKA_VERSION
from services.cli import run as run_command
from services.cli.app import COMMANDS, app
from services.cli.lazy import load
from services.contracts.topics import topic

RUNNER = CliRunner()
NOBODY = "127.0.0.1:1"
"""Nothing listens on port 1."""


def test_help_names_every_command() -> None:
    """The root's help lists each command with its summary."""
    result = RUNNER.invoke(app, ["--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for name, entry in COMMANDS.items():
        assert f" {name} " in result.output
        assert entry.summary in result.output


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "evaluate"])
def test_summary_is_the_first_line_of_the_help(name: str) -> None:
    """What the root says of a command is how the command's own help begins."""
    made = load(name, COMMANDS[name])
    text = " ".join((made.help or "").replace(KAFKA_VERSION, "").split())
    assert text.startswith(COMMANDS[name].summary)


def test_help_of_erase_says_how_long_dead_letters_stay() -> None:
    """What erasing leaves behind is named with the retention that the topic table gives it."""
    days = (topic("dead-letters").retention_ms or 0) // (24 * 60 * 60 * 1000)
    text = " ".join((load("erase", COMMANDS["erase"]).help or "").split())
    assert f"unreadable records for their retention, {days} days" in text


def test_help_of_recommend_says_that_a_requested_list_stays() -> None:
    """Who asks for a list knows that it replaces the current one."""
    text = " ".join((load("recommend", COMMANDS["recommend"]).help or "").split())
    assert "becomes the user's current list" in text


def test_help_imports_nothing_heavy() -> None:
    """The root's help loads neither the Kafka client nor numba nor a service."""
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from services.cli.app import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "found = {name.split('.')[0] for name in sys.modules}\n"
        "heavy = found & {'confluent_kafka', 'numba', 'numpy', 'pydantic'}\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ, timeout=60)


def test_version() -> None:
    """--version prints the version of the distribution."""
    result = RUNNER.invoke(app, ["--version"])
    assert result.output.strip() == f"streamrec {__version__}"


def test_unknown_command_suggests() -> None:
    """A mistyped command is an error of usage that names the near one."""
    result = RUNNER.invoke(app, ["topcs"])
    assert result.exit_code == 2
    assert "topics" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["topics", "check"],
        ["tail", "interactions"],
        ["recommend", "u1"],
        ["lag"],
        ["audit"],
        ["erase", "u1", "--yes"],
    ],
)
def test_missing_broker_is_one_message(arguments: list[str]) -> None:
    """Without a broker every command says which address it tried and what to do, and ends with code 1."""
    result = RUNNER.invoke(app, [*arguments, "--bootstrap-servers", NOBODY])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert NOBODY in result.output
    assert "streamrec broker" in result.output


@pytest.mark.parametrize("service", sorted(run_command.SERVICES))
def test_wrong_setting_is_named(service: str) -> None:
    """A wrong setting ends a service's command with code 2 and names option and variable."""
    result = RUNNER.invoke(app, ["run", service, "--user-partitions", "none"])
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert "STREAMREC_USER_PARTITIONS" in result.output
    assert "--user-partitions" in result.output


def test_wrong_variable_is_named() -> None:
    """A wrong environment variable is reported like a wrong option."""
    result = RUNNER.invoke(app, ["lag"], env={"STREAMREC_ITEM_PARTITIONS": "0"})
    assert result.exit_code == 2
    assert "STREAMREC_ITEM_PARTITIONS" in result.output


def test_services_are_made_on_demand() -> None:
    """Each service has a command, and a name that is no service has none."""
    for service in run_command.SERVICES:
        assert isinstance(getattr(run_command, service.replace("-", "_")), typer.Typer)
    with pytest.raises(AttributeError):
        _ = run_command.no_service


def test_given_settings_reach_the_service() -> None:
    """The environment that a service is started with holds what was given and no defaults."""
    table = run_command.settings_of("recommendation-publishing")
    settings = table.load(list_size=7, exclude_seen="false")
    assert run_command.environment(settings) == {"STREAMREC_LIST_SIZE": "7", "STREAMREC_EXCLUDE_SEEN": "False"}
    again = table.load(
        **{name.removeprefix("STREAMREC_").lower(): v for name, v in run_command.environment(settings).items()}
    )
    assert again == settings


def test_tool_without_a_broker_ends_at_once() -> None:
    """A console tool that would talk to a broker that is not there is not started."""
    result = RUNNER.invoke(
        app, ["broker", "tool", "kafka-topics", "--list"], env={"STREAMREC_BOOTSTRAP_SERVERS": NOBODY}
    )
    assert result.exit_code == 1
    assert f"nothing listens at {NOBODY}" in result.output
