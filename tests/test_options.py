"""Missing traits and genotypes, sample weights, repeated rows, covariates of the means: alone and together."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import bayesgmm as bg
from bayesgmm.core.gaussian import covariances_from_roots
from bayesgmm.errors import InputError
from bayesgmm.inference.density import FusedDensity
from bayesgmm.study import Study
from tests.test_families import study_of
from tests.test_objective import random_parameters


def two_clouds(n=400, seed=0, d=2):
    rng = np.random.default_rng(seed)
    z = rng.random(n) < 0.4
    y = rng.normal(size=(n, d)) @ np.linalg.cholesky(0.4 * np.ones((d, d)) + 0.6 * np.eye(d)).T
    y[z] = 0.7 * y[z] + 3.5
    return y, z, rng


def naive_log_likelihood(problem, parameters):
    """Person by person, with scipy: observed traits, each genotype in turn, weights, slopes."""
    means = problem.centre + problem.unit * parameters.means
    covariances = covariances_from_roots(parameters.roots) * np.outer(problem.unit, problem.unit)
    slopes = problem.labelled(parameters)["shifts"].values
    effects = parameters.beta / problem.predictor_unit[:, None]
    total = 0.0
    for i in range(problem.n_samples):
        seen = ~np.isnan(problem.traits[i])
        if not seen.any():
            continue
        mine = problem.uncertain.person == i
        rows = problem.uncertain.rows[mine] if mine.any() else problem.predictors[[i]]
        chance = problem.uncertain.probability[mine] if mine.any() else np.ones(1)
        logits = np.column_stack((np.zeros(len(rows)), parameters.alpha + rows @ effects))
        weights = chance @ np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
        shift = problem.covariates[i] @ slopes
        each = [
            np.log(w) + multivariate_normal((m + shift)[seen], c[np.ix_(seen, seen)]).logpdf(problem.traits[i, seen])
            for w, m, c in zip(weights, means, covariances, strict=True)
        ]
        total += (1.0 if problem.sample_weight is None else problem.sample_weight[i]) * logsumexp(each)
    return total


@pytest.mark.parametrize("family", ["VVV", "EEI", "VEV"])
def test_likelihood_of_everything_together_is_the_naive_one(family):
    problem = study_of(family, 5)
    parameters = random_parameters(problem, 5)
    got = problem.arrays.expectation(parameters).log_likelihood + problem.log_likelihood_shift
    assert got == pytest.approx(naive_log_likelihood(problem, parameters), rel=1e-10)


OPTIONS = list(itertools.product([False, True], repeat=5))


@pytest.mark.parametrize(
    ("family", "options"), list(zip(itertools.cycle(["VVV", "EEE", "VVI", "VII", "EVV"]), OPTIONS))
)
def test_every_combination_of_options_climbs_to_a_mode(family, options):
    effects, missing_traits, missing_genotypes, weighted, shifted = options
    y, z, rng = two_clouds(160, 7)
    people = [f"P{i}" for i in range(len(y))]
    dosage = rng.binomial(2, np.where(z, 0.6, 0.3)).astype(float)
    if missing_traits:
        y[rng.random(y.shape) < 0.2] = np.nan
    if missing_genotypes:
        dosage[rng.random(len(y)) < 0.2] = np.nan
    study = Study(
        pd.DataFrame(y, index=people),
        pd.DataFrame({"rs1": dosage}, index=people),
        pd.DataFrame({"age": rng.normal(size=len(y))}, index=people),
        sample_weight=pd.Series(rng.uniform(0.5, 2, len(y)), index=people) if weighted else None,
    )
    model = bg.Mixture(2, covariance=family, weights="rs1" if effects else None, means="age" if shifted else None)
    fit = model.fit(study, seed=0, restarts=4)
    assert fit.converged
    assert (np.diff(fit.history) >= -1e-11 * np.abs(fit.history.values[1:])).all()
    problem, parameters = fit.problem, fit.parameters
    assert fit.log_likelihood == pytest.approx(naive_log_likelihood(problem, parameters), rel=1e-10)
    value, gradient = problem.arrays.log_posterior_and_gradient(parameters)
    assert problem.arrays.log_posterior(parameters) == pytest.approx(value, rel=1e-13)  # a pass without moments
    assert np.abs(gradient).max() < 1e-3
    if problem.family.sampled:
        density = FusedDensity(problem.arrays, parameters)
        value, slope = density(np.zeros(density.size))
        assert np.isfinite(value)
        assert np.abs(slope).max() < 0.05
    # memberships computed for the fit and for the same people as new ones agree
    again = fit.predict_proba(study)
    np.testing.assert_allclose(again, fit.responsibilities, atol=1e-10)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_weight_is_repetition(seed):
    y, _, rng = two_clouds(60, seed)
    x = rng.integers(0, 3, 60).astype(float)
    times = rng.integers(0, 4, 60)
    frame = pd.DataFrame(y, index=[f"P{i}" for i in range(60)])
    covariates = pd.DataFrame({"x": x}, index=frame.index)
    weighted = Study(frame, covariates=covariates, sample_weight=pd.Series(times.astype(float), index=frame.index))
    rows = np.repeat(np.arange(60), times)
    repeated = Study(
        pd.DataFrame(y[rows], index=[f"R{i}" for i in range(len(rows))]),
        covariates=pd.DataFrame({"x": x[rows]}, index=[f"R{i}" for i in range(len(rows))]),
    )
    model = bg.Mixture(2, weights="x", means="x", compress=False)
    one, two = model.problem(weighted), model.problem(repeated)
    assert one.n_effective == two.n_effective == times.sum()
    parameters = random_parameters(one, 1)
    values = [p.arrays.log_posterior_and_gradient(parameters) for p in (one, two)]
    assert values[0][0] == pytest.approx(values[1][0], rel=1e-10)
    np.testing.assert_allclose(values[0][1], values[1][1], rtol=1e-7, atol=1e-7)


def test_weight_zero_is_absence_and_bic_counts_weights():
    y, _, _ = two_clouds(200)
    weight = np.ones(200)
    weight[150:] = 0.0
    some, fewer = bg.Mixture(2).fit(y, sample_weight=weight), bg.Mixture(2).fit(y[:150])
    assert some.log_posterior == pytest.approx(fewer.log_posterior, rel=1e-9)
    assert some.bic == pytest.approx(fewer.bic, rel=1e-6)
    double = bg.Mixture(2, priors=bg.Priors.flat()).fit(y, sample_weight=np.full(200, 2.0))
    single = bg.Mixture(2, priors=bg.Priors.flat()).fit(y)
    assert double.log_likelihood == pytest.approx(2 * single.log_likelihood, rel=1e-9)
    assert double.bic == pytest.approx(-4 * single.log_likelihood + single.n_parameters * np.log(400), rel=1e-9)


@pytest.mark.parametrize("weight", ["nan", "negative", "short", "zero"])
def test_bad_weights_are_refused(weight):
    y, _, _ = two_clouds(50)
    given_weight = {"nan": np.full(50, np.nan), "negative": -np.ones(50), "short": np.ones(3), "zero": np.zeros(50)}
    with pytest.raises(InputError, match="sample_weight"):
        bg.Mixture(2).fit(y, sample_weight=given_weight[weight])


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=15, deadline=None)
def test_compression_changes_nothing(seed, weighted):
    y, _, rng = two_clouds(300, seed)
    y = y.round(0)
    y[rng.random(y.shape) < 0.1] = np.nan
    dosage = rng.binomial(2, 0.4, 300).astype(float)
    dosage[rng.random(300) < 0.1] = np.nan
    people = [f"P{i}" for i in range(300)]
    study = Study(
        pd.DataFrame(y, index=people),
        pd.DataFrame({"rs1": dosage}, index=people),
        sample_weight=pd.Series(rng.uniform(0.1, 3, 300), index=people) if weighted else None,
    )
    models = [bg.Mixture(2, weights="rs1", compress=c) for c in (True, False)]
    small, large = (m.problem(study) for m in models)
    assert small.arrays.n_rows < large.arrays.n_rows == large.observed.sum()
    parameters = random_parameters(small, 2)
    values = [p.arrays.log_posterior_and_gradient(parameters) for p in (small, large)]
    assert values[0][0] == pytest.approx(values[1][0], rel=1e-10)
    np.testing.assert_allclose(values[0][1], values[1][1], rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(small.responsibilities(parameters), large.responsibilities(parameters), atol=1e-12)


def test_a_fit_says_by_how_much_it_compressed():
    rng = np.random.default_rng(0)
    y = np.r_[rng.normal(0, 1, 3000), rng.normal(4, 1, 2000)].round(2)
    fit = bg.Mixture(2).fit(y)
    assert fit.problem.compression == pytest.approx(5000 / len(np.unique(y)))
    assert f"computed on {len(np.unique(y))} distinct rows" in repr(fit)
    whole = bg.Mixture(2, compress=False).fit(y)
    assert fit.log_posterior == pytest.approx(whole.log_posterior, rel=1e-10)
    assert whole.problem.compression == 1.0


def test_order_of_rows_components_and_traits_does_not_matter():
    y, _, rng = two_clouds(300, 3, d=3)
    y[rng.random(y.shape) < 0.1] = np.nan
    y = y[~np.isnan(y).all(axis=1)]
    base = bg.Mixture(2).fit(y, seed=0)
    rows = rng.permutation(len(y))
    assert bg.Mixture(2).fit(y[rows], seed=0).log_posterior == pytest.approx(base.log_posterior, abs=1e-6)
    traits = bg.Mixture(2).fit(y[:, [2, 0, 1]], seed=0)
    assert traits.log_posterior == pytest.approx(base.log_posterior, abs=1e-6)
    np.testing.assert_allclose(
        np.sort(traits.params["means"].values[:, 1]), np.sort(base.params["means"].values[:, 0]), rtol=1e-5
    )


@pytest.mark.parametrize("family", ["VVV", "EEE", "VEE", "EVV", "VVI", "EEI", "VEI", "EVI"])
@pytest.mark.parametrize("map_of", ["shift and units", "float32"])
def test_origin_and_units(family, map_of):
    y, _, rng = two_clouds(250, 4)
    y[rng.random(y.shape) < 0.1] = np.nan
    base = bg.Mixture(2, covariance=family).fit(y, seed=0)
    if map_of == "float32":
        moved = bg.Mixture(2, covariance=family).fit(y.astype(np.float32), seed=0)
        assert moved.log_posterior == pytest.approx(base.log_posterior, rel=1e-5)
        return
    unit, offset = np.array([1e-6, 1e6]), np.array([3e-6 * 1e5, 1e12])
    moved = bg.Mixture(2, covariance=family).fit(offset + unit * y, seed=0)
    expected = base.log_likelihood - float(((~np.isnan(y)) @ np.log(unit)).sum())
    assert moved.log_likelihood == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("family", ["EII", "VII", "EVE", "VVE", "EEV", "VEV"])
@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_families_that_know_angles_keep_one_unit(family, unit):
    y, _, _ = two_clouds(250, 4)
    base = bg.Mixture(2, covariance=family).fit(y, seed=0)
    moved = bg.Mixture(2, covariance=family).fit(1e8 * unit + unit * y, seed=0)
    assert moved.log_likelihood == pytest.approx(base.log_likelihood - y.size * np.log(unit), abs=1e-3)


def test_a_saturated_genotype_gives_each_genotypes_mean_membership():
    y, z, rng = two_clouds(500, 5)
    g = rng.binomial(2, np.where(z, 0.6, 0.3))
    study = Study(
        pd.DataFrame(y, index=[f"P{i}" for i in range(500)]),
        covariates=pd.DataFrame({"g": g.astype(str)}, index=[f"P{i}" for i in range(500)]),
    )
    fit = bg.Mixture(2, weights="C(g)", priors=bg.Priors.flat()).fit(study)
    weights = np.exp(fit.problem.log_weights(fit.parameters))
    for value in range(3):
        mean = fit.responsibilities.values[g == value].mean(axis=0)
        np.testing.assert_allclose(weights[g == value][0], mean, atol=1e-6)


def test_a_constant_formula_is_no_formula():
    y, _, _ = two_clouds()
    study = Study.from_array(y)
    one = bg.Mixture(2, weights="1", means="1").fit(study)
    assert one.log_posterior == pytest.approx(bg.Mixture(2).fit(y).log_posterior, rel=1e-12)


def test_stored_memberships_are_those_of_the_parameters():
    y, _, _ = two_clouds()
    fit = bg.Mixture(3).fit(y)
    np.testing.assert_allclose(fit.predict_proba(y), fit.responsibilities, atol=1e-9)
    np.testing.assert_allclose(fit.score_samples(y).sum(), fit.log_likelihood, rtol=1e-10)


# -- recovery -------------------------------------------------------------------------------------


def test_recovery_with_a_fifth_of_the_traits_missing():
    y, _, rng = two_clouds(3000, 6, d=3)
    holes = y.copy()
    holes[rng.random(y.shape) < 0.2] = np.nan
    whole, partial = bg.Mixture(2).fit(y), bg.Mixture(2).fit(holes)
    errors = partial.standard_errors
    for name in ("weights", "means", "covariances"):
        gap = np.abs(partial.params[name].values - whole.params[name].values)
        assert (gap < 3.5 * errors[name].values).all(), name
    assert (errors["means"].values > whole.standard_errors["means"].values).all()
    filled = partial.impute().values
    assert not np.isnan(filled[~np.isnan(holes).all(axis=1)]).any()
    lost = np.isnan(holes) & ~np.isnan(holes).all(axis=1, keepdims=True)
    mean = np.broadcast_to(np.nanmean(holes, axis=0), holes.shape)
    assert np.mean((filled[lost] - y[lost]) ** 2) < 0.6 * np.mean((mean[lost] - y[lost]) ** 2)
    draws = partial.impute(draws=200, seed=1)
    np.testing.assert_allclose(draws.mean("draw").values[lost].mean(), filled[lost].mean(), atol=0.05)
    assert draws.std("draw").values[lost].min() > 0.1


def test_recovery_with_a_genotype_missing_in_a_fifth_of_people():
    rng = np.random.default_rng(8)
    n = 4000
    g = rng.binomial(2, 0.4, n).astype(float)
    z = rng.random(n) < 1 / (1 + np.exp(-(-0.5 + 0.9 * (g - 0.8))))
    y = rng.normal(np.where(z, 3.0, 0.0), 1.0)
    holes = np.where(rng.random(n) < 0.2, np.nan, g)
    people = [f"P{i}" for i in range(n)]
    frame = pd.DataFrame({"y": y}, index=people)

    def fit(dosage, how="average"):
        study = Study(frame, pd.DataFrame({"rs1": dosage}, index=people))
        return bg.Mixture(2, weights="rs1", missing_genotypes=how).fit(study)

    whole, averaged = fit(g), fit(holes)
    told = averaged.genotypes.iloc[0]
    assert told["n_missing"] == told["n_averaged"] == np.isnan(holes).sum()
    se = float(averaged.standard_errors["effects"].values.item())
    assert abs(averaged.params["effects"].item() - 0.9) < 3 * se
    assert abs(averaged.params["effects"].item() - whole.params["effects"].item()) < 2 * se
    assert se > whole.standard_errors["effects"].item()
    # the same through probabilities: certain for those called, Hardy and Weinberg's for the others
    f = np.nanmean(holes) / 2
    chances = np.where(
        np.isnan(holes)[:, None], [(1 - f) ** 2, 2 * f * (1 - f), f**2], np.eye(3)[np.nan_to_num(holes).astype(int)]
    )
    given_study = Study(frame, genotype_probabilities={"rs1": pd.DataFrame(chances, index=people)})
    by_chance = bg.Mixture(2, weights="rs1").fit(given_study)
    assert by_chance.genotypes.iloc[0]["n_uncertain"] == np.isnan(holes).sum()
    np.testing.assert_allclose(by_chance.params["effects"], averaged.params["effects"], rtol=1e-5)


def test_shared_slopes_are_recovered_and_undo_a_confounder():
    rng = np.random.default_rng(9)
    n = 2000
    sex = rng.integers(0, 2, n).astype(float)
    z = rng.random(n) < 0.4
    y = rng.normal(np.where(z, 3.0, 0.0) + 1.5 * sex, 1.0)
    people = [f"P{i}" for i in range(n)]
    study = Study(pd.DataFrame({"y": y}, index=people), covariates=pd.DataFrame({"sex": sex}, index=people))
    fit = bg.Mixture(2, means="sex").fit(study)
    assert float(fit.params["shifts"].item()) == pytest.approx(1.5, abs=3 * fit.standard_errors["shifts"].item())
    means = fit.params["means"].values[:, 0] + fit.params["shifts"].item() * (0 - sex.mean())
    np.testing.assert_allclose(means, [0.0, 3.0], atol=0.2)
    assert fit.bic < bg.Mixture(2).fit(study).bic
    assert fit.n_parameters == 6
    assert "shifts[sex, y]" in set(fit.summary()["parameter"])


# -- numerics -------------------------------------------------------------------------------------


def test_one_person_and_one_component():
    priors = bg.Priors(components=bg.NormalInverseWishart(mean=[0.0], scale=1.0))
    fit = bg.Mixture(1, priors=priors).fit(np.array([2.0]))
    assert float(fit.params["means"].item()) == pytest.approx(2.0 / 1.01, rel=1e-6)
    with pytest.raises(InputError, match="give scale"):
        bg.Mixture(1).fit(np.array([2.0]))


@pytest.mark.parametrize("family", ["VVV", "EEE", "VVI", "EII", "VEE"])
def test_fifty_traits(family):
    rng = np.random.default_rng(1)
    y = rng.normal(size=(600, 50))
    y[:250] += 1.0
    # a component without people sits where the prior's density is highest, which in fifty dimensions is a higher mode
    # than two halves: the start says which mode is meant
    fit = bg.Mixture(2, covariance=family).fit(y, init=(y.mean(axis=1) > 0.5).astype(int))
    assert fit.converged
    hard = fit.predict(y).values
    agreement = (hard == (np.arange(600) < 250)).mean()
    assert max(agreement, 1 - agreement) > 0.97


def test_traits_that_nearly_repeat_each_other():
    y, z, rng = two_clouds(400, 2)
    y = np.column_stack((y, y[:, 0] + 1e-5 * rng.normal(size=400)))
    fit = bg.Mixture(2).fit(y)
    assert fit.converged
    assert (fit.predict(y).values == z).mean() > 0.95
    with pytest.raises(InputError, match="repeat each other"):
        bg.Mixture(2).fit(np.column_stack((y[:, 0], y[:, 0])))


def test_bad_starts_do_not_abort_the_rest_and_are_told():
    y = np.random.default_rng(2).normal(size=(20, 2))
    y[:10] += 2.0
    fit = bg.Mixture(3, priors=bg.Priors.flat()).fit(y, seed=0, restarts=8)
    assert np.isfinite(fit.log_likelihood)
    assert fit.starts["note"].str.contains("collapsed").sum() >= 3
    assert fit.starts["reached_best"].any()
    assert len(fit.starts) == 8
    assert fit.gap < 1e-6
    assert fit.gradient_norm < 1e-2


def test_starts_on_one_hill_are_counted_as_reaching_its_top():
    y, _, _ = two_clouds(400)
    fit = bg.Mixture(2).fit(y, seed=0)
    assert fit.starts["reached_best"].sum() >= 5
    shared = fit.starts["note"].str.startswith("on the hill of start")
    assert shared.any()
    assert fit.starts.loc[shared, "log_posterior"].notna().all()


def test_an_earlier_fit_of_another_family_starts_people_in_another_order():
    y, _, rng = two_clouds(300)
    frame = pd.DataFrame(y, index=[f"P{i}" for i in range(300)])
    fit = bg.Mixture(2).fit(frame)
    shuffled = frame.iloc[rng.permutation(300)]
    again = bg.Mixture(2, covariance="EEE").fit(shuffled, init=fit)
    assert again.log_posterior == pytest.approx(bg.Mixture(2, covariance="EEE").fit(frame).log_posterior, rel=1e-8)
    with pytest.raises(InputError, match="without the people 'Q0'"):
        bg.Mixture(2, covariance="EEE").fit(frame.rename(index={"P0": "Q0"}), init=fit)


# -- faces ----------------------------------------------------------------------------------------


def test_options_from_files_and_cards_and_back(tmp_path):
    y, z, rng = two_clouds(300, 11)
    y[rng.random(y.shape) < 0.1] = np.nan
    people = [f"P{i}" for i in range(300)]
    dosage = rng.binomial(2, np.where(z, 0.6, 0.3)).astype(float)
    dosage[:40] = np.nan
    table = pd.DataFrame(y, columns=["a", "b"], index=pd.Index(people, name="id")).assign(w=rng.uniform(0.5, 2, 300))
    table.to_csv(tmp_path / "traits.tsv", sep="\t")
    pd.DataFrame({"rs1": dosage}, index=table.index).to_csv(tmp_path / "genotypes.tsv", sep="\t")
    ages = pd.DataFrame({"age": rng.normal(size=300)}, index=table.index)
    ages.to_csv(tmp_path / "covariates.tsv", sep="\t")
    card = tmp_path / "card.toml"
    card.write_text(
        '[card]\nname = "x"\n[study]\nsample_weight = "w"\n[model]\nn_components = 2\ncovariance = "EEE"\n'
        'weights = "rs1"\nmeans = "age"\nmissing_genotypes = "average"\n[priors.shifts]\nsd = 5.0\n'
    )
    from bayesgmm.cards import load_card

    loaded = load_card(card)
    files = [tmp_path / f"{name}.tsv" for name in ("traits", "genotypes", "covariates")]
    study = bg.read_study(*files, **loaded.study_options())
    assert study.trait_names == ["a", "b"]
    fit = loaded.mixture().fit(study)
    direct = bg.Mixture(
        2, covariance="tied", weights="rs1", means="age", priors=bg.Priors(shifts=bg.ShiftsNormal(5.0))
    ).fit(Study(table[["a", "b"]], pd.DataFrame({"rs1": dosage}, index=people), ages), sample_weight=table["w"])
    assert fit.log_posterior == pytest.approx(direct.log_posterior, rel=1e-9)
    fit.save(tmp_path / "fit.nc")
    again = bg.read_fit(tmp_path / "fit.nc")
    assert again.log_posterior == pytest.approx(fit.log_posterior, rel=1e-12)
    np.testing.assert_allclose(again.responsibilities, fit.responsibilities, atol=1e-12)
    pd.testing.assert_frame_equal(again.genotypes, fit.genotypes)
    again_by_hand = again.predict_proba(table[["a", "b"]], np.nan_to_num(dosage), ages)
    assert again_by_hand.shape == (300, 2)
    post = loaded.mixture().sample(study, init=fit, draws=200, chains=2, seed=1)
    assert set(post.summary()["parameter"]) == set(fit.summary()["parameter"])
    post.save(tmp_path / "post.nc")
    back = bg.read_posterior(tmp_path / "post.nc")
    np.testing.assert_allclose(back.posterior["shifts"], post.posterior["shifts"])
    bg.write_report(tmp_path / "report.html", fit, post, study=study)
    text = (tmp_path / "report.html").read_text()
    assert "40 averaged over what the genotype may be" in text
    assert "covariance EEE" in text
    assert bg.compare(fit, post).shape[0] == fit.summary().shape[0]


def test_a_posterior_of_repeated_rows_is_that_of_the_people():
    rng = np.random.default_rng(2)
    n = 600
    g = rng.binomial(2, 0.4, n).astype(float)
    y = rng.normal(np.where(rng.random(n) < 0.3 + 0.2 * g, 3.0, 0.0), 1.0).round(1)
    people = [f"P{i}" for i in range(n)]
    study = Study(pd.DataFrame({"y": y}, index=people), pd.DataFrame({"rs1": g}, index=people))
    summaries = []
    for compress in (True, False):
        model = bg.Mixture(2, weights="rs1", compress=compress)
        post = model.sample(study, draws=1500, chains=2, seed=3)
        summaries.append(post.summary().set_index("parameter"))
        total = post.tree["log_likelihood"]["traits"].sum("sample")
        np.testing.assert_allclose(total, post.tree["sample_stats"]["log_likelihood"], rtol=1e-9)
        assert post.tree["log_likelihood"].sizes["sample"] == n
    one, two = summaries
    error = np.hypot(one["sd"] / np.sqrt(one["ess_bulk"]), two["sd"] / np.sqrt(two["ess_bulk"]))
    assert ((one["mean"] - two["mean"]).abs() < 4.5 * error).all()
