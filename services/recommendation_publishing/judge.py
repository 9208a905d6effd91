"""Judging the lists on live events: what would have been listed just before an event, against what the event was."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

from services.contracts.edge import QualityReport
from services.model.recommender import Query
from services.recommendation_publishing.engine import Engine
from services.recommendation_publishing.quality import DEPTH, LiveQuality
from services.recommendation_publishing.records import UserRecords
from services.recommendation_publishing.settings import PublishingSettings

_HOUR_MS = 3_600_000


class Judge:
    """Samples user rows before they are taken in, and keeps the live figures."""

    def __init__(self, settings: PublishingSettings, shard: str) -> None:
        """`shard`: name of this replica in the reports."""
        self._sample = settings.quality_sample
        self._exclude_seen = settings.exclude_seen
        self._frozen_ms = int(settings.quality_frozen_h * _HOUR_MS)
        self._frozen_at_ms: int | None = None
        self.quality = LiveQuality(shard, settings.quality_interval_s * 1000)

    @property
    def below_popularity(self) -> bool:
        """Whether publishing is to serve popularity for now."""
        return self.quality.comparison.below

    def judge(self, engine: Engine, records: UserRecords, now_ms: int) -> None:
        """Judge the sampled rows among records which the engine has not taken in yet.

        Only rows with exactly one new positive are judged: then the old row is what was known just before it. They are
        asked for as of the event.
        """
        sampled = [
            (at, records.users[at], event_ms)
            for at, (offset, event_ms, _) in zip(records.rows.tolist(), records.row_fields.tolist(), strict=True)
            if self._sampled(records.users[at], offset)
        ]
        queries: list[Query] = []
        targets: list[int] = []
        histories = records.histories(np.array([at for at, _, _ in sampled], np.int64))
        slots = engine.rows.slots([user for _, user, _ in sampled])
        for (_, _, event_ms), history, slot in zip(sampled, histories, slots.tolist(), strict=True):
            target = self._target(engine, slot, history) if slot >= 0 else 0
            if target:
                nothing = np.zeros(0, np.uint64)
                queries.append(Query(slot, event_ms, DEPTH, nothing, np.zeros(0, np.uint32), self._exclude_seen))
                targets.append(target)
        if not queries:
            return
        self._freeze(engine, now_ms)
        shadows = engine.shadows(queries)
        for at, target in enumerate(targets):
            self.quality.add({name: rankings[at].rank_of(target) for name, rankings in shadows.items()})

    def reports(self, now_ms: int) -> Iterator[QualityReport]:
        """The reports that are due."""
        return self.quality.reports(now_ms)

    def wake_at(self) -> int | None:
        """When the next report is due (Unix ms), or None."""
        return self.quality.wake_at()

    def _sampled(self, user: bytes, offset: int) -> bool:
        if self._sample <= 0.0:
            return False
        return zlib.crc32(user, offset & 0xFFFF_FFFF) < self._sample * 2.0**32

    def _target(self, engine: Engine, slot: int, history: bytes) -> int:
        """Hash of the one item that a new row's history has more than the held one, or 0."""
        table = engine.rows.table
        new = np.frombuffer(history, np.uint64)[::-1]
        old, _ = table.history(slot)
        one_more = len(new) == min(len(old) + 1, table.config.history_kept)
        if not len(new) or not one_more or not np.array_equal(new[1:], old[: len(new) - 1]):
            return 0
        target = int(new[0])
        seen = self._exclude_seen and bool((table.seen(slot) == np.uint64(target)).any())
        return 0 if seen else target

    def _freeze(self, engine: Engine, now_ms: int) -> None:
        if self._frozen_ms and (self._frozen_at_ms is None or now_ms >= self._frozen_at_ms + self._frozen_ms):
            engine.freeze()
            self._frozen_at_ms = now_ms
