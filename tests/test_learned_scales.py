"""Learned scales: the prior comes back, PyMC has the same density, a logistic regression the same posterior."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.stats import halfnorm, norm

import bayesgmm as bg
from bayesgmm import names
from bayesgmm.inference.learned_density import LearnedDensity
from bayesgmm.inference.search import fit_map
from bayesgmm.problem import Problem
from bayesgmm.study import Study
from tests.test_agreement import log_jacobian_graph

PREDICTORS = ["x0", "x1", "x2", "x3"]
STRUCTURES = {
    "two groups and none": {"a": ["x0"], "b": ["x1", "x2"]},
    "overlap": {"a": ["x0", "x1"], "b": ["x1", "x2", "x3"], "c": ["x1"]},
}


def frame(values, columns):
    return pd.DataFrame(values, columns=columns, index=[f"s{i}" for i in range(len(values))])


def study_of(rng, n=120, gap=8.0, effects=(1.0, -1.0, 0.0, 0.0), constant=False, n_components=2):
    """Components far apart; the first two effects are real, or none has people to act on."""
    x = rng.binomial(2, 0.4, (n, len(PREDICTORS))).astype(float)
    logit = (x - x.mean(axis=0)) @ np.array(effects)
    z = (rng.random(n) < 1.0 / (1.0 + np.exp(-logit))).astype(int)
    if n_components == 3:
        z = np.where(rng.random(n) < 0.3, 2, z)
    y = rng.normal(gap * z, 1.0)
    if constant:
        # they vary among people without traits only, of whom the likelihood knows nothing
        y = np.concatenate((y, np.full(n // 2, np.nan)))
        x = np.concatenate((np.ones_like(x), x[: n // 2]))
    return Study(frame(y[:, None], ["y"]), covariates=frame(x, PREDICTORS)), z, x


def model_of(prior, n_components=2):
    return bg.Mixture(n_components, weights=" + ".join(PREDICTORS), priors=bg.Priors(effects=prior))


def simulated(prior, rng, n=200_000):
    """Direct draws of the first contrast of every effect, and of the scales, written down from the definition."""
    if isinstance(prior, bg.LogOddsHorseshoe):
        tau0 = prior.expected / (4 - prior.expected) * 2.0 / np.sqrt(120)
        tau = np.abs(tau0 * rng.standard_cauchy((n, 1)))
        local = np.abs(rng.standard_cauchy((n, 4)))
        c2 = 0.5 * prior.slab_df * prior.slab**2 / rng.gamma(0.5 * prior.slab_df, size=(n, 1))
        sd = np.sqrt(c2 * (tau * local) ** 2 / (c2 + (tau * local) ** 2))
        return sd * rng.standard_normal((n, 4)), {names.GLOBAL_SCALE: tau, names.SLAB_SCALE: np.sqrt(c2)}
    tau0 = np.abs(prior.between * rng.standard_normal((n, 1)))
    tau = np.abs(tau0 * rng.standard_normal((n, len(prior.groups))))
    sd = np.empty((n, 4))
    for p, name in enumerate(PREDICTORS):
        own = [g for g, members in enumerate(prior.groups.values()) if name in members]
        sd[:, p] = prior.sd * (np.sqrt((tau[:, own] ** 2).sum(axis=1)) if own else 1.0)
    return sd * rng.standard_normal((n, 4)), {names.GROUP_SCALES: tau, names.BETWEEN_SCALE: tau0}


@pytest.mark.parametrize("structure", ["two groups and none", "overlap", "horseshoe"])
@pytest.mark.filterwarnings("ignore:weights")
def test_without_data_on_the_effects_sampling_returns_the_prior(rng, structure):
    prior = bg.LogOddsHorseshoe(1.5, slab=0.8)
    if structure != "horseshoe":
        prior = bg.LogOddsGroups(STRUCTURES[structure], sd=0.7, between=0.9)
    study, _, _ = study_of(rng, constant=True)
    posterior = model_of(prior).sample(study, draws=1000, chains=2, seed=3)
    effects, scales = simulated(prior, rng)
    pairs = list(zip(posterior.posterior[names.EFFECTS].values[..., 0].transpose(2, 0, 1), effects.T, strict=True))
    for name, expected in scales.items():
        got = posterior.posterior[name].values
        got = got[..., None] if got.ndim == 2 else got
        pairs += list(zip(got.transpose(2, 0, 1), expected.T, strict=True))
    from arviz_stats.base import array_stats

    for got, expected in pairs:
        for level in (0.1, 0.5, 0.9):
            below = (got < np.quantile(expected, level)).astype(float)
            error = np.sqrt(level * (1 - level) / array_stats.ess(below, chain_axis=0, draw_axis=1, method="mean"))
            assert below.mean() == pytest.approx(level, abs=4.5 * error)


@pytest.mark.parametrize(("structure", "n_components"), [("overlap", 2), ("two groups and none", 3), ("horseshoe", 2)])
def test_density_is_that_of_the_pymc_model_and_its_gradient_exact(rng, structure, n_components):
    from bayesgmm.inference.graph_density import _unconstrain
    from bayesgmm.inference.pymc_model import build_model, natural_values, scale_values

    prior = bg.LogOddsHorseshoe(1.5, slab=0.8, slab_df=5.0, mean=0.2)
    if structure != "horseshoe":
        prior = bg.LogOddsGroups(STRUCTURES[structure], sd={"x0": 0.5}, mean=0.1, between=0.6)
    study, _, _ = study_of(rng, gap=3.0, n_components=n_components)
    problem = model_of(prior, n_components).problem(study)
    fit = fit_map(problem)
    density = LearnedDensity(problem, fit.parameters)
    model = build_model(problem)
    log_density = model.compile_logp(mode="FAST_COMPILE")
    gaps = []
    for _ in range(5):
        x = rng.standard_normal(density.size)
        value, gradient = density(x)
        steps = 1e-5 * np.eye(density.size)
        differences = [(density(x + s)[0] - density(x - s)[0]) / 2e-5 for s in steps]
        np.testing.assert_allclose(gradient, differences, atol=2e-5 * max(1.0, np.abs(gradient).max()))
        parameters, theta = density.parameters(x), density.theta(x)
        sds = problem.priors.scales.sds(theta) * problem.predictor_unit
        standard = natural_values(problem.arrays, parameters)
        own = problem.arrays.weights_prior
        factor = np.linalg.cholesky(0.5 * (np.eye(n_components - 1) + 1.0))
        z = (parameters.beta - own.effect_mean) / sds[:, None]
        standard["effects_standard"] = np.linalg.solve(factor, z.T).T
        point = {}
        for rv in model.free_RVs:
            if rv.name in standard:
                point[model.rvs_to_values[rv].name] = _unconstrain(rv.name, standard[rv.name])
            else:
                point[model.rvs_to_values[rv].name] = np.log(scale_values(problem.priors.scales, theta)[rv.name])
        # densities of different coordinates of the mixture, the same of the effects and scales
        free = problem.arrays.free(parameters)
        jacobian = (
            problem.arrays.value_and_gradient(free, jacobian=True)[0] - problem.arrays.value_and_gradient(free)[0]
        )
        ours = value - jacobian + parameters.log_pi.sum() - log_jacobian_graph(parameters)
        gaps.append(float(log_density(point)) - ours)
    assert np.ptp(gaps) < 1e-8 * abs(ours)


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["overlap", "horseshoe"])
def test_far_components_have_the_posterior_of_a_logistic_regression(rng, structure):
    import pymc as pm
    import pytensor.tensor as pt

    study, z, x = study_of(rng, n=300, gap=30.0, effects=(0.9, -0.7, 0.2, 0.0))
    prior = bg.LogOddsHorseshoe(1.5) if structure == "horseshoe" else bg.LogOddsGroups(STRUCTURES[structure])
    posterior = model_of(prior).sample(study, draws=3000, chains=2, seed=5)
    with pm.Model():
        if structure == "horseshoe":
            u = x.std(axis=0)
            tau = pm.HalfCauchy("tau", 1.5 / 2.5 * 2.0 / np.sqrt(300))
            c2 = pm.InverseGamma("c2", 2.0, 2.0)
            t = tau * pm.HalfCauchy("local", 1.0, shape=4) / u
            sd = pm.math.sqrt(c2 * t**2 / (c2 + t**2))
        else:
            tau0 = pm.HalfNormal("tau0", 1.0)
            raw = pm.HalfNormal("raw", 1.0, shape=3)
            a, b, c = (tau0 * raw[g] for g in range(3))
            sd = pt.sqrt(pt.stacklists([a**2, a**2 + b**2 + c**2, b**2, b**2]))
        effects = pm.Deterministic("effects", sd * pm.Normal("z", shape=4))
        base = pm.Beta("base", 2.0, 2.0)
        pm.Bernoulli("member", logit_p=pm.math.logit(base) + pm.math.dot(x - x.mean(axis=0), effects), observed=z)
        other = pm.sample(3000, tune=1000, chains=2, random_seed=1, target_accept=0.95, progressbar=False)
    ours = posterior.posterior[names.EFFECTS].values[..., 0].reshape(-1, 4)
    theirs = other["posterior"]["effects"].values.reshape(-1, 4)
    spread = theirs.std(axis=0)
    np.testing.assert_allclose(ours.mean(axis=0), theirs.mean(axis=0), atol=0.1 * spread.max())
    np.testing.assert_allclose(ours.std(axis=0), spread, rtol=0.1)
    quantiles = [0.05, 0.5, 0.95]
    apart = np.quantile(ours, quantiles, axis=0) - np.quantile(theirs, quantiles, axis=0)
    assert (np.abs(apart) < 0.2 * spread).all()


@pytest.fixture(scope="module")
def answered():
    study, _, _ = study_of(np.random.default_rng(4), n=400, effects=(1.2, -1.0, 0.0, 0.0))
    prior = bg.LogOddsGroups({"real": ["x0", "x1"], "none": ["x2", "x3"]})
    fit = model_of(prior).fit(study)
    return fit, model_of(prior).sample(study, init=fit, draws=500, chains=2, seed=1)


def test_groups_with_and_without_effects_are_told_apart(answered, tmp_path):
    fit, posterior = answered
    table = bg.group_scales(posterior).set_index("group")
    assert table.loc["real", "median"] > 3 * table.loc["none", "median"]
    assert table.loc["real", "probability_largest"] > 0.9
    assert (table["moved"] > 0.2).all()
    _, scales = simulated(bg.LogOddsGroups({"real": ["x0", "x1"], "none": ["x2", "x3"]}), np.random.default_rng(0))
    np.testing.assert_allclose(table["prior_median"], np.median(scales[names.GROUP_SCALES], axis=0), rtol=0.03)
    rows = posterior.summary()["parameter"].tolist()
    assert {"group_scales[real]", "between_scale", "effects[x0, 1 vs 0]"} <= set(rows)
    assert "scales given" in set(fit.flags["flag"])
    draws = posterior.posterior
    scales = draws[names.GROUP_SCALES].values
    given = norm.logpdf(draws[names.EFFECTS].values[..., 0], 0.0, scales[..., [0, 0, 1, 1]])
    np.testing.assert_allclose(posterior.tree["log_prior"]["effects"].values, given, rtol=1e-6, atol=1e-6)
    between = draws[names.BETWEEN_SCALE].values
    own = halfnorm.logpdf(between) + halfnorm.logpdf(scales, scale=between[..., None]).sum(axis=-1)
    np.testing.assert_allclose(posterior.tree["log_prior"]["scales"].values, own, rtol=1e-8)
    posterior.save(tmp_path / "p.nc")
    again = bg.read_posterior(tmp_path / "p.nc")
    assert again.problem.priors.table().equals(posterior.problem.priors.table())
    pd.testing.assert_frame_equal(bg.group_scales(again), bg.group_scales(posterior))
    fit.save(tmp_path / "f.nc")
    for kept in (again.map, bg.read_fit(tmp_path / "f.nc")):
        np.testing.assert_allclose(kept.log_posterior, fit.log_posterior)
        assert kept.flags["message"].tolist() == fit.flags["message"].tolist()


def test_fit_is_given_scales_at_the_mode_of_their_posterior(answered):
    """The scales' density times the evidence given them falls on every side of those that the fit was given."""
    fit, posterior = answered
    problem = fit.problem
    scales, at = problem.priors.scales, problem.priors.scales_at

    def height(theta):
        given = dataclasses.replace(problem.priors, effect_sd=scales.sds(theta), scales=None, scales_at=None)
        approx = fit_map(problem.with_resolved(given), init=fit).laplace(2000, seed=1)
        return approx.log_evidence + float(scales.log_density(theta))

    top = height(at)
    for step in 0.4 * np.eye(scales.n_scales):
        assert height(at + step) < top
        assert height(at - step) < top
    spread = posterior.posterior[names.EFFECTS].std((names.CHAIN, names.DRAW))
    apart = posterior.posterior[names.EFFECTS].mean((names.CHAIN, names.DRAW)) - fit.params[names.EFFECTS]
    assert (np.abs(apart) < 0.5 * spread).all()


def test_faces_take_learned_scales(answered):
    fit, posterior = answered
    found = bg.associations(posterior)
    # the density of such a prior at none is infinite, so there is no Savage-Dickey Bayes factor
    assert found["log10_bayes_factor"].isna().all()
    assert found["log_odds_ratio"].notna().all()
    assert bg.associations(fit)["log10_bayes_factor"].isna().all()
    assert len(bg.compare(fit, posterior)) > 0
    assert fit.problem.priors.why_improper() == []
    fit.problem.priors.plot()
    approx = fit.laplace(seed=1)
    assert names.GROUP_SCALES in approx.posterior
    powers = bg.power_scaling(posterior, prior="scales")
    assert np.isfinite(powers["prior"]).all()
    study, model = bg.Study(*_frames_of(fit)), model_of(bg.LogOddsGroups({"real": ["x0", "x1"], "none": ["x2", "x3"]}))
    checks = bg.prior_conflict(model, study, draws=50, base=fit).set_index("quantity")
    # Student-like tails: a log odds ratio of one is within what the prior foretells
    assert checks.loc["effects[x0, 1 vs 0]", "p_value"] > 0.05
    assert checks.loc["effects[x0, 1 vs 0]", "observed"] == pytest.approx(1.2, abs=0.4)
    with pytest.raises(bg.InputError, match="learns its scales"):
        bg.tipping_points(model, study)
    found = bg.sensitivity(model, study, {"effects.between": [0.1, 1.0]}, base=fit)
    spread = np.abs(found["effects"].sel(predictor="x0", summary="estimate").values.ravel())
    assert spread[0] < spread[1]


def _frames_of(fit):
    problem = fit.problem
    x = problem.predictors + problem.predictor_centers
    index = problem.sample_ids
    return pd.DataFrame(problem.traits, index, ["y"]), None, pd.DataFrame(x, index, PREDICTORS)


def test_scale_integrated_out(rng):
    study, _, _ = study_of(rng)
    prior = bg.LogOddsGroups({"a": PREDICTORS[:2]}, sd=1.5, between=0.8)
    pairwise = model_of(prior).problem(study).priors.pairwise_effect(0)
    # on a grid of the logarithms of both scales
    grid = np.linspace(-12.0, 3.0, 1501)
    between, tau = np.exp(grid)[:, None], np.exp(grid)[None]
    terms = norm.pdf(0.7, 0.0, 1.5 * tau) * halfnorm.pdf(tau, scale=between) * halfnorm.pdf(between, scale=0.8)
    exact = (terms * between * tau).sum() * 0.01**2
    assert float(np.exp(pairwise.log_density(0.7))) == pytest.approx(exact, rel=5e-3)
    assert pairwise.log_density(0.0) == np.inf
    # E tau^2 = E tau_0^2 = between^2
    assert pairwise.sd == pytest.approx(1.5 * 0.8, rel=0.01)
    assert pairwise.tail(pairwise.reach(0.9)) == pytest.approx(0.05, rel=1e-6)


def test_prior_mean_away_from_none_has_a_bayes_factor(rng):
    study, _, _ = study_of(rng)
    prior = bg.LogOddsGroups({"a": PREDICTORS[:2]}, mean=0.5)
    table = bg.associations(model_of(prior).fit(study))
    assert np.isfinite(table["log10_bayes_factor"]).all()


def test_global_scale_of_the_horseshoe(rng):
    study, _, x = study_of(rng)
    problem = model_of(bg.LogOddsHorseshoe(1.0)).problem(study)
    scales = problem.priors.scales
    assert scales.global_scale == pytest.approx(1.0 / 3.0 * 2.0 / np.sqrt(120))
    np.testing.assert_allclose(scales.unit, x.std(axis=0))
    # large effects are the slab's, small ones their own
    theta = np.array([0.0, 0.0, 30.0, -30.0, 0.0, 0.0])
    sds = scales.sds(theta)
    assert sds[0] == pytest.approx(1.0)
    assert sds[1] == pytest.approx(scales.global_scale * np.exp(-30.0) / x[:, 1].std())
    shrinkage = scales.variables(theta)[names.SHRINKAGE][1]
    np.testing.assert_allclose(shrinkage, 1.0 / (1.0 + 120 / 4.0 * (x.std(axis=0) * sds) ** 2))
    assert problem.priors.effect_sd == pytest.approx(scales.sds(scales.median))


@pytest.mark.parametrize("prior", [bg.LogOddsGroups({"a": ["x0"], "b": ["x0", "x1"]}), bg.LogOddsHorseshoe(1.0)])
def test_variables_and_theta_are_inverse(rng, prior):
    study, _, _ = study_of(rng)
    scales = model_of(prior).problem(study).priors.scales
    theta = scales.simulate(50)
    variables = {name: values for name, (_, values) in scales.variables(theta).items()}
    np.testing.assert_allclose(scales.theta(variables), theta, rtol=1e-9, atol=1e-9)
    step = 1e-6
    for row in theta[:5]:
        numeric = [
            (scales.log_density(row + s) - scales.log_density(row - s)) / (2 * step) for s in step * np.eye(len(row))
        ]
        np.testing.assert_allclose(scales.gradient(row), numeric, rtol=1e-5, atol=1e-5)


def test_prior_predictive_draws_the_scales(rng):
    study, _, _ = study_of(rng)
    drawn = bg.prior_predictive(model_of(bg.LogOddsGroups({"a": PREDICTORS})), study, draws=4000, seed=1)
    effects = drawn[names.EFFECTS].values[:, :, 0]
    expected, _ = simulated(bg.LogOddsGroups({"a": PREDICTORS}), rng)
    # heavy tails: effects of a group are large together
    assert np.quantile(np.abs(effects), [0.5, 0.9]) == pytest.approx(np.quantile(np.abs(expected), [0.5, 0.9]), rel=0.1)
    large = np.corrcoef(np.abs(effects[:, 0]), np.abs(effects[:, 1]))[0, 1]
    assert large > 0.3


def test_one_component_has_no_scales(rng):
    study, _, _ = study_of(rng)
    problem: Problem = model_of(bg.LogOddsGroups({"a": PREDICTORS}), 1).problem(study)
    assert problem.priors.scales is None


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (lambda: bg.LogOddsGroups({"a": ["x9"]}), "group 'a' names 'x9', which is not a predictor"),
        (lambda: bg.LogOddsGroups({"a": []}), "group 'a' is empty"),
        (lambda: bg.LogOddsGroups({}), "groups is empty"),
        (lambda: bg.LogOddsGroups({"a": "x0"}), "it must be a list"),
        (lambda: bg.LogOddsGroups({"a": ["x0", "x0"]}), "names 'x0' more than once"),
        (lambda: bg.LogOddsGroups({"a": ["x0"]}, between=-1.0), "between = -1.0; it must be above 0"),
        (lambda: bg.LogOddsGroups({"a": ["x0"]}, sd=-1.0), "sd = -1.0; every sd must be above 0"),
        (lambda: bg.LogOddsGroups({"a": ["x0"]}, sd=np.inf), "sd = inf"),
        (lambda: bg.LogOddsHorseshoe(4.0), "with 4 predictors it must be above 0 and below 4"),
        (lambda: bg.LogOddsHorseshoe(0.0), "expected = 0.0"),
        (lambda: bg.LogOddsHorseshoe(1.0, slab=-1.0), "slab = -1.0"),
        (lambda: bg.LogOddsHorseshoe(1.0, slab_df=0.0), "slab_df = 0.0"),
        (lambda: bg.LogOddsHorseshoe(1.0, pseudo_sd=-2.0), "pseudo_sd = -2.0"),
    ],
)
def test_mistakes_are_named(rng, prior, message):
    study, _, _ = study_of(rng)
    with pytest.raises(bg.InputError, match=message.replace("(", r"\(")):
        model_of(prior()).fit(study)


def test_graph_and_other_posteriors_are_refused_in_words(rng, answered, demo_posterior):
    study, _, _ = study_of(rng)
    with pytest.raises(bg.InputError, match="density = 'pymc' does not know scales"):
        model_of(bg.LogOddsHorseshoe(1.0)).sample(study, density="pymc", draws=10, tune=50)
    with pytest.raises(bg.InputError, match="has no groups"):
        bg.group_scales(demo_posterior)
    with pytest.raises(bg.InputError, match="no horseshoe"):
        bg.effective_effects(answered[1])


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.gmt", "up\thttp://x\trs1\trs2\n\n# note\ndown\t\trs2\n", {"up": ["rs1", "rs2"], "down": ["rs2"]}),
        ("a.tsv", "rs1\tG1\nrs2\tG1\nrs1\tG2\n", {"G1": ["rs1", "rs2"], "G2": ["rs1"]}),
        ("a.csv", "gene,variant\nG1,rs1\nG1,rs1\n", {"G1": ["rs1"]}),
        ("a.txt", "rs1 G1\nrs2  G2\n", {"G1": ["rs1"], "G2": ["rs2"]}),
    ],
)
def test_groups_are_read(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    assert bg.read_groups(tmp_path / name) == expected
    assert bg.read_groups(tmp_path / name, predictors=["rs1"]) == {
        group: ["rs1"] for group, members in expected.items() if "rs1" in members
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.gmt", "up\tabout\trs1\nbad line\n", "line 2: 'bad line' is no line of a GMT file"),
        ("a.gmt", "up\tabout\trs1\nup\tabout\trs2\n", "line 2: the group 'up' was on an earlier line"),
        ("a.tsv", "rs1\tG1\nrs2\n", "line 2: 'rs2' has 1 fields"),
        ("a.tsv", "rs1\tG1\tmore\n", "must end in .gmt"),
        ("a.tsv", "\n", "holds no groups"),
    ],
)
def test_bad_files_of_groups_are_named_by_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(bg.InputError, match=message):
        bg.read_groups(tmp_path / name)
    with pytest.raises(bg.InputError, match="no group has a predictor left|" + message):
        bg.read_groups(tmp_path / name, predictors=["rs9"])


def test_cards_describe_learned_scales(tmp_path):
    head = '[card]\nname = "c"\n[model]\nn_components = 2\nweights = "x0 + x1"\n[priors.effects]\n'
    path = tmp_path / "c.toml"
    path.write_text(head + 'family = "groups"\ngroups = { a = ["x0"] }\nbetween = 0.5\n')
    assert bg.Mixture.from_card(path).priors.effects == bg.LogOddsGroups({"a": ["x0"]}, between=0.5)
    path.write_text(head + 'family = "horseshoe"\nexpected = 1\nslab = 2.0\n')
    assert bg.Mixture.from_card(path).priors.effects == bg.LogOddsHorseshoe(1.0, slab=2.0)
    path.write_text(head + 'family = "horseshoe"\n')
    with pytest.raises(bg.InputError, match="the family 'horseshoe' needs expected"):
        bg.Mixture.from_card(path)
