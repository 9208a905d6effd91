"""What the demo shows, and of which events."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from services.cli.demo import screen as module
from services.cli.demo.meter import Snapshot
from services.cli.demo.run import events_of
from services.cli.demo.screen import Screen
from services.cli.demo.streams import from_files


def test_a_step_shows_no_figures_of_an_earlier_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal, a line of figures comes when they are taken and not when the next step begins."""
    monkeypatch.setattr(module, "_PLAIN_EVERY_S", 0.0)
    text = StringIO()
    with Screen(Console(file=text, width=200)) as shown:
        shown.state.snapshot, shown.state.lag = Snapshot(events=7), {"user-shard": 476}
        shown.draw()
        shown.step("auditing")
    lines = text.getvalue().splitlines()
    assert "lag user-shard 476" in lines[0]
    assert lines[1:] == ["auditing"]


def test_a_long_step_is_folded() -> None:
    """In the panel no message is cropped, on a console whose lines are as long as their text too."""
    text = StringIO()
    # A terminal that calls itself dumb gets no panel.
    kind = {"TERM": "xterm-256color"}
    with Screen(Console(file=text, width=40, soft_wrap=True, force_terminal=True, _environ=kind)) as shown:
        shown.step("fetching Kafka into /a/folder/with/quite/a/long/name/behind/others, which takes a while")
    inside = "".join(line.strip("│ ") for line in text.getvalue().splitlines() if "│" in line)
    assert "long/name/behind/others" in inside
    assert inside.endswith("while")


def test_lag_that_is_not_taken_is_not_shown() -> None:
    """Without a lag the figures stand alone."""
    state = module.State(snapshot=Snapshot(events=7), lag={"user-shard": 476})
    for lag in ({"user-shard": 476}, {}):
        state.lag = lag
        text = StringIO()
        Console(file=text, width=80).print(module.render(state))
        assert ("lag" in text.getvalue()) == bool(lag)


@pytest.mark.parametrize(("seconds", "rate", "events"), [(45, 600, 27_400), (1, 100, 150), (0.001, 1, 2)])
def test_a_file_is_read_as_far_as_it_is_sent(tmp_path: Path, seconds: float, rate: float, events: int) -> None:
    """The title counts the events that are sent: those before the measurement and those in it."""
    file = tmp_path / "events.csv"
    file.write_text("user_id,item_id\n" + "u,i\n" * (events + 100))
    assert sum(events_of(seconds, rate)) == events
    stream: Any = from_files(str(file), None, events)
    assert stream.title == f"{file}, up to {events:,} events of it"
    assert len(list(stream.events)) == events
