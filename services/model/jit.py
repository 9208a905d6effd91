"""How every kernel of the model is compiled: cached, without the GIL, in strict IEEE order.

No fast-math and no threads: a sum is evaluated in the order it is written, so that a replica, an
owner and a rebuild compute the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile a function on first use and keep the machine code on disk."""
    return cast(Function, numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function))


def inline(function: Function) -> Function:
    """Like `kernel`, for helpers that are merged into their callers.

    A call that passes a tuple of many arrays costs about 400 ns, for the reference counts of the arrays, so whatever
    is called per candidate or per word and takes one must be merged.
    """
    return cast(
        Function,
        numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy", inline="always")(function),
    )
