"""Time the variational posterior beside scikit-learn's and beside EM, and hold its widths against the sampler's.

Run as ``python -m benchmarks.run variational``. One thread each.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn.mixture import BayesianGaussianMixture
from threadpoolctl import threadpool_limits

import bayesgmm as bg
from bayesgmm.core.conjugate import ComponentFactors, DirichletFactor
from bayesgmm.core.mean_field import Factors, MeanField
from bayesgmm.inference.em import climb
from bayesgmm.inference.tidy import parameter_rows
from bayesgmm.simulate import simulate_study
from benchmarks.data import study

REPEATS = 5


def _timed(function: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = function()
    return time.perf_counter() - began, result


def _theirs(fit: bg.MapFit, labels: np.ndarray, tolerance: float) -> BayesianGaussianMixture:
    """Scikit-learn's at the same priors, from the same partition."""
    prior = fit.problem.priors
    made = BayesianGaussianMixture(
        n_components=fit.problem.n_components,
        tol=tolerance,
        max_iter=20_000,
        reg_covar=0.0,
        weight_concentration_prior_type="dirichlet_distribution",
        weight_concentration_prior=prior.concentration[0],
        mean_precision_prior=prior.strength,
        mean_prior=prior.mean,
        degrees_of_freedom_prior=prior.dof,
        covariance_prior=prior.scale,
    )
    # it takes no partition
    made._initialize_parameters = lambda x, *_, **__: made._initialize(x, np.eye(made.n_components)[labels])
    return made


def _bound_of(peer: BayesianGaussianMixture, fit: bg.MapFit, field: MeanField) -> float:
    """The bound, with every constant, at what scikit-learn found."""
    problem = fit.problem
    prior = problem.arrays.niw_prior
    scales = peer.covariances_ * peer.degrees_of_freedom_[:, None, None] / np.outer(problem.unit, problem.unit)
    means = (peer.means_ - problem.centre) / problem.unit
    components = ComponentFactors(prior, peer.mean_precision_ - prior.strength, means, scales)
    weights = DirichletFactor(problem.arrays.weights_prior.concentration, peer.weight_concentration_)
    return field.expectation(Factors(weights, components, field.start(fit.parameters).shifts))[0]


def speed() -> None:
    """One start each, from one partition: to the limit of the bound, and at scikit-learn's own tolerance."""
    print(
        "\n| people | traits | components | bayesgmm (s) | scikit-learn (s) | ratio | steps | its steps | its bound "
        "below ours | at its own tolerance (s) | its bound below ours | a step (us) | a step of EM (us) | a step of "
        "scikit-learn (us) |"
    )
    print("| --- " * 14 + "|")
    for n, d, k in ((600, 2, 3), (5_000, 1, 2), (5_000, 3, 3), (100_000, 3, 4)):
        y = study(n, n_traits=d, n_components=k).dataset["traits"].values
        labels = np.searchsorted(np.quantile(y[:, 0], np.arange(1, k) / k), y[:, 0])
        model = bg.Mixture(k, compress=False)
        fit = model.fit(y, init=labels)
        field = MeanField(fit.problem.arrays)
        start = field.start(fit.parameters)
        steps = partial(field.ascend, start, max_iterations=60, tolerance=1e-300, memory=0)
        em = partial(
            climb, fit.problem.arrays, fit.parameters, max_iterations=60, tolerance=1e-300, newton=False, memory=0
        )
        whole = partial(model.variational, y, init=labels)
        times: dict[str, list[float]] = {}
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole(), steps(), em()
            for _ in range(REPEATS):
                seconds, found = _timed(whole)
                times.setdefault("ours", []).append(seconds)
                peers = []
                for name, tolerance in (("theirs", 1e-9), ("loose", 1e-3)):
                    peer = _theirs(fit, labels, tolerance)
                    times.setdefault(name, []).append(_timed(partial(peer.fit, y))[0])
                    peers.append(peer)
                seconds, run = _timed(steps)
                times.setdefault("step", []).append(1e6 * seconds / len(run.bounds))
                seconds, climbed = _timed(em)
                times.setdefault("em", []).append(1e6 * seconds / len(climbed.history))
        middle = {name: float(np.median(each)) for name, each in times.items()}
        ratio = np.median(np.array(times["theirs"]) / np.array(times["ours"]))
        ours = found.elbo - fit.problem.log_likelihood_shift
        below = [ours - _bound_of(peer, fit, field) for peer in peers]
        print(
            f"| {n:,} | {d} | {k} | {middle['ours']:.3g} | {middle['theirs']:.3g} | {ratio:.3g} | {found.n_iterations} "
            f"| {peers[0].n_iter_} | {below[0]:.1g} | {middle['loose']:.3g} | {below[1]:.2g} | {middle['step']:.0f} | "
            f"{middle['em']:.0f} | {1e6 * middle['theirs'] / peers[0].n_iter_:.0f} |",
            flush=True,
        )


def widths() -> None:
    """Standard deviations over the sampler's by how far components are apart, and the evidence beside Laplace's."""
    print(
        "\n| distance (sds) | predictors | means | covariances | weights | effects | narrowest | corrected_sds | "
        "Laplace | k-hat of q | log evidence less Laplace's |"
    )
    print("| --- " * 11 + "|")
    for distance in (2.0, 2.5, 3.0, 4.0, 6.0):
        for weights in (None, "rs1"):
            made = _two_humps(distance)
            model = bg.Mixture(2, weights=weights)
            fit = model.fit(made, seed=1)
            found, laplace = fit.variational(), fit.laplace(draws=20_000, seed=1)
            posterior = model.sample(made, init=fit, draws=2000, tune=1000, chains=4, seed=1)
            table = bg.compare(fit, found, laplace, posterior).set_index("parameter")
            ratio = table["variational_sd"] / table["sd"]
            corrected = parameter_rows(found.corrected_sds).set_index("parameter")["value"] / table["sd"]
            others = table["laplace_sd"] / table["sd"]
            middle = ratio.groupby(table["variable"]).median()
            effects = f"{middle['effects']:.2f}" if weights else ""
            shown = " | ".join(f"{middle[name]:.2f}" for name in ("means", "covariances", "weights"))
            gap = found.log_evidence - laplace.log_evidence
            ranges = " | ".join(f"{each.min():.2f} to {each.max():.2f}" for each in (corrected, others))
            print(
                f"| {distance:g} | {weights or 'none'} | {shown} | {effects} | {ratio.min():.2f} | {ranges} | "
                f"{found.pareto_k:.2f} | {gap:.2f} |",
                flush=True,
            )


def _two_humps(distance: float) -> bg.Study:
    """One trait of 1,000 people; a variant with a log odds ratio of 0.7 and one of -0.4."""
    return simulate_study(1000, means=[[0.0], [distance]], seed=1).study


def main() -> None:
    """Print both tables."""
    speed()
    widths()
