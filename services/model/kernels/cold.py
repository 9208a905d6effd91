"""Evidence for items that nobody has touched yet, from counts of their content features.

0 age        log lift of the item's age bucket: its share among recent first occurrences over its share
             among the untouched items
1 categories mean log lift of the item's categories
2 words      mean log lift of the words of its title
3 taste      mean log lift of its categories among the user's newest 50 items (0.9^k)
4 title      log(1 + 5 sum_k 0.8^k cos(h_k, x)) over the user's newest 20 items, TF-IDF weights
5 wave       the same to recent first occurrences
6 year       -|year(x) - mean year of the user's newest 10 items| / 10, at least -5
    7 set        log lift of the item's set of categories
    8 last title the title column for the newest item alone
    9 last year  the year column for the newest item alone
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from services.model.arrays import F32, I32, I64
from services.model.jit import allocating_kernel, kernel

COLUMNS = 10
AGES = 15
"""Age buckets: 0 = unknown, then two years ahead and more, next year, this year, ... the oldest together."""


class ColdView(NamedTuple):
    """Items by ordinal, their content, and the counts so far."""

    ptr: I64
    feature: I32
    """Ordinals of content features, item by item: ptr[i]:ptr[i + 1]."""
    kind: I32
    """int32[features] 1 category, 5 word of a title; others say nothing here."""
    year: I32
    """int32[items], 0 = unknown."""
    norm: F32
    """float32[items] 1 / length of the TF-IDF vector of the title."""
    rarity: F32
    """float32[features]"""
    recent: F32
    """float32[features] decayed first occurrences with the feature."""
    untouched: F32
    """float32[features] untouched items with the feature."""
    recent_age: F32
    """float32[AGES]"""
    untouched_age: F32
    wave: F32
    """float32[features] TF-IDF profile of recent first occurrences."""
    own: F32
    """float32[features] the user's category counts."""
    words: F32
    """float32[features] TF-IDF profile of the user's titles."""
    last: F32
    """float32[features] TF-IDF vector of the user's newest title."""
    totals: F32
    """float32[5]: recent first occurrences, untouched items; the user's decayed items, mean year, newest year."""


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
def profile(v: ColdView, items: I64) -> None:
    """The user's taste from the newest items, newest first, into own, words and totals[2:]."""
    own, word = np.float32(1.0), np.float32(1.0)
    total, years, year_sum = np.float32(0.0), 0, 0.0
    for k in range(len(items)):
        item = items[k]
        categories = False
        for i in range(v.ptr[item], v.ptr[item + 1]):
            f = v.feature[i]
            if v.kind[f] == 1:
                v.own[f] += own
                categories = True
            elif v.kind[f] == 5 and k < 20:
                v.words[f] += word * v.rarity[f] * v.norm[item]
                if k == 0:
                    v.last[f] = v.rarity[f] * v.norm[item]
        if categories:
            total += own
        if k < 10 and v.year[item] > 0:
            years += 1
            year_sum += v.year[item]
        own *= np.float32(0.9)
        word *= np.float32(0.8)
    v.totals[2] = total
    v.totals[3] = np.float32(year_sum / years) if years else np.float32(0.0)
    v.totals[4] = np.float32(v.year[items[0]]) if len(items) else np.float32(0.0)


@kernel
def forget_profile(v: ColdView, items: I64) -> None:
    """Undo `profile`."""
    for item in items:
        for i in range(v.ptr[item], v.ptr[item + 1]):
            v.own[v.feature[i]] = np.float32(0.0)
            v.words[v.feature[i]] = np.float32(0.0)
            v.last[v.feature[i]] = np.float32(0.0)


@kernel
def evidence(v: ColdView, item: int, now_year: int, out: F32) -> None:
    """The columns of one untouched item."""
    recent, rest = v.totals[0] + np.float32(3.0), v.totals[1] + np.float32(3.0)
    one = np.float32(1.0)
    categories, words = 0, 0
    for f in range(COLUMNS):
        out[f] = np.float32(0.0)
    age = age_of(v.year[item], now_year)
    share = (v.untouched_age[age] + one) / rest
    out[0] = np.log((v.recent_age[age] + np.float32(3.0) * share) / recent / share)
    similar, wave, last = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for i in range(v.ptr[item], v.ptr[item + 1]):
        f = v.feature[i]
        if v.kind[f] != 1 and v.kind[f] != 2 and v.kind[f] != 5:
            continue
        share = (v.untouched[f] + np.float32(0.1)) / rest
        lift = np.log((v.recent[f] + np.float32(3.0) * share) / recent / share)
        if v.kind[f] == 1:
            out[1] += lift
            out[3] += np.log(
                (v.own[f] + np.float32(3.0) * share + np.float32(0.001)) / (v.totals[2] + np.float32(3.0)) / share
            )
            categories += 1
        elif v.kind[f] == 2:
            out[7] = lift
        else:
            out[2] += lift
            similar += v.words[f] * v.rarity[f]
            wave += v.wave[f] * v.rarity[f]
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


@allocating_kernel
def score_all(v: ColdView, items: I64, now_year: int, weights: F32, scores: F32) -> None:
    """Scores of untouched items."""
    row = np.zeros(COLUMNS, np.float32)
    for i in range(len(items)):
        evidence(v, items[i], now_year, row)
        s = np.float32(0.0)
        for f in range(COLUMNS):
            s += weights[f] * row[f]
        scores[i] = s
