"""Tests of an effect: against logistic regression, the engine's own gradient, enumeration, and each other."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import minimize

import bayesgmm as bg
from bayesgmm.analysis.effect_hypotheses import state_hypotheses
from bayesgmm.analysis.effect_tests_result import COLUMNS
from bayesgmm.errors import InputError
from bayesgmm.inference.score_test import NullScores

FLAT = bg.Priors(weights=bg.Dirichlet(1.0))


def by_test(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_index("test")


def log_likelihood(y: np.ndarray, x: np.ndarray) -> float:
    """Of a logistic regression with an intercept, maximised by a general optimiser."""
    design = np.column_stack([np.ones(len(y)), x])

    def loss(b: np.ndarray) -> float:
        eta = design @ b
        return float(np.logaddexp(0, eta).sum() - y @ eta)

    return -minimize(loss, np.zeros(design.shape[1]), method="BFGS", options={"gtol": 1e-9}).fun


def test_where_memberships_are_certain_the_tests_are_those_of_logistic_regression():
    sim = bg.simulate_study(400, means=((0.0,), (60.0,)), effects=((0.35,), (0.5,)), seed=2)
    genotypes = sim.study.dataset["dosages"].values
    member = (sim.study.trait_values[:, 0] > 30).astype(float)
    table = by_test(bg.test_effect(bg.Mixture(2, weights="rs2", priors=FLAT), sim.study, "rs1", draws=9, seed=1))
    ratio = 2 * (log_likelihood(member, genotypes) - log_likelihood(member, genotypes[:, 1:]))
    assert table["statistic"]["lr"] == pytest.approx(ratio, abs=1e-4)
    assert table["p_value"]["lr"] == pytest.approx(stats.chi2.sf(ratio, 1), rel=1e-4)
    # without other predictors the score test is that of a correlation
    alone = by_test(bg.test_effect(bg.Mixture(2, priors=FLAT), sim.study, "rs1", tests=["score"]))
    r = stats.pearsonr(member, genotypes[:, 0]).statistic
    assert alone["statistic"]["score"] == pytest.approx(399 * r**2, rel=1e-6)
    # with them it is near to the likelihood ratio
    assert table["statistic"]["score"] == pytest.approx(ratio, rel=0.1)


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.DataWarning")
def test_the_score_is_the_gradient_of_the_likelihood_where_the_effect_is_none():
    sim = bg.simulate_study(
        300,
        weights=(0.3, 0.3, 0.4),
        means=((0.0, 0.0), (3.0, 1.0), (1.0, 4.0)),
        covariances=[np.eye(2)] * 3,
        effects=((0.5, 0.2), (0.0, 0.3)),
        seed=3,
    ).study
    rng = np.random.default_rng(1)
    traits, dosages = sim.dataset["traits"].to_pandas(), sim.dataset["dosages"].to_pandas()
    dosages["rs1"] = dosages["rs1"].mask(rng.random(300) < 0.1)
    weight = rng.integers(0, 3, 300)
    study = bg.Study(traits.mask(rng.random(traits.shape) < 0.15), dosages)
    model = bg.Mixture(3, weights="rs1 + rs2")
    study = study.of_dataset(study.dataset.assign(sample_weight=("sample", weight.astype(float))))
    found = state_hypotheses(model, study, ["rs1"]).fitted(model, 1, 5)
    full, null = found.full, found.null
    scores = NullScores.of(null, found.parameters)
    column = full.predictors[scores.people, 0] / full.predictor_unit[0]
    # the other predictors' part has no score at the null fit, but for the prior of the baseline weights
    raw = null.responsibilities(found.parameters) - np.exp(null.log_weights(found.parameters))
    _, gradient = full.arrays.log_posterior_and_gradient(found.with_zeros(found.parameters))
    k = full.n_components - 1
    np.testing.assert_allclose(column @ raw[scores.people, 1:], gradient[k : 2 * k], atol=1e-8)
    # the likelihood ratio is never below zero, and both are near each other
    ratio = found.ratio(found.sample)
    statistic, df = scores.together(full.predictors[scores.people][:, [0]])
    assert df == 2
    assert ratio == pytest.approx(statistic, rel=0.25)


@pytest.mark.parametrize("others", [False, True])
def test_permutations_are_those_of_enumeration(others):
    rng = np.random.default_rng(5)
    n = 6
    residuals, variant = rng.normal(size=(n, 2)), rng.normal(size=(n, 1))
    columns = np.column_stack([np.ones(n), *([rng.normal(size=n)] if others else [])])
    basis = np.linalg.qr(columns)[0]
    residuals -= basis @ (basis.T @ residuals)
    scores = NullScores(np.arange(n), residuals, basis, np.ones(n), not others)
    own = variant - basis @ (basis.T @ variant)

    def statistic(g: np.ndarray) -> float:
        u = g @ residuals
        if others:
            v = np.einsum("i,ik,il->kl", g**2, residuals, residuals) * n / (n - 2)
        else:
            v = (g @ g) * residuals.T @ residuals / (n - 1)
        return float(u @ np.linalg.solve(v, u))

    observed = statistic(own[:, 0])
    assert scores.together(variant) == (pytest.approx(observed, rel=1e-9), 2)
    every = [statistic(own[list(order), 0]) for order in itertools.permutations(range(n))]
    exact = np.mean(np.array(every) >= observed * (1 - 1e-9))
    if not others:
        # the variance is that over permutations, so the mean of the statistic is its degrees of freedom
        assert np.mean(every) == pytest.approx(2.0, rel=1e-9)
    above, taken = scores.permuted(variant, 20_000, np.random.default_rng(1))
    assert len(taken) == 20_000
    assert above / 20_000 == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000))
    # every one of them is a statistic of the enumeration
    np.testing.assert_allclose(np.sort(every)[np.searchsorted(np.sort(every) * (1 + 1e-9), taken)], taken, rtol=1e-8)
    # one variant of a pair of columns is the pair where the other column adds nothing
    assert scores.together(np.hstack([variant, variant]))[0] == pytest.approx(observed, rel=1e-6)


def test_permuting_stops_at_the_exceedance_that_was_asked_for():
    sim = bg.simulate_study(200, effects=((0.0,), (0.0,)), seed=4).study
    options = {"tests": ["permutation"], "seed": 3, "permutations": 5000}
    whole = by_test(bg.test_effect(bg.Mixture(2), sim, "rs1", **options)).loc["permutation"]
    early = by_test(bg.test_effect(bg.Mixture(2), sim, "rs1", stop_after=20, **options)).loc["permutation"]
    assert whole["draws"] == 5000
    assert early["draws"] < 1000
    assert early["p_value"] == 20 / early["draws"]
    assert abs(early["p_value"] - whole["p_value"]) < 4 * early["p_error"]
    options = {"tests": ["bootstrap"], "seed": 3, "draws": 99, "stop_after": 5}
    one, two = (bg.test_effect(bg.Mixture(2), sim, "rs1", workers=w, **options) for w in (1, 3))
    pd.testing.assert_frame_equal(one, two)
    assert one["p_value"][0] == 5 / one["draws"][0]


def test_all_tests_agree_with_many_people_and_find_a_strong_effect():
    sim = bg.simulate_study(2000, effects=((0.35,), (0.0,)), seed=5).study
    strong, none = (by_test(bg.test_effect(bg.Mixture(2), sim, v, draws=199, seed=1)) for v in ("rs1", "rs2"))
    assert list(strong.index) == ["lr", "score", "permutation", "bootstrap"]
    assert (strong["p_value"] <= [0.001, 0.001, 0.001, 0.005]).all()
    assert none["recommended"].all()
    assert np.ptp(none["p_value"]) < 0.15
    assert strong["statistic"]["score"] == pytest.approx(strong["statistic"]["lr"], rel=0.1)
    assert strong["p_value"]["bootstrap"] == 1 / 200


def test_workers_change_nothing_and_a_fit_gives_the_same_as_its_model():
    sim = bg.simulate_study(300, effects=((0.3,), (0.0,)), seed=6).study
    model = bg.Mixture(2, weights="rs1 + rs2")
    one, two = (bg.test_effect(model, sim, "rs1", draws=39, seed=2, workers=w) for w in (1, 3))
    pd.testing.assert_frame_equal(one, two)
    of_fit = bg.test_effect(model.fit(sim, seed=1), predictors="rs1", draws=39, seed=2)
    pd.testing.assert_frame_equal(one, of_fit)
    # a name that the formula lacks is added to it
    added = bg.test_effect(bg.Mixture(2, weights="rs2"), sim, "rs1", draws=39, seed=2)
    np.testing.assert_allclose(added["statistic"], one["statistic"], rtol=1e-5)


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.DataWarning")
def test_whole_weights_are_people():
    sim = bg.simulate_study(150, effects=((0.4,), (0.0,)), seed=8).study
    weight = np.random.default_rng(1).integers(0, 4, 150)
    people = np.repeat(np.arange(150), weight)
    ids = [f"p{i}" for i in range(len(people))]
    traits, dosages = (sim.dataset[name].to_pandas().iloc[people].set_axis(ids) for name in ("traits", "dosages"))
    model = bg.Mixture(2, weights="rs1 + rs2")
    together = sim.of_dataset(sim.dataset.assign(sample_weight=("sample", weight.astype(float))))
    tables = [
        bg.test_effect(model, study, "rs1", tests=["lr", "score"]) for study in (bg.Study(traits, dosages), together)
    ]
    np.testing.assert_allclose(tables[0]["statistic"], tables[1]["statistic"], rtol=1e-4)
    uneven = sim.of_dataset(sim.dataset.assign(sample_weight=("sample", weight + 0.5)))
    table = by_test(bg.test_effect(model, uneven, "rs1", draws=19, seed=1))
    assert not table["recommended"]["permutation"]


def test_columns_of_a_variant_are_tested_together():
    sim = bg.simulate_study(500, seed=9).study
    model = bg.Mixture(2, weights="rs1 + dominance(rs1) + rs2")
    table = by_test(bg.test_effect(model, sim, "rs1", tests=["lr", "score", "permutation"], seed=1))
    assert (table["df"] == 2).all()
    assert (table["p_value"] < 0.01).all()


def test_a_few_people_are_told_and_chi_square_is_not_recommended():
    sim = bg.simulate_study(100, weights=(0.95, 0.05), effects=((0.0,), (0.0,)), seed=1).study
    found = bg.test_effect(bg.Mixture(2), sim, "rs1", draws=19)
    table = by_test(found)
    assert not table["recommended"]["lr"]
    assert table["recommended"][["permutation", "bootstrap"]].all()
    assert "trust permutation or bootstrap" in table["advice"]["lr"]
    assert found.attrs["people"] < 30


def test_many_variants_from_one_null_fit():
    sim = bg.simulate_study(400, allele_frequencies=(0.3, 0.4, 0.2), effects=((0.5,), (0.0,), (0.3,)), seed=4).study
    dosages = sim.dataset["dosages"].to_pandas()
    dosages["rs2"] = dosages["rs2"].mask(np.arange(400) % 7 == 0)
    dosages["rs4"] = 1.0
    study = bg.Study(sim.dataset["traits"].to_pandas(), dosages)
    for weights in (None, "rs3"):
        fit = bg.Mixture(2, weights=weights, priors=bg.Priors(effects=bg.Flat())).fit(sim, seed=1)
        table = bg.score_variants(fit, study).set_index("variant")
        filled = bg.Study(study.dataset["traits"].to_pandas(), dosages.fillna(dosages.mean()).drop(columns="rs4"))
        for variant in ("rs1", "rs2"):
            alone = by_test(bg.test_effect(bg.Mixture(2, weights=weights), filled, variant, tests=["score"], seed=1))
            assert table["statistic"][variant] == pytest.approx(alone["statistic"]["score"], rel=1e-4)
        assert table["n_missing"]["rs2"] == 58
        assert np.isnan(table["p_value"]["rs4"])
        assert table["df"]["rs4"] == 0
        assert np.isnan(table["statistic"]["rs3"]) == (weights == "rs3")
        assert (table["note"]["rs3"].startswith("in the fit already")) == (weights == "rs3")
        assert table["note"]["rs4"].startswith("does not vary")
        assert (table.loc[["rs1", "rs2"], "note"] == "").all()
    # a fit under another prior of its effects is climbed on to where it is under a flat one
    strict = bg.Mixture(2, weights="rs3", priors=bg.Priors(effects=bg.LogOddsNormal(sd=0.05))).fit(sim, seed=1)
    again = bg.score_variants(strict, study).set_index("variant")
    np.testing.assert_allclose(again["statistic"], table["statistic"], rtol=1e-4)


def test_several_effects_in_one_table_are_read_back_as_they_were(tmp_path):
    sim = bg.simulate_study(300, means=((0.0,), (4.0,)), effects=((1.5,), (0.0,)), seed=6).study
    model = bg.Mixture(2, weights="rs1 + rs2")
    apart = [bg.test_effect(model, sim, v, draws=19, permutations=999, seed=2) for v in ("rs1", "rs2", ["rs1", "rs2"])]
    found = bg.EffectTests.joined(apart)
    assert found.effects == ["rs1", "rs2", "rs1 + rs2"]
    assert found.verdicts["rs1"] == (
        "strong evidence of an effect (p at most 0.001, permutation: 999 draws cannot give less, more may)"
    )
    assert found.verdicts["rs2"].startswith("no evidence of an effect")
    p = found[found["predictors"] == "rs2"].set_index("test")["p_value"]
    for test, draws in (("permutation", 999), ("bootstrap", 19)):
        statistics = found.replicates["rs2", test]
        own = apart[1].set_index("test")["statistic"][test]
        assert p[test] == pytest.approx((1 + (statistics >= own * (1 - 1e-9)).sum()) / (1 + draws))
    found.save(tmp_path / "tests.nc")
    again = bg.read_effect_tests(tmp_path / "tests.nc")
    pd.testing.assert_frame_equal(pd.DataFrame(again), pd.DataFrame(found))
    pd.testing.assert_frame_equal(again.facts, found.facts)
    assert again.verdicts == found.verdicts
    assert again.replicates.keys() == found.replicates.keys()
    for key, statistics in found.replicates.items():
        np.testing.assert_array_equal(again.replicates[key], statistics)
    assert len([ax for ax in again.plot().axes if ax.get_visible()]) == 6
    found.save(tmp_path / "tests.tsv")
    assert pd.read_csv(tmp_path / "tests.tsv", sep="\t")["p_value"].tolist() == pytest.approx(found["p_value"].tolist())
    with pytest.raises(InputError, match="'rs1' was tested twice"):
        bg.EffectTests.joined([apart[0], found])
    with pytest.raises(InputError, match="given a DataFrame"):
        bg.EffectTests.joined([found[found["test"] == "lr"]])
    # parts of the table are plain tables
    assert "permutation" in repr(found[["test", "p_value"]])
    assert found._repr_html_().startswith("<ul><li>rs1: strong evidence")


def test_the_verdict_is_of_the_most_trustworthy_and_tells_of_the_others():
    def told(draws: int = 0, **tests: tuple[float, bool]) -> str:
        counts = {t: draws if t == "permutation" else 0 for t in tests}
        rows = [("rs1", t, 1.0, 1, p, 0.0, counts[t], good, "why") for t, (p, good) in tests.items()]
        return bg.EffectTests.build(pd.DataFrame(rows, columns=list(COLUMNS)), pd.DataFrame(), {}).verdicts["rs1"]

    assert told(lr=(0.2, True), permutation=(0.03, True)) == (
        "weak evidence of an effect (p = 0.03, permutation); on the other side of 0.05: p = 0.2, likelihood ratio"
    )
    assert told(lr=(0.001, False), bootstrap=(0.3, True)) == (
        "no evidence of an effect (p = 0.3, parametric bootstrap); not to be trusted here: likelihood ratio"
    )
    assert told(lr=(0.001, False)) == "no test that was done is to be trusted here; lr: why"
    few = "9 draws cannot give less than p = 0.1 and decide nothing: ask for 19 or more, 999 for strong evidence"
    assert told(9, lr=(6e-10, True), permutation=(0.1, True)) == (
        f"strong evidence of an effect (p = 6e-10, likelihood ratio); permutation: {few}"
    )
    assert told(9, permutation=(0.1, True)) == f"no test that was done is to be trusted here; permutation: {few}"
    assert told(19, permutation=(0.05, True)) == (
        "weak evidence of an effect (p at most 0.05, permutation: 19 draws cannot give less, more may)"
    )
    # stopped when enough were larger: not too few
    assert told(12, permutation=(10 / 12, True)) == "no evidence of an effect (p = 0.83, permutation)"


def test_the_number_of_permutations_does_not_decide_the_verdict():
    sim = bg.simulate_study(400, means=((0.0,), (4.0,)), effects=((1.5,), (0.0,)), seed=6).study
    found = bg.test_effect(bg.Mixture(2), sim, "rs1", tests=["lr", "permutation"], permutations=9)
    assert found.verdicts["rs1"].startswith("strong evidence of an effect (p = ")
    assert by_test(found)["advice"]["permutation"].endswith("ask for 19 or more, 999 for strong evidence")
    assert not by_test(found)["recommended"]["permutation"]


def test_mistakes_are_named():
    sim = bg.simulate_study(100, seed=1).study
    model = bg.Mixture(2, weights="rs1")
    fit = model.fit(sim)
    for call, told in (
        (lambda: bg.test_effect(model, sim), "name at least one predictor"),
        (lambda: bg.test_effect(model, sim, "rs9"), "'rs9' is neither .* did you mean 'rs"),
        (lambda: bg.test_effect(model, sim, "bmi"), "'bmi' is neither .* known are 'rs1', 'rs2'"),
        (lambda: bg.test_effect(model, None, "rs1"), "give the study"),
        (lambda: bg.test_effect(fit, sim, "rs1"), "a fit has its own"),
        (lambda: bg.test_effect(fit, "rs1"), "study = 'rs1', which is a name"),
        (lambda: bg.test_effect(sim, model, "rs1"), "model is a Study; give a Mixture, then its study"),
        (lambda: bg.test_effect(model, model, "rs1"), "study is a Mixture"),
        (lambda: bg.test_effect(model, sim, fit), "predictors is a MapFit"),
        (lambda: bg.test_effect(bg.Mixture(1), sim, "rs1"), "n_components = 1"),
        (lambda: bg.test_effect(model, sim, "rs1", tests=["wald"]), "tests = "),
        (lambda: bg.test_effect(model, sim, "rs1", draws=0), "draws = 0"),
        (lambda: bg.test_effect(model, sim, "rs1", draws="9"), "draws = '9'; it must be a whole number"),
        (lambda: bg.test_effect(model, sim, "rs1", stop_after=0), "stop_after = 0"),
        (lambda: bg.score_variants(sim, fit), "given a Study and a MapFit"),
        (lambda: bg.score_variants(fit, sim, ["rs11"]), "no variant 'rs11'; did you mean 'rs"),
        (lambda: bg.score_variants(fit, bg.simulate_study(50, seed=1).study), "lacks the people"),
    ):
        with pytest.raises(InputError, match=told):
            call()


@pytest.mark.slow
@pytest.mark.parametrize(("small", "n"), [(0.5, 100), (0.05, 300)])
def test_the_level_is_kept_without_an_effect(small, n):
    hits, studies = dict.fromkeys(("score", "permutation", "bootstrap"), 0), 400
    for seed in range(studies):
        sim = bg.simulate_study(
            n, allele_frequencies=(0.3,), weights=(1 - small, small), effects=((0.0,),), seed=seed
        ).study
        table = by_test(bg.test_effect(bg.Mixture(2), sim, "rs1", draws=99, permutations=199, seed=seed))
        for test in hits:
            hits[test] += bool(table["p_value"][test] <= 0.05 + 1e-12)
    for test, count in hits.items():
        assert stats.binom.ppf(0.001, studies, 0.05) <= count <= stats.binom.ppf(0.999, studies, 0.05), test
