from __future__ import annotations

import pytest

from services.contracts.inner import extraction_state as states
from services.contracts.inner import weights
from services.contracts.inner.codec import InnerRecordError
from tests.unit.feature_extraction.driving import new_row


def test_keys_say_whose_and_what() -> None:
    """Each kind of key is split into the parts that it was made of."""
    assert states.split_key(b"ann") == (b"ann", "row", 0)
    assert states.split_key(states.window_key(b"ann", 7)) == (b"ann", "window", 7)
    assert states.split_key(states.list_key(b"ann", 0)) == (b"ann", "list", 0)


def test_rows_come_back_as_they_were() -> None:
    """A row keeps every bit of its numbers, so that a restore changes nothing."""
    row = new_row() | {"pc": [2**32 - 1], "pw": [1 / 3], "d": bytes(16), "im": [["a", 1, "e", None]]}
    assert states.decode_row(states.encode(row)) == row


def test_other_versions_are_refused() -> None:
    """A row of another version is an error, not a misreading."""
    with pytest.raises(InnerRecordError, match="expected version 1"):
        states.decode_row(states.encode({**new_row(), "v": 2}))


def test_weights_survive_the_topic() -> None:
    """What is written is what is read, also when a person writes integers by hand."""
    assert weights.decode(weights.encode({"view": 0.5, "hide": -1})) == {"view": 0.5, "hide": -1.0}
    assert weights.decode(b'{"view": 1}') == {"view": 1.0}


@pytest.mark.parametrize(
    "value", [b"", b"[]", b"{", b'{"view": "1"}', b'{"view": true}', b'{"view": 1e9}', b'{"a": NaN}']
)
def test_wrong_weights_are_refused(value: bytes) -> None:
    """A control record that is no table of weights changes nothing: it is a bad record."""
    with pytest.raises(ValueError, match="event weights"):
        weights.decode(value)
