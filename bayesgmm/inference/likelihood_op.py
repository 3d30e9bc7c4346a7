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

from bayesgmm.core.kernel import group_pass
from bayesgmm.core.moments import expectation, log_densities_at, moments_at
from bayesgmm.core.pointers import exported
from bayesgmm.core.sample import Sample
from bayesgmm.core.vectormath import digamma, exp_nonpositive
from bayesgmm.core.weights import log_softmax

Array = NDArray[np.float64]
Long = NDArray[np.int64]

# Raise when the function below changes, so that compiled copies on disk are made anew.
_VERSION = 7
N_PARAMETERS = 5


_expectation_at = exported(expectation, "bayesgmm_expectation")
_group_pass_at = exported(group_pass, "bayesgmm_group_pass")


def sample_inputs(sample: Sample) -> dict[str, Any]:
    """Arrays of a sample by name, in the order in which the operation takes them."""
    values = {name: np.asarray(value) for name, value in sample._asdict().items()}
    return {**values, "own": np.asarray(int(sample.own))}


def sample_of(inputs: list[Any]) -> Sample:
    """The sample that the arrays of :func:`sample_inputs` make."""
    *fields, total, own = inputs
    wide = ("offsets", "starts", "n_observed", "mix_starts")
    copies: dict[str, Any] = {
        name: np.array(x, np.int64 if name in wide else None) for name, x in zip(Sample._fields, fields, strict=False)
    }
    return Sample(**copies, total=float(total), own=bool(own))


@njit(cache=True, error_model="numpy", nogil=True)
def likelihood_and_gradient(
    logits: Array, means: Array, roots: Array, shifts: Array, df: Array, sample: Sample
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Marginal log likelihood and its gradient in logits, means, precision factors, slopes and degrees of freedom.

    Parameters
    ----------
    logits : ndarray (n_patterns, n_components)
    means : ndarray (n_located, n_traits)
    roots : ndarray (n_located, n_traits, n_traits)
        Lower Cholesky factors of the precisions.
    shifts : ndarray (n_covariates, n_traits)
    df : ndarray (n_located,)
        Degrees of freedom of Student-t components; empty where they are Gaussian.
    sample : Sample

    Returns
    -------
    tuple of ndarray
        The log likelihood (0-d) and gradients in the shapes of the first five arguments.
    """
    n_located, size = means.shape
    n_components = logits.shape[1]
    n_covariates = shifts.shape[0]
    log_weights = log_softmax(logits)
    counts = log_weights.copy()
    value, mass, first, second = moments_at(
        _expectation_at(), _group_pass_at(), sample, counts, means, roots, shifts, df
    )
    # people of a row spread over components by the weights; exponentials apart, in one loop that vectorises
    d_logits = np.empty(counts.shape)
    flat, weights = log_weights.ravel(), d_logits.ravel()
    for j in range(len(flat)):
        weights[j] = exp_nonpositive(flat[j])
    for u in range(len(counts)):
        people = 0.0
        for k in range(n_components):
            people += counts[u, k]
        for k in range(n_components):
            d_logits[u, k] = counts[u, k] - people * d_logits[u, k]
    d_means = np.zeros((n_located, size))
    d_roots = np.zeros((n_located, size, size))
    d_shifts = np.zeros((n_covariates, size))
    d_df = np.empty(len(df))
    for k in range(len(df)):
        half = 0.5 * df[k]
        excess = mass[n_components + n_located + k] - mass[n_components + k]
        d_df[k] = 0.5 * (mass[k] * (np.log(half) + 1.0 - digamma(half)) + excess)
    for k in range(n_located):
        root = roots[k]
        precision = root @ root.T
        for d in range(size):
            for e in range(size):
                d_means[k, d] += precision[d, e] * first[k, e]
                for q in range(n_covariates):
                    d_shifts[q, d] += precision[d, e] * second[k, size + q, e]
            for e in range(d + 1):
                for c in range(e, size):
                    d_roots[k, d, e] -= second[k, d, c] * root[c, e]
            d_roots[k, d, d] += mass[k] / root[d, d]
    return np.asarray(value), d_logits, d_means, d_roots, d_shifts, d_df


@njit(cache=True, error_model="numpy", nogil=True)
def pointwise_likelihood(
    logits: Array, means: Array, roots: Array, shifts: Array, df: Array, sample: Sample, row_of: Long, weights: Array
) -> Array:
    """Weighted marginal log likelihood of every person.

    Parameters
    ----------
    logits, means, roots, shifts, df, sample
        As in :func:`likelihood_and_gradient`.
    row_of : ndarray of int64 (n_people,)
        Row of the sample that a person is in.
    weights : ndarray (n_people,)
        What a person's log likelihood is multiplied by; people of weight zero need no row.

    Returns
    -------
    ndarray (n_people,)
    """
    rows = log_densities_at(_expectation_at(), _group_pass_at(), sample, log_softmax(logits), means, roots, shifts, df)
    out = np.zeros(len(row_of))
    for i in range(len(row_of)):
        if weights[i] != 0.0:
            out[i] = weights[i] * rows[row_of[i]]
    return out


class MarginalMixtureLikelihood(Op):  # type: ignore[misc]
    """Marginal log likelihood of a Gaussian mixture; its gradient comes from the same pass over people.

    Inputs are the five parameters of :func:`likelihood_and_gradient`, then the arrays of :func:`sample_inputs` in their
    order; outputs 1 to 5 are the gradients of output 0 and are themselves not differentiable.
    """

    __props__ = ()

    def make_node(self, *inputs: Any) -> Apply:
        """Build the graph node."""
        outputs = [pt.dscalar(), pt.dmatrix(), pt.dmatrix(), pt.dtensor3(), pt.dmatrix(), pt.dvector()]
        return Apply(self, [pt.as_tensor_variable(x) for x in inputs], outputs)

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]]) -> None:
        """Evaluate without compilation."""
        arrays = [np.ascontiguousarray(x) for x in inputs[:N_PARAMETERS]]
        for storage, value in zip(
            outputs, likelihood_and_gradient(*arrays, sample_of(inputs[N_PARAMETERS:])), strict=True
        ):
            storage[0] = value

    def pullback(self, inputs: list[Any], outputs: list[Any], cotangents: list[Any]) -> list[Any]:
        """Gradient of the log likelihood: outputs 1 to 5, already computed."""
        from pytensor.gradient import DisconnectedType, disconnected_type

        for extra in cotangents[1:]:
            if not isinstance(extra.type, DisconnectedType):
                raise NotImplementedError("only the log likelihood can be differentiated, not its gradient")
        gradients = [cotangents[0] * outputs[1 + j] for j in range(N_PARAMETERS)]
        return [*gradients, *(disconnected_type() for _ in inputs[N_PARAMETERS:])]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """The parameters are differentiable; the data are not."""
        return [[j < N_PARAMETERS] * len(node.outputs) for j in range(len(node.inputs))]


@njit
def sample_in_graph(fields):  # type: ignore[no-untyped-def]
    """The same as :func:`sample_of` in compiled code, from a tuple of arrays.

    A compiled graph may hand over arrays that are read-only or laid out otherwise; contiguous copies are neither.
    ``pm.Data`` makes every whole number 32 bits wide.
    """
    return Sample(
        fields[0].copy(),
        fields[1].copy(),
        fields[2].copy(),
        fields[3].astype(np.int64),
        fields[4].astype(np.int64),
        fields[5].copy(),
        fields[6].astype(np.int64),
        fields[7].copy(),
        fields[8].copy(),
        fields[9].copy(),
        fields[10].astype(np.int64),
        fields[11].copy(),
        fields[12].copy(),
        fields[13].copy(),
        fields[14].copy(),
        fields[15].item(),
        fields[16].item() != 0,
    )


@register_funcify_default_op_cache_key(MarginalMixtureLikelihood)
def _numba_marginal_mixture(op: MarginalMixtureLikelihood, node: Apply, **kwargs: Any) -> Any:
    @njit
    def marginal_mixture(logits, means, roots, shifts, df, *fields):  # type: ignore[no-untyped-def]
        return likelihood_and_gradient(
            np.ascontiguousarray(logits),
            np.ascontiguousarray(means),
            np.ascontiguousarray(roots),
            np.ascontiguousarray(shifts),
            np.ascontiguousarray(df),
            sample_in_graph(fields),
        )

    return marginal_mixture, _VERSION


marginal_mixture_likelihood = MarginalMixtureLikelihood()
