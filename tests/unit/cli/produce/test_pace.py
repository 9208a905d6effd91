from __future__ import annotations

import pytest

from services.cli.produce.pace import Pace, parse_speed


class _Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rate_spreads_events_evenly() -> None:
    """At ten events per second the n-th event is due n tenths of a second after the first."""
    clock = _Clock()
    pace = Pace(clock, rate=10)
    assert [round(pace.wait_s(None), 6) for _ in range(4)] == [0.0, 0.1, 0.2, 0.3]
    clock.now += 1.0
    assert pace.wait_s(None) == pytest.approx(-0.6)


def test_rate_makes_up_for_delay() -> None:
    """After a pause the events that are overdue are sent at once, so that the rate holds over all."""
    clock = _Clock()
    pace = Pace(clock, rate=100)
    pace.wait_s(None)
    clock.now += 1.0
    waits = [pace.wait_s(None) for _ in range(150)]
    assert sum(wait <= 0 for wait in waits) == 100


def test_speed_follows_event_time() -> None:
    """At ten times real time, ten seconds of event time take one."""
    clock = _Clock()
    pace = Pace(clock, speed=10)
    assert pace.wait_s(1_000_000) == 0
    assert pace.wait_s(1_010_000) == pytest.approx(1.0)
    assert pace.wait_s(None) == pytest.approx(0.0)
    assert pace.wait_s(1_005_000) == pytest.approx(0.5)


def test_free_pace_never_waits() -> None:
    """Without rate and speed nothing is waited for."""
    assert Pace(_Clock()).free
    assert not Pace(_Clock(), rate=1).free


@pytest.mark.parametrize(("text", "speed"), [("10x", 10.0), ("1", 1.0), (" 0.5X ", 0.5), (".25x", 0.25)])
def test_speeds(text: str, speed: float) -> None:
    """A speed is a number, with or without the x."""
    assert parse_speed(text) == speed


@pytest.mark.parametrize("text", ["", "x", "0x", "-1x", "fast", "1e3x", "inf"])
def test_wrong_speeds(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="positive number"):
        parse_speed(text)
