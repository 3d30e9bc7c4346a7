"""Whether a mixture needs its noise: held by BIC against the same mixture without."""

from __future__ import annotations

import warnings
from dataclasses import replace

from bayesgmm import names
from bayesgmm.errors import FitWarning, InputError
from bayesgmm.inference.em import SingularComponentError
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.search import fit_map
from bayesgmm.priors import Priors
from bayesgmm.problem import Problem

_RESTARTS = 5


def noise_to_spare(problem: Problem, seed: int = 0) -> str:
    """Words where noise does not pay for its parameters; none where it does, or where there is no noise.

    Noise is even between the ends of the data, so some is always found, also beside one Gaussian that is right: maximum
    likelihood (and mclust, which finds the same) gives it a tenth or two of a few hundred people. Whether it is
    needed BIC says. Both mixtures are fitted under the default priors.

    Parameters
    ----------
    problem : Problem
        Of the mixture with noise.
    seed : int, default 0
    """
    if problem.fixed.noise is None:
        return ""
    size = problem.n_components - 1
    spared = replace(
        problem,
        n_components=size,
        reference=min(problem.reference, size - 1),
        fixed=replace(problem.fixed, noise=None),
    )
    try:
        kept_fit, spared_fit = (_fitted(p.with_priors(Priors()), seed) for p in (problem, spared))
    except (InputError, SingularComponentError):
        return ""  # so few people cannot carry the one or the other
    gain = kept_fit.bic - spared_fit.bic
    if not gain > 0.0:
        return ""
    share = 100.0 * float(kept_fit.params[names.WEIGHTS][problem.n_located])
    return (
        f"noise holds {share:.2g}% of people and does not pay: without it BIC is {gain:.1f} lower. It is even between "
        "the ends of the data, so some is found where there are no strays"
    )


def _fitted(problem: Problem, seed: int) -> MapFit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)  # of a mixture that nobody asked for
        return fit_map(problem, seed=seed, restarts=_RESTARTS)
