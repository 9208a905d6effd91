"""Exact top-K against sorting everything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model import topk
from services.model.topk import ranked, top_k


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few rows, so that thresholds run over many of them."""
    monkeypatch.setattr(topk, "BLOCK", 7)


@given(seed=st.integers(0, 10_000), k=st.integers(1, 30), ties=st.booleans())
def test_top_k_is_exact(seed: int, k: int, ties: bool) -> None:
    """The best rows, their order and the normaliser are those of the full ranking, less what is excluded."""
    rng = np.random.default_rng(seed)
    n, queries = 60, 4
    q = rng.integers(-1, 2, (n, 8)).astype(np.float32) if ties else rng.normal(size=(n, 8)).astype(np.float32)
    z = (
        rng.integers(-1, 2, (queries, 8)).astype(np.float32)
        if ties
        else rng.normal(size=(queries, 8)).astype(np.float32)
    )
    b = np.zeros(n, np.float32)
    keys = (rng.random(n) < 0.8).astype(np.uint64)
    segments = [(0, 33), (40, n)]
    lists = [np.unique(rng.integers(0, n, rng.integers(0, 20))) for _ in range(queries)]
    ptr = np.concatenate([[0], np.cumsum([len(x) for x in lists])]).astype(np.int64)
    found = top_k(z, q, b, keys, segments, k, ptr, np.concatenate(lists))
    inside = np.zeros(n, np.bool_)
    for a, e in segments:
        inside[a:e] = True
    live = np.flatnonzero(inside & (keys != 0))
    for i in range(queries):
        scores = (q @ z[i]).astype(np.float64)
        kept = [r for r in live.tolist() if r not in set(lists[i].tolist())]
        expected = sorted(kept, key=lambda r: (-scores[r], r))[:k]
        got_scores, got_rows = ranked(found, i)
        np.testing.assert_allclose(got_scores, scores[expected], rtol=1e-5, atol=1e-5)
        if ties:
            assert got_rows.tolist() == expected
        mass = np.log(np.exp(scores[live]).sum())
        assert np.isclose(found.peak[i] + np.log(found.mass[i]), mass, atol=1e-4)


def test_no_queries_and_no_rows() -> None:
    """Nothing to rank gives empty lists."""
    none = np.zeros(0, np.int64)
    found = top_k(np.zeros((1, 8), np.float32), np.zeros((0, 8), np.float32), np.zeros(0, np.float32),
                  np.zeros(0, np.uint64), [(0, 0)], 3, np.zeros(2, np.int64), none)  # fmt: skip
    assert len(ranked(found, 0)[1]) == 0
