"""The last check of `streamrec audit --rebuild`: every parameter computed again from features and item-deltas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from services.cli.audit.checks import Chunk, Finding, Log
from services.contracts.inner.sweeps import SweepReader
from services.model_update import decoders
from services.model_update.rebuild import Rebuild, RebuildError
from services.runtime.processor import as_it_came

NAME = "rebuild"
_LISTED = 20
_Decode = Callable[[bytes | None, bytes | None], Any]
_Raw = list[tuple[int, bytes | None, bytes | None]]


class RebuildCheck:
    """Learns again from the logs, and compares deltas, user rows and item rows bit for bit.

    Holds features and item-deltas in memory as they were read (about their size in Kafka), and takes the
    processor time that learning took.
    """

    name = NAME
    title = "features and item-deltas give every parameter again, bit for bit"
    topics: tuple[str, ...] = ("user-state", "item-state", "item-deltas", "features")

    def __init__(self, user_partitions: int, item_partitions: int, *, live: bool) -> None:
        """Make the check.

        Args:
            user_partitions: partition count of the user-keyed topics.
            item_partitions: partition count of the item-keyed topics.
            live: services run meanwhile: the rows that were read are older than the logs, and only the deltas of
                every batch are compared.
        """
        self._live = live
        self._logs: dict[str, dict[int, _Raw]] = {
            "features": {partition: [] for partition in range(user_partitions)},
            "item-deltas": {partition: [] for partition in range(item_partitions)},
        }
        self._users: dict[bytes, bytes] = {}
        self._sweeps = SweepReader()
        self._items: dict[int, tuple[dict[str, Any], int]] = {}
        self._counts: dict[str, int] = {}

    def feed(self, chunk: Chunk) -> None:
        """Take in records."""
        rows = zip(chunk.offsets, chunk.keys, chunk.values, strict=True)
        if chunk.topic in self._logs:
            self._logs[chunk.topic][chunk.partition].extend(rows)
            return
        for _, key, value in rows:
            if chunk.topic == "item-state":
                self._feed_item(chunk.partition, key or b"", value)
            elif value is None:
                self._users.pop(key or b"", None)
            else:
                self._users[key or b""] = value

    def _feed_item(self, partition: int, key: bytes, value: bytes | None) -> None:
        sweep = self._sweeps.feed(partition, key, decoders.item_row(key, value))
        if sweep is not None:
            held, _ = self._items.get(partition, ({}, 0))
            held.update(sweep.rows)
            self._items[partition] = held, sweep.clock["o"]

    def finish(self, logs: Sequence[Log]) -> list[Finding]:
        """Learn again and compare."""
        cut = [log for log in logs if log.topic in self._logs and log.start > 0]
        if cut:
            return [
                Finding(
                    NAME, "note", f"Retention has removed the beginning of {cut[0].topic}: nothing can be rebuilt.",
                    cut[0].topic, cut[0].partition, cut[0].start,
                )
            ]  # fmt: skip
        rebuild = Rebuild(
            {each: _decoded(raw, as_it_came) for each, raw in self._logs["features"].items()},
            {each: _decoded(raw, decoders.deltas) for each, raw in self._logs["item-deltas"].items()},
        )
        try:
            difference = rebuild.run()
        except RebuildError as error:
            return [Finding(NAME, "note", f"{error}.")]
        self._counts = {"batches": rebuild.batches, "events": rebuild.events}
        if difference is not None:
            place = difference.topic, difference.partition, difference.offset
            return [Finding(NAME, "error", f"{difference.message}.", *place)]
        if self._live:
            return [
                Finding(NAME, "note", "Services run, or did some seconds ago: deltas were compared, rows were not.")
            ]
        return [*self._compare_users(rebuild), *self._compare_items(rebuild)]

    def counts(self) -> dict[str, int]:
        """What was computed again."""
        return dict(self._counts)

    def _compare_users(self, rebuild: Rebuild) -> list[Finding]:
        ours = rebuild.user_records
        self._counts["user_records"] = len(ours)
        wrong = [
            key
            for key in ours.keys() | self._users.keys()
            if key not in ours or key not in self._users or decoders.user_record(key, self._users[key]) != ours[key]
        ]
        return [
            Finding(NAME, "error", f"The user-state record {key!r} is not what the logs give.", "user-state")
            for key in sorted(wrong)[:_LISTED]
        ]

    def _compare_items(self, rebuild: Rebuild) -> list[Finding]:
        found = []
        for partition, (rows, position) in sorted(self._items.items()):
            held = {key: (row["slot"], row["c"], row["b"]) for key, row in rows.items() if row is not None}
            ours = {row.key: (row.slot, row.count, row.blocks) for row in rebuild.item_rows(partition, position)}
            self._counts["item_rows"] = self._counts.get("item_rows", 0) + len(ours)
            wrong = [key for key in ours.keys() | held.keys() if ours.get(key) != held.get(key)]
            found += [
                Finding(NAME, "error", f"The item row {key!r} is not what the logs give.", "item-state", partition)
                for key in sorted(wrong)[:_LISTED]
            ]
        return found


def _decoded(raw: _Raw, decode: _Decode) -> Iterator[tuple[int, Any]]:
    return ((offset, decode(key, value)) for offset, key, value in raw)
