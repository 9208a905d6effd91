"""`streamrec broker`: a real Apache Kafka on this machine, and Kafka's own console tools."""

from __future__ import annotations

import inspect
import signal
import socket
import sys
import time
from types import FrameType
from typing import Annotated, Any

import typer

from services.broker.broker import LocalBroker
from services.broker.errors import BrokerError
from services.broker.settings import BrokerSettings
from services.broker.tools import TOOLS, exec_tool, needs_cluster
from services.broker.version import KAFKA_VERSION
from services.cli.errors import CliError, err, guarded
from services.cli.options import option_parameters, signed
from services.runtime.settings import KafkaSettings

app = typer.Typer(
    help=f"Run Apache Kafka {KAFKA_VERSION} on this machine, with nothing installed but Python.",
    no_args_is_help=False,
    add_completion=False,
)


_PROBE_S = 3.0


class _Stop(Exception):  # noqa: N818  a signal, not an error
    """SIGTERM or Ctrl-C."""


def broker(context: typer.Context, **values: Any) -> None:
    """Start a Kafka broker on 127.0.0.1 in the foreground; Ctrl-C stops it.

    The data stay in the data folder. The first start fetches Kafka (45 MB) into the cache folder and
    works without a network from then on. Prints one line when the broker answers.
    """
    if context.invoked_subcommand is None:
        guarded(_run_broker)(values)


_CONTEXT = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
app.callback(invoke_without_command=True)(
    signed(broker, [_CONTEXT, *option_parameters((BrokerSettings,), short="broker_")])
)


def _run_broker(values: dict[str, Any]) -> None:
    settings = BrokerSettings.load(**values)
    local = LocalBroker(settings, progress=_note)

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise _Stop

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    started = time.monotonic()
    try:
        local.start()
        sys.stdout.write(
            f"Kafka {KAFKA_VERSION} is ready at {local.bootstrap_servers} after {time.monotonic() - started:.1f} s "
            f"(data in {local.folder.path}, log in {local.log_file}); Ctrl-C stops it\n"
        )
        sys.stdout.flush()
        code = local.wait()
        raise CliError(f"Kafka ended by itself with code {code}; see {local.log_file}")
    except _Stop:
        _note("stopping Kafka")
    except BrokerError as error:
        raise CliError(str(error)) from error
    finally:
        # A second Ctrl-C does not cut the clean stop short; it is bounded.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        local.stop()


@app.command(
    "tool",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def tool(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(help="Name of the tool, e.g. kafka-console-consumer.", show_default=False)
    ] = "",
) -> None:
    """Run one of Kafka's console tools; everything after its name goes to the tool.

    Without --bootstrap-server it talks to STREAMREC_BOOTSTRAP_SERVERS. Without a name: the list of tools.
    """
    if name in ("", "--help", "-h"):
        sys.stdout.write("usage: streamrec broker tool NAME [ARGUMENTS of the tool]\n\n")
        sys.stdout.write("".join(f"  {each}\n" for each in sorted(TOOLS)))
        return
    guarded(_run_tool)(name, context.args)


def _run_tool(name: str, arguments: list[str]) -> None:
    try:
        servers = KafkaSettings.load().bootstrap_servers
        if needs_cluster(name, arguments) and not any(_listens(each) for each in servers.split(",")):
            # Kafka's tools would warn for a minute and more before they give up.
            raise CliError(f"nothing listens at {servers}. Start `streamrec broker`, or pass --bootstrap-server.")
        exec_tool(name, arguments, servers, progress=_note)
    except BrokerError as error:
        raise CliError(str(error), code=2) from None


def _listens(address: str) -> bool:
    host, _, port = address.strip().rpartition(":")
    try:
        socket.create_connection((host.rpartition("://")[2].strip("[]"), int(port)), _PROBE_S).close()
    except (OSError, ValueError):
        return False
    return True


def _note(text: str) -> None:
    err.print(text, markup=False)
