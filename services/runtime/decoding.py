"""From consumed records to slices: a loop over one partition's records that costs little per record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from confluent_kafka import Message

from services.runtime.processor import Decoder, LeavesRows, Slice, as_it_came

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
    offsets: list[int] = list(map(Message.offset, messages))  # type: ignore[arg-type]  # consumed records have one
    keys: list[bytes | None] = list(map(Message.key, messages))
    values: list[Any] = list(map(Message.value, messages))
    timestamps = [stamp[1] for stamp in map(Message.timestamp, messages)]
    made = Slice(topic, partition, start, offsets[-1] + 1, offsets, timestamps, keys, values)
    if decoder is as_it_came:
        return made, []
    made.values, wrong = _decoded(keys, values, list(map(Message.headers, messages)), decoder)
    bad = [
        Bad(topic, partition, offsets[at], type(error).__name__, str(error)[:MESSAGE_LIMIT], messages[at])
        for at, error in wrong.items()
    ]
    if bad:
        made.dead = [item.offset for item in bad]
        keep = [at for at in range(len(messages)) if at not in wrong]
        made.offsets = [offsets[at] for at in keep]
        made.keys = [keys[at] for at in keep]
        made.values = [made.values[at] for at in keep]
        made.timestamps = [timestamps[at] for at in keep]
    return made, bad


def _decoded(
    keys: Sequence[bytes | None], raw: Sequence[bytes | None], headers: Sequence[Any], decoder: Decoder
) -> tuple[list[Any], dict[int, ValueError]]:
    """(decoded values, why some places hold none)."""
    values: list[Any] = list(raw)
    wrong: dict[int, ValueError] = {}
    left = decoder.left(keys, raw) if isinstance(decoder, LeavesRows) else [False] * len(raw)
    for at, (is_left, key, value, header) in enumerate(zip(left, keys, raw, headers, strict=True)):
        if is_left or value is None:
            continue
        try:
            values[at] = decoder(key, value, tuple(header) if header else ())
        except ValueError as error:
            wrong[at] = error
    return values, wrong
