"""How every kernel of the model is compiled: cached, without the GIL, in strict IEEE order.

No fast-math and no threads: a sum is evaluated in the order it is written, so that a replica, an
owner and a rebuild compute the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def _sources() -> str:
    """A name for the present state of the model's source files."""
    folder, state = Path(__file__).parent, blake2b(digest_size=8)
    for path in sorted(folder.rglob("*.py")):
        state.update(path.read_bytes())
    return state.hexdigest()


# By itself numba looks at the file of a kernel alone: it would go on with the old code of a helper that was merged in
# from another file. Where the folder cannot be written, numba falls back to the user's cache.
numba.config.CACHE_DIR = str(  # type: ignore[attr-defined]  # numba makes its settings at run time
    Path(numba.config.CACHE_DIR or Path(__file__).parent / "__pycache__") / f"kernels-{_sources()}"  # type: ignore[attr-defined]
)

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
