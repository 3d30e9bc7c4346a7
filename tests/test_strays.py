"""People far from everybody: they rule no default where the mixture has a place for them, and are told where not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayesgmm as bg
from bayesgmm.core.bulk import in_bulk
from bayesgmm.inference.fit_words import told_beside

CLUMP = np.random.default_rng(1).normal(0, 1, 199)
BEYOND = [{"noise": True}, {"df": "each"}, {"noise": True, "df": 5.0}]


def with_codes():
    """Two humps of a trait, and three people with a code for missing."""
    rng = np.random.default_rng(1)
    return np.r_[rng.normal(100, 15, 500), rng.normal(160, 15, 497), [99999.0] * 3]


def sds(fit):
    return np.sqrt(fit.params["covariances"].values[: fit.problem.n_located, 0, 0])


@pytest.mark.parametrize("far", [15.0, 100.0, 300.0, 1000.0, 1e10])
def test_one_stray_does_not_widen_the_component_beside_noise(far, tmp_path):
    fit = bg.Mixture(1, noise=True).fit(np.r_[CLUMP, far], seed=1)
    assert sds(fit)[0] == pytest.approx(CLUMP.std(ddof=1), rel=0.05)
    assert fit.responsibilities.values[-1, 1] > 0.99
    assert fit.flags.empty
    fit.save(tmp_path / "fit.nc")
    assert bg.read_fit(tmp_path / "fit.nc").log_posterior == pytest.approx(fit.log_posterior, abs=1e-8)


def test_a_code_for_missing_leaves_both_humps():
    fit = bg.Mixture(2, noise=True).fit(with_codes(), seed=1)
    np.testing.assert_allclose(fit.params["means"].values[:2, 0], [100, 160], atol=3)
    np.testing.assert_allclose(sds(fit), 15, rtol=0.15)
    assert (fit.responsibilities.values[-3:, 2] > 0.99).all()


@pytest.mark.parametrize("beyond", BEYOND, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_data_without_strays_keep_their_default_prior(beyond, weighted):
    rng = np.random.default_rng(2)
    y = np.r_[rng.normal(0, 1, (150, 2)), rng.normal(5, 1, (150, 2))]
    weight = rng.integers(1, 4, 300).astype(float) if weighted else np.ones(300)
    resolved = bg.Mixture(2, **beyond).problem(y, weight if weighted else None).priors
    np.testing.assert_allclose(resolved.scale, np.cov(y.T, fweights=weight.astype(int)) / 2, rtol=1e-12)
    np.testing.assert_allclose(resolved.mean, np.average(y, axis=0, weights=weight), rtol=1e-12)
    # and one person out of a thousand sds is not in it, under any priors given later too
    far = np.vstack([y, [[0.0, 1000.0]]])
    problem = bg.Mixture(2, **beyond).problem(far, np.r_[weight, 1.0] if weighted else None)
    for priors in (problem.priors, problem.with_priors(bg.Priors()).priors):
        np.testing.assert_allclose(priors.scale, resolved.scale, rtol=1e-12)
    # a Gaussian mixture has no place for them
    np.testing.assert_allclose(bg.Mixture(2).problem(far).priors.scale, np.cov(far.T) / 2, rtol=1e-12)


def test_gaps_and_strays_together():
    rng = np.random.default_rng(3)
    y = rng.normal(0, 1, (300, 2))
    y[:60, 0], y[-1] = np.nan, [np.nan, 500.0]
    resolved = bg.Mixture(1, noise=True).problem(y).priors
    np.testing.assert_allclose(resolved.scale, bg.Mixture(1).problem(y[:-1]).priors.scale, rtol=1e-10)


def test_who_is_near():
    rng = np.random.default_rng(4)
    y = rng.normal(50, 2, 400)
    assert in_bulk(y[:, None]).all()
    low, high = np.quantile(y, [0.25, 0.75], method="inverted_cdf")
    edge = np.median(y) + 6 * (high - low) / 1.349
    assert in_bulk(np.r_[y, edge - 0.5, edge + 0.5][:, None])[-2:].tolist() == [True, False]
    # more than half at one value, some elsewhere, and a code
    zeros = np.r_[np.zeros(300), rng.normal(5, 1, 90), [-999.0] * 5, np.nan]
    assert np.flatnonzero(~in_bulk(zeros[:, None])).tolist() == list(range(390, 395))
    assert in_bulk(np.ones((5, 1))).all()
    # a weight is as many people
    values, weight = np.array([0.0, 1.0, 2.0, 3.0, 40.0]), np.array([5, 9, 9, 5, 1])
    repeated = in_bulk(np.repeat(values, weight)[:, None])
    np.testing.assert_array_equal(np.repeat(in_bulk(values[:, None], weight.astype(float)), weight), repeated)
    assert repeated.sum() == 28


def flags_of(fit):
    return fit.flags[fit.flags["flag"] == "wide by strays"]


def test_a_gaussian_component_that_strays_widen_is_flagged():
    for k in (1, 2):
        found = flags_of(bg.Mixture(k).fit(np.r_[CLUMP, 1000.0], seed=1))
        assert found["component"].tolist() == [0]
        assert "1 person is far from all others (the farthest at 1000)" in found["message"].iloc[0]
        assert "take noise=True" in found["message"].iloc[0]
    codes = bg.Mixture(2).fit(with_codes(), seed=1)
    assert "3 people are far from all others (the farthest at 99999)" in flags_of(codes)["message"].iloc[0]
    # the share that is told, by hand: prior and scatter about the component's mean
    held, y = codes.responsibilities.values[:, 0], with_codes()
    prior = np.var(y, ddof=1) / 4
    scatter = held @ (y - held @ y / held.sum()) ** 2
    assert f"{100 * prior / (prior + scatter):.0f}% of the scatter" in flags_of(codes)["message"].iloc[0]
    spike = codes.flags.set_index("flag").loc["spike", "message"]
    assert "s this a code for missing?" in spike
    assert "make it missing (NaN)" in spike


def test_ordinary_groups_are_not_taken_for_strays():
    rng = np.random.default_rng(5)
    apart = np.r_[rng.normal(0, 1, 180), rng.normal(20, 1, 20)]
    for covariance in ("E", "V"):
        assert flags_of(bg.Mixture(2, covariance).fit(apart, seed=1)).empty
    assert flags_of(bg.Mixture(2).fit(CLUMP, seed=1)).empty
    traits = np.column_stack([rng.normal(size=200), np.r_[rng.normal(0, 0.02, 100), rng.normal(9, 1, 100)]])
    assert flags_of(bg.Mixture(2).fit(traits, seed=1)).empty  # narrow, and nobody strays
    assert flags_of(bg.Mixture(1, noise=True).fit(np.r_[CLUMP, 1000.0], seed=1)).empty


@pytest.mark.parametrize("volume", [1, 0.001, 5.0])
def test_noise_that_cannot_hold_one_trait_is_refused(volume):
    y = np.r_[np.random.default_rng(1).normal(0, 1, 100), np.random.default_rng(2).normal(5, 1, 100)]
    wanted = rf"noise = {volume}: .* at least {np.ptp(y):.6g}, the range of the data. noise=True reads the box"
    with pytest.raises(bg.InputError, match=wanted):
        bg.Mixture(1, noise=volume).fit(y)
    with pytest.raises(bg.InputError, match="at least"):
        bg.sklearn.MixtureEstimator(1, noise=volume).fit(y[:, None])
    with pytest.raises(bg.InputError, match="at least"):
        bg.select(y, [1, 2], noise=volume)
    found = bg.select(y, [1, 2], noise=[False, volume])
    assert found.table["status"].tolist() == ["fitted", "failed"] * 2
    assert "cannot hold the data" in repr(found)
    assert bg.Mixture(1, noise=float(np.ptp(y))).fit(y).converged


def test_noise_that_cannot_hold_several_traits_is_refused():
    y = np.random.default_rng(6).normal(size=(200, 3))
    box = bg.Mixture(1, noise=True).problem(y).fixed.noise
    ball = box.volume * np.pi / 6  # of the ball in a cube
    assert bg.Mixture(1, noise=1.001 * ball).problem(y).fixed.noise.volume == 1.001 * ball
    with pytest.raises(bg.InputError, match="volume of the ellipsoid inscribed in the box"):
        bg.Mixture(1, noise=0.999 * ball).problem(y)


def test_noise_that_cannot_hold_the_data_of_a_pymc_model_is_refused():
    import pymc as pm

    given = {"logits": np.zeros(2), "means": [0.0], "sd": [1.0], "observed": CLUMP}
    for noise in (1, (0.0, 1.0)):
        with pm.Model(), pytest.raises(bg.InputError, match="the range of the data"):
            bg.pymc.MarginalMixture("y", noise=noise, **given)
    with pm.Model():
        bg.pymc.MarginalMixture("y", noise=(-10.0, 10.0), **given)


def test_noise_that_does_not_pay_is_told():
    y = np.random.default_rng(3).normal(0, 1, 200)
    fit = bg.Mixture(1, noise=True).fit(y, seed=1)
    gain = fit.bic - bg.Mixture(1).fit(y, seed=1).bic
    assert gain > 2
    found = bg.check_fit(fit, draws=50, seed=1)
    assert f"does not pay: without it BIC is {gain:.1f} lower" in found.notes[0]
    assert found.notes[0] in repr(found)
    needed = bg.Mixture(1, noise=True).fit(np.r_[y, -12.0, 11.0, 15.0], seed=1)
    assert bg.check_fit(needed, draws=50, seed=1).notes == []
    asked = "Ask for noise = [False, True]"
    assert asked in repr(bg.select(y, [1, 2], model=bg.Mixture(1, noise=True), seed=1))
    assert asked not in repr(bg.select(y, [1, 2], noise=[False, True], seed=1))


def test_noise_with_predictors_and_a_spike_is_compared_with_none():
    rng = np.random.default_rng(7)
    g = rng.binomial(2, 0.4, 300)
    y = np.where(rng.random(300) < 0.2 + 0.3 * g, rng.normal(5, 1, 300), rng.normal(0, 1, 300))
    y[:30] = 9.0
    ids = [f"p{i}" for i in range(300)]
    study = bg.Study(traits=pd.DataFrame({"t": y}, index=ids), genotypes=pd.DataFrame({"rs1": g}, index=ids))
    model = {"weights": "rs1", "spike": 9.0}
    fit = bg.Mixture(2, noise=True, reference=3, **model).fit(study, seed=1)
    gain = fit.bic - bg.Mixture(2, **model).fit(study, seed=1).bic
    assert gain > 0
    assert f"BIC is {gain:.1f} lower" in bg.check_fit(fit, draws=50, seed=1).notes[0]
    not_without = "not to be compared with fits without the spike"
    assert not_without in repr(fit)
    assert not_without in repr(bg.select(study, [1, 2], model=bg.Mixture(1, spike=9.0), seed=1))


def test_means_are_printed_so_that_components_can_be_told_apart():
    rng = np.random.default_rng(8)
    y = 1e9 + np.r_[rng.normal(0, 0.0007, 200), rng.normal(0.01, 0.0007, 200)]
    told = [line.split("trait0 ")[1].split(" (")[0] for line in repr(bg.Mixture(2).fit(y)).splitlines()[2:4]]
    assert float(told[1]) - float(told[0]) == pytest.approx(0.01, abs=0.0003)
    shown = [told_beside(*x) for x in ((129.1234, 32.9), (264.1234, 0.2), (0.0, 1.0), (5.0, 0.0), (-5e3, 1e-30))]
    assert shown == ["129.1", "264.12", "0", "5", "-5000"]
