"""The evidence of a model, whichever way it is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bayesgmm.checks import check_fitted, seed_or_zero
from bayesgmm.errors import InputError
from bayesgmm.inference.bridge import Evidence, bridge
from bayesgmm.inference.laplace import USABLE_K, LaplacePosterior

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.inference.posterior import Posterior

METHODS = ("laplace", "bridge", "smc")


def evidence(
    result: MapFit | Posterior, method: str | None = None, *, seed: int | None = None, **options: Any
) -> Evidence:
    """Log marginal likelihood of the traits under a model, of all its labellings, with its error.

    Parameters
    ----------
    result : MapFit or Posterior
    method : {"laplace", "bridge", "smc"}, optional
        Importance draws at the mode; bridge sampling from the draws of a posterior; sequential Monte Carlo from the
        prior, which needs nothing of the fit and takes minutes. None: what the result has, a fit and a Laplace
        posterior "laplace", draws of NUTS "bridge".
    seed : int, optional
        None: 0.
    **options
        ``draws`` of "laplace"; ``particles``, ``moves`` and ``runs`` of "smc".

    Returns
    -------
    Evidence

    Raises
    ------
    InputError
        If the prior is improper, the family cannot be sampled, or the method does not suit the result.

    Examples
    --------
    >>> import numpy as np, bayesgmm as bg
    >>> y = np.random.default_rng(1).normal(size=(100, 1))
    >>> one, two = (bg.evidence(bg.Mixture(k).fit(y)).log_evidence for k in (1, 2))
    >>> one > two
    True
    """
    from bayesgmm.inference.map_fit import MapFit

    check_fitted("evidence", result)
    seed = seed_or_zero(seed)
    if method is None:
        method = "laplace" if isinstance(result, MapFit | LaplacePosterior) else "bridge"
    if method not in METHODS:
        raise InputError(f"method = {method!r}; it must be one of {', '.join(METHODS)}")
    if method == "smc":
        from bayesgmm.inference.tempering import temper

        return temper(result if isinstance(result, MapFit) else result.map, seed=seed, **options)
    if method == "bridge":
        if isinstance(result, MapFit):
            raise InputError("evidence: 'bridge' needs draws; sample the posterior (Mixture.sample) and give that")
        return bridge(result, seed=seed)
    if isinstance(result, MapFit):
        return of_laplace(result.laplace(seed=seed, **options))
    if not isinstance(result, LaplacePosterior):
        raise InputError("evidence: 'laplace' is of a fit; give posterior.map, or use 'bridge'")
    return of_laplace(result)


def of_laplace(found: LaplacePosterior) -> Evidence:
    """What a Laplace posterior says of the evidence."""
    good = found.pareto_k <= USABLE_K
    return Evidence(found.log_evidence, found.log_evidence_error, "importance draws at the mode", good, found.advice)
