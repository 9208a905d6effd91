"""What is said of a setting that is wrong."""

from __future__ import annotations

import pytest

from services.feature_extraction.settings import ExtractionSettings
from services.runtime.settings import KafkaSettings, RuntimeSettings, Settings, SettingsError


def message(table: type[Settings], **values: object) -> str:
    """The error that loading a table with these values ends in."""
    with pytest.raises(SettingsError) as caught:
        table.load(**values)
    return str(caught.value)


def test_a_wrong_value_is_named_with_its_meaning_and_remedy() -> None:
    """One sentence: the setting, what is wrong, what it is, and which variable and option set it."""
    assert message(KafkaSettings, user_partitions=0) == (
        "user_partitions: Input should be greater than or equal to 1, got 0 (Partitions of every user-keyed topic). "
        "Set STREAMREC_USER_PARTITIONS or --user-partitions."
    )


def test_a_check_of_a_table_speaks_for_itself() -> None:
    """What a table's own check says is neither doubled nor wrapped in words of the library."""
    said = message(ExtractionSettings, event_weights="view=x")
    assert said.startswith("event_weights: expected type=number, got 'view=x' (Learning weights that differ")
    assert said.count("got") == 1
    assert "Value error" not in said
    assert said.endswith("view=0.5,purchase=2). Set STREAMREC_EVENT_WEIGHTS or --event-weights.")


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_address_is_refused_by_name(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No client is made of an empty list of brokers, however it was given."""
    expected = "bootstrap_servers: is empty"
    assert message(RuntimeSettings, bootstrap_servers=value).startswith(expected)
    monkeypatch.setenv("STREAMREC_BOOTSTRAP_SERVERS", value)
    assert message(KafkaSettings).startswith(expected)
    assert "Set STREAMREC_BOOTSTRAP_SERVERS or --bootstrap-servers." in message(KafkaSettings)


def test_every_wrong_setting_has_a_line() -> None:
    """Two mistakes are two lines."""
    assert len(message(KafkaSettings, user_partitions=0, item_partitions="x").splitlines()) == 2
