"""Context: what users without a history choose in circumstances like these.

The circumstances of an event are features: the hour, the weekday, and what the producer says (a country, a device, the
page). Events of users with a short history are counted by feature, C[c, x]. They answer for users without any:

    share      mean over the query's features c of C[c, x] / sum C[c]
    evidence   sum over c of log((C[c, x] + m p(x)) / ((sum C[c] + m) p(x)))      p(x) = the item's share of all events

The evidence is how much more often than everywhere an item is chosen there, as naive Bayes adds it to the logarithm of
the popularity. An item that a full list has no room for is not known to be rarer there, and is left as it is.
"""

from __future__ import annotations

import numpy as np

from services.model.arena import index_find
from services.model.arrays import U32
from services.model.experts import F_CONTEXT, MIX_CONTEXT
from services.model.jit import kernel
from services.model.kernels.candidates import add, strongest
from services.model.kernels.spot import spot_clear, spot_find, spot_put
from services.model.kernels.vectors import log_one
from services.model.kernels.view import View, Work
from services.model.layout import context_hash

PRIOR = 20.0
"""m: events that an item's overall share counts as."""
CLIP = 4.0
"""Ceiling of one feature's logarithm, either way."""
_TAG = np.uint64(context_hash(0))


@kernel
def prepare(v: View, features: U32, start: int, end: int, found: int, w: Work) -> None:
    """Sum the lists of the query's context features[start:end]; nothing for a user with `found` > 0 items.

    Of w.facts, 14 receives how many features have a list, 15 how many items the lists name.
    """
    spot_clear(w.around)
    n = touched = 0
    if found == 0:
        for at in range(start, min(end, start + len(w.contexts))):
            row = index_find(v.context_keys, v.context_slots, np.uint64(features[at]) | _TAG)
            if row >= 0 and v.context_sums[row, 1] > np.float32(0.0):
                w.contexts[n] = row
                n += 1
        for c in range(n):
            row = w.contexts[c]
            first = v.context.where[row]
            for i in range(first, first + v.context.length[row]):
                key = v.context.keys[i]
                if spot_find(w.seen, key) >= 0:
                    continue
                place = spot_put(w.around, key, touched)
                if place == touched:
                    touched += 1
                    w.around_row[place] = index_find(v.index_keys, v.index_slots, key)
                    for j in range(n):
                        w.around_count[place, j] = np.float32(0.0)
                w.around_count[place, c] = v.context.values[i, 0]
    w.facts[14], w.facts[15] = n, touched


@kernel
def offer(v: View, w: Work, top: int, n: int) -> int:
    """The items with the largest shares."""
    contexts, touched = int(w.facts[14]), int(w.facts[15])
    for i in range(touched):
        w.values[i] = np.float32(0.0)
        if w.around_row[i] >= 0:
            w.values[i] = _share(v, w, i, contexts)
    for i in range(strongest(w.values, touched, top, w.best, w.best_score)):
        n += max(add(v.keys, w.seen, w.listed, w.cand, w.around_row[w.best[i]], n), 0)
    return n


@kernel
def _share(v: View, w: Work, place: int, contexts: int) -> np.float32:
    share = np.float32(0.0)
    for c in range(contexts):
        share += w.around_count[place, c] / v.context_sums[w.contexts[c], 1]
    return share / np.float32(contexts)


@kernel
def evidence(v: View, w: Work, start: int, end: int) -> None:
    """Columns of the candidates [start, end)."""
    contexts, column = int(w.facts[14]), len(v.rate) - 1
    everybody = max(v.totals[v.system[0], column], np.float32(1.0))
    limit = v.context.sizes[len(v.context.sizes) - 1]
    prior, most = np.float32(PRIOR), np.float32(CLIP)
    for i in range(start, end):
        w.features[i, F_CONTEXT] = w.shares[i, MIX_CONTEXT] = np.float32(0.0)
        if contexts == 0:
            continue
        row = w.cand[i]
        place = spot_find(w.around, v.keys[row])
        if place >= 0:
            w.shares[i, MIX_CONTEXT] = _share(v, w, place, contexts)
        everywhere = max(v.pop[row, column] / everybody, np.float32(1e-7))
        lift = np.float32(0.0)
        for c in range(contexts):
            count = np.float32(0.0)
            if place >= 0:
                count = w.around_count[place, c]
            if count == np.float32(0.0) and v.context.length[w.contexts[c]] == limit:
                continue
            expected = (v.context_sums[w.contexts[c], 1] + prior) * everywhere
            lift += min(max(log_one((count + prior * everywhere) / expected), -most), most)
        w.features[i, F_CONTEXT] = lift
