"""The evidence and the score of an item, one item at a time and in doubles, as the experts' docstrings say them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from services.model.experts import FEATURES, MIXTURE
from services.model.learner import Learner

FLOOR = 1e-4
GAPS_S = (60, 3600, 86_400, 7 * 86_400)
LENGTHS = (0, 2, 5, 10, 20, 50)


@dataclass
class PlainRanking:
    """What the experts know of one query."""

    learner: Learner
    user: int
    """Slot, -1 for nobody."""
    second: int
    context: Sequence[int]
    repeats: bool
    history: list[int] = field(init=False)
    """Hashes of the user's items, newest first."""
    seconds: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.config = self.learner.config
        self.table = self.learner.replica.items.table
        hashes, seconds = self.learner.users.history(self.user) if self.user >= 0 else (np.zeros(0), np.zeros(0))
        self.history, self.seconds = [int(one) for one in hashes], [int(one) for one in seconds]
        system = self.learner.replica.system.table
        self.shared = system.index.find(0x5E57_0000 << 32)
        self.own = system.index.find(0x5E57_0000 << 32 | 1 + self.bucket)
        self.system = system.stores
        self.norm = math.log(sum(math.exp(self.logit(row)) for row in np.flatnonzero(self.table.keys).tolist()))

    # --- who asks -----------------------------------------------------------------------------------------------

    @property
    def gap(self) -> int:
        """Bucket of the time since the newest event."""
        if not self.history:
            return len(GAPS_S)
        return sum(self.second - self.seconds[0] > end for end in GAPS_S)

    @property
    def bucket(self) -> int:
        """Bucket of the mixture: history length, and the gap."""
        return sum(len(self.history) > end for end in LENGTHS) * (len(GAPS_S) + 1) + self.gap

    def z(self) -> Any:
        """Z = P + a1·h1 + a2·h2."""
        if self.user < 0:
            return np.zeros(self.config.dim)
        vectors = self.table.stores["v"].data
        total = self.learner.users.arrays.vector[self.user].astype(float)
        gates = self.system["gates"].data[self.shared]
        for number, gamma in enumerate((self.config.decay_short, self.config.decay_long)):
            newest = self.history[: self.config.history]
            rows = [self.table.index.find(one) for one in newest]
            summed = sum((gamma**k * vectors[row].astype(float) for k, row in enumerate(rows) if row >= 0), np.zeros(1))
            weights = sum(gamma**k for k in range(len(newest)))
            total = total + gates[2 * self.gap + number] * summed / math.sqrt(weights or 1.0)
        return total

    def logit(self, row: int) -> float:
        """The factors' score of an item."""
        q, b = self.table.stores["q"].data, self.table.stores["b"].data
        return float(b[row, 0] + self.z() @ q[row].astype(float))

    # --- the experts --------------------------------------------------------------------------------------------

    def neighbours(self, row: int) -> tuple[dict[int, Any], Any]:
        """({neighbour: its six counts}, their sums) of an item."""
        store = self.table.stores["near"]
        assert store.lists is not None
        at, n = int(store.lists.where[row]), int(store.lists.length[row])
        pairs = zip(store.lists.keys[at : at + n].tolist(), store.lists.values[at : at + n], strict=True)
        return dict(pairs), store.data[row, 1:]

    def popularity(self, row: int) -> list[float]:
        """The item's share of everything at every half-life."""
        totals, pop = self.system["totals"].data[self.shared], self.table.stores["pop"].data[row]
        halflives = self.config.halflives_s

        def now(counts: Any, j: int) -> float:
            age_s = self.second - float(counts[-1]) * 128.0
            return float(counts[j]) * (2.0 ** (-age_s / halflives[j]) if halflives[j] else 1.0)

        return [now(pop, j) / now(totals, j) for j in range(len(halflives))]

    def pairs(self, item: int) -> dict[str, float]:
        """Sums over the neighbour lists of the newest items."""
        found = dict.fromkeys(
            ("share", "cosine", "last", "recent", "next", "recent next", "reverse", "T0", "T1", "T2"), 0.0
        )
        for k, one in enumerate(self.history[: self.config.neighbours_read]):
            row = self.table.index.find(one)
            if row < 0:
                continue
            counts, sums = self.neighbours(row)
            if item not in counts:
                continue
            c, ahead, behind, following, c_recent, ahead_recent = counts[item].tolist()
            found["share"] += 0.8**k * c / sums[0]
            found["cosine"] += 0.8**k * c / math.sqrt(sums[0] + 5)
            found["recent"] += 0.8**k * c_recent / sums[4]
            if k < 3:
                found[f"T{k}"] = ahead / max(sums[1], 1e-9)
            if k == 0:
                found["last"] = c / math.sqrt(sums[0] + 5)
                found["next"] = following / max(sums[3], 1e-9)
                found["recent next"] = ahead_recent / max(sums[5], 1e-9)
                found["reverse"] = behind
        return found

    def own_history(self, item: int) -> dict[str, float]:
        """How the user has used the item."""
        places = [k for k, one in enumerate(self.history) if one == item] if self.repeats else []
        if not places:
            return {}
        gaps = np.diff([self.second, *self.seconds]) < -1800
        present = [not gaps[: k + 1].any() for k in range(len(self.history))]
        long = sum(0.99**k for k in range(len(self.history)) if not present[k])
        short = sum(0.95**k for k in range(len(self.history)))
        return {
            "seen before": 1.0,
            "in this session": float(present[places[0]]),
            "times seen": math.log1p(len(places)),
            "hours since": math.log1p((self.second - self.seconds[places[0]]) / 3600) / 3,
            "place in history": math.log1p(places[0]),
            "share of earlier sessions": sum(0.99**k for k in places if not present[k]) / (long or 1.0),
            "share": sum(0.95**k for k in places) / short,
        }

    def categories(self, row: int) -> float:
        """The mean logarithm of the user's share of the item's categories, over everybody's."""
        content, features = self.table.stores["content"].lists, self.learner.replica.features.table
        assert content is not None
        at, n = int(content.where[row]), int(content.length[row])
        liked = self.learner.users.arrays.categories
        own = {}
        if self.user >= 0:
            first, m = int(liked.where[self.user]), int(liked.length[self.user])
            own = dict(
                zip(liked.keys[first : first + m].tolist(), liked.values[first : first + m, 0].tolist(), strict=True)
            )
        events = float(features.stores["fn"].data[features.index.find(0xFEA7_0000 << 32), 0])
        own_total = (1 - 0.97 ** min(len(self.history), 200)) / 0.03
        found = []
        for feature in content.keys[at : at + n].tolist():
            if feature >> 28 == 1:
                count = float(features.stores["fn"].data[features.index.find(0xFEA7_0000 << 32 | feature), 0])
                mine = (own.get(feature, 0.0) + 3 * count / (events + 1) + 0.001) / (own_total + 3.001)
                found.append(math.log(mine * (events + 1) / (count + 1)))
        return sum(found) / max(len(found), 1)

    def contexts(self, item: int, row: int) -> tuple[float, float]:
        """(share, evidence) of the item in the query's circumstances."""
        table = self.learner.replica.contexts.table
        store = table.stores["chosen"]
        assert store.lists is not None
        rows = [at for feature in self.context if (at := table.index.find(0xC047_0000 << 32 | feature)) >= 0]
        if self.history or not rows:
            return 0.0, 0.0
        share = evidence = 0.0
        everywhere = float(self.table.stores["pop"].data[row, -2] / self.system["totals"].data[self.shared, -2])
        for at in rows:
            first, n = int(store.lists.where[at]), int(store.lists.length[at])
            counts = dict(
                zip(
                    store.lists.keys[first : first + n].tolist(),
                    store.lists.values[first : first + n, 0].tolist(),
                    strict=True,
                )
            )
            total, count = float(store.data[at, 1]), counts.get(item, 0.0)
            share += count / total / len(rows)
            if item in counts or n < self.config.max_neighbours:
                lift = math.log((count + 20 * everywhere) / ((total + 20) * everywhere))
                evidence += min(max(lift, -4.0), 4.0)
        return share, evidence

    # --- together -----------------------------------------------------------------------------------------------

    def judge(self, item: int) -> tuple[Any, Any, float]:
        """(columns of the log-linear score, shares of the mixture, score) of an item."""
        row = self.table.index.find(item)
        popularity, pairs, own = self.popularity(row), self.pairs(item), self.own_history(item)
        factors = math.exp(self.logit(row) - self.norm)
        sums = self.neighbours(row)[1]
        root = math.sqrt(sums[0] + 5)
        share, lift = self.contexts(item, row)
        logs = {f"popularity {j + 1}": p for j, p in enumerate(popularity)}
        logs |= {
            "factors": factors,
            "co-visitation": pairs["share"],
            "transition": pairs["T0"], "transition 2": pairs["T1"], "transition 3": pairs["T2"],
            "strictly next": pairs["next"],
            "recent co-visitation": pairs["recent"],
            "recent transition": pairs["recent next"],
            "cosine": pairs["cosine"] / root,
            "cosine last": pairs["last"] / root,
            "reverse transition": pairs["reverse"] / max(sums[1], 1e-9),
        }  # fmt: skip
        columns = {name: math.log(p + (1e-3 if name == "cosine last" else FLOOR)) for name, p in logs.items()}
        columns |= {"categories": self.categories(row), "context": lift} | own
        shares = [
            *popularity, factors, pairs["share"], pairs["T0"], own.get("share", 0.0), pairs["next"], pairs["recent"],
            share,
        ]  # fmt: skip
        assert len(shares) == len(MIXTURE)
        pi = self.system["pi"].data[self.own].astype(float)
        columns["mixture"] = math.log(float(pi @ shares) / pi.sum() + 1e-9)
        phi = np.array([columns.get(name, 0.0) for name in FEATURES])
        w = self.system["w"].data
        weights = (w[self.shared] + w[self.own])[: len(FEATURES)].astype(float)
        return phi, np.array(shares), columns["mixture"] + float(weights @ phi)
