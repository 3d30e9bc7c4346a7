"""The MAP: real data, restarts, flags, prediction, storage, and bad arguments."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayesgmm as bg
from bayesgmm.errors import FitWarning, InputError
from bayesgmm.study import Study


def two_humps(n: int = 300, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0, 1, n // 2), rng.normal(5, 1, n - n // 2)])


def test_listeria_reduces_to_logistic_regression_of_survival(listeria):
    fit = bg.Mixture.from_card("listeria").fit(listeria)
    effects = fit.params["effects"].sel(contrast="1 vs 0")
    assert float(effects.sel(predictor="D5M357")) == pytest.approx(-1.756, rel=0.02)
    assert float(effects.sel(predictor="D13M147")) == pytest.approx(1.225, rel=0.02)
    assert list(fit.flags["flag"]) == ["spike"]


def test_mouse_cd8_effects_are_finite_under_the_default_prior(data_dir):
    folder = data_dir / "mouse_hs1940"
    variants = ["mCV22965443", "rs3671932", "rs3683945"]
    study = bg.read_study(
        folder / "phenotypes.tsv", folder / "plink" / "mouse_hs1940.bed", trait_columns=["CD8"], variants=variants
    )
    fit = bg.Mixture(2, weights=" + ".join(variants)).fit(study)
    table = bg.associations(fit)
    assert fit.converged
    assert np.isfinite(table[["log_odds_ratio", "lower", "upper"]].to_numpy()).all()
    assert (table["log_odds_ratio"].abs() < 5).all()


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.FitWarning")
def test_mouse_cd8_maximum_likelihood_reaches_the_reference(data_dir, genetics_dir):
    reference = pd.read_csv(genetics_dir / "flexmix" / "flexmix_concomitant_reference.csv")
    reference = reference[reference["trait"] == "CD8"]
    folder = data_dir / "mouse_hs1940"
    study = bg.read_study(
        folder / "phenotypes.tsv",
        folder / "plink" / "mouse_hs1940.bed",
        trait_columns=["CD8"],
        variants=list(reference["snp"]),
    )
    assert len(reference) == 10
    for row in reference.itertuples():
        fit = bg.Mixture(2, weights=row.snp, priors=bg.Priors.flat()).fit(study)
        assert fit.log_likelihood >= row.ll1 - 1e-3, row.snp


def test_fit_is_reproducible_and_sorted(demo):
    model = bg.Mixture(3, weights="rs101")
    one, two = model.fit(demo, seed=5), model.fit(demo, seed=5)
    assert one.params.identical(two.params)
    assert (np.diff(one.params["means"].values[:, 0]) > 0).all()
    assert (np.diff(one.history.values) >= 0).all()
    assert float(one.history[-1]) == pytest.approx(one.log_posterior, rel=1e-12)


def test_reference_component_changes_the_contrasts_only(demo):
    zero = bg.Mixture(2, weights="rs101").fit(demo)
    one = bg.Mixture(2, weights="rs101", reference=1).fit(demo)
    assert one.log_posterior == pytest.approx(zero.log_posterior, rel=1e-12)
    assert list(one.params["contrast"].values) == ["0 vs 1"]
    np.testing.assert_allclose(one.params["effects"], -zero.params["effects"], rtol=1e-5)


def test_bic_aic_and_icl_are_smaller_for_the_truth():
    y = two_humps()
    fits = [bg.Mixture(k).fit(y) for k in (1, 2, 3)]
    for criterion in ("bic", "icl"):
        values = [getattr(fit, criterion) for fit in fits]
        assert int(np.argmin(values)) == 1
    assert fits[1].bic == pytest.approx(-2 * fits[1].log_likelihood + 5 * np.log(300))
    assert fits[1].aic == pytest.approx(-2 * fits[1].log_likelihood + 10)


def test_prediction_for_the_same_people_repeats_the_responsibilities(demo, demo_fit):
    np.testing.assert_allclose(demo_fit.predict_proba(demo), demo_fit.responsibilities, atol=1e-12)
    assert float(demo_fit.score_samples(demo).sum()) == pytest.approx(demo_fit.log_likelihood, rel=1e-12)
    table = demo.columns()[["rs101", "rs202", "rs303"]]
    by_array = demo_fit.predict_proba(demo.dataset["traits"].values, table.to_numpy())
    np.testing.assert_allclose(by_array, demo_fit.responsibilities, atol=1e-12)
    with pytest.raises(InputError, match="give predictors with the columns rs101"):
        demo_fit.predict(demo.dataset["traits"].values)


def test_simulated_people_look_like_the_fit(demo_fit):
    people = demo_fit.simulate(20_000, seed=3)
    assert people["biomarker"].mean() == pytest.approx(
        float(demo_fit.responsibilities.mean("sample") @ demo_fit.params["means"].sel(trait="biomarker")), abs=0.05
    )
    assert people.groupby("component")["biomarker"].std().to_numpy() == pytest.approx(
        np.sqrt(demo_fit.params["covariances"].values.ravel()), rel=0.05
    )


def test_a_fit_comes_back_from_a_file(tmp_path, demo_fit):
    demo_fit.save(tmp_path / "fit.nc")
    again = bg.read_fit(tmp_path / "fit.nc")
    assert again.log_posterior == pytest.approx(demo_fit.log_posterior, rel=1e-14)
    xr.testing.assert_allclose(again.params, demo_fit.params, rtol=1e-13)
    assert list(tmp_path.iterdir()) == [tmp_path / "fit.nc"]
    with pytest.raises(InputError, match="there is no such file"):
        bg.read_fit(tmp_path / "none.nc")
    with pytest.raises(InputError, match="end the name so"):
        demo_fit.save(tmp_path / "fit.pkl")
    (tmp_path / "text.nc").write_text("not a fit")
    with pytest.raises(InputError, match=r"cannot read .*text.nc"):
        bg.read_fit(tmp_path / "text.nc")


def test_standard_errors_equal_the_spread_of_the_normal_draws(demo_fit):
    draws = demo_fit.normal_draws(20_000, seed=1)
    for name in ("means", "effects"):
        spread = draws[name].std(("chain", "draw"))
        np.testing.assert_allclose(spread, demo_fit.standard_errors[name], rtol=0.05)


def test_a_collapsing_component_is_told_not_returned():
    y = np.concatenate([np.zeros(30), np.random.default_rng(0).normal(5, 1, 100)])
    fit = bg.Mixture(2).fit(y)
    assert "spike" in set(fit.flags["flag"])
    assert np.isfinite(fit.log_posterior)
    with pytest.raises(InputError, match="collapse"):
        bg.Mixture(2, priors=bg.Priors.flat()).fit(y, init=(y == 0).astype(int))


def test_an_empty_component_is_flagged():
    rng = np.random.default_rng(1)
    fit = bg.Mixture(4, priors=bg.Priors(weights=bg.Dirichlet(1.0))).fit(rng.normal(size=60), restarts=3)
    counts = fit.responsibilities.sum("sample").values
    assert set(fit.flags.loc[fit.flags["flag"] == "few people", "component"]) == set(np.flatnonzero(counts < 6.0))


def test_separation_stays_finite_and_is_flagged():
    rng = np.random.default_rng(0)
    genotype = np.repeat([0.0, 2.0], 100)
    y = rng.normal(0, 1, 200) + 20 * (genotype > 1)
    study = Study(pd.DataFrame({"y": y}), pd.DataFrame({"rs1": genotype}))
    fit = bg.Mixture(2, weights="rs1", priors=bg.Priors(effects=bg.LogOddsNormal(100.0))).fit(study)
    assert np.isfinite(fit.params["effects"]).all()
    assert "separation" in set(fit.flags["flag"])


def test_stopping_early_is_told():
    with pytest.warns(FitWarning, match="did not converge: out of steps"):
        fit = bg.Mixture(3).fit(two_humps(), max_iterations=3, restarts=1)
    assert not fit.converged


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bg.Mixture(0), "n_components = 0; it must be at least 1"),
        (lambda: bg.Mixture(2.5), "must be a whole number"),
        (lambda: bg.Mixture(2, covariance="XYZ"), "the families are EII, VII"),
        (lambda: bg.Mixture(2, reference=2), "reference = 2"),
        (lambda: bg.Mixture(2, weights=3), "weights = 3; it must be a formula"),
        (lambda: bg.Mixture(2, means=3), "means = 3; it must be a formula"),
        (lambda: bg.Mixture(2, covariance="V").fit(np.ones((9, 2)) * np.arange(9.0)[:, None]), "is for one trait"),
        (lambda: bg.Mixture(2, missing_genotypes="drop"), "missing_genotypes = 'drop'"),
        (lambda: bg.Mixture(5).fit(np.arange(3.0)), "only 3 people have traits"),
        (lambda: bg.Mixture(2).fit(two_humps(), restarts=0), "restarts = 0"),
        (lambda: bg.Mixture(2).fit(two_humps(), init=np.zeros(7)), "init has shape"),
        (lambda: bg.Mixture(2).fit(["a", "b"]), "traits are not numeric"),
        (
            lambda: bg.Mixture(2).fit(np.column_stack([two_humps(), 2 * two_humps()])),
            "sample covariance of the traits is not positive definite",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        (lambda: bg.Priors(weights=bg.Dirichlet(0.0)), "concentration = 0.0; it must be above 0"),
        (lambda: bg.Priors(weights=bg.Dirichlet([1.0, 2.0, 3.0])), "3 values for 2 components"),
        (lambda: bg.Priors(components=bg.NormalInverseWishart(strength=-1)), "strength = -1; it must be above 0"),
        (lambda: bg.Priors(components=bg.NormalInverseWishart(dof=-0.5)), "dof = -0.5; with 1 trait.* above 0"),
        (lambda: bg.Priors(components=bg.NormalInverseWishart(scale=-1.0)), "not positive definite"),
        (lambda: bg.Priors(components=bg.NormalInverseWishart(mean=[1.0, 2.0])), "must be 1 finite"),
        (lambda: bg.Priors(effects=bg.LogOddsNormal(sd=0.0)), "every sd must be above 0"),
        (lambda: bg.Priors(effects=bg.LogOddsNormal(sd={"rs9": 1.0})), "'rs9', which is not a predictor"),
    ],
)
def test_bad_priors_are_refused_by_name(demo, priors, message):
    with pytest.raises(InputError, match=message):
        bg.Mixture(2, weights="rs101", priors=priors()).fit(demo)


def test_resolved_priors_are_the_defaults_of_the_design(demo):
    resolved = bg.Mixture(2, weights="rs101").problem(demo).priors
    y = demo.dataset["traits"].values[:, 0]
    assert resolved.mean[0] == pytest.approx(y.mean())
    assert resolved.scale[0, 0] == pytest.approx(y.var(ddof=1) / 4)
    assert (resolved.strength, resolved.dof) == (0.01, 3.0)
    assert list(resolved.concentration) == [2.0, 2.0]
    assert "95% of odds ratios within 0.141 to 7.1" in str(resolved)


def test_import_does_not_pay_for_pymc():
    import subprocess
    import sys

    code = (
        "import sys, numpy as np, bayesgmm as bg; bg.Mixture(2).fit(np.r_[0:5.0:.1, 20:25:.1]);"
        "print([m for m in ('pymc', 'pytensor', 'arviz', 'matplotlib') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_the_map_does_not_depend_on_the_labels_of_the_start(demo):
    start = (demo.dataset["traits"].values[:, 0] > 5).astype(int) + (demo.dataset["traits"].values[:, 0] > 6)
    model = bg.Mixture(3, weights="rs101 + rs202")
    one, two = model.fit(demo, init=start), model.fit(demo, init=np.array([2, 0, 1])[start])
    assert one.log_posterior == pytest.approx(two.log_posterior, rel=1e-12)
    np.testing.assert_allclose(one.params["effects"], two.params["effects"], atol=1e-5)
    np.testing.assert_allclose(one.params["means"], two.params["means"], atol=1e-5)


def test_an_interrupted_write_leaves_the_old_file_whole(tmp_path, demo_fit, monkeypatch):
    import xarray as xr

    demo_fit.save(tmp_path / "fit.nc")
    before = (tmp_path / "fit.nc").read_bytes()

    def interrupted(self, path, **options):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(xr.DataTree, "to_netcdf", interrupted)
    with pytest.raises(KeyboardInterrupt):
        demo_fit.save(tmp_path / "fit.nc")
    assert (tmp_path / "fit.nc").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "fit.nc"]


def test_a_spike_of_equal_values_is_a_start(rng):
    """Survivors at the end of a study: cuts along the axis put others with them, and EM does not let them go."""
    y = np.concatenate([rng.normal(6.8, 0.5, 85), np.full(35, 8.04)])
    fit = bg.Mixture(2).fit(y, seed=1)
    spike = fit.starts.set_index("method").loc["spike"]
    assert bool(spike["reached_best"])
    assert fit.params["means"].values.ravel()[1] == pytest.approx(8.04, abs=0.02)
    assert fit.assign()["component"].to_numpy()[85:].tolist() == [1] * 35
    assert "spike" not in set(bg.Mixture(2).fit(rng.normal(size=60), seed=1).starts["method"])
    two = np.column_stack([y, rng.normal(size=120)])
    assert "spike" not in set(bg.Mixture(2).fit(two, seed=1).starts["method"])  # nobody is like another
    many = bg.Mixture(4).fit(y, seed=1)
    assert many.converged
