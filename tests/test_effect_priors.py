"""Priors of the effects beside the normal: densities, the M step, the mode, its zeros, and the posterior."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, permutations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.integrate import dblquad, quad
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_expit

import bayesgmm as bg
from bayesgmm.analysis.association import associations
from bayesgmm.core.effect_density import LAPLACE, NORMAL, SPIKE_SLAB, STUDENT_T, Pairwise, radial
from bayesgmm.core.objective import Parameters
from bayesgmm.core.weights import WeightsPrior
from bayesgmm.inference.density import FusedDensity
from bayesgmm.problem import Problem
from bayesgmm.study import Study

FAMILIES = {
    "normal": (NORMAL, 0.0, 0.0),
    "student": (STUDENT_T, 3.5, 0.0),
    "cauchy": (STUDENT_T, 1.0, 0.0),
    "laplace": (LAPLACE, 0.0, 0.0),
    "spike": (SPIKE_SLAB, 0.3, 0.2),
}
PRIORS = {
    "student": bg.LogOddsStudentT(0.7, df=3.0),
    "cauchy": bg.LogOddsCauchy(0.3),
    "laplace": bg.LogOddsLaplace(0.2),
    "spike": bg.LogOddsSpikeSlab(1.2, inclusion=0.3, spike=0.1),
}


def prior_of(family: str, k: int, scale: float = 0.8, mean: float = 0.0) -> WeightsPrior:
    kind, *shape = FAMILIES[family]
    return WeightsPrior(
        np.full(k, 2.0), np.full((1, k - 1), mean), np.array([scale]), np.array([kind]), np.array([shape], dtype=float)
    )


def mixed_study(n: int = 300, p: int = 3, k: int = 2, apart: float = 3.0, seed: int = 0) -> Study:
    """People in ``k`` components ``apart`` sds from each other, moved between them by the first predictor alone."""
    rng = np.random.default_rng(seed)
    x = rng.binomial(2, 0.35, (n, p)).astype(float)
    logits = np.outer(x[:, 0] - x[:, 0].mean(), np.linspace(0.0, 1.1, k))
    z = (logits + rng.gumbel(size=(n, k))).argmax(axis=1)
    people = [f"P{i}" for i in range(n)]
    frame = pd.DataFrame(x, people, [f"x{j}" for j in range(p)])
    return Study(pd.DataFrame({"y": apart * z + rng.normal(size=n)}, people), covariates=frame)


def problem_of(family: str, k: int = 2, p: int = 3, **options) -> Problem:
    return model_of(family, k, p).problem(mixed_study(p=p, k=k, **options))


def model_of(family: str, k: int = 2, p: int = 3) -> bg.Mixture:
    formula = " + ".join(f"x{j}" for j in range(p))
    return bg.Mixture(k, weights=formula, priors=bg.Priors(effects=PRIORS[family]))


def anywhere(problem: Problem, seed: int) -> Parameters:
    rng = np.random.default_rng(seed)
    k, p = problem.n_components, len(problem.predictor_names)
    return Parameters(
        rng.normal(size=k - 1),
        rng.normal(size=(p, k - 1)),
        rng.normal(size=(k, 1)),
        np.exp(rng.normal(size=(k, 1, 1))),
        np.zeros((0, 1)),
    )


# -- densities ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_densities_integrate_to_one(family):
    two = prior_of(family, 2, mean=0.3)

    def density(x):
        return float(np.exp(two.log_density_effects(np.array([[x]]))[0]))

    total = quad(density, 0.3, np.inf, limit=400)[0] + quad(density, -np.inf, 0.3, limit=400)[0]
    assert total == pytest.approx(1.0, abs=1e-6)
    # three components: polar coordinates, beta = C r (cos a, sin a) with C C' the covariance at the scale
    three = prior_of(family, 3)
    factor = np.linalg.cholesky(np.linalg.inv(three.effect_precision()[0]))

    def ring(t, angle):
        r = t / (1.0 - t)
        beta = factor @ (r * np.array([np.cos(angle), np.sin(angle)]))
        jacobian = np.linalg.det(factor) * r / (1.0 - t) ** 2
        return float(np.exp(three.log_density_effects(beta[None])[0])) * jacobian

    total = dblquad(ring, 0.0, 2.0 * np.pi, 0.0, 1.0 - 1e-9, epsabs=1e-7)[0]
    assert total == pytest.approx(1.0, abs=1e-5)


def test_two_components_have_the_densities_of_scipy():
    x = np.linspace(-4.0, 5.0, 31)
    expected = {
        "normal": stats.norm(0.3, 0.8).logpdf(x),
        "student": stats.t(3.5, 0.3, 0.8).logpdf(x),
        "cauchy": stats.cauchy(0.3, 0.8).logpdf(x),
        "laplace": stats.laplace(0.3, 0.8).logpdf(x),
        "spike": np.log(0.7 * stats.norm(0.3, 0.16).pdf(x) + 0.3 * stats.norm(0.3, 0.8).pdf(x)),
    }
    for family, values in expected.items():
        prior = prior_of(family, 2, mean=0.3)
        np.testing.assert_allclose(
            prior.log_density_effects(x[:, None, None])[:, 0], values, rtol=1e-10, err_msg=family
        )
        kind, *shape = FAMILIES[family]
        np.testing.assert_allclose(Pairwise(kind, tuple(shape), 0.8, 2).log_density(x - 0.3), values, rtol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_pairwise_log_odds_ratio_has_the_stated_prior(family):
    """The marginal of each contrast, by integrating the others out, for three components."""
    kind, *shape = FAMILIES[family]
    shadow = Pairwise(kind, tuple(shape), 0.8, 3)
    prior = prior_of(family, 3)

    def joint(first, second):
        return float(np.exp(prior.log_density_effects(np.array([[first, second]]))[0]))

    for x in (0.15, 1.1):
        value = float(np.exp(shadow.log_density(x)))
        # component 1 against 0, 2 against 0, and 2 against 1
        for along in (lambda t, x=x: joint(x, t), lambda t, x=x: joint(t, x), lambda t, x=x: joint(t, t + x)):
            around = [-np.inf, -2.0, -0.5, 0.0, x / 2, x, 1.5, 3.0, np.inf]
            marginal = sum(quad(along, a, b, limit=200)[0] for a, b in pairwise(around))
            assert marginal == pytest.approx(value, rel=1e-5)
    reach = shadow.reach(0.9)
    assert quad(lambda t: float(np.exp(shadow.log_density(t))), -reach, reach, points=[0.0])[0] == pytest.approx(
        0.9, abs=1e-6
    )
    # whatever the number of components, the Laplace's sd is sqrt(2) of its scale
    if family == "laplace":
        for k in (2, 3, 5):
            spread = Pairwise(LAPLACE, (), 0.8, k)
            second = 2.0 * quad(lambda t, s=spread: t**2 * float(np.exp(s.log_density(t))), 0.0, 40.0, limit=200)[0]
            assert np.sqrt(second) == pytest.approx(np.sqrt(2.0) * 0.8, rel=1e-6) == pytest.approx(spread.sd)


@pytest.mark.parametrize("family", PRIORS)
def test_log_posterior_does_not_depend_on_labels_or_reference(family):
    problem = problem_of(family, k=3)
    parameters = anywhere(problem, 1)
    value = problem.arrays.log_posterior_and_gradient(parameters)[0]
    for order in permutations(range(3)):
        moved = parameters.permuted(np.array(order))
        assert problem.arrays.log_posterior_and_gradient(moved)[0] == pytest.approx(value, rel=1e-12)
    other = replace(model_of(family, 3), reference=2).problem(mixed_study(p=3, k=3))
    assert other.arrays.log_posterior_and_gradient(parameters)[0] == pytest.approx(value, rel=1e-12)
    assert problem.arrays.log_prior(parameters) == pytest.approx(other.arrays.log_prior(parameters), rel=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("k", [2, 4])
def test_draws_of_the_prior_are_of_its_density(family, k):
    """Joint draws have the stated marginal in every contrast, and lengths whose density integrates the joint one."""
    prior, (kind, *shape) = prior_of(family, k), FAMILIES[family]
    shadow = Pairwise(kind, tuple(shape), 0.8, k)
    rng = np.random.default_rng(1)
    draws = prior.draw_effects(20_000, rng)[:, 0]
    full = np.column_stack((np.zeros(len(draws)), draws))
    for share in (0.3, 0.8, 0.97):
        reach = shadow.reach(share)
        error = 4.0 * np.sqrt(share * (1.0 - share) / len(draws))
        for a in range(k):
            for b in range(a):
                assert (np.abs(full[:, a] - full[:, b]) < reach).mean() == pytest.approx(share, abs=error)
        assert (np.abs(shadow.draw(20_000, rng)) < reach).mean() == pytest.approx(share, abs=error)


# -- derivatives ----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_those_of_the_touching_normal(family):
    """omega = -2 psi', omega' its slope, and the normal that touches lies below."""
    kind, *shape = FAMILIES[family]
    for u in (1e-3, 0.2, 1.0, 7.0, 40.0):
        psi, omega, bend = radial(kind, *shape, 3, u)
        h = 1e-5 * u
        up, down = radial(kind, *shape, 3, u + h), radial(kind, *shape, 3, u - h)
        assert omega == pytest.approx(-(up[0] - down[0]) / h, rel=1e-6)
        assert bend == pytest.approx((up[1] - down[1]) / (2 * h), rel=1e-5, abs=1e-12)
        for other in (1e-4, 0.1, 2.0, 90.0):
            assert radial(kind, *shape, 3, other)[0] >= psi - 0.5 * omega * (other - u) - 1e-9


@pytest.mark.parametrize("family", PRIORS)
@pytest.mark.parametrize("k", [2, 3])
def test_gradient_and_curvature_equal_differences(family, k):
    problem = problem_of(family, k=k)
    at = anywhere(problem, 2)
    free = problem.arrays.free(at)
    value = problem.arrays.value_and_gradient
    _, gradient = value(free)
    steps = 1e-5 * np.eye(len(free))
    np.testing.assert_allclose(
        gradient, [(value(free + s)[0] - value(free - s)[0]) / 2e-5 for s in steps], rtol=1e-5, atol=1e-4
    )
    # the prior's part of the Hessian in the closed form: omega P + 2 omega' (P d)(P d)'
    prior, flat = problem.arrays.weights_prior, problem.arrays.softened.weights_prior
    soft = replace(
        problem.arrays, weights_prior=replace(flat, effect_kind=np.full(3, NORMAL), effect_sd=np.full(3, 1e9))
    )
    difference = problem.arrays.negative_hessian(at) - soft.negative_hessian(at)
    u = prior.squared_lengths(at.beta)
    for p in range(3):
        _, omega, bend = radial(int(prior.effect_kind[p]), *prior.effect_shape[p], k - 1, u[p])
        pull = prior.effect_precision()[p] @ at.beta[p]
        expected = omega * prior.effect_precision()[p] + 2.0 * bend * np.outer(pull, pull)
        block = slice((k - 1) * (1 + p), (k - 1) * (2 + p))
        np.testing.assert_allclose(difference[block, block], expected, rtol=1e-4, atol=1e-4)


# -- the mode -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", PRIORS)
@pytest.mark.parametrize(("k", "apart"), [(2, 3.0), (3, 1.5)])
def test_the_climb_never_descends_and_ends_where_nothing_rises(family, k, apart):
    fit = model_of(family, k).fit(mixed_study(k=k, apart=apart), seed=1, restarts=4)
    history = fit.log_posteriors
    assert fit.converged
    assert (np.diff(history) >= -1e-11 * np.abs(history[1:])).all()
    assert fit.log_posterior == pytest.approx(history[-1], rel=1e-10)
    arrays = fit.problem.arrays
    value = arrays.log_posterior_and_gradient(fit.parameters)[0]
    free = arrays.free(fit.parameters)
    rng = np.random.default_rng(0)
    for length in (1e-5, 1e-3, 1e-2):
        for _ in range(20):
            step = rng.normal(size=len(free))
            step *= length / np.linalg.norm(step)
            assert arrays.value_and_gradient(free + step)[0] <= value + 1e-7


@pytest.mark.parametrize("family", ["student", "cauchy"])
def test_the_mode_is_that_of_a_general_optimiser(family):
    fit = model_of(family).fit(mixed_study(), seed=1)
    arrays = fit.problem.arrays
    start = arrays.free(fit.parameters) + 0.05 * np.random.default_rng(1).normal(size=arrays.n_free)

    def fall(x):
        value, gradient = arrays.value_and_gradient(x)
        return -value, -gradient

    found = minimize(fall, start, jac=True, method="BFGS", options={"gtol": 1e-6})
    np.testing.assert_allclose(arrays.free(fit.parameters), found.x, atol=1e-5)
    # an independent density: scipy's Student-t on the log odds ratios per allele
    prior = PRIORS[family]
    dof = getattr(prior, "df", 1.0)
    effects = fit.params["effects"].values[:, 0]
    expected = stats.t(dof, 0.0, prior.scale).logpdf(effects).sum()
    normal = stats.norm(0.0, 1.0).logpdf(effects).sum()
    base = bg.Mixture(2, weights="x0 + x1 + x2").problem(mixed_study())
    base_prior = base.arrays.log_prior(fit.parameters) + base.log_prior_shift
    assert fit.log_prior == pytest.approx(base_prior - normal + expected, rel=1e-10)


def penalised_logistic(study: Study, penalty) -> np.ndarray:
    """Intercept and slopes of a penalised logistic regression of known memberships, the Dirichlet(2) prior included."""
    x = study.design("x0 + x1 + x2").matrix
    x = x - x.mean(axis=0)
    z = (study.trait_values[:, 0] > 500.0).astype(float)

    def fall(b):
        eta = b[0] + x @ b[1:]
        likelihood = (z * log_expit(eta) + (1 - z) * log_expit(-eta)).sum()
        return -(likelihood + log_expit(b[0]) + log_expit(-b[0]) - penalty(b[1:]).sum())

    found = minimize(fall, np.zeros(4), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-11, "maxiter": 20000})
    return minimize(fall, found.x, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 20000}).x


@pytest.mark.parametrize("family", PRIORS)
def test_separated_components_give_penalised_logistic_regression(family):
    study = mixed_study(apart=1000.0)
    fit = model_of(family).fit(study, seed=1)
    penalties = {
        "student": lambda b: 2.0 * np.log1p(b**2 / (3.0 * 0.49)),
        "cauchy": lambda b: np.log1p(b**2 / 0.09),
        "laplace": lambda b: np.abs(b) / 0.2,
        "spike": lambda b: -np.log(0.7 * stats.norm(0, 0.12).pdf(b) + 0.3 * stats.norm(0, 1.2).pdf(b)),
    }
    expected = penalised_logistic(study, penalties[family])
    np.testing.assert_allclose(fit.params["effects"].values[:, 0], expected[1:], atol=2e-5)


# -- zeros ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 3])
def test_lasso_zeros_are_exact_and_obey_the_kink(k):
    """At a zero the slope of the rest is within the cone's, off it the gradient is nothing; moving off never pays."""
    priors = bg.Priors(effects=bg.LogOddsLaplace({f"x{j}": 0.06 * k for j in range(5)}))
    fit = bg.Mixture(k, weights="x0 + x1 + x2 + x3 + x4", priors=priors).fit(mixed_study(p=5, k=k), seed=1)
    effects = fit.params["effects"].values
    zero = (effects == 0.0).all(axis=1)
    assert 0 < zero.sum() < 5
    assert fit.converged
    arrays = fit.problem.arrays
    # the rest: the same without the prior of the effects
    rest = replace(arrays, weights_prior=replace(arrays.weights_prior, effect_kind=np.full(5, -1)))
    _, gradient = rest.log_posterior_and_gradient(fit.parameters)
    gradient = gradient[k - 1 : (k - 1) * 6].reshape(5, k - 1)
    inverse = np.linalg.inv(arrays.weights_prior.effect_precision())
    slope = np.sqrt(np.einsum("pk,pkl,pl->p", gradient, inverse, gradient))
    assert (slope[zero] < np.sqrt(k / 2)).all()
    np.testing.assert_allclose(slope[~zero], np.sqrt(k / 2), rtol=1e-4)
    assert fit.gradient_norm < 1e-3
    # brute force along each zero, and the answer of a smaller model without them
    best, free = arrays.log_posterior_and_gradient(fit.parameters)[0], arrays.free(fit.parameters)
    for p in np.flatnonzero(zero):
        at = (k - 1) * (1 + p)

        def fall(t, at=at):
            moved = free.copy()
            moved[at] += t
            return -arrays.value_and_gradient(moved)[0]

        found = minimize_scalar(fall, bounds=(-0.5, 0.5), method="bounded", options={"xatol": 1e-7})
        assert abs(found.x) < 1e-5
        assert -found.fun <= best + 1e-9
    kept = [f"x{p}" for p in np.flatnonzero(~zero)]
    smaller_priors = bg.Priors(effects=bg.LogOddsLaplace(0.06 * k))
    smaller = bg.Mixture(k, weights=" + ".join(kept), priors=smaller_priors).fit(mixed_study(p=5, k=k), seed=1)
    np.testing.assert_allclose(smaller.params["effects"].values, effects[~zero], atol=1e-5)
    np.testing.assert_allclose(
        smaller.standard_errors["effects"].values, fit.standard_errors["effects"].values[~zero], rtol=1e-3
    )
    assert np.isnan(fit.standard_errors["effects"].values[zero]).all()
    assert np.isfinite(fit.standard_errors["means"].values).all()
    assert "held at the prior" in fit.flags["flag"].tolist()
    table = associations(fit).set_index("predictor")
    assert np.isnan(table.loc[[f"x{p}" for p in np.flatnonzero(zero)], "sd"]).all()
    assert np.isfinite(table.loc[kept, ["sd", "log10_bayes_factor"]]).all().all()
    draws = fit.normal_draws(50, seed=1)["effects"].values
    assert (draws[..., zero, :] == 0.0).all()
    assert (draws[..., ~zero, :].std(axis=1) > 0.0).all()


@pytest.mark.parametrize("seed", [3, 10, 20, 90])
def test_no_effect_is_next_to_zero_by_a_rounding(seed):
    """Newton's steps, Anderson's and halved ones leave zeros exact, and the gradient that is reported is nothing."""
    rng = np.random.default_rng(seed)
    k, p = int(rng.integers(2, 4)), int(rng.integers(2, 9))
    study = mixed_study(250, p, k, apart=float(rng.uniform(0.5, 2.0)), seed=seed)
    scale = float(np.exp(rng.uniform(np.log(0.01), np.log(0.3))))
    priors = bg.Priors(effects=bg.LogOddsLaplace(scale))
    fit = bg.Mixture(k, weights=" + ".join(f"x{j}" for j in range(p)), priors=priors).fit(study, seed=1, restarts=4)
    effects = np.abs(fit.params["effects"].values)
    assert ((effects == 0.0).all(axis=1) | (effects.max(axis=1) > 1e-8)).all()
    assert fit.converged
    assert fit.gradient_norm < 1e-2


def test_an_effect_leaves_zero_where_it_must_and_a_mean_that_is_not_zero_is_kept_exactly():
    study = mixed_study()
    model = bg.Mixture(2, weights="x0 + x1 + x2", priors=bg.Priors(effects=bg.LogOddsLaplace(0.3)))
    fit = model.fit(study, seed=1)
    problem = fit.problem
    assert fit.params["effects"].values[0, 0] > 0.3
    stuck = replace(fit.parameters, beta=np.zeros_like(fit.parameters.beta))
    again = model.fit(study, init=replace(fit, parameters=stuck), seed=1)
    assert again.log_posterior == pytest.approx(fit.log_posterior, abs=1e-6)
    # where the kink holds the gradient is nothing; where it does not it is the way out
    _, gradient = problem.arrays.log_posterior_and_gradient(stuck)
    assert gradient[1] > 0.0
    centred = bg.Mixture(2, weights="x0 + x1", priors=bg.Priors(effects=bg.LogOddsLaplace(0.001, mean=0.37)))
    held = centred.fit(study, seed=1)
    np.testing.assert_allclose(held.params["effects"].values, 0.37, rtol=1e-14)
    assert np.isnan(held.standard_errors["effects"].values).all()


# -- the posterior --------------------------------------------------------------------------------


@pytest.mark.parametrize("family", PRIORS)
def test_the_sampler_evaluates_the_exact_density_in_coordinates_of_order_one(family):
    problem = problem_of(family)
    fit = model_of(family).fit(mixed_study(), seed=1)
    density = FusedDensity(problem.arrays, fit.parameters)
    rng = np.random.default_rng(0)
    gaps = []
    for _ in range(5):
        x = rng.standard_normal(density.size)
        free = density.centre + density.scale @ x
        gaps.append(density(x)[0] - problem.arrays.value_and_gradient(free, jacobian=True)[0])
    assert np.ptp(gaps) < 1e-9
    spread = np.sqrt((density.scale**2).sum(axis=1))[1:4] / problem.predictor_unit
    assert ((spread > 0.05) & (spread < 1.0)).all()


@pytest.mark.parametrize("family", PRIORS)
def test_posterior_moments_equal_numerical_integration(family):
    """One predictor and known memberships: a plane, intercept and slope, that is integrated on a grid."""
    study = mixed_study(n=80, p=1, apart=1000.0)
    posterior = model_of(family, p=1).sample(study, draws=1500, chains=2, seed=1)
    x = study.design("x0").matrix[:, 0]
    x = x - x.mean()
    z = study.trait_values[:, 0] > 500.0
    a, b = np.linspace(-2.5, 2.5, 101), np.linspace(-2.5, 3.5, 1801)
    value = 2.0 * (log_expit(a) + log_expit(-a))[:, None] + np.zeros(len(b))
    for one in np.unique(x):
        eta = a[:, None] + b * one
        value += (z & (x == one)).sum() * log_expit(eta) + (~z & (x == one)).sum() * log_expit(-eta)
    prior = {
        "student": stats.t(3.0, 0.0, 0.7).logpdf,
        "cauchy": stats.cauchy(0.0, 0.3).logpdf,
        "laplace": stats.laplace(0.0, 0.2).logpdf,
        "spike": lambda t: np.log(0.7 * stats.norm(0, 0.12).pdf(t) + 0.3 * stats.norm(0, 1.2).pdf(t)),
    }[family]
    value += prior(b)
    mass = np.exp(value - value.max()).sum(axis=0)
    mass /= mass.sum()
    mean, sd = float(mass @ b), float(np.sqrt(mass @ b**2 - (mass @ b) ** 2))
    summary = posterior.summary().set_index("parameter").loc["effects[x0, 1 vs 0]"]
    assert summary["mean"] == pytest.approx(mean, abs=5.0 * sd / np.sqrt(summary["ess_bulk"]))
    assert summary["sd"] == pytest.approx(sd, rel=0.1)
    assert summary["ess_bulk"] > 300
    if family == "spike":
        inside = 0.3 * stats.norm(0, 1.2).pdf(b) / np.exp(prior(b))
        row = bg.inclusion(posterior).iloc[0]
        assert row["probability"] == pytest.approx(float(mass @ inside), abs=0.05)
        assert row["prior"] == 0.3
        odds = row["probability"] / (1.0 - row["probability"]) / (0.3 / 0.7)
        assert row["log10_bayes_factor"] == pytest.approx(np.log10(odds), abs=1e-6)


@pytest.mark.filterwarnings("ignore::bayesgmm.DataWarning")
@pytest.mark.parametrize(("family", "k"), [("student", 2), ("cauchy", 2), ("laplace", 2), ("spike", 2), ("laplace", 3)])
def test_without_information_the_posterior_is_the_prior(family, k):
    """A covariate that is the same for everybody with traits says nothing about its effect."""
    base = mixed_study(100, 1, k)
    traits = base.dataset["traits"].to_pandas()
    traits.iloc[:2] = np.nan
    told = pd.DataFrame({"c": np.where(np.arange(100) < 2, 0.0, 1.0)}, traits.index)
    model = bg.Mixture(k, weights="c", priors=bg.Priors(effects=PRIORS[family]))
    posterior = model.sample(Study(traits, covariates=told), draws=1500, chains=2, seed=1)
    draws = posterior.posterior["effects"].values[..., 0, :]
    prior = posterior.problem.priors.pairwise_effect(0)
    for contrast, row in enumerate(posterior.summary().query("variable == 'effects'").itertuples()):
        for share in (0.2, 0.5, 0.9):
            error = 4.5 * np.sqrt(share * (1.0 - share) / min(row.ess_bulk, row.ess_tail))
            inside = (np.abs(draws[..., contrast]) < prior.reach(share)).mean()
            assert inside == pytest.approx(share, abs=error)


# -- faces and files ------------------------------------------------------------------------------


def test_priors_say_what_they_are():
    priors = {
        bg.LogOddsStudentT(0.5): "StudentT(4, 0, 0.5)",
        bg.LogOddsCauchy(): "Cauchy(0, 2.5)",
        bg.LogOddsLaplace(0.2, mean=0.1): "Laplace(0.1, 0.2)",
        bg.LogOddsSpikeSlab(): "0.1 Normal(0, 1) + 0.9 Normal(0, 0.05)",
    }
    study = mixed_study(60, 1)
    for prior, expected in priors.items():
        resolved = bg.Mixture(2, weights="x0", priors=bg.Priors(effects=prior)).problem(study).priors
        row = resolved.table().set_index("parameter").loc["effects[x0]"]
        assert row["prior"] == f"{expected} on every log odds ratio"
        assert resolved.why_improper() == []
    # 95% of odds ratios within exp(mean -+ 1.96 sd) and its like
    assert stats.t(4.0, 0.0, 0.5).cdf(Pairwise(STUDENT_T, (4.0,), 0.5, 2).reach(0.95)) == pytest.approx(0.975)
    assert stats.laplace(0.0, 0.2).cdf(Pairwise(LAPLACE, (), 0.2, 2).reach(0.95)) == pytest.approx(0.975)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (lambda: bg.LogOddsStudentT(0.0), "every scale must be above 0"),
        (lambda: bg.LogOddsCauchy(np.inf), "above 0 .* and finite"),
        (lambda: bg.LogOddsStudentT(df=0.0), "every df must be at least 0.01"),
        (lambda: bg.LogOddsStudentT(df={"x9": 2.0}), "df names 'x9', which is not a predictor"),
        (lambda: bg.LogOddsSpikeSlab(inclusion=1.0), "every inclusion must be between 0 and 1"),
        (lambda: bg.LogOddsSpikeSlab(spike=[0.1, 2.0]), "every spike must be below 1"),
        (lambda: bg.LogOddsLaplace(mean=np.nan), "every mean must be finite"),
    ],
)
def test_bad_priors_are_refused(prior, message):
    with pytest.raises(bg.InputError, match=message):
        bg.Mixture(2, weights="x0 + x1", priors=bg.Priors(effects=prior())).problem(mixed_study(60, 2))


def test_cards_have_every_family(tmp_path):
    def mixture(effects: str) -> bg.Mixture:
        (tmp_path / "card.toml").write_text(
            f'[card]\nname = "x"\n[model]\nn_components = 2\nweights = "rs1"\n[priors.effects]\n{effects}'
        )
        return bg.Mixture.from_card(tmp_path / "card.toml")

    expected = {
        'family = "student-t"\ndf = 3': bg.LogOddsStudentT(df=3.0),
        'family = "cauchy"\nscale = { rs1 = 0.5 }': bg.LogOddsCauchy({"rs1": 0.5}),
        'family = "laplace"': bg.LogOddsLaplace(),
        'family = "spike-slab"\ninclusion = 0.2\nspike = 0.1': bg.LogOddsSpikeSlab(inclusion=0.2, spike=0.1),
        'kind = "log-odds-normal"\nsd = 0.5': bg.LogOddsNormal(0.5),
        'kind = "flat"': bg.Flat(),
    }
    for text, prior in expected.items():
        assert mixture(text).priors.effects == prior
    with pytest.raises(bg.InputError, match="df is not of the family 'laplace', which has scale, mean"):
        mixture('family = "laplace"\ndf = 3')
    with pytest.raises(bg.InputError, match="'student-t'"):
        mixture('family = "students"')


@pytest.mark.parametrize("family", PRIORS)
def test_a_fit_and_its_tables_come_back_from_a_file(family, tmp_path):
    fit = model_of(family).fit(mixed_study(), seed=1)
    fit.save(tmp_path / "fit.nc")
    again = bg.read_fit(tmp_path / "fit.nc")
    assert again.problem.priors.table().equals(fit.problem.priors.table())
    np.testing.assert_array_equal(again.problem.priors.effect_kind, fit.problem.priors.effect_kind)
    np.testing.assert_array_equal(again.problem.priors.effect_shape, fit.problem.priors.effect_shape)
    assert again.log_posterior == pytest.approx(fit.log_posterior, rel=1e-12)
    np.testing.assert_allclose(again.standard_errors["effects"], fit.standard_errors["effects"], rtol=1e-5)
    assert again.flags["message"].tolist() == fit.flags["message"].tolist()
    curve = fit.problem.priors.plot().axes[3].lines[0]
    x, density = np.log(curve.get_xdata()), curve.get_ydata()
    kind = fit.problem.priors.pairwise_effect(0)
    np.testing.assert_allclose(density, np.exp(kind.log_density(x)), rtol=1e-8)
    assert float(np.trapezoid(density, x)) > 0.9


def test_inclusion_is_asked_of_spike_and_slab_alone_and_says_when_it_is_of_a_mode():
    with pytest.raises(bg.InputError, match="no effect has a spike-and-slab prior"):
        bg.inclusion(model_of("laplace").fit(mixed_study(), seed=1))
    table = bg.inclusion(model_of("spike").fit(mixed_study(), seed=1))
    assert table["predictor"].tolist() == ["x0", "x1", "x2"]
    assert table["probability"][0] > 0.9
    assert table["note"].str.contains("at the mode").all()


@pytest.mark.parametrize("family", ["laplace", "spike"])
def test_a_report_and_a_study_of_the_prior_know_every_family(family, tmp_path):
    study = mixed_study(150, 2)
    model = model_of(family, p=2)
    fit = model.fit(study, seed=1)
    page = bg.write_report(tmp_path / "report.html", fit, study=study).read_text()
    assert ("Inclusion" in page) == (family == "spike")
    found = bg.prior_study(model, study, base=fit)
    if family == "spike":
        assert found.tipping is None
        assert "many modes" in str(found)
    else:
        assert len(found.tipping) == 2
    assert found.power_scaling["diagnosis"].notna().all()
    assert found.prior_checks["p_value"].between(0.0, 1.0).all()


@pytest.mark.parametrize("family", PRIORS)
def test_one_component_has_no_effects_and_no_prior_of_them(family):
    study = mixed_study(60, 2)
    one = bg.Mixture(1, weights="x0 + x1", priors=bg.Priors(effects=PRIORS[family])).fit(study)
    other = bg.Mixture(1, weights="x0 + x1").fit(study)
    assert one.log_posterior == other.log_posterior
    assert one.problem.priors.plot() is not None


def test_prior_checks_and_tipping_points_know_the_family():
    study = mixed_study(200, 1)
    narrow, wide = (
        bg.Mixture(2, weights="x0", priors=bg.Priors(effects=p))
        for p in (bg.LogOddsLaplace(0.05), bg.LogOddsCauchy(0.05))
    )
    p_values = [
        bg.prior_conflict(m, study, draws=50).set_index("quantity")["p_value"]["effects[x0, 1 vs 0]"]
        for m in (narrow, wide)
    ]
    # an effect of one is out of reach of a Laplace of scale 0.05, not of the tail of a Cauchy
    assert p_values[0] < 0.01 < p_values[1]
    # where the lasso lets the effect go there is no interval, and above it the interval leaves out none
    model = bg.Mixture(2, weights="x0", priors=bg.Priors(effects=bg.LogOddsLaplace(0.5)))
    row = bg.tipping_points(model, study).iloc[0]
    assert row["excludes_none"]
    below, above = (
        associations(
            replace(model, priors=bg.Priors(effects=bg.LogOddsLaplace(f * row["tipping_scale"]))).fit(study, seed=0)
        ).iloc[0]
        for f in (0.9, 1.1)
    )
    assert above["lower"] > 0.0
    assert not below["lower"] > 0.0
    assert "excludes an odds ratio of 1 unless" in row["verdict"]
