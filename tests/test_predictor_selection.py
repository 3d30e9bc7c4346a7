"""Inclusion probabilities against sums and integrals written down directly, and credible sets of a locus."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

import bayesgmm as bg
from bayesgmm.analysis.credible_sets import _smallest
from bayesgmm.inference.search import fit_map
from bayesgmm.study import Study

INCLUSION = 0.3


def frame(values, columns):
    return pd.DataFrame(values, columns=columns, index=[f"s{i}" for i in range(len(values))])


def far_apart(rng, n, effects):
    """People whose membership is certain: the weights' part of the model is a logistic regression."""
    x = rng.binomial(2, 0.4, (n, len(effects))).astype(float)
    logit = (x - x.mean(axis=0)) @ np.array(effects)
    z = (rng.random(n) < 1.0 / (1.0 + np.exp(-logit))).astype(float)
    y = rng.normal(40.0 * z, 1.0)
    columns = [f"x{j}" for j in range(len(effects))]
    return Study(frame(y[:, None], ["y"]), covariates=frame(x, columns)), x - x.mean(axis=0), z, columns


def log_evidence(x, z, subset, sd):
    """Of a logistic regression with Dirichlet(2, 2) baseline weights and normal effects, by sums over a fine grid."""
    alpha = np.linspace(-4.0, 4.0, 161)
    beta = np.linspace(-4.0, 4.0, 81)
    grids = np.meshgrid(alpha, *[beta] * len(subset), indexing="ij")
    log_pi1, log_pi0 = -np.logaddexp(0.0, -grids[0]), -np.logaddexp(0.0, grids[0])
    # Beta(2, 2) of pi, and d pi / d alpha
    value = np.log(6.0) + 2.0 * (log_pi0 + log_pi1)
    for b in grids[1:]:
        value += norm.logpdf(b, 0.0, sd)
    rows, counts = np.unique(np.column_stack((x[:, list(subset)], z)), axis=0, return_counts=True)
    for row, count in zip(rows, counts, strict=True):
        eta = grids[0] + sum(b * v for b, v in zip(grids[1:], row[:-1], strict=True))
        value -= count * np.logaddexp(0.0, -eta if row[-1] else eta)
    cell = np.log(alpha[1] - alpha[0]) + len(subset) * np.log(beta[1] - beta[0])
    return logsumexp(value) + cell


@pytest.mark.parametrize("effects", [(0.5,), (0.6, -0.2)])
def test_inclusion_is_that_of_integrals_over_a_grid(rng, effects):
    study, x, z, columns = far_apart(rng, 150, effects)
    sd = 0.8
    model = bg.Mixture(2, weights=" + ".join(columns), priors=bg.Priors(effects=bg.LogOddsNormal(sd)))
    found = bg.select_predictors(model, study, INCLUSION, draws=2000)
    subsets = list(product((False, True), repeat=len(effects)))
    exact = {}
    for s in subsets:
        prior = sum(np.log(INCLUSION if inside else 1.0 - INCLUSION) for inside in s)
        exact[s] = prior + log_evidence(x, z, np.flatnonzero(s), sd)
    total = logsumexp(list(exact.values()))
    for row, probability in zip(found.included, found.models["probability"], strict=True):
        assert probability == pytest.approx(np.exp(exact[tuple(row)] - total), abs=0.01)
    for p in range(len(effects)):
        inside = np.exp(logsumexp([v for s, v in exact.items() if s[p]]) - total)
        row = found.inclusion.loc[p]
        assert row["error"] < 0.01
        assert row["probability"] == pytest.approx(inside, abs=0.002 + 3 * row["error"])
        gained = np.log10(inside / (1 - inside) / (INCLUSION / (1 - INCLUSION)))
        assert row["log10_bayes_factor"] == pytest.approx(gained, abs=0.05)
    quick = bg.select_predictors(model, study, INCLUSION, draws=0)
    np.testing.assert_allclose(quick.inclusion["probability"], found.inclusion["probability"], atol=0.02)
    assert quick.inclusion["error"].isna().all()


def test_effects_are_averaged_over_models(rng):
    study, _, _, columns = far_apart(rng, 200, (0.5, 0.0))
    model = bg.Mixture(2, weights="x0 + x1")
    found = bg.select_predictors(model, study, {"x0": 0.5})
    assert found.inclusion["prior"].tolist() == [0.5, 0.1]
    inside = found.inclusion.set_index("predictor")["probability"]
    averaged = found.effects.set_index("predictor")
    for name in columns:
        p, row = inside[name], averaged.loc[name]
        assert row["mean"] == pytest.approx(p * row["mean_if_included"])
        second = p * (row["sd_if_included"] ** 2 + row["mean_if_included"] ** 2)
        assert row["sd"] == pytest.approx(np.sqrt(second - row["mean"] ** 2))
    alone = bg.Mixture(2, weights="x0").fit(study).laplace().summary().set_index("parameter").loc["effects[x0, 1 vs 0]"]
    assert averaged.loc["x0", "mean_if_included"] == pytest.approx(alone["mean"], abs=0.15 * alone["sd"])
    assert averaged.loc["x0", "sd_if_included"] == pytest.approx(alone["sd"], rel=0.1)
    kept = bg.select_predictors(model, study, always=["x0"])
    assert kept.predictors == ("x1",)
    assert set(kept.models["model"]) == {"x0", "x0 + x1"}


def test_keeping_some_predictors_is_the_model_of_these(rng):
    study, _, _, _ = far_apart(rng, 80, (0.5, 0.0, 0.3))
    prior = bg.Priors(effects=bg.LogOddsStudentT({"x0": 0.5, "x2": 2.0}))
    whole = bg.Mixture(2, weights="x0 + x1 + x2", priors=prior).problem(study)
    alone = bg.Mixture(2, weights="x2", priors=bg.Priors(effects=bg.LogOddsStudentT(2.0))).fit(study)
    kept = fit_map(whole.keeping([2]))
    assert kept.log_posterior == pytest.approx(alone.log_posterior, rel=1e-10)
    np.testing.assert_allclose(kept.params["effects"], alone.params["effects"], atol=1e-6)
    assert fit_map(whole.keeping([])).problem.predictor_names == ()


def test_genotypes_that_are_not_certain_are_averaged_in_every_model(rng):
    study, columns, x = locus(rng, 300)
    x[rng.random(x.shape) < 0.02] = np.nan
    traits = pd.DataFrame(study.trait_values, index=study.sample_ids, columns=["y"])
    study = Study(traits, genotypes=pd.DataFrame(x, index=study.sample_ids, columns=columns))
    whole = bg.Mixture(2, weights="rs2 + rs6").problem(study)
    assert len(whole.uncertain.person) > 0
    alone = bg.Mixture(2, weights="rs2").fit(study)
    kept = fit_map(whole.keeping([0]))
    # centres are those of the whole in both
    assert kept.log_posterior == pytest.approx(alone.log_posterior, rel=1e-9)


def locus(rng, n=1500):
    """Six variants of one locus whose third is causal, and two of another that do nothing."""
    shared = rng.random((2 * n, 1))
    own = rng.random((2 * n, 6))
    # haplotypes that share a threshold three times in four are correlated
    mixed = np.where(rng.random((2 * n, 6)) < 0.85, shared, own)
    other = rng.random((2 * n, 1))
    beside = np.where(rng.random((2 * n, 2)) < 0.85, other, rng.random((2 * n, 2)))
    alleles = np.column_stack((mixed, beside)) < 0.35
    x = (alleles[:n].astype(float) + alleles[n:]).astype(float)
    logit = 0.9 * (x[:, 2] - x[:, 2].mean())
    z = rng.random(n) < 1.0 / (1.0 + np.exp(-logit))
    columns = [f"rs{j}" for j in range(8)]
    return Study(frame(rng.normal(3.5 * z, 1.0)[:, None], ["y"]), genotypes=frame(x, columns)), columns, x


def test_credible_set_of_a_locus_holds_the_causal_variant(rng):
    study, columns, x = locus(rng)
    found = bg.select_predictors(bg.Mixture(2, weights=" + ".join(columns)), study, 0.1)
    sets = bg.credible_sets(found)
    assert len(sets) == 1
    first = sets.iloc[0]
    assert set(first["cluster"].split(", ")) == set(columns[:6])
    assert "rs2" in first["predictors"].split(", ")
    assert first["n_predictors"] < 6
    assert first["probability"] > 0.95
    members = [columns.index(name) for name in first["predictors"].split(", ")]
    smallest = np.abs(np.corrcoef(x[:, members].T)).min() if len(members) > 1 else 1.0
    assert first["purity"] == pytest.approx(smallest)
    everything = bg.credible_sets(found, least=0.0)
    assert len(everything) == 2
    # no smaller set of the cluster does it
    inside = found.included
    weights = found.models["probability"].to_numpy()
    for p in range(6):
        if len(members) > 1:
            assert weights @ inside[:, p] < 0.95 * first["cluster_probability"]


def test_credible_sets_of_a_posterior_under_a_spike_and_slab(rng):
    study, columns, _ = locus(rng)
    prior = bg.Priors(effects=bg.LogOddsSpikeSlab(inclusion=0.1))
    model = bg.Mixture(2, weights=" + ".join(columns), priors=prior)
    posterior = model.sample(study, draws=500, chains=2, seed=2, log_likelihood=False)
    first = bg.credible_sets(posterior).iloc[0]
    assert "rs2" in first["predictors"].split(", ")
    assert first["cluster_probability"] > 0.99


@pytest.mark.parametrize("n", [5, 14])
def test_smallest_sets_reach_their_target_and_no_smaller_one_does(rng, n):
    weights = rng.dirichlet(np.ones(40))
    inside = (rng.random((40, n)) < 0.15).astype(float)
    members = np.arange(n)
    total = float(weights @ inside.any(axis=1))
    chosen = _smallest(weights, inside, members, 0.9 * total)
    assert weights @ inside[:, chosen].any(axis=1) >= 0.9 * total - 1e-9
    if n == 5:
        for mask in product((False, True), repeat=n):
            if sum(mask) < len(chosen):
                assert weights @ inside[:, np.array(mask)].any(axis=1) < 0.9 * total
    else:
        # a set that grows by the best is never left with one that it could do without at the end
        assert weights @ inside[:, chosen[:-1]].any(axis=1) < 0.9 * total


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_predictors": 1}, "2 predictors have 4 subsets; up to max_predictors = 1 .*LogOddsSpikeSlab"),
        ({"inclusion": 0.0}, "inclusion = 0.0; every probability must be between 0 and 1"),
        ({"inclusion": {"x9": 0.1}}, "inclusion names 'x9'"),
        ({"always": ["x9"]}, "always names 'x9'"),
        ({"always": "x0"}, "it must be a list"),
        ({"always": ["x0", "x1"]}, "nothing to select"),
        ({"draws": 10}, "draws = 10"),
    ],
)
def test_mistakes_are_named(rng, options, message):
    study, *_ = far_apart(rng, 60, (0.5, 0.0))
    with pytest.raises(bg.InputError, match=message):
        bg.select_predictors(bg.Mixture(2, weights="x0 + x1"), study, **options)


def test_models_that_cannot_be_compared_are_refused(rng, demo_fit):
    study, *_ = far_apart(rng, 60, (0.5, 0.0))
    for effects in (bg.LogOddsSpikeSlab(), bg.LogOddsHorseshoe(1.0), bg.LogOddsLaplace()):
        with pytest.raises(bg.InputError, match="prior must be that of an effect that is in"):
            bg.select_predictors(bg.Mixture(2, weights="x0 + x1", priors=bg.Priors(effects=effects)), study)
    with pytest.raises(bg.PropernessError):
        bg.select_predictors(bg.Mixture(2, weights="x0 + x1", priors=bg.Priors(effects=bg.Flat())), study)
    with pytest.raises(bg.InputError, match="no predictors"):
        bg.select_predictors(bg.Mixture(2), study)
    with pytest.raises(bg.InputError, match="coverage = 2"):
        bg.credible_sets(demo_fit, coverage=2.0)
    with pytest.raises(bg.InputError, match="MapFit has no inclusion probabilities"):
        bg.credible_sets(demo_fit)
