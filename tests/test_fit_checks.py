"""Does the mixture fit: residuals, envelopes, heaps, verdicts; right mixtures are let go and wrong ones are told."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import bayesgmm as bg
from bayesgmm.analysis.fit_remedies import COLUMNS, Remedies
from bayesgmm.core.envelope import adjusted, envelope, given_estimates, rank_p_values
from bayesgmm.core.mixture_cdf import Located, Spread, mixture_tails, normal_scores
from bayesgmm.core.shape import count_modes, in_order, pair_correlations, shape_of
from bayesgmm.core.ties import cells_of, chance_of_heaps
from bayesgmm.errors import InputError
from bayesgmm.inference.margins import margins_of
from bayesgmm.inference.people import people_of
from bayesgmm.study import Study


def two_humps(rng: np.random.Generator, n: int) -> np.ndarray:
    high = rng.random(n) < 0.4
    return np.where(high, rng.normal(4.0, 0.7, n), rng.normal(0.0, 1.0, n))


# -- arrays -----------------------------------------------------------------------------------------


def test_scores_keep_their_digits_in_both_tails():
    z = np.array([-30.0, -8.0, -1.0, 0.0, 2.0, 9.0, 30.0])
    weights = np.full((1, 2), 0.5)
    below, above = mixture_tails(z, weights, (Located(0.0, 1.0), Located(0.0, 1.0)))
    np.testing.assert_allclose(normal_scores(below, above), z, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("widths", [(2.0,), (3.0, 1.0), (1.0, 1.0, 1.0), (4.0, 0.5, 0.0)])
def test_noise_over_a_turned_box_is_a_sum_of_uniforms(widths):
    # Irwin and Hall's alternating sum, in which the widths need not be equal
    sides = np.array([w for w in widths if w > 0.0])
    x = np.linspace(-3.0, 3.0, 41)
    signs = np.array(np.meshgrid(*[[-0.5, 0.5]] * len(sides))).reshape(len(sides), -1)
    corners = np.maximum(x[:, None] + sides @ signs, 0.0) ** len(sides)
    expected = corners @ np.sign(signs).prod(axis=0) / (math.factorial(len(sides)) * sides.prod())
    below, above = Spread.of(7.0, np.array(widths)).tails(7.0 + x, 0.0)
    np.testing.assert_allclose(below, expected, atol=2e-6)
    np.testing.assert_allclose(below + above, 1.0)


BEYOND = {
    "noise": (lambda r: np.where(r.random(400) < 0.1, r.uniform(-10, 10, 400), r.normal(size=400)), {"noise": True}),
    "spike": (lambda r: np.where(r.random(400) < 0.3, 0.0, r.normal(3, 1, 400)), {"spike": 0.0}),
    "Student-t": (lambda r: r.standard_t(3, 400), {"df": "each"}),
}


@pytest.mark.parametrize("name", BEYOND)
def test_components_that_are_not_gaussian_are_what_serves(name):
    make, options = BEYOND[name]
    y = make(np.random.default_rng(23))
    without = bg.check_fit(bg.Mixture(1).fit(y, seed=1), draws=200, seed=1)
    with_it = bg.check_fit(bg.Mixture(1, **options).fit(y, seed=1), draws=200, seed=1)
    assert not without.fits
    assert with_it.fits, with_it


def test_survivors_fit_when_they_are_a_spike(listeria):
    model = bg.Mixture(1, spike=np.log2(264.0), weights="D5M357 + D13M147")
    found = bg.check_fit(model.fit(listeria, seed=1), draws=100, seed=1)
    assert len(found.heaps) == 0


def test_a_margin_is_the_integral_of_the_density_of_a_person(rng):
    n = 80
    frame = pd.DataFrame({"y": rng.normal(size=n), "age": rng.normal(size=n)})
    g = rng.binomial(2, 0.3, n).astype(float)
    g[:5] = np.nan
    study = Study(frame[["y"]], pd.DataFrame({"g": g}), frame[["age"]])
    fit = bg.Mixture(2, weights="g", means="age").fit(study, seed=1)
    margin = margins_of(fit.problem, fit.parameters)[0]
    for i in (0, 40):  # one whose genotype is averaged over, one whose genotype is known
        person = study.select(samples=[study.sample_ids[i]])
        y = float(person.trait_values[0, 0])

        def density(t: float, i: int = i) -> float:
            log_weights = fit.problem.log_weights(fit.parameters)[i]
            means = fit.params["means"].values[:, 0] + fit.problem.covariates[i] @ fit.params["shifts"].values[:, 0]
            sds = np.sqrt(fit.params["covariances"].values[:, 0, 0])
            return float(np.exp(log_weights) @ stats.norm.pdf(t, means, sds))

        below, above = margin.tails(np.array([y]), np.array([i]))
        assert below[0] == pytest.approx(integrate.quad(density, -20, y)[0], abs=1e-8)
        assert below[0] + above[0] == pytest.approx(1.0)


def test_statistics_of_shape_are_scipys_and_weights_count_people(rng):
    y = np.round(rng.gamma(3.0, size=400), 2)
    weight = rng.integers(1, 4, 400).astype(float)
    plain = shape_of(np.repeat(y, weight.astype(int)))
    assert plain[0] == pytest.approx(stats.skew(np.repeat(y, weight.astype(int))))
    assert plain[1] == pytest.approx(stats.kurtosis(np.repeat(y, weight.astype(int))))
    np.testing.assert_allclose(shape_of(y, weight)[[0, 1, 3, 4]], plain[[0, 1, 3, 4]], atol=1e-12)


@pytest.mark.parametrize(("at", "modes"), [((0.0,), 1), ((0.0, 6.0), 2), ((0.0, 6.0, 12.0), 3)])
def test_modes_are_counted(rng, at, modes):
    y = np.concatenate([rng.normal(m, 1.0, 500) for m in at])
    assert count_modes(y, np.full(len(y), 1 / len(y)), len(y), *in_order(y)) == modes


def test_an_envelope_holds_the_share_of_curves_that_it_says():
    rng = np.random.default_rng(3)
    curves = np.cumsum(rng.standard_normal((2000, 40)), axis=1)
    distance, lower, upper = envelope(curves, 0.1)
    inside = ((curves >= lower) & (curves <= upper)).all(axis=1)
    assert inside.mean() == pytest.approx(0.9, abs=0.002)
    np.testing.assert_array_equal(inside, rank_p_values(distance, two_sided=False) > 0.1 - 1e-9)


def test_several_checks_at_once_are_as_rare_as_one():
    # row 0 of many tables: the smallest of the adjusted p-values is uniform, however the checks go together
    rng = np.random.default_rng(4)
    mixing = rng.standard_normal((6, 6))
    least = []
    for _ in range(400):
        p = rank_p_values(rng.standard_normal((200, 6)) @ mixing)
        least.append(adjusted(p).min())
    assert stats.kstest(least, "uniform").pvalue > 1e-3


def test_given_the_estimates_a_statistic_has_its_conditional_distribution():
    # T = 3 x + e with the estimate x known: what is left is e around the observed row
    rng = np.random.default_rng(5)
    x = rng.normal(1.0, 1.0, (4000, 1))
    x[0] = 2.5
    given = given_estimates(3.0 * x + 0.1 * rng.standard_normal((4000, 1)), x)
    assert given[1:].mean() == pytest.approx(7.5, abs=0.01)
    assert given[1:].std() == pytest.approx(0.1, rel=0.05)


def test_a_value_stands_for_its_cell_even_after_a_logarithm():
    minutes = np.repeat(np.arange(40.0, 80.0), 2)
    cells = cells_of(np.log(minutes))
    assert cells.repeated
    np.testing.assert_allclose(cells.half / np.diff(np.log(np.arange(40.0, 81.0))) * 2, 1.0, atol=0.06)
    assert not cells_of(np.random.default_rng(1).normal(size=50)).repeated


def test_few_equal_values_among_different_ones_are_a_heap_and_a_crowded_whole_number_is_none(rng):
    y = np.concatenate((np.zeros(8), rng.normal(2.0, 1.0, 300)))
    cells = cells_of(y)
    chance = chance_of_heaps(cells) * len(cells.values)
    assert chance[np.flatnonzero(cells.values == 0.0)[0]] < 1e-5
    assert cells.counts[chance < 1e-3].max() == 8
    whole = cells_of(np.round(rng.normal(50.0, 8.0, 1000)))
    assert (chance_of_heaps(whole) * len(whole.values) > 1e-3).all()


# -- people -----------------------------------------------------------------------------------------


def test_residuals_are_normal_scores_of_the_mixtures_distribution(rng):
    y = two_humps(rng, 200)
    y[3] = np.nan
    fit = bg.Mixture(2).fit(y, seed=1)
    found = bg.check_fit(fit, draws=50, seed=1).residuals.values[:, 0]
    weights, means = fit.params["weights"].values, fit.params["means"].values[:, 0]
    sds = np.sqrt(fit.params["covariances"].values[:, 0, 0])
    seen = ~np.isnan(y)
    expected = stats.norm.ppf(stats.norm.cdf(y[seen, None], means, sds) @ weights)
    np.testing.assert_allclose(found[seen], expected, atol=1e-8)
    assert np.isnan(found[3])


def test_whole_weights_are_people(rng):
    y = np.round(two_humps(rng, 150), 1)
    weight = rng.integers(1, 4, 150)
    rows = np.repeat(np.arange(150), weight)
    fit = bg.Mixture(2).fit(y, seed=1, sample_weight=weight.astype(float))
    checked = bg.check_fit(fit, draws=60, seed=1)
    assert checked.n_people == weight.sum()
    alone = bg.check_fit(bg.Mixture(2).fit(y[rows], seed=1), draws=60, seed=1)
    pd.testing.assert_frame_equal(checked.table, alone.table, rtol=1e-3, atol=1e-3)


def test_replicated_people_keep_their_predictors_also_where_these_are_not_certain(rng):
    n = 60
    g = rng.binomial(2, 0.4, n).astype(float)
    g[::7] = np.nan
    weight = rng.integers(1, 4, n).astype(float)
    study = Study(pd.DataFrame({"y": rng.normal(size=n)}), pd.DataFrame({"g": g}))
    fit = bg.Mixture(2, weights="g").fit(study, seed=1, sample_weight=weight)
    problem, rows = people_of(fit.problem, 10_000, rng)
    np.testing.assert_array_equal(rows, np.repeat(np.arange(n), weight.astype(int)))
    np.testing.assert_allclose(
        problem.log_weights(fit.parameters), fit.problem.log_weights(fit.parameters)[rows], atol=1e-12
    )
    whole = problem.arrays.expectation(fit.parameters).log_likelihood
    assert whole == pytest.approx(fit.problem.arrays.expectation(fit.parameters).log_likelihood, rel=1e-10)


RIGHT = {
    "one": lambda rng: (rng.standard_normal(300), 1),
    "two": lambda rng: (two_humps(rng, 400), 2),
    "rounded": lambda rng: (np.round(two_humps(rng, 400), 1), 2),
    "narrow and rounded": lambda rng: (
        np.where(rng.random(400) < 0.3, np.round(rng.normal(5, 0.02, 400), 2), rng.normal(0, 1, 400)),
        2,
    ),
}
WRONG = {
    "Student-t": (lambda rng: (rng.standard_t(3, 400), 1), ["tail is heavier", "Student-t"]),
    "two as one": (lambda rng: (two_humps(rng, 400), 1), ["One more component would serve"]),
    "skewed": (lambda rng: (rng.gamma(3.0, size=400), 1), ["right tail is heavier", "left tail is lighter"]),
    "zeros": (
        lambda rng: (np.where(rng.random(400) < 0.2, 0.0, rng.normal(3, 1, 400)), 2),
        ["heaped", "have 0 where", "spike"],
    ),
    "digits": (lambda rng: (preferred(rng), 1), ["heaped", "observers prefer"]),
}


def preferred(rng: np.random.Generator) -> np.ndarray:
    """Whole numbers of which half are rounded to tens."""
    y = np.round(rng.normal(120.0, 15.0, 600))
    return np.where(rng.random(600) < 0.5, np.round(y, -1), y)


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_mixture_is_let_go(name):
    y, k = RIGHT[name](np.random.default_rng(11))
    # flat, since the default prior widens a component as narrow as one of these
    found = bg.check_fit(bg.Mixture(k, priors=bg.Priors.flat()).fit(y, seed=1), draws=200, seed=1)
    assert found.fits, found
    assert "the mixture fits" in found.verdict["trait0"]


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_mixture_is_told_with_what_would_serve(name):
    make, words = WRONG[name]
    y, k = make(np.random.default_rng(12))
    found = bg.check_fit(bg.Mixture(k).fit(y, seed=1), draws=200, seed=1)
    assert not found.fits
    for word in words:
        assert word in found.verdict["trait0"]


def test_correlations_are_over_the_people_who_have_both(rng):
    scores = rng.standard_normal((200, 3)) @ rng.standard_normal((3, 3))
    scores[rng.random((200, 3)) < 0.2] = np.nan
    weight = rng.random(200)
    for w in (None, weight):
        found = pair_correlations(scores, w)
        for value, (a, b) in zip(found, [(0, 1), (0, 2), (1, 2)], strict=True):
            both = ~np.isnan(scores[:, [a, b]]).any(axis=1)
            share = np.ones(both.sum()) if w is None else w[both]
            x, z = scores[both, a], scores[both, b]
            assert value == pytest.approx((share * x * z).sum() / np.sqrt((share * x**2).sum() * (share * z**2).sum()))


def test_traits_that_go_together_otherwise_than_the_mixture_are_told():
    rng = np.random.default_rng(2)
    y = rng.multivariate_normal([0.0, 0.0], [[1.0, 0.5], [0.5, 1.0]], size=500)
    y[::9, 1] = np.nan
    free = bg.check_fit(bg.Mixture(1).fit(y, seed=1), draws=200, seed=1)
    tied = bg.check_fit(bg.Mixture(1, covariance="VVI").fit(y, seed=1), draws=200, seed=1)
    assert free.fits
    assert not tied.fits
    assert "residuals of trait0 and trait1 have a correlation of 0.5" in tied.verdict["joint"]
    assert "where -0.0" in tied.verdict["joint"] or "where 0.0" in tied.verdict["joint"]
    assert all("the mixture fits" in tied.verdict[t] for t in ("trait0", "trait1"))


def test_of_many_people_some_are_looked_at_and_all_have_residuals(rng):
    y = two_humps(rng, 3000)
    found = bg.check_fit(bg.Mixture(2).fit(y, seed=1), draws=60, people=1000, seed=1)
    assert found.n_people == 1000
    assert found.residuals.sizes["sample"] == 3000
    assert stats.kstest(found.residuals.values[:, 0], "norm").pvalue > 0.01
    again = bg.check_fit(bg.Mixture(2).fit(y, seed=1), draws=60, people=1000, seed=1)
    pd.testing.assert_frame_equal(found.table, again.table)


def test_chi_square_lies_between_its_two_limits(rng):
    # Chernoff and Lehmann: refitted replicates, exact up to simulation, fall between the two chi-squares
    y = two_humps(rng, 500)
    row = bg.check_fit(bg.Mixture(2).fit(y, seed=1), draws=500, seed=1).chi_square.iloc[0]
    assert row["n_bins"] == int(2 * 500**0.4)
    assert row["n_parameters"] == 5
    assert row["p_low"] - 0.05 < row["p_value"] < row["p_high"] + 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 10}, "draws = 10; it must be a whole number of at least 50"),
        ({"level": 0.0}, "between 0 and 1"),
        ({"people": 10}, "people = 10; it must be a whole number of at least"),
    ],
)
def test_options_out_of_bounds_are_refused(demo_fit, options, message):
    with pytest.raises(InputError, match=message):
        bg.check_fit(demo_fit, **options)


def test_what_cannot_be_checked_is_refused(rng):
    with pytest.raises(InputError, match="give a fit or a posterior"):
        bg.check_fit(rng.normal(size=30))
    with pytest.raises(InputError, match="8 people have 'trait0', too few"):
        bg.check_fit(bg.Mixture(1).fit(rng.normal(size=8)))


# -- faces ------------------------------------------------------------------------------------------


def test_a_posterior_foretells_from_its_draws(demo_posterior):
    found = bg.check_fit(demo_posterior, draws=100, seed=1)
    assert found.fits
    rows = found.table.set_index("check")
    plain = bg.check_fit(demo_posterior.map, draws=100, seed=1).table.set_index("check")
    # the mode's own replicates decide; the draws, which know less, foretell more widely
    assert rows.loc["skewness", "p_value"] == plain.loc["skewness", "p_value"]
    wide = rows.loc["skewness", "predictive_upper"] - rows.loc["skewness", "predictive_lower"]
    narrow = plain.loc["skewness", "predictive_upper"] - plain.loc["skewness", "predictive_lower"]
    assert wide > narrow


def test_the_picture_and_the_report_show_the_checks(demo, demo_fit, tmp_path):
    found = bg.check_fit(demo_fit, draws=60, seed=1)
    figure = found.plot()
    assert len(figure.axes) == 7
    assert figure.axes[1].get_title() == "biomarker: quantile residuals"
    page = bg.write_report(tmp_path / "report.html", demo_fit, study=demo, fit_checks=found).read_text()
    assert "Does the mixture fit" in page
    assert "<caption>Checks. " in page
    assert "<td>NaN" not in page
    assert f"biomarker: {found.verdict['biomarker']}" in page


def test_the_command_line_says_whether_the_mixture_fits(tmp_path, capsys):
    from bayesgmm.cli import main
    from bayesgmm.demo import demo_folder

    tables = [
        word for t in ("traits", "genotypes", "covariates") for word in (f"--{t}", str(demo_folder() / f"{t}.tsv"))
    ]
    with pytest.raises(SystemExit) as left:
        main(["fit", "two-humps", *tables, "--out", str(tmp_path), "--check"])
    assert left.value.code in (0, None)
    assert "biomarker: the mixture fits" in capsys.readouterr().out
    assert set(pd.read_table(tmp_path / "fit_checks.tsv")["check"]) >= {"residuals", "chi-square", "modes", "heaps"}


# -- real data --------------------------------------------------------------------------------------


def test_survivors_of_listeria_are_a_heap(listeria):
    found = bg.check_fit(bg.Mixture.from_card("listeria").fit(listeria), draws=100, seed=1)
    words = found.verdict["T264"]
    assert "35 of 116 people" in words
    assert "spike" in words
    assert found.heaps["value"].iloc[0] == pytest.approx(np.log2(264.0))


def test_estrogen_receptor_needs_more_than_one_component(data_dir):
    frame = pd.read_csv(data_dir / "expr_breast_vdx" / "vdx_expression.csv.gz", index_col=0)[["205225_at"]]
    one, two = (bg.check_fit(bg.Mixture(k).fit(frame, seed=1), draws=200, seed=1) for k in (1, 2))
    assert "One more component would serve" in one.verdict["205225_at"]
    assert one.chi_square["p_high"].iloc[0] < 1e-10
    assert two.chi_square["statistic"].iloc[0] < 0.25 * one.chi_square["statistic"].iloc[0]


def test_waiting_times_of_old_faithful_are_two_humps_in_whole_minutes(reference_dir):
    frame = pd.read_csv(reference_dir / "data" / "faithful.csv")[["waiting"]]
    assert bg.check_fit(bg.Mixture(2).fit(frame, seed=1), draws=200, seed=1).fits
    assert not bg.check_fit(bg.Mixture(1).fit(frame, seed=1), draws=200, seed=1).fits


@pytest.mark.slow
@pytest.mark.parametrize(("k", "make"), [(1, lambda r: r.standard_normal(200)), (2, lambda r: two_humps(r, 300))])
def test_a_right_mixture_is_rarely_blamed(k, make):
    blamed = []
    for seed in range(200):
        y = make(np.random.default_rng(seed))
        blamed.append(not bg.check_fit(bg.Mixture(k).fit(y, seed=1), draws=200, seed=seed).fits)
    # at the 5% level; an upper limit that 1 in 1,000 such studies passes
    assert np.sum(blamed) <= stats.binom.ppf(0.999, 200, 0.05)


# -- advice -----------------------------------------------------------------------------------------


def strays(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.where(rng.random(n) < 0.03, rng.uniform(-10.0, 10.0, n), rng.standard_normal(n))


ADVICE = {
    "strays": (strays, 1, "noise", "A component for strays (noise=True) would serve"),
    "heavy tails": (
        lambda rng, n: rng.standard_t(3, n),
        1,
        "heavy tails",
        "Student-t components, whose tails are heavier (df='each') would serve",
    ),
    "a lump": (
        lambda rng, n: np.where(rng.random(n) < 0.08, rng.normal(5.0, 0.6, n), rng.standard_normal(n)),
        1,
        "component",
        "One more component would serve",
    ),
}


@pytest.mark.parametrize("name", ADVICE)
def test_the_advice_tells_strays_heavy_tails_and_lumps_apart(name):
    make, k, remedy, words = ADVICE[name]
    for seed in range(4):
        y = make(np.random.default_rng(seed), 600)
        fit = bg.Mixture(k).fit(y, seed=1)
        found = bg.check_fit(fit, draws=50, seed=1)
        best = found.remedies.iloc[0]
        assert best["remedy"] == remedy
        assert words in found.verdict["trait0"]
        # what it says that BIC gains is what fitting it gains
        options = {"strays": {"noise": True}, "heavy tails": {"df": "each"}, "a lump": {}}[name]
        richer = bg.Mixture(k + (name == "a lump"), **options).fit(y, seed=0)
        assert best["gain"] == pytest.approx(fit.bic - richer.bic, abs=0.01)


def test_an_even_shape_of_many_is_not_taken_for_strays():
    # a tenth at random places and nine tenths at one: what noise alone would mend is no matter of a few
    rng = np.random.default_rng(4)
    y = np.where(rng.random(600) < 0.4, rng.uniform(-6.0, 6.0, 600), rng.standard_normal(600))
    found = bg.check_fit(bg.Mixture(1).fit(y, seed=1), draws=50, seed=1)
    assert "noise" not in set(found.remedies["remedy"])


def test_what_fits_already_and_what_nothing_mends_is_said():
    remedies = Remedies(pd.DataFrame([("component", "", "one more component", 5.0, -3.0)], columns=COLUMNS))
    assert remedies.best is None
    assert remedies.told() == "one more component does not lower BIC; the misfit is not worth more parameters"
    with_log = Remedies(remedies.table, transform=("the logarithm of the trait", 7.0))
    assert with_log.told() == "the logarithm of the trait would serve: BIC falls by 7"
    rows = [("noise", "", "A", 1.0, 12.0), ("heavy tails", "", "B", 2.0, 11.0), ("component", "", "C", 9.0, 4.0)]
    told = Remedies(pd.DataFrame(rows, columns=COLUMNS)).told()
    assert told == "A would serve: BIC falls by 12; with B by 11, which is nearly as good; with C by 4"


def test_the_noise_of_mclusts_example_is_found(reference_dir):
    traits = pd.read_csv(reference_dir / "data" / "faithful_scaled_plus_noise.csv").iloc[:, :2]
    found = bg.check_fit(bg.Mixture(2).fit(traits, seed=1), draws=50, seed=1)
    best = found.remedies[found.remedies["trait"] == "joint"].iloc[0]
    assert (best["remedy"], best["change"]) == ("noise", "noise=True")
    assert best["bic"] == pytest.approx(bg.Mixture(2, noise=True).fit(traits, seed=0).bic, abs=0.01)


def test_traits_that_are_strewn_together_are_told_what_serves():
    rng = np.random.default_rng(5)
    y = rng.multivariate_normal([0.0, 0.0], [[1.0, 0.6], [0.6, 1.0]], size=400)
    y[:12] = rng.uniform(-9.0, 9.0, (12, 2))
    found = bg.check_fit(bg.Mixture(1).fit(y, seed=1), draws=50, seed=1)
    assert found.remedies.groupby("trait").first()["remedy"].to_dict() == dict.fromkeys(
        ("joint", "trait0", "trait1"), "noise"
    )
    tied = rng.multivariate_normal([0.0, 0.0], [[1.0, 0.6], [0.6, 1.0]], size=400)
    found = bg.check_fit(bg.Mixture(1, covariance="VVI").fit(tied, seed=1), draws=50, seed=1)
    assert "A covariance matrix of each component's own (covariance='VVV') would serve" in found.verdict["joint"]
    assert found.remedies["gain"].iloc[0] > 50.0


def test_zeros_are_told_as_a_spike_and_nothing_else_is_tried():
    for seed in range(3):
        rng = np.random.default_rng(seed)
        y = np.where(rng.random(400) < 0.12, 0.0, rng.normal(3.0, 1.0, 400))
        found = bg.check_fit(bg.Mixture(1).fit(y, seed=1), draws=50, seed=1)
        assert "a spike (point mass) component at 0.0 would serve" in found.verdict["trait0"]
        assert not len(found.remedies)
