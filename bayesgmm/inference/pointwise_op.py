r"""The marginal log likelihood person by person, as a PyTensor operation that costs nothing more where it is summed.

PyMC asks a distribution for the log density of each observation and sums it. Written out that would cost a logarithm a
person and, for the gradient, a second pass: the vector-Jacobian product :math:`\sum_i g_i \nabla \ell_i` is the
gradient of the scalar likelihood in which person i counts :math:`g_i` times, so the cotangent takes the place of the
sample weights. Where all cotangents are one number (the derivative of a sum) the product is that number times the
gradient which :class:`bayesgmm.inference.likelihood_op.MarginalMixtureLikelihood` computes together with its value; and
a sum of the vector is rewritten to that value. What a sampler evaluates is therefore one pass over people.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from numba import njit
from pytensor.gradient import disconnected_type
from pytensor.graph.basic import Apply, Constant
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import node_rewriter
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key
from pytensor.scalar import Second
from pytensor.tensor.basic import Alloc
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.math import Sum
from pytensor.tensor.rewriting.basic import register_canonicalize

from bayesgmm.core.sample import Sample
from bayesgmm.inference.likelihood_op import (
    N_PARAMETERS,
    marginal_mixture_likelihood,
    pointwise_likelihood,
    sample_in_graph,
    sample_of,
)

_VERSION = 2
_N_SCALAR_INPUTS = N_PARAMETERS + len(Sample._fields)
_REPEATS = N_PARAMETERS + Sample._fields.index("repeats")
_PATTERN = N_PARAMETERS + Sample._fields.index("pattern")


class PointwiseMixtureLikelihood(Op):  # type: ignore[misc]
    """Weighted marginal log likelihood (n_people,) of every person.

    Inputs are those of :class:`bayesgmm.inference.likelihood_op.MarginalMixtureLikelihood`, then the row of the sample
    of each person and each person's weight; see :func:`bayesgmm.inference.likelihood_op.pointwise_likelihood`. What the
    rows of the sample count for (``repeats``) must be the sum of their people's weights.
    """

    __props__ = ()

    def make_node(self, *inputs: Any) -> Apply:
        """Build the graph node."""
        variables = [pt.as_tensor_variable(x) for x in inputs]
        return Apply(self, variables, [pt.tensor(dtype="float64", shape=variables[-1].type.shape)])

    def infer_shape(self, node: Apply, input_shapes: Any) -> Any:
        """As many as there are weights."""
        return [input_shapes[-1]]

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]]) -> None:
        """Evaluate without compilation."""
        arrays = [np.ascontiguousarray(x) for x in inputs[:N_PARAMETERS]]
        sample = sample_of(inputs[N_PARAMETERS:_N_SCALAR_INPUTS])
        row_of, weights = inputs[_N_SCALAR_INPUTS:]
        outputs[0][0] = pointwise_likelihood(*arrays, sample, np.array(row_of, np.int64), np.array(weights))

    def pullback(self, inputs: list[Any], outputs: list[Any], cotangents: list[Any]) -> list[Any]:
        """Vector-Jacobian product: the gradient of the scalar likelihood with the cotangent as sample weights."""
        (cotangent,) = cotangents
        scalar_inputs = list(inputs[:_N_SCALAR_INPUTS])
        row_of, weights = inputs[_N_SCALAR_INPUTS:]
        factor = _common_value(cotangent)
        if factor is None:
            factor = 1.0
            rows = pt.zeros_like(scalar_inputs[_PATTERN], dtype="float64")
            scalar_inputs[_REPEATS] = rows[row_of].inc(cotangent * weights)
        gradients = marginal_mixture_likelihood(*scalar_inputs)[1 : 1 + N_PARAMETERS]
        return [*(factor * g for g in gradients), *(disconnected_type() for _ in inputs[N_PARAMETERS:])]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """The parameters are differentiable; the data are not."""
        return [[j < N_PARAMETERS] for j in range(len(node.inputs))]


def _common_value(vector: Any) -> Any | None:
    """The scalar that a vector repeats, where its graph says that it does."""
    node = vector.owner
    if isinstance(vector, Constant):
        values = np.unique(vector.data)
        return pt.as_tensor_variable(values[0]) if len(values) == 1 else None
    if node is None:
        return None
    if isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, Second):
        return _common_value(node.inputs[1])
    if isinstance(node.op, Alloc):
        return node.inputs[0] if node.inputs[0].type.ndim == 0 else _common_value(node.inputs[0])
    if isinstance(node.op, DimShuffle) and node.inputs[0].type.ndim == 0:
        return node.inputs[0]
    return None


@register_canonicalize
@node_rewriter([Sum])
def local_sum_of_pointwise_mixture(fgraph: Any, node: Apply) -> list[Any] | None:
    """Replace the sum over people by the scalar likelihood, which has its gradient beside it."""
    inner = node.inputs[0].owner
    if inner is None or not isinstance(inner.op, PointwiseMixtureLikelihood) or node.op.axis not in (None, (0,)):
        return None
    return [marginal_mixture_likelihood(*inner.inputs[:_N_SCALAR_INPUTS])[0]]


@register_funcify_default_op_cache_key(PointwiseMixtureLikelihood)
def _numba_pointwise(op: PointwiseMixtureLikelihood, node: Apply, **kwargs: Any) -> Any:
    @njit
    def pointwise(logits, means, roots, shifts, df, *fields):  # type: ignore[no-untyped-def]
        return pointwise_likelihood(
            np.ascontiguousarray(logits),
            np.ascontiguousarray(means),
            np.ascontiguousarray(roots),
            np.ascontiguousarray(shifts),
            np.ascontiguousarray(df),
            sample_in_graph(fields),
            fields[17].astype(np.int64),
            fields[18].copy(),
        )

    return pointwise, _VERSION


pointwise_mixture_likelihood = PointwiseMixtureLikelihood()
