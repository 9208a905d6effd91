"""The ranker of untouched items, and their places in lists, against the plain versions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.model.cold import ColdRanker, year_of
from services.model.experts import CONTENT
from services.model.kernels.cold import COLUMNS, evidence_of, forget_profile, profile, pull_of
from services.model.kernels.untouched import AVERAGE, personal_scores
from services.model.recommender import Query, Recommender
from tests.unit.model.kernels.plain_rows import user_of
from tests.unit.model.kernels.plain_untouched import PlainShop, joined
from tests.unit.model.kernels.ranking_worlds import CONFIG, USERS, content, differing, still
from tests.unit.model.simulation import item_hash

YEAR = 2015
NAMES = (
    "age", "categories", "words", "taste", "title", "wave", "year", "set", "last title", "last year",
)  # fmt: skip
SEEDS = pytest.mark.parametrize("seed", range(3))
SHELF = 70
"""Items of the catalogue of which the first have rows, but for some."""


def shop(seed: int) -> tuple[ColdRanker, PlainShop]:
    """A catalogue in which some items occurred, in any order, and some of those were forgotten again."""
    rng = np.random.default_rng(seed)
    made, words = ColdRanker(80, 300, 16), {item: content(item + 100 * seed) for item in range(40)}
    made.set_year(YEAR)
    plain = PlainShop(YEAR, words, set(words))
    for item in rng.permutation(40).tolist():
        made.put(item, np.array(words[item], np.uint32))
    made.put(50, np.array(words[7], np.uint32))
    made.remove(50)
    # From now on the rarity of words follows from the whole catalogue.
    made.scores(made.candidates(), np.zeros(0, np.int64))
    for item in rng.integers(40, size=60).tolist():
        if item in plain.waiting and len(plain.waiting) > 15:
            made.touch(item)
            plain.waiting.remove(item)
            plain.occurred.append(item)
        elif item not in plain.waiting and rng.random() < 0.3:
            made.release(item)
            plain.waiting.add(item)
    return made, plain


def histories(seed: int) -> list[list[int]]:
    """Newest items of users of every kind: nobody's, short and long ones, with items that are not in the catalogue."""
    rng = np.random.default_rng(seed)
    return [[], [3], [-1, 3], *(rng.integers(-1, 40, n).tolist() for n in (4, 12, 60))]


@SEEDS
def test_every_column_is_the_plain_one(seed: int) -> None:
    """The evidence for an untouched item follows from the counts of its content as documented, for any history."""
    made, plain = shop(seed)
    items = np.array(sorted(plain.waiting), np.int64)
    for newest in histories(seed):
        found = np.zeros((len(items), COLUMNS), np.float32)
        history = np.array(newest, np.int64)[:50]
        profile(made.view, history)
        evidence_of(made.view, items, YEAR, found)
        forget_profile(made.view, history)
        expected = [plain.columns(x, newest) for x in items.tolist()]
        wrong = differing(NAMES, found, expected, 1e-4, 2e-4)
        assert not wrong, str(wrong)


@SEEDS
def test_scores_are_the_plain_ones(seed: int) -> None:
    """The score of an untouched item is the weighted sum of its columns, all at once or from steady and own parts."""
    made, plain = shop(seed)
    weights = np.random.default_rng(seed).normal(size=COLUMNS).astype(np.float32)
    made.weights[:] = weights
    shelf = made.shelf()
    assert set(shelf.items.tolist()) == plain.waiting
    for newest in histories(seed):
        history, found = np.array(newest, np.int64), np.zeros(len(shelf.items), np.float32)
        expected = [plain.score(x, newest, weights.tolist()) for x in shelf.items.tolist()]
        np.testing.assert_allclose(made.scores(shelf.items, history), expected, rtol=1e-4, atol=1e-3)
        profile(made.view, history[:50])
        pull_of(made.view, history[:50])
        personal_scores(made.view, shelf, made.weights, found)
        forget_profile(made.view, history[:50])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


@SEEDS
@pytest.mark.parametrize("every", [3, 20])
def test_untouched_items_take_their_places(seed: int, every: int) -> None:
    """A list with untouched items is the one without, with the fitting ones in every so many places and any behind."""
    config = replace(CONFIG, list_length=6)
    learner, now = still(seed, repeats=False, config=config)
    table, rng = learner.replica.items.table, np.random.default_rng(seed)
    alone = Recommender(config, learner.replica, learner.users, every)
    both = Recommender(config, learner.replica, learner.users, every)
    known = {item_hash(item): content(item) for item in range(SHELF)}
    for item in range(SHELF):
        both.catalogue.put(item_hash(item), f"item-{item}", np.array(content(item), np.uint32))
    both.catalogue.cold.scores(both.catalogue.cold.candidates(), np.zeros(0, np.int64))
    rows = [x for x in table.keys[np.flatnonzero(table.keys)].tolist() if x in known]
    plain = PlainShop(year_of(now), known, set(known) - set(rows), rows)
    blocked = np.array([item_hash(i) for i in (SHELF - 1, SHELF - 2)], np.uint64)
    queries = []
    for user in (-1, *range(0, USERS + 2, 3)):
        hidden = np.array([item_hash(int(i)) for i in rng.integers(SHELF, size=4)], np.uint64)
        slot, k = learner.users.find(b"user-0-%d" % user), int(rng.integers(1, 60))
        queries.append(Query(slot, now * 1000, k, hidden, np.zeros(0, np.uint32), bool(rng.integers(2))))
    weights, placed, filled = both.catalogue.cold.weights.tolist(), 0, 0
    without, lists = alone.recommend(queries, blocked), both.recommend(queries, blocked)
    for query, old, got in zip(queries, without, lists, strict=True):
        newest = [x for x, _ in user_of(learner, query.user).history]
        scores = {x: plain.score(x, newest, weights) for x in plain.waiting - set(blocked.tolist())}
        average = (AVERAGE + sum(np.exp(list(scores.values())))) / (AVERAGE + len(scores))
        mine = {x: score for x, score in scores.items() if x not in query.exclude.tolist()}
        expected = joined(old.items.tolist(), mine, average, query.k, every)
        assert got.items.tolist() == [item for item, _ in expected]
        for r, (item, at) in enumerate(expected):
            new = item in scores
            assert got.scores[r] == (0.0 if at is None else old.scores[at])
            assert got.expert[r] == (CONTENT if new or at is None else old.expert[at])
            assert got.because[r].tolist() == ([0, 0] if new or at is None else old.because[at].tolist())
            placed, filled = placed + (new and at is not None), filled + (at is None)
    assert filled
    assert placed or every == 20
