"""The kernels that gather evidence, score, list and learn the score, against the plain versions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.model.experts import FEATURES, MIXTURE, POPULARITY
from services.model.kernels import ranking
from services.model.kernels.query import gap_bucket, length_bucket, query
from services.model.kernels.serving import excluded_rows
from services.model.layout import MIXTURE_MEMORY
from services.model.learner import Learner
from services.model.recommender import Query, Recommender
from services.model.views import buffers, setup, view
from tests.unit.model.kernels import plain_ranking as plain
from tests.unit.model.kernels.plain_experts import Ask, bucket_of, gated_weights, normaliser, query_vector
from tests.unit.model.kernels.plain_experts import gap_bucket as plain_gap_bucket
from tests.unit.model.kernels.plain_experts import length_bucket as plain_length_bucket
from tests.unit.model.kernels.plain_rows import rows_of, user_of
from tests.unit.model.kernels.ranking_worlds import (
    CONFIG,
    ITEMS,
    USERS,
    asks,
    content,
    differing,
    events_of,
    gather,
    make,
    still,
)
from tests.unit.model.simulation import event_batch, item_hash

SEEDS = pytest.mark.parametrize("seed", range(3))
REPEATS = pytest.mark.parametrize("repeats", [False, True], ids=["new items", "repeats"])
CROWDED = replace(CONFIG, max_items=30)
"""Histories and neighbour lists name items whose rows had to go."""


@REPEATS
@SEEDS
def test_the_query_is_the_plain_one(seed: int, repeats: bool) -> None:
    """The vector of a query and its bucket follow from the user's row, the history and the moment as documented."""
    learner, now = still(seed, repeats=repeats)
    rows, v, w = rows_of(learner), view(learner.replica), buffers(CONFIG, 4, 8)
    for slot, ask in asks(learner, seed, now, repeats=repeats):
        settings = setup(CONFIG, repeats=repeats, top=4)
        _, bucket, _ = query(v, learner.users.arrays, settings, slot, ask.second, w)
        assert bucket == bucket_of(ask)
        np.testing.assert_allclose(w.z[0], query_vector(rows, ask), rtol=1e-4, atol=1e-5)
        weights = gated_weights(rows, ask)
        found = len(weights)
        np.testing.assert_allclose(w.coefficient1[:found] + w.coefficient2[:found], weights, rtol=1e-4, atol=1e-6)


def test_buckets_end_where_the_documents_say() -> None:
    """Histories and pauses fall into the bucket that is documented, at its ends too."""
    nobody = user_of(still(0, repeats=False)[0], -1)
    for n in range(60):
        assert length_bucket(n) == plain_length_bucket(n)
    for end in (0, 60, 3600, 86400, 7 * 86400):
        for since in (end, end + 1):
            ask = Ask(replace(nobody, history=[(1, 1000)]), 1000 + since, repeats=False)
            assert gap_bucket(since) == plain_gap_bucket(ask)


def wrong_columns(learner: Learner, seed: int, now: int, *, repeats: bool) -> dict[str, float]:
    """Features, shares of the mixture and scores that are not the plain ones, by name, over several queries."""
    top = 4
    rows, v, w = rows_of(learner), view(learner.replica), buffers(learner.config, top, 8)
    keys = v.keys
    wrong: dict[str, float] = {}
    for slot, ask in asks(learner, seed, now, repeats=repeats):
        norm = normaliser(rows, ask)
        bucket, n = gather(learner, v, w, slot, ask, top, norm)
        known = plain.all_evidence(rows, ask, norm)
        others = [row for row in np.flatnonzero(keys) if int(keys[row]) in known and row not in w.cand[:n]]
        end = n + len(others)
        w.cand[n:end] = others
        settings = setup(CONFIG, repeats=repeats, top=top)
        ranking.score(v, learner.users.arrays, settings, slot, bucket, w, 0, end)
        items = [known[int(keys[row])] for row in w.cand[:end]]
        phi = [plain.columns(rows, bucket, each) for each in items]
        shares = [[each.probabilities[name] for name in plain.SHARES] for each in items]
        scores = [[plain.score(rows, bucket, each)] for each in items]
        wrong |= differing(FEATURES, w.features[:end, : len(FEATURES)], phi, 1e-4, 2e-4)
        of_mixture = differing(plain.SHARES, w.shares[:end, : len(plain.SHARES)], shares, 2e-4, 1e-7)
        wrong |= {f"share of {name}": by for name, by in of_mixture.items()}
        wrong |= differing(("score",), w.scores[:end, None], scores, 1e-4, 1e-3)
    return wrong


@REPEATS
@SEEDS
def test_every_column_is_the_plain_one(seed: int, repeats: bool) -> None:
    """Features, shares of the mixture and the score of all items are what the documents say, listed or not."""
    learner, now = still(seed, repeats=repeats)
    wrong = wrong_columns(learner, seed, now, repeats=repeats)
    assert not wrong, str(wrong)


@REPEATS
def test_columns_where_rows_are_missing(repeats: bool) -> None:
    """What has lost its row says nothing, and leaves the evidence of all else as it is."""
    learner, now = still(5, repeats=repeats, config=CROWDED)
    gone = {x for user in range(USERS) for x, _ in user_of(learner, learner.users.find(b"user-0-%d" % user)).history}
    assert gone - set(rows_of(learner).items)
    wrong = wrong_columns(learner, 5, now, repeats=repeats)
    assert not wrong, str(wrong)


def check_candidates(learner: Learner, seed: int, now: int, *, repeats: bool) -> None:
    """The candidates of several queries hold all that the plain lists hold, and only what may stand in one."""
    rows, v = rows_of(learner), view(learner.replica)
    works = {top: buffers(learner.config, top, 8) for top in (1, 3, 8)}
    for slot, ask in asks(learner, seed, now, repeats=repeats):
        known = plain.all_evidence(rows, ask, 0.0)
        for top, w in works.items():
            _, n = gather(learner, v, w, slot, ask, top, 0.0)
            listed = v.keys[w.cand[:n]].tolist()
            surely, perhaps = plain.candidates(known, ask, top)
            assert len(set(listed)) == n
            assert surely <= set(listed)
            assert set(listed) <= perhaps


@REPEATS
@SEEDS
def test_candidates_are_the_best_of_every_expert(seed: int, repeats: bool) -> None:
    """The candidates are each expert's best items that the user may get, each once, and no others."""
    learner, now = still(seed, repeats=repeats)
    check_candidates(learner, seed, now, repeats=repeats)


@REPEATS
def test_candidates_where_rows_are_missing(repeats: bool) -> None:
    """What has lost its row takes no place in a list."""
    learner, now = still(5, repeats=repeats, config=CROWDED)
    check_candidates(learner, 5, now, repeats=repeats)


@REPEATS
@SEEDS
def test_a_step_of_the_weights_is_the_plain_one(seed: int, repeats: bool) -> None:
    """An observed candidate moves its bucket's mixture by the responsibilities, and the weights by a softmax step."""
    world, now = make(seed, repeats=repeats)
    rng = np.random.default_rng(seed)
    learner, top = world.shards[0].learner, 4
    v, w = view(learner.replica), buffers(CONFIG, top, 8)
    settings, columns, rate = setup(CONFIG, repeats=repeats, top=top), len(FEATURES), CONFIG.score_rate
    for slot, ask in asks(learner, seed, now, repeats=repeats):
        rows = rows_of(learner)
        norm = normaliser(rows, ask)
        bucket, n = gather(learner, v, w, slot, ask, top, norm)
        ranking.score(v, learner.users.arrays, settings, slot, bucket, w, 0, n)
        at = int(rng.integers(n))
        known = plain.all_evidence(rows, ask, norm)
        listed = {x: known[x] for x in v.keys[w.cand[:n]].tolist()}
        chosen = int(v.keys[w.cand[at]])
        pi = plain.learned_mixture(rows, bucket, listed[chosen])
        weights, acc = plain.learned_weights(rows, bucket, listed, chosen)
        thanks = plain.responsibilities(rows, bucket, listed[chosen])
        ranking.learn_mixture(v, bucket, w, at, MIXTURE_MEMORY)
        np.testing.assert_allclose(w.slope[0, : len(thanks)], thanks, rtol=1e-3, atol=1e-6)
        ranking.learn_score(v, bucket, w, n, at, rate)
        after = rows_of(learner)
        np.testing.assert_allclose(after.pi[1 + bucket], pi, rtol=1e-4)
        np.testing.assert_allclose(after.w_acc[[0, 1 + bucket], :columns], acc, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(after.w[[0, 1 + bucket], :columns], weights, rtol=1e-3, atol=2e-4)
        assert (after.w[:, columns:] == rows.w[:, columns:]).all()


@REPEATS
@pytest.mark.parametrize("top", [3, 60])
def test_the_learner_learns_from_its_candidates(repeats: bool, top: int) -> None:
    """An event moves the mixture wherever its item was known and new, the weights only where it was a candidate."""
    world, now = make(7, repeats=repeats, config=replace(CONFIG, list_length=top))
    learner, moved = world.shards[0].learner, 0
    for event in events_of(np.random.default_rng(top), 20, now):
        rows, slot = rows_of(learner), learner.users.slot(b"user-0-%d" % event.user)
        user, x = user_of(learner, slot), item_hash(event.item)
        ask = Ask(user, event.t_ms // 1000, repeats, list(event.context or ()))
        learner.learn(event_batch(learner, 0, world.offsets[0], [event], content=content), 100 + moved)
        world.offsets[0] += 1
        after, bucket = rows_of(learner), bucket_of(ask)
        if event.weight < 0 or x not in rows.items or not ask.may_list(x):
            assert (after.pi == rows.pi).all()
            assert (after.w == rows.w).all()
            continue
        moved += 1
        norm = float(learner._work.facts[0])
        known = plain.all_evidence(rows, ask, norm)
        np.testing.assert_allclose(
            after.pi[1 + bucket], plain.learned_mixture(rows, bucket, known[x]), rtol=1e-4, atol=1e-5
        )
        surely, perhaps = plain.candidates(known, ask, top)
        if x not in perhaps:
            assert (after.w == rows.w).all()
        elif surely == perhaps:
            weights, acc = plain.learned_weights(rows, bucket, {i: known[i] for i in surely}, x)
            n = len(FEATURES)
            np.testing.assert_allclose(after.w[[0, 1 + bucket], :n], weights, rtol=1e-3, atol=2e-4)
            np.testing.assert_allclose(after.w_acc[[0, 1 + bucket], :n], acc, rtol=1e-3, atol=1e-4)
    assert moved


@SEEDS
@pytest.mark.parametrize("length", [4, 60])
def test_lists_are_the_best_of_the_union(seed: int, length: int) -> None:
    """A list is the best of the experts' candidates by the plain score, with its softmax, expert and reasons."""
    config = replace(CONFIG, list_length=length)
    learner, now = still(seed, repeats=False)
    rng = np.random.default_rng(seed)
    rows, compared = rows_of(learner), 0
    asked = [pair for repeats in (False, True) for pair in asks(learner, seed, now, repeats=repeats)]
    queries = []
    for slot, ask in asked:
        hidden, around = np.array(sorted(ask.hidden), np.uint64), np.array(ask.context, np.uint32)
        queries.append(Query(slot, ask.second * 1000 + 7, int(rng.integers(1, 5)), hidden, around, not ask.repeats))
    blocked = {item_hash(1), item_hash(2)}
    lists = Recommender(config, learner.replica, learner.users).recommend(queries, np.array(sorted(blocked), np.uint64))
    for (_, ask), asked_for, got in zip(asked, queries, lists, strict=True):
        ask.hidden |= blocked
        known = plain.all_evidence(rows, ask, normaliser(rows, ask))
        surely, perhaps = plain.candidates(known, ask, length, ["factors"])
        if surely != perhaps:
            continue
        compared += 1
        expected = plain.ranked(rows, ask, {x: known[x] for x in surely})
        best = list(expected.values())[: asked_for.k]
        items = got.items.tolist()
        assert len(set(items)) == len(items)
        # Of items that float32 sees alike, either may come first.
        np.testing.assert_allclose(got.scores, [each.score for each in best], rtol=3e-3, atol=1e-7)
        np.testing.assert_allclose(got.scores, [expected[x].score for x in items], rtol=3e-3, atol=1e-7)
        for x, expert, because in zip(items, got.expert.tolist(), got.because.tolist(), strict=True):
            parts = expected[x].mixture
            most = max(p for p, code in zip(parts, MIXTURE, strict=True) if code == expert)
            assert most >= max(parts) * (1 - 1e-4)
            assert all(code == mine for code, mine in zip(MIXTURE, plain.CODES, strict=True))
            check_reasons(ask, expected[x].because, expert, because)
    assert compared > len(queries) // 2


def check_reasons(ask: Ask, speaks: list[float], expert: int, because: list[int]) -> None:
    """The items named are two that speak most for the listed one; none for what is popular."""
    if expert == POPULARITY:
        assert because == [0, 0]
        return
    strength: dict[int, float] = {}
    for (item, _), value in zip(ask.user.history, speaks, strict=False):
        strength[item] = max(value, strength.get(item, 0.0))
    most = [value for value in sorted(strength.values(), reverse=True) if value > 1e-7][:2]
    named = [strength[item] for item in because if item]
    np.testing.assert_allclose(named, most, rtol=1e-3, atol=1e-6)
    assert len(set(because)) == len(because) or because == [0, 0]


@SEEDS
def test_excluded_rows_are_the_named_the_seen_and_the_blocked(seed: int) -> None:
    """A query must not list what it names, what its user has seen and what nobody gets, ascending and each once."""
    learner, _ = still(seed, repeats=False)
    rng = np.random.default_rng(seed)
    table, seen = learner.replica.items.table, learner.users.arrays.seen
    hidden = [-1, -1, *(learner.users.find(b"user-0-%d" % user) for user in (0, 1, USERS))]
    named = [[item_hash(int(i)) for i in rng.integers(ITEMS + 9, size=rng.integers(6))] for _ in hidden]
    # What one query ends with, the next may begin with.
    named[:2] = [[item_hash(3)], [item_hash(3)]]
    blocked = np.array([table.index.find(item_hash(i)) for i in (2, 4, ITEMS + 1)[:seed]], np.int64)
    named_ptr = np.cumsum([0, *map(len, named)]).astype(np.int64)
    flat = np.array([x for each in named for x in each], np.uint64)
    rows, ptr = np.empty(1000, np.int64), np.zeros(len(hidden) + 1, np.int64)
    excluded_rows(
        table.index.keys, table.index.slots, seen, np.array(hidden, np.int64), flat, named_ptr, blocked, rows, ptr
    )
    for i, slot in enumerate(hidden):
        own = user_of(learner, slot).seen
        expected = {table.index.find(x) for x in {*named[i], *own}} | set(blocked.tolist())
        assert rows[ptr[i] : ptr[i + 1]].tolist() == sorted(expected - {-1})


def test_factors_are_at_most_certain() -> None:
    """Where the normaliser is an estimate that is too low, a probability stays at 1."""
    learner, now = still(0, repeats=False)
    rows, v, w = rows_of(learner), view(learner.replica), buffers(CONFIG, 4, 8)
    slot, ask = asks(learner, 0, now, repeats=False)[4]
    bucket, n = gather(learner, v, w, slot, ask, 4, -50.0)
    ranking.score(v, learner.users.arrays, setup(CONFIG, repeats=False, top=4), slot, bucket, w, 0, n)
    assert {e.probabilities["factors"] for e in plain.all_evidence(rows, ask, -50.0).values()} == {1.0}
    assert (w.shares[:n, plain.SHARES.index("factors")] == 1.0).all()
