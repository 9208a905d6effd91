"""What is said of a setting that is wrong."""

from __future__ import annotations

import pytest

from services.broker.settings import BrokerSettings
from services.feature_extraction.settings import ExtractionSettings
from services.model_update.settings import ModelUpdateSettings
from services.recommendation_publishing.settings import PublishingSettings
from services.runtime.settings import KafkaSettings, Row, RuntimeSettings, Settings, SettingsError, rows


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


TABLES = (ExtractionSettings, ModelUpdateSettings, PublishingSettings, BrokerSettings)
NUMBERS = [
    pytest.param(table, row, id=f"{table.__name__}.{row.name}")
    for table in TABLES
    for row in rows(table)
    if row.field.annotation in (int, float)
]


@pytest.mark.parametrize(("table", "row"), NUMBERS)
def test_every_number_has_a_bound(table: type[Settings], row: Row) -> None:
    """What no kernel, clock or client takes is refused with the name of the setting, before anything is asked."""
    values = ["18446744073709551616"] if row.field.annotation is int else ["inf", "-inf", "nan", "1e300"]
    for value in values:
        assert message(table, **{row.name: value}).startswith(f"{row.name}: Input should be ")


@pytest.mark.parametrize("value", ["a b/", "a\n", "ä", "x" * 201])
def test_a_prefix_is_part_of_a_topics_name(value: str) -> None:
    """Kafka would refuse each of the topics, with an error that speaks of something else."""
    assert message(KafkaSettings, topic_prefix=value).startswith("topic_prefix: Kafka's names have letters")
    assert KafkaSettings.load(topic_prefix="shop-1.").topic_prefix == "shop-1."


@pytest.mark.parametrize(
    ("table", "name"), [(RuntimeSettings, "state_dir"), (BrokerSettings, "broker_data_dir")], ids=str
)
def test_an_empty_folder_is_not_the_current_one(
    table: type[Settings], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that was left empty fills no folder that somebody happens to be in."""
    monkeypatch.setenv(f"STREAMREC_{name.upper()}", "")
    assert message(table).startswith(f"{name}: is empty")


@pytest.mark.parametrize("value", ["", "a=0,b=0", "a=1,a=2"])
def test_arms_are_read_with_the_settings(value: str) -> None:
    """A list of arms that cannot be read is told as every other setting."""
    said = message(PublishingSettings, experiment_arms=value)
    assert said.count("experiment_arms: ") == 1
    assert "STREAMREC_EXPERIMENT_ARMS" in said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"dim": 33}, "dim: Input should be a multiple of 8, got 33 "),
        (
            {"history": 300},
            "history_kept: 200 is less than history, which is 300; raise it, or lower STREAMREC_HISTORY",
        ),
    ],
)
def test_settings_that_make_no_model_are_refused_at_once(values: dict[str, int], said: str) -> None:
    """No broker has to answer before the learner is asked what it takes."""
    assert message(ModelUpdateSettings, **values).startswith(said)


def test_what_the_learner_refuses_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that only the learner has is told in its words, which name the setting."""

    def refuse(_: ModelUpdateSettings) -> None:
        raise ValueError("trends and dim do not fit")

    monkeypatch.setattr(ModelUpdateSettings, "model", refuse)
    assert message(ModelUpdateSettings) == "trends and dim do not fit."
