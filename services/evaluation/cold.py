"""Protocol A: at the first occurrence of an item, rank it among all items that nobody has touched."""

from __future__ import annotations

import numpy as np

from services.evaluation.stream import Stream
from services.model.cold import ColdRanker

NEWEST = 50
_YEAR_MS = 365.2425 * 86_400_000


def first_occurrences(data: Stream, seed: int = 0) -> dict[str, float]:
    """HR@10, HR@50 and mean percentile (0 is best, ties count half) over all first occurrences."""
    ranker = ColdRanker(data.content_ptr.astype(np.int64), data.content, seed)
    newest: list[list[int]] = [[] for _ in data.users]
    ranks, shares = [], []
    for user, item, t_ms in zip(data.user.tolist(), data.item.tolist(), data.t_ms.tolist(), strict=True):
        mine = newest[user]
        if ranker.untouched[item]:
            ranker.set_year(1970 + int(t_ms / _YEAR_MS))
            candidates = np.flatnonzero(ranker.untouched)
            scores = ranker.scores(candidates, mine)
            own = scores[np.searchsorted(candidates, item)]
            rank = 1.0 + float((scores > own).sum()) + 0.5 * float((scores == own).sum() - 1)
            ranks.append(rank)
            shares.append((rank - 1) / max(len(candidates) - 1, 1))
            ranker.learn(item, mine)
        mine.insert(0, item)
        del mine[NEWEST:]
    found = np.array(ranks)
    return {
        "events": len(found),
        "hr": float((found <= 10).mean()),
        "hr50": float((found <= 50).mean()),
        "percentile": float(np.mean(shares)),
    }
