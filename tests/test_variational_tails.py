"""Variational posteriors of Student-t components and with learned scales: quadrature, brute force, and the sampler."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import digamma, gammaln, logsumexp
from scipy.stats import gamma as gamma_distribution
from scipy.stats import invgamma, multivariate_normal, norm
from scipy.stats import t as student_t

import bayesgmm as bg
from bayesgmm.core.tail_factor import TailFactor
from bayesgmm.core.tails import Tails
from tests.test_laplace import KAPPA


def _tails(rng, size):
    """Heavy-tailed people of two components, some without some traits."""
    y = np.concatenate([rng.standard_t(4.0, (60, size)), 3.0 + rng.standard_t(4.0, (40, size))])
    y[rng.random(y.shape) < 0.1 * (size - 1)] = np.nan
    return y[~np.isnan(y).all(axis=1)]


@pytest.mark.parametrize("df", [3.0, "each", "shared"])
def test_latent_precisions_by_quadrature(rng, df):
    """Every person's part of the bound and expected precision, over the latent precision by quadrature."""
    y = _tails(rng, 2)
    found = bg.Mixture(2, df=df).variational(y, seed=1)
    q, factors = found.factors, found._run.factors
    heights, mass, precisions = np.empty((len(y), 2)), np.zeros(2), np.empty((len(y), 2))
    for k in range(2):
        m, s, v = q["means"].values[k], q["strength"].values[k], q["dof"].values[k]
        covariance = q["scales"].values[k] / v
        # of expected log densities of gammas: of shape and rate the mean, of the constant its own expectation
        at, nu = 0.5 * q["df"].values[k], q["df"].values[k]
        constant = at * np.log(at) - gammaln(at)
        if df != 3.0:
            constant = np.sum(_of_df(factors.tails, k, lambda x: 0.5 * x * np.log(0.5 * x) - gammaln(0.5 * x)))
            assert _of_df(factors.tails, k, lambda x: x) == pytest.approx(nu, rel=1e-9)
        log_det = 0.5 * (digamma(0.5 * (v - np.arange(2))).sum() - 2 * np.log(0.5 * v))
        log_pi = digamma(q["concentration"].values[k]) - digamma(q["concentration"].values.sum())
        for i, row in enumerate(y):
            seen = ~np.isnan(row)
            away = row[seen] - m[seen]
            square = away @ np.linalg.solve(covariance[np.ix_(seen, seen)], away)
            at_one = multivariate_normal(m[seen], covariance[np.ix_(seen, seen)]).logpdf(m[seen])

            def density(t, power, square=square, at_one=at_one, seen=seen, s=s, nu=nu, constant=constant):
                u = np.exp(t)
                told = 0.5 * seen.sum() * t - 0.5 * u * (square + 2.0 / s) + at_one
                return np.exp(told + constant + 0.5 * nu * (t - u) + power * t)

            total, above = (quad(density, -40.0, 8.0, (power,), epsabs=0.0, limit=300)[0] for power in (0.0, 1.0))
            heights[i, k] = log_pi + log_det + np.log(total)
            precisions[i, k] = above / total
    divergence = factors.divergence()
    # q's numbers are in the traits' units, its divergence has none
    assert found.elbo == pytest.approx(logsumexp(heights, axis=1).sum() - divergence, abs=1e-6)
    r = np.exp(heights - logsumexp(heights, axis=1, keepdims=True))
    mass = (r * precisions).sum(axis=0)
    assert np.allclose(q["latent_precision"], mass, rtol=1e-5)
    assert np.allclose(q["strength"] - found.problem.priors.strength, mass, rtol=1e-5)


def _of_df(tails, k, function):
    """Expectation under the factor of the degrees of freedom, by quadrature."""
    j = k % tails.tails.n_free
    prior = gamma_distribution(tails.tails.shape, scale=1.0 / tails.tails.rate)

    def height(x):
        weight = 0.5 * x * np.log(0.5 * x) - gammaln(0.5 * x) - 0.5 * x
        return prior.logpdf(x) + tails.people[j] * weight + 0.5 * tails.excess[j] * x

    top = max(height(x) for x in np.geomspace(0.1, 1000.0, 2000))
    total = quad(lambda x: np.exp(height(x) - top), 0.0, 200.0, limit=500, points=[1.0, 5.0, 20.0])[0]
    value = quad(lambda x: function(x) * np.exp(height(x) - top), 0.0, 200.0, limit=500, points=[1.0, 5.0, 20.0])[0]
    return value / total


def test_divergence_and_draws_of_the_degrees_of_freedom():
    tails = TailFactor.updated(
        Tails(np.full(2, 10.0), 1, 2.0, 0.1), np.array([30.0, 40.0]), np.array([31.0, 38.0]), np.array([-6.0, -4.0])
    )
    prior = gamma_distribution(2.0, scale=10.0)
    log_q = lambda x: tails.log_density(np.full((1, 2), x))[0]  # noqa: E731
    assert quad(lambda x: np.exp(log_q(x)), 0.0, 100.0, limit=300)[0] == pytest.approx(1.0, abs=1e-8)
    expected = quad(lambda x: np.exp(log_q(x)) * (log_q(x) - prior.logpdf(x)), 1e-3, 100.0, limit=300)[0]
    assert tails.divergence() == pytest.approx(expected, abs=1e-7)
    drawn = tails.draw(20_000, np.random.default_rng(1))
    assert (drawn[:, 0] == drawn[:, 1]).all()
    assert drawn[:, 0].mean() == pytest.approx(tails.means[0], abs=5.0 * tails.sds()[0] / np.sqrt(20_000))
    assert drawn[:, 0].std() == pytest.approx(tails.sds()[0], rel=0.03)


@pytest.mark.parametrize("df", [3.0, "each"])
@pytest.mark.parametrize("k", [1, 2])
def test_of_student_components_the_bound_is_below_the_evidence_by_quadrature(df, k):
    """The sum over all allocations of integrals over mean, variance and degrees of freedom, on a grid."""
    y = np.array([-0.4, 0.1, 0.9, 5.0, 5.6, 9.0])
    mean, dof, scale, a = 2.5, 6.0, 4.0, 4.0
    prior = bg.NormalInverseWishart(mean=[mean], strength=KAPPA, dof=dof, scale=[[scale]])
    priors = bg.Priors(bg.Dirichlet(a), prior, df=bg.DfGamma(2.0, 0.5))
    found = bg.Mixture(k, df=df, priors=priors).variational(y[:, None], seed=1)
    variance, centre = np.geomspace(0.05, 200.0, 60), np.linspace(-30.0, 35.0, 200)
    nu = np.array([3.0]) if df == 3.0 else np.geomspace(0.05, 50.0, 30)
    v, m, d = np.meshgrid(variance, centre, nu, indexing="ij")
    log_prior = invgamma(0.5 * dof, scale=0.5 * scale).logpdf(v) + norm(mean, np.sqrt(v / KAPPA)).logpdf(m)
    log_step = np.log(v) + np.log(np.log(variance[1] / variance[0]) * (centre[1] - centre[0]))
    if df == "each":
        log_prior = log_prior + gamma_distribution(2.0, scale=2.0).logpdf(d)
        log_step = log_step + np.log(d) + np.log(np.log(nu[1] / nu[0]))
    each = student_t(d, m, np.sqrt(v)).logpdf(y[:, None, None, None])
    terms = []
    for z in map(np.array, product(range(k), repeat=len(y))):
        counts = np.bincount(z, minlength=k)
        value = gammaln(k * a) - gammaln(k * a + len(y)) + (gammaln(a + counts) - gammaln(a)).sum()
        for j in np.flatnonzero(counts):
            value += logsumexp(log_prior + log_step + each[z == j].sum(axis=0))
        terms.append(value)
    exact = logsumexp(terms)
    assert logsumexp(log_prior + log_step) == pytest.approx(0.0, abs=0.01)
    assert exact - 2.0 < found.elbo < exact
    ratios = found.log_ratios(4000, seed=1)
    assert found.elbo < ratios.mean() < exact


@pytest.mark.parametrize("options", [{}, {"covariance": "VII"}, {"weights": "x", "means": "sex"}], ids=str)
def test_with_many_degrees_of_freedom_the_bound_is_that_of_gaussians(rng, options):
    x, sex = rng.normal(size=30), rng.integers(0, 2, 30).astype(float)
    y = np.concatenate([rng.normal(0.0, 1.0, (18, 2)), rng.normal(3.0, 1.0, (12, 2))])
    y[::7, 0] = np.nan
    ids = [f"p{i}" for i in range(30)]
    about = pd.DataFrame({"x": x, "sex": sex}, index=ids)
    study = bg.Study(pd.DataFrame(y, columns=["a", "b"], index=ids), covariates=about)
    model, near = bg.Mixture(2, **options), bg.Mixture(2, df=1e8, **options)
    one, other = model.variational(study, seed=1), near.variational(study, seed=1)
    assert other.elbo == pytest.approx(one.elbo, abs=1e-6)
    assert np.allclose(other.responsibilities, one.responsibilities, atol=1e-6)


def test_student_means_agree_with_the_samplers(rng):
    """Within half a posterior sd; the degrees of freedom, which q knows too well and which are skewed, within one."""
    y = np.concatenate([rng.standard_t(4.0, (200, 1)), 5.0 + rng.standard_t(4.0, (100, 1))])
    model = bg.Mixture(2, df="shared")
    fit = model.fit(y, seed=1)
    found, sampled = fit.variational(), model.sample(y, init=fit, draws=500, tune=500, chains=2, seed=1)
    table = bg.compare(fit, found, sampled).set_index("parameter")
    away = (table["variational_mean"] - table["mean"]).abs() / table["sd"]
    is_df = table.index.str.startswith("df")
    assert is_df.sum() == 1
    assert away[~is_df].max() < 0.5
    assert away[is_df].max() < 1.0


def test_learned_scales_agree_with_the_samplers():
    """Means within half a posterior sd, those of the scales too; their sds within a factor of two."""
    rng = np.random.default_rng(0)
    g = rng.binomial(2, 0.3, (600, 4)).astype(float)
    high = rng.random(600) < 1.0 / (1.0 + np.exp(0.5 - (g - 0.6) @ [1.0, -0.8, 0.0, 0.1]))
    y = np.where(high, 4.0, 0.0) + rng.standard_normal(600)
    ids = [f"p{i}" for i in range(600)]
    snps = [f"rs{j}" for j in range(4)]
    study = bg.Study(pd.DataFrame({"y": y}, index=ids), pd.DataFrame(g, columns=snps, index=ids))
    effects = bg.LogOddsGroups({"near": snps[:2], "far": snps[2:]})
    model = bg.Mixture(2, weights=" + ".join(snps), priors=bg.Priors(effects=effects))
    fit = model.fit(study, seed=1)
    found = fit.variational()
    sampled = model.sample(study, init=fit, draws=600, tune=600, chains=2, seed=1)
    over = ("chain", "draw")
    for name in ("weights", "means", "effects", "group_scales", "between_scale"):
        mean, sd = sampled.posterior[name].mean(over), sampled.posterior[name].std(over)
        away = np.abs(found.posterior[name].mean(over) - mean) / sd
        assert float(away.max()) < 0.5, name
        ratio = found.posterior[name].std(over) / sd
        assert 0.5 < float(ratio.min()) <= float(ratio.max()) < 1.2, name
    assert found.elbo < found.log_ratios(2000, seed=1).mean()
    assert {"log_scales", "log_scale_covariance"} <= set(found.factors)
