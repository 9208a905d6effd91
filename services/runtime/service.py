"""Running a service: settings, broker, topics, one loop per processor, HTTP, signals, exit code."""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, TypeVar

from confluent_kafka import KafkaException

from services.contracts import topics
from services.contracts.edge import RegistryError
from services.runtime import admin
from services.runtime.assembly import build
from services.runtime.client import naming_properties, passthrough, redacted
from services.runtime.deadletters import TOPIC as DEAD_LETTERS
from services.runtime.errors import FatalError, FencedError, NameHeldError, StuckError
from services.runtime.health import HealthServer
from services.runtime.log import configure, logger
from services.runtime.loop import Loop
from services.runtime.processor import Processor
from services.runtime.replica import Replica
from services.runtime.settings import RuntimeSettings, SettingsError
from services.runtime.trouble import CUT_OFF

S = TypeVar("S", bound=RuntimeSettings)

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
_SET_HOST = "Set STREAMREC_HTTP_HOST or --http-host to an address of this machine; 0.0.0.0 stands for all."
_SET_PORT = "Set STREAMREC_HTTP_PORT or --http-port; 0 takes a free one."
_LOOK_S = 0.2
_GC_THRESHOLDS = (50_000, 20, 20)
_SWITCH_S = 0.0001
"""Longest time that a thread keeps the interpreter from another one. A loop gives it up at every kernel and every call
of the client, dozens of times a step; by Python's default it would wait 5 ms for another loop's Python code each time.
"""
_PREPARING = "its processors, whose kernels are compiled once for a machine"
_NAME_PAUSE_S = 1.0
_NAME_PATIENCE_S = 120.0
"""A dead member's name is held for its session: 45 s by the broker's default."""


def run(
    name: str,
    settings_class: type[S],
    processors: Callable[[S, str], list[Processor]],
    settings: S | None = None,
) -> int:
    """Run a service until SIGTERM or SIGINT; returns the exit code.

    Args:
        name: of the service, as in the topic table.
        settings_class: its settings table, read from the environment unless `settings` is given.
        processors: makes them from the settings and the stable name of this replica (the shard).
        settings: settings that are loaded already (the command line did it).
    """
    try:
        settings = settings or settings_class.load()
        configure(settings.log_format, settings.log_level)
        return _Service(name, settings, processors).run()
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a wrong setting may be that of the log
        return EXIT_USAGE


class _Service:
    """One process of one service."""

    def __init__(self, name: str, settings: Any, processors: Callable[[Any, str], list[Processor]]) -> None:
        self._name = name
        self._settings: RuntimeSettings = settings
        self._make = processors
        self._stop = threading.Event()
        self._failed: list[BaseException] = []
        self._loops: list[Loop] = []
        self._preparing = False
        self._log = logger(service=name)

    def run(self) -> int:
        """Start, serve, stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        replica = Replica.take(
            self._settings.state_dir, self._settings.topic_prefix + self._name, self._settings.instance
        )
        self._replica = replica
        self._log = self._log.bind(instance=replica.instance)
        server = self._listen()
        try:
            self._say_start(server.port)
            loops = self._first_loops(replica, server)
            if loops is None:
                self._log.info("service.stopped")
                return EXIT_OK
            server.watch([loop.watch for loop in loops], [loop.metrics for loop in loops])
            return self._drive(loops)
        except (admin.TopicsError, admin.BrokerUnavailableError, FatalError, RegistryError) as error:
            self._log.error("service.refused", reason=str(error))
            return EXIT_FAILED
        except KafkaException as failure:
            self._log.error("service.refused", reason=failure.args[0].str())
            return EXIT_FAILED
        finally:
            server.stop()
            replica.release()

    def _listen(self) -> HealthServer:
        host, port = self._settings.http_host, self._settings.http_port
        try:
            server = HealthServer(host, port)
        except UnicodeError:
            raise SettingsError(f"http_host: {host!r} is no name of a host. {_SET_HOST}") from None
        except OSError as error:
            wrong_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
            name, remedy = ("http_host", _SET_HOST) if wrong_host else ("http_port", _SET_PORT)
            raise SettingsError(f"{name}: cannot listen on {host}:{port} ({error.strerror}). {remedy}") from None
        server.start()
        return server

    def _first_loops(self, replica: Replica, server: HealthServer) -> list[Loop] | None:
        """The loops, once a broker has answered all that is asked at a start; None when told to stop before."""
        while admin.wait_for_broker(self._settings, on_wait=self._say_waiting, stop=self._stop.is_set):
            server.waiting_for = _PREPARING
            try:
                processors = self._prepared(replica)
                self._check_topics(processors)
                with naming_properties(self._settings):
                    return [build(processor, self._settings, replica) for processor in processors]
            except KafkaException as failure:
                # It answered, and went away before it had answered everything.
                if failure.args[0].code() not in CUT_OFF:
                    raise
                self._say_waiting(failure.args[0].str())
                server.waiting_for = "Kafka"
        return None

    def _prepared(self, replica: Replica) -> list[Processor]:
        """The processors; to compile their kernels can take minutes, in which a signal ends the process at once."""
        self._log.info("service.preparing", what=_PREPARING)
        self._preparing = True
        try:
            return self._make(self._settings, replica.instance)
        finally:
            self._preparing = False

    def _drive(self, loops: Sequence[Loop]) -> int:
        self._loops = list(loops)
        spare_collections()
        sys.setswitchinterval(_SWITCH_S)
        threads = [
            threading.Thread(target=self._guard, args=(place,), name=loop.processor.name, daemon=True)
            for place, loop in enumerate(loops)
        ]
        for thread in threads:
            thread.start()
        while not self._stop.is_set() and all(thread.is_alive() for thread in threads):
            self._stop.wait(_LOOK_S)
        self._stop.set()
        for loop in self._loops:
            loop.stop()
        return self._join(threads)

    def _join(self, threads: Sequence[threading.Thread]) -> int:
        give_up = time.monotonic() + self._settings.stop_budget_ms / 1000
        for thread in threads:
            thread.join(max(0.0, give_up - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            self._log.error(
                "service.stop_overrun",
                budget_ms=self._settings.stop_budget_ms,
                consequence="what was not committed is processed again at the next start",
            )
            sys.stderr.flush()
            # A thread inside a client call cannot be ended, and would hold up the interpreter's end.
            os._exit(EXIT_FAILED)
        if self._failed:
            return EXIT_FAILED
        self._log.info("service.stopped")
        return EXIT_OK

    def _guard(self, place: int) -> None:
        give_up = began = float("inf")
        while True:
            loop, began = self._loops[place], time.monotonic()
            try:
                return loop.run()
            except NameHeldError as error:
                if time.monotonic() - began > _NAME_PATIENCE_S or give_up == float("inf"):
                    # The loop ran for a while: this is another death than the last one.
                    give_up = time.monotonic() + _NAME_PATIENCE_S
                self._stop.wait(_NAME_PAUSE_S)
                if time.monotonic() > give_up:
                    return self._failed_with(loop, error)
                if not self._rebuild(place, error, "its session is waited for"):
                    return None
            except (FencedError, StuckError, KafkaException) as error:
                excused = isinstance(error, StuckError) or loop.trouble.recently_cut_off()
                if not excused:
                    return self._failed_with(loop, error)
                if not self._rebuild(place, error, "Kafka was away lately"):
                    return None
            except BaseException as error:  # whatever ends a loop must end the process
                return self._failed_with(loop, error)

    def _rebuild(self, place: int, reason: FatalError | KafkaException, because: str) -> bool:
        """Begin again with new clients, as a new process would; false when the service stops meanwhile.

        That is a clean stop: what the old loop had not committed is processed at the next start.
        """
        loop = self._loops[place]
        loop.log.warning("loop.rebuild", reason=str(reason), because=because)

        def stopping() -> bool:
            loop.watch.waiting("Kafka")
            return self._stop.is_set()

        while admin.wait_for_broker(self._settings, on_wait=self._say_waiting, stop=stopping):
            try:
                self._loops[place] = build(loop.processor, self._settings, self._replica, instead_of=loop)
            except KafkaException as failure:
                self._say_waiting(failure.args[0].str())
                continue
            if self._stop.is_set():
                self._loops[place].stop()
            return True
        return False

    def _failed_with(self, loop: Loop, error: BaseException) -> None:
        self._failed.append(error)
        if isinstance(error, (FatalError, RegistryError)):
            loop.log.error("loop.failed", kind=type(error).__name__, reason=str(error))
        else:
            loop.log.error("loop.crashed", epoch=loop.epoch, exc_info=error)

    def _check_topics(self, processors: Sequence[Processor]) -> None:
        names = {topic for topic, _ in topics.access(self._name)} if self._name in topics.SERVICES else set()
        for processor in processors:
            inputs = processor.inputs
            names.update({inputs.leading, *inputs.followers, *inputs.tables, *inputs.state, DEAD_LETTERS})
        admin.require_topics(self._settings, sorted(names))

    def _say_start(self, port: int) -> None:
        settings = self._settings
        self._log.info(
            "service.start",
            http=f"{settings.http_host}:{port}",
            bootstrap=settings.bootstrap_servers,
            delivery=settings.delivery,
            group_protocol=settings.group_protocol,
            membership=settings.membership,
            properties=redacted(passthrough(settings)),
        )

    def _say_waiting(self, message: str) -> None:
        self._log.warning("service.waiting", reason=message)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._log.info("service.signal", signal=signal.Signals(number).name)
        self._stop.set()
        if self._preparing:
            # There is nothing to give back yet, and an exception would get lost in a callback of the compiler.
            self._log.info("service.stopped")
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(EXIT_OK)


def spare_collections() -> None:
    """Let the garbage collector look at less, and less often.

    What was imported, compiled and made so far lives as long as the process. A batch in work is tens of thousands of
    objects that are freed by their reference counts: by the default thresholds the collector would visit them again and
    again before (measured: a fifth of the decoding of events).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
