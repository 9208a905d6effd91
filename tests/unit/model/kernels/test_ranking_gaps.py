"""Where ranking kernels once left the documents: long silences, short histories, hidden items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.model.experts import FEATURES
from services.model.kernels import ranking
from services.model.learner import Learner
from services.model.views import buffers, setup, view
from tests.unit.model.kernels import plain_ranking as plain
from tests.unit.model.kernels.plain_experts import Ask, bucket_of, normaliser
from tests.unit.model.kernels.plain_rows import rows_of, user_of
from tests.unit.model.kernels.ranking_worlds import CONFIG, differing, gather, make, still

HOUR_S = 3600


def wrong_columns(learner: Learner, now: int) -> dict[str, float]:
    """The columns of a busy user's candidates that are not the plain ones, after a query of another user."""
    rows, v, w = rows_of(learner), view(learner.replica), buffers(learner.config, 4, 8)
    n, ask = 0, None
    for name in (b"user-0-1", b"user-0-0"):
        slot = learner.users.find(name)
        ask = Ask(user_of(learner, slot), now, repeats=False)
        bucket, n = gather(learner, v, w, slot, ask, 4, normaliser(rows, ask))
        settings = setup(learner.config, repeats=False, top=4)
        ranking.score(v, learner.users.arrays, settings, slot, bucket, w, 0, n)
    assert ask is not None
    known = plain.all_evidence(rows, ask, normaliser(rows, ask))
    phi = [plain.columns(rows, bucket_of(ask), known[int(v.keys[row])]) for row in w.cand[:n]]
    return differing(FEATURES, w.features[:n, : len(FEATURES)], phi, 1e-4, 2e-4)


@pytest.mark.parametrize("silent_h", [90, 135, 900])
def test_shares_outlast_a_silence(silent_h: int) -> None:
    """However long nothing happened, an item's share of the decayed counts is what it was at the last event."""
    learner, now = still(1, repeats=False)
    wrong = wrong_columns(learner, now + silent_h * HOUR_S)
    assert not wrong, str(wrong)


def test_neighbours_and_content_of_a_short_history() -> None:
    """Experts that read more items than the factors' history has, read the user's own."""
    learner, now = still(1, repeats=False, config=replace(CONFIG, history=3))
    wrong = wrong_columns(learner, now)
    assert not wrong, str(wrong)


def test_hidden_items_take_no_place_among_the_own() -> None:
    """Where repeats are allowed, own items that must not be listed leave their places to other own items."""
    learner, now = still(1, repeats=True)
    user = user_of(learner, slot := learner.users.find(b"user-0-0"))
    newest = list(dict.fromkeys(item for item, _ in user.history))[:4]
    ask = Ask(user, now, repeats=True, hidden=set(newest))
    check_own(learner, slot, ask)


def test_gone_items_take_no_place_among_the_own() -> None:
    """Where repeats are allowed, own items whose rows are gone leave their places to other own items."""
    world, now = make(1, repeats=True)
    learner = world.shards[0].learner
    user = user_of(learner, slot := learner.users.find(b"user-0-0"))
    items = learner.replica.items
    for item in list(dict.fromkeys(item for item, _ in user.history))[:6]:
        items.remove(np.array([items.table.index.find(item)]))
    learner.replica.trends.refresh(items.segments())
    check_own(learner, slot, Ask(user, now, repeats=True))


def check_own(learner: Learner, slot: int, ask: Ask) -> None:
    """The candidates hold the best of every expert."""
    rows, v, w = rows_of(learner), view(learner.replica), buffers(CONFIG, 4, 8)
    _, n = gather(learner, v, w, slot, ask, 4, 0.0)
    surely, _ = plain.candidates(plain.all_evidence(rows, ask, 0.0), ask, 4)
    assert surely <= {int(key) for key in v.keys[w.cand[:n]]}
    assert np.unique(w.cand[:n]).size == n
