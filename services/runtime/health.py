"""Health: what the loop tells of itself, a watchdog over it, and the HTTP endpoints."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from services.runtime.metrics import Collector, Metrics
from services.runtime.tasks import Position, Tasks, TaskState

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.runtime.log import Log
    from services.runtime.restore import Restorer
    from services.runtime.source import Source


class Watch:
    """Watches one loop: its thread must turn, a lagging position must move, a restore must advance."""

    def __init__(self, name: str, metrics: Metrics, stall_after_s: float) -> None:
        """`name`: of the processor."""
        self.name = name
        self._metrics = metrics
        self._stall_after_s = stall_after_s
        self._beat = time.monotonic()
        self._moved: dict[Position, float] = {}
        self._restored: tuple[int, float] = (0, time.monotonic())
        self._stalled: list[str] = []
        self.ready = False
        self.waiting_for = "the group's first assignment"
        self.lag = 0

    def beat(self) -> None:
        """The loop turns."""
        self._beat = time.monotonic()

    def waiting(self, what: str) -> None:
        """The loop is down, for a reason that waiting cures: healthy, and not ready."""
        self.beat()
        self.ready = False
        self.waiting_for = what
        self._stalled = []

    def moved(self, position: Position) -> None:
        """The position of a partition moved."""
        self._moved[position] = self._beat

    def moved_all(self, positions: Iterable[Position]) -> None:
        """These partitions start being read now."""
        for position in positions:
            self.moved(position)

    def problems(self) -> list[str]:
        """Why the loop is not healthy; empty when it is."""
        still = time.monotonic() - self._beat
        if still > self._stall_after_s:
            return [f"{self.name}: the loop has not turned for {still:.0f} s"]
        return list(self._stalled)

    def look(self, tasks: Tasks, source: Source, restorer: Restorer, *, joined: bool) -> None:
        """Take stock, on the loop's thread: lag, readiness, what does not move."""
        now = time.monotonic()
        stalled: list[str] = []
        total = 0
        self._metrics.clear("lag")
        self._metrics.clear("position")
        for task in tasks.having(TaskState.RUNNING):
            for topic, position in task.next.items():
                place = topic, task.partition
                lag = 0 if place in source.ends else max(0, source.high(place) - position)
                total += lag
                labels = ("topic", topic), ("partition", str(task.partition))
                self._metrics.set("lag", lag, labels)
                self._metrics.set("position", position, labels)
                if not lag:
                    self.moved(place)
                elif now - self._moved.get(place, now) > self._stall_after_s:
                    stalled.append(
                        f"{self.name}: {topic}/{task.partition} has stood at {position} for "
                        f"{now - self._moved[place]:.0f} s with a lag of {lag}"
                    )
        self._look_at_restore(restorer, now, stalled)
        for state in TaskState:
            self._metrics.set("tasks", len(tasks.having(state)), (("state", state.value),))
        self._stalled = stalled
        self.lag = total
        self.ready = joined and restorer.tables_read and tasks.all_running()
        self.waiting_for = "" if self.ready else self._why(tasks, restorer, joined=joined)
        self._metrics.set("ready", int(self.ready))

    def _look_at_restore(self, restorer: Restorer, now: float, stalled: list[str]) -> None:
        self._metrics.set("restore_remaining", restorer.remaining())
        self._metrics.set("restored_records", restorer.loaded)
        if not restorer.busy or restorer.loaded != self._restored[0]:
            self._restored = restorer.loaded, now
        elif now - self._restored[1] > self._stall_after_s:
            stalled.append(f"{self.name}: the restore has stood at {restorer.loaded} records")

    @staticmethod
    def _why(tasks: Tasks, restorer: Restorer, *, joined: bool) -> str:
        if not restorer.tables_read:
            return f"tables ({restorer.remaining()} records to read)"
        if not joined:
            return "the group's first assignment"
        waiting = [task.partition for task in tasks if task.state is not TaskState.RUNNING]
        return f"partitions {waiting} ({restorer.remaining()} records to read)"


class Summary:
    """One log line per interval in place of a line per step."""

    def __init__(self, metrics: Metrics, interval_s: float) -> None:
        """`interval_s`: 0 writes none."""
        self._metrics = metrics
        self._interval_s = interval_s
        self._at = time.monotonic()
        self._before = self._counts()

    def say(self, log: Log, watch: Watch) -> None:
        """Write the line if it is time."""
        passed = time.monotonic() - self._at
        if not self._interval_s or passed < self._interval_s:
            return
        now = self._counts()
        log.info(
            "loop.summary",
            seconds=round(passed),
            **{name: round(now[name] - self._before.get(name, 0)) for name in now},
            lag=round(watch.lag),
            ready=watch.ready,
        )
        self._at, self._before = time.monotonic(), now

    def _counts(self) -> dict[str, float]:
        count = self._metrics.counter
        return {
            "records_in": count("records_in_total"),
            "records_out": count("records_out_total"),
            "steps": count("steps_total"),
            "dead_letters": count("dead_letters_total"),
            # What feature extraction left out; other loops have none of these.
            **{fate: n for fate, n in self._metrics.by_label("interactions_total").items() if fate != "accepted"},
        }


class HealthServer:
    """/healthz, /readyz and /metrics on one port."""

    def __init__(self, host: str, port: int) -> None:
        """Bind at once (port 0 takes a free one); raises OSError when the port is taken."""
        self._watches: list[Watch] = []
        self._metrics: list[Metrics] = []
        registry = CollectorRegistry()
        registry.register(Collector(self._metrics))
        self.waiting_for = "Kafka"
        """Why the service is not ready while it has no loop yet."""
        handler = _handler(self._watches, self._not_yet, lambda: generate_latest(registry))
        self._server = ThreadingHTTPServer((host, port), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def watch(self, watches: Sequence[Watch], metrics: Sequence[Metrics]) -> None:
        """From now on, report these loops."""
        self._watches.extend(watches)
        self._metrics.extend(metrics)

    def _not_yet(self) -> dict[str, str]:
        return {} if self._watches else {"service": self.waiting_for}

    def start(self) -> None:
        """Serve on a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def _handler(
    watches: Sequence[Watch], not_yet: Callable[[], dict[str, str]], exposition: Callable[[], bytes]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/healthz":
                problems = [problem for watch in watches for problem in watch.problems()]
                self._answer(503 if problems else 200, {"healthy": not problems, "problems": problems})
            elif self.path == "/readyz":
                waiting = {**not_yet(), **{watch.name: watch.waiting_for for watch in watches if not watch.ready}}
                self._answer(503 if waiting else 200, {"ready": not waiting, "waiting": waiting})
            elif self.path == "/metrics":
                self._send(200, CONTENT_TYPE_LATEST, exposition())
            else:
                self._answer(404, {"paths": ["/healthz", "/readyz", "/metrics"]})

        def _answer(self, status: int, body: object) -> None:
            self._send(status, "application/json", json.dumps(body).encode() + b"\n")

        def _send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
            """Requests of probes are not worth a line each."""

    return Handler
