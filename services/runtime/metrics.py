"""Metrics: a typed registry of names, and counters cheap enough for every batch."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

PREFIX = "streamrec_"

CounterName = Literal[
    "aborts_total",
    "backpressure_waits_total",
    "bad_table_records_total",
    "checkpoints_total",
    "checkpoint_failures_total",
    "dead_letters_total",
    "interactions_total",
    "records_in_total",
    "records_loaded_total",
    "records_out_total",
    "repositions_total",
    "revokes_total",
    "assigns_total",
    "incarnations_total",
    "lost_total",
    "seconds_total",
    "steps_total",
]
"""Counters; a processor adds to its own with `Outputs.count`. `seconds_total` has a label `part`: where the loop's time
goes."""

GaugeName = Literal[
    "epoch",
    "lag",
    "position",
    "quality_events",
    "quality_fallback",
    "quality_hr_at_10",
    "quality_mrr_at_10",
    "quality_ndcg_at_10",
    "ready",
    "restore_remaining",
    "restored_records",
    "tasks",
]
"""Gauges; a processor sets its own with `Outputs.gauge`."""

ObservationName = Literal[
    "batch_records",
    "commit_seconds",
    "event_age_seconds",
    "append_age_seconds",
    "publish_age_seconds",
    "list_items",
    "delta_bytes",
    "rows",
]
"""Histograms; a processor feeds them with `Outputs.observe`."""

DOCS: dict[str, str] = {
    "aborts_total": "Transactions aborted; a step is tried once more, then a new incarnation begins.",
    "backpressure_waits_total": "Waits for a full producer queue; input is not read meanwhile.",
    "bad_table_records_total": "Table records that could not be decoded; the owner of partition 0 dead-letters them.",
    "checkpoints_total": "Local checkpoints written.",
    "checkpoint_failures_total": "Local checkpoints that could not be written (disk full, out of time).",
    "dead_letters_total": "Records sent to dead-letters. Unreadable items and erasure requests come twice: once from "
    "each service that reads the topic.",
    "interactions_total": "Interactions by fate: accepted, dup, late, dead or moved; their sum is what was read.",
    "records_in_total": "Records handed to steps, by topic.",
    "records_loaded_total": "State and table records loaded, by topic.",
    "records_out_total": "Records written.",
    "repositions_total": "Inputs whose position was below the start of the log: records were lost to retention.",
    "revokes_total": "Partitions revoked by the group.",
    "assigns_total": "Partitions assigned by the group.",
    "incarnations_total": "Times that everything was read anew: at the start and after aborts.",
    "lost_total": "Partitions lost (taken away without asking).",
    "seconds_total": (
        "The loop's time by part: poll, load, decode, step, produce_commit, checkpoint, held (the processor wants no "
        "input for now), other."
    ),
    "steps_total": "Steps committed.",
    "epoch": "Epoch of the running incarnation.",
    "lag": "Records between the position and the end of the log, by topic and partition.",
    "position": "Next offset to process, by topic and partition.",
    "quality_events": "Events on which lists were judged in the last interval of live quality, by arm.",
    "quality_fallback": "1 while lists are made by popularity because the learner is below it.",
    "quality_hr_at_10": "Share of those events whose item was among the 10 best, by arm (learner, popularity, frozen).",
    "quality_mrr_at_10": "Mean of 1 / rank over those events, 0 below rank 10, by arm.",
    "quality_ndcg_at_10": "Mean of 1 / log2(1 + rank) over those events, 0 below rank 10, by arm.",
    "ready": "1 when every assigned partition is running and every table is read.",
    "restore_remaining": "State and table records still to read before the first step.",
    "restored_records": "State and table records read in this incarnation.",
    "tasks": "Tasks by state.",
    "batch_records": "Records per step.",
    "commit_seconds": "Time to write and commit one step.",
    "event_age_seconds": "Event time to the commit of its effect.",
    "append_age_seconds": "Append to the interactions topic to the commit of its effect.",
    "publish_age_seconds": "Append of the newest event that a list has learned from, to the list's publication.",
    "list_items": "Items per list.",
    "delta_bytes": "Bytes of item-deltas per learning batch.",
    "rows": "State rows written per step.",
}
"""What each metric says: the table in docs/operations.md is made from this."""

Values: TypeAlias = float | Sequence[float] | npt.NDArray[Any]
"""One observation or many."""

Labels = tuple[tuple[str, str], ...]

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
_SIZES = tuple(float(mantissa * 10**power) for power in range(7) for mantissa in (1, 2, 5))


class _Histogram(NamedTuple):
    bounds: tuple[float, ...]
    counts: list[int]
    sums: list[float]


class Metrics:
    """The numbers of one loop. Written by its thread only; read by the HTTP thread at any time."""

    def __init__(self, labels: Labels = ()) -> None:
        """`labels`: put on every metric, e.g. (("processor", "user-shard"),)."""
        self._labels = labels
        self._counters: dict[tuple[CounterName, Labels], float] = {}
        self._gauges: dict[tuple[GaugeName, Labels], float] = {}
        self._histograms: dict[ObservationName, _Histogram] = {}

    def add(self, name: CounterName, amount: float = 1, labels: Labels = ()) -> None:
        """Increase a counter."""
        key = name, labels
        self._counters[key] = self._counters.get(key, 0) + amount

    def set(self, name: GaugeName, value: float, labels: Labels = ()) -> None:
        """Set a gauge."""
        self._gauges[name, labels] = value

    def clear(self, name: GaugeName) -> None:
        """Forget a gauge under all its labels: partitions that went away must not stay on the dashboard."""
        for key in [key for key in self._gauges if key[0] == name]:
            del self._gauges[key]

    def observe(self, name: ObservationName, value: Values) -> None:
        """Put one value or many into a histogram."""
        histogram = self._histograms.get(name)
        if histogram is None:
            bounds = _SECONDS if name.endswith("_seconds") else _SIZES
            histogram = self._histograms[name] = _Histogram(bounds, [0] * (len(bounds) + 1), [0.0])
        if isinstance(value, int | float | np.floating | np.integer):
            histogram.counts[bisect_left(histogram.bounds, value)] += 1
            histogram.sums[0] += float(value)
            return
        values = np.asarray(value, np.float64)
        places, counts = np.unique(np.searchsorted(histogram.bounds, values, side="left"), return_counts=True)
        for place, count in zip(places.tolist(), counts.tolist(), strict=True):
            histogram.counts[place] += count
        histogram.sums[0] += float(values.sum())

    def counter(self, name: CounterName, labels: Labels | None = None) -> float:
        """A counter's value, summed over labels unless they are given."""
        return sum(
            value for (found, at), value in list(self._counters.items()) if found == name and labels in (None, at)
        )

    def by_label(self, name: CounterName) -> dict[str, float]:
        """A counter's values by the value of its only label."""
        return {labels[0][1]: value for (found, labels), value in list(self._counters.items()) if found == name}

    def gauge(self, name: GaugeName, labels: Labels = ()) -> float | None:
        """A gauge's value, or None when it was never set."""
        return self._gauges.get((name, labels))

    def families(self) -> Iterator[Metric]:
        """The metrics in Prometheus' form."""
        own = dict(self._labels)
        for (name, labels), value in list(self._counters.items()):
            counter = CounterMetricFamily(PREFIX + name.removesuffix("_total"), DOCS[name], labels=_names(own, labels))
            counter.add_metric(_values(own, labels), value)
            yield counter
        for (gauge_name, labels), value in list(self._gauges.items()):
            gauge = GaugeMetricFamily(PREFIX + gauge_name, DOCS[gauge_name], labels=_names(own, labels))
            gauge.add_metric(_values(own, labels), value)
            yield gauge
        for observed, histogram in list(self._histograms.items()):
            family = HistogramMetricFamily(PREFIX + observed, DOCS[observed], labels=_names(own, ()))
            family.add_metric(_values(own, ()), _buckets(histogram), histogram.sums[0])
            yield family


class Collector:
    """Joins the metrics of all loops of a process into families, as Prometheus wants them."""

    def __init__(self, sources: Sequence[Metrics]) -> None:
        """`sources`: one per loop."""
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """Every family once, with the samples of all loops."""
        joined: dict[str, Metric] = {}
        for source in self._sources:
            for family in source.families():
                known = joined.setdefault(family.name, family)
                if known is not family:
                    known.samples.extend(family.samples)
        yield from joined.values()


def names() -> tuple[str, ...]:
    """Every metric name, without the prefix."""
    return (*get_args(CounterName), *get_args(GaugeName), *get_args(ObservationName))


def _names(own: dict[str, str], labels: Labels) -> list[str]:
    return [*own, *(name for name, _ in labels)]


def _values(own: dict[str, str], labels: Labels) -> list[str]:
    return [*own.values(), *(value for _, value in labels)]


def _buckets(histogram: _Histogram) -> list[tuple[str, float]]:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
    return buckets
