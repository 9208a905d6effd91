"""Many byte strings end to end, as kernels take and give them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from services.model.arrays import I64, U8
from services.model.kernels.wire import LONGEST_NUMBER

_MARGIN = bytes(LONGEST_NUMBER)
"""Behind the last of them: readers look so far past what they read."""


def joined(parts: Sequence[bytes]) -> tuple[bytes, I64]:
    """(n parts and a margin of LONGEST_NUMBER bytes, int64[n] where each part ends)."""
    return b"".join([*parts, _MARGIN]), ends_of(parts)


def buffer_of(parts: Sequence[bytes]) -> tuple[U8, I64]:
    """`joined`, as the array that kernels read."""
    raw, ends = joined(parts)
    return np.frombuffer(raw, np.uint8), ends


def ends_of(parts: Sequence[bytes]) -> I64:
    """int64[n] where each of n parts ends when they stand end to end."""
    return np.fromiter(accumulate(map(len, parts)), np.int64, len(parts))


def cut(buffer: U8, ends: I64) -> list[bytes]:
    """The inverse of `joined`: the bytes up to each end."""
    places = [0, *ends.tolist()]
    raw = buffer[: places[-1]].tobytes()
    return [raw[start:end] for start, end in pairwise(places)]


def as_bytes(array: npt.NDArray[Any]) -> U8:
    """uint8[n * itemsize] the memory of an array, which is changed with it."""
    return array.reshape(-1).view(np.uint8)
