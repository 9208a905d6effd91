"""The ranker of items that nobody has touched."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model import cold
from services.model.arrays import I64, U32
from services.model.cold import MEMORY, ColdRanker
from services.model.kernels.cold import forget_profile, profile, pull_of
from services.model.kernels.untouched import personal_scores

ITEMS, FEATURES = 60, 200
NOBODY: I64 = np.zeros(0, np.int64)


def content(rng: np.random.Generator) -> U32:
    """Some categories, perhaps a set of them, a year and words of a title."""
    words = [(1 << 28) | int(c) for c in rng.choice(8, rng.integers(0, 4), replace=False)]
    words += [(2 << 28) | int(rng.integers(20))] if words else []
    words += [(3 << 28) | int(rng.integers(1960, 2026))] if rng.random() < 0.8 else []
    words += [(5 << 28) | int(w) for w in rng.choice(40, rng.integers(0, 5), replace=False)]
    return np.array(words, np.uint32)


def ranker(seed: int = 0, touched: int = 20) -> ColdRanker:
    """A ranker of random items, the first of which were touched in their order."""
    rng = np.random.default_rng(seed)
    made = ColdRanker(2 * ITEMS, FEATURES, 16)
    made.set_year(2024)
    for item in range(ITEMS):
        made.put(item, content(rng))
    for item in range(touched):
        made.touch(item)
    return made


@given(seed=st.integers(0, 1000), newest=st.lists(st.integers(-1, ITEMS - 1), max_size=60))
def test_serving_scores_items_as_the_evaluation_does(seed: int, newest: list[int]) -> None:
    """What lists are made from, steady part and personal part, is the log-linear score over all the evidence."""
    made, history = ranker(seed), np.array(newest, np.int64)
    shelf, v = made.shelf(), made.view
    found = np.zeros(len(shelf.items), np.float32)
    profile(v, history[:50])
    pull_of(v, history[:50])
    personal_scores(v, shelf, made.weights, found)
    forget_profile(v, history[:50])
    assert found == pytest.approx(made.scores(shelf.items, history), abs=2e-4)
    assert not v.pull.any()
    assert made.scores(shelf.items, NOBODY) == pytest.approx(shelf.steady)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["put", "touch", "release", "remove"]), st.integers(0, 19), st.integers(0, 5)),
        max_size=60,
    )
)
def test_the_counts_of_untouched_items_are_those_of_the_untouched_items(steps: list[tuple[str, int, int]]) -> None:
    """Whatever comes and goes in whatever order, the untouched items and their features are counted right."""
    made = ColdRanker(20, FEATURES, 16)
    made.set_year(2024)
    state: dict[int, tuple[int, bool]] = {}
    kinds = [content(np.random.default_rng(n)) for n in range(6)]
    for what, item, kind in steps:
        touched = state.get(item, (0, False))[1]
        if what == "put":
            made.put(item, kinds[kind])
            state[item] = kind, touched
        elif what == "remove":
            made.remove(item)
            state.pop(item, None)
        elif item in state:
            (made.touch if what == "touch" else made.release)(item)
            state[item] = state[item][0], what == "touch"
    waiting = sorted(item for item, (_, touched) in state.items() if not touched)
    assert sorted(made.candidates().tolist()) == waiting
    anew = ColdRanker(20, FEATURES, 16)
    anew.set_year(2024)
    for item, (kind, _) in state.items():
        anew.put(item, kinds[kind])
    for item in set(state) - set(waiting):
        anew.touch(item)
    assert made.view.untouched_age == pytest.approx(anew.view.untouched_age)
    assert made.view.totals[1] == anew.view.totals[1] == len(waiting)
    for word in {w for kind in kinds for w in kind.tolist()}:
        ours, theirs = (each._features.find(word) for each in (made, anew))
        there = anew.view.untouched[theirs] if theirs >= 0 else 0.0
        assert (made.view.untouched[ours] if ours >= 0 else 0.0) == there


def test_old_first_occurrences_count_less() -> None:
    """After as many first occurrences as the memory is long an old one counts half, however long the stream has run."""
    made = ranker(touched=0)
    made.put(ITEMS, np.array([1 << 28 | 77], np.uint32))
    for _ in range(20 * MEMORY):
        made.touch(0)
        made.release(0)
    made.touch(ITEMS)
    v = made.view
    feature = made._features.find(1 << 28 | 77)
    before = v.recent[feature] / v.totals[5]
    for _ in range(MEMORY):
        made.touch(0)
        made.release(0)
    assert before == pytest.approx(1.0)
    assert v.recent[feature] / v.totals[5] == pytest.approx(0.5, rel=1e-2)


def test_of_many_items_the_shelf_holds_the_best_and_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists look at a bounded number of untouched items; one that has just been announced is among them."""
    monkeypatch.setattr(cold, "CONSIDERED", 10)
    made = ranker()
    held = made.shelf().items
    scores = made.scores(made.candidates(), NOBODY)
    assert sorted(held.tolist()) == sorted(made.candidates()[np.argsort(-scores, kind="stable")[:10]].tolist())
    made.put(ITEMS, content(np.random.default_rng(5)))
    assert set(made.shelf().items.tolist()) == {*held.tolist(), ITEMS}
    made.touch(int(held[0]))
    assert int(held[0]) not in made.shelf().items.tolist()
    for item in range(ITEMS + 1, ITEMS + 30):
        made.put(item, content(np.random.default_rng(item)))
    assert len(made.shelf().items) <= 20


def test_what_people_take_first_is_learned() -> None:
    """Where first occurrences are always of the user's category, an untouched item of it comes to stand further up."""
    made = ColdRanker(400, 100, 4)
    made.set_year(2024)
    for item in range(400):
        made.put(item, np.array([1 << 28 | item % 5], np.uint32))
    history = np.array([0, 5, 10], np.int64)
    for item in (0, 5, 10):
        made.touch(item)
    before = made.weights.copy()
    for item in range(15, 200, 5):
        made.learn(item, history)
    assert made.weights[3] > before[3]
    best = made.candidates()[np.argsort(-made.scores(made.candidates(), history), kind="stable")[:20]]
    assert set((best % 5).tolist()) == {0}


def test_features_past_the_ceiling_say_nothing() -> None:
    """A catalogue with more features than there is room for is ranked by those that found room."""
    made = ColdRanker(4, 2, 8)
    made.put(0, np.array([1 << 28 | 1, 1 << 28 | 2, 1 << 28 | 3], np.uint32))
    made.put(1, np.array([1 << 28 | 3], np.uint32))
    assert made.view.content.length[:2].tolist() == [2, 0]
    assert np.isfinite(made.scores(made.candidates(), np.array([0], np.int64))).all()
