"""The counting side of learning against the plain counts: popularity, pairs, contexts, content features, users."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.keys import KIND_CATEGORY, KIND_TITLE_TOKEN, KIND_YEAR, feature
from services.model.arena import list_pool, lists_set
from services.model.config import ModelConfig
from services.model.events import ragged
from services.model.fold import rates
from services.model.gather import put_back
from services.model.kernels.batch import _count_live, content_changes, count_event
from services.model.kernels.touched import increments
from services.model.layout import blocks
from services.model.learner import Learner
from services.model.views import view
from tests.unit.model.kernels.plain_counts import PlainCounts, PlainList, PlainPopularity
from tests.unit.model.kernels.plain_rows import Counts, Neighbours, rows_of, user_of
from tests.unit.model.simulation import Event, World

HOUR_S, DAY_S = 3600, 86_400
CONFIG = ModelConfig(
    item_partitions=3,
    dim=8,
    history=5,
    history_kept=9,
    pair_halflife_s=8.0 * HOUR_S,
    negatives=4,
    pairs_written=7,
    neighbours_read=3,
    context_history=2,
    list_length=3,
    max_neighbours=5,
    max_seen=10,
    max_categories=4,
    max_items=300,
    max_features=300,
    max_contexts=60,
    max_users=60,
)
ITEMS, USERS, EVENTS = 22, 6, 400
NOW_S = 1_700_000_000
RATES = rates(blocks(CONFIG, "item")[0])
"""Halvings per tick of the popularity counts."""
SEEDS = pytest.mark.parametrize("seed", range(4))


def content(item: int) -> list[int]:
    """Up to three of seven categories, a year, a word; nothing for every fifth item."""
    if item % 5 == 0:
        return []
    categories = np.random.default_rng(item).choice(7, item % 4, replace=False).tolist()
    return [feature(KIND_CATEGORY, c) for c in categories] + [feature(KIND_YEAR, 2000), feature(KIND_TITLE_TOKEN, item)]


def stream(seed: int) -> list[Event]:
    """Events of few users on few items: weights of every kind, sessions, silences of weeks, some of them late."""
    rng = np.random.default_rng(seed)
    out, second = [], NOW_S
    for number in range(EVENTS):
        second += int(rng.choice([0, 20, 300, 4 * HOUR_S, 40 * DAY_S], p=[0.2, 0.4, 0.25, 0.14, 0.01]))
        late = int(rng.choice([0, 0, 0, 900, 3 * DAY_S]))
        weight = float(rng.choice([1.0, 0.5, 2.0, -1.0, -0.25, 0.0], p=[0.5, 0.15, 0.15, 0.1, 0.05, 0.05]))
        # Users come and go, so that there are newcomers all the time.
        user = int(rng.integers(USERS)) + number // 80 * USERS
        around = tuple(sorted({int(c) for c in rng.integers(4, size=2)}))
        out.append(Event(user, int(ITEMS * rng.random() ** 1.5), (second - late) * 1000 + 999, weight, around))
    return out


def learned(seed: int, shards: int, config: ModelConfig = CONFIG) -> tuple[Learner, PlainCounts, World]:
    """The same stream learned by both, in batches of any size."""
    rng = np.random.default_rng(seed)
    world, plain, events = World(config, shards, content), PlainCounts(config, content), stream(seed)
    while events:
        n, shard = int(rng.integers(1, 40)), int(rng.integers(shards))
        world.learn(shard, events[:n])
        plain.learn(shard, events[:n])
        del events[:n]
        # What a shard has not heard of, it would describe once more.
        if shards > 1 or config is not CONFIG or rng.random() < 0.4:
            world.settle()
            for partition in world.partitions:
                changes = {change.hash: change.blocks for change in partition.sweeps[-1].changes}
                for item in [x for x, blocks in changes.items() if blocks is None]:
                    plain.forget(item)
    world.settle()
    return world.shards[0].learner, plain, world


def check_popularity(got: Counts, expected: PlainPopularity) -> None:
    """The anchor and the count without decay to the bit, the others to rounding."""
    assert got.anchor == expected.anchor
    counts = expected.counts(CONFIG.halflives_s, expected.anchor)
    assert got.counts[-1] == counts[-1]
    np.testing.assert_allclose(got.counts, counts, rtol=1e-5, atol=1e-9)


def check_list(got: Neighbours, expected: PlainList) -> None:
    """The same neighbours in the same places, their counts and the sums over all there ever were."""
    assert list(got.counts) == expected.order
    for neighbour, counts in got.counts.items():
        np.testing.assert_allclose(
            counts, expected.counts(expected.pairs[neighbour], got.anchor), rtol=1e-5, atol=1e-7, err_msg="counts"
        )
        assert counts[0] == sum(pair.weight for pair in expected.pairs[neighbour])
    np.testing.assert_allclose(got.sums, expected.counts(expected.everything, got.anchor), rtol=2e-5, atol=1e-7)
    assert got.sums[0] == sum(pair.weight for pair in expected.everything)


@SEEDS
@pytest.mark.parametrize("shards", [1, 2])
def test_a_stream_is_counted_as_the_plain_one(seed: int, shards: int) -> None:
    """After any stream, every row holds the counts that follow from the events, whatever batches they came in."""
    learner, plain, _ = learned(seed, shards)
    rows = rows_of(learner)
    assert rows.items.keys() == plain.items.keys()
    check_popularity(rows.totals, plain.totals)
    nothing = PlainList(CONFIG.max_neighbours, CONFIG.pair_halflife_s)
    gave_way = 0
    for item, row in rows.items.items():
        check_popularity(row.popularity, plain.items[item])
        check_list(row.near, near := plain.near.get(item, nothing))
        gave_way += len(near.everything) > sum(map(len, near.pairs.values()))
    assert gave_way > len(rows.items) // 2
    assert rows.contexts.keys() == plain.contexts.keys()
    for name, around in rows.contexts.items():
        check_list(around, plain.contexts[name])
    assert {f: list(counts) for f, counts in rows.features.items()} == plain.features


@SEEDS
def test_rows_that_went_begin_anew(seed: int) -> None:
    """Under a ceiling of items, a row holds the counts of the events since it last came; pairs with others stay."""
    config = replace(CONFIG, max_items=18)
    learner, plain, world = learned(seed, 1, config)
    rows = rows_of(learner)
    assert not learner.skipped
    assert any(change.blocks is None for part in world.partitions for sweep in part.sweeps for change in sweep.changes)
    assert rows.items.keys() == plain.items.keys()
    check_popularity(rows.totals, plain.totals)
    for item, row in rows.items.items():
        check_popularity(row.popularity, plain.items[item])
        check_list(row.near, plain.near.get(item, PlainList(config.max_neighbours, config.pair_halflife_s)))


@SEEDS
def test_users_are_counted_as_the_plain_ones(seed: int) -> None:
    """Histories, categories and items seen follow from the events of their user, and from nothing else."""
    _, plain, world = learned(seed, 2)
    for (shard, number), expected in plain.users.items():
        users = world.shards[shard].learner.users
        got = user_of(world.shards[shard].learner, users.find(b"user-%d-%d" % (shard, number)))
        assert got.history == expected.history
        assert got.seen == set(expected.seen)
        assert list(got.categories) == [int(category) for category, _ in expected.categories]
        np.testing.assert_allclose(list(got.categories.values()), [n for _, n in expected.categories], rtol=1e-5)


moments = st.lists(
    st.tuples(st.integers(0, 2), st.one_of(st.integers(0, 9000), st.integers(0, 40 * DAY_S)), st.floats(0.125, 8)),
    min_size=1,
    max_size=30,
)


@given(moments)
def test_increments_are_the_plain_counts(events: list[tuple[int, int, float]]) -> None:
    """A batch's increments are the decayed counts of its events at each row's newest, in whatever order they came."""
    log, plain = increments(5, len(CONFIG.halflives_s) + 1), [PlainPopularity() for _ in range(3)]
    for row, second, weight in events:
        count_event(log, row, NOW_S + second, weight, RATES)
        plain[row].events.append((NOW_S + second, weight))
    touched = list(dict.fromkeys(row for row, _, _ in events))
    assert log.rows[: log.n[0]].tolist() == touched
    for at, row in enumerate(touched):
        assert log.values[at, -1] == plain[row].anchor
        expected = plain[row].counts(CONFIG.halflives_s, plain[row].anchor)
        np.testing.assert_allclose(log.values[at, :-1], expected, rtol=1e-5, atol=1e-9)


@SEEDS
def test_live_counts_are_the_plain_ones_until_the_batch_ends(seed: int) -> None:
    """In a batch an event sees the counts of those before it; after it the rows are what they were, to the bit."""
    learner, plain, _ = learned(seed, 1)
    table, system, rng = learner.replica.items.table, learner.replica.system.table, np.random.default_rng(seed)
    v, logs, one = view(learner.replica), learner._logs, np.zeros(16, np.float32)
    before, totals = v.pop[: table.room].copy(), v.totals.copy()
    row = int(np.flatnonzero(table.keys)[seed])
    mine, newest = plain.items[int(table.keys[row])], NOW_S
    for _ in range(20):
        newest = max(newest, plain.totals.anchor * 128) + int(rng.integers(2000))
        second, weight = newest - int(rng.choice([0, 5000])), float(rng.choice([0.5, 1.0, 2.0]))
        _count_live(v, logs, row, second, weight, one)
        for counted, expected in ((v.pop[row], mine), (v.totals[v.system[0]], plain.totals)):
            expected.events.append((second, weight))
            check_popularity(Counts(counted[:-1].tolist(), float(counted[-1])), expected)
    assert (v.pop != before).any(axis=1).nonzero()[0].tolist() == [row]
    put_back(logs.pop, table.stores["pop"])
    put_back(logs.totals, system.stores["totals"])
    assert v.pop.tobytes() == before.tobytes()
    assert v.totals.tobytes() == totals.tobytes()


@SEEDS
def test_changed_content_is_noticed(seed: int) -> None:
    """Items are reported whose content, cut at the ceiling, is not what their row holds; no content is no news."""
    rng = np.random.default_rng(seed)
    limit, rows = 3, 4
    pool = list_pool(rows, limit, np.uint32, 0)
    held = [rng.integers(1, 3, rng.integers(limit + 1)).tolist() for _ in range(rows)]
    for row, words in enumerate(held):
        lists_set(pool, np.array([row]), np.array([0, len(words)]), np.array(words, np.uint32))
    events = [(int(rng.integers(-1, rows)), float(rng.choice([1, -1]))) for _ in range(60)]
    said = [rng.integers(1, 3, rng.integers(limit + 3)).tolist() for _ in events]
    ptr, words = ragged(said)
    where, weights = (np.array(column) for column in zip(*events, strict=True))
    expected = [
        i
        for i, ((row, weight), new) in enumerate(zip(events, said, strict=True))
        if row >= 0 and weight > 0 and new and new[:limit] != held[row]
    ]
    assert content_changes(pool, where, weights.astype(np.float32), ptr, words).tolist() == expected
    assert 0 < len(expected) < len(events)
