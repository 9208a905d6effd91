"""The contract of the shared parameters, under any delays, groupings and restarts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.model.config import ModelConfig
from services.model.learner import Learner
from services.model.owner import ItemOwner
from services.model.rows import RowChange
from services.model.table import KINDS
from tests.unit.model.simulation import Event, World, bits, event_batch

SHARDS = 3
PARTITIONS = 2
ITEMS = 24

SMALL = ModelConfig(
    item_partitions=PARTITIONS,
    dim=8,
    history=6,
    history_kept=9,
    negatives=12,
    write_threshold=0.02,
    max_items=1000,
    max_features=10,
    max_users=1000,
    max_seen=600,
    max_neighbours=5,
)
CROWDED = replace(SMALL, max_items=14, max_users=4)

FEW = settings(max_examples=max(20, settings.default.max_examples // 4))  # type: ignore[union-attr]  # there is a default
"""An example plays a whole world."""

events = st.builds(
    Event,
    user=st.integers(0, 7),
    item=st.integers(0, ITEMS - 1),
    t_ms=st.integers(0, 3 * 86_400_000).map(lambda t: 1_700_000_000_000 + t),
    weight=st.sampled_from([1.0, 1.0, 1.0, 0.5, 0.0, -0.2, -1.0]),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("learn"), st.integers(0, SHARDS - 1), st.lists(events, min_size=1, max_size=12)),
        st.tuples(st.just("fold"), st.integers(0, PARTITIONS - 1), st.integers(1, 3)),
        st.tuples(st.just("sweep"), st.integers(0, PARTITIONS - 1)),
        st.tuples(st.just("take"), st.integers(0, SHARDS - 1), st.integers(0, PARTITIONS - 1), st.integers(1, 3)),
        st.tuples(st.just("exchange"), st.integers(0, SHARDS - 1), st.integers(0, PARTITIONS - 1), st.integers(1, 3)),
        st.tuples(st.just("restart_shard"), st.integers(0, SHARDS - 1), st.integers(0, 99)),
        st.tuples(st.just("restart_owner"), st.integers(0, PARTITIONS - 1), st.integers(0, 99)),
    ),
    min_size=4,
    max_size=24,
)


def play(config: ModelConfig, script: list[tuple[object, ...]]) -> World:
    """Run a script of steps on a new world."""
    world = World(config, SHARDS)
    for name, *arguments in script:
        values = list(arguments)
        if str(name).startswith("restart"):
            values[-1] = np.random.default_rng(int(str(values[-1])))
        getattr(world, str(name))(*values)
    return world


def rows_of(learner: Learner) -> dict[tuple[str, str], dict[str, bytes]]:
    """Every row of a replica: {(kind, key): blocks}."""
    out: dict[tuple[str, str], dict[str, bytes]] = {}
    for kind, table in zip(KINDS, learner.replica.tables, strict=True):
        for start, end in table.segments():
            if kind == "system" and start >= table.confirmed:
                # Rows at their initial values, which nobody has learned anything for yet.
                continue
            at = start + np.flatnonzero(table.table.keys[start:end])
            for key, blocks in zip(table.table.key_of(at), table.table.get(at), strict=True):
                out[kind, key] = blocks
    return out


def owned(world: World) -> dict[str, dict[str, bytes]]:
    """Every row of the owners: {key: blocks}."""
    return {
        row.key: {name: raw for name, raw in (row.blocks or {}).items() if name != "touch"}
        for part in world.partitions
        for row in part.owner.rows()
    }


@pytest.mark.parametrize("config", [SMALL, CROWDED], ids=["roomy", "crowded"])
@FEW
@given(script=steps)
def test_replicas_converge(config: ModelConfig, script: list[tuple[object, ...]]) -> None:
    """Once everything is folded and taken, every replica holds the owners' rows, bit for bit."""
    world = play(config, script)
    world.settle()
    expected = owned(world)
    for shard in world.shards:
        mine = {key: blocks for (_, key), blocks in rows_of(shard.learner).items()}
        assert mine == expected
        stats = shard.learner.replica.stats()
        assert stats.provisional == 0
        assert stats.pending_batches == 0


@pytest.mark.parametrize("config", [SMALL, CROWDED], ids=["roomy", "crowded"])
@FEW
@given(script=steps)
def test_rebuild_reproduces_every_delta(config: ModelConfig, script: list[tuple[object, ...]]) -> None:
    """Events, clocks and the delta log are enough to compute every delta and user row again, bit for bit."""
    world = play(config, script)
    shuffle = np.random.default_rng(1)
    users: list[dict[bytes, dict[str, bytes]]] = [{} for _ in range(SHARDS)]
    seen: list[dict[bytes, list[tuple[int, bytes]]]] = [{} for _ in range(SHARDS)]
    for seal in world.seals:
        learner = Learner(config)
        for p, part in enumerate(world.partitions):
            owner = ItemOwner(config, p)
            for _, _, _, deltas in part.log[: seal.clock[p]]:
                owner.fold(deltas)
            rows = list(owner.rows())
            learner.replica.take(p, [rows[i] for i in shuffle.permutation(len(rows))], None)
        for batch in range(seal.batch):
            pending = {
                p: deltas
                for p, part in enumerate(world.partitions)
                for shard, epoch, number, deltas in part.log[seal.clock[p] :]
                if (shard, epoch, number) == (seal.shard, seal.epoch, batch)
            }
            learner.replica.commit(batch, pending, learned=False)
        for user, row in users[seal.shard].items():
            learner.users.load([user], [row])
            for chunk, hashes in seen[seal.shard][user]:
                learner.users.load_seen([user], [chunk], [hashes])
        again = learner.learn(event_batch(learner, seal.shard, seal.start, seal.events), seal.batch)
        assert {p: bits(d) for p, d in again.items()} == {p: bits(d) for p, d in seal.deltas.items()}
        for gone in learner.evicted_users():
            users[seal.shard].pop(gone.user, None)
        for user, row in seal.users.items():
            slot = learner.users.find(user)
            assert learner.users.dump(np.array([slot])) == [row]
            users[seal.shard][user] = row
            seen[seal.shard][user] = learner.users.seen_chunks(slot)


@FEW
@given(script=steps, groups=st.lists(st.integers(1, 4), min_size=1, max_size=30), order=st.integers(0, 99))
def test_owner_is_a_function_of_the_log(script: list[tuple[object, ...]], groups: list[int], order: int) -> None:
    """Sweeps of any grouping, with a restart from the swept rows after any of them, change nothing."""
    world = play(CROWDED, script)
    for p, part in enumerate(world.partitions):
        straight, interrupted = ItemOwner(CROWDED, p), ItemOwner(CROWDED, p)
        state: dict[int, RowChange] = {}
        shuffle = np.random.default_rng(order)
        at = 0
        while at < len(part.log):
            n = groups[at % len(groups)]
            for _, _, _, deltas in part.log[at : at + n]:
                straight.fold(deltas)
                interrupted.fold(deltas)
            at += n
            for change in interrupted.sweep():
                state[change.hash] = change
            interrupted = ItemOwner(CROWDED, p)
            changes = [c for c in state.values() if c.blocks is not None]
            for i in shuffle.permutation(len(changes)):
                interrupted.load(changes[i])
        assert list(straight.rows()) == list(interrupted.rows())


@FEW
@given(batch=st.lists(events, min_size=1, max_size=20), warm=st.integers(0, 5))
def test_one_shard_with_an_exchange_per_batch_is_local_learning(batch: list[Event], warm: int) -> None:
    """Exchanging after every event gives what learning the events in one local batch gives."""
    catalogue = [Event(99, item, 1_700_000_000_000) for item in range(ITEMS)]
    together, apart = World(SMALL, 1), World(SMALL, 1)
    for world in (together, apart):
        for _ in range(warm + 1):
            world.learn(0, catalogue)
            world.settle()
    together.learn(0, batch)
    together.settle()
    for event in batch:
        apart.learn(0, [event])
        apart.settle()
    a, b = owned(together), owned(apart)
    assert a.keys() == b.keys()
    for key, blocks in a.items():
        for name in ("pop", "q", "b", "v", "near", "totals", "gates"):
            if name in blocks:
                left, right = np.frombuffer(blocks[name], np.float32), np.frombuffer(b[key][name], np.float32)
                np.testing.assert_allclose(left, right, rtol=2e-3, atol=5e-4, err_msg=f"{key} {name}")
    for user, row in together.users[0].items():
        assert row["h"] == apart.users[0][user]["h"]
        left, right = np.frombuffer(row["p"], np.float32), np.frombuffer(apart.users[0][user]["p"], np.float32)
        np.testing.assert_allclose(left, right, rtol=2e-3, atol=5e-4)
