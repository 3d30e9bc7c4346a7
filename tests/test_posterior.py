"""Posterior, labels, comparison, associations, pictures and report."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

import bayesgmm as bg
from bayesgmm.analysis import compare as c
from bayesgmm.analysis.enrichment import hard_chi_square
from bayesgmm.core.labels import best_order
from bayesgmm.core.mixture_cdf import Spread
from bayesgmm.errors import InputError, PropernessError
from bayesgmm.plots import chains as chain_plots
from bayesgmm.plots.density import component_densities
from bayesgmm.plots.style import PALETTE


def test_tree_has_the_groups_of_the_design(demo_posterior):
    groups = set(demo_posterior.tree.children)
    assert {"posterior", "log_likelihood", "log_prior", "sample_stats", "observed_data", "constant_data"} <= groups
    assert set(demo_posterior.posterior.data_vars) == {"weights", "means", "covariances", "effects", "shifts"}
    assert "seed" in demo_posterior.tree.attrs


def test_pointwise_log_likelihood_and_prior_add_to_the_log_posterior(demo_posterior):
    tree, problem = demo_posterior.tree, demo_posterior.problem
    total = tree["log_likelihood"]["traits"].sum("sample")
    np.testing.assert_allclose(total, tree["sample_stats"]["log_likelihood"], rtol=1e-10)
    draw = demo_posterior.posterior.isel(chain=0, draw=7)
    value, _ = problem.arrays.log_posterior_and_gradient(problem.parameters(draw))
    expected = value + problem.log_likelihood_shift + problem.log_prior_shift
    assert float(tree["sample_stats"]["log_posterior"][0, 7]) == pytest.approx(expected, rel=1e-10)


def test_posterior_is_reproducible_and_comes_back_from_files(tmp_path, demo, demo_fit, demo_posterior):
    model = bg.Mixture.from_card("two-humps")
    again = model.sample(demo, init=demo_fit, draws=500, chains=2, seed=1)
    np.testing.assert_array_equal(again.posterior["means"], demo_posterior.posterior["means"])
    for name in ("post.nc", "post.zarr"):
        demo_posterior.save(tmp_path / name)
        read = bg.read_posterior(tmp_path / name)
        assert read.summary().equals(demo_posterior.summary())
        assert bg.compare(read.map, read).verdict == bg.compare(demo_fit, demo_posterior).verdict


def test_improper_priors_are_refused_with_the_reason(demo):
    with pytest.raises(PropernessError, match=r"a component receives no data.*Grazian and Robert"):
        bg.Mixture(2, priors=bg.Priors.flat()).sample(demo)
    with pytest.raises(PropernessError, match="effect of rs101 is flat"):
        bg.Mixture(2, weights="rs101", priors=bg.Priors(effects=bg.Flat())).sample(demo)
    with pytest.raises(InputError, match="draws = 1; it must be a whole number of at least 4"):
        bg.Mixture(2).sample(demo, draws=1)


def test_permutation_follows_memberships():
    pivot = np.eye(3)[np.random.default_rng(0).integers(0, 3, 50)]
    order = np.array([2, 0, 1])
    draw = np.empty_like(pivot)
    draw[:, order] = pivot
    np.testing.assert_array_equal(best_order(pivot.T @ draw), order)


def test_one_component_and_several_traits_can_be_sampled():
    rng = np.random.default_rng(0)
    y = rng.multivariate_normal([1.0, -2.0], [[1.0, 0.5], [0.5, 2.0]], size=200)
    post = bg.Mixture(1).sample(y, draws=400, chains=2, seed=2)
    summary = post.summary().set_index("parameter")
    # conjugate: the posterior of the mean is a t around (n ybar + kappa m0) / (n + kappa) = ybar
    assert summary.loc["means[0, trait0]", "mean"] == pytest.approx(y[:, 0].mean(), abs=0.02)
    assert summary.loc["means[0, trait1]", "sd"] == pytest.approx(y[:, 1].std() / np.sqrt(200), rel=0.12)


def test_a_predictor_of_one_component_has_nothing_to_act_on(demo):
    post = bg.Mixture(1, weights="rs101").sample(demo, draws=100, chains=1)
    assert set(post.summary()["variable"]) == {"weights", "means", "covariances"}


# -- verdicts ---------------------------------------------------------------------------------------


def verdict(values, estimate=0.0, prior_sd=np.inf, r_hat=1.0, bulk=2000.0, tail=2000.0):
    return c.parameter_verdict(np.asarray(values).reshape(4, -1), estimate, prior_sd, r_hat, bulk, tail)


def test_each_verdict_has_its_definition(rng):
    z = rng.standard_normal(4000)
    assert verdict(z) == c.AGREE
    assert verdict(z, r_hat=1.02) == c.NOT_CONVERGED
    assert verdict(z, tail=100.0) == c.NOT_CONVERGED
    assert verdict(z, prior_sd=1.1) == c.PRIOR_DOMINATED
    assert verdict(z, estimate=0.8) == c.SHIFTED
    assert verdict(np.exp(0.6 * z), estimate=1.0) == c.SKEWED
    assert verdict(np.where(np.arange(4000) % 3 == 0, 6.0, 0.0) + z) == c.SEVERAL_MODES


@pytest.mark.parametrize("seed", range(20))
def test_one_normal_has_one_mode(seed):
    assert not c.has_several_modes(np.random.default_rng(seed).standard_normal(2000))


def test_comparison_of_the_demo(demo_fit, demo_posterior):
    comparison = bg.compare(demo_fit, demo_posterior)
    table = comparison.set_index("parameter")
    effect = table.loc["effects[rs101, 1 vs 0]"]
    assert effect["verdict"] == c.AGREE
    assert effect["map"] == pytest.approx(float(demo_fit.params["effects"][0, 0]))
    assert effect["eti95_lb"] < effect["eti89_lb"] < effect["median"] < effect["eti89_ub"] < effect["eti95_ub"]
    assert 0.2 < effect["map_quantile"] < 0.8
    assert comparison.classification["agreement"] > 0.98
    assert c.NOT_CONVERGED not in comparison.findings


def test_weak_separation_is_told():
    rng = np.random.default_rng(3)
    y = np.concatenate([rng.normal(0, 1, 300), rng.normal(1.2, 1, 300)])
    model = bg.Mixture(2)
    fit = model.fit(y)
    comparison = bg.compare(fit, model.sample(y, init=fit, draws=300, chains=2))
    assert c.WEAKLY_SEPARATED in comparison.findings


def test_comparison_of_different_models_is_refused(demo, demo_posterior):
    with pytest.raises(InputError, match="different models"):
        bg.compare(bg.Mixture(2).fit(demo), demo_posterior)


# -- associations -----------------------------------------------------------------------------------


def test_map_and_posterior_associations_have_one_form(demo_fit, demo_posterior):
    by_map, by_posterior = bg.associations(demo_fit), bg.associations(demo_posterior)
    assert list(by_map.columns) == list(by_posterior.columns)
    np.testing.assert_allclose(by_map["sd"], demo_fit.standard_errors["effects"].values[:, 0], rtol=1e-4)
    np.testing.assert_allclose(by_map["log_odds_ratio"], by_posterior["log_odds_ratio"], atol=0.1)
    assert by_map.loc[0, "log10_bayes_factor"] > 4
    assert by_map.loc[2, "log10_bayes_factor"] < 0
    assert by_posterior.loc[0, "probability_of_direction"] > 0.99
    reach = norm.ppf(0.975) * by_map["sd"]
    np.testing.assert_allclose(by_map["upper"], by_map["log_odds_ratio"] + reach)


def test_bayes_factors_say_where_they_are_from_and_where_they_say_nothing(demo, demo_fit, demo_posterior):
    by_map, by_posterior = bg.associations(demo_fit), bg.associations(demo_posterior)
    assert set(by_map["bayes_factor_by"]) == {"Laplace"}
    far = (by_posterior["log_odds_ratio"].abs() > 2.0 * by_posterior["sd"]).to_numpy()
    assert 0 < far.sum() < len(far)
    assert by_posterior["bayes_factor_by"].tolist() == np.where(far, "Laplace", "draws").tolist()
    assert not by_map.attrs["caution"]
    assert not by_posterior.attrs["caution"]
    wide = bg.Mixture(2, weights="rs303", priors=bg.Priors(effects=bg.LogOddsNormal(sd=100.0))).fit(demo, seed=1)
    told = bg.associations(wide)
    assert "Do not read the Bayes factors of rs303 (prior sd 100)" in told.attrs["caution"]
    # per unit of a predictor: an allele that few have differs less between people
    flat = bg.Mixture(2, weights="rs303", priors=bg.Priors(effects=bg.LogOddsNormal(sd=np.inf)))
    assert not bg.associations(flat.fit(demo, seed=1)).attrs["caution"]


def test_bayes_factor_is_savage_dickey_near_none_and_the_ratio_of_evidences_far_from_it(demo, demo_fit):
    table = bg.associations(demo_fit).set_index("predictor")["log10_bayes_factor"]
    near = bg.associations(demo_fit).iloc[2]
    expected = (norm.logpdf(0, 0, 1.0) - norm.logpdf(0, near["log_odds_ratio"], near["sd"])) / np.log(10)
    assert near["log10_bayes_factor"] == pytest.approx(expected, abs=0.02)  # where the posterior is normal
    without = bg.Mixture(2, weights="rs202 + rs303").fit(demo, seed=1).laplace(8000)
    ratio = (demo_fit.laplace(8000).log_evidence - without.log_evidence) / np.log(10)
    assert table["rs101"] == pytest.approx(ratio, abs=0.02)  # six sds out, where a normal tail is 0.6 short


def test_every_pair_of_components_follows_from_the_reference(demo):
    fit = bg.Mixture(3, weights="rs101 + rs202").fit(demo)
    table = bg.associations(fit, contrasts="all").set_index(["predictor", "contrast"])["log_odds_ratio"]
    for p in ("rs101", "rs202"):
        assert table[p, "2 vs 1"] == pytest.approx(table[p, "2 vs 0"] - table[p, "1 vs 0"])


def test_shift_of_the_trait_mean_is_the_derivative_of_the_mixture_mean(demo_fit):
    params, problem = demo_fit.params, demo_fit.problem
    means = params["means"].values[:, 0]

    def average(step):
        row = np.zeros((1, 3))
        row[0, 0] = step
        return float(np.exp(problem.log_weights_at(row, demo_fit.parameters))[0] @ means)

    shift = bg.associations(demo_fit).loc[0, "shift_biomarker"]
    assert shift == pytest.approx((average(1e-5) - average(-1e-5)) / 2e-5, rel=1e-6)


def test_penetrance_adds_to_one_and_follows_the_odds(demo_fit, demo_posterior):
    for result in (demo_fit, demo_posterior):
        table = bg.penetrance(result)
        total = table.groupby(["variant", "genotype"])["estimate"].sum()
        np.testing.assert_allclose(total, 1.0)
        assert (table["lower"] <= table["estimate"]).all()
        assert (table["estimate"] <= table["upper"]).all()
    table = bg.penetrance(demo_fit).set_index(["variant", "genotype", "component"])["estimate"]
    odds = [table["rs101", g, 1] / table["rs101", g, 0] for g in (0, 1, 2)]
    effect = float(demo_fit.params["effects"].sel(predictor="rs101", contrast="1 vs 0"))
    assert np.log(odds[1] / odds[0]) == pytest.approx(effect)
    assert np.log(odds[2] / odds[1]) == pytest.approx(effect)


def test_enrichment_is_less_certain_than_hard_assignment():
    rng = np.random.default_rng(5)
    dosage = rng.integers(0, 3, 400).astype(float)
    hard = np.eye(2)[(rng.random(400) < 0.3 + 0.15 * dosage).astype(int)]
    soft = 0.35 + 0.3 * hard
    from bayesgmm.analysis.enrichment import _one_variant

    sure = _one_variant("rs1", dosage, hard, np.ones(400), 0.95, 500, np.random.default_rng(0))[1]
    unsure = _one_variant("rs1", dosage, soft, np.ones(400), 0.95, 500, np.random.default_rng(0))[1]
    assert sure["hard_chi_square"] == unsure["hard_chi_square"]
    assert sure["pooled_p_value"] < unsure["pooled_p_value"]
    statistic, p_value = hard_chi_square(dosage, hard)
    table = pd.crosstab(dosage, hard.argmax(axis=1)).to_numpy()
    expected = table.sum(1)[:, None] * table.sum(0) / table.sum()
    assert statistic == pytest.approx(((table - expected) ** 2 / expected).sum())
    assert p_value < 0.05


# -- pictures and report ------------------------------------------------------------------------------


def test_fitted_densities_integrate_to_one():
    grid, weights = np.linspace(-300, 300, 60001), np.array([0.3, 0.5, 0.2])
    means, variances = np.array([0.0, 4.0, 1.0]), np.array([1.0, 2.0, 1.0])
    problem = bg.Mixture(2, noise=True).problem(np.linspace(-1.0, 3.0, 50))
    for df in (np.empty(0), np.array([5.0, 8.0])):
        heights = component_densities(problem, grid, 0, weights, means, variances, df)
        np.testing.assert_allclose(np.trapezoid(heights, grid, axis=1), weights, rtol=3e-3)


def test_noise_of_a_turned_box_has_the_density_of_a_sum_of_uniforms():
    """Of widths 2 and 1: a trapezoid with a top of 1/2 from -1/2 to 1/2, and nothing beyond 3/2."""
    density = Spread.of(0.0, np.array([2.0, -1.0])).density(np.array([-1.6, -1.0, -0.4, 0.0, 0.3, 1.0, 1.6]))
    np.testing.assert_allclose(density, [0.0, 0.25, 0.5, 0.5, 0.5, 0.25, 0.0], atol=1e-3)


def test_palette_is_told_apart_in_grey():
    def lightness(colour):
        red, green, blue = (int(colour[j : j + 2], 16) / 255 for j in (1, 3, 5))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    levels = sorted(lightness(colour) for colour in PALETTE[:4])
    assert min(np.diff(levels)) > 0.05


def test_pictures_carry_units_and_the_tables_numbers(demo_fit, demo_posterior):
    plots = bg.plots
    figure = plots.plot_density(demo_fit, demo_posterior)
    assert figure.axes[0].get_xlabel() == "biomarker (log2 ng/mL)"
    forest = plots.plot_forest(demo_fit, demo_posterior).axes[0]
    drawn = sorted(x for line in forest.lines for x in np.atleast_1d(line.get_xdata()) if len(line.get_xdata()) == 3)
    table = pd.concat([bg.associations(demo_fit), bg.associations(demo_posterior)])
    np.testing.assert_allclose(drawn, sorted(table["odds_ratio"]))
    for draw in (plots.plot_membership, plots.plot_penetrance):
        assert draw(demo_posterior).axes[0].get_legend() is not None
    assert len(plots.plot_trace(demo_posterior).axes) >= 6
    assert len(plots.plot_rank(demo_posterior).axes) >= 7
    assert len(demo_fit.problem.priors.plot().axes) == 4
    comparison = bg.compare(demo_fit, demo_posterior)
    assert len(comparison.plot().axes[0].get_yticks()) == len(comparison)


def test_ranks_of_chains_that_agree_leave_their_band_one_time_in_twenty():
    rng = np.random.default_rng(7)
    at, chains, n = np.linspace(0.0, 1.0, 101), 4, 400
    reach = chain_plots._bridge_band(0.05 / chains) * np.sqrt((1.0 - 1.0 / chains) / n)
    left = 0
    for _ in range(400):
        ranks = (rng.permutation(chains * n).reshape(chains, n) + 0.5) / (chains * n)
        shares = np.stack([np.searchsorted(np.sort(own), at, side="right") / n - at for own in ranks])
        left += bool((np.abs(shares) > reach + 1.0 / n).any())
    # below the 5% of Bonferroni's bound, by that and by a step of the shares
    assert 0.003 < left / 400 < 0.07


def test_pictures_of_chains_name_what_varies_and_nothing_lies_on_the_curves(demo_fit, demo_posterior):
    trace, rank = bg.plots.plot_trace(demo_posterior), bg.plots.plot_rank(demo_posterior)
    wanted = [p for p in demo_posterior.summary()["parameter"] if not p.startswith("covariances")]
    assert [ax.get_ylabel() for ax in trace.axes[::2]] == wanted
    assert [ax.get_title() for ax in rank.axes if ax.get_visible()] == wanted
    for figure in (trace, rank, bg.plots.plot_density(demo_fit)):
        assert figure.legends
        assert not any(ax.get_legend() for ax in figure.axes)
    with pytest.raises(bg.InputError, match="no such parameter that varies"):
        bg.plots.plot_trace(demo_posterior, ["nothing"])


def test_a_report_says_what_was_found_and_shows_it_once(tmp_path, demo_fit):
    checks = bg.check_fit(demo_fit, draws=50, seed=1)
    page = bg.write_report(tmp_path / "report.html", demo_fit, fit_checks=checks).read_text()
    assert "Component 0: 56% of people about biomarker 4.131; component 1: 44% of people about biomarker 6.043." in page
    assert page.count("Histogram of biomarker") == 1
    assert page.count("<table") == page.count("<caption>") + 1  # how it was made needs none
    assert "<td>NaN" not in page


def test_report_is_whole_and_needs_nothing_else(tmp_path, demo, demo_fit, demo_posterior):
    path = bg.write_report(tmp_path / "report.html", demo_fit, demo_posterior, study=demo, title="demo")
    page = path.read_text()

    class Sources(HTMLParser):
        found: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag, attributes):
            self.found += [value for key, value in attributes if key in ("src", "href")]

    reader = Sources()
    reader.feed(page)
    assert len(reader.found) >= 8
    assert all(source.startswith("data:image/png;base64,") for source in reader.found)
    assert bg.compare(demo_fit, demo_posterior).verdict.split(":")[0] in page
    for text in ("Dirichlet(2, 2)", "InverseWishart", "nutpie", "rs101", "hard chi square"):
        assert text in page
    assert list(tmp_path.iterdir()) == [path]


def test_posterior_summaries_do_not_depend_on_the_labels_of_the_chains(demo, rng):
    from bayesgmm.core.objective import Stacked
    from bayesgmm.inference.density import FusedDensity
    from bayesgmm.inference.nuts import _relabel

    fit = bg.Mixture(3, weights="rs101").fit(demo)
    density = FusedDensity(fit.problem.arrays, fit.parameters)
    flat = density.stacked(0.5 * rng.standard_normal((40, density.size)))
    moved = Stacked.of([flat.at(s).permuted(rng.permutation(3)) for s in range(40)])
    draws, mixed = (Stacked(*(x.reshape(2, 20, *x.shape[1:]) for x in part)) for part in (flat, moved))
    one, two = _relabel(fit.problem, fit, draws), _relabel(fit.problem, fit, mixed)
    for part in ("pi", "beta", "means", "roots"):
        np.testing.assert_allclose(getattr(one, part), getattr(two, part), rtol=1e-9, atol=1e-12)
