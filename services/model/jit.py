"""How every kernel of the model is compiled: cached, without the GIL, in strict IEEE order.

No fast-math and no threads: a sum is evaluated in the order it is written, so that a replica, an
owner and a rebuild compute the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": False, "error_model": "numpy"}
_UNCOUNTED: dict[str, Any] = {**_OPTIONS, "_nrt": False}
"""Arrays come from the caller, who holds them: counting references to them inside, atomically and at every access to a
tuple of arrays, costs half of the time of a kernel that is called per event."""


def kernel(function: Function) -> Function:
    """Compile a function on first use and keep the machine code on disk. It makes no array."""
    return cast(Function, numba.njit(**_UNCOUNTED)(function))


def inline(function: Function) -> Function:
    """Like `kernel`, for helpers that are merged into the loops of their callers."""
    return cast(Function, numba.njit(**_UNCOUNTED, inline="always")(function))


def allocating_kernel(function: Function) -> Function:
    """Like `kernel`, for functions that make arrays."""
    return cast(Function, numba.njit(**_OPTIONS)(function))
