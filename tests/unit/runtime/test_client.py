"""Client configuration: passthrough, secrets, and what the runtime keeps to itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from structlog.testing import capture_logs

from services.runtime.client import (
    REDACTED,
    consumer_config,
    make_admin,
    make_consumer,
    make_producer,
    member_config,
    naming_properties,
    passthrough,
    producer_config,
    redacted,
    transactional_config,
)
from services.runtime.lines import Lines
from services.runtime.log import logger
from services.runtime.settings import KafkaSettings, RuntimeSettings, SettingsError


def test_environment_over_file_and_secrets_from_files(tmp_path: Path) -> None:
    """Properties come from the file, the environment wins, and a _FILE variable gives the content of a file."""
    (tmp_path / "props").write_text("# comment\nsecurity.protocol = SASL_SSL\nsasl.mechanism=PLAIN\n\n")
    (tmp_path / "secret").write_text("hush\n")
    settings = KafkaSettings(kafka_properties_file=str(tmp_path / "props"))
    found = passthrough(
        settings,
        {
            "STREAMREC_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "STREAMREC_KAFKA_SASL_PASSWORD_FILE": str(tmp_path / "secret"),
            "STREAMREC_KAFKA_PROPERTIES_FILE": str(tmp_path / "props"),
            "STREAMREC_TOPIC_PREFIX": "x",
        },
    )
    assert found == {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512", "sasl.password": "hush"}


@pytest.mark.parametrize("name", ["sasl.password", "ssl.key.password", "ssl.key.pem", "sasl.oauthbearer.client.secret"])
def test_secrets_are_never_shown(name: str) -> None:
    """What may be logged has its secrets blanked out."""
    assert redacted({name: "hush", "client.id": "me"}) == {name: REDACTED, "client.id": "me"}


@pytest.mark.parametrize("name", ["ISOLATION_LEVEL", "ENABLE_AUTO_COMMIT", "TRANSACTIONAL_ID", "PARTITIONER"])
def test_what_a_promise_depends_on_is_refused(name: str) -> None:
    """A property that would break exactly-once is an error with its name."""
    with pytest.raises(SettingsError, match=name.lower().replace("_", ".")):
        passthrough(KafkaSettings(), {f"STREAMREC_KAFKA_{name}": "x"})


def test_a_missing_secret_file_is_a_clear_error(tmp_path: Path) -> None:
    """The error names the variable and the file."""
    with pytest.raises(SettingsError, match=r"SASL_PASSWORD_FILE.*nothing-here"):
        passthrough(KafkaSettings(), {"STREAMREC_KAFKA_SASL_PASSWORD_FILE": str(tmp_path / "nothing-here")})


def test_the_new_group_protocol_sets_nothing_forbidden() -> None:
    """Session, heartbeat and assignor are the broker's to set with KIP-848."""
    config = member_config(RuntimeSettings(group_protocol="consumer"), "g", "a")
    assert config["group.protocol"] == "consumer"
    assert not {"session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"} & set(config)
    assert config["group.instance.id"] == "a"
    assert "group.instance.id" not in member_config(RuntimeSettings(membership="dynamic"), "g", "a")


def test_a_message_fails_before_its_transaction() -> None:
    """Otherwise the broker would end the transaction before the loop hears of the failed message."""
    config = transactional_config(RuntimeSettings(transaction_timeout_ms=4000), "id")
    assert config["message.timeout.ms"] < config["transaction.timeout.ms"] == 4000


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("STREAMREC_KAFKA_FOO_BAR", "1", 'STREAMREC_KAFKA_FOO_BAR: the Kafka client refuses it: .*"foo.bar"'),
        ("STREAMREC_KAFKA_SECURITY_PROTOCOL", "banana", 'STREAMREC_KAFKA_SECURITY_PROTOCOL: .*"banana"'),
        # Librdkafka knows it by another name too, and says that one.
        ("STREAMREC_KAFKA_LINGER_MS", "9999999999", "STREAMREC_KAFKA_LINGER_MS: .*allowed range"),
    ],
)
@pytest.mark.parametrize("make", [make_admin, make_consumer, make_producer])
def test_a_property_that_librdkafka_refuses_is_a_wrong_setting(
    make: Callable[[KafkaSettings], object], variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the variable that was set, and says what is wrong with it."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=said):
        make(KafkaSettings())


def test_a_refused_property_of_a_file_is_named_with_its_line(tmp_path: Path) -> None:
    """Of several properties the one that the client speaks of, where it stands."""
    file = tmp_path / "props"
    file.write_text("client.id=me\n# comment\nfoo.bar=1\n")
    with pytest.raises(SettingsError, match=rf"^{file}, line 3: the Kafka client refuses it"):
        make_admin(KafkaSettings(kafka_properties_file=str(file)))


def test_a_refused_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message of the client carries the value."""
    monkeypatch.setenv("STREAMREC_KAFKA_SSL_KEY_PASSWORD", "hush")
    failure = KafkaException(KafkaError(KafkaError._INVALID_ARG, 'Invalid value "hush" for "ssl.key.password"'))
    with pytest.raises(SettingsError) as caught, naming_properties(KafkaSettings()):
        raise failure
    assert "hush" not in str(caught.value)
    assert REDACTED in str(caught.value)


def test_what_is_not_the_settings_fault_stays_what_it_is() -> None:
    """Without a property of the operator's, a refusal is ours."""
    failure = KafkaException(KafkaError(KafkaError._INVALID_ARG))
    with pytest.raises(KafkaException), naming_properties(KafkaSettings()):
        raise failure


def test_the_longest_session_is_one_that_the_client_takes() -> None:
    """Librdkafka refuses a session that is longer than the longest pause between two polls."""
    Consumer(member_config(RuntimeSettings(session_timeout_ms=3_600_000), "g", "a")).close()


def test_the_lines_of_librdkafka_are_events_of_the_log() -> None:
    """What a service's client says of itself comes out of the call that serves its callbacks, with the loop's keys."""
    settings = RuntimeSettings(bootstrap_servers="127.0.0.1:1")
    made = Producer({**producer_config(settings, logger(processor="p")), "log_level": 7, "error_cb": lambda _: None})
    give_up = time.monotonic() + 20
    with capture_logs() as logs:
        while not logs and time.monotonic() < give_up:
            made.poll(0.05)
    assert logs[0]["event"] == "kafka.line"
    assert logs[0]["log_level"] == "warning"
    assert logs[0]["processor"] == "p"
    assert logs[0]["client"] == "rdkafka#" + logs[0]["client"].partition("#")[2]
    assert logs[0]["line"]


@pytest.mark.parametrize(("level", "said"), [(50, "warning"), (40, "warning"), (20, "info"), (10, "debug")])
def test_a_line_is_at_most_a_warning(level: int, said: str) -> None:
    """The end of a client is not that of the service, which has errors of its own."""
    with capture_logs() as logs:
        Lines(logger()).log(level, "%s [%s] %s", "FATAL", "rdkafka#producer-1", "taken")
    assert [(line["event"], line["log_level"], line["line"]) for line in logs] == [("kafka.line", said, "taken")]


def test_a_line_that_cannot_be_logged_ends_no_call() -> None:
    """An exception out of a callback would be raised by whatever call serves it."""

    class Closed:
        def warning(self, *_: object, **__: object) -> None:
            raise ValueError("I/O operation on closed file")

        debug = info = warning

    Lines(Closed()).log(50, "%s [%s] %s", "FATAL", "rdkafka#producer-1", "taken")


def test_who_debugs_the_client_has_its_lines_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of lines at their time, not when the loop polls next; a command's client has no log of ours at all."""
    log = logger()
    assert "logger" in transactional_config(RuntimeSettings(), "id", log)
    assert "logger" not in consumer_config(RuntimeSettings(), "g")
    monkeypatch.setenv("STREAMREC_KAFKA_DEBUG", "broker")
    assert "logger" not in member_config(RuntimeSettings(), "g", "a", log)
