"""The variational posterior against exact evidences, brute force, scikit-learn, other engines, and its own promises."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
from scipy.special import digamma, gammaln, logsumexp
from scipy.stats import dirichlet, invwishart, multivariate_normal, norm
from sklearn.mixture import BayesianGaussianMixture
from threadpoolctl import threadpool_limits

import bayesgmm as bg
from bayesgmm.core.conjugate import DirichletFactor
from bayesgmm.core.copies import log_copies
from bayesgmm.core.mean_field import MeanField
from bayesgmm.core.scale_factor import ScaleFactor
from bayesgmm.core.tilted import NormalFactor, tilted
from bayesgmm.inference.draws import log_prior_of, summed
from bayesgmm.inference.tidy import parameter_rows
from bayesgmm.inference.variational_posterior import mean_field_of
from bayesgmm.inference.widened import POSITIVE, SHARE, widened
from tests.test_laplace import KAPPA, log_evidence_of_one

FAMILIES = ("VVV", "EEE", "VVI", "EEI", "VII", "EII")
EFFECTS = (
    bg.LogOddsNormal(),
    bg.LogOddsStudentT(df=3.0),
    bg.LogOddsLaplace(),
    bg.LogOddsSpikeSlab(),
)
LEARNED = (
    bg.LogOddsGroups({"a": ["rs1"], "b": ["age"]}),
    bg.LogOddsGroups({"a": ["rs1", "age"], "b": ["age", "sex"]}, sd=0.7),
    bg.LogOddsHorseshoe(expected=0.5),
)


@pytest.fixture(scope="module")
def messy():
    """Two overlapping components, missing traits and genotypes, a person without traits, odd units."""
    rng = np.random.default_rng(3)
    n = 300
    g, age, sex = rng.binomial(2, 0.3, n).astype(float), rng.normal(size=n), rng.integers(0, 2, n)
    high = rng.random(n) < 1.0 / (1.0 + np.exp(0.5 - 0.7 * g - 0.3 * age))
    y = np.where(high[:, None], [2.5, 1.5], [0.0, 0.0]) + rng.standard_normal((n, 2)) + 0.5 * sex[:, None]
    y[rng.random((n, 2)) < 0.1] = np.nan
    y[:2] = np.nan
    y[5:20] = [3.0, 2.5]
    g[rng.random(n) < 0.08] = np.nan
    ids = [f"p{i}" for i in range(n)]
    return bg.Study(
        traits=pd.DataFrame(y * [10.0, 0.1] + [100.0, 5.0], columns=["a", "b"], index=ids),
        genotypes=pd.DataFrame({"rs1": g}, index=ids),
        covariates=pd.DataFrame({"age": age, "sex": sex.astype(float)}, index=ids),
    )


@pytest.mark.parametrize(
    ("size", "family"),
    [(1, "VVV"), (3, "VVV"), (2, "EEE"), *((3, f) for f in FAMILIES[2:]), (3, "VEI"), (3, "EVV"), (2, "EVE")],
)
def test_of_one_component_the_bound_is_the_evidence(rng, size, family):
    y = 5.0 + 3.0 * rng.standard_normal((40, size)) * np.arange(1, size + 1)
    mean, dof, scale = np.full(size, 4.0), size + 3.0, 2.0 * np.eye(size)
    prior = bg.NormalInverseWishart(mean=mean, strength=KAPPA, dof=dof, scale=scale)
    found = bg.Mixture(1, covariance=family, priors=bg.Priors(components=prior)).variational(y)
    # one component shares nothing with others
    alike = {"VEI": "VVI", "EVV": "VVV", "EVE": "VVV"}.get(family, family)
    exact = log_evidence_of_one(y, alike, mean, dof, scale)
    assert found.elbo == pytest.approx(exact, rel=1e-12, abs=1e-10)
    assert found.log_evidence == found.elbo
    # every draw's log density ratio is the evidence: q is the posterior
    assert found.log_ratios(50) == pytest.approx(exact, abs=1e-8)


@pytest.mark.parametrize("family", ["VVV", "EEE"])
@pytest.mark.parametrize("gap", [1.5, 6.0])
def test_the_bound_is_below_the_sum_over_all_allocations(rng, gap, family):
    y = np.concatenate([rng.normal(0.0, 1.0, 6), rng.normal(gap, 1.0, 5)])[:, None]
    mean, dof, scale, a = np.array([gap / 2]), 12.0, np.array([[10.0]]), 4.0
    prior = bg.Priors(bg.Dirichlet(a), bg.NormalInverseWishart(mean=mean, strength=KAPPA, dof=dof, scale=scale))
    terms = []
    for z in map(np.array, product((0, 1), repeat=len(y))):
        counts = np.bincount(z, minlength=2)
        value = gammaln(2 * a) - gammaln(2 * a + len(y)) + (gammaln(a + counts) - gammaln(a)).sum()
        if family == "VVV":
            value += sum(log_evidence_of_one(y[z == k], family, mean, dof, scale) for k in range(2) if counts[k])
        else:
            value += _log_evidence_with_one_variance(y, z, mean, dof, scale)
        terms.append(value)
    found = bg.Mixture(2, covariance=family, priors=prior).variational(y, seed=1)
    exact = logsumexp(terms)
    assert found.elbo < exact
    assert found.log_evidence == pytest.approx(exact, abs=0.06 if gap > 2 else 1.5)
    # memberships summed out, the bound is a better one, and its exponential is unbiased for the evidence
    ratios = found.log_ratios(4000, seed=1)
    assert found.elbo < ratios.mean() < exact
    if gap > 2:
        assert logsumexp(ratios) - np.log(len(ratios)) + np.log(2.0) == pytest.approx(exact, abs=0.05)


def _log_evidence_with_one_variance(y, z, mean, dof, scale):
    """One variance for both components: y is multivariate t given the allocation."""
    n = len(y)
    spread = np.eye(n) + (z[:, None] == z[None]) / KAPPA
    away = y[:, 0] - mean[0]
    rate = scale[0, 0] + away @ np.linalg.solve(spread, away)
    half, after = 0.5 * dof, 0.5 * (dof + n)
    value = gammaln(after) - gammaln(half) - 0.5 * n * np.log(np.pi) - 0.5 * np.linalg.slogdet(spread)[1]
    return value + half * np.log(scale[0, 0]) - after * np.log(rate)


MODELS = [
    *({"covariance": family} for family in FAMILIES),
    *({"weights": "rs1 + age", "priors": bg.Priors(effects=e)} for e in EFFECTS),
    {"weights": "rs1", "means": "sex + age"},
    {"means": "sex", "covariance": "EEE"},
    {"priors": bg.Priors(bg.Dirichlet(0.05))},
    {"noise": True, "weights": "rs1", "means": "sex"},
    {"noise": True, "spike": (130.0, 5.25)},
    {"df": 4.0, "covariance": "EEI"},
    {"df": "each", "weights": "rs1", "noise": True, "spike": (130.0, 5.25)},
    {"df": "shared", "weights": "rs1 + age", "means": "sex", "covariance": "EEE"},
    *({"weights": "rs1 + age + sex", "priors": bg.Priors(effects=e)} for e in LEARNED),
    {"df": "each", "weights": "rs1 + age", "means": "sex", "noise": True, "priors": bg.Priors(effects=LEARNED[2])},
]


@pytest.mark.parametrize("options", MODELS, ids=str)
@pytest.mark.parametrize("k", [2, 3])
def test_no_step_lowers_the_bound_and_all_options_keep_it_below(messy, options, k):
    problem = bg.Mixture(k, **options).problem(messy)
    start = bg.Mixture(k, **(options | {"priors": bg.Priors()})).fit(messy, seed=1)
    field = mean_field_of(problem)
    for memory in (0, 8):
        run = field.ascend(field.start(start.parameters), max_iterations=60, tolerance=1e-8, memory=memory)
        assert (np.diff(run.bounds) >= 0.0).all()
    found = bg.Mixture(k, **options).variational(messy, init=start)
    assert (np.diff(found.history.values) >= 0.0).all()
    assert found.converged
    assert found.elbo >= run.bound + problem.log_likelihood_shift - 1e-6
    # the joint density here is the one that the sampler and Laplace's engine have
    ratios = found.log_ratios(400, seed=1)
    assert found.elbo < ratios.mean() + 3.0 * ratios.std() / 20.0


SCALED = ({"weights": "rs1 + age + sex", "priors": bg.Priors(effects=LEARNED[1])},)


def _moved(factors, rng, size):
    """Factors with every block of numbers moved a little at random, one block at a time."""
    weights, components, shifts = factors.weights, factors.components, factors.shifts
    k, d = components.means.shape
    turn = np.eye(d) + size * np.tril(rng.normal(size=(d, d)), -1)
    if components.prior.family.on_axes:
        turn = np.eye(d)
    grown = np.exp(size * rng.normal(size=1 if components.prior.family.shared else (k, 1, 1)))
    sds = components.mean_sds()
    yield replace(factors, components=replace(components, mass=components.mass * np.exp(size * rng.normal(size=k))))
    if components.precisions is not None:
        moved = components.precisions * np.exp(size * rng.normal(size=k))
        yield replace(factors, components=replace(components, precisions=moved))
    if factors.tails.tails.n_free:
        tails, n_free = factors.tails, factors.tails.tails.n_free
        yield replace(factors, tails=replace(tails, people=tails.people * np.exp(size * rng.normal(size=n_free))))
        yield replace(factors, tails=replace(tails, excess=tails.excess * np.exp(size * rng.normal(size=n_free))))
    yield replace(
        factors, components=replace(components, means=components.means + size * sds * rng.normal(size=(k, d)))
    )
    yield replace(factors, components=replace(components, scales=grown * (turn @ components.scales @ turn.T)))
    if isinstance(weights, DirichletFactor):
        moved = weights.concentration * np.exp(size * rng.normal(size=len(weights.prior)))
        yield replace(factors, weights=replace(weights, concentration=moved))
    else:
        noise = np.linalg.cholesky(weights.covariance) @ rng.normal(size=weights.mean.size)
        moved = weights.mean + size * noise.reshape(weights.mean.shape)
        yield replace(factors, weights=NormalFactor(weights.prior, moved, weights.covariance))
        yield replace(factors, weights=NormalFactor(weights.prior, weights.mean, np.exp(size) * weights.covariance))
    if factors.scales is not None:
        noise = np.linalg.cholesky(factors.scales.covariance) @ rng.normal(size=len(factors.scales.mean))
        for moved in (
            replace(factors.scales, mean=factors.scales.mean + size * noise),
            replace(factors.scales, covariance=np.exp(size) * factors.scales.covariance),
            replace(factors.scales, covariance=factors.scales.covariance + size * np.outer(noise, noise)),
        ):
            yield replace(factors, scales=moved, weights=weights.with_effect_sds(moved.sds))
    if shifts.mean.size:
        yield replace(factors, shifts=replace(shifts, mean=shifts.mean + size * shifts.sds()))
        yield replace(factors, shifts=replace(shifts, covariance=np.exp(size) * shifts.covariance))


@pytest.mark.parametrize("options", MODELS, ids=str)
def test_at_the_top_no_factor_can_raise_the_bound(messy, options):
    """Of every block of numbers: the bound is flat, so that updates are those of this bound and of no other."""
    problem = bg.Mixture(2, **options).problem(messy)
    start = bg.Mixture(2, **(options | {"priors": bg.Priors()})).fit(messy, seed=1)
    field = mean_field_of(problem)
    top = field.ascend(field.start(start.parameters), max_iterations=5000, tolerance=1e-12)
    size = 1e-3
    sides = [_moved(top.factors, np.random.default_rng(1), sign * size) for sign in (1.0, -1.0)]
    for ahead, behind in zip(*sides, strict=True):
        up, down = field.expectation(ahead)[0], field.expectation(behind)[0]
        assert abs(up - down) / (2.0 * size) < 0.02
        assert 0.5 * (up + down) < top.bound


@pytest.mark.parametrize("effects", EFFECTS, ids=str)
def test_bound_with_predictors_and_slopes_by_draws(effects):
    """The bound put together from scipy's densities and the engine's prior, expectations by averages over draws."""
    rng = np.random.default_rng(8)
    n = 60
    x, sex = rng.normal(size=n), rng.integers(0, 2, n).astype(float)
    high = rng.random(n) < 1.0 / (1.0 + np.exp(-x))
    y = np.where(high, 3.0, 0.0) + sex + rng.standard_normal(n)
    study = bg.Study(pd.DataFrame({"y": y}), covariates=pd.DataFrame({"x": x, "sex": sex}))
    found = bg.Mixture(2, weights="x", means="sex", priors=bg.Priors(effects=effects)).variational(study, seed=1)
    draws = found.draws(40_000, seed=3)
    first = {name: draws[name].values[0] for name in ("weights", "means", "covariances", "effects", "shifts")}
    centred = first["shifts"][:, 0, 0, None] * (sex - sex.mean())
    logits = np.log(first["weights"])[:, None, :] + np.concatenate(
        (np.zeros((40_000, n, 1)), first["effects"][:, 0, 0, None, None] * (x - x.mean())[:, None]), axis=2
    )
    log_weights = logits - logsumexp(logits, axis=2, keepdims=True)
    away = y - centred
    heights = np.empty((n, 2))
    for k in range(2):
        sd = np.sqrt(first["covariances"][:, k, 0, 0])[:, None]
        log_density = norm.logpdf(away, first["means"][:, k, 0][:, None], sd)
        heights[:, k] = (log_weights[:, :, k] + log_density).mean(axis=0)
    problem, q = found.problem, found._run.factors
    stacked = problem.stacked(draws)
    log_q = q.weights.log_density(stacked.pi[0], stacked.beta[0]) + q.shifts.log_density(stacked.shifts[0])
    log_q = log_q + q.components.log_density(stacked.means[0], stacked.roots[0]) + problem.log_prior_shift
    against_prior = (summed(log_prior_of(problem, stacked))[0] - log_q).mean()
    assert found.elbo == pytest.approx(logsumexp(heights, axis=1).sum() + against_prior, abs=0.1)


def test_acceleration_and_restarts_reach_the_limit_of_plain_updates(messy):
    fit = bg.Mixture(2, weights="rs1").fit(messy, seed=1)
    field = MeanField(fit.problem.arrays)
    plain = field.ascend(field.start(fit.parameters), max_iterations=5000, tolerance=1e-12, memory=0)
    found = fit.variational()
    assert found.elbo - fit.problem.log_likelihood_shift == pytest.approx(plain.bound, abs=1e-8)
    assert found.n_iterations < len(plain.bounds) / 2
    every = bg.Mixture(2, weights="rs1").variational(messy, seed=1)
    assert every.elbo == pytest.approx(found.elbo, abs=1e-6)
    assert set(every.starts.columns) == {"start", "method", "elbo", "iterations", "converged", "reached_best"}


@pytest.mark.parametrize(("size", "kind"), [(1, "full"), (3, "full"), (1, "diag"), (1, "spherical")])
def test_scikit_learn_at_equal_priors(rng, size, kind):
    """Their tied, diagonal and spherical families have other priors, but for one trait where all are one."""
    y = np.concatenate([rng.normal(0.0, 1.0, (150, size)), rng.normal(3.0, 0.7, (100, size))])
    fit = bg.Mixture(2).fit(y, seed=1)
    ours = fit.variational(tolerance=1e-12)
    prior = fit.problem.priors
    scale = {"full": prior.scale, "diag": np.diag(prior.scale), "spherical": float(prior.scale[0, 0])}[kind]
    theirs = BayesianGaussianMixture(
        n_components=2,
        covariance_type=kind,
        tol=0.0,
        max_iter=300,
        reg_covar=0.0,
        weight_concentration_prior_type="dirichlet_distribution",
        weight_concentration_prior=prior.concentration[0],
        mean_precision_prior=prior.strength,
        mean_prior=prior.mean,
        degrees_of_freedom_prior=prior.dof,
        covariance_prior=scale,
        random_state=0,
    )
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        theirs.fit(y)
    order = np.argsort(theirs.means_[:, 0])
    q = ours.factors
    assert np.allclose(ours.responsibilities, theirs.predict_proba(y)[:, order], atol=1e-8)
    assert np.allclose(q["concentration"], theirs.weight_concentration_[order], rtol=1e-8)
    assert np.allclose(q["means"], theirs.means_[order], rtol=1e-8, atol=1e-8)
    assert np.allclose(q["strength"], theirs.mean_precision_[order], rtol=1e-8)
    assert np.allclose(q["dof"], theirs.degrees_of_freedom_[order], rtol=1e-8)
    plug_in = (q["scales"] / q["dof"]).values.reshape(2, -1)
    assert np.allclose(plug_in, theirs.covariances_[order].reshape(2, -1), rtol=1e-7, atol=1e-10)
    new = rng.normal(1.5, 2.0, (20, size))
    assert np.allclose(ours.predict_proba(new), theirs.predict_proba(new)[:, order], atol=1e-8)


def test_bound_by_naive_formulas(rng):
    """Bishop 2006, equations 10.70 to 10.77, term by term with scipy's densities where they have them."""
    y = np.concatenate([rng.normal(0.0, 1.0, (30, 2)), rng.normal(2.5, 1.0, (20, 2))])
    found = bg.Mixture(2).variational(y, seed=1)
    q, prior, r = found.factors, found.problem.priors, found.responsibilities.values
    a, a0 = q["concentration"].values, prior.concentration
    log_pi = digamma(a) - digamma(a.sum())
    total = (r @ log_pi).sum() - (r * np.log(np.maximum(r, 1e-300))).sum()
    total += dirichlet(a0).logpdf(np.full(2, 0.5)) - (a0 - 1.0).sum() * np.log(0.5) + (a0 - 1.0) @ log_pi
    total += dirichlet(a).entropy()
    for k in range(2):
        m, s, v = q["means"].values[k], q["strength"].values[k], q["dof"].values[k]
        scale = q["scales"].values[k]
        p = v * np.linalg.inv(scale)
        log_det = digamma(0.5 * (v - np.arange(2))).sum() + 2 * np.log(2.0) - np.linalg.slogdet(scale)[1]
        log_normal = multivariate_normal(m, np.linalg.inv(p)).logpdf(y) + 0.5 * (log_det - np.linalg.slogdet(p)[1])
        total += r[:, k] @ (log_normal - 1.0 / s)
        away = m - prior.mean
        total += 0.5 * (2 * np.log(prior.strength / s) + 2 - 2 * prior.strength / s - prior.strength * away @ p @ away)
        at = np.eye(2)  # constants of the densities of the covariances, read off at one point
        for which, sign in (((prior.dof, prior.scale), 1.0), ((v, scale), -1.0)):
            density = invwishart(*which).logpdf(at) + 0.5 * np.trace(which[1])
            total += sign * (density + 0.5 * (which[0] + 3) * log_det - 0.5 * np.trace(which[1] @ p))
    assert found.elbo == pytest.approx(total, abs=1e-8)


def test_missing_traits_are_latent_in_q(rng):
    """Updates written out person by person: memberships and missing traits together, given expected precisions."""
    y = np.concatenate([rng.normal(0.0, 1.0, (30, 2)), rng.normal(2.5, 1.0, (20, 2))])
    y[rng.random(y.shape) < 0.2] = np.nan
    y = y[~np.isnan(y).all(axis=1)]
    found = bg.Mixture(2).variational(y, seed=1, tolerance=1e-12)
    q, prior = found.factors, found.problem.priors
    a, scales = q["concentration"].values, q["scales"].values
    mass, sums, squares = np.zeros(2), np.zeros((2, 2)), np.zeros((2, 2, 2))
    for row in y:
        seen = ~np.isnan(row)
        height, filled, spread = np.empty(2), np.tile(np.where(seen, row, 0.0), (2, 1)), np.zeros((2, 2, 2))
        for k in range(2):
            m, s, v = q["means"].values[k], q["strength"].values[k], q["dof"].values[k]
            covariance = scales[k] / v
            constant = 0.5 * (digamma(0.5 * (v - np.arange(2))).sum() - 2 * np.log(v / 2.0)) - 1.0 / s
            part = covariance[np.ix_(seen, seen)]
            height[k] = digamma(a[k]) + constant + multivariate_normal(m[seen], part).logpdf(row[seen])
            slope = covariance[np.ix_(~seen, seen)] @ np.linalg.inv(part)
            filled[k, ~seen] = m[~seen] + slope @ (row[seen] - m[seen])
            spread[k][np.ix_(~seen, ~seen)] = (
                covariance - covariance[:, seen] @ np.linalg.inv(part) @ covariance[seen]
            )[np.ix_(~seen, ~seen)]
        r = np.exp(height - logsumexp(height))
        mass += r
        sums += r[:, None] * filled
        squares += r[:, None, None] * (np.einsum("kd,ke->kde", filled, filled) + spread)
    strength = prior.strength + mass
    means = (prior.strength * prior.mean + sums) / strength[:, None]
    outer = np.einsum("k,kd,ke->kde", strength, means, means)
    expected = prior.scale + squares + prior.strength * np.outer(prior.mean, prior.mean) - outer
    assert np.allclose(q["mass"], mass, rtol=1e-6)
    assert np.allclose(q["means"], means, rtol=1e-6)
    assert np.allclose(scales, expected, rtol=1e-5)


def test_uncertain_slopes_of_student_components_row_by_row(messy):
    """Where nothing is uncertain the pass over rows is the fused one."""
    fit = bg.Mixture(2, df="each", weights="rs1", noise=True, spike=(130.0, 5.25)).fit(messy, seed=1)
    field = MeanField(fit.problem.arrays)
    factors = field.start(fit.parameters)
    fused, theirs = np.empty((2, field.arrays.n_rows, 4))
    bound, moments = field.expectation(factors, fused)
    other = field._student_pass(factors, np.zeros((field.arrays.n_rows, 2)), theirs, np.empty(0))
    assert other.log_likelihood - factors.divergence() == pytest.approx(bound, rel=1e-12)
    assert np.allclose(fused, theirs, atol=1e-12)
    for name in ("counts", "mass", "first", "second"):
        assert np.allclose(getattr(moments, name), getattr(other, name), rtol=1e-9, atol=1e-9), name


@pytest.mark.parametrize("which", [0, 1, 2])
def test_expectations_of_learned_scales_are_bounded_and_tight(messy, which):
    """By draws, from the scales and the prior density as the sampler has them."""
    problem = bg.Mixture(2, weights="rs1 + age + sex", priors=bg.Priors(effects=LEARNED[which])).problem(messy)
    model, unit, rng = problem.priors.scales, problem.predictor_unit, np.random.default_rng(5)
    root = np.tril(rng.normal(size=(model.n_scales, model.n_scales)))
    for size in (1e-4, 0.5):
        q = ScaleFactor(model, unit, 1, model.median + 0.3, size**2 * root @ root.T)
        theta = q.draw(40_000, np.random.default_rng(1))
        sds, log_prior = model.sds(theta) * unit, model.log_density(theta)
        error = 4.0 / np.sqrt(40_000)
        logs, inverse = 2.0 * np.log(sds), (sds**-2.0).mean(axis=0)
        assert (q.log_squares > logs.mean(axis=0) - error * logs.std(axis=0) - 1e-6).all()
        assert (q.inverse_squares > inverse - error * (sds**-2.0).std(axis=0) - 1e-6).all()
        assert q._log_prior() < log_prior.mean() + error * log_prior.std() + 1e-6
        if size < 0.01:
            # to second order in the spread
            off = 3.0 * size**2 + 6.0 * error * size
            assert np.allclose(q.log_squares, logs.mean(axis=0), rtol=0.0, atol=off)
            assert np.allclose(q.inverse_squares / inverse, 1.0, rtol=0.0, atol=off)
            assert q._log_prior() == pytest.approx(log_prior.mean(), abs=off)
    other = multivariate_normal(q.mean, q.covariance).logpdf(theta[:50])
    assert np.allclose(q.log_density(theta[:50]), other)


def test_the_tilted_bound_is_above_and_tight_to_second_order(rng):
    logits = rng.normal(0.0, 2.0, (40, 3))
    factors = rng.normal(size=(40, 3, 3))
    noise = rng.standard_normal((4000, 3))
    noise = np.concatenate((noise, -noise))
    weights = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    curvature = np.einsum("uk,kl->ukl", weights, np.eye(3)) - np.einsum("uk,ul->ukl", weights, weights)
    for size in (1e-3, 0.5, 10.0):
        covariances = size * factors @ np.swapaxes(factors, 1, 2)
        bound = (logits - tilted(logits, covariances).log_weights)[:, 0]
        eta = logits[:, None] + np.sqrt(size) * np.einsum("ude,ne->und", factors, noise)
        each = logsumexp(eta, axis=2)
        assert (bound > each.mean(axis=1) - 4.0 * each[:, :4000].std(axis=1) / np.sqrt(4000)).all()
        expansion = logsumexp(logits, axis=1) + 0.5 * (curvature * covariances).sum(axis=(1, 2))
        if size < 0.01:
            assert np.allclose(bound, expansion, rtol=0.0, atol=10.0 * size**2)
            assert not np.allclose(bound, logsumexp(logits, axis=1), rtol=0.0, atol=100.0 * size**2)
    # which component is the reference does not matter: a common part of the logits changes nothing
    common = tilted(logits, covariances + 3.0).log_weights
    assert np.allclose(common, tilted(logits, covariances).log_weights, atol=1e-6)


def test_a_fit_under_other_scales_is_a_start(messy):
    """What it knows of other scales is not taken for these."""
    models = [bg.Mixture(2, weights="rs1 + age + sex", priors=bg.Priors(effects=e)) for e in (*LEARNED, EFFECTS[0])]
    bounds = [models[1].variational(messy, init=model.fit(messy, seed=1)).elbo for model in models]
    assert bounds == pytest.approx([bounds[1]] * 4, abs=1e-4)


def test_labels_of_components_change_nothing(messy):
    fit = bg.Mixture(3, weights="rs1 + age").fit(messy, seed=1)
    field = MeanField(fit.problem.arrays)
    run = field.ascend(field.start(fit.parameters), max_iterations=200, tolerance=1e-8)
    order = np.array([2, 0, 1])
    moved, _ = field.expectation(run.factors.permuted(order))
    assert moved == pytest.approx(run.bound, abs=1e-8)


@pytest.mark.parametrize("df", [None, 3.0, "each"])
def test_weights_and_repeats_are_one(rng, df):
    y = np.concatenate([rng.normal(0.0, 1.0, 60), rng.normal(3.0, 1.0, 40)]).round(1)[:, None]
    values, counts = np.unique(y, return_counts=True)
    priors = bg.Mixture(2).fit(y).problem.priors
    fixed = bg.Priors(components=bg.NormalInverseWishart(priors.mean, priors.strength, priors.dof, priors.scale))
    model = bg.Mixture(2, priors=fixed, compress=False, df=df)
    one, other = model.variational(y, seed=1), model.variational(values[:, None], sample_weight=counts, seed=1)
    assert other.elbo == pytest.approx(one.elbo, abs=1e-7)
    assert np.allclose(one.params["means"], other.params["means"], atol=1e-6)
    assert other.mass.values == pytest.approx(one.mass.values, abs=1e-4)
    assert other.mass.sum() == pytest.approx(100.0)


@pytest.mark.parametrize("df", [None, "shared"])
def test_units_of_traits_move_the_bound_by_the_units(rng, df):
    y = np.concatenate([rng.normal(0.0, 1.0, (60, 2)), rng.normal(3.0, 1.0, (40, 2))])
    unit = np.array([1e4, 1e-3])
    model = bg.Mixture(2, df=df)
    one, other = model.variational(y, seed=1), model.variational(1e6 + y * unit, seed=1)
    assert other.elbo == pytest.approx(one.elbo - 100 * np.log(unit).sum(), abs=1e-5)
    assert np.allclose(other.standard_deviations["means"], one.standard_deviations["means"] * unit, rtol=1e-5)


def test_superfluous_components_are_pruned(rng):
    y = np.concatenate([rng.normal(0.0, 1.0, 200), rng.normal(5.0, 1.0, 100)])[:, None]
    model = bg.Mixture(6, priors=bg.Priors(bg.Dirichlet(0.01)))
    found = model.variational(y, seed=1)
    assert len(found.pruned) == 4
    kept = [k for k in range(6) if k not in found.pruned]
    assert sorted(found.params["means"].values[kept].ravel()) == pytest.approx([0.0, 5.0], abs=0.4)
    assert found.log_evidence == pytest.approx(found.elbo + np.log(30.0))
    assert "without people" in repr(found)
    # a pruned component is the prior
    prior = found.problem.priors
    assert np.allclose(found.factors["scales"].values[found.pruned], prior.scale, rtol=1e-4)
    assert float(found.responsibilities.values[:, found.pruned].max()) < 1e-6


@pytest.mark.parametrize(
    "options",
    [
        {"weights": "rs1 + age", "means": "sex"},
        {"covariance": "EEE"},
        {"covariance": "VII"},
        {"noise": True, "spike": (130.0, 5.25)},
        {"df": "each", "noise": True},
    ],
    ids=str,
)
def test_draws_have_the_moments_that_are_told(messy, options):
    found = bg.Mixture(2, **options).variational(messy, seed=1)
    draws = found.draws(20_000, seed=2)
    for name in found.params.data_vars:
        mean, sd = found.params[name].values, found.standard_deviations[name].values
        values = draws[name].values[0]
        assert values.shape[1:] == mean.shape
        moving = sd > 0.0
        assert (np.abs(values.mean(axis=0) - mean)[moving] < 5.0 * sd[moving] / np.sqrt(20_000)).all()
        assert np.allclose(values.std(axis=0)[moving], sd[moving], rtol=0.06)
        assert np.allclose(values[:, ~moving], mean[~moving], rtol=1e-12, atol=1e-12)


def test_memberships_of_the_people_are_those_of_new_people(messy):
    for options in ({"df": "shared"}, {"df": 4.0, "means": "sex"}, {"means": "sex", "noise": True}, {"means": "sex"}):
        found = bg.Mixture(2, weights="rs1 + age", **options).variational(messy, seed=1)
        again = found.predict_proba(messy)
        assert np.allclose(again, found.responsibilities, atol=1e-10)
    assert (found.predict(messy) == found.assign()["component"].to_numpy()).all()
    # who has no traits has the expected weights, which draws agree with
    draws = found.draws(4000, seed=1)
    problem, rows = found.problem, messy.design("rs1 + age").matrix[:2]
    full = np.concatenate((np.zeros((4000, 2, 1)), draws["effects"].values[0]), axis=2)
    logits = np.log(draws["weights"].values[0])[:, None] + (rows - problem.predictor_centers) @ full
    weights = np.exp(logits - logsumexp(logits, axis=2, keepdims=True)).mean(axis=0)
    assert np.allclose(found.responsibilities.values[:2], weights, atol=0.01)


def test_saved_and_read_it_is_the_same(messy, tmp_path):
    for options in (
        {"weights": "rs1 + age", "means": "sex"},
        {"covariance": "EEI"},
        {"df": "shared", "noise": True},
        *SCALED,
    ):
        found = bg.Mixture(2, **options).variational(messy, seed=1)
        found.save(tmp_path / "q.nc")
        read = bg.read_posterior(tmp_path / "q.nc")
        assert isinstance(read, bg.VariationalPosterior)
        assert (read.elbo, read.converged, read.pruned) == (found.elbo, True, [])
        assert read.params.equals(found.params)
        assert np.array_equal(read.responsibilities, found.responsibilities)
        assert read.draws(10, seed=3).equals(found.draws(10, seed=3))
        assert read.starts["method"].tolist() == found.starts["method"].tolist()


def test_compared_with_a_sampler_it_is_too_narrow_and_is_said_to_be(demo, demo_fit, demo_posterior):
    found = demo_fit.variational()
    comparison = bg.compare(demo_fit, found, demo_posterior, demo_fit.laplace(seed=1))
    assert {"variational_sd", "laplace_sd"} <= set(comparison.columns)
    assert list(bg.compare(demo_fit, demo_posterior)["sd"]) == list(comparison["sd"])
    ratio = comparison["variational_sd"] / comparison["sd"]
    assert ratio.median() < 0.98
    assert ratio.max() < 1.1
    assert f"{ratio.min():.2f}" in comparison.verdict
    assert ("variational intervals too narrow" in comparison.findings) == (ratio.min() < 0.8)
    corrected = parameter_rows(found.corrected_sds)["value"] / comparison["sd"]
    assert f"linear response, {corrected.min():.2f} to {corrected.max():.2f}." in comparison.verdict
    assert np.abs(corrected - 1.0).max() < 0.1
    # means agree
    away = (comparison["variational_mean"] - comparison["mean"]).abs() / comparison["sd"]
    assert away.max() < 0.5
    alone = bg.compare(demo_fit, found)
    assert "too narrow" in alone.verdict
    table = bg.associations(found)
    assert (table["engine"] == "variational").all()
    with pytest.raises(bg.InputError, match="one kind"):
        bg.compare(demo_fit, found, found)


@pytest.mark.parametrize(
    "options",
    [
        *({"covariance": family} for family in FAMILIES),
        {"weights": "rs1", "covariance": "VVI"},
        {"df": 8.0},
        {"df": "shared", "weights": "rs1", "covariance": "EEI"},
    ],
    ids=str,
)
def test_linear_response_gives_the_widths_that_q_leaves_out(rng, options):
    """Laplace's engine corrects its own draws to the exact posterior."""
    n = 1500
    g = rng.binomial(2, 0.3, n).astype(float)
    high = rng.random(n) < 1.0 / (1.0 + np.exp(0.8 - 0.7 * g))
    y = np.where(high[:, None], [2.5, 1.8], [0.0, 0.0]) + rng.standard_normal((n, 2))
    y[rng.random((n, 2)) < 0.1] = np.nan
    g[rng.random(n) < 0.05] = np.nan
    ids = [f"p{i}" for i in range(n)]
    study = bg.Study(pd.DataFrame(y, columns=["a", "b"], index=ids), pd.DataFrame({"rs1": g}, index=ids))
    fit = bg.Mixture(2, **options).fit(study, seed=1)
    found, exact = fit.variational(), fit.laplace(draws=8000, seed=1).posterior.std(("chain", "draw"))
    narrow, right = [], []
    for name in ("weights", "means", "covariances", "effects"):
        moving = exact[name].values > 0.0
        narrow.append(found.standard_deviations[name].values[moving] / exact[name].values[moving])
        right.append(found.corrected_sds[name].values[moving] / exact[name].values[moving])
    assert np.concatenate(narrow).min() < 0.8
    assert np.abs(np.concatenate(right) - 1.0).max() < 0.12
    assert np.median(np.concatenate(right)) == pytest.approx(1.0, abs=0.05)


def test_linear_response_adds_nothing_where_memberships_are_known(rng):
    y = np.concatenate([rng.normal(0.0, 1.0, (60, 2)), rng.normal(30.0, 1.0, (40, 2))])
    found = bg.Mixture(2).variational(y, seed=1)
    for name in ("weights", "means", "covariances"):
        assert np.allclose(found.corrected_sds[name], found.standard_deviations[name], rtol=1e-6)


def test_linear_response_where_components_are_empty_leaves_them_the_prior(rng):
    y = np.concatenate([rng.normal(0.0, 1.0, 200), rng.normal(3.0, 1.0, 100)])[:, None]
    found = bg.Mixture(4, priors=bg.Priors(bg.Dirichlet(0.01))).variational(y, seed=1)
    kept = [k for k in range(4) if k not in found.pruned]
    ratio = (found.corrected_sds["means"] / found.standard_deviations["means"]).values[:, 0]
    assert len(kept) == 2
    assert (ratio[kept] > 1.2).all()
    assert np.allclose(ratio[found.pruned], 1.0, atol=1e-3)


def test_apart_the_interval_of_everything_is_laplaces(rng):
    """Components far apart: memberships are known, and nothing is lost by taking them as independent."""
    y = np.concatenate([rng.normal(0.0, 1.0, (400, 2)), rng.normal(9.0, 1.0, (300, 2))])
    fit = bg.Mixture(2).fit(y, seed=1)
    found, laplace = fit.variational(), fit.laplace(seed=1)
    assert found.pareto_k < 0.5
    assert found.log_evidence == pytest.approx(laplace.log_evidence, abs=0.02)
    table = bg.compare(fit, found, laplace)
    assert np.allclose(table["variational_sd"] / table["sd"], 1.0, atol=0.08)


def test_noise_and_a_spike_have_weights_and_no_factors(rng):
    """Beside Laplace's engine, which has the same density."""
    y = np.concatenate([rng.normal(0.0, 1.0, (300, 2)), rng.normal(4.0, 1.0, (200, 2)), rng.uniform(-9, 13, (60, 2))])
    y = np.concatenate([y, np.full((40, 2), 7.0)])
    fit = bg.Mixture(2, noise=True, spike=7.0).fit(y, seed=1)
    found, laplace = fit.variational(), fit.laplace(seed=1)
    assert found.params["weights"].values[3] == pytest.approx(42.0 / 608.0)
    assert (found.responsibilities.values[-40:, 3] == 1.0).all()
    assert found.elbo < laplace.log_evidence - np.log(2.0)
    ratios = found.log_ratios(4000, seed=1)
    by_draws = logsumexp(ratios) - np.log(len(ratios)) + np.log(2.0)
    assert found.log_evidence < by_draws + 0.05
    # noise and a spike cannot be mistaken for other components: two labellings, for both engines
    assert by_draws == pytest.approx(laplace.log_evidence, abs=0.1)
    exact = laplace.posterior.std(("chain", "draw"))
    for name in ("weights", "means", "covariances"):
        assert np.allclose(found.corrected_sds[name], exact[name], rtol=0.1, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"covariance": "VEV"}, "share their shape only: .* of VVV restricted .*EII, VII"),
        ({"covariance": "EVI"}, "share their volume only: .* of VVI restricted"),
        ({"df": "each", "priors": bg.Priors(df=bg.Flat())}, "prior of the degrees of freedom is flat"),
        ({"priors": bg.Priors.flat()}, "no finite integral"),
        ({"priors": bg.Priors(bg.JeffreysWeights())}, "Jeffreys' prior of the weights is not conjugate"),
    ],
)
def test_what_has_no_conjugate_form_is_refused(messy, options, told):
    with pytest.raises(bg.InputError, match=told):
        bg.Mixture(2, **options).variational(messy)


def test_arguments_out_of_bounds(messy):
    model = bg.Mixture(2)
    for options, told in (
        ({"restarts": 0}, "restarts = 0"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"init": "a"}, "init"),
    ):
        with pytest.raises(bg.InputError, match=told):
            model.variational(messy, **options)
    found = model.variational(messy)
    with pytest.raises(bg.InputError, match="n = 0"):
        found.draws(0)
    with pytest.raises(bg.InputError, match="not the posterior's"):
        bg.power_scaling(found)
    with pytest.raises(bg.InputError, match=r"base\.map"):
        bg.sensitivity(model, messy, {"components.strength": [0.1]}, base=found)
    with pytest.raises(bg.InputError, match="not for covariates of the means"):
        _ = bg.Mixture(2, means="sex").variational(messy).corrected_sds
    with pytest.warns(bg.FitWarning, match="did not converge"):
        model.variational(messy, max_iterations=2)


def test_a_given_partition_is_a_start_and_priors_that_tell_components_apart_are_kept(messy):
    labels = (messy.trait_values[:, 0] > 110.0).astype(int)
    found = bg.Mixture(2).variational(messy, init=labels)
    assert found.starts["method"].tolist() == ["given partition"]
    apart = bg.Mixture(2, priors=bg.Priors(bg.Dirichlet((2.0, 8.0)))).variational(messy, seed=1)
    assert (np.diff(apart.params["means"].values[:, 0]) > 0.0).all()
    a = apart.factors["concentration"].values - apart.problem.priors.concentration
    assert a == pytest.approx(apart.mass.values, rel=1e-6)


def test_labellings_counted_stay_below_the_evidence_however_components_overlap(rng):
    """Components that are alike make no copies of the posterior: the sum over all allocations says."""
    for k, strength, concentration in ((2, 50.0, 40.0), (2, 0.5, 4.0), (3, 50.0, 40.0), (3, 5.0, 2.0)):
        y = rng.normal(0.0, 1.0, 6)[:, None]
        mean, dof, scale = np.zeros(1), 12.0, np.array([[10.0]])
        prior = bg.NormalInverseWishart(mean=mean, strength=strength, dof=dof, scale=scale)
        found = bg.Mixture(k, priors=bg.Priors(bg.Dirichlet(concentration), prior)).variational(y, seed=1)
        total = gammaln(k * concentration) - gammaln(k * concentration + len(y))
        terms = []
        for z in map(np.array, product(range(k), repeat=len(y))):
            value = total + sum(gammaln(concentration + (z == j).sum()) - gammaln(concentration) for j in range(k))
            terms.append(value + sum(_log_evidence_of(y[z == j, 0], strength, dof, 10.0) for j in range(k)))
        assert found.elbo <= found.log_evidence < logsumexp(terms)


def _log_evidence_of(y, strength, dof, scale):
    """Of one component whose prior mean is zero."""
    n = len(y)
    rate = scale + y @ y - y.sum() ** 2 / (n + strength)
    value = gammaln(0.5 * (dof + n)) - gammaln(0.5 * dof) - 0.5 * n * np.log(np.pi)
    return value + 0.5 * np.log(strength / (strength + n)) + 0.5 * dof * np.log(scale) - 0.5 * (dof + n) * np.log(rate)


def test_copies_by_enumeration(rng):
    """Never more than the mixture of all copies of q(z) adds to the bound, and that where components are apart."""
    for k, sharpness in product((2, 3), (0.0, 0.5, 2.0, 20.0)):
        r = np.exp(sharpness * rng.normal(size=(5, k)))
        r /= r.sum(axis=1, keepdims=True)
        allocations = np.array(list(product(range(k), repeat=5)))
        turned = [np.log(r[:, order])[np.arange(5), allocations].sum(axis=1) for order in permutations(range(k))]
        own = turned[0]
        exact = gammaln(k + 1) - np.exp(own) @ (logsumexp(turned, axis=0) - own)
        assert 0.0 <= log_copies(r, np.ones(5)) <= exact + 1e-12
    apart = np.eye(4)[np.arange(40) % 4]
    assert log_copies(apart, np.ones(40)) == pytest.approx(gammaln(5), abs=1e-3)
    # two that are empty are one; more components than permanents are formed of
    empty = np.column_stack((apart, np.zeros((40, 2))))
    assert log_copies(empty, np.full(40, 3.0)) == pytest.approx(gammaln(7) - gammaln(3), abs=1e-3)
    many = np.eye(12)[np.arange(600) % 12]
    assert log_copies(many, np.ones(600)) == pytest.approx(gammaln(13), abs=1e-3)


def test_tables_have_corrected_sds_and_say_which_they_are(rng):
    y = np.concatenate([rng.standard_t(4.0, 150), 5.0 + rng.standard_t(4.0, 100)])
    fit = bg.Mixture(2, df="each").fit(y, seed=1)
    found = fit.variational()
    table = found.summary().set_index("parameter")
    corrected = parameter_rows(found.corrected_sds).set_index("parameter")["value"]
    assert table["corrected_sd"].to_numpy() == pytest.approx(corrected.loc[table.index].to_numpy())
    wide = table["corrected_eti95_ub"] - table["corrected_eti95_lb"]
    assert (wide > 1.02 * (table["eti95_ub"] - table["eti95_lb"])).all()
    positive = table.index.str.startswith(("df", "covariances"))
    assert (table.loc[positive, "corrected_eti95_lb"] > 0.0).all()
    assert "corrected_sd" in repr(found)
    assert "log evidence at least" in repr(found)
    told = bg.compare(fit, found)
    # df and its mode are apart by skewness, and there is no posterior to speak of
    assert "posterior" not in told.verdict.replace("Variational", "")
    assert "by MAP and variational approximation" in told.verdict
    of_df = told.set_index("parameter").loc[["df[0]", "df[1]"]]
    assert set(of_df["verdict"]) == {"skewed"}
    assert (of_df["map_quantile"] > 0.05).all()
    sexes = pd.DataFrame({"sex": rng.integers(0, 2, 250).astype(float)}, index=[f"p{i}" for i in range(250)])
    study = bg.Study(pd.DataFrame({"y": y}, index=sexes.index), covariates=sexes)
    with_slopes = bg.Mixture(2, means="sex").variational(study, seed=1)
    assert "corrected_sd" not in with_slopes.summary()
    assert "not for covariates of the means" in repr(with_slopes)


def test_draws_are_spread_out_inside_their_range(rng):
    positive, shares = rng.gamma(20.0, 0.1, 4000), rng.beta(3.0, 60.0, 4000)
    wide = widened(positive, 3.0 * positive.std(), POSITIVE)
    assert wide.min() > 0.0
    # as if log-normal, which a gamma is nearly
    assert wide.mean() == pytest.approx(positive.mean(), rel=0.05)
    assert wide.std() == pytest.approx(3.0 * positive.std(), rel=0.15)
    assert (np.argsort(wide) == np.argsort(positive)).all()
    wide = widened(shares, 1.5 * shares.std(), SHARE)
    assert 0.0 < wide.min() < wide.max() < 1.0
    assert wide.std() == pytest.approx(1.5 * shares.std(), rel=0.25)
    assert widened(positive, np.inf, POSITIVE) is positive
