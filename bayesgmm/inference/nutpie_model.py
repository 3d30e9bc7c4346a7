"""A density handed to nutpie: as a C function where it is one and nutpie's ways are known, else as a Python function.

A call into Python costs several times what the compiled log posterior takes at a few hundred people, and chains wait
for each other at the interpreter's lock.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesgmm.inference.density import WhitenedDensity

Array = NDArray[np.float64]

FLAT = "x"  # name of the draws' one variable

# Versions whose C functions are known to have the arguments that ours have: another number of them would not be an
# error but a crash.
_KNOWN = ("0.16",)


class Address(NamedTuple):
    """What nutpie reads of a compiled C function."""

    address: int


def hand_over(density: WhitenedDensity) -> tuple[Any, bool]:
    """Density as a model of nutpie, and whether it is called as a C function.

    Chains start spread as the normal approximation at the mode is; both roads give the same draws.
    """
    compiled = _by_address(density)
    return (_by_python(density), False) if compiled is None else (compiled, True)


def _initial_point(density: WhitenedDensity) -> Callable[[Any], Array]:
    def initial_point(seed: Any) -> Array:
        point: Array = np.random.default_rng(seed).standard_normal(density.size)
        return point

    return initial_point


def _by_address(density: WhitenedDensity) -> Any:
    try:
        known = ".".join(version("nutpie").split(".")[:2]) in _KNOWN
    except PackageNotFoundError:
        known = False
    lent = density.lent() if known else None
    if lent is None:
        return None
    from bayesgmm.core.callback import copy_function, density_function

    size = density.size
    try:
        from nutpie.compile_pymc import CompiledPyMCModel

        model = CompiledPyMCModel(
            dims={},
            _n_dim=size,
            _coords={},
            _shapes={FLAT: (size,)},
            compiled_logp_func=Address(density_function().address),
            compiled_expand_func=Address(copy_function().address),
            initial_point_func=_initial_point(density),
            # the model keeps what it holds alive while it is sampled, and so the arrays that were lent
            shared_data={FLAT: lent},
            shared_var_keys={},
            user_data=lent.memory,
            n_expanded=size,
            shape_info=([FLAT], [slice(0, size)], [(size,)]),
            logp_func=None,
            expand_func=None,
        )
        model._make_model(np.zeros(size))  # as the sampler will
    except (ImportError, AttributeError, TypeError):
        # the module, the class or its fields are not those of the version we know; the public road is always there
        return None
    return model


def _by_python(density: WhitenedDensity) -> Any:
    from nutpie.compiled_pyfunc import from_pyfunc

    def expand(x: Array, **_: Any) -> dict[str, Array]:
        return {FLAT: x}

    return from_pyfunc(
        ndim=density.size,
        make_logp_fn=lambda: density,
        make_expand_fn=lambda *_: expand,
        expanded_dtypes=[np.dtype("float64")],
        expanded_shapes=[(density.size,)],
        expanded_names=[FLAT],
        make_initial_point_fn=_initial_point(density),
    )
