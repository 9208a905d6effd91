from __future__ import annotations

import signal

import pytest
import typer

from services.cli.demo.command import ended_by_signals


def _translate(number: signal.Signals) -> None:
    """Do what a C extension does that takes any error of Python's for one of its own."""
    with ended_by_signals():
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise TypeError("expected a name") from None


def test_interrupt_in_a_library_is_an_interrupt() -> None:
    """Ctrl-C ends the demo as Ctrl-C even where a library has made another error of it."""
    with pytest.raises(KeyboardInterrupt):
        _translate(signal.SIGINT)


def test_sigterm_in_a_library_is_a_sigterm() -> None:
    """SIGTERM gives the exit code that shells give it even where a library has made another error of it."""
    with pytest.raises(typer.Exit) as ended:
        _translate(signal.SIGTERM)
    assert ended.value.exit_code == 128 + signal.SIGTERM


def test_error_without_a_signal_comes_out() -> None:
    """Without a signal an error is what it is, and the handlers of before are back."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TypeError), ended_by_signals():
        raise TypeError("one's own")
    assert signal.getsignal(signal.SIGTERM) is before
