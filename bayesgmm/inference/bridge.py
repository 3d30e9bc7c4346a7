r"""The evidence from posterior draws, by bridge sampling (Meng and Wong 1996, Statistica Sinica 6:831).

With a proposal ``q`` like the posterior and draws from both,

.. math:: p(y) = \frac{E_q[p(y, x)\, h(x)]}{E_{x \mid y}[q(x)\, h(x)]}, \qquad
          h \propto \frac{1}{s_1\, p(x \mid y) + s_2\, q(x)},

the best ``h`` for independent draws; the evidence in it is found by iteration. The proposal is a Student-t with the
moments of half of the draws and the bridge is built with the other half; then the halves change places (Overstall and
Forster 2010). Its relative error is that of Fruehwirth-Schnatter (2004, Econometrics Journal 7:143), the dependence of
the draws counted. Draws and proposal carry one labelling, as in :mod:`bayesgmm.inference.laplace`, and the evidence is
that of the whole posterior.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from bayesgmm.errors import InputError, MissingExtraError
from bayesgmm.inference.density import FusedDensity
from bayesgmm.inference.laplace import (
    LaplacePosterior,
    folded,
    label_exchanges,
    log_evidence_constant,
    student_log_density,
    student_points,
)

if TYPE_CHECKING:
    from bayesgmm.inference.posterior import Posterior

Array = NDArray[np.float64]

_DF = 7.0  # of the proposal: tails a little heavier than the posterior's
_ITERATIONS = 1000
_SETTLED = 1e-10  # relative change of the evidence at which the iteration has arrived
_FEWEST = 100  # draws of each chain below which halves say too little of moments


@dataclass(frozen=True)
class Evidence:
    """The log marginal likelihood of the traits, with its error.

    Attributes
    ----------
    log_evidence : float
        ``log p(y)`` in the traits' units, every constant included, of all labellings together.
    error : float
        Monte Carlo standard error of it.
    method : str
        How it was found.
    reliable : bool
        Whether the error can be believed.
    advice : str
        In words.
    """

    log_evidence: float
    error: float
    method: str
    reliable: bool
    advice: str

    def __repr__(self) -> str:
        return f"log evidence {self.log_evidence:.3f} (standard error {self.error:.3f}) by {self.method}; {self.advice}"


def bridge(posterior: Posterior, seed: int = 0) -> Evidence:
    """Evidence from the draws of a posterior.

    Raises
    ------
    InputError
        If there are too few draws, or scales of the effects are learned.
    """
    try:
        from arviz_stats.base import array_stats
    except ImportError as absent:
        raise MissingExtraError(
            f"bridge sampling needs the extra: pip install 'bayesgmm[sample]' ({absent})"
        ) from absent
    problem, fit = posterior.problem, posterior.map
    if isinstance(posterior, LaplacePosterior):
        raise InputError("bridge: draws of the Laplace engine have an evidence of their own, posterior.log_evidence")
    if problem.priors.scales is not None or problem.priors.weights_jeffreys:
        raise InputError(
            "bridge: the density has learned scales or Jeffreys' prior of the weights, for which the evidence is not "
            "computed; give the scales, or use a Dirichlet prior"
        )
    density = FusedDensity(problem.arrays, fit.parameters)
    stacked = problem.stacked(posterior.posterior)
    n_chains, n_draws = stacked.pi.shape[:2]
    if n_draws < 2 * _FEWEST:
        raise InputError(f"bridge: {n_draws} draws a chain; sample at least {2 * _FEWEST}")
    exchanges = label_exchanges(fit, density)
    flat = stacked.flat()
    n_df = fit.parameters.n_df
    each = (replace(flat.at(j), n_df=n_df) for j in range(n_chains * n_draws))
    coordinates = np.stack([problem.arrays.free(parameters) for parameters in each])
    points = np.linalg.solve(density.scale, (coordinates - density.centre).T).T
    points = folded(points, exchanges).reshape(n_chains, n_draws, -1)
    cut = n_draws // 2
    halves = points[:, :cut], points[:, cut : 2 * cut]
    found = []
    for number, (fitted, used) in enumerate((halves, halves[::-1])):
        proposal = _Proposal.fitted(fitted.reshape(-1, density.size), exchanges)
        found.append(_bridged(density, proposal, used, seed + number, array_stats))
    values, errors, sizes = (np.array(column) for column in zip(*found, strict=True))
    n_labels = math.factorial(problem.n_located)
    constant = log_evidence_constant(problem, density) + math.log(n_labels)
    value = float(logsumexp(values) - math.log(2.0)) + constant
    # the halves are of the same chains, and what differs between them is error too
    error = float(max(np.sqrt((errors**2).mean()), 0.5 * abs(values[0] - values[1])))
    reliable = bool(error < 0.5 and sizes.min() > _FEWEST)
    advice = (
        "the error can be believed"
        if reliable
        else (
            f"the draws are worth {sizes.min():.0f} independent ones for it and the error is not to be believed; "
            "sample more draws, or check that chains agree"
        )
    )
    return Evidence(value, error, "bridge sampling", reliable, advice)


@dataclass(frozen=True)
class _Proposal:
    """A Student-t with given moments, folded to one labelling."""

    centre: Array
    root: Array
    exchanges: list[tuple[Array, Array]]

    @classmethod
    def fitted(cls, points: Array, exchanges: list[tuple[Array, Array]]) -> _Proposal:
        """With mean and covariance of the draws."""
        covariance = np.cov(points.T).reshape(points.shape[1], points.shape[1])
        return cls(points.mean(axis=0), np.linalg.cholesky(covariance * (_DF - 2.0) / _DF), exchanges)

    def draw(self, n: int, seed: int) -> Array:
        """Draws (n, size), folded."""
        standard, _ = student_points(n, len(self.centre), _DF, seed)
        return folded(self.centre + standard @ self.root.T, self.exchanges)

    def log_density(self, points: Array) -> Array:
        """Log density of folded draws."""
        copies = [points, *(points @ matrix.T + offset for matrix, offset in self.exchanges)]
        log_det = float(np.log(np.diag(self.root)).sum())
        each = []
        for copy in copies:
            z = np.linalg.solve(self.root, (copy - self.centre).T)
            each.append(student_log_density((z**2).sum(axis=0), len(self.centre), _DF) - log_det)
        value: Array = logsumexp(each, axis=0)
        return value


def _bridged(
    density: FusedDensity, proposal: _Proposal, used: Array, seed: int, array_stats: object
) -> tuple[float, float, float]:
    """Log evidence of one labelling, up to the density's constant, its error, and effective draws."""
    n_chains, n_each, size = used.shape
    draws = used.reshape(-1, size)
    made = proposal.draw(len(draws), seed)
    here = density.values(draws) - proposal.log_density(draws)
    there = density.values(made) - proposal.log_density(made)
    there = np.where(np.isfinite(there), there, -np.inf)
    # so many independent draws the posterior's are worth
    n_posterior = float(
        np.clip(array_stats.ess(here.reshape(n_chains, n_each), method="mean"), 1.0, len(draws))  # type: ignore[attr-defined]
    )
    s1 = n_posterior / (n_posterior + len(made))
    s2 = 1.0 - s1
    value = float(np.median(here))
    for _ in range(_ITERATIONS):
        top = logsumexp(there - np.logaddexp(math.log(s1) + there - value, math.log(s2))) - math.log(len(made))
        bottom = logsumexp(-np.logaddexp(math.log(s1) + here - value, math.log(s2))) - math.log(len(draws))
        # here each value of p is p / r with r the last evidence, which multiplies out
        updated = float(top - bottom)
        settled = abs(updated - value) < _SETTLED
        value = updated
        if settled:
            break
    f1 = np.exp(there - value - np.logaddexp(math.log(s1) + there - value, math.log(s2)))
    f2 = np.exp(-np.logaddexp(math.log(s1) + here - value, math.log(s2)))
    ess = float(np.clip(array_stats.ess(f2.reshape(n_chains, n_each), method="mean"), 1.0, len(draws)))  # type: ignore[attr-defined]
    squared = f1.var() / (f1.mean() ** 2 * len(made)) + f2.var() / (f2.mean() ** 2 * ess)
    return value, float(np.sqrt(squared)), ess
