"""One demo from start to end: broker, topics, services, stream, audit, and everything stopped again."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.broker.broker import LocalBroker
from services.broker.errors import BrokerError
from services.broker.settings import BrokerSettings
from services.cli.audit.command import Verdict, audit
from services.cli.demo.meter import Meter, Snapshot
from services.cli.demo.processes import Child, Fleet, compiler
from services.cli.demo.screen import Screen, State
from services.cli.demo.streams import Stream
from services.cli.demo.traffic import Traffic
from services.cli.errors import CliError
from services.cli.groups import GROUPS, group_of
from services.cli.kafka import ANSWER_S, connect
from services.cli.lag import LagReader
from services.cli.run import SERVICES
from services.contracts import topics
from services.runtime.admin import create_topics
from services.runtime.client import make_admin
from services.runtime.settings import KafkaSettings

_READY_S = 300.0
_FIRST_EVENTS = 400
_PRELUDE_RATE = 200.0
_PRELUDE_S = 60.0
_COMPILE_S = 900.0
_COMPILE_SAID_AFTER_S = 3.0
_DRAIN_S = 30.0
_DRAW_S = 0.25
_LAG_EVERY_S = 1.0
_RECENT = 2000


@dataclass(frozen=True, slots=True)
class Plan:
    """What the demo does."""

    stream: Stream
    seconds: float
    rate: float
    broker: str | None = None
    """Address of a running cluster; None starts a broker."""
    keep: Path | None = None
    """Folder that stays, with the broker's data and the logs; None takes a temporary one."""
    k: int = 10
    repeats: bool = False
    """Count events on items that the user has seen, and recommend them."""


def events_of(seconds: float, rate: float) -> tuple[int, int]:
    """(events that go first, unmeasured: whatever is compiled or loaded on first use is, then; those measured)."""
    measured = max(1, int(rate * seconds))
    return min(_FIRST_EVENTS, measured // 2 or 1), measured


@dataclass(slots=True)
class Report:
    """What the demo showed."""

    setup_s: float = 0.0
    stream_s: float = 0.0
    snapshot: Snapshot = field(default_factory=Snapshot)
    verdict: Verdict | None = None
    sample: Mapping[str, Any] | None = None
    """A list with reasons."""
    history: list[str] = field(default_factory=list)
    """Newest items of its user."""
    exit_codes: dict[str, int | None] = field(default_factory=dict)

    def ok(self) -> bool:
        """Whether the audit is clean and every service ended cleanly."""
        return bool(self.verdict and self.verdict.clean and not any(self.exit_codes.values()))


def run(plan: Plan, settings: KafkaSettings, screen: Screen) -> Report:
    """Do it. Nothing is left running, whatever happens.

    Raises:
        CliError: something did not start, or ended by itself.
    """
    report, began = Report(), time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(_folder(plan.keep))
        # Compiles while Kafka starts. Two services would both compile the same, and be late.
        compiling = compiler(folder)
        stack.callback(compiling.finish, 0)
        settings = stack.enter_context(_cluster(plan, settings, folder, screen))
        screen.step("creating topics")
        create_topics(settings)
        _await_compiled(compiling, screen)
        fleet = Fleet()
        stack.callback(fleet.stop)
        _start_services(fleet, plan, settings, folder)
        traffic = Traffic(settings, Meter(plan.k, exclude_seen=not plan.repeats))
        stack.callback(traffic.stop)
        traffic.start()
        if plan.stream.items:
            screen.step(f"sending {len(plan.stream.items):,} items")
            traffic.send_items(plan.stream.items)
        screen.step("waiting for the services to be ready")
        fleet.wait_ready(_READY_S)
        screen.step("sending the first events")
        _prelude(plan, traffic, fleet, screen)
        report.setup_s = time.monotonic() - began
        screen.step(f"replaying at {plan.rate:,.0f} events/s")
        look = _looker(plan, traffic, stack.enter_context(LagReader(settings)), screen)
        report.stream_s = _replay(plan, traffic, fleet, look, screen.state)
        screen.step("waiting for the last lists")
        _settle(traffic, fleet, look, _DRAIN_S)
        report.snapshot = traffic.snapshot()
        report.sample, report.history = _sample(traffic.meter)
        traffic.stop()
        # Nothing takes it any more: what was the lag a moment ago would stand there until the end.
        screen.state.lag = {}
        screen.step("stopping the services")
        report.exit_codes = fleet.stop()
        screen.step("auditing")
        report.verdict = audit(settings, live=False)
    return report


def _start_services(fleet: Fleet, plan: Plan, settings: KafkaSettings, folder: Path) -> None:
    environment = {
        "STREAMREC_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "STREAMREC_TOPIC_PREFIX": settings.topic_prefix,
        "STREAMREC_USER_PARTITIONS": str(settings.user_partitions),
        "STREAMREC_ITEM_PARTITIONS": str(settings.item_partitions),
        "STREAMREC_STATE_DIR": str(folder / "state"),
        "STREAMREC_EXCLUDE_SEEN": str(not plan.repeats).lower(),
    }
    for name, (package, _, _) in SERVICES.items():
        fleet.start(name, package, environment, folder)


def _await_compiled(compiling: Child, screen: Screen) -> None:
    """Wait for the model's kernels: the first run on a machine compiles them, later ones find them on disk."""
    began, said = time.monotonic(), False
    while (code := compiling.ended()) is None:
        waited = time.monotonic() - began
        if waited > _COMPILE_SAID_AFTER_S and not said:
            said = True
            screen.step("compiling the model for this machine (once; a few minutes on a slow one)")
        if waited > _COMPILE_S:
            raise CliError(f"the model is not compiled after {_COMPILE_S:.0f} s (see {compiling.log_file})")
        screen.draw()
        time.sleep(_DRAW_S)
    if code:
        raise CliError(f"compiling the model ended with code {code}: {compiling.last_lines()}")


def _prelude(plan: Plan, traffic: Traffic, fleet: Fleet, screen: Screen) -> None:
    """The first events, before anything is measured."""
    first, _ = events_of(plan.seconds, plan.rate)
    traffic.send(plan.stream.events, _PRELUDE_RATE, first)
    _settle(traffic, fleet, screen.draw, _PRELUDE_S)
    if not traffic.snapshot().lists:
        raise CliError(f"no list has come within {_PRELUDE_S:.0f} s; see the logs with --keep FOLDER")
    traffic.meter.reset_freshness()


def _settle(traffic: Traffic, fleet: Fleet, look: Callable[[], None], seconds: float) -> None:
    """Wait until a list has learned from every event that was sent, or until nothing comes any more."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and traffic.snapshot().waiting:
        fleet.check()
        traffic.check()
        look()
        time.sleep(_DRAW_S)


def _looker(plan: Plan, traffic: Traffic, lag: LagReader, screen: Screen) -> Callable[[], None]:
    """A function that takes the figures of the moment and shows them; the lag it asks for once in a while."""
    state, next_lag = screen.state, 0.0

    def look() -> None:
        nonlocal next_lag
        state.snapshot, state.recent, state.k = traffic.snapshot(), traffic.snapshot(_RECENT), plan.k
        if time.monotonic() >= next_lag:
            next_lag = time.monotonic() + _LAG_EVERY_S
            sums = dict.fromkeys(GROUPS, 0)
            for line in lag.read():
                sums[line.group] += line.lag
            state.lag = sums
        screen.draw()

    return look


def _replay(plan: Plan, traffic: Traffic, fleet: Fleet, look: Callable[[], None], state: State) -> float:
    """Send the stream on a thread of its own and show what happens: seconds that it took."""
    began = time.monotonic()
    _, measured = events_of(plan.seconds, plan.rate)
    failed: list[BaseException] = []

    def send() -> None:
        try:
            traffic.send(plan.stream.events, plan.rate, measured)
        except BaseException as error:  # the main thread raises whatever ends this one
            failed.append(error)

    thread = threading.Thread(target=send, name="events", daemon=True)
    thread.start()
    while thread.is_alive():
        fleet.check()
        traffic.check()
        state.seconds = time.monotonic() - began
        state.progress = min(1.0, state.seconds / plan.seconds)
        look()
        thread.join(_DRAW_S)
    if failed:
        raise failed[0]
    state.progress = 1.0
    return time.monotonic() - began


def _sample(meter: Meter) -> tuple[Mapping[str, Any] | None, list[str]]:
    """The list with the most to say: many reasons and signals, of a user who has done something."""

    def telling(user: str) -> tuple[int, int]:
        items = meter.lists[user]["items"][: meter.k]
        return sum(bool(each["because"]) for each in items), len({each["signal"] for each in items})

    users = [user for user in meter.lists if len(meter.history(user)) >= 3 and meter.lists[user]["items"]]
    if not users:
        users = [user for user in meter.lists if meter.lists[user]["items"]]
    if not users:
        return None, []
    best = max(users, key=telling)
    return meter.lists[best], meter.history(best)[-5:]


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    made = Path(tempfile.mkdtemp(prefix="streamrec-demo-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def _cluster(plan: Plan, settings: KafkaSettings, folder: Path, screen: Screen) -> Iterator[KafkaSettings]:
    """Settings that reach a broker and topics of the demo's own."""
    if plan.broker is None:
        broker = LocalBroker(
            BrokerSettings.load(broker_port=0, broker_data_dir=folder / "broker"),
            # Progress of a first download, which takes a while.
            progress=screen.step,
        )
        screen.step("starting Kafka")
        try:
            broker.start()
        except BrokerError as error:
            raise CliError(str(error)) from error
        try:
            yield KafkaSettings.load(
                **_values(settings), bootstrap_servers=broker.bootstrap_servers, replication_factor=1
            )
        finally:
            broker.stop()
        return
    # Topics of its own beside those of others, removed at the end.
    prefix = settings.topic_prefix or f"streamrec-demo-{os.getpid()}-{secrets.token_hex(2)}."
    own = KafkaSettings.load(**{**_values(settings), "bootstrap_servers": plan.broker, "topic_prefix": prefix})
    connect(own)
    try:
        yield own
    finally:
        if plan.keep is None:
            _delete(own)


def _values(settings: KafkaSettings) -> dict[str, Any]:
    values = settings.model_dump()
    return {name: value for name, value in values.items() if name not in ("bootstrap_servers", "replication_factor")}


def _delete(settings: KafkaSettings) -> None:
    """Remove the demo's topics and groups from a cluster that goes on without it."""
    admin = make_admin(settings)
    names = [line.physical(settings.topic_prefix) for line in topics.TOPICS]
    groups = [group_of(settings, processor) for processor in GROUPS]
    futures = [
        *admin.delete_topics(names, request_timeout=ANSWER_S).values(),
        *admin.delete_consumer_groups(groups, request_timeout=ANSWER_S).values(),
    ]
    for future in futures:
        # What was never created cannot be deleted, and the demo's result does not depend on it.
        future.exception(timeout=ANSWER_S)
