"""From consumed records to slices: a loop over one partition's records that costs little per record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from confluent_kafka import Message

from services.runtime.processor import Decoder, Slice

MESSAGE_LIMIT = 500
"""Characters of a reason that a dead letter carries."""


class Bad(NamedTuple):
    """A record that could not be decoded or was refused."""

    topic: str
    """Logical name."""
    partition: int
    offset: int
    exception: str
    """Class of the exception."""
    why: str
    message: Message


def decode(
    topic: str, partition: int, start: int, messages: Sequence[Message], decoder: Decoder
) -> tuple[Slice, list[Bad]]:
    """Decode consecutive records of one partition.

    Args:
        topic: logical name.
        partition: its number.
        start: position where the slice begins (the end of the one before).
        messages: the records, in offset order, without errors, at least one.
        decoder: see `Decoder`; a ValueError makes the record a dead letter.
    """
    offsets: list[int] = list(map(Message.offset, messages))  # type: ignore[arg-type]
    keys: list[bytes | None] = list(map(Message.key, messages))
    raw = list(map(Message.value, messages))
    headers = list(map(Message.headers, messages))
    values: list[object] = []
    bad: list[Bad] = []
    at = 0
    total = len(messages)
    while at < total:
        try:
            for key, value, header in zip(keys[at:], raw[at:], headers[at:], strict=True):
                values.append(None if value is None else decoder(key, value, tuple(header) if header else ()))  # type: ignore[arg-type]
            at = total
        except ValueError as error:
            at = len(values)
            bad.append(
                Bad(topic, partition, offsets[at], type(error).__name__, str(error)[:MESSAGE_LIMIT], messages[at])
            )
            values.append(None)
            at += 1
    made = Slice(topic, partition, start, offsets[-1] + 1)
    timestamps = [stamp[1] for stamp in map(Message.timestamp, messages)]
    if bad:
        made.dead = [item.offset for item in bad]
        dead = set(made.dead)
        keep = [place for place, offset in enumerate(offsets) if offset not in dead]
        made.offsets = [offsets[place] for place in keep]
        made.keys = [keys[place] for place in keep]
        made.values = [values[place] for place in keep]
        made.timestamps = [timestamps[place] for place in keep]
    else:
        made.offsets, made.keys, made.values, made.timestamps = offsets, keys, values, timestamps
    return made, bad
