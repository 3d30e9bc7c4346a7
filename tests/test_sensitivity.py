"""Sensitivity studies against fits done one by one, identities of evidence, and exact cases."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numba.core import event
from scipy.stats import gaussian_kde, invwishart

import bayesgmm as bg
from bayesgmm import names
from bayesgmm.analysis.settings import Settings
from bayesgmm.analysis.summaries import of_draws
from bayesgmm.analysis.tipping import unopposed_effects
from bayesgmm.inference.prior_draws import draw_prior
from bayesgmm.simulate import simulate_study


@pytest.fixture(scope="module")
def made():
    return simulate_study(
        600, allele_frequencies=[0.3, 0.4], weights=(0.6, 0.4), means=((0.0,), (3.0,)), effects=[[0.6], [0.0]], seed=5
    ).study


@pytest.fixture(scope="module")
def model(made):
    return bg.Mixture(2, weights=" + ".join(made.variant_names))


@pytest.fixture(scope="module")
def fit(model, made):
    return model.fit(made, seed=1)


GRID = {"effects.sd": [0.05, 0.3, 2.0], "weights.concentration": [1.0, 20.0]}


def test_map_study_equals_fits_done_one_by_one(made, model, fit):
    found = bg.sensitivity(model, made, GRID, base=fit, bayes_factors=True)
    assert found.sizes["effects.sd"] == 3
    assert bool(found["converged"].all())
    for sd in GRID["effects.sd"]:
        for a in GRID["weights.concentration"]:
            priors = bg.Priors(weights=bg.Dirichlet(a), effects=bg.LogOddsNormal(sd=sd))
            cold = bg.Mixture(2, weights=model.weights, priors=priors).fit(made, seed=3)
            here = found.sel({"effects.sd": sd, "weights.concentration": a})
            assert float(here["log_posterior"]) == pytest.approx(cold.log_posterior, abs=1e-6)
            for name in (names.WEIGHTS, names.MEANS, names.EFFECTS):
                assert np.allclose(here[name].sel(summary="estimate"), cold.params[name], atol=1e-4)
                assert np.allclose(here[name].sel(summary="sd"), cold.standard_errors[name], rtol=1e-3)
            table = bg.associations(cold)
            assert np.allclose(here[names.EFFECTS].sel(summary="upper").values.ravel(), table["upper"], atol=1e-3)
            assert np.allclose(here["log10_bayes_factor"].values.ravel(), table["log10_bayes_factor"], atol=1e-3)
            same = (cold.assign()["component"] == fit.assign()["component"]).mean()
            assert float(here["classification"]) == pytest.approx(same)


@pytest.mark.parametrize("variant", [0, 1])
def test_bayes_factor_is_the_ratio_of_evidences(made, variant):
    """Savage-Dickey, six sds away and near, against the evidence of the model without the predictor."""
    one = bg.Mixture(2, weights=made.variant_names[variant])
    grid = {"effects.sd": [0.2, 1.0, 5.0]}
    found = bg.sensitivity(one, made, grid, engine="laplace", draws=8000)
    without = bg.Mixture(2).fit(made, seed=1).laplace(8000)
    difference = (found["log_evidence"].values - without.log_evidence) / np.log(10.0)
    assert (found["pareto_k"] < 0.7).all()
    assert np.allclose(difference, found["log10_bayes_factor"].values.ravel(), atol=0.05)
    by_modes = bg.sensitivity(one, made, grid, bayes_factors=True)["log10_bayes_factor"].values.ravel()
    assert np.allclose(difference, by_modes, atol=0.02)
    assert "log10_bayes_factor" not in bg.sensitivity(one, made, grid)


def test_bayes_factor_of_another_reference_under_heavy_tails(made):
    model = bg.Mixture(
        2, weights=made.variant_names[1], reference=1, priors=bg.Priors(effects=bg.LogOddsStudentT(0.3, df=3))
    )
    fit = model.fit(made, seed=1)
    row = bg.associations(fit).iloc[0]
    draws = fit.laplace(20_000).posterior["effects"].values.ravel()
    prior = fit.problem.priors.pairwise_effect(0).log_density(0.0)
    expected = (prior - np.log(gaussian_kde(draws)(0.0)[0])) / np.log(10.0)
    assert row["log10_bayes_factor"] == pytest.approx(expected, abs=0.05)


def test_sampled_study_samples_once_and_reweights_where_it_may(made, model, fit):
    grid = {"effects.sd": [0.8, 1.0, 1.3, 0.05]}
    posterior = model.sample(made, init=fit, seed=2, chains=2, log_likelihood=False)
    with event.install_recorder("numba:compile") as compilations:
        found = bg.sensitivity(model, made, grid, engine="nuts", base=posterior, chains=2, seed=2)
    assert len(compilations.buffer) == 0
    how = found["how"].values.tolist()
    assert how[:3] == ["reweighted from the model's own priors"] * 3
    assert how[3] == "sampled"
    assert found.attrs["n_sampled"] == 2
    again = bg.sensitivity(model, made, grid, engine="nuts", base=posterior, chains=2, seed=3, reweight=False)
    assert again["how"].values.tolist() == ["sampled"] * 4
    sd = again[names.EFFECTS].sel(summary="sd")
    assert (np.abs(found[names.EFFECTS] - again[names.EFFECTS]).max("summary") < 0.3 * sd).all()
    # nothing is reweighted at the base itself
    own = posterior.posterior[names.EFFECTS].mean(("chain", "draw"))
    assert np.allclose(found[names.EFFECTS].sel({"effects.sd": 1.0, "summary": "estimate"}), own)


def test_one_components_mean_follows_its_prior_exactly(rng):
    y = rng.normal(3.0, 1.0, 50)
    strengths = [0.1, 1.0, 50.0]
    model = bg.Mixture(1, priors=bg.Priors(components=bg.NormalInverseWishart(mean=[0.0])))
    found = bg.sensitivity(model, y, {"components.strength": strengths}, engine="laplace", draws=4000)
    exact = 50 * y.mean() / (50 + np.array(strengths))
    assert np.allclose(found["means"].sel(summary="estimate").values.ravel(), exact, atol=0.01)


def test_whole_priors_lists_of_settings_and_own_quantities(made, model, fit):
    first = made.variant_names[0]
    settings = [
        {"effects": bg.LogOddsNormal(sd=0.5), "components.dof": 3.0},
        {"effects": bg.Flat(), "components.dof": 8.0},
    ]
    gap = {"gap": lambda draws: draws["means"].isel(component=1, trait=0) - draws["means"].isel(component=0, trait=0)}
    found = bg.sensitivity(model, made, settings, base=fit, quantities=gap, bayes_factors=True)
    assert found["effects"].dims[0] == "setting"
    assert "LogOddsNormal(sd=0.5" in str(found.coords["effects_prior"].values[0])
    assert np.allclose(
        found["gap"].sel(summary="estimate"),
        found["means"].sel(summary="estimate", trait="trait0").diff("component").values.ravel(),
    )
    assert np.isnan(found["log10_bayes_factor"].values[1]).all()  # under a flat prior
    only_one = bg.sensitivity(model, made, {f"effects.sd.{first}": [0.01, 1.0]}, base=fit, bayes_factors=True)
    moved = only_one["effects"].sel(summary="estimate").diff(f"effects.sd.{first}")
    assert abs(moved.values.ravel()[0]) > 0.3  # the one that was named
    assert abs(moved.values.ravel()[1]) < 0.05
    table = bg.sensitivity_table(only_one, "odds_ratios")
    assert list(table["predictor"].unique()) == list(made.variant_names)
    assert {"estimate", "lower", "upper", "log10_bayes_factor", "how", f"effects.sd.{first}"} <= set(table)


def test_the_weight_of_one_component_is_known_and_one_draw_has_no_density(made, model, fit, rng):
    one = bg.sensitivity(bg.Mixture(1), rng.normal(size=40), {"components.strength": [0.1]})
    assert one["weights"].values.ravel().tolist() == [1.0, 0.0, 1.0, 1.0]
    draws = fit.normal_draws(50, seed=1)
    alone = np.zeros(50)
    alone[7] = 1.0
    told = of_draws(fit.problem, draws, alone, 0.95, {})
    assert np.allclose(told["effects"][1][..., 0], draws["effects"].values[0, 7])
    assert np.isfinite(told["effects_density"][1]).all()


def test_study_survives_files(tmp_path, made, model, fit):
    import xarray as xr

    found = bg.sensitivity(model, made, GRID, base=fit)
    found.to_netcdf(tmp_path / "study.nc", engine="h5netcdf")
    read = xr.load_dataset(tmp_path / "study.nc", engine="h5netcdf")
    assert np.array_equal(read["effects"], found["effects"])
    assert bg.sensitivity_table(read).equals(bg.sensitivity_table(found))


@pytest.mark.parametrize(
    ("grid", "options", "match"),
    [
        ({}, {}, "grid"),
        ({"effects.sd": []}, {}, "grid"),
        ({"effect.sd": [1.0]}, {}, "effects"),
        ({"effects.scale": [1.0]}, {}, "LogOddsNormal, which has sd, mean"),
        ({"effects.sd": [0.0]}, {}, "sd"),
        ({"effects.sd.rs9": [1.0]}, {}, "rs9"),
        ([{"effects.sd": 1.0}, 3], {}, "a list of settings"),
        ({"effects.sd": [1.0]}, {"seed": -1}, "seed"),
        ({"effects.sd": [1.0]}, {"engine": "laplace", "draws": 0}, "draws"),
        ({"effects.sd": [1.0]}, {"engine": "gibbs"}, "engine"),
        ({"effects.sd": [1.0]}, {"level": 1.0}, "level"),
        ({"effects.sd": [1.0]}, {"chains": 2}, "chains"),
        ({"weights.concentration": [0.5]}, {}, "concentration"),
        ({"effects": [bg.Flat()]}, {"engine": "laplace"}, "flat"),
        ({"effects.sd": 1.0}, {}, "grid"),
        ({"effects.sd": "0.5"}, {}, "grid"),
        ({"effects.sd": [1.0]}, {"quantities": {"q": lambda draws: 1.0}}, "quantities"),
        ({"effects.sd": [1.0]}, {"quantities": {"means": lambda draws: draws["means"]}}, "which a study has already"),
        ({"effects.sd": [1.0]}, {"sample_weight": np.full(600, 2.0)}, "sample weights"),
    ],
)
def test_what_cannot_be_studied_is_named(made, model, fit, grid, options, match):
    with pytest.raises(bg.InputError, match=match):
        bg.sensitivity(model, made, grid, base=fit, **options)


def test_settings_of_a_list_may_name_different_hyperparameters(made, model, fit):
    found = bg.sensitivity(model, made, [{"effects.sd": 0.1}, {"weights.concentration": 9.0}], base=fit)
    assert found.coords["effects.sd"].values.tolist() == ["0.1", "as in the model"]
    alone = bg.sensitivity(model, made, {"weights.concentration": [9.0]}, base=fit)
    second = found["effects"].isel(setting=1).values
    assert np.allclose(second, alone["effects"].isel({"weights.concentration": 0}).values)


def test_studies_keep_to_the_highest_mode(made):
    """Under a narrow heavy-tailed prior an effect has two modes; from afar only the lower one is met."""
    first = made.variant_names[0]
    narrow = bg.Priors(effects=bg.LogOddsStudentT(0.02, df=4))
    wide = bg.Mixture(2, weights=first, priors=bg.Priors(effects=bg.LogOddsStudentT(1.0, df=4)))
    found = bg.sensitivity(wide, made, {"effects.scale": [1.0, 0.3, 0.1, 0.05, 0.02]})
    afresh = bg.Mixture(2, weights=first, priors=narrow).fit(made, seed=1)
    assert float(found["log_posterior"].sel({"effects.scale": 0.02})) >= afresh.log_posterior - 1e-6
    own = found["classification"].sel({"effects.scale": 1.0})
    assert float(own) == 1.0
    row = bg.tipping_points(wide, made).iloc[0]
    assert 0.003 < row["tipping_scale"] < 0.3


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda model, made, fit: bg.tipping_points(model, made, level=95), "level"),
        (lambda model, made, fit: bg.tipping_points(made, model), "bayesgmm.Mixture"),
        (lambda model, made, fit: bg.bayes_factor_curve(bg.Mixture(2), made), "no predictors"),
        (lambda model, made, fit: bg.bayes_factor_curve(model, made, "abc"), "scales"),
        (lambda model, made, fit: bg.sensitivity(bg.Mixture(2), made, {"effects.sd": [1.0]}), "no effects"),
        (lambda model, made, fit: bg.power_scaling(model), "a fit or a posterior"),
        (lambda model, made, fit: bg.occupied(fit), "give a posterior"),
        (lambda model, made, fit: bg.compare(fit.laplace(200), fit), "MapFit"),
        (lambda model, made, fit: bg.write_report(fit, "report.html"), "the path"),
        (lambda model, made, fit: bg.prior_study(bg.Mixture(2, priors=bg.Priors.flat()), made), "say what to vary"),
    ],
)
def test_mistakes_of_a_moment_are_named(made, model, fit, call, match):
    with pytest.raises(bg.InputError, match=match):
        call(model, made, fit)


def test_no_search_over_the_scale_of_a_spike_and_slab(made):
    spiked = bg.Mixture(2, weights=made.variant_names[0], priors=bg.Priors(effects=bg.LogOddsSpikeSlab()))
    for search in (bg.tipping_points, bg.bayes_factor_curve):
        with pytest.raises(bg.InputError, match=r"many modes.*bg.inclusion"):
            search(spiked, made)


def test_a_value_may_be_a_list_beside_numbers_and_a_setting_alone_is_drawn(made, model, fit):
    found = bg.sensitivity(model, made, {"weights.concentration": [2.0, [1.0, 3.0]]}, base=fit)
    assert found["weights.concentration"].values.tolist() == ["2.0", "[1.0, 3.0]"]
    priors = bg.Priors(weights=bg.Dirichlet([1.0, 3.0]))
    cold = bg.Mixture(2, weights=model.weights, priors=priors).fit(made, seed=3)
    assert np.allclose(found["weights"].isel({"weights.concentration": 1}).sel(summary="estimate"), cold.params.weights)
    drawn = bg.plots.plot_sensitivity(bg.sensitivity(model, made, {"effects.sd": [1.0]}, base=fit)).axes[0]
    assert drawn.containers  # an interval with ends, where a line of one point would not be seen
    unsorted = bg.sensitivity(
        model, made, {"effects.sd": [0.5, 1.0], "weights.concentration": [5.0, 1.0, 2.0]}, base=fit
    )
    one = bg.plots.plot_sensitivity(unsorted, over="effects.sd", at={"weights.concentration": 1.9}).axes[0]
    held = unsorted.sel({"weights.concentration": 2.0})["odds_ratios"].isel(predictor=0, contrast=0)
    assert any(
        np.allclose(line.get_ydata(), held.sel(summary="estimate")) for line in one.lines if len(line.get_xdata()) > 1
    )
    with pytest.raises(bg.InputError, match="contrast = '2 vs 0'"):
        bg.plots.plot_ridges(unsorted, contrast="2 vs 0")


def test_one_predictors_scale_moves_where_all_are_given_as_a_sequence_or_others_were_moved(made):
    first, second = made.variant_names
    by_list, by_name = (
        bg.Mixture(2, weights=f"{first} + {second}", priors=bg.Priors(effects=bg.LogOddsNormal(sd=sd)))
        for sd in ([0.4, 0.3], {first: 0.4, second: 0.3})
    )
    grid = {f"effects.sd.{first}": [0.1, 1.0]}
    one, other = (bg.sensitivity(model, made, grid) for model in (by_list, by_name))
    assert np.array_equal(one["effects"], other["effects"])
    assert bg.tipping_points(by_list, made).equals(bg.tipping_points(by_name, made))
    # a predictor that no path names keeps the number for all, whichever others are named
    moved = bg.Priors(effects=bg.LogOddsNormal(sd=0.3)).with_value("effects.sd.a", 1.0).with_value("effects.sd.b", 2.0)
    assert moved.effects.resolve(["a", "b", "c"]).scale.tolist() == [1.0, 2.0, 0.3]


def test_weights_count_people_in_every_part_of_a_study_of_the_prior(made, model):
    times = np.random.default_rng(3).integers(0, 3, made.n_samples)
    rows = np.repeat(np.arange(made.n_samples), times)
    people = bg.Study(
        pd.DataFrame(made.dataset["traits"].values[rows], columns=made.trait_names),
        pd.DataFrame(made.dataset["dosages"].values[rows], columns=made.variant_names),
    )
    weighted = bg.prior_study(model, made, {"effects.sd": [0.1, 1.0]}, sample_weight=times.astype(float))
    repeated = bg.prior_study(model, people, {"effects.sd": [0.1, 1.0]})
    assert np.allclose(weighted.sensitivity["effects"], repeated.sensitivity["effects"], atol=1e-4)
    for name in ("tipping_scale", "sceptical_sd", "lower"):
        assert np.allclose(weighted.tipping[name], repeated.tipping[name], atol=1e-3, equal_nan=True)
    observed = [s.prior_checks.set_index("quantity")["observed"] for s in (weighted, repeated)]
    assert np.allclose(*observed, atol=1e-3)


def test_a_family_that_cannot_be_sampled_has_its_study_by_modes_and_is_told(made, tmp_path):
    model = bg.Mixture(2, weights=made.variant_names[0], covariance="VEE")
    two = np.column_stack((made.dataset["traits"].values[:, 0], np.random.default_rng(0).normal(size=made.n_samples)))
    dosages = pd.DataFrame(made.dataset["dosages"].values, columns=made.variant_names)
    study = bg.Study(pd.DataFrame(two, columns=["a", "b"]), dosages)
    fit = model.fit(study, seed=1)
    found = bg.prior_study(model, study, {"effects.sd": [0.1, 1.0]}, base=fit)
    assert found.power_scaling is None
    assert found.prior_checks is None
    assert "cannot be sampled" in str(found)
    assert np.isfinite(found.tipping["tipping_scale"]).all()
    page = bg.write_report(tmp_path / "report.html", fit, study=study, prior_study=found).read_text()
    assert "Power scaling and prior checks were left out" in page
    with pytest.raises(bg.InputError, match="engine = 'laplace'"):
        bg.prior_study(model, study, base=fit, engine="laplace")


def test_base_of_another_model_is_refused(made, model, fit):
    other = bg.Mixture(2, weights=model.weights, priors=bg.Priors(effects=bg.LogOddsNormal(sd=3.0)))
    with pytest.raises(bg.InputError, match="base is of other priors"):
        bg.sensitivity(other, made, GRID, base=fit)


def test_neighbours_are_a_step_along_one_axis():
    settings = Settings.of({"effects.sd": [1, 2, 3], "weights.concentration": [1, 2]})
    assert settings.values[3] == {"effects.sd": 2, "weights.concentration": 2}
    assert sorted(settings.neighbours(3)) == [1, 2, 5]


# -- tipping points -----------------------------------------------------------------------------


def test_interval_ends_at_no_effect_at_the_tipping_scale_and_mean(made, model, fit):
    table = bg.tipping_points(model, made, base=fit)
    first, second = table.to_dict("records")
    assert first["excludes_none"]
    assert not second["excludes_none"]
    assert np.isnan(second["tipping_scale"])
    for field, value in (("sd", first["tipping_scale"]), ("mean", first["tipping_mean"])):
        if np.isnan(value):
            continue
        priors = bg.Priors().with_value(f"effects.{field}.{first['predictor']}", value)
        there = bg.associations(bg.Mixture(2, weights=model.weights, priors=priors).fit(made, seed=1))
        assert there.loc[0, "lower"] == pytest.approx(0.0, abs=2e-3)
    # the closed form supposes a normal likelihood, which holds well here
    assert first["sceptical_sd"] == pytest.approx(first["tipping_scale"], rel=0.15)
    assert "excludes an odds ratio of 1 unless" in first["verdict"]


def test_sceptical_limit_is_matthews_formula(made, model, fit):
    table = bg.tipping_points(model, made, base=fit, predictors=[made.variant_names[0]])
    wide = bg.Priors().with_value(f"effects.sd.{made.variant_names[0]}", 100.0)
    row = bg.associations(bg.Mixture(2, weights=model.weights, priors=wide).fit(made, seed=1)).iloc[0]
    expected = (row["upper"] - row["lower"]) ** 2 / (4 * np.sqrt(row["upper"] * row["lower"]))
    assert np.log(table.loc[0, "sceptical_limit"]) == pytest.approx(expected, rel=1e-3)


def test_tipping_by_draws_agrees_with_modes(made, model, fit):
    chosen = [made.variant_names[0]]
    by_modes = bg.tipping_points(model, made, base=fit, predictors=chosen)
    by_laplace = bg.tipping_points(model, made, base=fit, engine="laplace", predictors=chosen)
    assert by_laplace.loc[0, "tipping_scale"] == pytest.approx(by_modes.loc[0, "tipping_scale"], rel=0.15)


def test_bayes_factor_curve_peaks_near_the_effect(made, model):
    curve = bg.bayes_factor_curve(model, made, predictors=[made.variant_names[0]])
    top = curve.loc[curve["is_maximum"]].iloc[0]
    assert 0.2 < top["scale"] < 1.5  # the scale that suits an effect of about 0.6
    assert top["log10_bayes_factor"] > 1.0
    assert curve["log10_bayes_factor"].iloc[0] < top["log10_bayes_factor"] > curve["log10_bayes_factor"].iloc[-1]


def test_likelihood_of_an_effect_does_not_depend_on_the_priors_family(made, model, fit):
    expected = unopposed_effects(fit, made.variant_names[1])[1]
    for prior in (bg.LogOddsSpikeSlab(inclusion=0.05), bg.LogOddsStudentT(scale=[1.0, 0.2]), bg.LogOddsLaplace(0.3)):
        other = bg.Mixture(2, weights=model.weights, priors=bg.Priors(effects=prior)).fit(made, seed=1)
        # the other predictor's prior still differs, and moves this one's effect a little
        assert np.allclose(unopposed_effects(other, made.variant_names[1])[1], expected, atol=0.03)


def test_a_prior_that_makes_the_effect_says_which_way_it_tips(made):
    none = made.variant_names[1]  # no effect in the data
    sure = bg.Priors(effects=bg.LogOddsNormal(mean=0.7, sd=0.05))
    model = bg.Mixture(2, weights=none, priors=sure)
    row = bg.tipping_points(model, made).iloc[0]
    assert row["excludes_none"]
    assert row["tipping_scale"] > 0.05
    assert "excludes an odds ratio of 1 because of the prior: above a scale of" in row["verdict"]
    wider = bg.Priors(effects=bg.LogOddsNormal(mean=0.7, sd=1.2 * row["tipping_scale"]))
    assert bg.associations(bg.Mixture(2, weights=none, priors=wider).fit(made, seed=1)).loc[0, "lower"] < 0.0


def test_tipping_has_no_mode_to_climb_to_below_a_concentration_of_one(made):
    sparse = bg.Mixture(2, weights=made.variant_names[0], priors=bg.Priors(weights=bg.Dirichlet(0.5)))
    with pytest.raises(bg.InputError, match="no mode to climb to"):
        bg.tipping_points(sparse, made)


def test_tipping_needs_a_scale(made):
    flat = bg.Mixture(2, weights=made.variant_names[0], priors=bg.Priors(effects=bg.Flat()))
    with pytest.raises(bg.InputError, match="has no scale"):
        bg.tipping_points(flat, made)


# -- power scaling and prior checks -------------------------------------------------------------


def test_power_scaling_tells_conflict_from_agreement(made, model, fit):
    calm = bg.power_scaling(fit).set_index("parameter")
    label = f"effects[{made.variant_names[0]}, 1 vs 0]"
    assert calm.loc["means[0, trait0]", "diagnosis"] == "decided by the data"
    against = bg.Priors(effects=bg.LogOddsNormal(mean=-0.5, sd=0.15))
    pulled = bg.power_scaling(bg.Mixture(2, weights=model.weights, priors=against).fit(made), prior="effects")
    assert pulled.set_index("parameter").loc[label, "diagnosis"] == "informative prior or prior-data conflict"
    strong = bg.Priors(effects=bg.LogOddsNormal(sd=0.02))
    held = bg.power_scaling(bg.Mixture(2, weights=model.weights, priors=strong).fit(made), prior="effects")
    second = f"effects[{made.variant_names[1]}, 1 vs 0]"
    assert held.set_index("parameter").loc[second, "diagnosis"] == "strong prior or weak likelihood"
    with pytest.raises(bg.InputError, match="shift"):
        bg.power_scaling(fit, prior="shifts")


def test_draws_that_are_not_to_be_trusted_diagnose_nothing(made, model):
    few = bg.Priors(effects=bg.LogOddsHorseshoe(expected=1.0))
    poor = bg.Mixture(2, weights=model.weights, priors=few).fit(made, seed=1).laplace(seed=1)
    assert poor.pareto_k > 0.7
    assert (bg.power_scaling(poor)["diagnosis"] == "not told").all()


def test_power_scaling_of_a_normal_mean_is_the_known_one(rng):
    """One component, mean prior as strong as the data: both halves pull alike, and power moves both alike."""
    y = rng.normal(0.0, 1.0, 200)
    prior = bg.NormalInverseWishart(mean=[0.0], strength=200.0, dof=50.0, scale=[[50.0]])
    table = bg.power_scaling(bg.Mixture(1, priors=bg.Priors(components=prior)).fit(y)).set_index("parameter")
    row = table.loc["means[0, trait0]"]
    assert row["prior"] == pytest.approx(row["likelihood"], rel=0.35)


@pytest.mark.parametrize("family", ["VVV", "EEE", "VVI", "EII"])
def test_prior_draws_have_the_priors_moments(rng, family):
    y = rng.standard_normal((30, 2))
    g = pd.DataFrame({"g": rng.integers(0, 3, 30)})
    study = bg.Study(pd.DataFrame(y, columns=["a", "b"]), covariates=g)
    scale = np.diag([2.0, 2.0]) if family != "VVV" else np.array([[2.0, 0.5], [0.5, 1.0]])
    niw = bg.NormalInverseWishart(mean=[1.0, -1.0], strength=4.0, dof=9.0, scale=scale)
    priors = bg.Priors(bg.Dirichlet([1.0, 2.0, 3.0]), niw, bg.LogOddsNormal(sd=0.7, mean=0.3))
    problem = bg.Mixture(3, covariance=family, weights="g", priors=priors).problem(study)
    draws = problem.draws_of(draw_prior(problem, 20_000, rng)).isel(chain=0)
    assert np.allclose(draws["weights"].mean("draw"), [1 / 6, 2 / 6, 3 / 6], atol=0.01)
    assert np.allclose(draws["effects"].mean("draw"), 0.3, atol=0.02)
    assert np.allclose(draws["effects"].std("draw"), 0.7, rtol=0.03)
    between = draws["effects"].isel(contrast=0) - draws["effects"].isel(contrast=1)
    assert np.allclose(between.std("draw"), 0.7, rtol=0.03)  # every pair, whichever the reference
    mean = invwishart.mean(9.0, scale) if family in ("VVV", "EEE") else scale / (9.0 - 2.0)
    assert np.allclose(draws["covariances"].mean("draw"), mean, atol=0.03)
    standardised = (
        (draws["means"] - [1.0, -1.0])
        * 2.0
        / np.sqrt(np.diagonal(draws["covariances"].transpose("draw", "component", ...).values, axis1=2, axis2=3))
    )
    assert np.allclose(standardised.std("draw"), 1.0, rtol=0.03)


def test_conflict_is_found_where_there_is_some(made, model, fit):
    calm = bg.prior_conflict(model, made, base=fit)
    assert (calm["p_value"] > 0.05).all()
    far = bg.Priors(components=bg.NormalInverseWishart(mean=[40.0], strength=1.0, dof=30.0, scale=[[30.0]]))
    told = bg.prior_conflict(bg.Mixture(2, weights=model.weights, priors=far), made).set_index("quantity")
    assert told.loc["mean of trait0", "p_value"] < 0.05
    against = bg.Priors(effects=bg.LogOddsNormal(mean={made.variant_names[0]: -1.5}, sd=0.3))
    told = bg.prior_conflict(bg.Mixture(2, weights=model.weights, priors=against), made).set_index("quantity")
    assert "disagree" in told.loc[f"effects[{made.variant_names[0]}, 1 vs 0]", "verdict"]
    assert "within" in told.loc[f"effects[{made.variant_names[1]}, 1 vs 0]", "verdict"]


def test_prior_predictive_keeps_what_is_missing(rng):
    y = rng.standard_normal((40, 2))
    y[3, 1] = np.nan
    found = bg.prior_predictive(bg.Mixture(2), y, draws=50, seed=1)
    assert found["traits"].shape == (50, 40, 2)
    assert np.isnan(found["traits"]).sum() == 50
    assert bool(np.isnan(found["traits"].values[:, 3, 1]).all())
    with pytest.raises(bg.InputError, match="draws"):
        bg.prior_predictive(bg.Mixture(2), y, draws=0)


def test_known_components_shift_alone_with_the_prior_mean(rng):
    """Separated components: a prior N(m, s) on an effect moves it as it moves a normal likelihood's mean."""
    made = simulate_study(
        2000, allele_frequencies=[0.4], weights=(0.5, 0.5), means=((0.0,), (30.0,)), effects=[[0.4]], seed=1
    ).study
    model = bg.Mixture(2, weights=made.variant_names[0])
    flat = bg.Mixture(2, weights=model.weights, priors=bg.Priors(effects=bg.LogOddsNormal(sd=50.0))).fit(made, seed=1)
    estimate, se = (float(x["effects"].values[0, 0]) for x in (flat.params, flat.standard_errors))
    means = np.array([-1.0, 0.0, 1.0])
    found = bg.sensitivity(model, made, {"effects.mean": means.tolist(), "effects.sd": [0.2]})
    precision = 1 / se**2 + 1 / 0.2**2
    expected = (estimate / se**2 + means / 0.2**2) / precision
    got = found["effects"].sel(summary="estimate").values.ravel()
    assert np.allclose(got, expected, atol=0.02)
