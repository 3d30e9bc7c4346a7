"""The Laplace engine against exact evidences, exact posteriors, the sampler, and a published Gibbs sampler."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.special import gammaln, logsumexp, multigammaln
from scipy.stats import t as student_t

import bayesgmm as bg
from bayesgmm.inference.density import FusedDensity
from bayesgmm.inference.laplace import (
    GOOD_K,
    _orders,
    folded,
    label_exchanges,
    student_log_density,
    student_points,
)
from bayesgmm.simulate import simulate_study

KAPPA = 0.5


def log_evidence_of_one(y, family, mean, dof, scale):
    """Evidence of one Gaussian under its conjugate prior (Murphy 2007, section 9; one variance for spheres)."""
    n, size = y.shape
    centre = y.mean(axis=0)
    strength = KAPPA + n
    pull = KAPPA * n / strength * np.outer(centre - mean, centre - mean)
    after = scale + (y - centre).T @ (y - centre) + pull
    of_mean = 0.5 * size * np.log(KAPPA / strength)
    if family in ("VVV", "EEE"):
        half, half_n = 0.5 * dof, 0.5 * (dof + n)
        dets = half * np.linalg.slogdet(scale)[1] - half_n * np.linalg.slogdet(after)[1]
        return of_mean - 0.5 * n * size * np.log(np.pi) + multigammaln(half_n, size) - multigammaln(half, size) + dets
    before, later, counts = np.diag(scale), np.diag(after), n
    if family in ("EII", "VII"):
        before, counts = np.array([np.trace(scale) / size]), n * size
        later = before + (np.diag(after) - np.diag(scale)).sum()
    half, half_n = 0.5 * dof, 0.5 * (dof + counts)
    each = half * np.log(before / 2) - gammaln(half) + gammaln(half_n) - half_n * np.log(later / 2)
    return of_mean - 0.5 * n * size * np.log(2 * np.pi) + each.sum()


@pytest.mark.parametrize(("size", "family"), [(1, "VVV"), (3, "VVV"), (2, "EEE"), (3, "VVI"), (3, "EII"), (2, "VII")])
def test_evidence_of_one_component_is_exact(rng, size, family):
    y = 5.0 + 3.0 * rng.standard_normal((40, size)) * np.arange(1, size + 1)
    mean, dof, scale = np.full(size, 4.0), size + 3.0, 2.0 * np.eye(size)
    prior = bg.NormalInverseWishart(mean=mean, strength=KAPPA, dof=dof, scale=scale)
    approx = bg.Mixture(1, covariance=family, priors=bg.Priors(components=prior)).fit(y).laplace(seed=1)
    exact = log_evidence_of_one(y, family, mean, dof, scale)
    assert approx.pareto_k < GOOD_K
    assert approx.log_evidence_error < 0.03
    assert approx.log_evidence == pytest.approx(exact, abs=3 * approx.log_evidence_error)


@pytest.mark.parametrize("gap", [1.5, 5.0])
def test_evidence_of_two_components_is_the_sum_over_all_allocations(rng, gap):
    """Whether the two labellings of the posterior run together (1.5 sds apart) or not."""
    y = np.concatenate([rng.normal(0.0, 1.0, 6), rng.normal(gap, 1.0, 6)])[:, None]
    mean, dof, scale, a = np.array([gap / 2]), 12.0, np.array([[10.0]]), 4.0
    prior = bg.Priors(bg.Dirichlet(a), bg.NormalInverseWishart(mean=mean, strength=KAPPA, dof=dof, scale=scale))
    terms = []
    for z in product((0, 1), repeat=len(y)):
        z = np.array(z)
        counts = np.array([(z == 0).sum(), (z == 1).sum()])
        value = gammaln(2 * a) - gammaln(2 * a + len(y)) + (gammaln(a + counts) - gammaln(a)).sum()
        for k in range(2):
            if counts[k]:
                value += log_evidence_of_one(y[z == k], "VVV", mean, dof, scale)
        terms.append(value)
    approx = bg.Mixture(2, priors=prior).fit(y, seed=1).laplace(20_000, seed=1)
    assert approx.log_evidence == pytest.approx(logsumexp(terms), abs=0.05)


@pytest.mark.parametrize("a", [(2.0, 8.0), (8.0, 2.0)])
def test_evidence_where_the_prior_tells_components_apart_is_given_their_order(rng, a):
    """Twice the sum over allocations of the evidence times the chance that the first mean is the lower one."""
    y = np.concatenate([rng.normal(0.0, 1.0, 6), rng.normal(4.0, 1.0, 5)])[:, None]
    mean, dof, scale, a = np.array([2.0]), 12.0, np.array([[10.0]]), np.array(a)
    prior = bg.Priors(bg.Dirichlet(a), bg.NormalInverseWishart(mean=mean, strength=KAPPA, dof=dof, scale=scale))
    middle = (np.arange(200) + 0.5) / 200
    terms = []
    for z in product((0, 1), repeat=len(y)):
        z = np.array(z)
        counts = np.bincount(z, minlength=2)
        value = gammaln(a.sum()) - gammaln(a.sum() + len(y)) + (gammaln(a + counts) - gammaln(a)).sum()
        means = []
        for k, n in enumerate(counts):
            own = y[z == k]
            value += log_evidence_of_one(own, "VVV", mean, dof, scale) if n else 0.0
            centre = own.mean() if n else 0.0
            rate = scale[0, 0] + ((own - centre) ** 2).sum() + KAPPA * n / (KAPPA + n) * (centre - mean[0]) ** 2
            at = (KAPPA * mean[0] + n * centre) / (KAPPA + n)
            means.append(student_t(dof + n, at, np.sqrt(rate / (dof + n) / (KAPPA + n))))
        terms.append(value + np.log(2.0 * means[1].sf(means[0].ppf(middle)).mean()))
    approx = bg.Mixture(2, priors=prior).fit(y, seed=1).laplace(20_000, seed=1)
    assert approx.log_evidence == pytest.approx(logsumexp(terms), abs=0.05)


@pytest.mark.parametrize("effects", [bg.LogOddsNormal, lambda mean: bg.LogOddsGroups({"g": ["x"]}, mean=mean)])
def test_evidence_does_not_jump_where_an_effects_prior_mean_leaves_zero(rng, effects):
    x = rng.integers(0, 3, 40).astype(float)
    y = rng.normal(np.where(rng.random(40) < 0.3 * x, 0.7, 0.0), 1.0)
    ids = [f"p{i}" for i in range(40)]
    study = bg.Study(traits=pd.DataFrame({"y": y}, index=ids), covariates=pd.DataFrame({"x": x}, index=ids))
    components = bg.NormalInverseWishart(strength=KAPPA, dof=12.0, scale=10.0)

    def evidence(mean):
        priors = bg.Priors(bg.Dirichlet(4.0), components, effects(mean=mean))
        return bg.Mixture(2, weights="x", priors=priors).fit(study, seed=1).laplace(4000, seed=1).log_evidence

    assert evidence(1e-7) == pytest.approx(evidence(0.0), abs=1e-3)


def test_every_copy_of_a_draw_is_folded_to_the_same_one(rng):
    fit = bg.Mixture(3).fit(np.concatenate([rng.normal(0, 1, 15), rng.normal(1.2, 1, 8)]), seed=1)
    density = FusedDensity(fit.problem.arrays, fit.parameters)
    exchanges = label_exchanges(fit, density)
    assert len(exchanges) == 5
    points = student_points(200, density.size, 5.0, seed=1)[0]
    nearest = folded(points, exchanges)
    assert np.allclose(density.values(points), density.values(nearest))
    for matrix, offset in exchanges:
        assert np.allclose(folded(points @ matrix.T + offset, exchanges), nearest)


def test_exchanges_within_reach_are_completed_to_a_group():
    """Two pairs of six components that run together: both may be exchanged at once."""
    near = ([1, 0, 2, 3, 4, 5], [0, 1, 2, 4, 3, 5])
    orders = _orders(6, lambda order: list(order) in near)
    assert sorted(list(o) for o in orders) == sorted([*near, [1, 0, 2, 4, 3, 5]])
    assert len(_orders(4, lambda order: True)) == 23


def test_one_component_posterior_is_the_conjugate_one(rng):
    y = rng.normal(2.0, 1.5, (60, 1))
    prior = bg.NormalInverseWishart(mean=[0.0], strength=KAPPA, dof=3.0, scale=[[1.0]])
    draws = bg.Mixture(1, priors=bg.Priors(components=prior)).fit(y).laplace(seed=2).posterior
    rate = 0.5 * (1.0 + ((y - y.mean()) ** 2).sum() + KAPPA * 60 / (60 + KAPPA) * y.mean() ** 2)
    shape = 0.5 * (3.0 + 60)
    variance = draws["covariances"].values.ravel()
    assert variance.mean() == pytest.approx(rate / (shape - 1), rel=0.01)
    assert variance.std() == pytest.approx(rate / (shape - 1) / np.sqrt(shape - 2), rel=0.05)
    assert draws["means"].values.mean() == pytest.approx(60 * y.mean() / (60 + KAPPA), abs=0.01)


def test_agrees_with_the_sampler_where_k_hat_is_good():
    made = simulate_study(
        800, allele_frequencies=[0.3], weights=(0.6, 0.4), means=((0.0,), (3.0,)), effects=[[0.7]], seed=3
    )
    model = bg.Mixture(2, weights=made.study.variant_names[0])
    fit = model.fit(made.study, seed=1)
    approx = fit.laplace(seed=1)
    assert approx.pareto_k < GOOD_K
    assert "can be trusted" in approx.advice
    sampled = model.sample(made.study, init=fit, draws=2000, chains=2, seed=1)
    ours, theirs = approx.summary().set_index("parameter"), sampled.summary().set_index("parameter")
    assert list(ours.index) == list(theirs.index)
    error = np.hypot(ours["sd"] / np.sqrt(ours["ess_bulk"]), theirs["sd"] / np.sqrt(theirs["ess_bulk"]))
    assert (np.abs(ours["mean"] - theirs["mean"]) < 4.5 * error).all()
    assert np.allclose(ours["sd"], theirs["sd"], rtol=0.08)
    assert np.abs(approx.responsibilities - sampled.responsibilities).max() < 0.03


def test_says_use_nuts_when_the_posterior_is_far_from_normal(rng):
    y = np.concatenate([rng.normal(0, 1, 15), rng.normal(1.2, 1, 8)])
    approx = bg.Mixture(3).fit(y, seed=1).laplace(seed=1)
    assert approx.pareto_k > 0.7
    assert "use NUTS" in approx.advice
    assert "use NUTS" in repr(approx)


def test_draws_are_reproducible_and_survive_files(tmp_path, demo_fit):
    one, two, other = (demo_fit.laplace(500, seed=s) for s in (4, 4, 5))
    assert one.posterior.equals(two.posterior)
    assert not one.posterior.equals(other.posterior)
    one.save(tmp_path / "laplace.nc")
    read = bg.read_posterior(tmp_path / "laplace.nc")
    assert type(read) is type(one)
    assert (read.pareto_k, read.log_evidence, read.advice) == (one.pareto_k, one.log_evidence, one.advice)
    table = bg.associations(one)
    assert set(table["engine"]) == {"laplace"}
    assert np.allclose(table["log_odds_ratio"], bg.associations(read)["log_odds_ratio"])


def test_proposal_points_have_the_density_they_are_said_to_have():
    points, log_density = student_points(4096, 3, 6.0, seed=1)
    assert np.allclose(np.cov(points.T), 1.5 * np.eye(3), atol=0.1)  # df / (df - 2)
    # the mean of the reciprocal density over a ball is the volume of the ball
    inside = (points**2).sum(axis=1) < 1.0
    assert (inside * np.exp(-log_density)).mean() == pytest.approx(4 / 3 * np.pi, rel=0.03)
    assert np.allclose(log_density, student_log_density((points**2).sum(axis=1), 3, 6.0))


@pytest.mark.parametrize(("argument", "value"), [("draws", 5), ("df", 0.0)])
def test_arguments_out_of_bounds_are_named(demo_fit, argument, value):
    with pytest.raises(bg.InputError, match=argument):
        demo_fit.laplace(**{argument: value})


def test_improper_priors_and_restricted_families_are_refused(demo, rng):
    with pytest.raises(bg.PropernessError, match="flat"):
        bg.Mixture(2, priors=bg.Priors.flat()).fit(rng.normal(size=50)).laplace()
    with pytest.raises(bg.InputError, match="cannot be sampled"):
        bg.Mixture(2, covariance="VEE").fit(rng.normal(size=(80, 2))).laplace()


def test_three_engines_in_one_comparison(demo_fit, demo_posterior):
    approx = demo_fit.laplace(seed=1)
    both = bg.compare(demo_fit, approx, demo_posterior)
    other_way = bg.compare(demo_fit, demo_posterior, approx)
    assert both.equals(other_way)
    assert both.verdict == other_way.verdict
    ours, theirs = approx.summary().set_index("parameter"), demo_posterior.summary().set_index("parameter")
    table = both.set_index("parameter")
    assert np.allclose(table["laplace_mean"], ours["mean"][table.index])
    assert np.allclose(table["mean"], theirs["mean"][table.index])
    assert "Laplace: k-hat" in both.verdict
    alone = bg.compare(demo_fit, approx)
    assert "laplace_mean" not in alone
    assert np.allclose(alone.set_index("parameter")["mean"], ours["mean"][table.index])
    with pytest.raises(bg.InputError, match="two posteriors of one kind"):
        bg.compare(demo_fit, approx, approx)
    with pytest.raises(bg.InputError, match="0 posteriors"):
        bg.compare(demo_fit)


def test_comparison_says_where_laplace_is_not_to_be_trusted(rng):
    y = np.concatenate([rng.normal(0, 1, 15), rng.normal(1.2, 1, 8)])
    model = bg.Mixture(3)
    fit = model.fit(y, seed=1)
    found = bg.compare(fit, fit.laplace(seed=1), model.sample(y, init=fit, draws=300, chains=2, seed=1))
    assert "Laplace not to be trusted" in found.findings
    assert "use NUTS" in found.verdict


def test_a_report_of_laplaces_posterior_and_of_one_chain_has_no_ranks(tmp_path):
    y = np.concatenate([np.random.default_rng(1).normal(m, 1.0, 60) for m in (0.0, 5.0)])
    model = bg.Mixture(2)
    fit = model.fit(y, seed=1)
    page = bg.write_report(tmp_path / "laplace.html", fit, fit.laplace(seed=1)).read_text()
    assert "Independent draws, without chains" in page
    one = model.sample(y, init=fit, chains=1, draws=100, tune=100, seed=1, log_likelihood=False)
    assert "One chain, which has none to agree with" in bg.write_report(tmp_path / "one.html", fit, one).read_text()
    with pytest.raises(bg.InputError, match="sample two or more"):
        bg.plots.plot_rank(one)


def test_effective_sample_sizes_are_of_the_weighted_draws():
    """Resampled draws are copies of one another, which a chain's measure of its memory does not see."""
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.standard_t(4.0, 200), 5.0 + rng.standard_t(4.0, 100)])
    approx = bg.Mixture(2, df="each").fit(y, seed=1).laplace(seed=1)
    assert approx.ess < 3000.0
    table = approx.summary()
    assert (table[["ess_bulk", "ess_tail"]] <= approx.ess).all(axis=None)
    told = bg.compare(approx.map, approx)
    assert (told["ess_bulk"] <= approx.ess).all()
    assert "Not converged" not in told.verdict
