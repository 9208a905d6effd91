"""The last check of `streamrec audit --rebuild`: every parameter computed again from features and item-deltas."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from services.cli.audit.checks import Chunk, Finding, Log
from services.contracts.inner.item_deltas import BatchSeal
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
                every batch are compared; also where the ends were chosen.
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
        chosen, dropped = any(log.cut for log in logs), 0
        deltas: dict[int, Iterable[tuple[int, Any]]] = {
            each: _decoded(raw, decoders.deltas) for each, raw in self._logs["item-deltas"].items()
        }
        if chosen or self._live:
            read = {each: list(records) for each, records in deltas.items()}
            dropped = _drop_beyond(read, [log for log in logs if log.cut])
            deltas.update(read)
        rebuild = Rebuild({each: _decoded(raw, as_it_came) for each, raw in self._logs["features"].items()}, deltas)
        try:
            difference = rebuild.run()
        except RebuildError as error:
            return [Finding(NAME, "note", f"{error}.")]
        self._counts = {"batches": rebuild.batches, "events": rebuild.events}
        if difference is not None:
            place = difference.topic, difference.partition, difference.offset
            return [Finding(NAME, "error", f"{difference.message}.", *place)]
        if chosen:
            message = "The logs were not read to their ends: deltas were compared, rows were not"
            more = f"; not judged: {dropped} batches that reach beyond the ends." if dropped else "."
            return [Finding(NAME, "note", message + more)]
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
        wrong = [key for key in ours.keys() | self._users.keys() if ours.get(key) != self._users.get(key)]
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


def _drop_beyond(deltas: dict[int, list[tuple[int, Any]]], cut: Sequence[Log]) -> int:
    """Leave out the batches from the first on that needs what was not read, and deltas whose seals were not read.

    Args:
        deltas: decoded records of every item-deltas partition; changed.
        cut: the partitions that hold more than was read.

    Returns:
        How many seals were left out.
    """
    ends = {(log.topic, log.partition): log.end for log in cut}
    newest: dict[int, dict[tuple[str, int], int]] = {
        partition: {(each["s"], each["e"]): each["b"] for _, each in deltas[partition] if each and "h" in each}
        for topic, partition in ends
        if topic == "item-deltas"
    }

    def whole(seal: BatchSeal) -> bool:
        read = all(end <= ends.get(("features", int(p)), end) for p, (_, end) in seal["ranges"].items())
        clock = all(at <= ends.get(("item-deltas", int(p)), at) for p, at in seal["clock"].items())
        # The deltas of a shard's batches stand in their order.
        return read and clock and all(each.get((seal["s"], seal["e"]), -1) >= seal["b"] for each in newest.values())

    seals = [(offset, each) for offset, each in deltas[0] if each is not None and each["kind"] == "seal"]
    kept = next((at for at, (_, seal) in enumerate(seals) if not whole(seal)), len(seals))
    last = {(seal["s"], seal["e"]): seal["b"] for _, seal in seals[:kept]}
    gone = {offset for offset, _ in seals[kept:]}
    for partition, records in deltas.items():
        deltas[partition] = [
            (offset, each)
            for offset, each in records
            if each is not None
            and (offset not in gone if each["kind"] == "seal" else each["b"] <= last.get((each["s"], each["e"]), -1))
        ]
    return len(seals) - kept


def _decoded(raw: _Raw, decode: _Decode) -> Iterator[tuple[int, Any]]:
    return ((offset, decode(key, value)) for offset, key, value in raw)
