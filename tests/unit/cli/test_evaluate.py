"""`streamrec evaluate` on small files."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from services.cli.evaluate import app

EVENTS = "user_id,item_id,event_type,value,timestamp_ms\n" + "".join(
    f"u{n % 7},i{(n * 3) % 11},view,,{1_600_000_000_000 + n * 1000}\n" for n in range(120)
)
ITEMS = "item_id,title,year,categories\n" + "".join(f"i{n},Thing {n % 3},200{n % 9},a|b{n % 2}\n" for n in range(12))


def test_figures_are_printed_and_written(tmp_path: Path) -> None:
    """The tables go to stdout, every figure to the JSON file, the curve to the SVG file."""
    events, items = tmp_path / "events.csv", tmp_path / "items.csv"
    events.write_text(EVENTS)
    items.write_text(ITEMS)
    figures, curve = tmp_path / "figures.json", tmp_path / "curve.svg"
    arguments = ["--events", str(events), "--items", str(items), "--shards", "2", "--exchange-events", "30"]
    result = CliRunner().invoke(app, [*arguments, "--json", str(figures), "--plot", str(curve)])
    assert result.exit_code == 0, result.output
    assert "HR@10" in result.output
    found = json.loads(figures.read_text())
    assert found["all"]["events"] == 120
    assert found["shards"] == 2
    assert {"mixture", "factors, full catalogue"} <= found["experts"].keys()
    assert found["first occurrences"]["events"] == 11
    assert curve.read_text().startswith("<svg")


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    """A missing file ends in one line and exit code 2."""
    result = CliRunner().invoke(app, ["--events", str(tmp_path / "absent.csv")])
    assert result.exit_code == 2
    assert "absent.csv does not exist" in result.stderr
    assert "Errno" not in result.stderr


def test_a_file_without_events_is_said(tmp_path: Path) -> None:
    """A file of a header alone has nothing to measure."""
    events = tmp_path / "events.csv"
    events.write_text(EVENTS.splitlines()[0] + "\n")
    result = CliRunner().invoke(app, ["--events", str(events)])
    assert result.exit_code == 2
    assert "no events" in result.output
