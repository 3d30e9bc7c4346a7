"""Calls from compiled code through an address, so that what is called is compiled once and apart.

Numba links a function into each of its callers and optimises the whole again; with a kernel under an expectation under
an EM step under a loop, the first fit would wait a minute for the compiler. A call through an address costs a few
nanoseconds, and lets the caller choose among functions (one thread or many, which covariance family) of which only the
one chosen is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

# how to write shapes of arguments: a1 is a vector, a2 a matrix, ...
a1, a2, a3, a4 = (types.Array(types.float64, d, "C") for d in (1, 2, 3, 4))
i1, i2, l1 = types.Array(types.int32, 1, "C"), types.Array(types.int32, 2, "C"), types.Array(types.int64, 1, "C")
f8, i8, b1 = types.float64, types.int64, types.boolean


class Pointer:
    """A Python function to be compiled for one signature, and its address once it is.

    Parameters
    ----------
    function : callable
    signature : numba signature
    **options
        Of ``numba.njit``.
    """

    def __init__(self, function: Callable[..., Any], signature: Any, **options: Any) -> None:
        self._function, self._signature, self._options = function, signature, options

    @cached_property
    def compiled(self) -> Any:
        """The compiled function, callable from Python too."""
        return njit(self._signature, cache=True, error_model="numpy", **self._options)(self._function)

    @cached_property
    def address(self) -> int:
        """Where the machine code is, for as long as the process runs."""
        (result,) = self.compiled.overloads.values()
        address: int = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
        return address


def call_at(signature: Any) -> Any:
    """Make a function of compiled code: ``call(address, *arguments)`` for functions of one signature."""

    @intrinsic
    def call(typingctx: Any, address: Any, *arguments: Any) -> Any:
        given = arguments[0] if len(arguments) == 1 and isinstance(arguments[0], types.BaseTuple) else arguments
        if tuple(given) != tuple(signature.args):
            raise TypeError(f"arguments {tuple(given)} are not those of {signature}")

        def codegen(context: Any, builder: Any, typed: Any, values: Any) -> Any:
            unpacked = cgutils.unpack_tuple(builder, values[1])
            function_type = context.call_conv.get_function_type(signature.return_type, signature.args)
            pointer = builder.inttoptr(values[0], function_type.as_pointer())
            status, result = context.call_conv.call_function(
                builder, pointer, signature.return_type, signature.args, unpacked
            )
            with cgutils.if_unlikely(builder, status.is_error):
                context.call_conv.return_status_propagate(builder, status)
            return result

        return signature.return_type(types.int64, types.StarArgTuple(given)), codegen

    return call


def exported(pointer: Pointer, name: str) -> Any:
    """Make a function of compiled code: ``address()`` of a pointer, found by name whenever the code is loaded.

    An address holds for one process; code that is kept on disk, or travels to another process, asks by name.
    """
    binding.add_symbol(name, pointer.address)

    @intrinsic
    def address(typingctx: Any) -> Any:
        def codegen(context: Any, builder: Any, typed: Any, values: Any) -> Any:
            module = builder.module
            if name in module.globals:
                place = module.globals[name]
            else:
                place = ir.GlobalVariable(module, ir.IntType(8), name)
                place.linkage = "external"
            return builder.ptrtoint(place, ir.IntType(64))

        return types.int64(), codegen

    return address
