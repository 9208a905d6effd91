"""The two similarities that the product offers.

>>> import numpy as np
>>> u, i = np.array([1, 2, 3, 4, 5]), np.array([5, 4, 3, 2, 1])
>>> inner_product(u, i)
35.0
>>> round(cosine(u, i), 4)
0.6364
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def inner_product(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Inner product a · b.

    Raises:
        ValueError: the shapes differ.
    """
    return float(np.dot(a, b))


def cosine(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Cosine a · b / (|a| |b|); 0 when a vector is zero.

    Raises:
        ValueError: the shapes differ.
    """
    norm = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return inner_product(a, b) / norm if norm else 0.0
