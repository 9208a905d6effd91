"""The factor kernels against the plain step."""

from __future__ import annotations

import numpy as np
import pytest

from services.model.config import ModelConfig
from services.model.kernels.factors import draw
from services.model.learner import Learner
from tests.unit.model.kernels.plain_factors import PlainFactors
from tests.unit.model.simulation import Event, World, event_batch, item_hash

CONFIG = ModelConfig(
    item_partitions=1, dim=8, history=4, history_kept=6, negatives=10, max_items=100, write_threshold=0.05, max_users=50
)
ITEMS = 30
NOW = 1_700_000_000_000


def warm() -> World:
    """A world of one shard that knows every item."""
    world = World(CONFIG, 1)
    world.learn(0, [Event(9, i, NOW) for i in range(ITEMS)])
    world.settle()
    return world


def plain_of(learner: Learner) -> PlainFactors:
    """A plain copy of a learner's parameters in float64, by position."""
    s, u = learner.replica.items.table.stores, learner.users.arrays
    n, gates = learner.replica.items.bound, learner.replica.system.table.stores["gates"]

    def copy(array: np.ndarray[tuple[int, ...], np.dtype[np.float32]], rows: int) -> object:
        return array[:rows].astype(np.float64)

    return PlainFactors(
        CONFIG,
        copy(s["q"].data, n),
        copy(s["q"].acc[:, 0], n),
        copy(s["b"].data[:, 0], n),
        copy(s["v"].data, n),
        copy(s["v"].acc[:, 0], n),
        copy(u.vector, 10),
        copy(u.acc[:, 0], 10),
        gates.data[0].astype(np.float64),
        gates.acc[0].astype(np.float64),
    )


@pytest.mark.parametrize("seed", range(5))
def test_batch_is_the_plain_step_event_by_event(seed: int) -> None:
    """A batch of events of every kind moves every parameter as the plain version does."""
    world = warm()
    learner = world.shards[0].learner
    rng = np.random.default_rng(seed)
    events = [
        Event(int(rng.integers(4)), int(rng.integers(ITEMS)), NOW + i, float(rng.choice([1.0, 2.0, 0.5, -1.0, -0.1])))
        for i in range(40)
    ]
    batch = event_batch(learner, 0, 1000, events)
    plain = plain_of(learner)
    table = learner.replica.items.table
    histories: dict[int, list[int]] = {}
    for i, event in enumerate(events):
        user, row = int(batch.user[i]), table.index.find(item_hash(event.item))
        drawn = np.zeros(CONFIG.negatives + 1, np.int64)
        m = draw(
            table.keys, learner.replica.items.bound, row, batch.seed[i] ^ learner._step.salt, CONFIG.negatives, drawn
        )
        history = histories.setdefault(user, [])
        gap = 0 if history else 4
        plain.step(user, row, event.weight, history[: CONFIG.history], gap, drawn[1:m].tolist())
        if event.weight > 0:
            history.insert(0, row)
    learner.learn(batch, 1)
    after = plain_of(learner)
    for name in ("q", "q_acc", "b", "v", "v_acc", "p", "p_acc", "gates", "gates_acc"):
        np.testing.assert_allclose(getattr(after, name), getattr(plain, name), rtol=2e-3, atol=2e-4, err_msg=name)


def test_draws_are_uniform_and_reproducible() -> None:
    """Draws depend on the seed alone, skip holes and the positive, and reach every row about alike."""
    keys = np.ones(20, np.uint64)
    keys[[3, 7]] = 0
    counts = np.zeros(20)
    out, again = np.zeros(51, np.int64), np.zeros(51, np.int64)
    for seed in range(2000):
        m = draw(keys, 20, 5, np.uint64(seed), 50, out)
        assert m == draw(keys, 20, 5, np.uint64(seed), 50, again)
        assert (out[:m] == again[:m]).all()
        counts += np.bincount(out[1:m], minlength=20)
    assert counts[[3, 5, 7]].sum() == 0
    reached = counts[counts > 0]
    assert len(reached) == 17
    assert reached.max() < 1.1 * reached.min()


def test_few_rows_are_written() -> None:
    """Only the observed item and probable negatives change in Q, only the newest history rows in V."""
    world = warm()
    learner = world.shards[0].learner
    deltas = learner.learn(event_batch(learner, 0, 1000, [Event(0, 3, NOW)]), 1)[0]
    assert "v" not in deltas.blocks
    changed = {deltas.ids[i] for i in deltas.blocks["q"].rows}
    assert "item-3" in changed
    assert len(changed) <= 1 + CONFIG.negatives


def test_nothing_to_contrast_with_teaches_nothing() -> None:
    """The first batch ever has no confirmed rows to draw: it counts, and leaves the factors alone."""
    learner = Learner(CONFIG)
    deltas = learner.learn(event_batch(learner, 0, 0, [Event(0, 1, NOW), Event(0, 2, NOW)]), 0)
    assert not {"q", "b", "v", "gates"} & set(deltas[0].blocks)
