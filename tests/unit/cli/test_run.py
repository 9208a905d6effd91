"""`streamrec run`: what is said before a service starts."""

from __future__ import annotations

from services.cli.run import unknown_variables


def test_a_variable_that_nothing_reads_is_named_with_the_closest_that_is_read() -> None:
    """A misspelled setting is not silently without effect; settings of any command and Kafka's own are no mistakes."""
    given = [
        "STREAMREC_LIST_SIZ", "STREAMREC_LIST_SIZE", "STREAMREC_BROKER_PORT", "STREAMREC_KAFKA_SASL_USERNAME", "PATH",
        "STREAMREC_TEST_SEED",
    ]  # fmt: skip
    assert list(unknown_variables(given)) == [
        "STREAMREC_LIST_SIZ is no setting and has no effect; did you mean STREAMREC_LIST_SIZE?"
    ]
