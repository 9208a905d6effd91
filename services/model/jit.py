"""How every kernel of the model is compiled: cached, without the GIL, in strict IEEE order.

No fast-math and no threads: a sum is evaluated in the order it is written, so that a replica, an
owner and a rebuild compute the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

_FOLDER = Path(__file__).parent
# numba makes its settings at run time.
_CACHE = Path(numba.config.CACHE_DIR or _FOLDER / "__pycache__")  # type: ignore[attr-defined]


@cache
def _state(package: str) -> str:
    """A name for the present state of the source files of a package of ours."""
    state = blake2b(digest_size=8)
    for path in sorted((_FOLDER.parent / package).rglob("*.py")):
        state.update(path.read_bytes())
    return state.hexdigest()


def _cache_of(module: str) -> Path:
    """The folder for the machine code of a module's kernels.

    By itself numba looks at the file of a kernel alone: it would go on with the old code of a helper that was merged in
    from another file. A kernel calls helpers of its own package and of the model, and holds constants of the contracts.
    """
    root, _, rest = module.partition(".")
    package = rest.partition(".")[0]
    states = [_state(_FOLDER.name)]
    if root == _FOLDER.parent.name and package != _FOLDER.name:
        states += [_state("contracts"), _state(package)]
    return _CACHE / "-".join(["kernels", *states])


_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": False, "error_model": "numpy"}
_UNCOUNTED: dict[str, Any] = {**_OPTIONS, "_nrt": False}
"""Arrays come from the caller, who holds them: counting references to them inside, atomically and at every access to a
tuple of arrays, costs half of the time of a kernel that is called per event."""


def _compile(function: Function, **options: Any) -> Function:
    # numba fixes the folder of a function when it is decorated. Where that cannot be written, it falls back to the
    # user's cache.
    numba.config.CACHE_DIR = str(_cache_of(function.__module__))  # type: ignore[attr-defined]
    return cast(Function, numba.njit(**options)(function))


def kernel(function: Function) -> Function:
    """Compile a function on first use and keep the machine code on disk. It makes no array."""
    return _compile(function, **_UNCOUNTED)


def inline(function: Function) -> Function:
    """Like `kernel`, for helpers that are merged into the loops of their callers."""
    return _compile(function, **_UNCOUNTED, inline="always")


def allocating_kernel(function: Function) -> Function:
    """Like `kernel`, for functions that make arrays."""
    return _compile(function, **_OPTIONS)
