"""Jeffreys' priors and propriety, against conjugate posteriors, quadrature by scipy, and integration on a grid."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import invgamma, norm, t

import bayesgmm as bg
from bayesgmm.cards import Card
from bayesgmm.core.families import Family
from bayesgmm.core.fisher import log_information_ratio
from bayesgmm.core.gaussian import NiwPrior
from bayesgmm.inference.draws import log_prior_of
from bayesgmm.inference.prior_draws import draw_prior

# -- components -------------------------------------------------------------------------------------------


def test_one_component_under_jeffreys_is_the_exact_normal_inverse_wishart(rng):
    n, size = 12, 2
    y = rng.standard_normal((n, size)) @ np.array([[1.0, 0.5], [0.0, 2.0]]) + 3.0
    posterior = bg.Mixture(1, priors=bg.Priors.jeffreys()).sample(y, draws=1500, tune=500, chains=2, seed=1).posterior
    scatter = (n - 1) * np.cov(y.T)
    chance = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    for d in range(size):
        # Sigma ~ IW(n, S): Sigma_dd inverse-gamma with shape (n - D + 1)/2; mu_d Student-t with n - D + 1 dof
        freedom = n - size + 1
        variance = invgamma(freedom / 2, scale=scatter[d, d] / 2)
        mean = t(freedom, y[:, d].mean(), np.sqrt(scatter[d, d] / (n * freedom)))
        draws = posterior["covariances"].values[..., 0, d, d].ravel()
        np.testing.assert_allclose((draws[:, None] < variance.ppf(chance)).mean(0), chance, atol=0.035)
        draws = posterior["means"].values[..., 0, d].ravel()
        np.testing.assert_allclose((draws[:, None] < mean.ppf(chance)).mean(0), chance, atol=0.035)


@pytest.mark.parametrize(
    ("family", "power"),
    # |Sigma|^{-(D+2)/2}; prod sigma_d^{-3}; sigma^{-(D+2)}, as powers of |Sigma| = 4^D
    [("VVV", -0.5 * 5), ("VVI", -0.5 * 3), ("VII", -0.5 * 5 / 3)],
)
def test_the_density_is_the_root_of_the_information(family, power):
    size = 3
    prior = NiwPrior.jeffreys(size, Family(family))
    roots = 0.5 * np.eye(size)[None]
    value = prior.log_density(np.full((1, size), 9.0), roots)
    assert value[0] == pytest.approx(power * size * np.log(4.0))


def test_mode_under_jeffreys_and_its_warning(rng):
    y = np.concatenate([rng.normal(0.0, 1.0, 80), rng.normal(9.0, 2.0, 40)])[:, None]
    priors = bg.Priors(weights=bg.Dirichlet(1.0), components=bg.Jeffreys())
    with pytest.warns(bg.FitWarning, match=r"Component 1 is nearest to that, with (39|40)\.\d people"):
        fit = bg.Mixture(2, priors=priors).fit(y)
    r = fit.responsibilities.values
    people = r.sum(axis=0)
    means = r.T @ y / people[:, None]
    # Sigma = S / (N + D + 2)
    expected = [(r[:, k] * (y[:, 0] - means[k, 0]) ** 2).sum() / (people[k] + 3.0) for k in range(2)]
    np.testing.assert_allclose(fit.params["covariances"].values[:, 0, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(fit.params["means"].values, means, rtol=1e-6, atol=1e-6)
    assert "Jeffreys given memberships" in str(fit.problem.priors)
    with pytest.warns(bg.FitWarning):
        other = bg.Mixture(2, priors=priors).fit(1000.0 * y)
    # densities of 1000 y: n + K (D + 2) powers of the unit
    assert fit.log_posterior - other.log_posterior == pytest.approx((120 + 2 * 3) * np.log(1000.0), abs=1e-6)


# -- propriety --------------------------------------------------------------------------------------------


def test_propriety_tells_which_parameter_of_which_component(rng):
    y = rng.standard_normal((30, 2))
    found = bg.propriety(bg.Mixture(2, priors=bg.Priors.jeffreys()), y)
    assert not found
    bad = found.table[~found.table["proper"]]
    assert list(zip(bad["component"], bad["parameter"], strict=True)) == [
        (0, "means"),
        (0, "covariances"),
        (1, "means"),
        (1, "covariances"),
    ]
    assert "a component receives no data" in found.words
    for priors in (bg.Priors(), bg.Priors(weights=bg.JeffreysWeights()), bg.Priors(weights=bg.Flat())):
        assert bg.propriety(bg.Mixture(2, priors=priors), y).proper


@pytest.mark.parametrize(
    ("priors", "family", "least"),
    [
        (bg.Priors.jeffreys(), "VVV", 2),
        (bg.Priors.jeffreys(), "VVI", 1),
        (bg.Priors(components=bg.Flat()), "VVV", 5),
        (bg.Priors(components=bg.Flat()), "VVI", 3),
    ],
)
def test_one_component_takes_so_many_people(rng, priors, family, least):
    """IW(n, S) is proper for n > D - 1 and S of full rank; under a flat prior its dof are D + 2 fewer."""
    y = rng.standard_normal((least + 1, 2))
    model = bg.Mixture(1, covariance=family, priors=priors)
    assert bg.propriety(model, y).proper
    # a person without one of the traits does not make up for another
    y[0, 0] = np.nan
    found = bg.propriety(model, y)
    assert not found.proper
    assert f"more than {least} people with every trait" in found.words


def test_slopes_without_a_prior_add_nothing_to_the_log_posterior_of_draws(rng):
    ids = [f"p{i}" for i in range(30)]
    covariates = pd.DataFrame({"age": 4.0 * rng.standard_normal(30), "sex": rng.integers(0, 2, 30)}, index=ids)
    study = bg.Study(traits=pd.DataFrame({"y": 7.0 * rng.standard_normal(30)}, index=ids), covariates=covariates)
    model = bg.Mixture(1, means="age + sex", priors=bg.Priors(shifts=bg.Flat()))
    posterior = model.sample(study, draws=20, tune=100, chains=1, seed=1)
    problem, stats = posterior.problem, posterior.tree["sample_stats"].to_dataset()
    shift = problem.log_likelihood_shift + problem.log_prior_shift
    for draw in range(20):
        parameters = problem.parameters(posterior.posterior.isel(chain=0, draw=draw))
        expected = problem.arrays.log_posterior(parameters) + shift
        assert stats["log_posterior"].values[0, draw] == pytest.approx(expected, rel=1e-9)


def test_improper_mixtures_are_refused_with_the_reason(rng):
    y = rng.standard_normal(40)
    for priors in (bg.Priors.jeffreys(), bg.Priors.flat()):
        with pytest.raises(bg.PropernessError, match="a component receives no data"):
            bg.Mixture(2, priors=priors).sample(y)
    with pytest.raises(bg.PropernessError, match="it takes more than 1 people"):
        bg.Mixture(1, priors=bg.Priors.jeffreys()).problem(y[:1]).priors.refuse_improper(1)


# -- weights ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 3, 4])
def test_fisher_information_of_the_weights_is_that_of_the_definition(rng, k):
    pi, means, sds = rng.dirichlet(np.ones(k)), rng.normal(0.0, 2.0, k), np.exp(rng.normal(0.0, 1.2, k))
    cuts = np.unique(np.concatenate([means + reach * sds for reach in np.linspace(-10, 10, 21)]))

    def integrand(y, a, b):
        f = norm.pdf(y, means, sds)
        total = pi @ f
        return (f[a] - f[-1]) * (f[b] - f[-1]) / total if total > 1e-290 else 0.0

    information = [
        [sum(quad(integrand, u, v, args=(a, b), epsabs=1e-13)[0] for u, v in pairwise(cuts)) for b in range(k - 1)]
        for a in range(k - 1)
    ]
    # over the information of traits and memberships, whose determinant is one over the product of the weights
    exact = 0.5 * (np.linalg.slogdet(information)[1] + np.log(pi).sum())
    found, error = log_information_ratio(pi[None], means[None, :, None], 1.0 / sds[None, :, None, None])
    assert found[0] == pytest.approx(exact, abs=1e-8)
    assert error[0] == 0.0
    # a second trait in which all are alike tells nothing; there the integrals are by points
    two = np.stack([means, np.zeros(k)], axis=1)[None]
    roots = np.stack([np.diag([1.0 / s, 1.0]) for s in sds])[None]
    found, error = log_information_ratio(pi[None], two, roots)
    assert abs(np.exp(found[0]) - np.exp(exact)) < max(6 * error[0], 0.01)


def test_information_is_all_of_it_apart_and_none_of_it_together():
    pi, roots = np.array([[0.3, 0.7]]), np.ones((1, 2, 1, 1))
    apart, _ = log_information_ratio(pi, np.array([[[0.0], [50.0]]]), roots)
    together, _ = log_information_ratio(pi, np.zeros((1, 2, 1)), roots)
    assert apart[0] == pytest.approx(0.0, abs=1e-10)
    assert np.exp(together[0]) < 1e-6


@pytest.fixture(scope="module")
def few():
    """Seven people and components of a width that the prior fixes, so that the posterior is an integral on a grid."""
    y = np.array([-1.6, -0.9, -1.2, 0.1, 1.1, 0.6, 1.7])
    dof = 4000.0
    prior = bg.NormalInverseWishart(mean=[0.0], strength=0.5, dof=dof, scale=dof)
    return y, bg.Priors(weights=bg.JeffreysWeights(), components=prior)


def test_draws_under_jeffreys_weights_are_those_of_the_integral_on_a_grid(few):
    y, priors = few
    posterior = bg.Mixture(2, priors=priors).sample(y, draws=4000, tune=1000, chains=2, seed=3)
    attrs = posterior.tree.attrs
    weights, means = posterior.posterior["weights"].values, posterior.posterior["means"].values[..., 0]
    assert weights.shape[1] < 4000
    assert attrs["acceptance"] == pytest.approx(weights.shape[1] / 4000, abs=0.05)
    assert posterior.tree["sample_stats"].to_dataset().sizes["draw"] == weights.shape[1]
    # weights by their angle, so that the end points are no trouble
    angle = (np.arange(60) + 0.5) / 60 * np.pi / 2
    pi = np.sin(angle) ** 2
    mu = np.linspace(-5.0, 5.0, 61)
    x = np.linspace(-14.0, 14.0, 561)
    gaps = np.arange(61) * (mu[1] - mu[0])
    f, g = norm.pdf(x), norm.pdf(x[None], gaps[:, None])
    mixed = pi[:, None, None] * f + (1 - pi)[:, None, None] * g
    information = ((f - g) ** 2 / mixed).sum(-1) * (x[1] - x[0])
    prior = np.sqrt(information) * 2 * np.sqrt(pi * (1 - pi))[:, None]  # d pi = 2 sin cos d angle
    like = np.zeros((60, 61, 61))
    for each in y:
        a, b = norm.pdf(each, mu), norm.pdf(each, mu)
        like += np.log(pi[:, None, None] * a[None, :, None] + (1 - pi)[:, None, None] * b[None, None, :])
    gap = np.abs(np.arange(61)[:, None] - np.arange(61)[None])
    log_mu = norm.logpdf(mu, 0.0, np.sqrt(2.0))
    density = np.exp(like - like.max() + log_mu[:, None] + log_mu[None]) * prior[:, gap]
    density /= density.sum()
    smallest = (density.sum((1, 2)) * np.minimum(pi, 1 - pi)).sum()
    apart = (density.sum(0) * np.abs(mu[:, None] - mu[None])).sum()
    assert weights.min(-1).mean() == pytest.approx(smallest, abs=0.012)
    assert np.abs(means[..., 0] - means[..., 1]).mean() == pytest.approx(apart, abs=0.08)
    # and Dirichlet(1/2) is another posterior, so the thinning is seen
    kernel = density / np.maximum(prior[:, gap], 1e-300) * 2.0
    kernel /= kernel.sum()
    assert abs((kernel.sum(0) * np.abs(mu[:, None] - mu[None])).sum() - apart) > 0.3


def test_log_prior_of_draws_has_the_information_in_it(few, rng):
    y, priors = few
    posterior = bg.Mixture(2, priors=priors).sample(y, draws=200, tune=200, chains=1, seed=3)
    problem, draws = posterior.problem, posterior.posterior
    pi, means = draws["weights"].values, draws["means"].values
    sds = np.sqrt(draws["covariances"].values)
    ratio, _ = log_information_ratio(pi[0], means[0], 1.0 / sds[0])
    dirichlet = -0.5 * np.log(pi[0]).sum(-1) - np.log(np.pi)
    found = log_prior_of(problem, problem.stacked(draws))["weights"].values[0]
    np.testing.assert_allclose(found, ratio + dirichlet, rtol=1e-8)
    np.testing.assert_allclose(posterior.tree["log_prior"]["weights"].values[0], found, rtol=1e-12)


def test_jeffreys_weights_are_refused_where_they_have_no_meaning(few, demo):
    y, priors = few
    model = bg.Mixture(2, priors=priors)
    with pytest.raises(bg.InputError, match="there is no MAP fit"):
        model.fit(y)
    with pytest.raises(bg.InputError, match="they depend on rs101"):
        bg.Mixture(2, weights="rs101", priors=bg.Priors(weights=bg.JeffreysWeights())).sample(demo)
    with pytest.raises(bg.InputError, match="not in the PyMC model"):
        model.to_pymc(y)
    with pytest.raises(bg.InputError, match="give draws = "):
        model.sample(y, draws=20, tune=100, chains=2)
    uniform = bg.Mixture(2, priors=replace(priors, weights=bg.Dirichlet(1.0))).fit(y)
    with pytest.raises(bg.InputError, match="there is no mode"):
        replace(uniform, problem=model.problem(y)).laplace()
    one = bg.Mixture(1, priors=bg.Priors(weights=bg.JeffreysWeights())).fit(y)
    assert one.n_emptied == 0


def test_prior_draws_under_jeffreys_weights_are_not_those_of_the_dirichlet(few):
    y, priors = few
    problem = bg.Mixture(2, priors=priors).problem(y)
    draws = draw_prior(problem, 8000, np.random.default_rng(1))
    half = bg.Mixture(2, priors=replace(priors, weights=bg.Dirichlet(0.5))).problem(y)
    under = draw_prior(half, 40_000, np.random.default_rng(2))
    share = np.exp(log_information_ratio(under.pi, under.means, under.roots)[0])
    for what in (lambda s: np.abs(np.diff(s.means[:, :, 0])[:, 0]), lambda s: s.pi.min(axis=1)):
        expected = np.average(what(under), weights=share)
        assert what(draws).mean() == pytest.approx(expected, rel=0.03)
        assert abs(what(under).mean() - expected) > 0.08 * expected
    close = bg.NormalInverseWishart(strength=1e8, dof=1e8, scale=1e8)
    with pytest.raises(bg.InputError, match="smaller strength"):
        bg.prior_predictive(bg.Mixture(2, priors=replace(priors, components=close)), y, draws=2)


def test_cards_say_jeffreys():
    card = {"card": {"name": "x"}, "model": {"n_components": 2}}
    for key in ("family", "kind"):
        priors = {"weights": {key: "jeffreys"}, "components": {key: "jeffreys"}}
        made = Card.model_validate({**card, "priors": priors}).mixture().priors
        assert made.weights == bg.JeffreysWeights()
        assert made.components == bg.Jeffreys()
    assert bg.Priors.jeffreys() == bg.Priors(weights=bg.Dirichlet(0.5), components=bg.Jeffreys())


def test_a_posterior_read_back_knows_its_priors(few, tmp_path):
    y, priors = few
    posterior = bg.Mixture(2, priors=priors).sample(y, draws=200, tune=200, chains=1, seed=3)
    posterior.save(tmp_path / "p.nc")
    back = bg.read_posterior(tmp_path / "p.nc")
    assert back.problem.priors.weights_jeffreys
    assert back.tree.attrs["acceptance"] == posterior.tree.attrs["acceptance"]
    assert "Jeffreys" in str(back.problem.priors)
