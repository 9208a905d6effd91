"""Recommendation publishing as a processor: rows, items and requests in, lists out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from services.contracts.context import context_features
from services.contracts.edge import EdgeCodec, QualityReport, RecommendationList, RecommendationRequest
from services.contracts.keys import item_hashes, partition_of, user_key
from services.model.arrays import U64
from services.model.recommender import Query, Ranking
from services.recommendation_publishing.arms import Arms
from services.recommendation_publishing.avro import Entries, item_arrays
from services.recommendation_publishing.engine import Engine
from services.recommendation_publishing.exploration import Explorer, Shown
from services.recommendation_publishing.judge import Judge
from services.recommendation_publishing.lists import Occasion, recommendation_lists
from services.recommendation_publishing.policy import PublishingPolicy
from services.recommendation_publishing.quality import gauges
from services.recommendation_publishing.records import UserRecords
from services.recommendation_publishing.refresh import Refresher
from services.recommendation_publishing.settings import PublishingSettings
from services.runtime.processor import Batch, Decoder, Inputs, Outputs, Slice, slice_rows

REQUESTS = "recommendation-requests"
ERASURES = "erasure-requests"
ROWS = "user-state"
ITEM_ROWS = "item-state"
ITEMS = "items"
LISTS = "recommendations"
QUALITY = "quality"
_NOTHING: U64 = np.zeros(0, np.uint64)


class Job(NamedTuple):
    """One list to make: for whom, why, and what was asked for."""

    user: bytes
    partition: int
    occasion: Occasion
    size: int
    exclude_seen: bool
    exclude: tuple[str, ...] = ()
    context: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Codecs:
    """Of the edge records that publishing writes."""

    lists: EdgeCodec[RecommendationList]
    requests: EdgeCodec[RecommendationRequest]
    """Writes a request again, for the partition that owns its user."""
    quality: EdgeCodec[QualityReport]


class Publisher:
    """Publishes a user's list when the user's row has changed, on request, and when it has grown old."""

    name = "recommendation-publishing"
    inputs = Inputs(leading=ROWS, followers=(REQUESTS, ERASURES), tables=(ITEM_ROWS, ITEMS), state=(ROWS,))

    def __init__(
        self,
        settings: PublishingSettings,
        decoders: dict[str, Decoder],
        codecs: Codecs,
        shard: str = "",
    ) -> None:
        """Connect the parts.

        Args:
            settings: what is recommended and how often.
            decoders: one per input topic.
            codecs: of the records that are written.
            shard: name of this replica in the quality reports.
        """
        self.decoders = decoders
        self._settings = settings
        self._codecs = codecs
        self._shard = shard
        self._arms = Arms.parse(settings.experiment, settings.experiment_arms)
        self._explorer = Explorer(settings.explore_share, settings.explore_pool)
        self.start(0)

    def start(self, _epoch: int) -> None:
        """Forget everything."""
        settings = self._settings
        self._engine = Engine(settings.catalogue, settings.item_partitions, settings.new_item_every)
        self._policy = PublishingPolicy(settings.publish_interval_ms, settings.publish_max_lists_per_s)
        self._refresher = Refresher(settings.refresh_after_s * 1000)
        self._ends: dict[int, int] = {}
        self._judge = Judge(settings, self._shard)
        self._fresh: list[tuple[bytes, int]] = []
        self._now_ms = 0

    def open(self, partition: int) -> None:
        """Start owning the users of a partition: their rows come with the restore."""

    def load(self, slice_: Slice) -> None:
        """Take in user rows (while a partition is restored), item rows and item metadata."""
        engine = self._engine
        if slice_.topic == ROWS:
            records = UserRecords.of(slice_.keys, slice_.values)
            engine.rows.receive(records)
            self._fresh += [(user, slice_.partition) for user in records.users]
            if engine.ready:
                engine.rows.settle_all()
        elif slice_.topic == ITEM_ROWS:
            for _, _, key, value in slice_rows(slice_):
                engine.load_items(slice_.partition, _known(key), value)
        else:
            for _, _, key, value in slice_rows(slice_):
                engine.load_metadata(_known(key), value)

    def restored(self, _partition: int) -> int | None:
        """Go on at the committed offset: rows behind it are owed a list, however new the restored table is."""
        return None

    def step(self, batch: Batch, out: Outputs) -> None:
        """Take in rows, erasures and requests; publish what was asked for and what is due."""
        self._now_ms = batch.now_ms
        self._refresher.published(self._fresh, batch.now_ms)
        self._fresh.clear()
        requests: list[Job] = []
        # Rows first: a request in the same batch is answered with what its user has just done.
        for slice_ in sorted(batch.slices, key=lambda one: one.topic != ROWS):
            if slice_.topic == ROWS:
                self._take_rows(slice_, out)
            elif slice_.topic == ERASURES:
                self._erase(slice_, out)
            else:
                requests += self._requested(slice_, out)
        self._publish([*requests, *self._due()], out)
        for report in self._judge.reports(self._now_ms):
            key = f"{self._shard}/{report['metric']}".encode()
            out.send(QUALITY, key, self._codecs.quality.encode(report))
            for gauge in gauges(report):
                out.gauge(*gauge)
        for partition, end in self._ends.items():
            out.covered(ROWS, partition, self._policy.position(partition, end))

    def appetite(self, _now_ms: int) -> int | None:
        """Whatever there is."""
        return None

    def wake_at(self) -> int | None:
        """When the next list or report of quality is due (Unix ms); lists of events wait for the model."""
        if not self._engine.ready:
            return None
        times = (self._policy.wake_at(self._now_ms), self._refresher.wake_at(), self._judge.wake_at())
        return min((time for time in times if time is not None), default=None)

    def dump(self, _partition: int) -> None:
        """No checkpoint: user-state is the user shards' truth, and is read from its start."""

    def close(self, partition: int) -> None:
        """Stop owning the users of a partition."""
        for user in self._engine.rows.of_partition(partition):
            self._engine.rows.drop(user)
            self._refresher.forget(user)
        self._policy.close(partition)
        self._ends.pop(partition, None)

    def _take_rows(self, slice_: Slice, out: Outputs) -> None:
        self._ends[slice_.partition] = slice_.end
        records = UserRecords.of(slice_.keys, slice_.values)
        if self._engine.ready:
            self._judge.judge(self._engine, records, self._now_ms)
            self._engine.first_occurrences(records)
        self._engine.rows.receive(records)
        whole = zip(slice_.offsets, records.users, records.values, (records.parts.chunks < 0).tolist(), strict=True)
        for offset, user, value, is_row in whole:
            if not is_row:
                continue
            if value is None:
                # The user shard's last word on an erased user: nothing that was made before may stay.
                self._forget(user, slice_.partition, out)
            else:
                self._policy.owe(slice_.partition, user, offset, self._now_ms)

    def _erase(self, slice_: Slice, out: Outputs) -> None:
        for request in slice_.values:
            user = user_key(request["user_id"])
            if self._owns(user, slice_.partition):
                self._engine.rows.drop(user)
                self._forget(user, slice_.partition, out)

    def _forget(self, user: bytes, partition: int, out: Outputs) -> None:
        self._policy.forget(partition, user)
        self._refresher.forget(user)
        out.send(LISTS, user, None, partition)

    def _requested(self, slice_: Slice, out: Outputs) -> Iterator[Job]:
        for offset, _, _, request in slice_rows(slice_):
            user = user_key(request["user_id"])
            if not self._owns(user, slice_.partition):
                # Keyed otherwise by its producer: hand it to the partition that holds the user's row.
                out.send(REQUESTS, user, self._codecs.requests.encode(request))
                continue
            exclude_seen = request["exclude_seen"]
            yield Job(
                user,
                slice_.partition,
                Occasion("request", f"r{slice_.partition}-{offset}", request["request_id"]),
                min(request["k"] or self._settings.list_size, self._settings.request_max_size),
                self._settings.exclude_seen if exclude_seen is None else exclude_seen,
                tuple(request["exclude"]),
                request["context"],
            )

    def _due(self) -> Iterator[Job]:
        if not self._engine.ready:
            return
        size, exclude_seen = self._settings.list_size, self._settings.exclude_seen
        for debt in self._policy.take(self._now_ms):
            occasion = Occasion("event", f"e{debt.partition}-{debt.first}")
            yield Job(debt.user, debt.partition, occasion, size, exclude_seen)
        for user, partition in self._refresher.take(self._now_ms):
            occasion = Occasion("refresh", f"f{partition}-{user.hex()}-{self._now_ms}")
            yield Job(user, partition, occasion, size, exclude_seen)

    def _publish(self, jobs: list[Job], out: Outputs) -> None:
        if not jobs:
            return
        explored = self._explorer.pool if self._explorer.share > 0 else 0
        users = [job.user for job in jobs]
        learned = self._engine.learned(users)
        rankings = self._engine.rank(
            list(self._queries(jobs, learned.slots.tolist(), explored)), by_popularity=self._judge.below_popularity
        )
        shown = self._explorer.draw(
            [job.occasion.list_id for job in jobs],
            np.array([len(one.items) for one in rankings], np.int64),
            np.array([job.size for job in jobs], np.int64),
        )
        values = recommendation_lists(
            users,
            [job.occasion for job in jobs],
            learned,
            item_arrays(*self._engine.item_ids(), _entries(rankings, shown)),
            [self._arms.of(user) for user in users],
            [self._fallback(one, slot) for one, slot in zip(rankings, learned.slots.tolist(), strict=True)],
            self._now_ms,
        )
        header = self._codecs.lists.header()
        for job, value in zip(jobs, values, strict=True):
            out.send(LISTS, job.user, header + value, job.partition)
        out.observe("list_items", np.diff(shown.ptr))
        out.observe("publish_age_seconds", (self._now_ms - learned.append_ms[learned.slots >= 0]) / 1000)
        served = [(job.user, job.partition) for job in jobs]
        self._policy.published((user for user, _ in served), self._now_ms)
        self._refresher.published(served, self._now_ms)

    def _queries(self, jobs: list[Job], slots: list[int], explored: int) -> Iterator[Query]:
        """What the ranker is asked for every job, with `explored` items below each list."""
        moment_ms = self._engine.rows.clock.at(self._now_ms)
        plain = np.array(context_features(moment_ms, {}), np.uint32)
        for job, slot in zip(jobs, slots, strict=True):
            yield Query(
                user=slot,
                now_ms=moment_ms,
                k=job.size + explored,
                exclude=item_hashes(job.exclude) if job.exclude else _NOTHING,
                context=np.array(context_features(moment_ms, job.context), np.uint32) if job.context else plain,
                exclude_seen=job.exclude_seen,
            )

    def _fallback(self, ranking: Ranking, slot: int) -> str | None:
        """Why the full model was not used, as RecommendationList.fallback says it."""
        if not len(ranking.items):
            return "empty-catalogue"
        if self._judge.below_popularity:
            return "below-popularity"
        return "new-user" if slot < 0 else None

    def _owns(self, user: bytes, partition: int) -> bool:
        return partition_of(user, self._settings.user_partitions) == partition


def _entries(rankings: list[Ranking], shown: Shown) -> Entries:
    """The ranked items that are shown."""
    items = np.concatenate([one.items for one in rankings])
    because = np.concatenate([one.because for one in rankings])
    return Entries(
        shown.ptr,
        np.column_stack([items, because])[shown.chosen],
        np.concatenate([one.scores for one in rankings], dtype=np.float64)[shown.chosen],
        np.concatenate([one.expert for one in rankings])[shown.chosen],
        shown.propensity,
    )


def _known(key: bytes | None) -> bytes:
    """The key of a keyed topic's record; decoders have refused records without one."""
    return key or b""
