"""Vector arithmetic against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model.arrays import F32
from services.model.kernels.vectors import LANES, adagrad_step, combine, dot, exp_all, exp_columns


def plain_dot(a: F32, b: F32) -> np.float32:
    """The order of summation that `dot` promises, one float32 operation at a time."""
    lanes = np.zeros(LANES, np.float32)
    for j in range(0, len(a), LANES):
        lanes = lanes + a[j : j + LANES] * b[j : j + LANES]
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = lanes[:half] + lanes[half:]
    return np.float32(lanes[0])


@given(st.integers(0, 10_000), st.sampled_from([8, 16, 32, 64, 72]))
def test_dot_sums_in_the_stated_order(seed: int, width: int) -> None:
    """The product is the same to the bit as the order of summation written out."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 5, width)).astype(np.float32)
    for i, j in ((0, 4), (3, 1)):
        assert dot(a, i, b, j) == plain_dot(a[i], b[j])


@given(st.integers(0, 10_000), st.sampled_from([8, 16, 32, 64, 72]))
def test_combine_is_a_sum_of_two_rows(seed: int, width: int) -> None:
    """A row becomes x times itself plus y times another, to the bit, and no other row changes."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 5, width)).astype(np.float32)
    x, y = rng.normal(size=2).astype(np.float32)
    expected = a.copy()
    expected[3] = x * a[3] + y * b[1]
    combine(a, 3, x, b, 1, y)
    np.testing.assert_array_equal(a, expected)


def test_exp() -> None:
    """The exponential is within 2e-5 of the true one over the range that matters."""
    x = np.linspace(-30.0, 0.0, 3001).astype(np.float32)
    found = x.copy()
    exp_all(found, len(found))
    np.testing.assert_allclose(found, np.exp(x.astype(np.float64)), rtol=2e-5)
    assert found[-1] == 1.0


def test_exp_keeps_what_it_is_not_given() -> None:
    """Entries past n stay as they are, and very low ones become nearly nothing."""
    x = np.array([-1e30, -1.0, -1.0], np.float32)
    exp_all(x, 2)
    assert 0.0 <= x[0] < 1e-20
    assert x[2] == -1.0


def test_exp_of_columns_is_exp() -> None:
    """The first 8 columns of the rows that are named become what `exp_all` makes of them, and nothing else changes."""
    x = -np.random.default_rng(1).uniform(0, 30, (5, 12)).astype(np.float32)
    expected = x.copy()
    for row in range(1, 4):
        exp_all(expected[row], LANES)
    exp_columns(x, 1, 4)
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("l2", [0.0, 0.001, 0.1])
@given(seed=st.integers(0, 10_000), scale=st.floats(-2, 2))
def test_adagrad_step(l2: float, seed: int, scale: float) -> None:
    """A step is the textbook row-wise Adagrad step with weight decay."""
    rng = np.random.default_rng(seed)
    data, gradient = rng.normal(size=(3, 16)).astype(np.float32), rng.normal(size=(1, 16)).astype(np.float32)
    acc = rng.uniform(0.01, 1, (3, 1)).astype(np.float32)
    g = np.float32(scale) * gradient[0].astype(np.float64) + l2 * data[1]
    grown = acc[1, 0] + np.mean(g**2)
    expected = data[1] - 0.1 * g / np.sqrt(grown)
    adagrad_step(data, acc, 1, gradient, dot(gradient, 0, gradient, 0), scale, 0.1, l2)
    np.testing.assert_allclose(data[1], expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(acc[1, 0], grown, rtol=1e-4)
