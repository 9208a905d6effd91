"""What commands say of files and folders that are not what they need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from services.cli.app import app
from services.cli.errors import CliError
from services.cli.produce.columns import EVENTS
from services.cli.produce.pace import Pace
from services.cli.produce.progress import PositionFile
from services.cli.produce.sender import Plan, Sender
from services.cli.produce.source import Source
from services.contracts.edge import codec_for
from services.runtime.settings import KafkaSettings

NOBODY = "127.0.0.1:1"


def _refused(*arguments: str) -> str:
    result: Any = CliRunner().invoke(app, [*arguments], env={"STREAMREC_BOOTSTRAP_SERVERS": NOBODY})
    assert result.exit_code == 2, result.output
    text: str = result.stderr
    return text


@pytest.mark.parametrize("command", ["demo", "evaluate", "produce"])
@pytest.mark.parametrize("option", ["--events", "--items"])
def test_a_missing_file_is_said_alike_by_every_command(tmp_path: Path, command: str, option: str) -> None:
    """Each says it in the same words, with exit code 2, before Kafka is asked or started."""
    there, absent = tmp_path / "there.csv", tmp_path / "absent.csv"
    there.write_text("user_id,item_id,timestamp_ms\nu,i,1700000000000\n")
    files = {"--events": str(there), "--items": str(there), option: str(absent)}
    if option == "--events":
        del files["--items"]
    arguments = [part for pair in files.items() for part in pair]
    assert _refused(command, *arguments).strip().endswith(f"error: {absent} does not exist")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A folder where a file is wanted is an error of usage."""
    assert f"{tmp_path} is a folder" in _refused("produce", "--events", str(tmp_path))


@pytest.mark.parametrize("text", ["", "user_id,item_id\n"])
def test_demo_without_events_ends_at_once(tmp_path: Path, text: str) -> None:
    """A file without events starts nothing."""
    events = tmp_path / "events.csv"
    events.write_text(text)
    assert "there are no events" in _refused("demo", "--events", str(events))


def test_demo_keeps_in_a_new_folder_only(tmp_path: Path) -> None:
    """A folder with the data of an earlier demo is refused: its events would be duplicates of those."""
    (tmp_path / "state").mkdir()
    assert "give a new folder" in _refused("demo", "--keep", str(tmp_path))


@pytest.mark.parametrize("more", [[], ["--request"]])
def test_an_empty_user_is_an_error_of_usage(more: list[str]) -> None:
    """The same exit code whether a list is read or asked for."""
    assert "USER" in _refused("recommend", "", *more)


def test_a_position_that_cannot_be_kept_is_said(tmp_path: Path) -> None:
    """Which file, how much was sent, and how to go on."""
    events, state = tmp_path / "events.csv", tmp_path / "state"
    events.write_text("user_id,item_id\n")
    state.write_text("a file where a folder is wanted")
    sender = Sender(KafkaSettings.load(bootstrap_servers=NOBODY), codec_for("interactions"))
    with Source(str(events), EVENTS) as source:
        position = PositionFile(state, source.identity, "cluster", "interactions")
        plan = Plan("interactions", Pace(lambda: 0.0), position=position, event_type="view")
        with pytest.raises(CliError, match=r"0 records had been sent.*--resume") as caught:
            sender.send(source, plan)
    assert str(position.path) in str(caught.value)
