"""Evidence for items that nobody has touched yet, from counts of their content features.

0 age        log lift of the item's age bucket: its share among recent first occurrences over its share
             among the untouched items
1 categories mean log lift of the item's categories
2 words      mean log lift of the words of its title
3 taste      mean log lift of its categories among the user's newest 50 items (0.9^k)
4 title      log(1 + 5 sum_k 0.8^k cos(h_k, x)) over the user's newest 20 items, TF-IDF weights
5 wave       log(1 + sum_j d^j cos(o_j, x)) over first occurrences, newest first, TF-IDF weights (d: cold.MEMORY)
6 year       -|year(x) - mean year of the user's newest 10 items| / 10, at least -5
    7 set        log lift of the item's set of categories
    8 last title the title column for the newest item alone
    9 last year  the year column for the newest item alone
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from services.model.arena import Lists, lists_set
from services.model.arrays import F32, I32, I64, U32
from services.model.jit import allocating_kernel, inline, kernel

COLUMNS = 10
NEWEST = 50
"""Newest items of a user that make the user's taste."""
AGES = 15
"""Age buckets: 0 = unknown, then two years ahead and more, next year, this year, ... the oldest together."""
CATEGORY, CATEGORIES, YEAR, WORD = 1, 2, 3, 5
"""Kinds of content features: their high 4 bits. CATEGORIES is the whole set."""
_LARGEST_UNIT = 1e6
"""Counts grow by a unit that itself grows, instead of decaying; past this they are all scaled back."""


class ColdView(NamedTuple):
    """Items by slot, content features by ordinal, and the counts so far."""

    content: Lists
    """Ordinals of an item's content features."""
    year: I32
    """int32[items], 0 = unknown."""
    norm: F32
    """float32[items] 1 / length of the TF-IDF vector of the title."""
    per_category: F32
    """float32[items] 1 / number of categories, 0 = none."""
    kind: I32
    """int32[features]"""
    having: F32
    """float32[features] items with the feature."""
    rarity: F32
    """float32[features] inverse document frequency."""
    recent: F32
    """float32[features] first occurrences with the feature, in units."""
    untouched: F32
    """float32[features] untouched items with the feature."""
    recent_age: F32
    """float32[AGES] in units."""
    untouched_age: F32
    wave: F32
    """float32[features] TF-IDF profile of recent first occurrences, in units."""
    own: F32
    """float32[features] the user's category counts."""
    words: F32
    """float32[features] TF-IDF profile of the user's titles."""
    last: F32
    """float32[features] TF-IDF vector of the user's newest title."""
    pull: F32
    """float32[features, 3] what a feature adds for the user to an item's taste, title and last title."""
    totals: F32
    """float32[6]: recent first occurrences (in units), untouched items; the user's decayed items, mean year and
    newest year; the unit."""


@kernel
def age_of(year: int, now_year: int) -> int:
    """Age bucket of a release year."""
    if year <= 0:
        return 0
    age = now_year - year
    bucket = 1
    for end in (-2, -1, 0, 1, 2, 3, 5, 8, 12, 20, 30, 45, 60):
        if age > end:
            bucket += 1
    return bucket


@kernel
def weigh(v: ColdView, items: I64, features: I64, n: int) -> None:
    """Rarity of features among n items, and what follows from it for the titles of items."""
    for f in features:
        v.rarity[f] = np.log(np.float32(n + 1) / (v.having[f] + np.float32(1.0)))
    for item in items:
        square = 0.0
        at = v.content.where[item]
        for i in range(at, at + v.content.length[item]):
            f = v.content.keys[i]
            if v.kind[f] == WORD:
                square += np.float64(v.rarity[f]) ** 2
        v.norm[item] = 1.0 / np.sqrt(square + 1e-6)


@allocating_kernel
def describe(v: ColdView, item: int, content: U32, features: I64, n: int) -> None:
    """What an item's row says of it: its list is features, the ordinals of (some of) its content; n items in all."""
    lists_set(v.content, np.array([item]), np.array([0, len(features)]), features)
    v.year[item] = 0
    for word in content:
        if word >> np.uint32(28) == YEAR:
            v.year[item] = np.int32(word & np.uint32(0x0FFF_FFFF))
    categories = 0
    for f in features:
        v.having[f] += np.float32(1.0)
        categories += v.kind[f] == CATEGORY
    v.per_category[item] = np.float32(1.0) / np.float32(categories) if categories else np.float32(0.0)
    weigh(v, np.array([item]), features, n)


@kernel
def count_untouched(v: ColdView, item: int, now_year: int, sign: float) -> None:
    """Count an item among the untouched ones (sign 1), or no longer (-1)."""
    at = v.content.where[item]
    for i in range(at, at + v.content.length[item]):
        v.untouched[v.content.keys[i]] += np.float32(sign)
    v.untouched_age[age_of(v.year[item], now_year)] += np.float32(sign)
    v.totals[1] += np.float32(sign)


@kernel
def first_occurrence(v: ColdView, item: int, now_year: int, decay: float) -> None:
    """Count an item among the recent first occurrences, of which the older count less from now on."""
    unit = v.totals[5] / np.float32(decay)
    if unit > np.float32(_LARGEST_UNIT):
        for counts in (v.recent, v.wave, v.recent_age, v.totals[:1]):
            for f in range(len(counts)):
                counts[f] /= unit
        unit = np.float32(1.0)
    v.totals[5] = unit
    v.totals[0] += unit
    v.recent_age[age_of(v.year[item], now_year)] += unit
    at = v.content.where[item]
    for i in range(at, at + v.content.length[item]):
        f = v.content.keys[i]
        v.recent[f] += unit
        if v.kind[f] == WORD:
            v.wave[f] += unit * v.rarity[f] * v.norm[item] * np.float32(0.2)


@kernel
def profile(v: ColdView, items: I64) -> None:
    """The user's taste from the newest items, newest first (-1 = not in the catalogue), into own, words, last and
    totals[2:5]."""
    own, word = np.float32(1.0), np.float32(1.0)
    total, years, year_sum = np.float32(0.0), 0, 0.0
    for k in range(len(items)):
        item = items[k]
        if item >= 0:
            at = v.content.where[item]
            for i in range(at, at + v.content.length[item]):
                f = v.content.keys[i]
                if v.kind[f] == CATEGORY:
                    v.own[f] += own
                elif v.kind[f] == WORD and k < 20:
                    v.words[f] += word * v.rarity[f] * v.norm[item]
                    if k == 0:
                        v.last[f] = v.rarity[f] * v.norm[item]
            if v.per_category[item] > np.float32(0.0):
                total += own
            if k < 10 and v.year[item] > 0:
                years += 1
                year_sum += v.year[item]
        own *= np.float32(0.9)
        word *= np.float32(0.8)
    v.totals[2] = total
    v.totals[3] = np.float32(year_sum / years) if years else np.float32(0.0)
    v.totals[4] = np.float32(v.year[items[0]]) if len(items) and items[0] >= 0 else np.float32(0.0)


@kernel
def forget_profile(v: ColdView, items: I64) -> None:
    """Undo `profile` and `pull_of`."""
    for item in items:
        if item < 0:
            continue
        at = v.content.where[item]
        for i in range(at, at + v.content.length[item]):
            f = v.content.keys[i]
            v.own[f] = v.words[f] = v.last[f] = np.float32(0.0)
            v.pull[f, 0] = v.pull[f, 1] = v.pull[f, 2] = np.float32(0.0)
    v.totals[2:5] = np.float32(0.0)


@kernel
def pull_of(v: ColdView, items: I64) -> None:
    """What each feature of the user's items adds to an item that has it: so that scoring only adds up."""
    rest = v.totals[1] + np.float32(3.0)
    for item in items:
        if item < 0:
            continue
        at = v.content.where[item]
        for i in range(at, at + v.content.length[item]):
            f = v.content.keys[i]
            if v.kind[f] == CATEGORY:
                share = (v.untouched[f] + np.float32(0.1)) / rest
                prior = np.float32(3.0) * share + np.float32(0.001)
                v.pull[f, 0] = np.log((v.own[f] + prior) / prior)
            elif v.kind[f] == WORD:
                v.pull[f, 1] = v.words[f] * v.rarity[f]
                v.pull[f, 2] = v.last[f] * v.rarity[f]


@inline
def evidence(v: ColdView, item: int, now_year: int, out: F32) -> None:
    """The columns of one untouched item for the user of `profile`, or for a user without history."""
    unit, one = v.totals[5], np.float32(1.0)
    recent, rest = v.totals[0] / unit + np.float32(3.0), v.totals[1] + np.float32(3.0)
    categories, words = 0, 0
    for f in range(COLUMNS):
        out[f] = np.float32(0.0)
    age = age_of(v.year[item], now_year)
    share = (v.untouched_age[age] + one) / rest
    out[0] = np.log((v.recent_age[age] / unit + np.float32(3.0) * share) / recent / share)
    similar, wave, last = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    at = v.content.where[item]
    for i in range(at, at + v.content.length[item]):
        f = v.content.keys[i]
        if v.kind[f] != CATEGORY and v.kind[f] != CATEGORIES and v.kind[f] != WORD:
            continue
        share = (v.untouched[f] + np.float32(0.1)) / rest
        lift = np.log((v.recent[f] / unit + np.float32(3.0) * share) / recent / share)
        if v.kind[f] == CATEGORY:
            out[1] += lift
            out[3] += np.log(
                (v.own[f] + np.float32(3.0) * share + np.float32(0.001)) / (v.totals[2] + np.float32(3.0)) / share
            )
            categories += 1
        elif v.kind[f] == CATEGORIES:
            out[7] = lift
        else:
            out[2] += lift
            similar += v.words[f] * v.rarity[f]
            wave += v.wave[f] / unit * v.rarity[f]
            last += v.last[f] * v.rarity[f]
            words += 1
    if categories:
        out[1] /= np.float32(categories)
        out[3] /= np.float32(categories)
    if words:
        out[2] /= np.float32(words)
        out[4] = np.log(one + np.float32(5.0) * similar * v.norm[item])
        out[5] = np.log(one + np.float32(5.0) * wave * v.norm[item])
        out[8] = np.log(one + np.float32(5.0) * last * v.norm[item])
    if v.year[item] > 0 and v.totals[3] > 0:
        out[6] = -min(abs(np.float32(v.year[item]) - v.totals[3]) * np.float32(0.1), np.float32(5.0))
    if v.year[item] > 0 and v.totals[4] > 0:
        out[9] = -min(abs(np.float32(v.year[item]) - v.totals[4]) * np.float32(0.1), np.float32(5.0))


@kernel
def evidence_of(v: ColdView, items: I64, now_year: int, out: F32) -> None:
    """The columns of untouched items, one row each."""
    for i in range(len(items)):
        evidence(v, items[i], now_year, out[i])


@allocating_kernel
def score_all(v: ColdView, items: I64, now_year: int, weights: F32, scores: F32) -> None:
    """Scores of untouched items for the user of `profile`, or for a user without history."""
    row = np.zeros(COLUMNS, np.float32)
    for i in range(len(items)):
        evidence(v, items[i], now_year, row)
        s = np.float32(0.0)
        for f in range(COLUMNS):
            s += weights[f] * row[f]
        scores[i] = s
