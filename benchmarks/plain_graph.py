"""The peer of the posterior benchmark: the same model written with PyMC's own operations, under nutpie."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.pymc_model import effect_factor
from bayesgmm.problem import Problem

FORMS = ("logsumexp", "NormalMixture")


def build(problem: Problem, fit: MapFit, form: str = "logsumexp") -> pm.Model:
    """One trait: centred means, precisions by their chi-square; starts at the MAP.

    ``form`` is how components are summed out: logsumexp of PyMC's own normal densities, or ``pm.NormalMixture``.
    """
    arrays, start = problem.arrays, problem.parameters(fit.params)
    niw, prior = arrays.niw_prior, arrays.weights_prior
    k, n_predictors = prior.n_components, arrays.sample.predictors.shape[1]
    sample = arrays.sample
    y, x = problem.start_points()[0], sample.predictors[sample.pattern]
    precision = start.roots[:, 0, 0] ** 2
    with pm.Model() as model:
        weights = pm.Dirichlet("weights", prior.concentration, initval=np.exp(start.log_pi))
        squared = pm.ChiSquared("squared", nu=niw.dof, shape=k, initval=precision * niw.scale[0, 0])
        sd = pm.math.sqrt(niw.scale[0, 0] / squared)
        means = pm.Normal("means", niw.mean[0], sd / np.sqrt(niw.strength), shape=k, initval=start.means[:, 0])
        factor = effect_factor(k)
        z = pm.Normal(
            "z",
            shape=(n_predictors, k - 1),
            initval=np.linalg.solve(factor, (start.beta / prior.effect_sd[:, None]).T).T,
        )
        beta = pm.Deterministic("effects", prior.effect_sd[:, None] * pt.dot(z, factor.T))
        logits = pt.log(weights) + pt.concatenate([pt.zeros((len(y), 1)), pt.dot(x, beta)], axis=1)
        log_weights = logits - pt.logsumexp(logits, axis=1, keepdims=True)
        if form == "NormalMixture":
            pm.NormalMixture("y", w=pt.exp(log_weights), mu=means, sigma=sd, observed=y)
            return model
        density = pm.logp(pm.Normal.dist(means, sd), y[:, None])
        pm.Potential("likelihood", pt.logsumexp(log_weights + density, axis=1).sum())
    return model


def sample(compiled: Any, *, draws: int, chains: int, seed: int) -> tuple[float, Any]:
    """Seconds of sampling, warm-up included, and the draws."""
    import nutpie

    began = time.perf_counter()
    tree = nutpie.sample(
        compiled, draws=draws, chains=chains, cores=chains, seed=seed, progress_bar=False, save_warmup=False
    )
    return time.perf_counter() - began, tree
