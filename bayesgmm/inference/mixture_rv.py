r"""A marginal mixture as a random variable of PyMC: how it is drawn, and its log density by the fused kernel.

Person i draws a component from the softmax of row :math:`u(i)` of the logits, then traits from
:math:`N(\mu_k + c_i \Delta, (L_k L_k')^{-1})`, that is :math:`\mu_k + c_i \Delta + L_k'^{-1} \epsilon`; of a Student-t
component :math:`\epsilon / \sqrt{u}` with :math:`u \sim \mathrm{Gamma}(\nu_k/2, \nu_k/2)`. After the components with a
mean come noise, drawn evenly from a box, and a spike, which is one value. People are the batch of the random variable;
parameters are shared by all, so that they are never repeated for each person.
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

from bayesgmm.core.fixed import Box, Fixed
from bayesgmm.core.gather import Uncertain, gather
from bayesgmm.errors import InputError, first_few
from bayesgmm.inference.likelihood_op import sample_inputs
from bayesgmm.inference.pointwise_op import pointwise_mixture_likelihood

Array = NDArray[np.float64]

# pattern, logits, means, precision factors, covariates, shifts, weight, degrees of freedom (or none), box of noise (or
# none; see `rows_of_box`), spike (or none)
_PARAMETERS = "(),(u,k),(l,d),(l,d,d),(q),(q,d),(),(f),(b,d),(s,d)"
_CORE = (0, 2, 2, 3, 1, 2, 0, 1, 2, 2)  # dimensions of each
_OF_PEOPLE = (0, 4, 6)  # those that differ from person to person
ONE_TRAIT = f"{_PARAMETERS}->()"
TRAITS = f"{_PARAMETERS}->(d)"
_VERSION = 2
_AXES = 5  # first row of the axes in the rows of a box


@njit(cache=True, error_model="numpy")
def _draw(
    rng: np.random.Generator,
    logits: Array,
    means: Array,
    roots: Array,
    covariates: Array,
    shifts: Array,
    df: Array,
    box: Array,
    spike: Array,
    out: Array,
) -> None:
    """Draw one person's traits into ``out`` (D,); ``logits`` (K,) are the person's own."""
    n_located, size = means.shape
    largest = logits.max()
    left = rng.random() * np.exp(logits - largest).sum()
    chosen = 0
    for k in range(len(logits)):
        chosen = k
        left -= np.exp(logits[k] - largest)
        if left < 0.0:
            break
    if chosen >= n_located:
        if chosen == n_located and len(box) > 0:
            out[:] = box[2]
            for e in range(size):
                along = box[0, e] + (box[1, e] - box[0, e]) * rng.random()
                for d in range(size):
                    out[d] += box[_AXES + d, e] * along
        else:
            out[:] = spike[0]
        return
    root = roots[chosen]
    for d in range(size):
        out[d] = rng.standard_normal()
    for d in range(size - 1, -1, -1):
        for e in range(d + 1, size):
            out[d] -= root[e, d] * out[e]
        out[d] /= root[d, d]
    if len(df) > 0:
        half = 0.5 * df[chosen]
        wider = np.sqrt(half / rng.standard_gamma(half))
        for d in range(size):
            out[d] *= wider
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
    df: Array,
    box: Array,
    spike: Array,
    out: Array,
) -> None:
    """Draw everybody's traits into ``out`` (n, D)."""
    for i in range(len(pattern)):
        _draw(rng, logits[pattern[i]], means, roots, covariates[i], shifts, df, box, spike, out[i])


def rows_of_box(box: Box | None, n_traits: int) -> Array:
    """A box as an array of rows (5 + D, D), or none: low, high, centre, along, its volume, and its axes."""
    if box is None:
        return np.empty((0, n_traits))
    return np.vstack((box.low, box.high, box.centre, box.along, np.full(n_traits, box.volume), box.axes))


def _fixed_of(box: Array, spike: Array) -> Fixed:
    """Noise and spike of what the random variable was given; dimensions of people have length one."""
    box, spike = box.reshape(box.shape[-2:]), spike.reshape(spike.shape[-2:])
    noise = None
    if len(box):
        low, high, centre, along, volume = box[:_AXES]
        noise = Box(low, high, box[_AXES:], centre, along, float(volume[0]))
    return Fixed(noise, spike[0] if len(spike) else None)


class MarginalMixtureRV(RandomVariable):  # type: ignore[misc]
    """Random variable of :class:`bayesgmm.pymc.MarginalMixture`; the signature tells one trait from several."""

    name = "MarginalMixture"
    dtype = "float64"
    inplace = False
    _print_name = ("MarginalMixture", "\\operatorname{MarginalMixture}")

    @classmethod
    def rng_fn(cls, rng: np.random.Generator, *parameters_and_size: Any) -> Array:
        """Draw; arrays may have leading dimensions beside those of the signature, which broadcast."""
        *parameters, size = parameters_and_size
        arrays = [np.asarray(a) for a in parameters]
        batches = [a.shape[: a.ndim - n] for a, n in zip(arrays, _CORE, strict=True)]
        batch = np.broadcast_shapes(*batches) if size is None else tuple(size)
        wide = [np.broadcast_to(a, batch + a.shape[a.ndim - n :]) for a, n in zip(arrays, _CORE, strict=True)]
        out = np.empty((*batch, arrays[2].shape[-1]))
        # people who share their parameters are drawn in one go: the last dimension, unless a parameter differs along it
        common = [j for j in range(len(_CORE)) if j not in _OF_PEOPLE]
        shared = all(not batches[j] or batches[j][-1] == 1 for j in common) and len(batch) > 0
        for at in np.ndindex(batch[:-1] if shared else batch):
            one = (*at, 0) if shared else at
            which, about = wide[0][at], wide[4][at]
            logits, means, roots, *rest = (np.array(wide[j][one], dtype=float) for j in common)
            _draw_people(
                rng,
                np.atleast_1d(which).astype(np.int64),
                logits,
                means,
                roots,
                np.array(about if shared else about[None], dtype=float),
                *rest,
                out[at] if shared else out[at][None],
            )
        return out


class _OneTrait(MarginalMixtureRV):
    """Of one trait: no dimension of traits."""

    @classmethod
    def rng_fn(cls, rng: np.random.Generator, *parameters_and_size: Any) -> Array:
        """Draw (n_people,)."""
        return super().rng_fn(rng, *parameters_and_size)[..., 0]


one_trait_mixture = _OneTrait(signature=ONE_TRAIT)
mixture_of_traits = MarginalMixtureRV(signature=TRAITS)


@numba_core_rv_funcify.register(MarginalMixtureRV)
def _numba_draw(op: MarginalMixtureRV, node: Any) -> Any:
    if op.ndim_supp == 0:

        @njit
        def draw_one(rng, pattern, logits, means, roots, covariates, shifts, weight, df, box, spike):  # type: ignore[no-untyped-def]
            out = np.empty(1)
            _draw(rng, logits[pattern.item()], means, roots, covariates, shifts, df, box, spike, out)
            return out[0]

        return draw_one, _VERSION

    @njit
    def draw(rng, pattern, logits, means, roots, covariates, shifts, weight, df, box, spike):  # type: ignore[no-untyped-def]
        out = np.empty(means.shape[1])
        _draw(rng, logits[pattern.item()], means, roots, covariates, shifts, df, box, spike, out)
        return out

    return draw, _VERSION


@_logprob.register(MarginalMixtureRV)
def _mixture_logprob(op: MarginalMixtureRV, values: Any, rng: Any, size: Any, *parameters: Any, **kwargs: Any) -> Any:
    """Weighted log density of each person, the likelihood of the traits that the person has."""
    pattern, logits, means, roots, covariates, shifts, weights, df, box, spike = parameters
    observed = known(values[0], "observed")
    traits = observed[:, None] if op.ndim_supp == 0 else observed
    check_people(traits, None)
    return log_density(
        traits,
        known(pattern, "pattern"),
        known(covariates, "covariates"),
        known(weights, "weights"),
        tuple(_of_everybody(x, n) for x, n in ((logits, 2), (means, 2), (roots, 3), (shifts, 2), (df, 1))),
        _fixed_of(known(box, "noise"), known(spike, "spike")),
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


def log_density(
    traits: Array, pattern: Array, covariates: Array, weights: Array, parameters: tuple[Any, ...], fixed: Fixed
) -> Any:
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
        Graph variables: logits (U, K), means (L, D), precision factors (L, D, D), shifts (Q, D), degrees of freedom
        (L,) or, where components are Gaussian, (0,).
    fixed : Fixed
        Components after those that have a mean.
    """
    logits, means, roots, shifts, df = parameters
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
        fixed=fixed,
    )
    row_of = np.zeros(n, dtype=np.int64)
    row_of[present] = np.arange(len(present))[place] if isinstance(place, slice) else place
    rows = pattern[:1] if constant else sample.predictors[:, 0].astype(np.int64)
    if not (len(rows) == logits.type.shape[0] and (rows == np.arange(len(rows))).all()):
        logits = logits[np.asarray(rows, dtype=np.int64)]
    # constants and not shared variables: with twenty of those for each likelihood nutpie compiles for minutes
    inputs = [pt.constant(value) for value in (*sample_inputs(sample).values(), row_of, np.array(weights, dtype=float))]
    return pointwise_mixture_likelihood(logits, means, roots, shifts, df, *inputs)
