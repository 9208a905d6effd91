from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.produce import values

MOMENTS = st.datetimes(datetime(1974, 1, 1), datetime(2100, 1, 1)).map(lambda each: each.replace(tzinfo=UTC))  # noqa: DTZ001 - hypothesis wants bounds without a zone


@given(MOMENTS)
def test_units_of_time_are_guessed_by_size(moment: datetime) -> None:
    """The same moment in seconds, milliseconds, microseconds and nanoseconds is read as the same milliseconds."""
    parse = values.time_parser("timestamp")
    seconds = int(moment.timestamp())
    for factor in (1, 10**3, 10**6, 10**9):
        assert parse(str(seconds * factor)) == seconds * 1000
        assert parse(seconds * factor) == seconds * 1000


@given(MOMENTS)
def test_iso_times(moment: datetime) -> None:
    """ISO 8601 is understood, and a time without a zone is UTC."""
    parse = values.time_parser("time")
    expected = int(moment.timestamp() * 1000)
    assert parse(moment.isoformat()) == expected
    assert parse(moment.replace(tzinfo=None).isoformat()) == expected


def test_suffix_fixes_the_unit() -> None:
    """A column that names its unit is not guessed."""
    assert values.time_parser("timestamp_ms")("5000") == 5000
    assert values.time_parser("timestamp_s")("5000") == 5_000_000
    assert values.time_parser("t_us")("5000") == 5


def test_no_time() -> None:
    """An empty cell is no time."""
    assert values.time_parser("ts")("") is None
    assert values.time_parser("ts")(None) is None


@pytest.mark.parametrize("wrong", ["yesterday", "12:60", "2025-13-01"])
def test_wrong_time(wrong: str) -> None:
    """What is no time is refused with what was found."""
    with pytest.raises(ValueError, match="expected a time"):
        values.time_parser("ts")(wrong)


@given(st.lists(st.text(st.characters(exclude_characters="|;[", exclude_categories=["Cs", "Z", "C"]), min_size=1)))
def test_lists_of_names(names: list[str]) -> None:
    """Names separated by bars, by semicolons, and as JSON are the same list."""
    assert values.names("|".join(names)) == names or len(names) == 1
    assert values.names(json.dumps(names)) == names
    assert values.names(names) == names


@given(st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.floats(), st.lists(st.integers())))
def test_values_are_parsed_or_refused(value: object) -> None:
    """No value breaks a parser: it is understood or refused with a ValueError."""
    for parse in (
        values.text, values.optional_text, values.number, values.whole, values.truth, values.names, values.mapping,
    ):  # fmt: skip
        try:
            parse(value)
        except (ValueError, OverflowError) as error:
            assert isinstance(error, ValueError)  # noqa: PT017 - the kind is what is tested


def test_truth() -> None:
    """Usual words for yes and no are understood, nothing is yes."""
    assert [values.truth(word) for word in ("true", "No", "1", "0", "", None, False)] == [
        True, False, True, False, True, True, False,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="true or false"):
        values.truth("maybe")


def test_ids_without_quotes() -> None:
    """A whole number is an id, a truth value is not."""
    assert values.text(42) == "42"
    with pytest.raises(ValueError, match="expected text"):
        values.text(True)
