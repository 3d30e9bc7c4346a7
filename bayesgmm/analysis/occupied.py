"""How many components hold anybody: the posterior of their number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesgmm.checks import check_whole, seed_or_zero
from bayesgmm.core.objective import Stacked
from bayesgmm.errors import FitWarning, InputError, warn
from bayesgmm.inference.summary import summarise_array

if TYPE_CHECKING:
    from bayesgmm.inference.posterior import Posterior

Array = NDArray[np.float64]

_LARGE_R_HAT = 1.05  # of the number occupied, beyond which chains have not seen the same
_FEW_DRAWS = 100.0  # effective draws of it below which the probabilities are rough


def occupied(posterior: Posterior, *, seed: int | None = None, draws: int = 2000) -> pd.DataFrame:
    r"""Posterior distribution of the number of components that hold at least one person with traits.

    For each draw of the parameters every person's membership is drawn given them, and the components with anybody are
    counted. It is the number of components that the people show, and under a small concentration of the weights an
    estimate of how many there are (Rousseau and Mengersen 2011; Malsiner-Walli, Fruehwirth-Schnatter and Gruen 2016,
    Statistics and Computing 26:303). See :class:`bayesgmm.Dirichlet` for which concentration.

    Parameters
    ----------
    posterior : Posterior
    seed : int, optional
        Of the memberships. None: 0, so that the answer is reproducible.
    draws : int, default 2000
        At most so many of the draws are looked at, evenly spread over every chain.

    Returns
    -------
    pandas.DataFrame
        ``n_components`` (1 to as many as the model has), ``probability``, and ``mcse``, its Monte Carlo standard error,
        the draws' dependence counted. ``attrs`` hold ``r_hat`` and ``ess`` of the number occupied, ``draws``, and
        ``advice`` in words: the number has no labels, so relabelling cannot hide chains that disagree about it.

    Raises
    ------
    InputError
        If an argument is out of bounds, or sample weights are not whole numbers of people.

    Warns
    -----
    FitWarning
        If chains disagree about the number or have moved too little to tell.
    """
    check_whole("draws", draws, 1)
    seed = seed_or_zero(seed)
    if not hasattr(posterior, "tree"):
        raise InputError(f"occupied: given a {type(posterior).__name__}; give a posterior (Mixture.sample)")
    problem = posterior.problem
    people = problem.arrays.sample.repeats
    whole = np.rint(people).astype(np.int64)
    if len(people) and not np.allclose(people, whole, rtol=0.0, atol=1e-9):
        raise InputError(
            "occupied: sample weights are not whole numbers, so it is not said how many people there are to draw "
            "memberships for; sample with weights that count people"
        )
    stacked = problem.stacked(posterior.posterior)
    n_chains, n_draws = stacked.pi.shape[:2]
    kept = np.unique(np.linspace(0, n_draws - 1, min(n_draws, max(1, draws // n_chains))).astype(int))
    some = Stacked(*(x[:, kept] for x in stacked))
    rng = np.random.default_rng(seed)
    found = np.empty((n_chains, len(kept)))
    for place in np.ndindex(found.shape):
        r = problem.arrays.membership(some.at(place))[0]
        found[place] = np.count_nonzero(_held(r, whole, rng))
    counts = np.arange(1, problem.n_components + 1)
    probability = np.array([(found == k).mean() for k in counts])
    error = [_standard_error(found == k) for k in counts]
    table = pd.DataFrame({"n_components": counts, "probability": probability, "mcse": error})
    told = summarise_array(found) if found.shape[1] > 3 else {"r_hat": 1.0, "ess_bulk": float(found.size)}
    advice = _advice(found, told["r_hat"], told["ess_bulk"])
    if advice:
        warn(f"occupied: {advice}", FitWarning)
    table.attrs = {
        "r_hat": told["r_hat"],
        "ess": told["ess_bulk"],
        "draws": int(found.size),
        "advice": advice or "chains agree about the number of occupied components",
    }
    return table


def _held(r: Array, people: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which components (K,) hold anybody when memberships are drawn from responsibilities (rows, K)."""
    if len(people):
        share = r / r.sum(axis=1, keepdims=True)
        held: NDArray[np.bool_] = rng.multinomial(people, share).any(axis=0)
        return held
    cumulative = np.cumsum(r[:, :-1], axis=1)
    chosen = (rng.random(len(r))[:, None] > cumulative).sum(axis=1)
    return np.bincount(chosen, minlength=r.shape[1]) > 0


def _standard_error(is_so: NDArray[np.bool_]) -> float:
    p = float(is_so.mean())
    if p in (0.0, 1.0) or is_so.shape[1] < 4:
        return float(np.sqrt(p * (1.0 - p) / is_so.size))
    ess = summarise_array(is_so.astype(float))["ess_bulk"]
    return float(np.sqrt(p * (1.0 - p) / max(ess, 1.0)))


def _advice(found: Array, r_hat: float, ess: float) -> str:
    """What is wrong with the chains, if anything, and what to do."""
    each = ", ".join(f"{mean:.2f}" for mean in found.mean(axis=1))
    if r_hat > _LARGE_R_HAT:
        return (
            f"chains disagree about the number of occupied components (R-hat {r_hat:.2f}; means of the chains {each}), "
            "so these probabilities are not the posterior's. Raise the concentration (0.1 to 0.5 rather than 0.01) or "
            "tune, run more chains, and hold the answer against fit.survivors of the MAP"
        )
    if ess < _FEW_DRAWS:
        return f"the draws are worth {ess:.0f} independent ones for this number; take more draws"
    return ""
