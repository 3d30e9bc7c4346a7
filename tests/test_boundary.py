"""MAP where components die, and the number of occupied components, against closed forms and brute force."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.special import gammaln, logsumexp
from scipy.stats import norm

import bayesgmm as bg
from bayesgmm.cli import main
from bayesgmm.inference.boundary import score_of, survivors_from
from bayesgmm.inference.em import Climb

KAPPA, DOF = 0.5, 6.0


def sparse(n_components, a, **options):
    return bg.Mixture(n_components, priors=bg.Priors(weights=bg.Dirichlet(a)), **options)


def exact_occupied(y, n_components, a, mean, scale):
    """Log of p(y, so many components hold everybody), one a number: the sum over all allocations of one trait."""
    n = len(y)
    labels = np.array(list(product(range(n_components), repeat=n)))
    counts = np.stack([(labels == k).sum(1) for k in range(n_components)], 1)
    total = gammaln(n_components * a) - gammaln(n_components * a + n)
    log_p = total + (gammaln(a + counts) - gammaln(a)).sum(1)
    for k in range(n_components):
        inside, m = labels == k, counts[:, k]
        centre = np.where(m > 0, (inside * y).sum(1) / np.maximum(m, 1), 0.0)
        spread = (inside * (y - centre[:, None]) ** 2).sum(1)
        after = scale + spread + KAPPA * m / (KAPPA + m) * (centre - mean) ** 2
        log_p += 0.5 * np.log(KAPPA / (KAPPA + m)) - 0.5 * m * np.log(np.pi)
        log_p += gammaln(0.5 * (DOF + m)) - gammaln(0.5 * DOF)
        log_p += 0.5 * DOF * np.log(scale) - 0.5 * (DOF + m) * np.log(after)
    held = (counts > 0).sum(1)
    return np.array([logsumexp(log_p[held == s]) for s in range(1, n_components + 1)])


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(5)
    y = np.concatenate([rng.normal(0.0, 0.5, 5), rng.normal(4.0, 0.5, 5)])
    prior = bg.NormalInverseWishart(mean=[2.0], strength=KAPPA, dof=DOF, scale=2.0)
    return y, prior


@pytest.mark.parametrize("a", [0.05, 0.3])
def test_score_is_the_posterior_probability_of_so_many_occupied(small, a):
    y, prior = small
    fit = bg.Mixture(3, priors=bg.Priors(weights=bg.Dirichlet(a), components=prior)).fit(y)
    assert fit.problem.n_components == 2
    assert fit.n_emptied == 1
    exact = exact_occupied(y, 3, a, 2.0, 2.0)
    score = fit.survivors.set_index("n_components")["score"]
    # Laplace's approximation for ten people; one mode stands for the sum over allocations
    assert score[1] == pytest.approx(exact[0], abs=0.3)
    assert score[2] == pytest.approx(exact[1], abs=0.6)
    assert exact.argmax() == 1


def test_survivors_stand_at_the_interior_mode_of_their_own_density():
    rng = np.random.default_rng(1)
    y = np.concatenate([rng.normal(0.0, 1.0, 300), rng.normal(4.0, 1.0, 200)])
    a = 0.1
    fit = sparse(6, a).fit(y, seed=1)
    assert (fit.problem.n_components, fit.n_emptied, fit.converged, fit.strict) == (2, 4, True, True)
    assert (fit.history.diff("iteration") >= -1e-9).all()
    assert "4 of 6 components emptied" in repr(fit)
    assert "emptied" in list(fit.flags["flag"])
    # the M step, with densities by scipy, is at rest: pi_k = (N_k + a - 1) / (n + K a - K) and the NIW's mode
    weights, means = fit.params["weights"].values, fit.params["means"].values[:, 0]
    variances = fit.params["covariances"].values[:, 0, 0]
    joint = weights * norm.pdf(y[:, None], means, np.sqrt(variances))
    r = joint / joint.sum(axis=1, keepdims=True)
    people = r.sum(axis=0)
    prior = fit.problem.priors
    np.testing.assert_allclose(weights, (people + a - 1.0) / (len(y) + 2.0 * (a - 1.0)), rtol=1e-5)
    np.testing.assert_allclose(
        means, (r.T @ y + prior.strength * prior.mean) / (people + prior.strength), rtol=1e-5, atol=1e-6
    )
    # the numbers of the components' prior are those of six components, as asked for
    assert prior.scale[0, 0] == pytest.approx(np.var(y, ddof=1) / 36.0, rel=0.01)


def test_a_component_that_nobody_is_in_dies_by_em_and_the_others_are_as_without_it():
    rng = np.random.default_rng(2)
    y = np.concatenate([rng.normal(0.0, 1.0, 150), rng.normal(6.0, 1.0, 150)])
    model = sparse(3, 0.5)
    near = np.where(y < 3.0, 0, 1)
    # the third begins with a sliver of the people of the first
    start = np.eye(3)[near] * 0.999
    start[:, 2] += 0.001
    fit = model.fit(y, init=start)
    assert (fit.n_emptied, fit.emptied.n_by_em) == (1, 1)
    assert "1 of 3 components emptied" in repr(fit)
    alone = bg.Mixture(2, priors=bg.Priors(bg.Dirichlet(0.5), bg.NormalInverseWishart(scale=fit.problem.priors.scale)))
    np.testing.assert_allclose(fit.params["means"], alone.fit(y).params["means"], atol=1e-5)


def test_the_score_does_not_depend_on_units_of_the_traits_but_for_their_jacobian():
    rng = np.random.default_rng(3)
    y = np.concatenate([rng.normal(0.0, 1.0, 100), rng.normal(5.0, 1.0, 60)])
    fits = [sparse(4, 0.1).fit(y * unit + 7.0 * unit) for unit in (1.0, 1000.0)]
    one, other = (fit.survivors.set_index("n_components")["score"] for fit in fits)
    np.testing.assert_allclose(one[2] - other[2], len(y) * np.log(1000.0), atol=1e-4)
    np.testing.assert_allclose(one[2] - one[1], other[2] - other[1], atol=1e-4)


def test_score_of_all_components_is_the_evidence_that_the_laplace_engine_samples():
    rng = np.random.default_rng(4)
    y = np.concatenate([rng.normal(0.0, 1.0, 200), rng.normal(6.0, 1.0, 200)])
    fit = sparse(2, 0.8).fit(y)
    assert fit.n_emptied == 0
    run = Climb(fit.parameters, history=[0.0])
    approx = fit.laplace(seed=1)
    assert score_of(fit.problem, fit.problem, run) == pytest.approx(approx.log_evidence, abs=0.1)


def test_components_whose_concentration_is_not_below_one_never_die():
    rng = np.random.default_rng(6)
    y = rng.normal(0.0, 1.0, 120)
    problem = sparse(3, [2.0, 0.05, 2.0]).problem(y)
    fit = sparse(3, [2.0, 0.05, 2.0]).fit(y)
    assert fit.problem.n_components == 2
    assert list(fit.problem.priors.concentration) == [2.0, 2.0]
    found = survivors_from(problem, problem.parameters(_spread(problem)), 2000, 1e-8, [])
    assert min(end.problem.n_components for end in found) == 2


def _spread(problem):
    """Three equal normals side by side."""
    return problem.label(
        np.full(3, 1 / 3), np.array([[-1.0], [0.0], [1.0]]), np.full((3, 1, 1), 0.5), np.zeros((0, 2)), np.zeros((0, 1))
    )


@pytest.fixture(scope="module")
def gated():
    rng = np.random.default_rng(8)
    g = rng.binomial(2, 0.4, 600)
    z = rng.random(600) < 1.0 / (1.0 + np.exp(0.5 - 1.2 * g))
    y = np.where(z, 4.0, 0.0) + rng.normal(size=600)
    return bg.Study(pd.DataFrame({"y": y}), pd.DataFrame({"rs1": g}))


def test_with_genotypes_in_the_weights_the_superfluous_die_and_the_effect_stays(gated):
    fit = sparse(4, 0.1, weights="rs1").fit(gated)
    assert fit.problem.n_components == 2
    # the M step of the weights is at rest: the gradient is nothing, in the effects as well
    assert fit.gradient_norm < 1e-3
    assert abs(fit.params["effects"].item() - 1.2) < 3 * fit.standard_errors["effects"].item()
    again = bg.Mixture(
        2, weights="rs1", priors=bg.Priors(bg.Dirichlet(0.1), bg.NormalInverseWishart(scale=fit.problem.priors.scale))
    ).fit(gated)
    assert again.params["effects"].item() == pytest.approx(fit.params["effects"].item(), abs=1e-4)


def test_a_fit_with_emptied_components_is_a_fit_like_any_other(tmp_path, gated):
    fit = sparse(4, 0.1, weights="rs1").fit(gated)
    fit.save(tmp_path / "fit.nc")
    back = bg.read_fit(tmp_path / "fit.nc")
    assert back.n_emptied == fit.n_emptied == 2
    pd.testing.assert_frame_equal(back.survivors, fit.survivors)
    assert set(fit.predict(gated).values) == {0, 1}
    assert fit.laplace(seed=1).posterior.sizes["component"] == 2
    assert len(bg.associations(fit)) == 1


@pytest.mark.parametrize("family", ["EEE", "EVE"])
def test_every_family_empties_components(family):
    rng = np.random.default_rng(9)
    y = np.concatenate([rng.normal(0.0, 1.0, (120, 2)), rng.normal(5.0, 1.0, (80, 2))])
    fit = bg.Mixture(4, covariance=family, priors=bg.Priors(weights=bg.Dirichlet(0.05))).fit(y, restarts=4)
    assert fit.problem.n_components == 2


def test_what_cannot_be_done_is_named(gated):
    rng = np.random.default_rng(10)
    y = np.concatenate([rng.normal(0.0, 1.0, 60), rng.normal(5.0, 1.0, 60)])
    labelled = bg.Priors(weights=bg.Dirichlet(0.5), effects=bg.LogOddsNormal(mean=0.5))
    with pytest.raises(bg.InputError, match="effects' prior mean is stated against component 0"):
        bg.Mixture(3, weights="rs1", priors=labelled).fit(gated)
    learned = bg.Priors(weights=bg.Dirichlet(0.5), effects=bg.LogOddsHorseshoe(expected=0.5))
    with pytest.raises(bg.InputError, match="learned scales of the effects"):
        bg.Mixture(3, weights="rs1", priors=learned).fit(gated)
    fit = sparse(4, 0.1).fit(y)
    with pytest.raises(bg.InputError, match="init is a fit of 2 components, 2 others being empty"):
        sparse(4, 0.1).sample(y, init=fit)


# -- the number occupied ------------------------------------------------------------------------------


def test_number_occupied_is_that_of_the_sum_over_all_allocations(small):
    y, prior = small
    a = 0.5
    model = bg.Mixture(3, priors=bg.Priors(weights=bg.Dirichlet(a), components=prior))
    posterior = model.sample(y, draws=1500, tune=1000, chains=4, seed=2)
    table = bg.occupied(posterior, draws=6000)
    exact = exact_occupied(y, 3, a, 2.0, 2.0)
    exact = np.exp(exact - logsumexp(exact))
    assert table["probability"].sum() == pytest.approx(1.0)
    assert list(table["n_components"]) == [1, 2, 3]
    np.testing.assert_allclose(table["probability"], exact, atol=4 * table["mcse"].max())
    assert table["mcse"].max() < 0.03
    assert table.attrs["r_hat"] < 1.05
    pd.testing.assert_frame_equal(bg.occupied(posterior, draws=400), bg.occupied(posterior, draws=400))


def test_repeated_people_are_drawn_each_for_themselves(small):
    """Compressed rows and sample weights give the same distribution as people one by one."""
    y, prior = small
    y = np.round(y, 0)
    model = bg.Mixture(3, priors=bg.Priors(weights=bg.Dirichlet(0.5), components=prior), compress=False)
    posterior = model.sample(y, draws=1500, tune=500, chains=2, seed=2)
    counted = bg.Mixture(3, priors=model.priors, compress=True).sample(y, draws=1500, tune=500, chains=2, seed=2)
    assert counted.problem.compression > 1.5
    one, other = bg.occupied(posterior, draws=3000), bg.occupied(counted, draws=3000)
    np.testing.assert_allclose(one["probability"], other["probability"], atol=5 * one["mcse"].max())
    values, repeats = np.unique(y, return_counts=True)
    given = bg.NormalInverseWishart(mean=[2.0], strength=KAPPA, dof=DOF, scale=2.0)
    weighted = bg.Mixture(3, priors=bg.Priors(bg.Dirichlet(0.5), given)).sample(
        values, sample_weight=repeats + 0.5, draws=50, tune=100, chains=1
    )
    with pytest.raises(bg.InputError, match="not whole numbers"):
        bg.occupied(weighted)


@pytest.mark.parametrize(
    ("prior", "written"),
    [("concentration = 0.2", {"fit.nc", "occupied.tsv"}), ('family = "jeffreys"', {"occupied.tsv"})],
)
def test_command_line_samples_what_has_no_mode(tmp_path, prior, written):
    rng = np.random.default_rng(11)
    y = np.concatenate([rng.normal(0.0, 1.0, 60), rng.normal(6.0, 1.0, 60)])
    frame = pd.DataFrame({"y": y}, index=pd.Index([f"p{i}" for i in range(len(y))], name="sample"))
    frame.to_csv(tmp_path / "y.tsv", sep="\t")
    card = tmp_path / "card.toml"
    card.write_text(
        f'[card]\nname = "x"\n[model]\nn_components = 3\n[priors.weights]\n{prior}\n[sample]\ndraws = 400\n'
    )
    arguments = ["sample", str(card), "--traits", str(tmp_path / "y.tsv"), "--out", str(tmp_path), "--chains", "2"]
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert written <= names
    assert ("fit.nc" in names) == ("fit.nc" in written)
    assert list(pd.read_csv(tmp_path / "occupied.tsv", sep="\t")["n_components"]) == [1, 2, 3]
