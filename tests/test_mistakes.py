"""What people hand in otherwise than meant: matched where it can be, refused by name where it cannot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesgmm as bg
from bayesgmm.errors import DataWarning, InputError, nearest
from bayesgmm.inference.given_start import explicit_start
from bayesgmm.study import Study
from tests.test_options import two_clouds


@dataclass(frozen=True)
class Carried:
    """What mistakes are made with."""

    study: Study
    model: bg.Mixture
    fit: bg.MapFit
    matrix: np.ndarray
    many: bg.ManyFits


def people(n):
    return [f"P{i}" for i in range(n)]


# -- matched ----------------------------------------------------------------------------------------


def test_frames_are_matched_by_their_id_column():
    rng = np.random.default_rng(0)
    n = 300
    age = rng.normal(size=n)
    traits = pd.DataFrame({"id": people(n), "y": rng.normal(size=n) + 2.0 * age})
    covariates = pd.DataFrame({"id": people(n), "age": age}).sample(frac=1.0, random_state=1)
    for given in (None, "id"):
        study = bg.read_study(traits, covariates=covariates.reset_index(drop=True), id_column=given)
        assert (study.trait_names, study.covariate_names) == (["y"], ["age"])
        slope = bg.Mixture(1, means="age").fit(study).params["shifts"].item()
        assert slope == pytest.approx(2.0, abs=0.2)
    with pytest.raises(InputError, match="traits has no column 'who'"):
        bg.read_study(traits, id_column="who")


def test_row_numbers_in_place_of_ids_are_told_of():
    y = np.random.default_rng(0).normal(size=(50, 1))
    with pytest.warns(DataWarning, match="traits and covariates have row numbers"):
        Study(pd.DataFrame(y, columns=["y"]), covariates=pd.DataFrame({"age": y[:, 0]}))


def test_frames_of_new_people_are_matched_by_id():
    y, z, rng = two_clouds(300)
    dosage = pd.DataFrame({"rs1": rng.binomial(2, np.where(z, 0.7, 0.2)).astype(float)}, index=people(300))
    traits = pd.DataFrame(y, index=people(300), columns=["a", "b"])
    fit = bg.Mixture(2, weights="rs1").fit(Study(traits, dosage))
    some = traits.iloc[:6]
    expected = fit.predict_proba(Study(some, dosage.iloc[:6]))
    np.testing.assert_allclose(fit.predict_proba(some, predictors=dosage.iloc[5::-1]), expected, atol=1e-12)
    with pytest.raises(InputError, match="predictors lack or repeat the samples 'P0'"):
        fit.predict_proba(some, predictors=dosage.iloc[6:12])
    lacking = some.assign(a=np.nan)
    by_study = fit.predict_proba(Study(lacking, dosage.iloc[:6]))
    np.testing.assert_allclose(by_study, fit.predict_proba(lacking, predictors=dosage.iloc[:6]), atol=1e-12)
    with pytest.raises(InputError, match=r"give the bayesgmm\.Study"):
        bg.enrichment(fit, dosage)


def test_a_weighted_fit_starts_itself_again():
    y, _, rng = two_clouds(200)
    frame = pd.DataFrame(y, index=people(200), columns=["a", "b"])
    weight = rng.integers(0, 3, 200).astype(float)
    fit = bg.Mixture(2).fit(frame, sample_weight=weight)
    for start in (fit.assign(), fit.responsibilities.to_pandas(), fit.responsibilities[::-1]):
        again = bg.Mixture(2).fit(frame, sample_weight=weight, init=start)
        assert again.log_posterior == pytest.approx(fit.log_posterior, rel=1e-10)
        assert again.n_iterations < 12
    with pytest.raises(InputError, match="differ in sample weights"):
        bg.Mixture(2).sample(frame, init=fit)


def test_people_who_stand_for_many_are_simulated_as_often():
    y, _, rng = two_clouds(200)
    age = pd.DataFrame({"age": rng.standard_normal(200)}, index=people(200))
    weight = np.where(age["age"] > 0.0, 9.0, 1.0)
    study = Study(pd.DataFrame(y, index=people(200), columns=["a", "b"]), covariates=age)
    new = bg.Mixture(2, weights="age").fit(study, sample_weight=weight).simulate(20_000, seed=1)
    assert new["age"].mean() == pytest.approx(np.average(age["age"], weights=weight), abs=0.03)


def test_a_start_with_another_reference_is_read_against_its_own():
    y, z, rng = two_clouds(300)
    dosage = pd.DataFrame({"rs1": rng.binomial(2, np.where(z, 0.7, 0.2)).astype(float)}, index=people(300))
    traits = pd.DataFrame(y, index=people(300), columns=["a", "b"])
    fit = bg.Mixture(2, weights="rs1").fit(Study(traits, dosage))
    other = bg.Mixture(2, weights="rs1", reference=1)
    # other people, so that units differ and the start goes through the traits' own
    problem = other.problem(Study(traits.iloc[:200], dosage.iloc[:200]))
    _, start = explicit_start(problem, fit)
    assert problem.labelled(start)["effects"].values == pytest.approx(-fit.params["effects"].values)
    with pytest.raises(InputError, match="reference"):
        other.sample(Study(traits, dosage), init=fit)
    with pytest.raises(InputError, match="trait_names"):
        bg.Mixture(2).sample(traits[["b", "a"]], init=bg.Mixture(2).fit(traits))


def test_a_start_is_matched_by_id():
    y, z, rng = two_clouds(200)
    frame = pd.DataFrame(y, index=people(200), columns=["a", "b"])
    model = bg.Mixture(2)
    fit = model.fit(frame, init=z.astype(int))
    labels = pd.Series(z, index=frame.index).iloc[rng.permutation(200)]
    np.testing.assert_allclose(model.fit(frame, init=labels).history, fit.history)
    again = model.fit(frame, init=fit.assign())
    assert again.log_posterior == pytest.approx(fit.log_posterior, rel=1e-10)
    assert again.n_iterations < 10
    text = np.where(z, "high", "low")
    assert model.fit(frame, init=text).log_posterior == pytest.approx(fit.log_posterior, rel=1e-10)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda z: pd.Series(z).set_axis(people(200)).iloc[:150], "init lacks the samples 'P150'"),
        (lambda z: np.where(z, 1.0, np.nan), "missing labels"),
        (lambda z: np.zeros(200), "1 different labels for 2 components"),
        (lambda z: 2.0 * np.eye(2)[z.astype(int)], "do not sum to one"),
        (lambda z: np.eye(2)[z.astype(int)] - 0.5, "negative"),
    ],
)
def test_a_start_that_cannot_be_meant_is_refused(make, said):
    y, z, _ = two_clouds(200)
    with pytest.raises(InputError, match=said):
        bg.Mixture(2).fit(pd.DataFrame(y, index=people(200)), init=make(z))


def test_masked_values_are_missing():
    y, _, _ = two_clouds(200)
    masked = np.ma.masked_greater(y, 4.0)
    fit = bg.Mixture(2).fit(masked)
    assert fit.log_posterior == pytest.approx(bg.Mixture(2).fit(masked.filled(np.nan)).log_posterior, rel=1e-12)
    assert "of their traits missing" in repr(fit)


@pytest.mark.parametrize("lacking", [[0], [1], [2], [0, 2]])
@pytest.mark.parametrize("n_people", [1, 7])
def test_new_people_who_all_lack_the_same_trait(lacking, n_people):
    y, _, _ = two_clouds(300, d=3)
    fit = bg.Mixture(2).fit(y)
    new = y[:n_people].copy()
    new[:, lacking] = np.nan
    beside = fit.predict_proba(np.vstack((new, y[200:203])))
    np.testing.assert_allclose(fit.predict_proba(new), beside[:n_people], atol=1e-12)
    np.testing.assert_allclose(
        fit.score_samples(new), fit.score_samples(np.vstack((new, y[:5])))[:n_people], atol=1e-12
    )


@pytest.mark.parametrize("unit", [1e-8, 1e6])
def test_units_of_predictors_do_not_matter(unit):
    rng = np.random.default_rng(0)
    age = rng.normal(size=300)
    y = rng.normal(np.where(rng.random(300) < 1.0 / (1.0 + np.exp(-age)), 3.0, 0.0), 1.0)

    def fitted(scale):
        study = Study(
            pd.DataFrame({"y": y}, index=people(300)), covariates=pd.DataFrame({"age": scale * age}, index=people(300))
        )
        priors = bg.Priors(effects=bg.LogOddsNormal(sd=1.0 / scale))
        return bg.Mixture(2, weights="age", priors=priors).fit(study)

    one, other = fitted(1.0), fitted(unit)
    for table in ("params", "standard_errors"):
        assert getattr(other, table)["effects"].item() * unit == pytest.approx(
            getattr(one, table)["effects"].item(), rel=1e-5
        )
    # a density per unit of the effect
    assert other.log_posterior - np.log(unit) == pytest.approx(one.log_posterior, abs=1e-6)
    tables = [bg.associations(fit)[["sd", "log10_bayes_factor"]].to_numpy() for fit in (one, other)]
    np.testing.assert_allclose(tables[1] * [unit, 1.0], tables[0], rtol=1e-4)


def test_enrichment_of_weighted_rows_is_that_of_the_people():
    rng = np.random.default_rng(3)
    n = 400
    dosage = rng.integers(0, 3, n).astype(float)
    y = rng.normal(np.where(rng.random(n) < 0.2 + 0.25 * dosage, 3.0, 0.0), 1.0).round(0)
    rows, counts = np.unique(np.column_stack((y, dosage)), axis=0, return_counts=True)
    ids = [f"R{i}" for i in range(len(rows))]
    counted = Study(
        pd.DataFrame({"y": rows[:, 0]}, index=ids),
        pd.DataFrame({"rs1": rows[:, 1]}, index=ids),
        sample_weight=pd.Series(counts.astype(float), index=ids),
    )
    written_out = Study(pd.DataFrame({"y": y}, index=people(n)), pd.DataFrame({"rs1": dosage}, index=people(n)))
    model = bg.Mixture(2, weights="rs1")
    tables = [bg.enrichment(model.fit(study), study) for study in (counted, written_out)]
    for column in ("expected_people", "hard_chi_square"):
        np.testing.assert_allclose(tables[0][column], tables[1][column], rtol=1e-6)
    for column in ("allele_frequency", "lower", "upper", "difference"):
        np.testing.assert_allclose(tables[0][column], tables[1][column], atol=0.01)
    assert "rows, standing for 400 people" in repr(model.fit(counted))


def test_probabilities_of_two_decimals_are_brought_to_one():
    y = pd.DataFrame({"y": np.random.default_rng(0).normal(size=3)}, index=list("abc"))
    table = pd.DataFrame([[0.33, 0.33, 0.33], [0.67, 0.17, 0.17], [1.0, 0.0, 0.0]], index=list("abc"))
    given = Study(y, genotype_probabilities={"rs1": table}).genotype_probabilities()["rs1"]
    np.testing.assert_allclose(given.sum(axis=1), 1.0, rtol=1e-12)


# -- refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rs1": np.ones((3, 3)) / 3}, "are a ndarray; give a DataFrame"),
        (pd.DataFrame(np.ones((3, 3)) / 3, index=list("abc")), "a mapping of variants to frames"),
        ({"rs1": pd.DataFrame(np.ones((3, 3)), index=list("abc"))}, "where they sum to '3'"),
    ],
)
def test_probabilities_that_are_none(given, said):
    y = pd.DataFrame({"y": np.random.default_rng(0).normal(size=3)}, index=list("abc"))
    with pytest.raises(InputError, match=said):
        Study(y, genotype_probabilities=given)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda y: bg.Mixture(2).fit(y > 0), "true or false"),
        (lambda y: bg.Mixture(2).fit("traits.tsv"), "read it by bayesgmm.read_study"),
        (lambda y: bg.Mixture(2).fit(1e200 * y), "too large to square"),
        (lambda y: bg.Mixture(2).fit(y, sample_weight="w"), "sample_weight is not numeric"),
        (lambda y: bg.Mixture(2, weights="rs1").fit(y), "there are none; give a Study"),
        (lambda y: bg.Mixture(2, priors=bg.Priors(weights=bg.JeffreysWeights())).fit(y), "no MAP fit"),
        (lambda y: bg.Mixture(2, priors=bg.Priors(effects=bg.LogOddsNormal(1e-20)), weights="x").fit(y), "neither"),
        (lambda y: bg.Mixture(2, covariance="EEV").fit(y * [1e-6, 1e6]), "comparable units"),
        (lambda y: bg.Mixture(2).fit(y).predict_proba(np.array([[np.inf, 1.0]])), "traits are infinite in rows '0'"),
    ],
)
def test_a_mistake_is_named(call, said):
    with pytest.raises(InputError, match=said):
        call(two_clouds(100)[0])


@pytest.fixture(scope="module")
def carried() -> Carried:
    """A study with two variants and a covariate that is text, a fit, and many fits."""
    made = bg.simulate_study(120, means=((0.0,), (4.0,)), seed=3).study
    sex = pd.DataFrame({"sex": np.where(np.arange(120) % 2, "m", "f")}, index=made.sample_ids)
    study = Study(made.dataset["traits"].to_pandas(), made.dataset["dosages"].to_pandas(), sex)
    matrix = np.random.default_rng(0).normal(size=(3, 30))
    fit = bg.Mixture(2, weights="rs1").fit(study, restarts=1)
    return Carried(study, bg.Mixture(2, weights="rs1"), fit, matrix, bg.fit_many(matrix, range(1, 3), restarts=1))


SEEDED = {
    "fit": lambda c, s: c.model.fit(c.study, seed=s),
    "sample": lambda c, s: c.model.sample(c.study, seed=s),
    "variational": lambda c, s: c.model.variational(c.study, seed=s),
    "laplace": lambda c, s: c.fit.laplace(seed=s),
    "normal_draws": lambda c, s: c.fit.normal_draws(seed=s),
    "impute": lambda c, s: c.fit.impute(seed=s),
    "simulate": lambda c, s: c.fit.simulate(5, seed=s),
    "simulate_study": lambda c, s: bg.simulate_study(10, seed=s),
    "simulate_genotypes": lambda c, s: bg.simulate.simulate_genotypes(10, [0.2], seed=s),
    "fit_many": lambda c, s: bg.fit_many(c.matrix, seed=s),
    "select": lambda c, s: bg.select(c.study, seed=s),
    "components_test": lambda c, s: bg.components_test(bg.Mixture(1).fit(c.study), bg.Mixture(2).fit(c.study), seed=s),
    "evidence": lambda c, s: bg.evidence(c.fit, seed=s),
    "tempering": lambda c, s: bg.evidence(c.fit, "smc", seed=s),
    "check_fit": lambda c, s: bg.check_fit(c.fit, seed=s),
    "bootstrap": lambda c, s: bg.bootstrap(c.fit, seed=s),
    "standard_errors": lambda c, s: bg.standard_errors(c.fit, "bootstrap", seed=s),
    "test_effect": lambda c, s: bg.test_effect(c.fit, predictors="rs1", seed=s),
    "enrichment": lambda c, s: bg.enrichment(c.fit, c.study, seed=s),
    "select_predictors": lambda c, s: bg.select_predictors(c.model, c.study, seed=s),
    "prior_predictive": lambda c, s: bg.prior_predictive(c.model, c.study, seed=s),
    "prior_conflict": lambda c, s: bg.prior_conflict(c.model, c.study, seed=s),
    "prior_study": lambda c, s: bg.prior_study(c.model, c.study, seed=s),
    "sensitivity": lambda c, s: bg.sensitivity(c.model, c.study, {"effects.sd": [0.1]}, seed=s),
    "tipping_points": lambda c, s: bg.tipping_points(c.model, c.study, seed=s),
}


@pytest.mark.parametrize("name", SEEDED)
def test_seeds_that_are_none_are_refused_alike_everywhere(carried, name):
    for seed in ("1", -1, 1.5, True, 2**63):
        with pytest.raises(InputError, match=rf"^seed = {seed!r}; it must be a whole number, from 0 to 2\*\*63 - 1"):
            SEEDED[name](carried, seed)


def test_a_large_seed_is_taken_and_kept(carried, tmp_path):
    fit = carried.model.fit(carried.study, seed=np.int64(2**63 - 1), restarts=1)
    fit.save(tmp_path / "fit.nc")
    assert bg.read_fit(tmp_path / "fit.nc").seed == 2**63 - 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        # numbers of another kind
        (lambda c: c.model.fit(c.study, restarts="10"), "restarts = '10'; it must be a whole number of at least 1"),
        (lambda c: c.model.fit(c.study, max_iterations=2.5), "max_iterations = 2.5; it must be a whole number"),
        (lambda c: c.model.fit(c.study, tolerance="x"), "tolerance = 'x'; it must be above 0"),
        (lambda c: c.model.sample(c.study, draws="100"), "draws = '100'; it must be a whole number of at least 4"),
        (lambda c: c.model.sample(c.study, cores=0), "cores = 0; .* at least 1, or None for one a processor"),
        (lambda c: c.model.sample(c.study, target_accept="0.9"), "target_accept = '0.9'; it must be between 0 and 1"),
        (lambda c: c.model.variational(c.study, restarts="1"), "restarts = '1'; it must be a whole number"),
        (lambda c: c.fit.laplace("x"), "draws = 'x'; it must be a whole number of at least 100"),
        (lambda c: c.fit.simulate("10"), "n = '10'; it must be a whole number of at least 1"),
        (lambda c: bg.select(c.study, draws="x"), "draws = 'x'; it must be a whole number of at least 800"),
        (lambda c: bg.bootstrap(c.fit, workers="2"), "workers = '2'; it must be a whole number"),
        (lambda c: bg.fit_many(c.matrix, threads="2"), "threads = '2'; it must be a whole number"),
        (lambda c: bg.associations(c.fit, level="0.9"), "level = '0.9'; it must be between 0 and 1"),
        (lambda c: bg.standard_errors(c.fit, level="0.9"), "level = '0.9'; it must be between 0 and 1"),
        (lambda c: bg.fit_many(c.matrix, "1:4"), "n_components = '1:4'; give numbers of components"),
        (lambda c: bg.select(c.study, "1:4"), "n_components = '1:4'; give numbers of components"),
        (lambda c: c.many.most_bimodal("20"), "n = '20'; it must be a whole number of at least 1"),
        (lambda c: c.many.most_bimodal(-1), "n = -1; it must be a whole number of at least 1"),
        # tables and files of another kind
        (lambda c: Study(None), "traits is a NoneType; give a DataFrame indexed by sample id"),
        (lambda c: Study(c.matrix), "traits is a ndarray; .* Study.from_array takes arrays"),
        (lambda c: Study(c.study.dataset["traits"].to_pandas(), c.matrix), "genotypes is a ndarray; give a DataFrame"),
        (lambda c: c.model.fit(None), "traits are None; give a Study"),
        (lambda c: bg.read_study("/"), "cannot read /: it is a folder"),
        (lambda c: bg.read_groups("/"), "cannot read /: it is a folder"),
        (lambda c: c.study.select("P0"), "the study has no samples 'P0'"),
        (lambda c: bg.read_study(None), "traits is a NoneType; give the path of a table"),
        (lambda c: c.fit.predict_proba("x"), "predict: traits are not numeric"),
        (lambda c: c.many.predict_proba("x"), "it must be numeric"),
        (lambda c: c.many.responsibilities("x"), "problems = 'x'; give a slice of positions, or names"),
        # arguments in another order, or of another function
        (lambda c: bg.select(range(1, 3), c.study), "n_components is a Study; give the study first"),
        (lambda c: bg.evidence(c.study), "evidence: given a Study; give a fit"),
        (lambda c: bg.associations(c.study), "associations: given a Study; give a fit"),
        (lambda c: bg.penetrance(c.study), "penetrance: given a Study; give a fit"),
        (lambda c: bg.group_scales(c.study), "group_scales: given a Study; give a fit"),
        (lambda c: bg.enrichment(c.study, c.study), "enrichment: given a Study; give a fit"),
        (lambda c: bg.prior_predictive(c.study, c.model), "model is a Study; give a bayesgmm.Mixture, and then"),
        (lambda c: bg.select_predictors(c.study, c.model), "model is a Study; give a bayesgmm.Mixture, and then"),
        (lambda c: bg.propriety(c.study, c.model), "model is a Study; give a bayesgmm.Mixture, and then"),
        (lambda c: bg.fit_many(c.matrix, noise=True), r"noise: fit_many fits Gaussian .* bayesgmm.Mixture\(2, noise="),
        (lambda c: bg.fit_many(c.matrix, df="each"), r"df: fit_many fits Gaussian .* bayesgmm.Mixture\(2, df="),
        # names and priors
        (lambda c: bg.test_effect(c.model, c.study, ["rs1", "rs1"]), "predictors: 'rs1' is named twice"),
        (lambda c: bg.test_effect(c.model, c.study, "rs303"), "'rs303' is neither .* known are 'rs1', 'rs2', 'sex'"),
        (lambda c: bg.penetrance(c.fit, "rs2"), "the weights' formula has no variant 'rs2'"),
        (lambda c: bg.LogOddsNormal(sd=-1), "effects prior: sd = -1; every sd must be above 0"),
        (lambda c: bg.LogOddsNormal({"rs1": "x"}), "effects prior: sd = {'rs1': 'x'}; give a number"),
    ],
)
def test_a_mistake_of_kind_or_order_is_named(carried, call, said):
    with pytest.raises(InputError, match=said):
        call(carried)


def test_one_name_is_a_list_of_one(carried):
    study, fit = carried.study, carried.fit
    traits, dosages = study.dataset["traits"].to_pandas(), study.dataset["dosages"].to_pandas()
    assert bg.read_study(traits, dosages, variants="rs1").variant_names == ["rs1"]
    pd.testing.assert_frame_equal(bg.penetrance(fit, "rs1"), bg.penetrance(fit))
    pd.testing.assert_frame_equal(
        bg.enrichment(fit, study, variants="rs2"), bg.enrichment(fit, study, variants=["rs2"])
    )


@pytest.mark.parametrize("weights", [None, "sex", "rs1 + C(sex)"])
def test_a_covariate_that_is_text_is_tested_by_its_levels(carried, weights):
    model = bg.Mixture(2, weights=weights)
    found = bg.test_effect(model, carried.study, "sex", tests=["lr", "score"], restarts=2)
    assert found.effects == ["sex"]
    assert (found["df"] == 1).all()
    # half of the people are each: none of them is rare
    assert found.attrs["carriers"] > 10


def test_names_are_suggested_where_they_are_misspellings():
    ids = ["rs101", "rs202", "rs303"]
    assert nearest("rs1O1", ids) == "did you mean 'rs101'?"
    assert nearest("AGE", ["age", "sex"]) == "did you mean 'age'?"
    assert nearest("rs9", ids) == "known are 'rs101', 'rs202', 'rs303'"


def test_a_class_of_one_person_is_told():
    pytest.importorskip("sklearn")
    y, z, _ = two_clouds(100)
    labels = np.where(np.arange(100) == 0, "alone", np.where(z, "one", "two"))
    with pytest.warns(DataWarning, match="classes 'alone' have one person each"):
        bg.sklearn.MixtureClassifier(covariance="EEI").fit(y, labels)


def test_a_prior_of_the_weights_says_nothing_of_one_component():
    y, _, _ = two_clouds(100)
    sparse = bg.Mixture(1, priors=bg.Priors(weights=bg.Dirichlet(0.5))).fit(y)
    assert sparse.log_likelihood == pytest.approx(bg.Mixture(1).fit(y).log_likelihood, rel=1e-12)


def test_a_tiny_sd_of_effects_is_refused():
    study = Study.from_array(two_clouds(100)[0])
    study = Study(
        pd.DataFrame(study.trait_values, index=people(100)),
        covariates=pd.DataFrame({"x": np.arange(100.0)}, index=people(100)),
    )
    with pytest.raises(InputError, match="every sd must be above 0"):
        bg.Mixture(2, weights="x", priors=bg.Priors(effects=bg.LogOddsNormal(1e-200))).fit(study)


def test_a_covariate_that_is_constant_among_people_with_traits():
    y, _, rng = two_clouds(100)
    y[50:] = np.nan
    age = np.where(np.arange(100) < 50, 1.0, rng.normal(size=100))
    study = Study(pd.DataFrame(y, index=people(100)), covariates=pd.DataFrame({"age": age}, index=people(100)))
    with pytest.raises(InputError, match="'age' does not vary among the people with traits"):
        bg.Mixture(2, means="age").fit(study)
    with pytest.warns(DataWarning, match="'age' does not vary among the people with traits"):
        fit = bg.Mixture(2, weights="age").fit(study)
    assert fit.params["effects"].item() == 0.0
    assert fit.standard_errors["effects"].item() == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize(("value", "said"), [(np.nan, "missing for everyone"), (5.0, "constant")])
def test_a_trait_that_only_people_of_weight_zero_have(value, said):
    y, _, _ = two_clouds(100)
    y[50:, 1] = value
    with pytest.raises(InputError, match=said):
        bg.Mixture(2).fit(y, sample_weight=(np.arange(100) >= 50).astype(float))


def test_compare_refuses_what_names_do_not_show():
    y, _, _ = two_clouds(200)
    post = bg.Mixture(2).sample(y, draws=100, chains=2, seed=1)
    for other, said in (
        (bg.Mixture(2, covariance="VEE").fit(y), "covariance family"),
        (bg.Mixture(2, priors=bg.Priors(weights=bg.Dirichlet(5.0))).fit(y), "priors"),
        (bg.Mixture(2).fit(Study.from_array(y), sample_weight=np.full(200, 2.0)), "models or people|sample weights"),
    ):
        with pytest.raises(InputError, match=said):
            bg.compare(other, post)


def test_a_sparse_prior_of_the_weights_can_be_sampled():
    y, _, _ = two_clouds(200)
    post = bg.Mixture(2, priors=bg.Priors(weights=bg.Dirichlet(0.5))).sample(y, draws=300, chains=2, seed=1)
    assert float(post.posterior["weights"].mean(("chain", "draw"))[0]) == pytest.approx(0.6, abs=0.1)


def test_more_restarts_climb_more_starts():
    y = np.random.default_rng(0).normal(size=(300, 2))
    fits = [bg.Mixture(4).fit(y, seed=0, restarts=r) for r in (10, 60)]
    finished = [int((f.starts["note"] == "").sum()) for f in fits]
    assert finished[0] <= 4 < finished[1]
    assert fits[1].log_posterior >= fits[0].log_posterior - 1e-6


def test_warnings_point_to_the_line_of_whoever_called():
    sim = bg.simulate_study(80, seed=1).study
    traits, dosages = sim.dataset["traits"].to_pandas(), sim.dataset["dosages"].to_pandas()
    # the one person with another genotype has no trait
    first = traits.index[0]
    same = bg.Study(
        traits.where((traits.index != first)[:, None]), dosages.assign(rs1=np.where(dosages.index == first, 0.0, 1.0))
    )
    y = np.concatenate([np.random.default_rng(9).normal(0, 1, 60), [8.0, 8.1, 8.3]])
    losing = bg.Mixture(2, priors=bg.Priors.flat()).fit(y, init=(y > 5).astype(int))
    for call, category in (
        (lambda: bg.Study(traits.iloc[:70], dosages), bg.DataWarning),
        (lambda: bg.Mixture(2, weights="rs1").fit(same, restarts=1), bg.DataWarning),
        (lambda: bg.test_effect(bg.Mixture(2), same, "rs1", tests="score", restarts=1), bg.DataWarning),
        (lambda: bg.Mixture(2).fit(sim, max_iterations=2, restarts=1), bg.FitWarning),
        (lambda: bg.bootstrap(losing, draws=50, seed=1), bg.FitWarning),
    ):
        with pytest.warns(category) as caught:
            call()
        assert {Path(w.filename).name for w in caught} == {Path(__file__).name}, [str(w.message) for w in caught]
