"""Arrays lent to compiled code without counting who uses them.

Numba counts the references to an array by atomic instructions, at accesses of a tuple's fields and at calls. Where a
pass over a problem's people takes a few microseconds that is a tenth of it.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _uncounted(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    if isinstance(kind, types.BaseTuple):
        parts = cgutils.unpack_tuple(builder, value, len(kind))
        lent = [_uncounted(context, builder, one, part) for one, part in zip(kind, parts, strict=True)]
        return context.make_tuple(builder, kind, lent)
    if not isinstance(kind, types.Array):
        return value
    view = context.make_array(kind)(context, builder, value)
    # nobody to be counted: references to an owner that is null are not followed
    view.meminfo = view.meminfo.type(None)
    view.parent = view.parent.type(None)
    return view._getvalue()


@intrinsic
def borrowed(typingctx: Any, value: Any) -> Any:
    """An array, or a tuple of some, that is not counted.

    Only of a function's own argument, and not to be returned or kept: its caller holds what it hands over until the
    function returns, which is what makes this safe.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _uncounted(context, builder, signature.return_type, args[0])

    return value(value), codegen
