"""Answers of other programs in the reference folder: scikit-learn, StepMix, MoEClust, flexmix, mclust, a NumPy EM."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import gammaln

import bayesgmm as bg
from bayesgmm.study import Study
from tests.test_public_data import ACIDITY

FORMULAS = {"none": None, "~g": "g", "~g+age_s": "g + age_s", "~gf": "C(g)", "~factor(g)": "C(g)", "const": None}


def fold(reference_dir, *path):
    return json.loads(reference_dir.joinpath(*path).read_text())


def numbers(reference_dir, data):
    return pd.read_csv(reference_dir / "data" / f"{data}.csv").select_dtypes("number").to_numpy()


def hierarchy(reference_dir, data, k):
    """mclust's starting partition of the data into k classes."""
    return pd.read_csv(reference_dir / "data" / f"{data}_hcVVV_SVD_init_G1to5.csv")[str(k)].to_numpy()


@pytest.fixture
def geno600_start(reference_dir):
    return pd.read_csv(reference_dir / "data" / "geno600_init.csv")["init_class"].to_numpy()


def order_of(means):
    """Their components in the order of ours: by the mean of the first trait."""
    return np.argsort(np.asarray(means)[:, 0])


def assert_same_components(fit, means, covariances, *, rel, where):
    """Means to a part of the components' standard deviations, covariances to a part of their size."""
    order = order_of(means)
    means, covariances = np.asarray(means)[order], np.asarray(covariances)[order]
    sd = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    assert (np.abs(fit.params["means"].values - means) <= rel * sd).all(), where
    allowed = rel * sd[:, :, None] * sd[:, None, :]
    assert (np.abs(fit.params["covariances"].values - covariances) <= allowed).all(), where


def assert_same_effects(fit, means, coefficients, *, atol, where):
    """Log odds ratios against our component 0; theirs (K, P) are up to a constant of each predictor."""
    theirs = np.asarray(coefficients)[order_of(means)]
    np.testing.assert_allclose(fit.params["effects"].values.T, theirs[1:] - theirs[0], atol=atol, err_msg=where)


# -- scikit-learn ---------------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["faithful", "iris"])
def test_sklearn_rows(reference_dir, data):
    rows = pd.read_csv(reference_dir / "sklearn" / "sklearn_vs_mclust.csv")
    rows = rows[rows["data"] == data]
    assert len(rows) == 12
    y = numbers(reference_dir, data)
    theirs = {"VVV": "full", "EEE": "tied", "VVI": "diag", "VII": "spherical"}
    for row in rows.itertuples():
        mixture = bg.Mixture(row.G, covariance=theirs[row.model], priors=bg.Priors.flat())
        fit = mixture.fit(y, init=hierarchy(reference_dir, data, row.G))
        where = f"{data}, {theirs[row.model]}, {row.G}: {fit.log_likelihood} and {row.sklearn_tol0}"
        assert fit.converged, where
        assert fit.log_likelihood >= row.sklearn_tol0 - 1e-6 * abs(row.sklearn_tol0), where
        assert fit.log_likelihood >= row.sklearn_default_tol, where
        assert fit.n_parameters == row.df_sklearn, where
        bic = -2.0 * row.sklearn_tol0 + row.df_sklearn * np.log(len(y))
        assert fit.bic <= bic + 2e-6 * abs(row.sklearn_tol0), where


# -- predictors of the weights --------------------------------------------------------------------


@pytest.mark.parametrize("key", ["const", "1-step ~g", "1-step ~g+age_s", "1-step ~factor(g)"])
def test_stepmix_one_step(reference_dir, geno600, geno600_start, key):
    row = fold(reference_dir, "stepmix", "stepmix_geno600.json")["results"][key]
    formula = FORMULAS[key.removeprefix("1-step ")]
    fit = bg.Mixture(3, weights=formula, priors=bg.Priors.flat()).fit(geno600, init=geno600_start)
    # StepMix adds 1e-6 to every variance, which costs it 1e-7 or so of log likelihood and moves nothing else
    assert fit.log_likelihood >= row["loglik"], key
    assert fit.log_likelihood == pytest.approx(row["loglik"], rel=1e-9), key
    assert fit.n_parameters == row["n_parameters"], key
    assert (fit.bic, fit.aic) == pytest.approx((row["bic"], row["aic"]), rel=1e-9), key
    assert_same_components(fit, row["mean"], row["sigma"], rel=1e-3, where=key)
    if formula is None:
        np.testing.assert_allclose(fit.params["weights"], np.array(row["weights"])[order_of(row["mean"])], atol=1e-4)
    else:
        slopes = np.array(row["beta_minus_baseline"])[:, 1:]
        assert_same_effects(fit, row["mean"], slopes, atol=1e-3, where=key)


def test_stepwise_and_biased_estimates_are_below_the_maximum(reference_dir, geno600, geno600_start):
    stepmix = fold(reference_dir, "stepmix", "stepmix_geno600.json")["results"]
    flexmix = fold(reference_dir, "gating", "flexmix_geno600.json")["results"]
    # StepMix in two and three steps, and with its gradient descent; flexmix, whose covariances are unbiased, not ML
    below = {f"stepmix {key}": (key.split("~")[1], row) for key, row in stepmix.items() if key[:2] in ("2-", "3-")}
    below |= {f"flexmix {key}": (key.lstrip("~"), row) for key, row in flexmix.items()}
    assert len(below) == 7
    for key, (name, row) in below.items():
        formula = {"g": "g", "g+age_s": "g + age_s", "factor(g)": "C(g)", "const": None}[name]
        fit = bg.Mixture(3, weights=formula, priors=bg.Priors.flat()).fit(geno600, init=geno600_start)
        assert row["loglik"] < fit.log_likelihood < row["loglik"] + 1.5, key
        if key.startswith("flexmix"):
            assert fit.log_likelihood < row["loglik"] + 0.02, key
            assert fit.n_parameters == row["df"], key


@pytest.mark.parametrize("formula", ["none", "~g", "~g+age_s", "~gf"])
@pytest.mark.parametrize("family", ["VVV", "EEE", "VVI", "EVE"])
def test_moeclust_rows(reference_dir, geno600, geno600_start, family, formula):
    key = f"{family} {formula}"
    row = fold(reference_dir, "gating", "moeclust_geno600.json")["results"][key]
    mixture = bg.Mixture(3, covariance=family, weights=FORMULAS[formula], priors=bg.Priors.flat())
    fit = mixture.fit(geno600, init=geno600_start)
    where = f"{key}: {fit.log_likelihood} and {row['loglik']}"
    assert fit.converged, where
    assert fit.log_likelihood >= row["loglik"] - 1e-9 * abs(row["loglik"]), where
    assert fit.log_likelihood == pytest.approx(row["loglik"], rel=1e-6), where
    assert fit.n_parameters == row["df"], where
    assert (-fit.bic, -fit.aic) == pytest.approx((row["BIC"], row["AIC"]), rel=2e-6), where
    means = np.transpose(row["mean"])
    assert_same_components(fit, means, row["sigma"], rel=1e-3, where=where)
    if FORMULAS[formula] is not None:
        # a row a component but the first; the first column is the intercept
        coefficients = np.array(row["gating_coef"]).reshape(2, -1)
        slopes = np.vstack([np.zeros(coefficients.shape[1] - 1), coefficients[:, 1:]])
        assert_same_effects(fit, means, slopes, atol=1e-3, where=where)


def test_sample_weights_with_a_predictor(reference_dir, geno600, geno600_start):
    key = "ML VVV ~g, sample_weight = 1 + (row index mod 3)"
    row = fold(reference_dir, "gating", "reference_em.json")["results"][key]
    weight = 1.0 + np.arange(600) % 3
    mixture = bg.Mixture(3, weights="g", priors=bg.Priors.flat())
    fit = mixture.fit(geno600, init=geno600_start, sample_weight=weight)
    assert fit.log_likelihood == pytest.approx(row["loglik"], rel=1e-10)
    assert_same_components(fit, row["mean"], row["sigma"], rel=1e-4, where=key)
    slopes = np.vstack([np.zeros(1), np.array(row["gating_coef_baseline1"])[:, 1:]])
    assert_same_effects(fit, row["mean"], slopes, atol=1e-4, where=key)
    assert fit.bic == pytest.approx(-2.0 * row["loglik"] + 19 * np.log(weight.sum()), rel=1e-9)


# -- modes of posteriors --------------------------------------------------------------------------


def components_prior(row):
    prior = row["prior"]
    return bg.NormalInverseWishart(mean=prior["m0"], strength=prior["kappa"], dof=prior["nu"], scale=prior["Psi"])


NIW = ["NIW mclust default (kappa=.01, nu=p+2, Psi=cov/G^(2/p))", "NIW strong (kappa=2, nu=10, Psi=cov)"]


@pytest.mark.parametrize("niw", NIW)
@pytest.mark.parametrize("alpha", ["flat", "2.0", "10.0"])
def test_modes_under_the_priors_of_components_and_weights(reference_dir, geno600, geno600_start, niw, alpha):
    key = f"MAP VVV constant weights, {niw}, Dirichlet alpha={alpha}"
    row = fold(reference_dir, "gating", "reference_em.json")["results"][key]
    weights = bg.Dirichlet(1.0 if alpha == "flat" else float(alpha))
    fit = bg.Mixture(3, priors=bg.Priors(weights, components_prior(row))).fit(geno600, init=geno600_start)
    # the uniform Dirichlet is a density too: Gamma(K), which the reference leaves out
    constant = gammaln(3) if alpha == "flat" else 0.0
    assert fit.log_posterior == pytest.approx(row["objective"] + constant, rel=1e-11), key
    assert fit.log_likelihood == pytest.approx(row["loglik"], rel=1e-8), key
    assert_same_components(fit, row["mean"], row["sigma"], rel=1e-4, where=key)
    np.testing.assert_allclose(fit.params["weights"], np.array(row["pi"])[order_of(row["mean"])], atol=1e-5)
    # the likelihood of responsibilities: entropy of the memberships
    assert 0.5 * (fit.icl - fit.bic) == pytest.approx(row["entropy"], rel=1e-4), key


GATED = [
    "MAP VVV ~g+age_s, N(0,1.0) on every free gating coefficient incl. intercept, flat mu/Sigma",
    "MAP VVV ~g+age_s, N(0,25.0) on every free gating coefficient incl. intercept, flat mu/Sigma",
    *(f"MAP VVV ~g+age_s, {niw}, N(0,4) gating" for niw in NIW),
]


@pytest.mark.parametrize("key", GATED)
def test_densities_at_modes_under_another_prior_of_the_weights(reference_dir, geno600, key):
    """Their prior of the coefficients depends on the baseline and is not ours; all else of the density is."""
    row = fold(reference_dir, "gating", "reference_em.json")["results"][key]
    components = components_prior(row) if "prior" in row else bg.Flat()
    priors = bg.Priors(bg.Dirichlet(1.0), components, effects=bg.Flat())
    problem = bg.Mixture(3, weights="g + age_s", priors=priors).problem(geno600)
    coefficients = np.vstack([np.zeros(3), row["gating_coef_baseline1"]])
    # our weights are those of the average person
    covariates = pd.read_csv(reference_dir / "data" / "geno600.csv")[["g", "age_s"]].to_numpy()
    logits = coefficients[:, 0] + coefficients[:, 1:] @ covariates.mean(axis=0)
    pi = np.exp(logits - np.logaddexp.reduce(logits))
    labelled = problem.label(
        pi, np.array(row["mean"]), np.array(row["sigma"]), coefficients[1:, 1:].T, np.zeros((0, 2))
    )
    parameters = problem.parameters(labelled)
    value, _ = problem.arrays.log_posterior_and_gradient(parameters)
    log_prior = problem.arrays.log_prior(parameters)
    assert value - log_prior + problem.log_likelihood_shift == pytest.approx(row["loglik"], rel=1e-11)
    tau2 = row.get("tau2") or float(key.split("N(0,")[1].split(")")[0])
    gating = -0.5 * (coefficients**2).sum() / tau2 - 3.0 * np.log(2.0 * np.pi * tau2)
    assert log_prior + problem.log_prior_shift - gammaln(3) == pytest.approx(row["log_prior"] - gating, abs=1e-8)


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("data", ["faithful", "iris"])
def test_modes_under_mclusts_prior(reference_dir, data, k):
    key = f"{data} VVV G={k}"
    row = fold(reference_dir, "gating", "map_vvv_mclust_prior_logposterior.json")[key]
    y = numbers(reference_dir, data)
    priors = bg.Priors(bg.Dirichlet(1.0), components_prior(row))
    fit = bg.Mixture(k, priors=priors).fit(y, init=hierarchy(reference_dir, data, k))
    assert fit.log_posterior == pytest.approx(row["objective"] + gammaln(k), rel=1e-9), key
    assert fit.log_likelihood == pytest.approx(row["loglik"], rel=1e-6), key
    assert_same_components(fit, row["mean"], row["sigma"], rel=1e-3, where=key)
    np.testing.assert_allclose(fit.params["weights"], np.array(row["pi"])[order_of(row["mean"])], atol=1e-4)
    # what mclust takes by default is what we take by default
    ours = bg.Mixture(k).problem(y).priors
    assert (ours.strength, ours.dof) == (row["prior"]["kappa"], row["prior"]["nu"]), key
    np.testing.assert_allclose(ours.scale, row["prior"]["Psi"], rtol=1e-12, err_msg=key)


# -- one trait ------------------------------------------------------------------------------------


def quantile_classes(y, k):
    """mclust's qclass: classes between quantiles, the lower bound included."""
    return np.searchsorted(np.quantile(y, np.arange(1, k) / k), y, side="right")


UNIVARIATE = [
    (data, prior, family, k)
    for data, prior in (("acidity", "none"), ("acidity", "default"), ("eruptions", "default"))
    for family in ("E", "V")
    for k in (1, 2, 3, 4, 5)
    # there mclust's fit collapsed
    if (data, prior, family, k) != ("acidity", "none", "V", 5)
]


@pytest.mark.parametrize(("data", "prior", "family", "k"), UNIVARIATE)
def test_univariate_rows(reference_dir, data, prior, family, k):
    rows = fold(reference_dir, "mclust", "univariate_E_V.json")
    (row,) = [r for r in rows if (r["data"], r["prior"], r["model"], r["G"]) == (data, prior, family, k)]
    y = np.array(ACIDITY) if data == "acidity" else numbers(reference_dir, data)[:, 0]
    priors = bg.Priors.flat()
    if prior == "default":
        components = bg.NormalInverseWishart(strength=0.01, dof=3.0, scale=y.var(ddof=1) / k**2)
        priors = bg.Priors(weights=bg.Flat(), components=components)
    fit = bg.Mixture(k, covariance=family, priors=priors).fit(y, init=quantile_classes(y, k))
    where = f"{data}, {prior}, {family}, {k}: {fit.log_likelihood} and {row['loglik']}"
    assert fit.converged, where
    assert fit.n_parameters == row["df"], where
    if prior == "none":
        assert fit.log_likelihood >= row["loglik"] - 1e-6 * abs(row["loglik"]), where
        return
    assert fit.log_likelihood == pytest.approx(row["loglik"], rel=1e-6), where
    assert -fit.bic == pytest.approx(row["bic"], rel=1e-6), where
    pro, mean, variance = (np.atleast_1d(row[name]) for name in ("pro", "mean", "sigmasq"))
    order = np.argsort(mean)
    np.testing.assert_allclose(fit.params["weights"], pro[order], atol=1e-3, err_msg=where)
    np.testing.assert_allclose(fit.params["means"].values[:, 0], mean[order], atol=1e-3, err_msg=where)
    variance = np.broadcast_to(variance, k)[order]
    np.testing.assert_allclose(fit.params["covariances"].values[:, 0, 0], variance, rtol=1e-2, err_msg=where)


# -- flexmix's example ----------------------------------------------------------------------------


def test_four_clusters_of_flexmixs_example_are_found_without_a_start(reference_dir):
    known = fold(reference_dir, "gating", "flexmix_examples.json")
    row = known["Nclus_k4_mclust_VVV"]
    frame = pd.read_csv(reference_dir / "data" / "flexmix_Nclus.csv")
    fit = bg.Mixture(4, priors=bg.Priors.flat()).fit(Study(frame), seed=1)
    assert fit.log_likelihood == pytest.approx(row["loglik"], rel=1e-9)
    assert known["Nclus_k4_flexmix"]["loglik"] < fit.log_likelihood
    assert fit.n_parameters == known["Nclus_k4_flexmix"]["df"]
    means = np.transpose(row["mean"])
    np.testing.assert_allclose(fit.params["means"], means[order_of(means)], atol=1e-4)
    np.testing.assert_allclose(fit.params["weights"], np.array(row["pro"])[order_of(means)], atol=1e-5)
