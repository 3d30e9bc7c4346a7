"""The marginal likelihood as one PyTensor operation over the fused kernel, with its own gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from numba import njit
from numpy.typing import NDArray
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key

from bayesgmm.core.kernel import fused_pass
from bayesgmm.core.weights import log_softmax

Array = NDArray[np.float64]

# Raise when the function below changes, so that compiled copies on disk are made anew.
_VERSION = 1


@njit(cache=True, error_model="numpy", nogil=True)
def likelihood_and_gradient(
    logits: Array, means: Array, roots: Array, traits: Array, pattern: NDArray[np.int32], totals: Array
) -> tuple[Array, Array, Array, Array]:
    """Marginal log likelihood and its gradient in logits, means and precision factors.

    Parameters
    ----------
    logits : ndarray (n_patterns, n_components)
    means : ndarray (n_components, n_traits)
    roots : ndarray (n_components, n_traits, n_traits)
        Lower Cholesky factors of the precisions.
    traits : ndarray (n_traits, n_samples)
    pattern : ndarray of int32 (n_samples,)
        Non-decreasing row of ``logits`` of each person.
    totals : ndarray (n_patterns,)
        People of each pattern.

    Returns
    -------
    tuple of ndarray
        The log likelihood (0-d) and gradients in the shapes of the first three arguments.
    """
    nothing_2d, nothing_1d = np.empty((0, 0)), np.empty(0)
    log_weights = log_softmax(logits)
    value, counts, first, second = fused_pass(traits, pattern, log_weights, means, roots, nothing_2d, nothing_1d)
    n_components, n_traits = means.shape
    d_logits = counts - totals.reshape((-1, 1)) * np.exp(log_weights)
    d_means = np.zeros((n_components, n_traits))
    d_roots = np.zeros((n_components, n_traits, n_traits))
    for k in range(n_components):
        root = roots[k]
        scaled = root.T @ first[k]
        d_means[k] = root @ scaled
        product = second[k] @ root
        count = counts[:, k].sum()
        for d in range(n_traits):
            for e in range(d + 1):
                d_roots[k, d, e] = -product[d, e]
            d_roots[k, d, d] += count / root[d, d]
    return np.asarray(value), d_logits, d_means, d_roots


class MarginalMixtureLikelihood(Op):  # type: ignore[misc]
    """Marginal log likelihood of a Gaussian mixture; its gradient comes from the same pass over people.

    Inputs are those of :func:`likelihood_and_gradient`; outputs 1 to 3 are the gradients of output 0 and are
    themselves not differentiable.
    """

    __props__ = ()

    def make_node(self, *inputs: Any) -> Apply:
        """Build the graph node."""
        logits, means, roots, traits, pattern, totals = (pt.as_tensor_variable(x) for x in inputs)
        outputs = [pt.dscalar(), pt.dmatrix(), pt.dmatrix(), pt.dtensor3()]
        return Apply(self, [logits, means, roots, traits, pattern, totals], outputs)

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]]) -> None:
        """Evaluate without compilation."""
        arrays = [np.ascontiguousarray(x) for x in inputs]
        for storage, value in zip(outputs, likelihood_and_gradient(*arrays), strict=True):
            storage[0] = value

    def pullback(self, inputs: list[Any], outputs: list[Any], cotangents: list[Any]) -> list[Any]:
        """Gradient of the log likelihood: outputs 1 to 3, already computed."""
        from pytensor.gradient import DisconnectedType, disconnected_type

        for extra in cotangents[1:]:
            if not isinstance(extra.type, DisconnectedType):
                raise NotImplementedError("only the log likelihood can be differentiated, not its gradient")
        scale = cotangents[0]
        return [scale * outputs[1], scale * outputs[2], scale * outputs[3], *(disconnected_type() for _ in range(3))]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Logits, means and roots are differentiable; the data are not."""
        return [[j < 3] * 4 for j in range(6)]


@register_funcify_default_op_cache_key(MarginalMixtureLikelihood)
def _numba_marginal_mixture(op: MarginalMixtureLikelihood, node: Apply, **kwargs: Any) -> Any:
    @njit
    def marginal_mixture(logits, means, roots, traits, pattern, totals):  # type: ignore[no-untyped-def]
        return likelihood_and_gradient(
            np.ascontiguousarray(logits),
            np.ascontiguousarray(means),
            np.ascontiguousarray(roots),
            np.ascontiguousarray(traits),
            np.ascontiguousarray(pattern),
            np.ascontiguousarray(totals),
        )

    return marginal_mixture, _VERSION


marginal_mixture_likelihood = MarginalMixtureLikelihood()
