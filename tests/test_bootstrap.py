"""Standard errors and bootstraps, against references, closed forms and other programs."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

import bayesgmm as bg
from bayesgmm.analysis.bootstrap import _Pivot
from bayesgmm.core.labels import order_and_margin
from bayesgmm.errors import FitWarning, InputError
from bayesgmm.inference.replicates import Refit

FLAT = bg.Priors.flat()


def coefficients(fit: bg.MapFit, order: tuple[int, int, int]):
    """Intercept (not centred) and slopes of two components against the first, as a function of the parameters."""
    centers = xr.DataArray(fit.problem.predictor_centers, dims="predictor")

    def of(p: xr.Dataset) -> xr.DataArray:
        log_odds = np.log(p["weights"] / p["weights"].sel(component=order[0], drop=True))
        rows = []
        for k in order[1:]:
            slopes = p["effects"].sel(contrast=f"{k} vs {order[0]}", drop=True).drop_vars("predictor")
            intercept = log_odds.sel(component=k, drop=True) - (slopes * centers).sum("predictor")
            rows.append(xr.concat([intercept, *(slopes.isel(predictor=j) for j in range(len(centers)))], "coef"))
        return xr.concat(rows, "row")

    return of


@pytest.mark.parametrize(("formula", "key"), [("g", "ML VVV ~g"), ("g + age_s", "ML VVV ~g+age_s")])
def test_observed_and_sandwich_errors_are_the_references(geno600, reference_dir, formula, key):
    reference = json.loads((reference_dir / "gating" / "reference_em.json").read_text())["results"][key]
    fit = bg.Mixture(3, weights=formula, priors=FLAT).fit(geno600, seed=1)
    assert fit.log_likelihood == pytest.approx(reference["loglik"], abs=1e-6)
    for kind, name in (("observed", "se_observed_information"), ("sandwich", "se_sandwich")):
        table = bg.standard_errors(fit, kind, coefficients(fit, (0, 2, 1)))
        np.testing.assert_allclose(table["estimate"], np.ravel(reference["gating_coef_baseline1"]), atol=1e-4)
        np.testing.assert_allclose(table["se"], np.ravel(reference[name]), rtol=1e-3)


def test_errors_of_one_gaussian_have_their_closed_forms():
    y = np.random.default_rng(1).gamma(2.0, size=400)
    fit = bg.Mixture(1, priors=FLAT).fit(y)
    n, variance = len(y), y.var()
    observed, sandwich = (bg.standard_errors(fit, kind).set_index("quantity") for kind in ("observed", "sandwich"))
    mean, spread = "means[0, trait0]", "covariances[0, trait0, trait0]"
    assert observed["se"][mean] == pytest.approx(np.sqrt(variance / n), rel=1e-5)
    assert observed["se"][spread] == pytest.approx(variance * np.sqrt(2 / n), rel=1e-5)
    assert sandwich["se"][mean] == pytest.approx(np.sqrt(variance / n), rel=1e-5)
    # without the normal's kurtosis: the variance of the sample's variance
    fourth = ((y - y.mean()) ** 4).mean()
    assert sandwich["se"][spread] == pytest.approx(np.sqrt((fourth - variance**2) / n), rel=1e-5)
    reach = stats.norm.ppf(0.975) * observed["se"][spread] / variance
    assert observed["lower"][spread] == pytest.approx(variance * np.exp(-reach), rel=1e-5)
    assert observed["upper"]["weights[0]"] == 1.0


def test_errors_agree_with_those_of_the_fit_and_derived_ones_follow(demo_fit):
    table = bg.standard_errors(demo_fit).set_index("quantity")
    assert list(table.index) == list(demo_fit.summary()["parameter"])
    np.testing.assert_allclose(table["se"], demo_fit.summary()["se"], rtol=1e-6)
    effects = bg.standard_errors(demo_fit, quantity="effects").set_index("quantity")
    odds = bg.standard_errors(demo_fit, quantity={"odds": lambda p: np.exp(p["effects"])})
    np.testing.assert_allclose(odds["se"], odds["estimate"].to_numpy() * effects["se"].to_numpy(), rtol=1e-6)
    assert odds["quantity"][0] == "odds[rs101, 1 vs 0]"


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.DataWarning")
def test_whole_weights_are_people_and_others_are_not():
    rng = np.random.default_rng(4)
    y = np.concatenate([rng.normal(0, 1, 120), rng.normal(4, 1, 80)]).round(1)
    weight = rng.integers(0, 4, 200).astype(float)
    apart = bg.Mixture(2, priors=FLAT, compress=False).fit(np.repeat(y, weight.astype(int)), seed=1)
    together = bg.Mixture(2, priors=FLAT, compress=True).fit(y, sample_weight=weight, seed=1)
    for kind in ("observed", "sandwich"):
        one, other = (bg.standard_errors(fit, kind)["se"] for fit in (apart, together))
        np.testing.assert_allclose(one, other, rtol=1e-4)
    # weights of the likelihood: the sandwich does not care how large they are, the curvature does
    small, large = (bg.Mixture(2, priors=FLAT).fit(y, sample_weight=w * (weight + 0.37), seed=1) for w in (0.01, 1.0))
    one, other = (bg.standard_errors(fit, "sandwich")["se"] for fit in (small, large))
    np.testing.assert_allclose(one, other, rtol=1e-3)


def test_the_margin_is_that_of_the_second_best_of_all_orders():
    rng = np.random.default_rng(3)
    for k in (1, 2, 3, 5):
        agreement = rng.random((k, k))
        totals = sorted(
            (sum(agreement[i, p[i]] for i in range(k)) for p in itertools.permutations(range(k))), reverse=True
        )
        order, best, margin = order_and_margin(agreement)
        assert best == pytest.approx(totals[0])
        assert agreement[np.arange(k), order].sum() == pytest.approx(best)
        assert margin == (pytest.approx(totals[0] - totals[1]) if k > 1 else np.inf)


def test_drawing_people_agrees_with_the_sandwich_and_drawing_traits_with_the_information():
    sim = bg.simulate_study(1500, means=((0.0,), (4.0,)), seed=6).study
    fit = bg.Mixture(2, weights="rs1").fit(sim, seed=1)
    for kind in ("nonparametric", "weighted", "parametric"):
        found = bg.bootstrap(fit, kind, draws=600, seed=3)
        assert (found.alignment["flag"] == "").all()
        # drawing people knows no model, and drawing traits knows nothing else
        expected = bg.standard_errors(fit, "observed" if kind == "parametric" else "sandwich")
        table = found.table()
        # a standard deviation of 600 draws is known to 3%
        np.testing.assert_allclose(table["se"], expected["se"], rtol=0.1)
        assert (table["bias"].abs() < 0.25 * table["se"]).all()
        np.testing.assert_allclose(table["lower"], expected["lower"], atol=0.3 * expected["se"].max())
        assert found.posterior.sizes["draw"] == 600
        np.testing.assert_allclose(found.standard_errors["weights"], table["se"][:2], rtol=1e-12)
        assert (found.intervals().sel(bound="lower") <= found.intervals().sel(bound="upper"))["means"].all()


def test_bca_intervals_are_scipys_for_one_gaussian():
    y = np.random.default_rng(2).exponential(size=60)
    fit = bg.Mixture(1, priors=FLAT).fit(y)
    found = bg.bootstrap(fit, draws=6000, seed=1)
    theirs = stats.bootstrap((y,), np.var, n_resamples=6000, method="BCa", rng=np.random.default_rng(1))
    ours = found.table("covariances", method="bca").iloc[0]
    assert ours["lower"] == pytest.approx(theirs.confidence_interval.low, rel=0.05)
    assert ours["upper"] == pytest.approx(theirs.confidence_interval.high, rel=0.05)
    basic = stats.bootstrap((y,), np.mean, n_resamples=6000, method="basic", rng=np.random.default_rng(1))
    row = found.table("means", method="basic").iloc[0]
    np.testing.assert_allclose([row["lower"], row["upper"]], list(basic.confidence_interval), rtol=0.02)


def test_components_are_aligned_by_who_is_in_them_and_not_by_their_means():
    # one place, two widths: the order of the means is chance
    rng = np.random.default_rng(5)
    y = np.concatenate([rng.normal(0, 0.5, 500), rng.normal(0.02, 4.0, 500)])
    fit = bg.Mixture(2).fit(y, seed=1)
    found = bg.bootstrap(fit, draws=100, seed=1)
    wide = int(fit.params["covariances"].values.ravel().argmax())
    widths = found.posterior["covariances"].values.reshape(100, 2)
    assert (widths.argmax(axis=1) == wide).all()
    means = found.posterior["means"].values.reshape(100, 2)
    assert 0 < (means[:, 0] < means[:, 1]).sum() < 100
    swapped = Refit(fit.parameters.permuted(np.array([1, 0])), 0.0, 0.0, True, 1)
    aligned, agreement, margin = _Pivot(fit).aligned(swapped)
    np.testing.assert_allclose(aligned.parameters.means, fit.parameters.means)
    assert 0.0 < margin < agreement <= 1.0


def test_unsure_labels_are_flagged():
    y = np.random.default_rng(8).normal(size=150)
    fit = bg.Mixture(3).fit(y, seed=1)
    with pytest.warns(FitWarning, match="labels unsure"):
        found = bg.bootstrap(fit, draws=100, seed=1)
    assert found.n_unsure > 1
    assert (found.alignment.loc[found.alignment["flag"] == "unsure", "failure"] == "").all()


def test_failures_are_counted_and_the_weighted_bootstrap_has_none():
    rng = np.random.default_rng(9)
    y = np.concatenate([rng.normal(0, 1, 60), [8.0, 8.1, 8.3]])
    fit = bg.Mixture(2, priors=FLAT).fit(y, init=(y > 5).astype(int))
    with pytest.warns(FitWarning, match="failed"):
        found = bg.bootstrap(fit, draws=200, seed=1)
    failed = found.alignment["flag"] == "failed"
    # nobody, or one value only, of three: lost in a share of replicates that is known
    assert 0.05 < failed.mean() < 0.6
    assert len(found.alignment) == 200
    assert found.posterior.sizes["draw"] == 200 - failed.sum() == 200 - found.n_failed
    assert found.alignment.loc[failed, "failure"].str.contains("collapsed").all()
    assert "replicates failed" in found.table()["note"][0]
    assert bg.bootstrap(fit, "weighted", draws=200, seed=1).n_failed == 0


def test_bootstrap_is_reproducible_and_workers_change_nothing(demo_fit):
    one = bg.bootstrap(demo_fit, draws=40, seed=4, workers=1, restarts=2)
    two = bg.bootstrap(demo_fit, draws=40, seed=4, workers=2, restarts=2)
    xr.testing.assert_identical(one.posterior, two.posterior)
    pd.testing.assert_frame_equal(one.alignment, two.alignment)
    assert not one.posterior.identical(bg.bootstrap(demo_fit, draws=40, seed=5).posterior)


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.FitWarning")
def test_effects_that_few_people_inform_are_told():
    rng = np.random.default_rng(2)
    ids = [f"P{i}" for i in range(240)]
    z = rng.random(240) < 0.4
    dosages = {"one": np.arange(240) == np.flatnonzero(z)[0], "many": rng.binomial(2, np.where(z, 0.6, 0.3))}
    traits = pd.DataFrame({"y": rng.normal(np.where(z, 4.0, 0.0), 1.0)}, index=ids)
    fit = bg.Mixture(2, weights="one + many").fit(bg.Study(traits, pd.DataFrame(dosages, index=ids).astype(float)))
    with pytest.warns(FitWarning, match="one: 1 person has its rarer value, and replicates scatter 0.* too narrow"):
        found = bg.bootstrap(fit, draws=100, seed=1)
    assert list(found.doubtful) == ["one"]
    notes = found.table().set_index("quantity")["note"]
    assert notes["effects[one, 1 vs 0]"] == found.doubtful["one"] == found.note
    assert (notes.drop("effects[one, 1 vs 0]") == "").all()
    # a function may be of any effect
    assert found.table(lambda p: p["effects"].sum(("predictor", "contrast")))["note"][0] == found.note
    # traits drawn anew keep the person, but say no more of the effect than the likelihood does
    assert "person" not in bg.bootstrap(fit, "parametric", draws=100, seed=1).note


@pytest.mark.parametrize(
    ("draws", "level", "method", "needed"),
    [(2, 0.95, "percentile", 40), (39, 0.95, "basic", 40), (19, 0.9, "percentile", 20), (200, 0.95, "bca", 400)],
)
def test_intervals_of_too_few_replicates_are_told(draws, level, method, needed):
    fit = bg.Mixture(1).fit(np.random.default_rng(1).normal(size=50))
    with pytest.warns(FitWarning, match=rf"{draws} draws are too few .* which need {needed} or more"):
        found = bg.bootstrap(fit, draws=draws, level=level, method=method)
    assert str(needed) in found.table()["note"][0]
    assert (found.table(level=0.5, method="basic")["note"] == "").all() == (draws > 3)


def test_what_takes_draws_takes_replicates(demo_fit):
    found = bg.bootstrap(demo_fit, draws=200, seed=1)
    table = bg.associations(found)
    assert table["engine"].unique() == ["bootstrap"]
    assert table["log10_bayes_factor"].isna().all()
    np.testing.assert_allclose(table["sd"], bg.associations(demo_fit)["sd"], rtol=0.3)
    # the estimate is the fit's, without the bootstrap's bias on top of its own
    told = ["log_odds_ratio", "odds_ratio", *(c for c in table if c.startswith("shift_") and "er" not in c[-3:])]
    np.testing.assert_allclose(table[told], bg.associations(demo_fit)[told], rtol=1e-12)
    np.testing.assert_allclose(bg.penetrance(found)["estimate"], bg.penetrance(demo_fit)["estimate"], rtol=1e-12)
    assert (bg.penetrance(found)["upper"] >= bg.penetrance(found)["lower"]).all()
    assert len(found.plot("effects").axes) == 3
    assert "200 replicates" in repr(found)


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.FitWarning")
def test_a_bootstrap_is_read_back_as_it_was(demo_fit, tmp_path):
    rng = np.random.default_rng(9)
    y = np.concatenate([rng.normal(0, 1, 60), [8.0, 8.1, 8.3]])
    losing = bg.Mixture(2, priors=FLAT).fit(y, init=(y > 5).astype(int))
    tailed = np.column_stack([rng.standard_t(4, 200), rng.normal(size=200)]) + 5.0 * (np.arange(200) % 2)[:, None]
    tailed[:20], tailed[20:30] = 0.0, rng.uniform(-9, 14, (10, 2))
    every_kind = bg.Mixture(2, noise=True, spike=0.0, df="each").fit(tailed, seed=1)
    for fit, kind in ((demo_fit, "weighted"), (every_kind, "parametric"), (losing, "nonparametric")):
        found = bg.bootstrap(fit, kind, draws=60, seed=3)
        found.save(tmp_path / "boot.nc")
        again = bg.read_bootstrap(tmp_path / "boot.nc")
        assert (again.kind, again.seed, again.n_failed) == (kind, 3, found.n_failed)
        xr.testing.assert_identical(again.posterior, found.posterior)
        pd.testing.assert_frame_equal(again.alignment, found.alignment)
        for method in ("percentile", "bca"):
            expected = found.table(method=method)
            pd.testing.assert_frame_equal(again.table(method=method), expected, rtol=1e-5)
    assert found.n_failed > 0
    found.save(tmp_path / "boot.tsv")
    table = pd.read_csv(tmp_path / "boot.tsv", sep="\t")
    np.testing.assert_allclose(table["se"], found.table()["se"], rtol=1e-9)
    fit.save(tmp_path / "fit.nc")
    with pytest.raises(InputError, match="not 'replicates'"):
        bg.read_bootstrap(tmp_path / "fit.nc")


def test_mistakes_are_named(demo_fit):
    for call, told in (
        (lambda: bg.standard_errors(demo_fit, "huber"), "kind = 'huber'"),
        (lambda: bg.standard_errors(demo_fit, level=1.0), "level = 1.0"),
        (lambda: bg.standard_errors(demo_fit, "effects"), "give quantity='effects'"),
        (lambda: bg.standard_errors("observed", demo_fit), "fit is a str; give a MapFit"),
        (lambda: bg.standard_errors(demo_fit, quantity="efects"), "'efects' .* did you mean 'effects'"),
        (lambda: bg.standard_errors(demo_fit, quantity=3), "quantity is a int"),
        (lambda: bg.bootstrap("weighted", demo_fit), "fit is a str; give a MapFit"),
        (lambda: bg.bootstrap(demo_fit, draws=2.5), "draws = 2.5; it must be a whole number"),
        (lambda: bg.standard_errors(demo_fit, quantity="shifts"), "the model has none"),
        (lambda: bg.standard_errors(demo_fit, quantity=lambda p: 1.0), "returned float"),
        (lambda: bg.bootstrap(demo_fit, "jackknife"), "kind = 'jackknife'"),
        (lambda: bg.bootstrap(demo_fit, restarts=0), "restarts = 0"),
        (lambda: bg.bootstrap(demo_fit, draws=40).table(method="exact"), "method = 'exact'"),
    ):
        with pytest.raises(InputError, match=told):
            call()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.errors.FitWarning")
def test_intervals_cover_the_truth():
    n_studies, hits = 300, dict.fromkeys(("observed", "sandwich", "weighted", "bca"), 0)
    for seed in range(n_studies):
        sim = bg.simulate_study(400, allele_frequencies=(0.3,), effects=((0.7,),), seed=seed).study
        fit = bg.Mixture(2, weights="rs1", priors=bg.Priors(effects=bg.LogOddsNormal(sd=10.0))).fit(sim, seed=1)
        found = bg.bootstrap(fit, "weighted", draws=300, seed=seed)
        tables = {
            "observed": bg.standard_errors(fit, quantity="effects"),
            "sandwich": bg.standard_errors(fit, "sandwich", "effects"),
            "weighted": found.table("effects"),
            "bca": found.table("effects", method="bca"),
        }
        for name, table in tables.items():
            hits[name] += bool(table["lower"][0] <= 0.7 <= table["upper"][0])
    # 95% of 300, with three standard errors of chance
    for name, count in hits.items():
        assert 0.91 <= count / n_studies <= 0.985, name
