"""Protocol A: at the first occurrence of an item, rank it among all items that nobody has touched."""

from __future__ import annotations

import numpy as np

from services.evaluation.stream import Stream
from services.model.cold import ColdRanker, year_of
from services.model.kernels.cold import NEWEST


def first_occurrences(data: Stream, seed: int = 0) -> dict[str, float]:
    """HR@10, HR@50 and mean percentile (0 is best, ties count half) over all first occurrences."""
    ptr, content = data.content_ptr, data.content
    ranker = ColdRanker(len(data.items), max(len(np.unique(content)), 1), max(int(np.diff(ptr).max()), 1), seed)
    for item in range(len(data.items)):
        ranker.put(item, content[ptr[item] : ptr[item + 1]])
    newest: list[list[int]] = [[] for _ in data.users]
    touched: set[int] = set()
    ranks, shares = [], []
    for user, item, t_ms in zip(data.user.tolist(), data.item.tolist(), data.t_ms.tolist(), strict=True):
        mine = newest[user]
        if item not in touched:
            touched.add(item)
            ranker.set_year(year_of(t_ms // 1000))
            candidates, history = ranker.candidates(), np.array(mine, np.int64)
            scores = ranker.scores(candidates, history)
            own = scores[np.flatnonzero(candidates == item)[0]]
            rank = 1.0 + float((scores > own).sum()) + 0.5 * float((scores == own).sum() - 1)
            ranks.append(rank)
            shares.append((rank - 1) / max(len(candidates) - 1, 1))
            ranker.learn(item, history)
        mine.insert(0, item)
        del mine[NEWEST:]
    found = np.array(ranks)
    return {
        "events": len(found),
        "hr": float((found <= 10).mean()),
        "hr50": float((found <= 50).mean()),
        "percentile": float(np.mean(shares)),
    }
