"""How good the lists are right now: prequential figures on a sample of live events, beside shadows.

For a sampled event, the list that the model would have shown just before it, and the lists of the
shadows (recent popularity, a frozen copy of the model), are compared with what the user then took.
When the learner is worse than popularity beyond chance, publishing serves popularity and says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from services.contracts.edge import QualityReport
from services.runtime.metrics import GaugeName, Labels

DEPTH = 10
"""Length of the lists that are compared: the figures are HR@10, NDCG@10 and MRR cut at 10."""

_MEMORY_EVENTS = 2000.0
"""Events over which a comparison forgets by 1/e."""
_NEEDED_EVENTS = 300
"""A comparison of fewer events decides nothing."""
_WORSE_Z = -3.0
"""Standard errors below popularity at which the learner is taken off: one wrong alarm in about 700 windows."""
_RECOVERED_Z = 0.0
_BELOW = "learner_below_popularity"
_GAUGES: dict[str, GaugeName] = {
    "hr_at_10": "quality_hr_at_10",
    "ndcg_at_10": "quality_ndcg_at_10",
    "mrr_at_10": "quality_mrr_at_10",
    _BELOW: "quality_fallback",
}


@dataclass(slots=True)
class Comparison:
    """Decayed paired comparison of the learner's gain with popularity's, event by event.

    With d the difference of NDCG@10 on one event and weights decaying by exp(-1/_MEMORY_EVENTS) an event,
    z = Σ w d / sqrt(Σ w² d²): a sign-and-size test that needs no window of past events.
    """

    events: int = 0
    _sum: float = 0.0
    _squares: float = 0.0
    below: bool = False
    """Whether the learner is off: it was worse beyond chance, and has not drawn level since."""

    def add(self, difference: float) -> None:
        """Take in one event's difference, learner less popularity."""
        keep = math.exp(-1.0 / _MEMORY_EVENTS)
        self.events += 1
        self._sum = keep * self._sum + difference
        self._squares = keep * keep * self._squares + difference * difference
        if self.events >= _NEEDED_EVENTS:
            self.below = self.z < (_RECOVERED_Z if self.below else _WORSE_Z)

    @property
    def z(self) -> float:
        """The learner's advantage in standard errors."""
        return self._sum / math.sqrt(self._squares) if self._squares > 0 else 0.0


@dataclass(slots=True)
class _Tally:
    events: int = 0
    hits: float = 0.0
    ndcg: float = 0.0
    mrr: float = 0.0

    def add(self, rank: int) -> None:
        self.events += 1
        if rank:
            self.hits += 1.0
            self.ndcg += gain(rank)
            self.mrr += 1.0 / rank


def gain(rank: int) -> float:
    """NDCG@10 of one relevant item at a rank from 1; 0 for rank 0 (not in the list).

    >>> gain(1), round(gain(2), 4), gain(0)
    (1.0, 0.6309, 0.0)
    """
    return 1.0 / math.log2(rank + 1) if 1 <= rank <= DEPTH else 0.0


def gauges(report: QualityReport) -> Iterator[tuple[GaugeName, float, Labels]]:
    """What a report says, for the metrics endpoint: (gauge, value, labels)."""
    arm = (("arm", report["arm"]),)
    yield _GAUGES[report["metric"]], report["value"], () if report["metric"] == _BELOW else arm
    if report["metric"] == "hr_at_10":
        yield "quality_events", report["events"], arm


@dataclass(slots=True)
class LiveQuality:
    """Tallies of one publisher since its last report, and the standing of learner against popularity."""

    shard: str
    interval_ms: int
    comparison: Comparison = field(default_factory=Comparison)
    _tallies: dict[str, _Tally] = field(default_factory=dict)
    _since_ms: int | None = None

    def add(self, ranks: Mapping[str, int]) -> None:
        """Take in one event.

        Args:
            ranks: {"learner": rank, "popularity": rank, "frozen": rank}: from 1, 0 where the list misses the item.
        """
        for arm, rank in ranks.items():
            self._tallies.setdefault(arm, _Tally()).add(rank)
        self.comparison.add(gain(ranks["learner"]) - gain(ranks["popularity"]))

    def reports(self, now_ms: int) -> Iterator[QualityReport]:
        """The figures since the last report, once the interval has passed; nothing where nothing was sampled."""
        if self._since_ms is None:
            self._since_ms = now_ms
        if now_ms < self._since_ms + self.interval_ms:
            return
        for arm, tally in self._tallies.items():
            for metric, total in (("hr_at_10", tally.hits), ("ndcg_at_10", tally.ndcg), ("mrr_at_10", tally.mrr)):
                yield self._report(metric, total / tally.events, tally.events, arm, now_ms)
        if self._tallies:
            below = float(self.comparison.below)
            yield self._report(_BELOW, below, self.comparison.events, "learner", now_ms)
        self._tallies.clear()
        self._since_ms = now_ms

    def wake_at(self) -> int | None:
        """When the next report is due (Unix ms), or None when there is nothing to report."""
        return self._since_ms + self.interval_ms if self._tallies and self._since_ms is not None else None

    def _report(self, metric: str, value: float, events: int, arm: str, now_ms: int) -> QualityReport:
        return {
            "metric": metric,
            "value": value,
            "events": events,
            "window_start": self._since_ms,
            "window_end": now_ms,
            "service": "recommendation-publishing",
            "shard": self.shard,
            "arm": arm,
            "dimensions": {},
        }
