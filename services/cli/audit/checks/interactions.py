"""Every interaction is accounted for exactly once: as a feature, a duplicate, late, dead, or moved."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.cli.audit.checks.base import Chunk, Finding, Findings, Log, Numbers, Starts
from services.cli.audit.checks.peek import kind_of, source_of
from services.contracts.inner import features
from services.contracts.inner.codec import InnerRecordError
from services.contracts.inner.features import BATCH_KEY, LEFT_OUT, ExtractionBatch
from services.model.arrays import I64

FEATURES, INTERACTIONS = "features", "interactions"


class _Partition:
    """What the logs say of one partition of interactions."""

    def __init__(self) -> None:
        self.there = Numbers()
        """Offsets of the records in interactions."""
        self.learned = Numbers()
        """Offsets of interactions that are features."""
        self.feature_at = Numbers()
        """Where these features stand."""
        self.set_aside = Numbers()
        """Offsets that seals name: duplicates, late, dead, moved."""
        self.seals: list[tuple[int, int, int, int]] = []
        """(offset of the seal, from, to, accepted)."""


class InteractionsCheck:
    """Reads the seals of feature extraction, the features' sources, and the offsets in interactions."""

    name = "interactions"
    title = "every interaction is accounted for exactly once"
    topics: tuple[str, ...] = (FEATURES, INTERACTIONS)

    def __init__(self, partitions: int, *, repeats: bool) -> None:
        """`partitions`: of the user-keyed topics; `repeats`: features may repeat (at-least-once)."""
        self._partitions = [_Partition() for _ in range(partitions)]
        self._repeats = repeats
        self._findings = Findings(self.name)
        self._counts = dict.fromkeys(("interactions", "features", *LEFT_OUT), 0)

    def feed(self, chunk: Chunk) -> None:
        """Take in records of features or interactions."""
        one = self._partitions[chunk.partition]
        if chunk.topic == INTERACTIONS:
            one.there.extend(chunk.offsets)
            return
        learned, at = [], []
        for offset, key, value in zip(chunk.offsets, chunk.keys, chunk.values, strict=True):
            if value is None:
                continue
            try:
                if key == BATCH_KEY:
                    self._seal(chunk.partition, offset, features.decode(value))  # type: ignore[arg-type]  # the key says it is a seal
                    continue
                kind, behind = kind_of(value)
                if kind == "event":
                    partition, source = source_of(value, behind)
                    if partition != chunk.partition:
                        self._findings.error(
                            "a feature in another partition than its interaction",
                            f"The feature is of interactions/{partition}@{source}, and stands in partition "
                            f"{chunk.partition}.", FEATURES, chunk.partition, offset,
                        )  # fmt: skip
                        continue
                    learned.append(source)
                    at.append(offset)
            except InnerRecordError as error:
                self._findings.error(
                    "unreadable features", f"The record cannot be read: {error}.", FEATURES, chunk.partition, offset
                )
        one.learned.extend(learned)
        one.feature_at.extend(at)

    def _seal(self, partition: int, offset: int, seal: ExtractionBatch) -> None:
        one = self._partitions[partition]
        start, end = seal["range"]
        one.seals.append((offset, start, end, seal["n"]))
        for fate in LEFT_OUT:
            named = seal[fate]  # type: ignore[literal-required]  # one of four keys
            one.set_aside.extend(named)
            self._counts[fate] += len(named)

    def finish(self, logs: Sequence[Log]) -> list[Finding]:
        """Judge every partition."""
        starts = Starts(logs)
        for partition, one in enumerate(self._partitions):
            self._judge(partition, one, starts)
        return self._findings.all()

    def _judge(self, partition: int, one: _Partition, starts: Starts) -> None:
        there = one.there.array()
        self._counts["interactions"] += len(there)
        seals = one.seals
        if starts.start(FEATURES, partition) > 0 and seals:
            self._findings.note(
                "The features log does not go back to its start: interactions are checked from "
                f"{seals[0][2]} on.", FEATURES, partition, seals[0][0],
            )  # fmt: skip
            # The features of the oldest seal may be gone already.
            seals = seals[1:]
        elif seals and seals[0][1] > starts.start(INTERACTIONS, partition):
            self._gap(partition, starts.start(INTERACTIONS, partition), seals[0][1], there, seals[0][0])
        if not seals:
            if len(there):
                self._findings.note(
                    f"None of {len(there)} interactions was extracted yet.", INTERACTIONS, partition, int(there[0])
                )
            return
        position = seals[0][1]
        for offset, start, end, _ in seals:
            if start > position:
                self._gap(partition, position, start, there, offset)
            elif start < position:
                self._overlap(partition, start, position, offset)
            position = max(position, end)
        first = seals[0][1]
        known = position
        if starts.cut(INTERACTIONS, partition):
            known = min(position, starts.end(INTERACTIONS, partition))
        self._compare(partition, one, there[(there >= first) & (there < position)], (first, known, position))
        self._count(partition, one, seals)
        waiting = int((there >= position).sum())
        if waiting:
            self._findings.note(f"{waiting} interactions are not extracted yet.", INTERACTIONS, partition, position)

    def _gap(self, partition: int, start: int, end: int, there: I64, offset: int) -> None:
        lost = int(((there >= start) & (there < end)).sum())
        if lost:
            self._findings.error(
                "a gap between extraction batches",
                f"No batch covers interactions [{start}, {end}), which hold {lost} records.",
                FEATURES, partition, offset,
            )  # fmt: skip

    def _overlap(self, partition: int, start: int, position: int, offset: int) -> None:
        message = f"The batch begins at {start}, where interactions up to {position} were extracted already."
        if self._repeats:
            self._findings.note(message, FEATURES, partition, offset)
        else:
            self._findings.error("overlapping extraction batches", message, FEATURES, partition, offset)

    def _compare(self, partition: int, one: _Partition, there: I64, bounds: tuple[int, int, int]) -> None:
        """`bounds`: where the batches begin, where interactions stop being known, where the batches end."""
        first, known, end = bounds
        accounted = np.concatenate([one.learned.array(), one.set_aside.array()])
        accounted = accounted[(accounted >= first) & (accounted < end)]
        distinct, times = np.unique(accounted, return_counts=True)
        if not self._repeats:
            for offset in distinct[times > 1].tolist():
                self._findings.error(
                    "an interaction accounted for twice", "The interaction is accounted for more than once.",
                    INTERACTIONS, partition, offset,
                )  # fmt: skip
        for offset in np.setdiff1d(there, distinct, assume_unique=True).tolist():
            self._findings.error(
                "an interaction that is lost", "The interaction is no feature, duplicate, late, dead or moved record.",
                INTERACTIONS, partition, offset,
            )  # fmt: skip
        beyond = int((distinct >= known).sum())
        if beyond:
            self._findings.note(
                f"Not judged: {beyond} features and set-aside interactions whose interactions were not read.",
                INTERACTIONS, partition, known,
            )  # fmt: skip
        kept = distinct[(distinct >= (there[0] if len(there) else end)) & (distinct < known)]
        for offset in np.setdiff1d(kept, there, assume_unique=True).tolist():
            self._findings.error(
                "a feature without interaction", "Something accounts for this offset, and no interaction is there.",
                INTERACTIONS, partition, offset,
            )  # fmt: skip

    def _count(self, partition: int, one: _Partition, seals: list[tuple[int, int, int, int]]) -> None:
        learned = np.sort(one.learned.array())
        self._counts["features"] += len(learned)
        table = np.array(seals, np.int64)
        found = np.searchsorted(learned, table[:, 2]) - np.searchsorted(learned, table[:, 1])
        for at in np.flatnonzero(found != table[:, 3]).tolist():
            offset, start, end, n = seals[at]
            if self._repeats and found[at] > n:
                continue
            self._findings.error(
                "a count that is wrong",
                f"The seal of [{start}, {end}) counts {n} accepted interactions, {int(found[at])} features are there.",
                FEATURES, partition, offset,
            )  # fmt: skip

    def counts(self) -> dict[str, int]:
        """Interactions, features, and what was set aside."""
        return dict(self._counts)
