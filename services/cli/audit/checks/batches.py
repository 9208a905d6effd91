"""Learning batches tile the features log: no gap, no overlap, no deltas without a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.cli.audit.checks.base import Chunk, Finding, Findings, Log, Numbers, Starts
from services.cli.audit.checks.peek import fields_of, kind_of
from services.contracts.inner import item_deltas
from services.contracts.inner.codec import InnerRecordError
from services.contracts.inner.features import BATCH_KEY
from services.contracts.inner.item_deltas import SEAL_KEY, BatchSeal

DELTAS, FEATURES = "item-deltas", "features"
_HEAD_FIELDS = 5
"""v, kind, s, e, b."""


class BatchesCheck:
    """Reads all seals, the heads of all deltas, and which features are events."""

    name = "batches"
    title = "learning batches tile the features log"
    topics: tuple[str, ...] = (DELTAS, FEATURES)

    def __init__(self, user_partitions: int, item_partitions: int, *, repeats: bool) -> None:
        """`repeats`: batches may repeat (at-least-once)."""
        self._item_partitions = item_partitions
        self._repeats = repeats
        self._findings = Findings(self.name)
        self._seals: list[tuple[int, int, dict[int, tuple[int, int]]]] = []
        """(offset, events, {features partition: (from, to)}) in the order of the log."""
        self._batches: dict[tuple[str, int], set[int]] = {}
        """Sealed batch numbers of each (shard, epoch)."""
        self._deltas: list[dict[tuple[str, int, int], int]] = [{} for _ in range(item_partitions)]
        """Offset of the deltas of each batch, by item partition."""
        self._events = [Numbers() for _ in range(user_partitions)]
        """Offsets of the features that are learned from."""
        self._implied = [Numbers() for _ in range(user_partitions)]
        """Offsets of those that no interaction made, but unanswered impressions."""
        self._checked = 0
        self._negatives = 0

    def feed(self, chunk: Chunk) -> None:
        """Take in records of item-deltas or features."""
        if chunk.topic == FEATURES:
            self._feed_features(chunk)
            return
        for offset, key, value in zip(chunk.offsets, chunk.keys, chunk.values, strict=True):
            if value is None:
                continue
            try:
                if key == SEAL_KEY:
                    self._seal(chunk.partition, offset, item_deltas.decode(value))  # type: ignore[arg-type]  # the key says it is a seal
                else:
                    self._note_deltas(chunk.partition, offset, value)
            except (InnerRecordError, KeyError) as error:
                self._findings.error(
                    "unreadable item-deltas", f"The record cannot be read: {error}.", DELTAS, chunk.partition, offset
                )

    def _feed_features(self, chunk: Chunk) -> None:
        events, implied = [], []
        for offset, key, value in zip(chunk.offsets, chunk.keys, chunk.values, strict=True):
            if value is None or key == BATCH_KEY:
                continue
            try:
                kind, _ = kind_of(value)
            except InnerRecordError:
                # The check of the interactions reports it.
                continue
            if kind in ("event", "implied"):
                events.append(offset)
            if kind == "implied":
                implied.append(offset)
        self._events[chunk.partition].extend(events)
        self._implied[chunk.partition].extend(implied)

    def _note_deltas(self, partition: int, offset: int, value: bytes) -> None:
        head = fields_of(value, _HEAD_FIELDS)
        batch = head["s"], head["e"], head["b"]
        if batch in self._deltas[partition]:
            self._findings.error(
                "deltas written twice",
                f"Deltas of batch {_name(batch)} stand at {self._deltas[partition][batch]} already.",
                DELTAS, partition, offset,
            )  # fmt: skip
        self._deltas[partition][batch] = offset

    def _seal(self, partition: int, offset: int, seal: BatchSeal) -> None:
        if partition != 0:
            self._findings.error(
                "a seal outside partition 0", "Seals stand in partition 0 only.", DELTAS, partition, offset
            )
            return
        sealed = self._batches.setdefault((seal["s"], seal["e"]), set())
        batch = seal["b"]
        if batch in sealed:
            self._findings.error(
                "a batch sealed twice", f"Batch {_name((seal['s'], seal['e'], batch))} was sealed before.",
                DELTAS, 0, offset,
            )  # fmt: skip
        elif sealed and batch - 1 not in sealed:
            self._findings.error(
                "a batch that is missing",
                f"Batch {_name((seal['s'], seal['e'], batch))} follows batch {max(sealed)}.", DELTAS, 0, offset,
            )  # fmt: skip
        sealed.add(batch)
        ranges = {int(name): (start, end) for name, (start, end) in seal["ranges"].items()}
        self._seals.append((offset, seal["events"], ranges))

    def finish(self, logs: Sequence[Log]) -> list[Finding]:
        """Judge."""
        starts = Starts(logs)
        whole = all(starts.start(DELTAS, partition) == 0 for partition in range(self._item_partitions))
        ends = self._tile(starts, whole=whole)
        for partition, events in enumerate(self._events):
            array = events.array()
            left = int((array >= ends.get(partition, 0)).sum())
            if left:
                self._findings.note(f"{left} events are not learned yet.", FEATURES, partition, ends.get(partition, 0))
        self._count_events(starts)
        self._match_deltas(whole=whole)
        return self._findings.all()

    def _tile(self, starts: Starts, *, whole: bool) -> dict[int, int]:
        """Positions must follow each other in every partition; returns where they end."""
        positions: dict[int, int] = {}
        for offset, _, ranges in self._seals:
            for partition, (start, end) in ranges.items():
                position = positions.get(partition)
                if position is None:
                    position = self._first(partition, start, offset, starts, whole=whole)
                if start > position:
                    self._findings.error(
                        "a gap between learning batches",
                        f"Features {partition}/[{position}, {start}) belong to no batch before this one.",
                        DELTAS, 0, offset,
                    )  # fmt: skip
                elif start < position:
                    message = f"The batch begins at features {partition}/{start}, learned already up to {position}."
                    if self._repeats:
                        self._findings.note(message, DELTAS, 0, offset)
                    else:
                        self._findings.error("overlapping learning batches", message, DELTAS, 0, offset)
                positions[partition] = max(position, end)
        return positions

    def _first(self, partition: int, start: int, offset: int, starts: Starts, *, whole: bool) -> int:
        """Where the first batch of a partition has to begin."""
        begin = starts.start(FEATURES, partition)
        if whole and start > begin:
            return begin
        if not whole:
            self._findings.note(
                f"item-deltas does not go back to its start: batches of features/{partition} are checked from "
                f"{start} on.", DELTAS, 0, offset,
            )  # fmt: skip
        return start

    def _count_events(self, starts: Starts) -> None:
        """The seals' counts of events must be those of the features log."""
        arrays = [events.array() for events in self._events]
        negatives = [implied.array() for implied in self._implied]
        beyond = 0
        for offset, events, ranges in self._seals:
            if any(start < starts.start(FEATURES, partition) for partition, (start, _) in ranges.items()):
                continue
            if any(
                starts.cut(FEATURES, partition) and end > starts.end(FEATURES, partition)
                for partition, (_, end) in ranges.items()
            ):
                beyond += 1
                continue
            found = 0
            for partition, (start, end) in ranges.items():
                low, high = np.searchsorted(arrays[partition], (start, end))
                found += int(high - low)
                low, high = np.searchsorted(negatives[partition], (start, end))
                self._negatives += int(high - low)
            self._checked += found
            if found != events:
                self._findings.error(
                    "a count that is wrong", f"The seal counts {events} events, its ranges hold {found}.",
                    DELTAS, 0, offset,
                )  # fmt: skip
        if beyond:
            self._findings.note(f"Not judged: the events of {beyond} batches whose features were not read.", DELTAS, 0)

    def _match_deltas(self, *, whole: bool) -> None:
        for partition, found in enumerate(self._deltas):
            open_: list[int] = []
            for (shard, epoch, batch), offset in found.items():
                sealed = self._batches.get((shard, epoch), set())
                if batch in sealed:
                    continue
                name = _name((shard, epoch, batch))
                if not sealed or batch > max(sealed) or self._repeats:
                    open_.append(offset)
                elif whole or batch > min(sealed):
                    self._findings.error(
                        "deltas without a batch", f"There is no batch {name} for these deltas.",
                        DELTAS, partition, offset,
                    )  # fmt: skip
            if open_:
                self._findings.note(
                    f"The deltas of {len(open_)} batches have no seal yet.", DELTAS, partition, open_[0]
                )

    def counts(self) -> dict[str, int]:
        """Batches, events in them, those of the events that are weak negatives, incarnations of shards."""
        return {
            "batches": len(self._seals),
            "events": self._checked,
            "implied": self._negatives,
            "incarnations": len(self._batches),
        }


def _name(batch: tuple[str, int, int]) -> str:
    return f"{batch[2]} of {batch[0]}/{batch[1]}"
