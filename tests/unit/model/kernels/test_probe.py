"""The ranks that the evaluation reports, against the plain ranking before every event."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model.kernels.probe import MISSED, NOT_SCORED, _rank
from tests.unit.model.kernels import plain_ranking as plain
from tests.unit.model.kernels.plain_experts import Ask, bucket_of, normaliser, query_vector
from tests.unit.model.kernels.plain_rows import rows_of, user_of
from tests.unit.model.kernels.ranking_worlds import CONFIG, content, events_of, make
from tests.unit.model.simulation import event_batch, item_hash


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(0, 11))
def test_equals_count_half(values: list[int], at: int) -> None:
    """The rank is 1 + #higher + 1/2·#equal, of the values that count."""
    at %= len(values)
    rank = _rank(np.array([*values, 9], np.float32), len(values), at)
    assert rank == 1 + sum(v > values[at] for v in values) + (values.count(values[at]) - 1) / 2


def check_rank(got: float, own: float, others: Iterable[float], nearly: float) -> None:
    """The rank of `own` among the others, where float32 may see what is nearly equal in either order."""
    others = list(others)
    higher, upper = sum(v > own + nearly for v in others), sum(v >= own - nearly for v in others)
    assert 1 + higher <= got <= 1 + upper


@pytest.mark.parametrize("repeats", [False, True], ids=["new items", "repeats"])
@pytest.mark.parametrize("top", [4, 60])
def test_events_are_ranked_as_the_plain_ranking_ranks_them(repeats: bool, top: int) -> None:
    """Every positive that is new to its user is ranked by every expert, the mixture and the score before it counts."""
    world, now = make(top, repeats=repeats, config=replace(CONFIG, list_length=top))
    learner, ranked = world.shards[0].learner, 0
    for number, event in enumerate(events_of(np.random.default_rng(top), 60, now)):
        # Others have taken nearly everything.
        event = replace(event, user=event.user + 50)  # noqa: PLW2901
        rows, slot = rows_of(learner), learner.users.slot(b"user-0-%d" % event.user)
        ask = Ask(user_of(learner, slot), event.t_ms // 1000, repeats, list(event.context or ()))
        x, bucket = item_hash(event.item), bucket_of(ask)
        learner.learn(event_batch(learner, 0, world.offsets[0], [event], content=content), 100 + number, probe=True)
        world.offsets[0] += 1
        got = learner.ranks
        if event.weight < 0 or not ask.may_list(x):
            assert got.rank[0] == got.factors[0] == NOT_SCORED
            assert (got.experts == NOT_SCORED).all()
            continue
        assert got.bucket[0] == bucket
        assert got.age[0] == pytest.approx(rows.items[x].popularity.counts[-1] if x in rows.items else 0.0)
        if x not in rows.items:
            assert got.rank[0] == got.factors[0] == MISSED
            assert (got.experts == MISSED).all()
            continue
        z, known = query_vector(rows, ask), plain.all_evidence(rows, ask, normaliser(rows, ask))
        logits = {y: float(rows.items[y].b + z @ rows.items[y].q) for y in known}
        own = logits.pop(x)
        check_rank(float(got.factors[0]), own, logits.values(), 1e-4)
        surely, perhaps = plain.candidates(known, ask, top, ["factors"])
        if x not in perhaps:
            assert got.rank[0] == MISSED
        if surely != perhaps or x not in surely:
            continue
        ranked += 1
        others = [known[y] for y in surely if y != x]
        check_rank(
            float(got.rank[0]),
            plain.score(rows, bucket, known[x]),
            [plain.score(rows, bucket, y) for y in others],
            1e-3,
        )
        for name, rank in zip(plain.SHARES, got.experts[0].tolist(), strict=False):
            share = known[x].probabilities[name]
            if share > 0:
                check_rank(rank, share, [y.probabilities[name] for y in others], 1e-4 * share)
            else:
                assert rank == MISSED
        mixed = [plain.columns(rows, bucket, y)[-1] for y in (known[x], *others)]
        check_rank(float(got.experts[0, -1]), mixed[0], mixed[1:], 1e-4)
    assert ranked > 5
