"""What `streamrec produce` says when it has sent a file."""

from __future__ import annotations

import pytest

from services.cli.produce.command import _say
from services.cli.produce.sender import Sent


def test_a_rate_is_given_where_it_means_something(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a few records only their number and the time are said."""
    _say("interactions", "events.csv", Sent(records=99, seconds=1.0))
    _say("interactions", "events.csv", Sent(records=1000, seconds=2.0))
    assert capsys.readouterr().out.splitlines() == [
        "interactions: 99 sent in 1.0 s",
        "interactions: 1,000 sent in 2.0 s (500/s)",
    ]
