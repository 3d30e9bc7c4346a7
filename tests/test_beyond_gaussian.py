"""Noise, a spike and Student-t components: densities against scipy, gradients, ascent, engines, files, real data."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, multivariate_t

import bayesgmm as bg
from bayesgmm.core.vectormath import digamma
from tests.test_agreement import gaps_to_pymc

FLAT = bg.Priors.flat()


def people(n, d, seed, *, missing=0.0):
    """Two clusters of heavy tails and some strays."""
    rng = np.random.default_rng(seed)
    z = rng.random(n) < 0.4
    y = rng.standard_t(4, (n, d)) * 0.7 + 5.0 * z[:, None]
    y[: n // 12] = rng.uniform(-12, 16, (n // 12, d))
    if missing:
        y[rng.random((n, d)) < missing] = np.nan
    return y[~np.isnan(y).all(axis=1)], z


def spiked_study(n=400, seed=3, d=1):
    """A spike at 7 whose weight depends on rs1, as that of the higher component does."""
    rng = np.random.default_rng(seed)
    ids = [f"p{i}" for i in range(n)]
    g = rng.binomial(2, 0.4, n)
    eta = np.stack([np.zeros(n), -0.5 + 0.8 * g, -1.0 + 1.2 * g], axis=1)
    w = np.exp(eta - logsumexp(eta, axis=1, keepdims=True))
    z = (rng.random(n)[:, None] > w.cumsum(axis=1)[:, :-1]).sum(axis=1)
    y = np.where(z[:, None] == 2, 7.0, rng.normal(0, 1, (n, d)) + 4.0 * (z[:, None] == 1))
    traits = pd.DataFrame(y, index=ids, columns=[f"t{j}" for j in range(d)])
    return bg.Study(traits=traits, genotypes=pd.DataFrame({"rs1": g}, index=ids)), z


def naive_log_density(fit, traits):
    """Log density (m,) of new people by scipy, from the labelled parameters; no predictors."""
    problem, p = fit.problem, fit.params
    df = fit.parameters.df
    out = np.empty(len(traits))
    for i, y in enumerate(traits):
        seen = ~np.isnan(y)
        terms = []
        spike = problem.fixed.spike
        at_spike = spike is not None and (y[seen] == spike[seen]).all()
        for k, label in enumerate(problem.component_labels):
            log_weight = np.log(p["weights"].values[k])
            mean = p["means"].values[k][seen]
            cov = p["covariances"].values[k][np.ix_(seen, seen)]
            if label == "spike":
                terms.append(log_weight if at_spike else -np.inf)
            elif at_spike:
                terms.append(-np.inf)
            elif label == "noise":
                box = problem.fixed.noise
                terms.append(log_weight - np.log(box.volume if seen.all() else np.prod(box.along[seen])))
            elif len(df):
                terms.append(log_weight + multivariate_t(mean, cov, df[k]).logpdf(y[seen]))
            else:
                terms.append(log_weight + multivariate_normal(mean, cov).logpdf(y[seen]))
        out[i] = logsumexp(terms)
    return out


@given(st.floats(1e-3, 1e7))
@settings(max_examples=200, deadline=None)
def test_digamma_is_scipys(x):
    from scipy.special import digamma as truth

    assert digamma(x) == pytest.approx(float(truth(x)), rel=1e-13, abs=1e-13)


@pytest.mark.parametrize(("d", "missing"), [(1, 0.0), (2, 0.0), (2, 0.15)])
@pytest.mark.parametrize("df", [None, 3.0, "each", "shared"])
@pytest.mark.parametrize("noise", [False, True])
def test_likelihood_is_scipys_and_the_gradient_is_its_derivative(d, df, noise, missing):
    y, _ = people(250, d, 5, missing=missing)
    fit = bg.Mixture(2, df=df, noise=noise, compress=False).fit(y, seed=1, restarts=4)
    assert fit.converged
    assert np.diff(fit.history.values).min() >= 0.0
    truth = naive_log_density(fit, y)
    assert fit.log_likelihood == pytest.approx(truth.sum(), rel=1e-11)
    np.testing.assert_allclose(fit.score_samples(y).values, truth, rtol=1e-9)
    arrays, rng = fit.problem.arrays, np.random.default_rng(1)
    x = arrays.free(fit.parameters) + 0.1 * rng.standard_normal(arrays.n_free)
    _, gradient = arrays.value_and_gradient(x)
    step = 1e-5
    numeric = [
        (arrays.value_and_gradient(x + h)[0] - arrays.value_and_gradient(x - h)[0]) / (2 * step)
        for h in step * np.eye(len(x))
    ]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-6 * np.abs(gradient).max())


def test_noise_row_of_mclust(reference_dir):
    reference = json.loads((reference_dir / "mclust" / "noise_component_VVV2.json").read_text())
    y = pd.read_csv(reference_dir / "data" / reference["data"])
    fit = bg.Mixture(2, noise=True, priors=FLAT).fit(bg.Study(traits=y), seed=1)
    assert fit.problem.fixed.noise.volume == pytest.approx(reference["hypvol"], rel=1e-12)
    assert fit.log_likelihood == pytest.approx(reference["loglik"], abs=1e-8)
    assert sorted(fit.params["weights"].values) == pytest.approx(sorted(reference["pro"]), abs=1e-6)
    labels = np.zeros(len(y), dtype=int)
    labels[np.array(reference["initial_noise_rows_1based"]) - 1] = 2
    labels[(labels == 0) & (y.iloc[:, 0] > 0)] = 1
    assert bg.Mixture(2, noise=True, priors=FLAT).fit(y, init=labels).log_likelihood == pytest.approx(
        reference["loglik"], abs=1e-8
    )


@pytest.mark.parametrize("family", ["EII", "VII", "EEI", "VVI", "EEE", "VEE", "EVE", "VEV", "EVV"])
def test_every_family_with_student_t_components_noise_and_spike(family):
    y, _ = people(200, 2, 8)
    y[-20:] = 20.0
    fit = bg.Mixture(2, family, df="shared", noise=True, spike=20.0).fit(y, seed=1, restarts=4)
    assert fit.converged, fit.reason
    assert fit.gradient_norm < 1e-3
    assert fit.params.sizes["component"] == 4
    assert fit.log_likelihood == pytest.approx(naive_log_density(fit, y).sum(), rel=1e-10)
    assert (fit.responsibilities.values[-20:] == [0, 0, 0, 1]).all()


def test_a_spike_splits_the_likelihood_in_two_parts():
    study, _ = spiked_study()
    y = study.trait_values[:, 0]
    fit = bg.Mixture(2, weights="rs1", spike=7.0).fit(study, seed=1)
    assert fit.problem.contrasts == ("1 vs 0", "spike vs 0")
    assert fit.responsibilities.values[y == 7.0, 2].min() == 1.0
    assert fit.responsibilities.values[y != 7.0, 2].max() < 1e-300
    # the part of who is at the spike is a logistic regression of its own when the other effects are put aside
    flat = bg.Mixture(1, weights="rs1", spike=7.0, priors=FLAT).fit(study, seed=1)
    g = study.dataset["dosages"].values[:, 0].astype(float)
    x, at = np.stack([np.ones(len(g)), g - g.mean()], axis=1), (y == 7.0).astype(float)
    b = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ b))
        b += np.linalg.solve((x.T * (p * (1 - p))) @ x, x.T @ (at - p))
    p = 1 / (1 + np.exp(-x @ b))
    assert float(flat.params["effects"].values[0, 0]) == pytest.approx(b[1], abs=1e-7)
    rest = y[y != 7.0]
    normal = -0.5 * len(rest) * (np.log(2 * np.pi * rest.var()) + 1)
    assert flat.log_likelihood == pytest.approx((at * np.log(p) + (1 - at) * np.log1p(-p)).sum() + normal, abs=1e-7)
    # the prior's defaults are those of the people elsewhere
    assert flat.problem.centre[0] == pytest.approx(rest.mean(), rel=1e-12)


@pytest.mark.parametrize("compress", [True, False])
def test_compression_and_weights_change_nothing(compress):
    study, _ = spiked_study(200)
    y = study.trait_values.round(1)
    twice = bg.Study(
        traits=pd.DataFrame(np.vstack([y, y]), columns=["t0"], index=[f"p{i}" for i in range(400)]),
        genotypes=pd.DataFrame(
            {"rs1": np.tile(study.dataset["dosages"].values[:, 0], 2)}, index=[f"p{i}" for i in range(400)]
        ),
    )
    once = bg.Study(
        traits=pd.DataFrame(y, columns=["t0"], index=[f"p{i}" for i in range(200)]),
        genotypes=pd.DataFrame({"rs1": study.dataset["dosages"].values[:, 0]}, index=[f"p{i}" for i in range(200)]),
    )
    prior = bg.Priors(components=bg.NormalInverseWishart(mean=[1.0], scale=1.0))
    model = bg.Mixture(2, weights="rs1", spike=7.0, noise=True, df=5.0, compress=compress, priors=prior)
    a = model.fit(twice, seed=1)
    b = model.fit(once, seed=1, sample_weight=np.full(200, 2.0))
    assert a.log_posterior == pytest.approx(b.log_posterior, abs=1e-6)
    np.testing.assert_allclose(a.params["effects"].values, b.params["effects"].values, atol=1e-4)


@pytest.mark.parametrize("continuous", [False, True])
def test_every_option_together_has_an_exact_gradient(continuous):
    """Missing genotypes and traits, a covariate of the means, weights, noise, spike, tails; patterns shared or own."""
    rng = np.random.default_rng(12)
    n = 300
    ids = [f"p{i}" for i in range(n)]
    y, _ = people(n, 2, 12, missing=0.0)
    y[:40] = 25.0
    y[50:80, 0] = np.nan
    y[:5, 1] = np.nan
    g = rng.binomial(2, 0.3, n).astype(float)
    g[::9] = np.nan
    table = {"age": rng.normal(50, 10, n), "x": rng.normal(size=n)}
    study = bg.Study(
        traits=pd.DataFrame(y, index=ids, columns=["a", "b"]),
        genotypes=pd.DataFrame({"rs1": g}, index=ids),
        covariates=pd.DataFrame(table, index=ids),
    )
    formula = "rs1 + x" if continuous else "rs1"
    model = bg.Mixture(2, "VVI", weights=formula, means="age", noise=True, spike=25.0, df="each")
    weight = rng.integers(1, 4, n).astype(float)
    fit = model.fit(study, seed=1, restarts=4, sample_weight=weight)
    assert fit.converged
    assert np.diff(fit.history.values).min() >= 0.0
    assert (fit.responsibilities.values[:40, 3] == 1.0).all()
    arrays = fit.problem.arrays
    x = arrays.free(fit.parameters) + 0.05 * rng.standard_normal(arrays.n_free)
    _, gradient = arrays.value_and_gradient(x)
    step = 1e-5
    numeric = [
        (arrays.value_and_gradient(x + h)[0] - arrays.value_and_gradient(x - h)[0]) / (2 * step)
        for h in step * np.eye(len(x))
    ]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=2e-6 * np.abs(gradient).max())
    # the fit's own people scored as new ones have the log likelihood that was climbed
    assert weight @ fit.score_samples(study).values == pytest.approx(fit.log_likelihood, rel=1e-10)


def test_student_t_with_many_degrees_of_freedom_is_gaussian():
    y, _ = people(300, 2, 2)
    gaussian = bg.Mixture(2).fit(y, seed=1)
    almost = bg.Mixture(2, df=1e7).fit(y, init=gaussian.responsibilities.values)
    assert almost.log_likelihood == pytest.approx(gaussian.log_likelihood, abs=1e-3)


def test_estimated_tails_find_the_truth_and_beat_gaussians():
    rng = np.random.default_rng(4)
    y = np.concatenate([rng.standard_t(3, 3000), 9 + rng.standard_t(12, 3000)])
    fit = bg.Mixture(2, df="each").fit(y, seed=1)
    assert fit.params["df"].values[0] == pytest.approx(3.0, rel=0.25)
    assert 6 < fit.params["df"].values[1] < 30
    assert fit.bic < bg.Mixture(2).fit(y, seed=1).bic - 100
    errors = fit.standard_errors["df"].values
    assert (errors > 0.05).all()


def test_predictors_act_on_noise():
    rng = np.random.default_rng(6)
    n = 1500
    g = rng.binomial(2, 0.5, n)
    noisy = rng.random(n) < np.array([0.05, 0.15, 0.4])[g]
    y = np.where(noisy, rng.uniform(-10, 10, n), rng.normal(0, 0.5, n))
    study = bg.Study(traits=pd.DataFrame({"t": y}), genotypes=pd.DataFrame({"rs1": g}))
    fit = bg.Mixture(1, weights="rs1", noise=True).fit(study, seed=1)
    effect, error = float(fit.params["effects"].values[0, 0]), float(fit.standard_errors["effects"].values[0, 0])
    truth = np.polyfit([0, 1, 2], np.log(np.array([0.05, 0.15, 0.4]) / (1 - np.array([0.05, 0.15, 0.4]))), 1)[0]
    assert abs(effect - truth) < 4 * error
    assert fit.problem.contrasts == ("noise vs 0",)


def test_engines_agree_and_files_keep_everything(tmp_path):
    study, z = spiked_study(500, seed=9)
    model = bg.Mixture(2, weights="rs1", spike=7.0, noise=True, df="shared")
    fit = model.fit(study, seed=1)
    approx = fit.laplace(2000, seed=1)
    post = model.sample(study, init=fit, draws=400, tune=300, chains=2, seed=1)
    table = bg.compare(fit, approx, post)
    assert not table["parameter"].str.contains(r"means\[3|means\[2").any()
    mean = post.posterior["effects"].mean(("chain", "draw")).values
    sd = post.posterior["effects"].std(("chain", "draw")).values
    assert (np.abs(mean - fit.params["effects"].values) < sd).all()
    assert (post.posterior["df"].values > 0).all()
    assert {"1 vs 0", "noise vs 0", "spike vs 0"} == set(bg.associations(post)["contrast"])
    fit.save(tmp_path / "fit.nc")
    again = bg.read_fit(tmp_path / "fit.nc")
    assert again.log_posterior == pytest.approx(fit.log_posterior, abs=1e-8)
    np.testing.assert_allclose(again.responsibilities.values, fit.responsibilities.values, atol=1e-12)
    post.save(tmp_path / "post.nc")
    assert bg.read_posterior(tmp_path / "post.nc").map.log_posterior == pytest.approx(fit.log_posterior, abs=1e-8)
    new = fit.simulate(4000, seed=1)
    share = (new["t0"] == 7.0).mean()
    assert share == pytest.approx((z == 2).mean(), abs=0.03)
    assert (fit.predict([[7.0], [0.1]], np.array([[0.0], [1.0]])).values == [3, 0]).all()


@pytest.mark.parametrize("extra", [{"df": "each"}, {"df": 4.0, "noise": True}, {"spike": 7.0, "df": "shared"}])
def test_pymc_graph_is_the_same_density(extra):
    study, _ = spiked_study(200, seed=2)
    fit = bg.Mixture(2, weights="rs1", **extra).fit(study, seed=1)
    arrays, rng = fit.problem.arrays, np.random.default_rng(0)
    free = arrays.free(fit.parameters)
    points = [arrays.of_free(free + 0.3 * rng.standard_normal(len(free)), fit.parameters) for _ in range(5)]
    gaps, scale = gaps_to_pymc(fit.problem, points)
    assert np.ptp(gaps) < 1e-8 * scale


@pytest.mark.slow
def test_sampling_the_graph_is_sampling_the_kernel():
    from bayesgmm.inference.graph_density import GraphDensity

    study, _ = spiked_study(200, seed=2)
    fit = bg.Mixture(2, weights="rs1", spike=7.0, noise=True, df="shared").fit(study, seed=1)
    graph = GraphDensity(fit.problem.arrays, fit.parameters)
    x = 0.3 * np.random.default_rng(1).standard_normal(graph.size)
    back = graph.parameters(x)
    value, gradient = graph(x)
    step = 1e-5
    numeric = [(graph(x + h)[0] - graph(x - h)[0]) / (2 * step) for h in step * np.eye(len(x))]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-5)
    assert np.isfinite(value)
    assert back.df.shape == (2,)
    assert back.df[0] == back.df[1]


def test_noise_and_spike_are_named_and_not_counted_as_components():
    study, _ = spiked_study(n=200)
    found = bg.select(study, 2, model=bg.Mixture(1, weights="rs1", spike=7.0), seed=1)
    assert found.verdict.startswith("2 components beside spike (V), by BIC")
    assert repr(found.best.laplace(seed=1)).startswith("LaplacePosterior: 2 components and spike of t0, ")
    alone = bg.Mixture(1, noise=True).fit(study, seed=1)
    assert bg.plots.plot_density(alone).axes[0].get_title() == "t0: 1 component and noise"
    assert "(1 component and noise, 200 people looked at)" in repr(bg.check_fit(alone, draws=60, seed=1))


def test_noise_that_holds_many_is_flagged():
    rng = np.random.default_rng(1)
    few, many = (
        np.where(rng.random(500) < share, rng.uniform(-6, 6, 500), rng.normal(size=500)) for share in (0.1, 0.5)
    )
    assert "much noise" not in set(bg.Mixture(1, noise=True).fit(few, seed=1).flags["flag"])
    flags = bg.Mixture(1, noise=True).fit(many, seed=1).flags.set_index("flag")
    assert "too many to be strays; compare one more component" in flags.loc["much noise", "message"]


def test_every_table_names_noise_and_spike(tmp_path):
    study, _ = spiked_study()
    model = bg.Mixture(1, noise=True, spike=7.0, weights="rs1")
    fit = model.fit(study, seed=1)
    quick = fit.laplace(draws=400, seed=1)
    boot = bg.bootstrap(fit, draws=20, seed=1)
    settings = bg.sensitivity(model, study, {"effects.sd": [0.5, 1.0]}, base=fit)
    wanted = ["weights[0]", "weights[noise]", "weights[spike]"]
    for column in (
        fit.summary()["parameter"],
        quick.summary()["parameter"],
        bg.compare(fit, quick)["parameter"],
        bg.standard_errors(fit, "sandwich")["quantity"],
        boot.table()["quantity"],
    ):
        assert [name for name in column if name.startswith("weights")] == wanted
    derived = bg.standard_errors(fit, quantity=lambda p: p["weights"])
    assert derived["quantity"].tolist() == ["quantity[0]", "quantity[noise]", "quantity[spike]"]
    for table in (bg.penetrance(fit), bg.enrichment(quick, study), fit.simulate(2000, seed=1), fit.assign()):
        assert set(table["component"]) == {0, "noise", "spike"}
    assert bg.sensitivity_table(settings, "weights")["component"].tolist() == 2 * [0, "noise", "spike"]
    assert "noise" in repr(bg.combine(fit))
    # what is named is a start again, by name and in a file
    assert model.fit(study, init=fit.assign()["component"], seed=1).log_posterior == pytest.approx(fit.log_posterior)
    quick.save(tmp_path / "quick.nc")
    again = bg.read_posterior(tmp_path / "quick.nc")
    assert again.posterior["component"].values.tolist() == fit.params["component"].values.tolist()
    pd.testing.assert_frame_equal(again.summary(), quick.summary())


def test_arviz_has_noise_and_spike_by_name():
    from arviz_stats import summary

    study, _ = spiked_study()
    quick = bg.Mixture(1, noise=True, spike=7.0).fit(study, seed=1).laplace(draws=200, seed=1)
    with np.errstate(invalid="ignore"):
        rows = summary(quick.tree, var_names=["weights", "means"]).index
    assert rows.tolist() == [
        *("weights[0]", "weights[noise]", "weights[spike]"),
        *("means[0, t0]", "means[noise, t0]", "means[spike, t0]"),
    ]


def test_imputation_of_noise_spike_and_tails():
    y, _ = people(400, 2, 11)
    y[-30:] = 20.0
    y[:60, 1] = np.nan
    fit = bg.Mixture(2, df=5.0, noise=True, spike=20.0).fit(y, seed=1)
    filled = fit.impute()
    assert not np.isnan(filled.values).any()
    drawn = fit.impute(draws=200, seed=1)
    gap = drawn.mean("draw").values[:60, 1] - filled.values[:60, 1]
    assert np.abs(gap / drawn.std("draw").values[:60, 1]).max() < 0.5


@pytest.mark.parametrize("beyond", [{"noise": True}, {"spike": 7.0, "df": "each"}, {"spike": 7.0, "df": "shared"}])
def test_superfluous_components_die_beside_noise_and_spike(beyond, tmp_path):
    study, _ = spiked_study(400, seed=9)
    prior = bg.Priors(weights=bg.Dirichlet(0.05))
    fit = bg.Mixture(4, weights="rs1", priors=prior, **beyond).fit(study, seed=1, restarts=4)
    assert fit.n_emptied >= 1
    assert fit.problem.component_labels[-1] in ("noise", "spike")
    assert len(fit.survivors) > 1
    assert len(fit.parameters.df) == (fit.problem.n_located if "df" in beyond else 0)
    fit.save(tmp_path / "fit.nc")
    assert bg.read_fit(tmp_path / "fit.nc").log_posterior == pytest.approx(fit.log_posterior, abs=1e-8)


def test_a_component_that_is_one_value_is_told_whatever_its_width():
    rng = np.random.default_rng(5)
    y = np.concatenate([np.zeros(155), rng.normal(3, 1, 345)])
    for k in (2, 3):
        fit = bg.Mixture(k).fit(y, seed=1)
        told = fit.flags.loc[fit.flags["flag"] == "spike", "message"]
        assert len(told) == 1
        assert f"Mixture({k - 1}, spike=0.0)" in told.iloc[0]
    assert "spike=0.0" in bg.check_fit(fit, draws=100, seed=1).verdict["trait0"]
    # rounding repeats values everywhere, and is none
    rounded = bg.Mixture(2).fit(np.concatenate([rng.normal(0, 1, 300), rng.normal(4, 1, 200)]).round(1), seed=1)
    assert not (rounded.flags["flag"] == "spike").any()


def test_a_spike_is_given_by_six_digits():
    y = np.concatenate([np.full(30, np.log2(264.0)), np.random.default_rng(1).normal(6, 0.4, 90)])
    assert bg.Mixture(1, spike=8.04439).fit(y).problem.fixed.spike[0] == np.log2(264.0)
    with pytest.raises(bg.InputError, match="nobody has this value"):
        bg.Mixture(1, spike=8.04).fit(y)


def test_the_volume_of_noise_is_a_parameter_unless_it_is_given():
    y, _ = people(100, 2, 1)
    free = bg.Mixture(2, noise=True, priors=FLAT).fit(y, seed=1)
    assert free.n_parameters == 13  # as mclust's nMclustParams("VVV", 2, 2, noise = TRUE)
    volume = free.problem.fixed.noise.volume
    given = bg.Mixture(2, noise=volume, priors=FLAT).fit(y, seed=1)
    assert given.n_parameters == 12
    assert given.log_likelihood == pytest.approx(free.log_likelihood, abs=1e-6)


def test_bad_input_is_told():
    y = np.arange(20.0)
    for arguments, message in (
        ({"noise": -1.0}, "noise = -1.0; it must be True, False, or the volume"),
        ({"spike": np.nan}, "spike = nan; it must be a finite number"),
        ({"spike": "zero"}, "spike = 'zero'"),
        ({"df": 0.0}, "df = 0.0; it must be a number above 0"),
        ({"df": 1e12}, "df = 1000000000000.0; it must be at most"),
        ({"df": "all"}, "df = 'all'"),
    ):
        with pytest.raises(bg.InputError, match=message):
            bg.Mixture(2, **arguments)
    with pytest.raises(bg.InputError, match="nobody has this value"):
        bg.Mixture(2, spike=0.5).fit(y)
    with pytest.raises(bg.InputError, match="spike has 2 values for 1 traits"):
        bg.Mixture(2, spike=[0.0, 1.0]).fit(y)
    with pytest.raises(bg.InputError, match="df prior: rate = 0"):
        bg.Mixture(2, df="each", priors=bg.Priors(df=bg.DfGamma(rate=0.0))).fit(y)
    with pytest.raises(bg.InputError, match="other than the spike"):
        bg.Mixture(3, spike=0.0).fit(np.array([0.0] * 10 + [1.0, 2.0]))


def test_survivors_of_listeria_need_no_trick(listeria):
    """The mice that lived are a component of their own, and the markers act on who is among them."""
    y = listeria.trait_values[:, 0]
    most = np.nanmax(y)
    fit = bg.Mixture(1, weights="D13M147", spike=float(most)).fit(listeria, seed=1)
    at = np.nansum(y == most)
    assert float((fit.responsibilities.values[fit.problem.people, -1] == 1.0).sum()) == at
    assert fit.converged
    assert abs(float(fit.params["effects"].values[0, 0])) > 3 * float(fit.standard_errors["effects"].values[0, 0]) / 2


def test_a_fit_of_another_kind_is_a_start_and_nothing_more():
    """Noise and a spike count as components, and tails are no parameter that a start may bring along."""
    rng = np.random.default_rng(9)
    y = np.concatenate([rng.normal(0, 1, 70), rng.normal(5, 1, 50), rng.uniform(-8, 14, 10), np.full(6, -4.0)])
    kinds = (
        bg.Mixture(3),
        bg.Mixture(3, df=4.0),
        bg.Mixture(3, df="each"),
        bg.Mixture(3, df="shared"),
        bg.Mixture(2, noise=True),
        bg.Mixture(2, noise=True, df=3.0),
        bg.Mixture(2, spike=-4.0),
        bg.Mixture(1, noise=True, spike=-4.0),
    )
    fits = [mixture.fit(y, seed=1) for mixture in kinds]
    for mixture, own in zip(kinds, fits, strict=True):
        for other in fits:
            fit = mixture.fit(y, init=other)
            assert len(fit.parameters.means) == own.problem.n_located
            assert fit.parameters.n_df == own.parameters.n_df
            if mixture.df is None or isinstance(mixture.df, float):
                np.testing.assert_array_equal(fit.parameters.df, own.parameters.df)
            # a mode of this model's own density: a start from its memberships alone goes back to it
            again = mixture.fit(y, init=fit.responsibilities.values)
            assert again.log_posterior == pytest.approx(fit.log_posterior, abs=1e-5)
    with pytest.raises(bg.InputError, match="degrees of freedom"):
        kinds[0].sample(y, init=fits[1], draws=100, tune=100)
    with pytest.raises(bg.InputError, match="another model"):
        kinds[0].sample(y, init=fits[4], draws=100, tune=100)
    assert kinds[0].variational(y, init=fits[1]).map.problem.df is None


@pytest.mark.parametrize("beyond", [{"noise": True}, {"noise": True, "spike": -4.0}])
def test_noise_may_be_half_of_everybody(beyond):
    """One component and noise have a mode a hump; from no start that sees few people as noise is the higher reached."""
    rng = np.random.default_rng(9)
    y = np.concatenate([rng.normal(0, 1, 70), rng.normal(5, 1, 50), rng.uniform(-8, 14, 10), np.full(6, -4.0)])
    mixture = bg.Mixture(1, **beyond)
    inside = np.abs(y) < 2.5
    r = np.zeros((len(y), mixture.n_all))
    r[inside, 0] = r[~inside, 1] = 1.0
    best = mixture.fit(y, init=r)
    fit = mixture.fit(y, seed=1)
    assert fit.log_posterior >= best.log_posterior - 1e-6
    assert fit.params["weights"].values[1] > 0.5


def test_noise_is_told_from_a_spike_without_people():
    """Starts are screened on a part of the people, who may have nobody at the spike: that is no noise for it."""
    from bayesgmm.core.sample import has_noise
    from bayesgmm.core.starts import spread_over

    y = np.concatenate([np.random.default_rng(2).normal(size=50), [7.0]])
    for beyond, noise in (({"spike": 7.0}, False), ({"noise": True}, True), ({"noise": True, "spike": 7.0}, True)):
        assert has_noise(bg.Mixture(1, **beyond).fit(y).problem.arrays.sample) is noise
    arrays = bg.Mixture(1, spike=7.0).fit(y).problem.arrays
    some = arrays.sample._replace(
        starts=np.array([0, 50]), n_observed=np.array([1]), observed=np.zeros((1, 1), np.int32),
        fixed=arrays.sample.fixed[arrays.sample.n_observed > 0], pattern=arrays.sample.pattern[:50],
    )  # fmt: skip
    r = spread_over(arrays.of_sample(some), np.zeros((1, 50)), np.zeros(50, np.int64), 0)
    np.testing.assert_array_equal(r, np.tile([1.0, 0.0], (50, 1)))
