"""Vector arithmetic with a fixed order of summation that still fills the machine's lanes.

Strict IEEE order keeps the compiler from vectorising a plain sum, and a permission to reorder would
make the bits depend on the machine. So the dot product is spelled out for 8 lanes: every machine adds
the same numbers in the same order, with whatever width it has.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils as untyped
from numba.extending import intrinsic

from services.model.arrays import F32
from services.model.jit import inline, kernel

LANES = 8
cgutils: Any = untyped
"""numba's code builders, which carry no types."""


def _row(context: Any, builder: Any, kind: Any, array: Any, row: Any) -> tuple[Any, Any]:
    """(pointer to a row of a C-contiguous float32 matrix, its width)."""
    view = context.make_array(kind)(context, builder, array)
    width = cgutils.unpack_tuple(builder, view.shape)[1]
    return builder.gep(view.data, [builder.mul(row, width)], source_etype=ir.FloatType()), width


@intrinsic
def _dot(_typing: Any, a: Any, i: Any, b: Any, j: Any) -> Any:  # noqa: ARG001  (numba reads the names)
    """a[i] · b[j] for C-contiguous float32 matrices whose width is a multiple of 8."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        scalar, vector = ir.FloatType(), ir.VectorType(ir.FloatType(), LANES)
        pointers = []
        for kind, array, row in ((a, arguments[0], arguments[1]), (b, arguments[2], arguments[3])):
            pointer, width = _row(context, builder, kind, array, row)
            pointers.append(pointer)
        total = cgutils.alloca_once(builder, vector)
        builder.store(ir.Constant(vector, [0.0] * LANES), total)
        size = ir.Constant(width.type, LANES)
        with cgutils.for_range(builder, builder.sdiv(width, size)) as loop:
            lanes = []
            for pointer in pointers:
                at = builder.gep(pointer, [builder.mul(loop.index, size)], source_etype=scalar)
                at = builder.bitcast(at, vector.as_pointer())
                lanes.append(builder.load(at, align=4, typ=vector))
            builder.store(builder.fadd(builder.load(total, typ=vector), builder.fmul(*lanes)), total)
        sums = builder.load(total, typ=vector)
        lane = [builder.extract_element(sums, ir.Constant(ir.IntType(32), k)) for k in range(LANES)]
        while len(lane) > 1:
            half = len(lane) // 2
            lane = [builder.fadd(x, y) for x, y in zip(lane[:half], lane[half:], strict=True)]
        return lane[0]

    return types.float32(a, types.intp, b, types.intp), generate


@kernel
def dot(a: F32, i: int, b: F32, j: int) -> np.float32:
    """a[i] · b[j], rows of float32[n, d] matrices, d a multiple of 8.

    Lane l sums the products at l, l + 8, l + 16, ...; then ((s0+s4)+(s2+s6)) + ((s1+s5)+(s3+s7)).
    """
    return _dot(a, i, b, j)  # type: ignore[call-arg]  # numba passes the typing context itself


@intrinsic
def _combine(_typing: Any, a: Any, i: Any, x: Any, b: Any, j: Any, y: Any) -> Any:  # noqa: ARG001  (numba reads the names)
    """a[i] = x·a[i] + y·b[j] for C-contiguous float32 matrices whose width is a multiple of 8."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        scalar, vector = ir.FloatType(), ir.VectorType(ir.FloatType(), LANES)
        pointers, factors = [], []
        for kind, array, row, factor in ((a, *arguments[0:3]), (b, *arguments[3:6])):
            pointer, width = _row(context, builder, kind, array, row)
            pointers.append(pointer)
            lanes = ir.Constant(vector, ir.Undefined)
            for k in range(LANES):
                lanes = builder.insert_element(lanes, factor, ir.Constant(ir.IntType(32), k))
            factors.append(lanes)
        size = ir.Constant(width.type, LANES)
        with cgutils.for_range(builder, builder.sdiv(width, size)) as loop:
            places, terms = [], []
            for pointer, factor in zip(pointers, factors, strict=True):
                at = builder.gep(pointer, [builder.mul(loop.index, size)], source_etype=scalar)
                places.append(builder.bitcast(at, vector.as_pointer()))
                terms.append(builder.fmul(factor, builder.load(places[-1], align=4, typ=vector)))
            builder.store(builder.fadd(*terms), places[0], align=4)
        return context.get_dummy_value()

    return types.void(a, types.intp, types.float32, b, types.intp, types.float32), generate


@kernel
def combine(a: F32, i: int, x: Any, b: F32, j: int, y: Any) -> None:
    """a[i] = x·a[i] + y·b[j], rows of float32[n, d] matrices, d a multiple of 8; x and y float32.

    Spelled out in lanes as `dot` is: where two arrays may overlap, the compiler looks first, or does not use any.
    """
    _combine(a, i, x, b, j, y)  # type: ignore[call-arg]  # numba passes the typing context itself


@inline
def exp_one(x: Any) -> Any:
    """exp(x) of a float32 x <= 0; below -60 it is exp(-60).

    exp(x) = p(x/128)^128 with p of degree 6: only multiplications and additions, so that a loop over it
    fills the lanes and gives the same bits everywhere. Relative error below 2e-5 down to -30.
    """
    one = np.float32(1.0)
    y = max(x, np.float32(-60.0)) * np.float32(1.0 / 128.0)
    p = np.float32(1.0 / 120.0) + y * np.float32(1.0 / 720.0)
    p = np.float32(1.0 / 6.0) + y * (np.float32(1.0 / 24.0) + y * p)
    p = one + y * (one + y * (np.float32(0.5) + y * p))
    p *= p
    p *= p
    p *= p
    p *= p
    p *= p
    p *= p
    p *= p
    return p


@kernel
def exp_all(x: F32, n: int) -> None:
    """x[i] = exp(x[i]) for i < n, see `exp_one`."""
    for i in range(n):
        x[i] = exp_one(x[i])


@intrinsic
def _as_int(_typing: Any, x: Any) -> Any:  # noqa: ARG001  (numba reads the names)
    """The bits of a float32 as an int32."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@intrinsic
def _as_float(_typing: Any, x: Any) -> Any:  # noqa: ARG001  (numba reads the names)
    """The float32 that has these bits."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


bits: Any = _as_int
_float: Any = _as_float
"""As their callers see them: numba passes the typing context itself."""
_ROOT_HALF = np.int32(0x3F3504F3)
"""Bits of sqrt(1/2): mantissas lie in [sqrt(1/2), sqrt(2))."""
_MANTISSA = np.int32(0x007FFFFF)


@inline
def log_one(x: Any) -> Any:
    """Natural logarithm of a positive float32, within 2 units of the last place.

    logf of the Cephes library, without branches: a loop over it fills the lanes and gives the same bits everywhere.
    """
    shifted = np.int32(bits(x) - _ROOT_HALF)
    exponent = np.float32(shifted >> np.int32(23))
    y = _float(np.int32((shifted & _MANTISSA) + _ROOT_HALF)) - np.float32(1.0)
    p = np.float32(7.0376836292e-2) * y - np.float32(1.1514610310e-1)
    p = p * y + np.float32(1.1676998740e-1)
    p = p * y - np.float32(1.2420140846e-1)
    p = p * y + np.float32(1.4249322787e-1)
    p = p * y - np.float32(1.6668057665e-1)
    p = p * y + np.float32(2.0000714765e-1)
    p = p * y - np.float32(2.4999993993e-1)
    p = p * y + np.float32(3.3333331174e-1)
    square = y * y
    p = p * y * square - np.float32(2.12194440e-4) * exponent - np.float32(0.5) * square
    return y + p + np.float32(0.693359375) * exponent


@kernel
def log_all(x: F32, n: int) -> None:
    """x[i] = log(x[i]) for i < n, positive and finite."""
    for i in range(n):
        x[i] = log_one(x[i])


@kernel
def exp_columns(x: F32, start: int, end: int) -> None:
    """Exponentials of the first 8 columns of rows [start, end), in place, see `exp_one`."""
    for i in range(start, end):
        for j in range(LANES):
            x[i, j] = exp_one(x[i, j])


@kernel
def log_columns(x: F32, start: int, end: int) -> None:
    """Logarithm of the first 16 columns of rows [start, end), in place."""
    for i in range(start, end):
        for j in range(2 * LANES):
            x[i, j] = log_one(x[i, j])


@kernel
def adagrad_step(data: F32, acc: F32, row: int, gradient: F32, square: Any, scale: Any, rate: float, l2: float) -> None:
    """One row-wise Adagrad step: g = scale·gradient + l2·x; A += mean(g²); x -= rate·g/sqrt(A).

    gradient float32[1, d]; `square` is gradient · gradient, which serves all rows of an event:
    sum g² = scale²·square + 2·scale·l2·(gradient · x) + l2²·(x · x).
    """
    width = data.shape[1]
    s, decay = np.float32(scale), np.float32(l2)
    total = (
        s * s * np.float32(square)
        + np.float32(2.0) * s * decay * dot(gradient, 0, data, row)
        + decay * decay * dot(data, row, data, row)
    )
    acc[row, 0] += max(total, np.float32(0.0)) / np.float32(width)
    step = np.float32(rate) / np.sqrt(acc[row, 0])
    combine(data, row, np.float32(1.0) - step * decay, gradient, 0, -(step * s))
