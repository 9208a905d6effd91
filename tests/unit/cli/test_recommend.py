"""How a list is shown to people."""

from __future__ import annotations

from typing import Any

import pytest

from services.cli.recommend import show_list
from services.contracts.edge import codec_for

MOMENT = 1_700_000_000_000


def shown(capsys: pytest.CaptureFixture[str], why: str) -> str:
    """The head line of a list that was made for this reason, 400 s after its user's last event."""
    record: Any = codec_for("recommendations").complete(
        {
            "list_id": "l1", "user_id": "ann", "published_at": MOMENT + 400_000, "why": why, "items": [],
            "learned_event_id": "e7", "learned_event_time": MOMENT, "learned_append_time": MOMENT,
        }
    )  # fmt: skip
    show_list(record, {})
    return capsys.readouterr().out.splitlines()[0]


def test_a_list_on_an_event_says_how_fast_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    """The time from the event's append to the list is a latency where the event made the list."""
    line = shown(capsys, "event")
    assert line.endswith("learned from event e7 of 2023-11-14 22:13:20 UTC, 400.0 s after Kafka had it")


@pytest.mark.parametrize("why", ["request", "refresh"])
def test_any_other_list_says_only_what_it_learned_from(capsys: pytest.CaptureFixture[str], why: str) -> None:
    """The age of the last event is not given out as a latency."""
    line = shown(capsys, why)
    assert line.endswith("learned from event e7 of 2023-11-14 22:13:20 UTC")
    assert f"published 2023-11-14 22:20:00 UTC on {why}" in line
