"""Decoding: consecutive records become slices, bad ones are named."""

from __future__ import annotations

from typing import Any

from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.decoding import decode
from services.runtime.processor import DecodeError, Headers


def _message(offset: int, value: bytes | None, headers: Any = None) -> Message:
    return Message(
        topic="in", partition=1, offset=offset, key=b"k%d" % offset, value=value, headers=headers, timestamp=(1, offset)
    )


def _decoder(key: bytes | None, value: bytes | None, headers: Headers) -> Any:
    assert value is not None
    if value == b"bad":
        raise DecodeError("not good")
    return (key, value, headers)


def test_values_keys_and_headers() -> None:
    """A slice carries what the decoder made, in offset order, with gaps; a null value does not reach the decoder."""
    slice_, bad = decode("in", 1, 3, [_message(3, b"a", [("h", b"1")]), _message(7, None)], _decoder)
    assert not bad
    assert (slice_.start, slice_.end) == (3, 8)
    assert slice_.offsets == [3, 7]
    assert slice_.timestamps == [3, 7]
    assert slice_.values == [(b"k3", b"a", (("h", b"1"),)), None]


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(0, 5))
def test_bad_records_leave_the_slice(good: list[bool], gap: int) -> None:
    """Wherever the bad records stand, the others are decoded and the range covers all."""
    offsets = [place * (gap + 1) for place in range(len(good))]
    messages = [_message(offset, b"good" if ok else b"bad") for offset, ok in zip(offsets, good, strict=True)]
    slice_, bad = decode("in", 1, 0, messages, _decoder)
    assert slice_.offsets == [offset for offset, ok in zip(offsets, good, strict=True) if ok]
    assert slice_.dead == [item.offset for item in bad]
    assert sorted(slice_.offsets + slice_.dead) == offsets
    assert len(slice_.keys) == len(slice_.values) == len(slice_.timestamps) == len(slice_.offsets)
    assert slice_.end == offsets[-1] + 1
    assert all(item.exception == "DecodeError" and item.why == "not good" for item in bad)
