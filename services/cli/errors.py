"""What a person did wrong, said in one line: commands raise `CliError`, never show a traceback."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer
from confluent_kafka import KafkaError, KafkaException
from rich.console import Console

from services.cli.variables import unknown_variables
from services.contracts.edge import RegistryError
from services.runtime.admin import BrokerUnavailableError, TopicsError
from services.runtime.settings import SettingsError

err = Console(stderr=True, highlight=False, soft_wrap=True)
"""Messages for people go to stderr; stdout carries only what was asked for."""

_UNREACHABLE = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE)


class CliError(Exception):
    """A usual mistake. The message says what is wrong and what to do, on one line."""

    def __init__(self, message: str, code: int = 1) -> None:
        """`code` is the exit code: 2 for a wrong argument, 1 for all else."""
        super().__init__(message)
        self.code = code


def fail(error: Exception | str, code: int = 1) -> NoReturn:
    """Print one clear line (a settings error may name several settings) and end the command."""
    err.print(f"error: {error}", style="red", markup=False)
    raise typer.Exit(code)


def explain(error: KafkaException) -> str:
    """One line for a Kafka error that no command has translated already."""
    inner = error.args[0] if error.args else error
    if isinstance(inner, KafkaError):
        if inner.code() in _UNREACHABLE:
            return f"Kafka does not answer ({inner.str()}); is the broker running, is the address right?"
        return f"Kafka says: {inner.str()} ({inner.name()})"
    return f"Kafka says: {inner}"


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a command so that usual mistakes end in one message.

    A variable of the environment that is no setting is named before the command begins.
    The exit code is 2 for a wrong setting or argument, 1 for what the outside world refuses, 130 for Ctrl-C.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            for line in unknown_variables(os.environ):
                err.print(f"warning: {line}", style="yellow", markup=False)
            return function(*args, **kwargs)
        except SettingsError as error:
            fail(error, code=2)
        except CliError as error:
            fail(error, code=error.code)
        except (BrokerUnavailableError, TopicsError, RegistryError) as error:
            fail(error)
        except KafkaException as error:
            fail(explain(error))
        except BrokenPipeError:
            # The reader of a pipe (`| head`) has seen enough; nothing may be flushed into it at exit either.
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - stays open until the process ends
            raise typer.Exit(0) from None
        except KeyboardInterrupt:
            err.print("interrupted", style="yellow")
            raise typer.Exit(130) from None
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            fail(f"{error.strerror or error}{where}")

    return run
