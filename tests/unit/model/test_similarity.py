"""The worked example of the two similarities."""

from __future__ import annotations

import numpy as np
import pytest

from services.model.similarity import cosine, inner_product

A, B = np.array([1, 2, 3, 4, 5]), np.array([5, 4, 3, 2, 1])


def test_worked_example() -> None:
    """The inner product of the example is 35 and its cosine 35/55."""
    assert inner_product(A, B) == 35.0
    assert cosine(A, B) == pytest.approx(35 / 55)


def test_zero_vectors_are_like_nothing() -> None:
    """The cosine with a zero vector is 0, not an error."""
    assert cosine(A, np.zeros(5)) == 0.0


def test_shapes_must_agree() -> None:
    """Vectors of different lengths are refused."""
    with pytest.raises(ValueError, match="shapes"):
        inner_product(A, np.zeros(3))
