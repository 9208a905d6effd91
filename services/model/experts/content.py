"""Content: the user's categories, words of titles, and release years, against those of an item.

categories   mean over the item's categories g of log (user's share of g) - log (everybody's share of g)
title        log(1 + 5 sum_k 0.8^k cos(h_k, x)) over the newest 20 items, TF-IDF weights
year         -|year(x) - mean year of the newest 10 items| / 10, at least -5
"""

from __future__ import annotations

from typing import Any

import numpy as np

from services.model.arena import Lists, index_find
from services.model.arrays import F32
from services.model.experts import F_CATEGORIES, F_TITLE, F_YEAR
from services.model.jit import kernel
from services.model.kernels.spot import spot_clear, spot_find, spot_put
from services.model.kernels.view import View, Work

CATEGORY, YEAR, WORD = 1, 3, 5
"""Kinds of content features: their high 4 bits."""
TITLES, YEARS = 20, 10
"""Newest items whose titles and years make the user's taste."""
_TAG = 0xFEA7_0000 << 32
_LOW = 0x0FFF_FFFF


@kernel
def feature_row(v: View, feature: np.uint32) -> Any:
    """Position of a feature's row, or -1."""
    return index_find(v.feature_keys, v.feature_slots, np.uint64(_TAG) | np.uint64(feature))


@kernel
def rarity(v: View, feature: np.uint32, items: float) -> Any:
    """Inverse document frequency: log((n + 1) / (n of the feature + 1))."""
    row = feature_row(v, feature)
    having = 0.0
    if row >= 0:
        having = np.float64(v.feature_n[row, 1])
    return np.float32(max(np.log((items + 1.0) / (having + 1.0)), 0.01))


@kernel
def _norm(v: View, at: int, end: int, items: float) -> Any:
    square = np.float32(1e-6)
    for i in range(at, end):
        feature = v.content.keys[i]
        if feature >> np.uint32(28) == np.uint32(WORD):
            idf = rarity(v, feature, items)
            square += idf * idf
    return np.float32(1.0) / np.sqrt(square)


@kernel
def prepare(v: View, user: int, w: Work, found: int) -> None:
    """The user's words, mean year and category total."""
    spot_clear(w.words)
    words, decayed = 0, np.float32(1.0)
    years, year_sum = 0, 0.0
    items = w.facts[11]
    for k in range(min(found, TITLES)):
        h = w.rows[k]
        if h >= 0:
            at = v.content.where[h]
            end = at + v.content.length[h]
            norm = _norm(v, at, end, items)
            for i in range(at, end):
                feature = v.content.keys[i]
                kind = feature >> np.uint32(28)
                if kind == np.uint32(YEAR) and k < YEARS:
                    years += 1
                    year_sum += np.float64(feature & np.uint32(_LOW))
                elif kind == np.uint32(WORD) and words < len(w.word_weight):
                    place = spot_put(w.words, np.uint64(feature) + np.uint64(1), words)
                    if place == words:
                        words += 1
                        w.word_weight[place] = np.float32(0.0)
                    w.word_weight[place] += decayed * rarity(v, feature, items) * norm
        decayed *= np.float32(0.8)
    w.facts[8] = year_sum / max(years, 1)
    w.facts[9] = years
    w.facts[10] = (1.0 - 0.97 ** min(found, 200)) / 0.03
    w.facts[12] = words
    if user < 0:
        w.facts[10] = 0.0


@kernel
def evidence(v: View, categories: Lists, user: int, w: Work, row: int, features: F32) -> None:
    """Columns of one candidate."""
    at = v.content.where[row]
    end = at + v.content.length[row]
    everybody, own_total, items = w.facts[13], w.facts[10], w.facts[11]
    affinity, n, similar, square, year = 0.0, 0, np.float32(0.0), np.float32(1e-6), 0.0
    for i in range(at, end):
        feature = v.content.keys[i]
        kind = feature >> np.uint32(28)
        if kind == np.uint32(CATEGORY):
            row_g = feature_row(v, feature)
            count = np.float64(v.feature_n[row_g, 0]) if row_g >= 0 else 0.0
            own = 0.0
            if user >= 0:
                first = categories.where[user]
                for j in range(first, first + categories.length[user]):
                    if categories.keys[j] == feature:
                        own = np.float64(categories.values[j, 0])
                        break
            affinity += np.log(
                (own + 3.0 * count / (everybody + 1.0) + 0.001)
                / (own_total + 3.001)
                * (everybody + 1.0)
                / (count + 1.0)
            )
            n += 1
        elif kind == np.uint32(WORD) and w.facts[12] > 0.0:
            idf = rarity(v, feature, items)
            square += idf * idf
            place = spot_find(w.words, np.uint64(feature) + np.uint64(1))
            if place >= 0:
                similar += w.word_weight[place] * idf
        elif kind == np.uint32(YEAR):
            year = np.float64(feature & np.uint32(_LOW))
    features[F_CATEGORIES] = np.float32(affinity / max(n, 1))
    features[F_TITLE] = np.log(np.float32(1.0) + np.float32(5.0) * similar / np.sqrt(square))
    features[F_YEAR] = np.float32(0.0)
    if year > 0.0 and w.facts[9] > 0.0:
        features[F_YEAR] = np.float32(-min(abs(year - w.facts[8]) * 0.1, 5.0))
