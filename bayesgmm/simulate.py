"""Simulated studies: genotypes in Hardy-Weinberg proportions, memberships given genotype, traits given membership."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from bayesgmm import names
from bayesgmm.checks import check_seed, check_whole
from bayesgmm.errors import InputError
from bayesgmm.study import Study

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SimulatedStudy:
    """A study whose truth is known.

    Attributes
    ----------
    study : Study
    membership : pandas.Series
        Component of each person, indexed by sample id.
    truth : xarray.Dataset
        ``weights``, ``means``, ``covariances`` and ``effects``, as in :attr:`bayesgmm.MapFit.params`.
    """

    study: Study
    membership: pd.Series[int]
    truth: xr.Dataset


def simulate_genotypes(
    n: int,
    frequencies: ArrayLike,
    *,
    inbreeding: float = 0.0,
    seed: int | None = None,
    ids: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Simulate genotypes of unrelated people at unlinked variants.

    Parameters
    ----------
    n : int
        People.
    frequencies : array_like (n_variants,)
        Frequency of the effect allele, above 0 and below 1.
    inbreeding : float, default 0.0
        Wright's F, 0 to 1: heterozygotes are ``2 p (1 - p)(1 - F)``; 0 is Hardy-Weinberg.
    seed : int, optional
    ids : sequence of str, optional
        Variant ids; ``rs1``, ``rs2``... when not given.

    Returns
    -------
    pandas.DataFrame
        Dosages 0, 1, 2 of the effect allele, indexed by sample id.

    Raises
    ------
    InputError
        If a frequency, the coefficient or n is out of bounds.
    """
    p = np.atleast_1d(np.asarray(frequencies, dtype=float))
    check_whole("n", n, 1)
    check_seed(seed)
    if not ((p > 0) & (p < 1)).all():
        raise InputError(f"frequencies = {p.tolist()}; allele frequencies must be above 0 and below 1")
    if not 0 <= inbreeding <= 1:
        raise InputError(f"inbreeding = {inbreeding}; it must be from 0 to 1")
    labels = [f"rs{v + 1}" for v in range(len(p))] if ids is None else list(ids)
    if len(labels) != len(p):
        raise InputError(f"ids has {len(labels)} names for {len(p)} variants")
    rng = np.random.default_rng(seed)
    mother = rng.random((n, len(p))) < p
    identical = rng.random((n, len(p))) < inbreeding
    father = np.where(identical, mother, rng.random((n, len(p))) < p)
    return pd.DataFrame((mother.astype(int) + father), index=_sample_ids(n), columns=labels)


def simulate_study(
    n: int = 1000,
    *,
    allele_frequencies: ArrayLike = (0.3, 0.4),
    weights: ArrayLike = (0.6, 0.4),
    means: ArrayLike = ((0.0,), (3.0,)),
    covariances: ArrayLike = (((1.0,),), ((1.0,),)),
    effects: ArrayLike = ((0.7,), (-0.4,)),
    traits: Sequence[str] | None = None,
    seed: int | None = None,
) -> SimulatedStudy:
    """Simulate genotypes, memberships given genotype, and traits given membership.

    Parameters
    ----------
    n : int, default 1000
        People.
    allele_frequencies : array_like (n_variants,)
    weights : array_like (n_components,)
        Mixing weights of the average person.
    means : array_like (n_components, n_traits)
    covariances : array_like (n_components, n_traits, n_traits)
    effects : array_like (n_variants, n_components - 1)
        Log odds ratios per allele of each other component against component 0.
    traits : sequence of str, optional
        Names of the traits; ``trait0``, ``trait1``... when not given.
    seed : int, optional

    Returns
    -------
    SimulatedStudy

    Raises
    ------
    InputError
        If shapes disagree, weights do not add to 1, or a covariance is not positive definite.
    """
    pi, mu, sigma = (np.asarray(x, dtype=float) for x in (weights, means, covariances))
    beta, frequency = np.asarray(effects, dtype=float), np.atleast_1d(np.asarray(allele_frequencies, dtype=float))
    _check(pi, mu, sigma, beta, frequency)
    check_seed(seed)
    seeds = np.random.SeedSequence(seed).spawn(2)
    genotypes = simulate_genotypes(n, frequency, seed=int(seeds[0].generate_state(1)[0]))
    rng = np.random.default_rng(seeds[1])
    centred = genotypes.to_numpy() - genotypes.to_numpy().mean(axis=0)
    logits = np.log(pi) + np.concatenate((np.zeros((n, 1)), centred @ beta), axis=1)
    w = np.exp(logits - logits.max(axis=1, keepdims=True))
    cumulative = (w / w.sum(axis=1, keepdims=True)).cumsum(axis=1)[:, :-1]
    component = (rng.random(n)[:, None] > cumulative).sum(axis=1)
    noise = np.einsum("nde,ne->nd", np.linalg.cholesky(sigma)[component], rng.standard_normal((n, mu.shape[1])))
    labels = [f"trait{d}" for d in range(mu.shape[1])] if traits is None else list(traits)
    frame = pd.DataFrame(mu[component] + noise, index=genotypes.index, columns=labels)
    truth = _truth(pi, mu, sigma, beta, labels, list(genotypes.columns))
    return SimulatedStudy(Study(frame, genotypes), pd.Series(component, index=genotypes.index, name="component"), truth)


def standardize(traits: pd.DataFrame) -> pd.DataFrame:
    """Subtract each trait's mean and divide by its standard deviation; missing values stay missing."""
    result: pd.DataFrame = (traits - traits.mean()) / traits.std()
    return result


def _truth(pi: Array, mu: Array, sigma: Array, beta: Array, traits: list[str], variants: list[str]) -> xr.Dataset:
    return xr.Dataset(
        {
            names.WEIGHTS: (names.COMPONENT, pi),
            names.MEANS: ((names.COMPONENT, names.TRAIT), mu),
            names.COVARIANCES: ((names.COMPONENT, names.TRAIT, names.TRAIT_BIS), sigma),
            names.EFFECTS: ((names.PREDICTOR, names.CONTRAST), beta),
        },
        coords={
            names.COMPONENT: np.arange(len(pi)),
            names.TRAIT: traits,
            names.TRAIT_BIS: traits,
            names.PREDICTOR: variants,
            names.CONTRAST: [names.contrast_label(k, 0) for k in range(1, len(pi))],
        },
    )


def _check(pi: Array, mu: Array, sigma: Array, beta: Array, frequency: Array) -> None:
    if pi.ndim != 1 or not (pi > 0).all() or abs(pi.sum() - 1.0) > 1e-8:
        raise InputError(f"weights = {pi.tolist()}; they must be above 0 and add to 1")
    if mu.ndim != 2 or len(mu) != len(pi):
        raise InputError(f"means have shape {mu.shape}; expected ({len(pi)}, n_traits)")
    shape = (len(pi), mu.shape[1], mu.shape[1])
    if sigma.shape != shape:
        raise InputError(f"covariances have shape {sigma.shape}; expected {shape}")
    if np.linalg.eigvalsh(sigma).min() <= 0 or not np.allclose(sigma, np.swapaxes(sigma, 1, 2)):
        raise InputError("covariances: every matrix must be symmetric and positive definite")
    if beta.shape != (len(frequency), len(pi) - 1):
        raise InputError(f"effects have shape {beta.shape}; expected ({len(frequency)}, {len(pi) - 1})")


def _sample_ids(n: int) -> pd.Index[str]:
    width = len(str(n))
    return pd.Index([f"P{i + 1:0{width}d}" for i in range(n)], name=names.SAMPLE)
