"""What one step was given, what came of it, and which positions it covers: shared by the loop and the test driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from confluent_kafka import Message

from services.runtime.decoding import MESSAGE_LIMIT, Bad, decode
from services.runtime.processor import Batch, Decoder, Outputs
from services.runtime.tasks import Position

Records = Mapping[Position, Sequence[Message]]
"""Records by partition, in offset order."""


@dataclass(slots=True)
class Turn:
    """One step's input: the batch, the records behind it, and those that are no good."""

    batch: Batch
    raw: dict[Position, Sequence[Message]] = field(default_factory=dict)
    bad: list[Bad] = field(default_factory=list)

    def take(self, position: Position, start: int, messages: Sequence[Message], decoder: Decoder) -> None:
        """Decode consecutive records of one partition into the batch; those before `start` are skipped."""
        if int(messages[0].offset() or 0) < start:
            messages = [message for message in messages if int(message.offset() or 0) >= start]
            if not messages:
                return
        self.raw[position] = messages
        slice_, bad = decode(*position, start, messages, decoder)
        self.batch.slices.append(slice_)
        self.bad.extend(bad)

    def refuse(self, out: Outputs) -> None:
        """Add what the processor refused to what could not be decoded.

        Raises:
            LookupError: the processor refused a record that is not in its batch.
        """
        for topic, partition, offset, why, exception in out.dead:
            message = _find(self.raw.get((topic, partition), ()), offset)
            self.bad.append(Bad(topic, partition, offset, exception, why[:MESSAGE_LIMIT], message))

    def positions(self, out: Outputs) -> dict[Position, int]:
        """Positions to commit: the ends of the slices, except where the processor holds or covers."""
        offsets = {(slice_.topic, slice_.partition): slice_.end for slice_ in self.batch.slices}
        for item in self.bad:
            # A bad table record: its position says that it was reported.
            place = item.topic, item.partition
            offsets[place] = max(offsets.get(place, 0), item.offset + 1)
        for place, position in out.positions.items():
            if position is None:
                offsets.pop(place, None)
            else:
                offsets[place] = position
        return offsets


def _find(messages: Sequence[Message], offset: int) -> Message:
    for message in messages:
        if message.offset() == offset:
            return message
    raise LookupError(f"the processor refused offset {offset}, which is not in its batch")
