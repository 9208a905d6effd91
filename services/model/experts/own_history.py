"""Own history, where repeats are allowed: the user's own items, and how they were used.

Sums over the user's kept events of an item (a session ends at a gap of more than 30 minutes):

    0 in the present session    2 hours since the newest    4 share of sum 0.99^k over earlier sessions
    1 events                    3 place of the newest       5 share of sum 0.95^k over all
"""

from __future__ import annotations

import numpy as np

from services.model.arena import index_find
from services.model.experts import F_EARLIER, F_HOURS, F_PLACE, F_SEEN, F_SESSION, F_TIMES, MIX_OWN
from services.model.jit import kernel
from services.model.kernels.candidates import add, strongest
from services.model.kernels.spot import spot_clear, spot_find, spot_put
from services.model.kernels.view import OWN, View, Work

SESSION_S = 1800
LONG, SHORT = 0.99, 0.95


@kernel
def prepare(w: Work, found: int, second: int) -> int:
    """Sum the user's events by item; returns how many items there are."""
    spot_clear(w.own)
    items = 0
    session, later = True, second
    long, short = np.float32(1.0), np.float32(1.0)
    long_total, short_total = np.float32(1e-9), np.float32(1e-9)
    for k in range(found):
        if later - w.seconds[k] > SESSION_S:
            session = False
        later = w.seconds[k]
        place = spot_put(w.own, w.hashes[k], items)
        s = w.own_sum[place]
        if place == items:
            w.own_hash[place] = w.hashes[k]
            items += 1
            for j in range(OWN):
                s[j] = np.float32(0.0)
            s[0] = np.float32(session)
            s[2] = np.float32(max(second - later, 0) / 3600.0)
            s[3] = np.float32(k)
        s[1] += np.float32(1.0)
        if not session:
            s[4] += long
            long_total += long
        s[5] += short
        short_total += short
        long *= np.float32(LONG)
        short *= np.float32(SHORT)
    for place in range(items):
        w.own_sum[place, 4] /= long_total
        w.own_sum[place, 5] /= short_total
    return items


@kernel
def offer(v: View, w: Work, items: int, top: int, n: int) -> int:
    """The user's own items, the most recently used first; one whose row is gone leaves its place to another."""
    for i in range(items):
        hidden = spot_find(w.seen, w.own_hash[i]) >= 0
        w.values[i] = np.float32(0.0) if hidden else w.own_sum[i, 5]
    found, gone = 0, True
    while gone:
        # Few rows are gone: to look for all of them first would cost more than to choose again.
        gone = False
        found = strongest(w.values, items, top, w.best, w.best_score)
        for i in range(found):
            if index_find(v.index_keys, v.index_slots, w.own_hash[w.best[i]]) < 0:
                w.values[w.best[i]] = np.float32(0.0)
                gone = True
    for i in range(found):
        row = index_find(v.index_keys, v.index_slots, w.own_hash[w.best[i]])
        n += max(add(v.keys, w.seen, w.listed, w.cand, row, n), 0)
    return n


@kernel
def evidence(v: View, w: Work, repeats: bool, start: int, end: int) -> None:
    """Columns of the candidates [start, end)."""
    features, shares, own, keys, cand = w.features, w.shares, w.own_sum, v.keys, w.cand
    one = np.float32(1.0)
    for i in range(start, end):
        for j in range(F_SEEN, F_EARLIER + 1):
            features[i, j] = np.float32(0.0)
        shares[i, MIX_OWN] = np.float32(0.0)
        if not repeats:
            continue
        place = spot_find(w.own, keys[cand[i]])
        if place < 0:
            continue
        features[i, F_SEEN] = one
        features[i, F_SESSION] = own[place, 0]
        features[i, F_TIMES] = np.log(one + own[place, 1])
        features[i, F_HOURS] = np.log(one + own[place, 2]) / np.float32(3.0)
        features[i, F_PLACE] = np.log(one + own[place, 3])
        features[i, F_EARLIER] = own[place, 4]
        shares[i, MIX_OWN] = own[place, 5]
