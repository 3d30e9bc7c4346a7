"""Samples drawn anew and their refits: the same numbers as a fit of the drawn people would give."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

import bayesgmm as bg
from bayesgmm.errors import InputError
from bayesgmm.inference.parallel import in_parallel, one_by_one
from bayesgmm.inference.replicates import Permuted, Reweighted, Simulated, refit

FLAT = bg.Priors.flat()


def study_of(n: int = 300, *, digits: int | None = None, gaps: float = 0.0, seed: int = 1) -> bg.Study:
    sim = bg.simulate_study(n, means=((0.0, 0.0), (3.0, 2.0)), covariances=[np.eye(2)] * 2, seed=seed).study
    traits = sim.dataset["traits"].to_pandas()
    genotypes = sim.dataset["dosages"].to_pandas()
    if digits is not None:
        traits = traits.round(digits)
    rng = np.random.default_rng(seed)
    return bg.Study(traits.mask(rng.random(traits.shape) < gaps), genotypes)


def with_weights(study: bg.Study, weight: np.ndarray) -> bg.MapFit:
    return bg.Mixture(2, weights="rs1", priors=FLAT, compress=False).fit(study, sample_weight=weight, seed=1)


@pytest.mark.parametrize("scheme", ["multinomial", "dirichlet"])
@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.filterwarnings("ignore::bayesgmm.errors.DataWarning")
def test_a_reweighted_refit_is_the_fit_of_those_people(scheme, compress):
    study = study_of(digits=0 if compress else None, gaps=0.1)
    fit = bg.Mixture(2, weights="rs1", priors=FLAT, compress=compress).fit(study, seed=1)
    problem = fit.problem
    sample = Reweighted(problem, scheme).sample(np.random.default_rng(3))
    assert sample.repeats.sum() == pytest.approx(len(np.flatnonzero(problem.observed)))
    again = refit(problem.arrays, sample, [fit.parameters], tolerance=1e-10)
    # share a row's weight among the people it stands for
    row_of = np.arange(len(sample.repeats))[problem.row_of]
    each = np.zeros(problem.n_samples)
    each[problem.people] = (sample.repeats / np.bincount(row_of))[row_of]
    assert scheme == "dirichlet" or compress or (each == 0).any()
    expected = with_weights(study, each)
    found = problem.labelled(again.parameters)
    for name in ("means", "covariances", "effects"):
        np.testing.assert_allclose(found[name], expected.params[name], atol=2e-4)


def test_counts_of_compressed_rows_are_those_of_their_people():
    study = study_of(400, digits=0)
    one, other = (bg.Mixture(2, compress=c).fit(study).problem for c in (True, False))
    assert one.arrays.n_rows < 100
    counts = one.arrays.sample.repeats
    rng = np.random.default_rng(1)
    drawn = np.array([Reweighted(one, "multinomial").sample(rng).repeats for _ in range(4000)])
    np.testing.assert_allclose(drawn.mean(axis=0), counts, atol=6 * np.sqrt(counts.max() / 4000))
    # multinomial over people summed over a row of c of them has variance c (1 - c / n)
    np.testing.assert_allclose(drawn.var(axis=0), counts * (1 - counts / 400), rtol=0.2)
    smooth = np.array([Reweighted(one, "dirichlet").sample(rng).repeats for _ in range(4000)])
    np.testing.assert_allclose(smooth.var(axis=0), counts * (1 - counts / 400) * 400 / 401, rtol=0.2)
    assert other.arrays.n_rows == 400


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.DataWarning")
def test_weights_that_are_not_whole_stay_with_their_people():
    study = study_of(200)
    weight = np.random.default_rng(0).uniform(0.2, 1.7, 200)
    fit = bg.Mixture(2).fit(study, sample_weight=weight)
    sample = Reweighted(fit.problem, "multinomial").sample(np.random.default_rng(5))
    times = sample.repeats / weight[np.argsort(np.arange(200)[fit.problem.row_of])]
    times /= times[times > 0].min()
    np.testing.assert_allclose(times, np.rint(times), atol=1e-9)
    with pytest.raises(InputError, match="whole"):
        Permuted(fit.problem)


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.DataWarning")
def test_simulated_traits_are_missing_where_they_were_and_have_the_fits_distribution():
    study = study_of(gaps=0.2)
    weight = np.random.default_rng(2).integers(0, 3, 300).astype(float)
    fit = bg.Mixture(2, weights="rs1").fit(study, sample_weight=weight, seed=1)
    problem = fit.problem
    simulated = Simulated(problem, fit.parameters)
    rng = np.random.default_rng(7)
    n_known = float((~np.isnan(problem.traits)).sum(axis=1) @ problem.sample_weight)
    total, squares, count = np.zeros(2), np.zeros(2), np.zeros(2)
    for _ in range(100):
        sample = simulated.sample(rng)
        assert len(sample.values) == n_known
        for g, known in enumerate(sample.n_observed):
            block = sample.values[sample.offsets[g] : sample.offsets[g + 1]].reshape(-1, known)
            where = sample.observed[g, :known]
            total[where] += block.sum(axis=0)
            squares[where] += (block**2).sum(axis=0)
            count[where] += len(block)
    w = np.exp(problem.log_weights(fit.parameters))
    weights = problem.sample_weight[:, None] * ~np.isnan(problem.traits)
    means = fit.params["means"].values
    shares = np.einsum("nd,nk->dk", weights, w) / weights.sum(axis=0)[:, None]
    expected = np.einsum("dk,kd->d", shares, means)
    np.testing.assert_allclose(total / count, expected, atol=5 * 2.0 / np.sqrt(count.min()))
    second = np.einsum("dk,kd->d", shares, means**2 + np.diagonal(fit.params["covariances"].values, axis1=1, axis2=2))
    np.testing.assert_allclose(squares / count, second, rtol=0.05)


def test_the_density_of_a_simulated_sample_is_that_of_its_own_predictors():
    study = study_of(150)
    fit = bg.Mixture(2, weights="rs1").fit(study, seed=1)
    problem = fit.problem
    sample = Simulated(problem, fit.parameters).sample(np.random.default_rng(4))
    order = np.argsort(np.arange(150)[problem.row_of])
    rows = pd.DataFrame(sample.values.reshape(150, 2), columns=list(problem.trait_names))
    genotypes = (problem.predictors + problem.predictor_centers)[order]
    expected = fit.score_samples(rows, predictors=genotypes).values + np.log(problem.unit).sum()
    np.testing.assert_allclose(problem.arrays.of_sample(sample).membership(fit.parameters)[1], expected, atol=1e-10)


def test_permuted_predictors_keep_their_values_and_lose_their_effect():
    sim = bg.simulate_study(800, effects=((2.0,), (1.0,)), seed=3).study
    fit = bg.Mixture(2, weights="rs1 + rs2").fit(sim, seed=1)
    problem, arrays = fit.problem, fit.problem.arrays
    sample = Permuted(problem, [0]).sample(np.random.default_rng(1))
    before = arrays.sample.predictors[arrays.sample.pattern]
    after = sample.predictors[sample.pattern]
    np.testing.assert_allclose(np.sort(before, axis=0), np.sort(after, axis=0), atol=1e-12)
    again = refit(arrays, sample, [fit.parameters])
    moved, stayed = problem.labelled(again.parameters)["effects"].values[:, 0]
    assert abs(moved) < 0.5
    assert stayed > 0.5


def test_workers_change_nothing_and_mistakes_are_told():
    def task(rng: np.random.Generator) -> float:
        return float(norm.cdf(rng.standard_normal()))

    whole = in_parallel(task, 40, seed=2, workers=1)
    assert whole == in_parallel(task, 40, seed=2, workers=3)
    assert in_parallel(task, 3, seed=2) == whole[:3]
    some = one_by_one(task, 10_000, seed=2, workers=2)
    assert [next(some) for _ in range(5)] == whole[:5]
    some.close()
    with pytest.raises(InputError, match="draws = 0"):
        in_parallel(task, 0)
    with pytest.raises(InputError, match="workers = 0"):
        in_parallel(task, 2, workers=0)

    def wrong(rng: np.random.Generator) -> float:
        if rng.random() < 0.2:
            raise RuntimeError("of the task's own")
        return 1.0

    with pytest.raises(RuntimeError, match="of the task's own"):
        in_parallel(wrong, 100, seed=1, workers=2)


def test_a_refit_that_collapses_says_so():
    y = np.concatenate([np.random.default_rng(1).normal(size=40), [9.0, 9.0 + 1e-13]])
    fit = bg.Mixture(2, priors=FLAT).fit(np.concatenate([y, np.random.default_rng(2).normal(9, 1, 20)]))
    sample = fit.problem.arrays.sample
    lonely = sample._replace(repeats=np.where(np.abs(sample.values - 9.0) < 1e-9, 1.0, 0.0))
    result = refit(fit.problem.arrays, lonely, [fit.parameters])
    assert result.parameters is None
    assert "collapsed" in result.failure


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.DataWarning")
def test_people_taken_apart_have_the_likelihood_of_all_together():
    study = study_of(200, digits=0, gaps=0.1)
    genotypes = study.dataset["dosages"].to_pandas()
    rng = np.random.default_rng(3)
    study = bg.Study(study.dataset["traits"].to_pandas(), genotypes.mask(rng.random(genotypes.shape) < 0.2))
    weight = rng.integers(0, 4, 200).astype(float)
    fit = bg.Mixture(2, weights="rs1 + rs2").fit(study, sample_weight=weight, seed=1)
    arrays = fit.problem.arrays
    assert len(arrays.sample.mix_rows)
    apart = arrays.of_sample(Simulated(fit.problem, fit.parameters)._base)
    assert apart.n_rows > arrays.n_rows
    value = arrays.log_posterior(fit.parameters)
    assert apart.log_posterior(fit.parameters) == pytest.approx(value, rel=1e-12)
    # all predictors of a person move together, and what is not certain of them
    moved = arrays.of_sample(Permuted(fit.problem).sample(rng))
    assert len(moved.sample.mix_rows) == len(arrays.sample.mix_rows)
    assert moved.log_posterior(fit.parameters) < value


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.DataWarning")
def test_noise_spike_and_tails_are_drawn_and_refitted_too():
    rng = np.random.default_rng(2)
    genotype = rng.binomial(2, 0.4, 400)
    y = np.where(rng.random(400) < 0.3 + 0.2 * genotype, rng.standard_t(5, 400) + 9.0, rng.standard_t(5, 400) + 3.0)
    y[:20] = rng.uniform(-10, 20, 20)
    y[rng.random(400) < 0.15] = 0.0
    ids = [f"p{i}" for i in range(400)]
    study = bg.Study(pd.DataFrame({"y": y}, index=ids), pd.DataFrame({"g": genotype}, index=ids))
    model = bg.Mixture(2, weights="g", noise=True, spike=0.0, df="shared")
    fit = model.fit(study, seed=1)
    arrays = fit.problem.arrays
    simulated = Simulated(fit.problem, fit.parameters)
    at_spike = []
    for _ in range(40):
        sample = simulated.sample(rng)
        assert len(sample.pattern) == 400
        at_spike.append(400 - len(sample.values))
    expected = np.exp(fit.problem.log_weights(fit.parameters))[:, 3].sum()
    assert np.mean(at_spike) == pytest.approx(expected, abs=5 * np.sqrt(expected / 40))
    assert np.std(at_spike) > 2.0
    for drawn in (simulated, Reweighted(fit.problem, "multinomial"), Permuted(fit.problem)):
        again = refit(arrays, drawn.sample(rng), [fit.parameters])
        assert again.converged
        np.testing.assert_allclose(again.parameters.means, fit.parameters.means, atol=0.4)
    found = bg.bootstrap(fit, "parametric", draws=50, seed=1)
    assert (found.alignment["confidence"] > 0.25).all()
    assert "df" in found.posterior
    # the effects of g on the spike and the noise, which have none, and on the second component, which has
    table = bg.test_effect(model, study, "g", draws=19, permutations=999, seed=1).set_index("test")
    assert (table["df"] == 3).all()
    assert (table["p_value"] <= [1e-4, 1e-4, 0.001, 0.05]).all()
