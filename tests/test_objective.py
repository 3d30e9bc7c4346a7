"""The log posterior and its gradient; the M step; invariances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import dirichlet, invwishart, multivariate_normal

import bayesgmm as bg
from bayesgmm.core.covariance_steps import covariance_step
from bayesgmm.core.gaussian import NiwPrior, covariances_from_roots, precision_roots
from bayesgmm.core.objective import Parameters
from bayesgmm.core.starts import start_from
from bayesgmm.core.weights import WeightsPrior
from bayesgmm.inference.em import climb
from bayesgmm.problem import Problem
from bayesgmm.study import Study


def random_problem(seed: int, flat: bool = False) -> Problem:
    rng = np.random.default_rng(seed)
    n, d, k, p = int(rng.integers(30, 200)), int(rng.integers(1, 4)), int(rng.integers(1, 5)), int(rng.integers(0, 3))
    centres = rng.normal(scale=3.0, size=(k, d))
    y = centres[rng.integers(0, k, n)] + rng.normal(size=(n, d)) * rng.uniform(0.3, 2.0, d)
    names = [f"x{j}" for j in range(p)]
    covariates = pd.DataFrame(rng.normal(size=(n, p)), columns=names) if p else None
    priors = (
        bg.Priors.flat()
        if flat
        else bg.Priors(
            weights=bg.Dirichlet(float(rng.uniform(1.0, 3.0))),
            components=bg.NormalInverseWishart(
                strength=float(rng.uniform(0.01, 2)), dof=d + float(rng.uniform(0.5, 6))
            ),
            effects=bg.LogOddsNormal(sd=float(rng.uniform(0.2, 3))),
        )
    )
    model = bg.Mixture(k, weights=" + ".join(names) or None, priors=priors)
    people = [f"P{i}" for i in range(n)]
    frame = None if covariates is None else covariates.set_axis(people)
    return model.problem(Study(pd.DataFrame(y, index=people), covariates=frame))


def random_parameters(problem: Problem, seed: int) -> Parameters:
    rng = np.random.default_rng(seed)
    k, d, p = problem.n_components, len(problem.trait_names), len(problem.predictor_names)
    factor = rng.normal(size=(k, d, d)) + 2 * np.eye(d)
    drawn = Parameters(
        rng.normal(size=k - 1),
        rng.normal(size=(p, k - 1)),
        rng.normal(size=(k, d)),
        precision_roots(factor @ factor.transpose(0, 2, 1)),
        rng.normal(size=(len(problem.covariate_names), d)),
    )
    return of_family(problem, drawn)


def of_family(problem: Problem, parameters: Parameters) -> Parameters:
    """The parameters with covariances of the problem's family: its M step on the covariances as scatters."""
    step = covariance_step(problem.family).compiled
    covariances = covariances_from_roots(parameters.roots)
    out, unit = np.empty_like(covariances), np.ones(len(covariances))
    start = np.tile(np.eye(covariances.shape[1]), (len(covariances), 1, 1))
    assert step(problem.family.equal_volume, problem.family.on_axes, unit, covariances, start, out)
    return replace(parameters, roots=precision_roots(out))


@given(st.integers(0, 2**32 - 1))
@example(141058)
@settings(max_examples=40, deadline=None)
def test_gradient_equals_differences(seed):
    problem = random_problem(seed)
    parameters = random_parameters(problem, seed)
    flat = problem.arrays.free(parameters)
    value, gradient = problem.arrays.log_posterior_and_gradient(parameters)
    # a log posterior of minus a hundred million is known to 1e-8, which the step divides
    rounding = 8.0 * np.finfo(float).eps * abs(value) / 2e-5
    for j in range(len(flat)):
        step = np.zeros_like(flat)
        step[j] = 1e-5
        up, _ = problem.arrays.value_and_gradient(flat + step)
        down, _ = problem.arrays.value_and_gradient(flat - step)
        assert gradient[j] == pytest.approx((up - down) / 2e-5, rel=2e-5, abs=1e-3 + rounding)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_em_never_descends(seed):
    problem = random_problem(seed)
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, problem.n_components, problem.arrays.n_rows)
    start = start_from(problem.arrays, problem.start_points(), np.eye(problem.n_components)[labels])
    run = climb(problem.arrays, start, max_iterations=300)
    history = np.array(run.history)
    assert (np.diff(history) >= -1e-10 * np.abs(history[1:])).all()
    value, gradient = problem.arrays.log_posterior_and_gradient(run.parameters)
    if run.converged:
        assert value == pytest.approx(history[-1], rel=1e-12)
        assert np.abs(gradient).max() < 1e-2


def test_prior_densities_equal_scipy():
    rng = np.random.default_rng(0)
    d = 3
    factor = rng.normal(size=(d, d))
    prior = NiwPrior(rng.normal(size=d), 0.7, 6.5, factor @ factor.T + np.eye(d))
    sigma = invwishart(8, np.eye(d)).rvs(random_state=1)
    mean = rng.normal(size=d)
    expected = invwishart(6.5, prior.scale).logpdf(sigma) + multivariate_normal(prior.mean, sigma / 0.7).logpdf(mean)
    assert float(prior.log_density(mean[None], precision_roots(sigma)[None])[0]) == pytest.approx(expected, rel=1e-12)
    weights = WeightsPrior(np.array([2.0, 1.5, 3.0]), np.array([[0.3, -0.2]]), np.array([0.8]))
    pi = np.array([0.2, 0.5, 0.3])
    assert float(weights.log_density_weights(np.log(pi))) == pytest.approx(dirichlet([2.0, 1.5, 3.0]).logpdf(pi))
    covariance = 0.32 * (np.eye(2) + 1.0)
    beta = np.array([[0.5, 0.1]])
    expected = multivariate_normal([0.3, -0.2], covariance).logpdf(beta[0])
    assert float(weights.log_density_effects(beta)[0]) == pytest.approx(expected)


def test_every_pairwise_log_odds_ratio_has_the_prior_sd():
    precision = WeightsPrior(np.full(4, 2.0), np.zeros((1, 3)), np.array([0.7])).effect_precision()[0]
    covariance = np.linalg.inv(precision)
    full = np.zeros((4, 4))
    full[1:, 1:] = covariance
    for a in range(4):
        for b in range(a):
            assert full[a, a] + full[b, b] - 2 * full[a, b] == pytest.approx(0.49)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_log_posterior_does_not_depend_on_labels(seed):
    problem = random_problem(seed)
    parameters = random_parameters(problem, seed)
    order = np.random.default_rng(seed).permutation(problem.n_components)
    value, _ = problem.arrays.log_posterior_and_gradient(parameters)
    moved, _ = problem.arrays.log_posterior_and_gradient(parameters.permuted(order))
    assert moved == pytest.approx(value, rel=1e-11)


def test_flat_parameters_and_factors_come_back():
    problem = random_problem(3)
    parameters = random_parameters(problem, 3)
    again = parameters.of_full(parameters.full())
    np.testing.assert_allclose(again.roots, parameters.roots)
    np.testing.assert_allclose(again.beta, parameters.beta)
    sigma = covariances_from_roots(parameters.roots)
    np.testing.assert_allclose(precision_roots(sigma), parameters.roots, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("offset", "unit"), [(1e8, 1.0), (0.0, 1e-6), (-3e5, 1e6)])
def test_fit_does_not_depend_on_origin_and_unit(offset, unit):
    rng = np.random.default_rng(2)
    y = np.concatenate([rng.normal(0, 1, 150), rng.normal(4, 0.7, 100)])
    base = bg.Mixture(2).fit(y, seed=1)
    moved = bg.Mixture(2).fit(offset + unit * y, seed=1)
    np.testing.assert_allclose((moved.params["means"] - offset) / unit, base.params["means"], rtol=1e-5, atol=1e-6)
    assert moved.log_likelihood == pytest.approx(base.log_likelihood - 250 * np.log(unit), rel=1e-6)
