"""Items that nobody has touched, put into the finished lists of many users at once.

They fill what a list leaves empty. Beyond that, one place in so many goes to the one that fits the user's taste best,
if it fits better than an average one: by its chance of being taken, which is small for each of many new items, none
would ever be shown.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from services.model.arena import index_find
from services.model.arrays import F32, I32, I64, U64, Mask
from services.model.experts import CONTENT
from services.model.jit import allocating_kernel, inline, kernel
from services.model.kernels.cold import CATEGORY, NEWEST, WORD, ColdView, forget_profile, profile, pull_of
from services.model.kernels.serving import Asked, Lists
from services.model.kernels.users import UserArrays

AVERAGE = 50.0
"""Items of score 0 that the average of the untouched counts as well: where only one is left, it is not the average."""


class Shelf(NamedTuple):
    """The untouched items that lists look at, with their content side by side."""

    items: I64
    """Slots in the catalogue."""
    steady: F32
    """Their scores for a user without history."""
    ptr: I64
    feature: I32
    """Ordinals of categories and words of item i: feature[ptr[i]:ptr[i + 1]]."""
    norm: F32
    per_category: F32
    year: I32


class Known(NamedTuple):
    """How to find out about an item."""

    hashes: U64
    """uint64[slots] of the catalogue."""
    index_keys: U64
    """The catalogue's index."""
    index_slots: I32
    row_keys: U64
    """The index of the item rows: an item that has one is no longer untouched."""
    row_slots: I32
    hidden_ptr: I64
    hidden: U64
    """Hashes that query i must not list: hidden[hidden_ptr[i]:hidden_ptr[i + 1]]."""


@inline
def _tells(kind: int) -> bool:
    """Whether a feature of this kind says something of a user's taste."""
    return kind == CATEGORY or kind == WORD  # noqa: PLR1714  (a set would be made for every feature)


@kernel
def _count_told(v: ColdView, items: I64, ptr: I64) -> None:
    for i in range(len(items)):
        at, n = v.content.where[items[i]], 0
        for j in range(at, at + v.content.length[items[i]]):
            n += _tells(v.kind[v.content.keys[j]])
        ptr[i + 1] = ptr[i] + n


@kernel
def _copy_told(v: ColdView, items: I64, ptr: I64, feature: I32) -> None:
    for i in range(len(items)):
        at, n = v.content.where[items[i]], ptr[i]
        for j in range(at, at + v.content.length[items[i]]):
            f = v.content.keys[j]
            if _tells(v.kind[f]):
                feature[n] = f
                n += 1


def shelf_of(v: ColdView, items: I64, steady: F32) -> Shelf:
    """A shelf of some items, given their scores for a user without history."""
    ptr: I64 = np.zeros(len(items) + 1, np.int64)
    _count_told(v, items, ptr)
    feature: I32 = np.zeros(int(ptr[-1]), np.int32)
    _copy_told(v, items, ptr, feature)
    return Shelf(items, steady, ptr, feature, v.norm[items], v.per_category[items], v.year[items])


@kernel
def personal_scores(v: ColdView, s: Shelf, weights: F32, scores: F32) -> None:
    """float32[items] scores for the user of `profile` and `pull_of`: kernels/cold.evidence, with what does not depend
    on the user taken from `steady`."""
    pull, ptr, feature, norm, per_category, years = v.pull, s.ptr, s.feature, s.norm, s.per_category, s.year
    tenth, one, five = np.float32(0.1), np.float32(1.0), np.float32(5.0)
    mean_year, last_year = v.totals[3], v.totals[4]
    fewer = np.log(v.totals[2] / np.float32(3.0) + one)
    for i in range(len(scores)):
        taste, similar, last = np.float32(0.0), np.float32(0.0), np.float32(0.0)
        for j in range(ptr[i], ptr[i + 1]):
            f = feature[j]
            taste += pull[f, 0]
            similar += pull[f, 1]
            last += pull[f, 2]
        score = s.steady[i]
        if per_category[i] > np.float32(0.0):
            score += weights[3] * (taste * per_category[i] - fewer)
        if similar > np.float32(0.0):
            score += weights[4] * np.log(one + five * similar * norm[i])
        if last > np.float32(0.0):
            score += weights[8] * np.log(one + five * last * norm[i])
        if years[i] > 0:
            year = np.float32(years[i])
            if mean_year > np.float32(0.0):
                score -= weights[6] * min(abs(year - mean_year) * tenth, five)
            if last_year > np.float32(0.0):
                score -= weights[9] * min(abs(year - last_year) * tenth, five)
        scores[i] = score


@inline
def _unlisted(users: UserArrays, seen: int, known: Known, first: int, end: int, key: np.uint64) -> Any:
    """Whether an item may not be put into the list: touched just now, hidden by the query, or the user's own."""
    found = index_find(known.row_keys, known.row_slots, key) >= 0
    for i in range(first, end):
        found = found or known.hidden[i] == key
    if seen >= 0:
        at = users.seen.where[seen]
        for i in range(at, at + users.seen.length[seen]):
            found = found or users.seen.keys[i] == key
    return found


@kernel
def _put_in(out: Lists, i: int, k: int, every: int, keys: U64, found: int, fitting: int, old: Lists) -> None:
    """Put `found` items, best first, of which `fitting` may take the place of a listed one, into list i; `old` is room
    for a list. An item has the score of the one whose place it takes."""
    n, reasons = out.size[i], out.because.shape[2]
    for r in range(n):
        old.items[0, r], old.scores[0, r], old.expert[0, r] = out.items[i, r], out.scores[i, r], out.expert[i, r]
        for c in range(reasons):
            old.because[0, r, c] = out.because[i, r, c]
    size = min(k, n + found)
    taken, kept = 0, 0
    for r in range(size):
        new = kept == n or (taken < fitting and r % every == every - 1)
        for c in range(reasons):
            out.because[i, r, c] = np.uint64(0) if new else old.because[0, kept, c]
        if new:
            out.items[i, r], out.expert[i, r] = keys[taken], CONTENT
            out.scores[i, r] = old.scores[0, kept] if kept < n else np.float32(0.0)
            taken += 1
        else:
            out.items[i, r], out.scores[i, r] = old.items[0, kept], old.scores[0, kept]
            out.expert[i, r] = old.expert[0, kept]
            kept += 1
    out.size[i] = size


@allocating_kernel
def add_untouched(  # noqa: PLR0913, PLR0917  (arrays of several owners, which share no tuple)
    v: ColdView,
    shelf: Shelf,
    is_open: Mask,
    known: Known,
    users: UserArrays,
    asked: Asked,
    weights: F32,
    every: int,
    old: Lists,
    out: Lists,
) -> None:
    """Give untouched items their places in every list.

    Args:
        v: content and counts.
        shelf: the untouched items.
        is_open: bool[items] whether they may be listed at all.
        known: what else is known of items.
        users: the user rows.
        asked: the queries.
        weights: float32[COLUMNS]
        every: places of a list of which the last may go to an untouched item instead of a listed one.
        old: room for one list.
        out: the lists so far; changed.
    """
    keys, best = np.zeros(out.items.shape[1], np.uint64), np.zeros(out.items.shape[1], np.float32)
    newest, scores = np.empty(NEWEST, np.int64), np.empty(len(shelf.items), np.float32)
    for i in range(len(asked.user)):
        user, n = asked.user[i], 0
        if user >= 0:
            end = users.history.where[user] + users.history.length[user]
            n = min(users.history.length[user], NEWEST)
            for j in range(n):
                newest[j] = index_find(known.index_keys, known.index_slots, users.history.keys[end - 1 - j])
        profile(v, newest[:n])
        pull_of(v, newest[:n])
        personal_scores(v, shelf, weights, scores)
        forget_profile(v, newest[:n])
        most = min(asked.k[i], max(asked.k[i] - out.size[i], asked.k[i] // every))
        seen = -1 if asked.repeats[i] == 1 else user
        mass, count, found = AVERAGE, AVERAGE, 0
        for j in range(len(scores)):
            if not is_open[j]:
                continue
            s = scores[j]
            mass += np.exp(s)
            count += 1.0
            key = known.hashes[shelf.items[j]]
            if most == 0 or (found == most and (s < best[most - 1] or (s == best[most - 1] and key > keys[most - 1]))):
                continue
            if _unlisted(users, seen, known, known.hidden_ptr[i], known.hidden_ptr[i + 1], key):
                continue
            place = found if found < most else most - 1
            found = min(found + 1, most)
            while place > 0 and (s > best[place - 1] or (s == best[place - 1] and key < keys[place - 1])):
                best[place], keys[place] = best[place - 1], keys[place - 1]
                place -= 1
            best[place], keys[place] = s, key
        fitting = 0
        while fitting < found and np.exp(best[fitting]) * count > mass:
            fitting += 1
        _put_in(out, i, asked.k[i], every, keys, found, fitting, old)


__all__ = ["Known", "Shelf", "add_untouched", "personal_scores", "shelf_of"]
