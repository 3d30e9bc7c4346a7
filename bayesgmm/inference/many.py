"""Thousands of small mixtures at once: what is asked for, checked; the work, shared among threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesgmm.checks import check_above_zero, check_whole, check_workers, seed_or_zero
from bayesgmm.core.families import SAMPLED, Family, family_of
from bayesgmm.core.many import BIC, ICL, INTERRUPTED, NOT_TRIED, Found, fit_problems
from bayesgmm.core.small_facts import Spike
from bayesgmm.core.small_mixture import Form
from bayesgmm.core.small_prior import Model
from bayesgmm.errors import InputError, Interrupted
from bayesgmm.inference.many_data import gathered
from bayesgmm.inference.many_fits import OUTCOMES, ManyFits
from bayesgmm.model import Mixture
from bayesgmm.priors import Priors
from bayesgmm.progress import track

Array = NDArray[np.float64]

BLOCK = 256  # problems that a thread takes at a time, and between which an interrupt is heeded
CRITERIA = {"bic": BIC, "icl": ICL}


def fit_many(
    matrix: pd.DataFrame | NDArray[Any],
    n_components: int | Iterable[int] = range(1, 5),
    *,
    pairs: pd.DataFrame | NDArray[Any] | Sequence[Sequence[Any]] | None = None,
    covariance: str | Sequence[str] | None = None,
    criterion: Literal["bic", "icl"] = "bic",
    priors: Priors | None = None,
    restarts: int = 10,
    seed: int | None = None,
    max_iterations: int = 500,
    tolerance: float = 1e-8,
    threads: int | None = None,
    block: int = BLOCK,
    progress: bool = False,
    **other: Any,
) -> ManyFits:
    """Fit thousands of mixtures of one or two traits, each with several numbers of components, and keep the best.

    Each is the MAP fit that :meth:`bayesgmm.Mixture.fit` makes of that problem alone, under the same priors (whose
    defaults depend on the problem's own data), to rounding. What comes of a problem depends neither on the others nor
    on their order, ``block`` or ``threads``.

    Parameters
    ----------
    matrix : DataFrame or ndarray
        (n_problems, n_samples), as genes by samples, NaN where missing: mixtures of one trait. With ``pairs``: the rows
        that pairs are of. An array (n_problems, n_samples, 2): mixtures of two traits.
    n_components : int or iterable of int, default 1 to 4
        Numbers of components to choose from.
    pairs : DataFrame or array_like (n_pairs, 2), optional
        Mixtures of two traits: two rows of the matrix each, by number, or by name where the matrix is a frame. Nothing
        is copied. A sample that lacks one of the two counts with the other.
    covariance : str or list of str, optional
        Families to choose from: E and V for one trait; EII, VII, EEI, VVI, EEE and VVV for two. Default: V, VVV.
    criterion : {"bic", "icl"}
        What chooses; the smallest is the best. ICL adds the uncertainty of the memberships and so prefers components
        that are apart.
    priors : Priors, optional
        Of weights and components. The weights need one concentration of at least 1 for all.
    restarts : int, default 10
        Starts of each, besides those that split a component of the mixture with one component fewer.
    seed : int, optional
        Of the random starts; None: 0.
    max_iterations : int, default 500
        Most passes of one climb.
    tolerance : float, default 1e-8
        Stop when the log posterior is estimated to be this close to its limit.
    threads : int, optional
        By default as many as there are processors to use.
    block : int, default 256
        Problems that a thread takes at a time.
    progress : bool, default False
        Show a progress bar.

    Returns
    -------
    ManyFits

    Raises
    ------
    InputError
        If an argument is out of bounds or a trait infinite. A problem that cannot be fitted (constant, missing for
        everyone) is no error: its row of the table says why.

    Interrupted
        At an interrupt (Ctrl-C), heeded when the blocks at hand are done: a ``KeyboardInterrupt`` whose ``partial`` is
        the ManyFits with what was fitted by then.

    Examples
    --------
    >>> import numpy as np, bayesgmm as bg
    >>> rng = np.random.default_rng(1)
    >>> expression = rng.normal(0, 1, (100, 200))
    >>> expression[:10, 120:] += 5
    >>> fits = bg.fit_many(expression, range(1, 4))
    >>> fits.table["n_components"].value_counts().to_dict()
    {1: 90, 2: 10}
    """
    _refuse_other(other)
    priors = Priors() if priors is None else priors
    if not isinstance(priors, Priors):
        raise InputError(f"priors = {priors!r}; it must be a bayesgmm.Priors")
    if criterion not in CRITERIA:
        raise InputError(f"criterion = {criterion!r}; it must be 'bic' or 'icl'")
    for name, value in (("restarts", restarts), ("max_iterations", max_iterations), ("block", block)):
        check_whole(name, value, 1)
    check_above_zero("tolerance", tolerance)
    check_workers("threads", threads)
    seed = seed_or_zero(seed)
    data = gathered(matrix, pairs)
    numbers = _numbers(n_components)
    families = _families(covariance, data.n_traits)
    models = models_of(priors, families, numbers, data.n_traits)
    uniform = np.random.default_rng(seed).random((len(models), restarts, numbers[-1]))
    found = _not_yet_found(data.n_problems, len(models), numbers[-1])
    rows = np.array([model.row() for model in models])

    def fit_block(start: int, stop: int) -> None:
        fit_problems(
            *data.block(start, stop),
            rows,
            CRITERIA[criterion],
            uniform,
            max_iterations,
            tolerance,
            found.part(start, stop),
        )

    def fits() -> ManyFits:
        return ManyFits.of_found(
            found,
            data,
            n_parameters=np.array([model.n_parameters for model in models]),
            n_components=tuple(numbers),
            families=tuple(_short(family, data.n_traits) for family in families),
            criterion=criterion,
            tolerance=tolerance,
            priors=priors,
        )

    try:
        in_blocks(fit_block, data.n_problems, block, threads, "mixtures", progress)
    except KeyboardInterrupt:
        done = int((found.outcome != INTERRUPTED).sum())
        raise Interrupted(
            f"interrupted when {done} of {data.n_problems} problems were done; they are kept in the exception's "
            "'partial' (at the prompt: import sys; sys.last_value.partial), the others with the status "
            f"{OUTCOMES[INTERRUPTED]!r}",
            fits(),
        ) from None
    return fits()


def in_blocks(
    work: Callable[[int, int], None], n: int, block: int, threads: int | None, label: str, progress: bool
) -> None:
    """Do work on the problems from ``start`` to ``stop``, block after block, on threads.

    Compiled work gives up Python's lock. An interrupt, or an error, cancels the blocks that have not begun.
    """
    threads = len(os.sched_getaffinity(0)) if threads is None and hasattr(os, "sched_getaffinity") else threads
    threads = threads or os.cpu_count() or 1
    bounds = [(start, min(start + block, n)) for start in range(0, n, block)]
    # a single thread too is another than this one, which so can be interrupted
    with ThreadPoolExecutor(threads) as pool:
        running: list[Future[None]] = [pool.submit(work, start, stop) for start, stop in bounds]
        try:
            for future in track(running, label, enabled=progress):
                future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def models_of(priors: Priors, families: Sequence[Family], numbers: Sequence[int], n_traits: int) -> list[Model]:
    """Every family with every number of components, and what the priors say whatever the data.

    Raises
    ------
    InputError
        If a prior is out of bounds, or of a kind that only the single fit knows.
    """
    own_mean = getattr(priors.components, "mean", None) is None
    own_scale = getattr(priors.components, "scale", None) is None
    models = []
    for f, family in enumerate(families):
        for k in numbers:
            # resolved for data of mean 0 and covariance 1: what the data decide is left to each problem
            resolved = priors.resolve(np.zeros(n_traits), np.eye(n_traits), k, family=family)
            if resolved.weights_jeffreys or float(resolved.concentration.min()) < 1.0:
                raise InputError(
                    "weights prior: fit_many needs a concentration of at least 1; one below 1, and Jeffreys' prior, "
                    "empty components, which Mixture.fit knows"
                )
            if np.ptp(resolved.concentration) > 0.0:
                raise InputError("weights prior: fit_many needs one concentration for all components; give one number")
            niw = resolved.niw()
            mean, scale = np.zeros(2), np.zeros((2, 2))
            if not niw.is_flat and niw.strength > 0.0:
                mean[:n_traits], scale[:n_traits, :n_traits] = niw.mean, niw.scale
            proper = niw.strength > 0.0
            models.append(
                Model(
                    family=f,
                    n_components=k,
                    n_parameters=k - 1 + k * n_traits + family.n_parameters(k, n_traits),
                    form=Form(n_traits, family.shared, family.spherical, family.on_axes),
                    one_unit=family.one_unit,
                    concentration=float(resolved.concentration[0]),
                    strength=niw.strength,
                    dof=niw.dof,
                    improper=not proper,
                    mean_power=niw.mean_power,
                    covariance_power=niw.covariance_power,
                    unit_power=float(niw.unit_power(k)[0]),
                    own_mean=own_mean and proper,
                    own_scale=own_scale and proper,
                    mean_0=mean[0],
                    mean_1=mean[1],
                    scale_00=scale[0, 0],
                    scale_01=scale[0, 1],
                    scale_11=scale[1, 1],
                )
            )
    return models


def _refuse_other(other: dict[str, Any]) -> None:
    """Refuse arguments that there are not, with a word on those that the single fit has."""
    for name in other:
        if name in {f.name for f in fields(Mixture)}:
            raise InputError(
                f"{name}: fit_many fits Gaussian mixtures without predictors; for {name}= fit the problems that need "
                f"it one by one, bayesgmm.Mixture(2, {name}=...).fit(matrix.loc[problem])"
            )
        raise TypeError(f"fit_many() got an unexpected keyword argument {name!r}")


def _numbers(n_components: int | Iterable[int]) -> list[int]:
    if isinstance(n_components, str) or not isinstance(n_components, int | np.integer | Iterable):
        raise InputError(f"n_components = {n_components!r}; give numbers of components, at least 1, e.g. range(1, 5)")
    given = list(n_components) if isinstance(n_components, Iterable) else [n_components]
    if not given:
        raise InputError("n_components is empty; give at least one number of components")
    for k in given:
        check_whole("n_components", k, 1)
    return sorted({int(k) for k in given})


def _families(covariance: str | Sequence[str] | None, n_traits: int) -> list[Family]:
    if covariance is None:
        covariance = "V" if n_traits == 1 else "VVV"
    given = [covariance] if isinstance(covariance, str) else list(covariance)
    known = ("E", "V") if n_traits == 1 else SAMPLED
    families: list[Family] = []
    for name in given:
        try:
            family = family_of(name)
        except (KeyError, TypeError):
            family = None
        single = name in ("E", "V")
        if family is None or (n_traits == 1) != single or not family.sampled:
            traits = "one trait" if n_traits == 1 else "two traits"
            raise InputError(f"covariance = {name!r}; the families of fit_many for {traits} are {', '.join(known)}")
        if family not in families:
            families.append(family)
    if not families:
        raise InputError(f"covariance is empty; give one or more of {', '.join(known)}")
    return families


def _short(family: Family, n_traits: int) -> str:
    return family.name[0] if n_traits == 1 else family.name


def _not_yet_found(n_problems: int, n_models: int, most: int) -> Found:
    log_posterior, log_likelihood, entropy, gap = np.full((4, n_problems, n_models), np.nan)
    return Found(
        np.full(n_problems, INTERRUPTED, dtype=np.int8),
        np.full(n_problems, -1, dtype=np.int64),
        np.zeros(n_problems, dtype=np.int64),
        np.zeros(n_problems, dtype=np.int64),
        np.full((n_problems, len(Spike._fields)), np.nan),
        np.full((n_problems, most), np.nan),
        np.full((n_problems, most, 2), np.nan),
        np.full((n_problems, most, 3), np.nan),
        log_posterior,
        log_likelihood,
        entropy,
        gap,
        np.full((n_problems, n_models), NOT_TRIED, dtype=np.int8),
    )
