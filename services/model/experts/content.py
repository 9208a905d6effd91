"""Content: the user's categories, words of titles, and release years, against those of an item.

categories   mean over the item's categories g of log (user's share of g) - log (everybody's share of g), where the
             user's events are joined by three of everybody's; the number of events is sum 0.97^k over those kept
title        log(1 + 5 sum_k 0.8^k cos(h_k, x)) over the newest 20 items, TF-IDF weights
year         -|year(x) - mean year of the newest 10 items| / 10, at least -5
"""

from __future__ import annotations

from typing import Any

import numpy as np

from services.model.arena import Lists, index_find
from services.model.arrays import F32, I32, U64
from services.model.experts import F_CATEGORIES, F_TITLE, F_YEAR
from services.model.jit import inline, kernel
from services.model.kernels.spot import spot_clear, spot_find, spot_put
from services.model.kernels.vectors import log_one
from services.model.kernels.view import MEMO, View, Work
from services.model.layout import feature_hash

CATEGORY, YEAR, WORD = 1, 3, 5
"""Kinds of content features: their high 4 bits."""
TITLES, YEARS = 20, 10
"""Newest items whose titles and years make the user's taste."""
_TAG = np.uint64(feature_hash(0))
_LOW = 0x0FFF_FFFF


@inline
def feature_row(keys: U64, slots: I32, feature: np.uint32) -> Any:
    """Position of a feature's row, or -1."""
    return index_find(keys, slots, _TAG | np.uint64(feature))


@kernel
def rarities(keys: U64, slots: I32, counts: F32, start: int, end: int, out: F32) -> None:
    """View.feature_rarity of the rows [start, end), from counts float32[rows, 2]; what is everywhere keeps 0.01."""
    base = feature_row(keys, slots, np.uint32(0))
    items = counts[base, 1] if base >= 0 else np.float32(0.0)
    for row in range(start, end):
        out[row] = max(log_one((items + np.float32(1.0)) / (counts[row, 1] + np.float32(1.0))), np.float32(0.01))


@inline
def rarity(keys: U64, slots: I32, known: F32, feature: np.uint32, unknown: Any) -> Any:
    """Inverse document frequency of a feature; `unknown` when it has no row."""
    row = feature_row(keys, slots, feature)
    return known[row] if row >= 0 else unknown


@kernel
def prepare(v: View, user: int, w: Work, found: int) -> None:
    """The user's words, mean year and category total."""
    spot_clear(w.words)
    words, decayed = 0, np.float32(1.0)
    years, year_sum = 0, 0.0
    keys, slots, known, content = v.feature_keys, v.feature_slots, v.feature_rarity, v.content.keys
    unknown = max(log_one(np.float32(w.facts[11] + 1.0)), np.float32(0.01))
    for k in range(min(found, TITLES)):
        h = w.rows[k]
        if h >= 0:
            at = v.content.where[h]
            end = at + v.content.length[h]
            square = np.float32(1e-6)
            for i in range(at, end):
                if content[i] >> np.uint32(28) == np.uint32(WORD):
                    idf = rarity(keys, slots, known, content[i], unknown)
                    square += idf * idf
            norm = np.float32(1.0) / np.sqrt(square)
            for i in range(at, end):
                feature = content[i]
                kind = feature >> np.uint32(28)
                if kind == np.uint32(YEAR) and k < YEARS:
                    years += 1
                    year_sum += np.float64(feature & np.uint32(_LOW))
                elif kind == np.uint32(WORD) and words < len(w.word_weight):
                    place = spot_put(w.words, np.uint64(feature) + np.uint64(1), words)
                    if place == words:
                        words += 1
                        w.word_weight[place] = np.float32(0.0)
                    w.word_weight[place] += decayed * rarity(keys, slots, known, feature, unknown) * norm
        decayed *= np.float32(0.8)
    w.facts[8] = year_sum / max(years, 1)
    w.facts[9] = years
    w.facts[10] = (1.0 - 0.97 ** min(found, 200)) / 0.03
    w.facts[12] = words
    if user < 0:
        w.facts[10] = 0.0


@kernel
def evidence(v: View, categories: Lists, user: int, w: Work, start: int, end: int) -> None:
    """Columns of the candidates [start, end)."""
    keys, slots, counts, content = v.feature_keys, v.feature_slots, v.feature_n, v.content.keys
    features, cand, weight = w.features, w.cand, w.word_weight
    everybody, own_total, known = np.float32(w.facts[13]), np.float32(w.facts[10]), v.feature_rarity
    unknown = max(log_one(np.float32(w.facts[11] + 1.0)), np.float32(0.01))
    words, years, mean_year = w.facts[12] > 0.0, w.facts[9] > 0.0, w.facts[8]
    liked, liked_n, first, liking = categories.keys, 0, 0, categories.values
    if user >= 0:
        first, liked_n = categories.where[user], categories.length[user]
    one, asked, answer = np.float32(1.0), w.asked, w.answer
    asked[:] = np.uint32(0)
    for c in range(start, end):
        affinity, n, similar, square, year = np.float32(0.0), 0, np.float32(0.0), np.float32(1e-6), 0.0
        at = v.content.where[cand[c]]
        for i in range(at, at + v.content.length[cand[c]]):
            feature = content[i]
            kind = feature >> np.uint32(28)
            if kind == np.uint32(CATEGORY):
                # Candidates share their categories.
                memo = feature & np.uint32(MEMO - 1)
                if asked[memo] != feature:
                    row = feature_row(keys, slots, feature)
                    count = counts[row, 0] if row >= 0 else np.float32(0.0)
                    own = np.float32(0.0)
                    for j in range(first, first + liked_n):
                        if liked[j] == feature:
                            own = liking[j, 0]
                            break
                    asked[memo] = feature
                    answer[memo] = log_one(
                        (own + np.float32(3.0) * count / (everybody + one) + np.float32(0.001))
                        / (own_total + np.float32(3.001))
                        * (everybody + one)
                        / (count + one)
                    )
                affinity += answer[memo]
                n += 1
            elif kind == np.uint32(WORD) and words:
                idf = rarity(keys, slots, known, feature, unknown)
                square += idf * idf
                place = spot_find(w.words, np.uint64(feature) + np.uint64(1))
                if place >= 0:
                    similar += weight[place] * idf
            elif kind == np.uint32(YEAR):
                year = np.float64(feature & np.uint32(_LOW))
        features[c, F_CATEGORIES] = affinity / np.float32(max(n, 1))
        features[c, F_TITLE] = log_one(one + np.float32(5.0) * similar / np.sqrt(square))
        features[c, F_YEAR] = np.float32(0.0)
        if year > 0.0 and years:
            features[c, F_YEAR] = np.float32(-min(abs(year - mean_year) * 0.1, 5.0))
