"""How a loop's end is judged: built anew, or the end of the process, said in one line or with a traceback."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
from confluent_kafka import KafkaError, KafkaException
from structlog.testing import capture_logs

from services.contracts.edge import RegistryError
from services.model_update.mismatch import ModelMismatchError
from services.recommendation_publishing.engine import ModelMismatchError as PublishingMismatchError
from services.runtime import admin, service
from services.runtime.errors import FencedError, StuckError
from services.runtime.log import configure, logger
from services.runtime.processor import Inputs
from services.runtime.settings import RuntimeSettings, SettingsError
from services.runtime.trouble import Trouble

REFUSED = KafkaException(KafkaError(KafkaError._FATAL))


class Loop:
    """Ends with an error, or well."""

    def __init__(self, error: BaseException | None, *, cut_off: bool = False) -> None:
        self.processor: Any = None
        self.epoch = 7
        self.log = logger(processor="p")
        self.trouble = Trouble(self.log)
        self.error = error
        if cut_off:
            self.trouble(KafkaError(KafkaError._TRANSPORT))

    def run(self) -> None:
        """End."""
        if self.error is not None:
            raise self.error


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Loop]:
    """Loops that are built anew: they end well."""
    loops: list[Loop] = []

    def build(*_: Any, instead_of: Loop) -> Loop:
        loops.append(Loop(None))
        assert instead_of.error is not None
        return loops[-1]

    monkeypatch.setattr(service, "build", build)
    monkeypatch.setattr(admin, "wait_for_broker", lambda *_, **__: True)
    return loops


def _guard(loop: Loop) -> service._Service:
    made = service._Service("svc", RuntimeSettings(), lambda *_: [])
    made._replica = cast(Any, None)
    made._loops = [cast(Any, loop)]
    made._guard(0)
    return made


@pytest.mark.parametrize("error", [StuckError("no answer"), FencedError("fenced"), REFUSED])
def test_after_a_broken_connection_the_loop_is_built_anew(built: list[Loop], error: BaseException) -> None:
    """Whatever the client came to in the broker's absence, new clients go on, once."""
    with capture_logs() as logs:
        _guard(Loop(error, cut_off=True))
    assert [line["event"] for line in logs if line["event"].startswith("loop.")] == ["loop.rebuild"]
    assert len(built) == 1


def test_a_stop_while_kafka_is_away_is_a_clean_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told to stop while a broker is waited for, a service has not failed: nothing is left that could be committed."""
    monkeypatch.setattr(admin, "wait_for_broker", lambda *_, **__: False)
    assert not _guard(Loop(StuckError("no answer"), cut_off=True))._failed


def test_a_namesake_ends_the_process(built: list[Loop]) -> None:
    """Fenced while the connection was whole: another process has the name, and the log says what to do."""
    with capture_logs() as logs:
        _guard(Loop(FencedError("give every replica its own STREAMREC_INSTANCE")))
    assert [(line["event"], line["kind"]) for line in logs] == [("loop.failed", "FencedError")]
    assert not built


def test_a_refusal_without_an_explanation_has_its_traceback(built: list[Loop]) -> None:
    """With the connection whole it is a fault of ours."""
    with capture_logs() as logs:
        _guard(Loop(REFUSED))
    assert [line["event"] for line in logs] == ["loop.crashed"]
    assert not built


def _starting(monkeypatch: pytest.MonkeyPatch, *answers: BaseException | None) -> Any:
    """Start a service; the topics are asked for once for each answer."""
    waiting = iter(answers)

    def require_topics(*_: Any) -> None:
        answer = next(waiting)
        if answer is not None:
            raise answer

    monkeypatch.setattr(admin, "require_topics", require_topics)
    monkeypatch.setattr(admin, "wait_for_broker", lambda *_, **__: True)
    monkeypatch.setattr(service, "build", lambda *_: "loop")
    made = service._Service("svc", RuntimeSettings(), lambda *_: [cast(Any, Named())])
    return made._first_loops(cast(Any, Named()), cast(Any, Named()))


class Named:
    """A processor without topics, a replica, or the health endpoint."""

    instance = "a"
    inputs = Inputs(leading="in")
    waiting_for = ""


def test_a_broker_that_goes_away_while_a_service_starts_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It answered, and is gone when it is asked for the topics: the service asks again."""
    gone = KafkaException(KafkaError(KafkaError._TRANSPORT))
    with capture_logs() as logs:
        assert _starting(monkeypatch, gone, gone, None) == ["loop"]
    assert [line["event"] for line in logs if line["event"] != "service.preparing"] == ["service.waiting"] * 2


def test_what_a_broker_refuses_at_a_start_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal would be repeated for ever: the service ends and says it."""
    with pytest.raises(KafkaException):
        _starting(monkeypatch, KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)), None)


@pytest.fixture
def log_as_before() -> Iterator[None]:
    """Other tests find the log as it was."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("log_as_before")
@pytest.mark.parametrize("kind", [ModelMismatchError, PublishingMismatchError, RegistryError])
def test_what_tells_the_operator_what_to_do_is_one_line(
    capsys: pytest.CaptureFixture[str], kind: type[Exception]
) -> None:
    """No traceback buries the message."""
    configure("json")
    _guard(Loop(kind("dim is 32 there and 16 here")))
    (line,) = capsys.readouterr().err.splitlines()
    assert '"event": "loop.failed"' in line
    assert '"reason": "dim is 32 there and 16 here"' in line
    assert "Traceback" not in line
    assert "exception" not in line


@pytest.mark.parametrize("host", ["nohost.invalid", "192.0.2.1", "x" * 70 + "..a"])
def test_a_host_that_cannot_be_listened_on_is_named(host: str, tmp_path: Path) -> None:
    """The port is not at fault."""
    settings = RuntimeSettings(http_host=host, state_dir=tmp_path)
    with pytest.raises(SettingsError, match=r"^http_host: .*STREAMREC_HTTP_HOST"):
        service._Service("svc", settings, lambda *_: [])._listen()


def test_a_port_that_is_taken_is_named() -> None:
    """The host is not at fault."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = RuntimeSettings(http_port=taken.getsockname()[1])
        with pytest.raises(SettingsError, match=r"^http_port: .*STREAMREC_HTTP_PORT"):
            service._Service("svc", settings, lambda *_: [])._listen()


def test_a_property_that_no_client_takes_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before a broker is asked, with the variable's name and the exit code of a wrong setting."""
    monkeypatch.setenv("STREAMREC_KAFKA_FOO_BAR", "1")
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    config = structlog.get_config()
    try:
        code = service.run("svc", RuntimeSettings, lambda *_: [], RuntimeSettings(state_dir=tmp_path))
    finally:
        structlog.configure(**config)
        for number, handler in before.items():
            signal.signal(number, handler)
    assert code == service.EXIT_USAGE
    assert "error: STREAMREC_KAFKA_FOO_BAR: the Kafka client refuses it" in capsys.readouterr().err


def test_a_stop_while_kernels_are_compiled_takes_effect_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not noticed minutes later; the health endpoint says what is waited for. Afterwards a stop is in order."""
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(admin, "wait_for_broker", lambda *_, **__: True)
    monkeypatch.setattr(admin, "require_topics", lambda *_: made._on_signal(signal.SIGTERM, None))
    monkeypatch.setattr(service, "build", lambda *_: "loop")
    endpoint = Named()

    def compiles(*_: Any) -> list[Any]:
        assert "compiled" in endpoint.waiting_for
        made._on_signal(signal.SIGTERM, None)
        assert ended == [0]
        return [cast(Any, Named())]

    made: Any = service._Service("svc", RuntimeSettings(), compiles)
    assert made._first_loops(cast(Any, Named()), cast(Any, endpoint))
    assert ended == [0]
