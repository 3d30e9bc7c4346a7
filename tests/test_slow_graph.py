"""The compiled PyMC graph sampled with every option on, beside the engine's own density."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayesgmm as bg
from bayesgmm.study import Study


def everything(n=300, seed=4):
    """Two traits of two components with traits and genotypes missing, weights, and a covariate of the means."""
    rng = np.random.default_rng(seed)
    dosage = rng.binomial(2, 0.4, n).astype(float)
    z = rng.random(n) < 1.0 / (1.0 + np.exp(0.8 - 0.8 * dosage))
    age = rng.normal(size=n)
    y = rng.normal(size=(n, 2)) + 3.0 * z[:, None] + 0.5 * age[:, None]
    y[rng.random(y.shape) < 0.15] = np.nan
    dosage[rng.random(n) < 0.15] = np.nan
    people = [f"P{i}" for i in range(n)]
    return Study(
        pd.DataFrame(y, index=people, columns=["a", "b"]),
        pd.DataFrame({"rs1": dosage}, index=people),
        pd.DataFrame({"age": age}, index=people),
        sample_weight=pd.Series(rng.uniform(0.5, 1.5, n), index=people),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "effects", [bg.LogOddsCauchy(0.3), bg.LogOddsLaplace(0.2), bg.LogOddsSpikeSlab(inclusion=0.4, spike=0.2)]
)
def test_both_roads_sample_one_posterior_under_every_prior_of_the_effects(effects):
    model = bg.Mixture(2, covariance="VVI", weights="rs1 + age", priors=bg.Priors(effects=effects))
    study = everything()
    fit = model.fit(study, seed=1)
    one, two = (
        model.sample(study, init=fit, draws=2000, chains=2, seed=seed, density=density).summary().set_index("parameter")
        for seed, density in ((1, "fused"), (2, "pymc"))
    )
    assert max(one["r_hat"].max(), two["r_hat"].max()) < 1.02
    error = np.hypot(one["sd"] / np.sqrt(one["ess_bulk"]), two["sd"] / np.sqrt(two["ess_bulk"]))
    assert ((one["mean"] - two["mean"]).abs() < 4.5 * error).all()
    np.testing.assert_allclose(one["sd"], two["sd"], rtol=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["VVV", "EEE", "VVI"])
def test_both_roads_sample_one_posterior_with_every_option_on(family):
    study = everything()
    model = bg.Mixture(2, covariance=family, weights="rs1", means="age")
    fit = model.fit(study, seed=1)
    tables = [
        model.sample(study, init=fit, draws=1500, chains=2, seed=seed, density=density).summary().set_index("parameter")
        for seed, density in ((1, "fused"), (2, "pymc"))
    ]
    one, two = tables
    assert (one["r_hat"] < 1.02).all()
    assert (two["r_hat"] < 1.02).all()
    error = np.hypot(one["sd"] / np.sqrt(one["ess_bulk"]), two["sd"] / np.sqrt(two["ess_bulk"]))
    assert ((one["mean"] - two["mean"]).abs() < 4.5 * error).all()
    np.testing.assert_allclose(one["sd"], two["sd"], rtol=0.15)
    # the truth is inside what both say of the effect and the slopes
    effect = one.loc["effects[rs1, 1 vs 0]"]
    assert abs(effect["mean"] - 0.8) < 3.5 * effect["sd"]
