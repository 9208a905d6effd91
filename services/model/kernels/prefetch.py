"""Asking for memory before it is needed.

The lists of an item lie anywhere in tens of megabytes: whoever reads them one after the other waits for each. Which
ones come next is known, so they can be on their way meanwhile. Nothing but time depends on it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from services.model.arena import Lists
from services.model.jit import inline

_READ, _KEEP, _DATA = 0, 3, 1
"""What the instruction is told: for reading, into every cache, of data."""
_KEYS_A_LINE, _VALUES_A_LINE = 8, 16
_HEAD_LINES = 4
"""Lines of a list that are asked for: the machine fetches the rest by itself once it sees how they are read."""


@intrinsic
def _prefetch(_typing: Any, array: Any, at: Any) -> Any:  # noqa: ARG001  (numba reads the names)
    """Ask for the line of the element `at`, counted through a C-contiguous array."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        view = context.make_array(array)(context, builder, arguments[0])
        place = builder.gep(view.data, [arguments[1]], source_etype=context.get_data_type(array.dtype))
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        instruction = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        how = [ir.Constant(number, each) for each in (_READ, _KEEP, _DATA)]
        builder.call(instruction, [builder.bitcast(place, pointer), *how])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


prefetch: Any = _prefetch
"""As its callers see it: numba passes the typing context itself."""


@inline
def fetch_list(pool: Lists, row: int) -> None:
    """Ask for the head of a row's list."""
    at, width = pool.where[row], pool.values.shape[1]
    for i in range(_HEAD_LINES):
        prefetch(pool.keys, at + i * _KEYS_A_LINE)
        prefetch(pool.values, at * width + i * _VALUES_A_LINE)
