"""What each expert knows of an item, as the documents state it: float64, one item at a time, no care for speed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from services.contracts.keys import KIND_CATEGORY, KIND_TITLE_TOKEN, KIND_YEAR, feature_kind, feature_value
from tests.unit.model.kernels.plain_rows import Counts, Neighbours, PlainRows, PlainUser, Vector

CO_VISITS, TO, FROM, NEXT, DECAYED_CO_VISITS, DECAYED_TO = range(6)
"""Counts of a neighbour."""


@dataclass
class Ask:
    """One query."""

    user: PlainUser
    second: int
    repeats: bool
    context: list[int] = field(default_factory=list)
    hidden: set[int] = field(default_factory=set)
    """Items that may not be listed, beside those seen."""

    def may_list(self, item: int) -> bool:
        """Whether the user may get an item."""
        return item not in self.hidden and (self.repeats or item not in self.user.seen)


def length_bucket(n: int) -> int:
    """0, 1-2, 3-5, 6-10, 11-20, 21-50, more."""
    return sum(n >= start for start in (1, 3, 6, 11, 21, 51))


def gap_bucket(ask: Ask) -> int:
    """Since the user's last event: up to a minute, an hour, a day, a week, more."""
    if not ask.user.history:
        return 4
    since = ask.second - ask.user.history[0][1]
    return sum(since > end for end in (60, 3600, 86400, 7 * 86400))


def bucket_of(ask: Ask) -> int:
    """History length x time since the last event."""
    return length_bucket(len(ask.user.history)) * 5 + gap_bucket(ask)


def gated_weights(rows: PlainRows, ask: Ask) -> list[float]:
    """What V of each history item counts in z: the sum over i of a_i[gap] gamma_i^k / sqrt(sum gamma_i^k)."""
    config, n = rows.config, min(len(ask.user.history), rows.config.history)
    out = [0.0] * n
    for i, gamma in enumerate((config.decay_short, config.decay_long)):
        norm = math.sqrt(sum(gamma**k for k in range(n)))
        for k in range(n):
            out[k] += rows.gates[2 * gap_bucket(ask) + i] * gamma**k / norm
    return out


def query_vector(rows: PlainRows, ask: Ask) -> Vector:
    """Z = P_u + a1[gap]·h1 + a2[gap]·h2."""
    z = ask.user.vector.copy()
    for weight, (item, _) in zip(gated_weights(rows, ask), ask.user.history, strict=False):
        if item in rows.items:
            z += weight * rows.items[item].v
    return z


def normaliser(rows: PlainRows, ask: Ask) -> float:
    """Log of the factors' softmax normaliser over all items."""
    z = query_vector(rows, ask)
    return float(np.log(sum(np.exp(item.b + z @ item.q) for item in rows.items.values())))


def factors(rows: PlainRows, x: int, z: Vector, norm: float) -> float:
    """The softmax probability; where the normaliser is an estimate, at most 1."""
    item = rows.items[x]
    return min(1.0, float(np.exp(item.b + z @ item.q - norm)))


def popularity(rows: PlainRows, ask: Ask, x: int) -> list[float]:
    """c(x) / sum c at every half-life, as of now."""
    now = ask.second / 128

    def decayed(c: Counts) -> list[float]:
        age_s = 128 * max(now - c.anchor, 0.0)
        halflives = rows.config.halflives_s
        return [n * 2 ** (-age_s / h) if h else n for n, h in zip(c.counts, halflives, strict=True)]

    pairs = zip(decayed(rows.items[x].popularity), decayed(rows.totals), strict=True)
    return [count / total if total > 0 else 0.0 for count, total in pairs]


def _lists(rows: PlainRows, ask: Ask) -> list[Neighbours]:
    """The neighbour lists of the newest items; of an item without a row, an empty one."""
    none = Neighbours({}, [0.0] * 6, full=False)
    newest = ask.user.history[: rows.config.neighbours_read]
    return [rows.items[h].near if h in rows.items else none for h, _ in newest]


def _share(near: Neighbours, x: int, which: int) -> float:
    count = near.counts[x][which] if x in near.counts else 0.0
    return count / near.sums[which] if count else 0.0


def covisitation(rows: PlainRows, ask: Ask, x: int) -> dict[str, float]:
    """sum_k 0.8^k C[h_k, x] / sum C[h_k]; the same of decayed counts; and the cosine
    sum_k 0.8^k C[h_k, x] / sqrt((sum C[h_k] + 5) (sum C[x] + 5)), of all and of the newest item."""
    plain = recent = 0.0
    cosines = [0.0]
    for k, near in enumerate(_lists(rows, ask)):
        plain += 0.8**k * _share(near, x, CO_VISITS)
        recent += 0.8**k * _share(near, x, DECAYED_CO_VISITS)
        if x in near.counts:
            length = math.sqrt((near.sums[CO_VISITS] + 5) * (rows.items[x].near.sums[CO_VISITS] + 5))
            cosines.append(0.8**k * near.counts[x][CO_VISITS] / length)
            if k == 0:
                cosines[0] = cosines[1]
    last = cosines.pop(0)
    return {"co-visitation": plain, "recent co-visitation": recent, "cosine": sum(cosines), "cosine last": last}


def transition(rows: PlainRows, ask: Ask, x: int) -> dict[str, float]:
    """T[h_k -> x] / sum T[h_k] of the three newest items; of the newest also by decayed counts, by immediate
    transitions, and T[x -> h_0] / sum T[x]."""
    lists = _lists(rows, ask)
    first, second, third = (lists + [Neighbours({}, [0.0] * 6, full=False)] * 3)[:3]
    back = first.counts[x][FROM] if x in first.counts else 0.0
    return {
        "transition": _share(first, x, TO),
        "transition 2": _share(second, x, TO),
        "transition 3": _share(third, x, TO),
        "strictly next": _share(first, x, NEXT),
        "recent transition": _share(first, x, DECAYED_TO),
        "reverse transition": back / rows.items[x].near.sums[TO] if back else 0.0,
    }


OWN = ("seen before", "in this session", "times seen", "hours since", "place in history", "share of earlier sessions")


def own_history(ask: Ask, x: int) -> tuple[dict[str, float], float]:
    """The columns, and the item's share of sum 0.95^k over all of the user's events."""
    columns = dict.fromkeys(OWN, 0.0)
    history = ask.user.history
    places = [k for k, (item, _) in enumerate(history) if item == x]
    if not ask.repeats or not places:
        return columns, 0.0
    moments = [ask.second] + [second for _, second in history]
    pauses = [later - earlier for later, earlier in pairwise(moments)]
    session = next((k for k, pause in enumerate(pauses) if pause > 1800), len(history))
    """Events of the present session: those before the first pause of more than half an hour."""
    earlier = sum(0.99**k for k in range(session, len(history)))
    columns["seen before"] = 1.0
    columns["in this session"] = float(places[0] < session)
    columns["times seen"] = math.log(1 + len(places))
    columns["hours since"] = math.log(1 + max(ask.second - history[places[0]][1], 0) / 3600) / 3
    columns["place in history"] = math.log(1 + places[0])
    if earlier:
        columns["share of earlier sessions"] = sum(0.99**k for k in places if k >= session) / earlier
    return columns, sum(0.95**k for k in places) / sum(0.95**k for k in range(len(history)))


def _of_kind(rows: PlainRows, x: int, kind: int) -> list[int]:
    return [f for f in rows.items[x].content if feature_kind(f) == kind] if x in rows.items else []


def _words(rows: PlainRows, x: int) -> dict[int, float]:
    """The title's TF-IDF vector, of length 1."""
    every = rows.features.get(0, (0.0, 0.0))[1]
    words = {
        f: max(math.log((every + 1) / (rows.features.get(f, (0.0, 0.0))[1] + 1)), 0.01)
        for f in _of_kind(rows, x, KIND_TITLE_TOKEN)
    }
    length = math.sqrt(1e-6 + sum(idf**2 for idf in words.values()))
    return {f: idf / length for f, idf in words.items()}


def content(rows: PlainRows, ask: Ask, x: int) -> dict[str, float]:
    """How the item's categories, title and year go with the user's."""
    history = [item for item, _ in ask.user.history]
    everybody = rows.features.get(0, (0.0, 0.0))[0]
    events = sum(0.97**k for k in range(len(history)))
    affinities = []
    for g in _of_kind(rows, x, KIND_CATEGORY):
        count = rows.features.get(g, (0.0, 0.0))[0]
        # The user has, beside the own events, three more that are everybody's.
        own = (ask.user.categories.get(g, 0.0) + 3 * count / (everybody + 1) + 0.001) / (events + 3.001)
        affinities.append(math.log(own) - math.log((count + 1) / (everybody + 1)))
    words, cosine = _words(rows, x), 0.0
    for k, item in enumerate(history[:20]):
        theirs = _words(rows, item)
        cosine += 0.8**k * sum(weight * theirs.get(f, 0.0) for f, weight in words.items())
    years = [feature_value(f) for item in history[:10] for f in _of_kind(rows, item, KIND_YEAR)]
    year = [feature_value(f) for f in _of_kind(rows, x, KIND_YEAR)]
    return {
        "categories": sum(affinities) / max(len(affinities), 1),
        "title": math.log(1 + 5 * cosine),
        "release year": -min(abs(year[0] - sum(years) / len(years)) / 10, 5.0) if year and years else 0.0,
    }


def context(rows: PlainRows, ask: Ask, x: int) -> tuple[float, float]:
    """(column, share): how much more often than everywhere the item is chosen in the query's circumstances, and the
    mean share of it there; nothing for a user with a history."""
    asked = [rows.contexts[c] for c in ask.context if c in rows.contexts]
    if ask.user.history or not asked:
        return 0.0, 0.0
    overall = max(rows.items[x].popularity.counts[-1] / max(rows.totals.counts[-1], 1.0), 1e-7)
    lift, shares = 0.0, []
    for chosen in asked:
        count, total = chosen.counts[x][CO_VISITS] if x in chosen.counts else 0.0, chosen.sums[CO_VISITS]
        shares.append(count / total)
        if count or not chosen.full:
            lift += min(max(math.log((count + 20 * overall) / ((total + 20) * overall)), -4.0), 4.0)
    return lift, sum(shares) / len(shares)
