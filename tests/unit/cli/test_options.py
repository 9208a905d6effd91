from __future__ import annotations

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from services.broker.settings import BrokerSettings
from services.cli.help import reflowed
from services.cli.options import command, metavar, title
from services.cli.run import SERVICES, settings_of
from services.runtime.settings import KafkaSettings, RuntimeSettings, Settings, rows, setting

RUNNER = CliRunner()


class ShopSettings(Settings):
    """A table for these tests."""

    shelf_size: int = setting(3, "Items on a shelf.", unit="items", ge=1)
    open_late: bool = setting(False, "Whether the shop is open at night.")
    music: str = setting("", "What is played.")


class WarehouseSettings(ShopSettings):
    """A table that extends another."""

    racks: int = setting(10, "Racks.", unit="racks")


def _app(*tables: type[Settings]) -> tuple[typer.Typer, list[Any]]:
    app, calls = typer.Typer(add_completion=False), []

    @command(app, *tables, name="x")
    def x(*args: Any) -> None:
        """Take settings."""
        calls.append(args)

    return app, calls


def _run(app: typer.Typer, arguments: list[str], **env: str) -> Any:
    return RUNNER.invoke(app, arguments, env={"COLUMNS": "250", **env})


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_setting_is_an_option(service: str) -> None:
    """A service's help has each row of its table: option, variable, unit, doc and default."""
    from services.cli.app import app

    table = settings_of(service)
    output = " ".join(_run(app, ["run", service, "--help"]).output.replace("│", " ").split())
    for row in rows(table):
        assert f"--{row.name.replace('_', '-')} " in output
        assert row.env in output
        assert " ".join(row.doc.split()) in output
        if row.unit:
            assert row.unit in output


def test_every_setting_of_the_broker_is_an_option() -> None:
    """The broker's settings are options by their whole names and by short ones, with variable, unit and default."""
    from services.cli.app import app

    output = " ".join(_run(app, ["broker", "--help"]).output.replace("│", " ").split())
    for row in rows(BrokerSettings):
        whole = row.name.replace("_", "-")
        assert f"--{whole.removeprefix('broker-')},--{whole} {metavar(row)} {row.doc} [env var: {row.env}]" in output
        assert f"[default: ({row.default or 'empty'}" in output
    result = _run(app, ["broker", "--start-timeout-s", "0"])
    assert result.exit_code == 2
    assert "STREAMREC_BROKER_START_TIMEOUT_S" in result.output


@pytest.mark.parametrize("arguments", [["run", "model-update"], ["broker"], ["recommend"], ["topics", "list"]])
def test_help_on_a_narrow_terminal_is_whole(arguments: list[str]) -> None:
    """In eighty columns nothing is cut off, and a paragraph breaks only where the line is full."""
    from services.cli.app import app

    output = RUNNER.invoke(app, [*arguments, "--help"], env={"COLUMNS": "80"}).output
    assert "…" not in output
    assert all(len(line) <= 80 for line in output.splitlines())
    if arguments == ["run", "model-update"]:
        assert "--transaction-timeout-ms" in output


def test_paragraphs_are_reflowed() -> None:
    """Single line breaks of the source go, those between paragraphs and of indented blocks stay."""
    assert reflowed("One\ntwo.\n\nThree\nfour.\n\n    a\n    b") == "One two.\n\nThree four.\n\n    a\n    b"


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_options_are_the_table(service: str) -> None:
    """A service's command takes the settings of its table and nothing else."""
    from services.cli.lazy import Entry, load

    made = load(service, Entry(f"services.cli.run:{service.replace('-', '_')}", "", ""))
    names = {parameter.name for parameter in made.params if parameter.name != "help"}
    assert names == {row.name for row in rows(settings_of(service))}


def test_option_wins_over_variable_wins_over_default() -> None:
    """An option overrides the environment, which overrides the default."""
    app, calls = _app(ShopSettings)
    _run(app, [])
    _run(app, [], STREAMREC_SHELF_SIZE="4")
    _run(app, ["--shelf-size", "5"], STREAMREC_SHELF_SIZE="4")
    assert [settings.shelf_size for (settings,) in calls] == [3, 4, 5]


def test_switches_have_both_forms() -> None:
    """A setting that is true or false is a pair of switches."""
    app, calls = _app(ShopSettings)
    _run(app, ["--open-late"])
    _run(app, ["--no-open-late"], STREAMREC_OPEN_LATE="true")
    assert [settings.open_late for (settings,) in calls] == [True, False]


def test_shared_setting_is_one_option() -> None:
    """A setting of two tables is one option and reaches both."""
    app, calls = _app(KafkaSettings, RuntimeSettings)
    _run(app, ["--topic-prefix", "p."])
    kafka, runtime = calls[0]
    assert kafka.topic_prefix == runtime.topic_prefix == "p."


def test_settings_stand_under_their_table() -> None:
    """Help groups settings by the table that declares them."""
    app, _ = _app(WarehouseSettings)
    output = _run(app, ["--help"]).output
    shop, warehouse = output.index("Shop settings"), output.index("Warehouse settings")
    assert shop < output.index("--shelf-size") < warehouse < output.index("--racks")


def test_title_of_a_table() -> None:
    """The class name makes the heading."""
    assert title(RuntimeSettings) == "Runtime settings"
