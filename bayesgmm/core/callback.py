"""The sampler's log density as a C function, for a library that calls an address with one pointer of data.

The data are the arguments of the compiled log posterior, laid out once in memory as compiled code itself lays them out;
so a call from C costs a read of some kilobytes, and one function serves every problem.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import carray, cfunc, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import NDArray

from bayesgmm.core.pointers import Pointer, a1, a2, call_at, f8, i8
from bayesgmm.core.posterior import (
    ENGINE,
    HYPER,
    TIE,
    WHITENED,
    Engine,
    Hyper,
    Tie,
    whitened_value_and_gradient,
)
from bayesgmm.core.sample import SAMPLE, Sample

Array = NDArray[np.float64]

# address of the log density; centre, scale, sample, engine, hyper, tie
_ARGUMENTS = (i8, a1, a2, SAMPLE, ENGINE, HYPER, TIE)
_LENT = types.Tuple(_ARGUMENTS)
_NUMBER = types.CPointer(f8)
# in the signature, and not any pointer, so that what is kept on disk for another layout is compiled anew
_DATA = types.CPointer(_LENT)

# what a C function answers beside zero; the sampler takes positive numbers for a divergence and stops at negative ones
FAILED, NOT_FINITE = -1, 1

_call_density = call_at(WHITENED)


def _without_owners(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """The same value with every array borrowed: nobody counts who uses it, so threads do not meet over the counts."""
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        array.parent = cgutils.get_null_value(array.parent.type)
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        for position, part in enumerate(kind):
            borrowed = _without_owners(context, builder, part, builder.extract_value(value, position))
            value = builder.insert_value(value, borrowed, position)
    return value


@intrinsic
def _write(typingctx: Any, address: Any, values: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        kind = signature.args[1]
        place = builder.inttoptr(given[0], context.get_data_type(kind).as_pointer())
        context.pack_value(builder, kind, _without_owners(context, builder, kind, given[1]), place)
        return context.get_dummy_value()

    return types.void(types.int64, values), codegen


@intrinsic
def _read(typingctx: Any, data: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return context.unpack_value(builder, _LENT, given[0])

    return _LENT(_DATA), codegen


def _lend(
    place: int,
    density: int,
    centre: Array,
    scale: Array,
    sample: Sample,
    engine: Engine,
    hyper: Hyper,
    tie: Tie,
) -> None:
    _write(place, (density, centre, scale, sample, engine, hyper, tie))


_lending = Pointer(_lend, types.void(i8, *_ARGUMENTS))


class Lent:
    """Arguments of the log density where C finds them.

    The arrays are borrowed, not copied: this object keeps them, and must live as long as anybody calls the C function.

    Parameters
    ----------
    centre, scale, sample, engine, hyper, tie
        Arguments of :func:`bayesgmm.core.posterior.whitened_value_and_gradient`.
    """

    def __init__(self, centre: Array, scale: Array, sample: Sample, engine: Engine, hyper: Hyper, tie: Tie) -> None:
        context = cpu_target.target_context
        size = context.get_abi_sizeof(context.get_data_type(_LENT))
        self._kept = (centre, scale, sample, engine, hyper, tie)
        self.memory = np.zeros(-(-size // 8), dtype=np.int64)
        _lending.compiled(self.memory.ctypes.data, whitened_value_and_gradient.address, *self._kept)


def _density(size: int, x: Any, gradient: Any, value: Any, data: Any) -> int:
    density, centre, scale, sample, engine, hyper, tie = _read(data)
    if size != len(centre):
        return FAILED
    out = carray(gradient, (size,))
    try:
        found = _call_density(density, carray(x, (size,)), centre, scale, sample, engine, hyper, tie, out)
    except Exception:  # noqa: BLE001  nothing may leave a C function: the caller is told by the number
        return FAILED
    carray(value, (1,))[0] = found
    if not np.isfinite(found):
        return NOT_FINITE
    for j in range(len(out)):
        if not np.isfinite(out[j]):
            return NOT_FINITE
    return 0


def _copy(size: int, size_out: int, x: Any, out: Any, data: Any) -> int:
    if size != size_out:
        return FAILED
    source, target = carray(x, (size,)), carray(out, (size,))
    for j in range(len(source)):
        target[j] = source[j]
    return 0


@cache
def density_function() -> Any:
    """C function ``(size, x, gradient, value, data) -> int``; ``data`` is the address of a :class:`Lent`'s memory.

    Writes the gradient and the value; returns 0, ``NOT_FINITE`` or ``FAILED``.
    """
    signature = types.int32(types.uintp, _NUMBER, _NUMBER, _NUMBER, _DATA)
    return cfunc(signature, cache=True, error_model="numpy")(_density)


@cache
def copy_function() -> Any:
    """C function ``(size, size_out, x, out, data) -> int`` that copies ``x``: a draw is kept as it is."""
    signature = types.int32(types.uintp, types.uintp, _NUMBER, _NUMBER, types.voidptr)
    return cfunc(signature, cache=True, error_model="numpy")(_copy)
