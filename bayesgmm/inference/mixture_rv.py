r"""A marginal Gaussian mixture as a random variable of PyMC: how it is drawn, and its log density by the fused kernel.

Person i draws a component from the softmax of row :math:`u(i)` of the logits, then traits from
:math:`N(\mu_k + c_i \Delta, (L_k L_k')^{-1})`, that is :math:`\mu_k + c_i \Delta + L_k'^{-1} \epsilon`. People are the
batch of the random variable; parameters are shared by all, so that they are never repeated for each person.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from numba import njit
from numpy.typing import NDArray
from pymc.logprob.abstract import _logprob
from pymc.pytensorf import constant_fold
from pytensor.graph.basic import Constant
from pytensor.link.numba.dispatch.random import numba_core_rv_funcify
from pytensor.tensor.exceptions import NotScalarConstantError
from pytensor.tensor.random.op import RandomVariable

from bayesgmm.core.gather import Uncertain, gather
from bayesgmm.errors import InputError, first_few
from bayesgmm.inference.likelihood_op import sample_inputs
from bayesgmm.inference.pointwise_op import pointwise_mixture_likelihood

Array = NDArray[np.float64]

# pattern, logits, means, precision factors, covariates, shifts, weight
_PARAMETERS = "(),(u,k),(k,d),(k,d,d),(q),(q,d),()"
ONE_TRAIT = f"{_PARAMETERS}->()"
TRAITS = f"{_PARAMETERS}->(d)"
_VERSION = 1


@njit(cache=True, error_model="numpy")
def _draw(
    rng: np.random.Generator, logits: Array, means: Array, roots: Array, covariates: Array, shifts: Array, out: Array
) -> None:
    """Draw one person's traits into ``out`` (D,); ``logits`` (K,) are the person's own."""
    n_components, size = means.shape
    largest = logits.max()
    left = rng.random() * np.exp(logits - largest).sum()
    chosen = 0
    for k in range(n_components):
        chosen = k
        left -= np.exp(logits[k] - largest)
        if left < 0.0:
            break
    root = roots[chosen]
    for d in range(size):
        out[d] = rng.standard_normal()
    for d in range(size - 1, -1, -1):
        for e in range(d + 1, size):
            out[d] -= root[e, d] * out[e]
        out[d] /= root[d, d]
    for d in range(size):
        out[d] += means[chosen, d]
        for q in range(len(covariates)):
            out[d] += covariates[q] * shifts[q, d]


@njit(cache=True, error_model="numpy")
def _draw_people(
    rng: np.random.Generator,
    pattern: NDArray[np.int64],
    logits: Array,
    means: Array,
    roots: Array,
    covariates: Array,
    shifts: Array,
    out: Array,
) -> None:
    """Draw everybody's traits into ``out`` (n, D)."""
    for i in range(len(pattern)):
        _draw(rng, logits[pattern[i]], means, roots, covariates[i], shifts, out[i])


class MarginalMixtureRV(RandomVariable):  # type: ignore[misc]
    """Random variable of :class:`bayesgmm.pymc.MarginalMixture`; the signature tells one trait from several."""

    name = "MarginalMixture"
    dtype = "float64"
    inplace = False
    _print_name = ("MarginalMixture", "\\operatorname{MarginalMixture}")

    @classmethod
    def rng_fn(
        cls,
        rng: np.random.Generator,
        pattern: Any,
        logits: Array,
        means: Array,
        roots: Array,
        covariates: Array,
        shifts: Array,
        weight: Array,
        size: tuple[int, ...] | None = None,
    ) -> Array:
        """Draw; arrays may have leading dimensions beside those of the signature, which broadcast."""
        core = ((pattern, 0), (logits, 2), (means, 2), (roots, 3), (covariates, 1), (shifts, 2), (weight, 0))
        arrays = [np.asarray(a) for a, _ in core]
        batches = [a.shape[: a.ndim - n] for a, (_, n) in zip(arrays, core, strict=True)]
        batch = np.broadcast_shapes(*batches) if size is None else tuple(size)
        wide = [np.broadcast_to(a, batch + a.shape[a.ndim - n :]) for a, (_, n) in zip(arrays, core, strict=True)]
        out = np.empty((*batch, means.shape[-1]))
        # people who share their parameters are drawn in one go: the last dimension, unless a parameter differs along it
        shared = all(not b or b[-1] == 1 for b in batches[1:4] + batches[5:6]) and len(batch) > 0
        for at in np.ndindex(batch[:-1] if shared else batch):
            one = (*at, 0) if shared else at
            which, about = wide[0][at], wide[4][at]
            _draw_people(
                rng,
                np.atleast_1d(which).astype(np.int64),
                *(np.array(wide[j][one], dtype=float) for j in (1, 2, 3)),
                np.array(about if shared else about[None], dtype=float),
                np.array(wide[5][one], dtype=float),
                out[at] if shared else out[at][None],
            )
        return out


class _OneTrait(MarginalMixtureRV):
    """Of one trait: no dimension of traits."""

    @classmethod
    def rng_fn(cls, *args: Any, **kwargs: Any) -> Array:
        """Draw (n_people,)."""
        return super().rng_fn(*args, **kwargs)[..., 0]


one_trait_mixture = _OneTrait(signature=ONE_TRAIT)
mixture_of_traits = MarginalMixtureRV(signature=TRAITS)


@numba_core_rv_funcify.register(MarginalMixtureRV)
def _numba_draw(op: MarginalMixtureRV, node: Any) -> Any:
    if op.ndim_supp == 0:

        @njit
        def draw_one(rng, pattern, logits, means, roots, covariates, shifts, weight):  # type: ignore[no-untyped-def]
            out = np.empty(1)
            _draw(rng, logits[pattern.item()], means, roots, covariates, shifts, out)
            return out[0]

        return draw_one, _VERSION

    @njit
    def draw(rng, pattern, logits, means, roots, covariates, shifts, weight):  # type: ignore[no-untyped-def]
        out = np.empty(means.shape[1])
        _draw(rng, logits[pattern.item()], means, roots, covariates, shifts, out)
        return out

    return draw, _VERSION


@_logprob.register(MarginalMixtureRV)
def _mixture_logprob(op: MarginalMixtureRV, values: Any, rng: Any, size: Any, *parameters: Any, **kwargs: Any) -> Any:
    """Weighted log density of each person, the likelihood of the traits that the person has."""
    pattern, logits, means, roots, covariates, shifts, weights = parameters
    observed = known(values[0], "observed")
    traits = observed[:, None] if op.ndim_supp == 0 else observed
    check_people(traits, None)
    return log_density(
        traits,
        known(pattern, "pattern"),
        known(covariates, "covariates"),
        known(weights, "weights"),
        tuple(_of_everybody(x, n) for x, n in ((logits, 2), (means, 2), (roots, 3), (shifts, 2))),
    )


def _of_everybody(parameter: Any, core: int) -> Any:
    """A parameter without the dimension of people, which a random variable gives every input, of length one."""
    while parameter.type.ndim > core:
        parameter = parameter.squeeze(0)  # refused by PyTensor where it is not of length one
    return parameter


def known(variable: Any, name: str) -> Array:
    """The value of a constant of the graph.

    Raises
    ------
    InputError
        If it is not a constant: people are sorted and grouped once, before the graph is compiled.
    """
    if not isinstance(variable, Constant):
        try:
            (folded,) = constant_fold([variable])
        except NotScalarConstantError:
            raise InputError(
                f"{name} of a MarginalMixture is a variable of the graph; it must be an array (not pm.Data): people "
                "are sorted and grouped once. For other data build the model anew"
            ) from None
        return np.asarray(folded)
    return np.asarray(variable.data)


def check_people(traits: Array, labels: Any) -> None:
    """Refuse traits (n, D) that are infinite, and people without any."""
    shown = np.arange(len(traits)) if labels is None else np.asarray(labels)
    infinite = np.isinf(traits).any(axis=1)
    if infinite.any():
        raise InputError(f"observed is infinite for people {first_few(shown[infinite])}")
    empty = np.isnan(traits).all(axis=1)
    if empty.any():
        raise InputError(
            f"observed has no trait at all for {int(empty.sum())} people, {first_few(shown[empty])}; they say nothing "
            "of the traits: leave them out"
        )


def log_density(traits: Array, pattern: Array, covariates: Array, weights: Array, parameters: tuple[Any, ...]) -> Any:
    """Graph of the weighted log density (n,) of each person.

    Parameters
    ----------
    traits : ndarray (n, D)
        NaN where missing.
    pattern : ndarray of int (n,)
        Row of the logits of each person.
    covariates : ndarray (n, Q)
    weights : ndarray (n,)
    parameters : tuple
        Graph variables: logits (U, K), means (K, D), precision factors (K, D, D), shifts (Q, D).
    """
    logits, means, roots, shifts = parameters
    n, size = traits.shape
    pattern, weights = (np.broadcast_to(x, n) for x in (pattern, weights))
    covariates = np.broadcast_to(covariates, (n, covariates.shape[-1]))
    present = np.flatnonzero(weights > 0.0)
    weighted = not (weights == 1.0).all()
    constant = (pattern == pattern[0]).all()
    sample, place = gather(
        traits[present],
        np.empty((len(present), 0)) if constant else pattern[present, None].astype(float),
        np.ascontiguousarray(covariates[present], dtype=float),
        np.ascontiguousarray(weights[present], dtype=float) if weighted else None,
        Uncertain.nobody(0 if constant else 1),
        centre=np.zeros(size),
        scale=np.ones(size),
    )
    row_of = np.zeros(n, dtype=np.int64)
    row_of[present] = np.arange(len(present))[place] if isinstance(place, slice) else place
    rows = pattern[:1] if constant else sample.predictors[:, 0].astype(np.int64)
    if not (len(rows) == logits.type.shape[0] and (rows == np.arange(len(rows))).all()):
        logits = logits[np.asarray(rows, dtype=np.int64)]
    # constants and not shared variables: with twenty of those for each likelihood nutpie compiles for minutes
    inputs = [pt.constant(value) for value in (*sample_inputs(sample).values(), row_of, np.array(weights, dtype=float))]
    return pointwise_mixture_likelihood(logits, means, roots, shifts, pt.constant(np.empty(0)), *inputs)
