"""The engines agree: PyMC's density, the kernel in the graph and independent graphs, references of other programs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pymc as pm
import pytensor.tensor as pt
import pytest

import bayesgmm as bg
from bayesgmm.core.gaussian import covariances_from_roots
from bayesgmm.core.objective import Parameters
from bayesgmm.inference import graph_density
from bayesgmm.inference.density import FusedDensity
from bayesgmm.inference.graph_density import GraphDensity
from bayesgmm.inference.pymc_model import build_core_model, data_of, natural_values
from bayesgmm.inference.search import fit_map
from bayesgmm.problem import Problem
from bayesgmm.study import Study
from tests.test_objective import random_parameters

FAMILIES = {
    "student-t": bg.LogOddsStudentT(0.7, df=3.0, mean=0.2),
    "laplace": bg.LogOddsLaplace(0.3, mean=0.2),
    "spike and slab": bg.LogOddsSpikeSlab(1.1, inclusion=0.3, spike=0.2),
}


def problem_of(d: int, k: int, p: int, seed: int = 0, effects: bg.priors.EffectsPrior | None = None) -> Problem:
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(60, d)) @ rng.normal(size=(d, d)) + 3.0 * rng.integers(0, 2, 60)[:, None]
    columns = [f"x{j}" for j in range(p)]
    covariates = pd.DataFrame(rng.normal(size=(60, p)), columns=columns) if p else None
    priors = bg.Priors(
        weights=bg.Dirichlet(1.7),
        components=bg.NormalInverseWishart(strength=0.3, dof=d + 2.5),
        effects=effects or bg.LogOddsNormal(sd=0.7, mean=0.2),
    )
    return bg.Mixture(k, weights=" + ".join(columns) or None, priors=priors).problem(
        Study(pd.DataFrame(y), covariates=covariates)
    )


def log_jacobian(problem: Problem, parameters: Parameters) -> float:
    """log |d(A_dd^2, A_below) / d Sigma|, summed over distinct covariances: from PyMC's variables to the natural ones.

    With L = C A: dA_dd^2 = 2 A_dd dA_dd, dL = prod_d C_dd^(d+1) dA, dP = 2^D prod_d L_dd^(D-d) dL (d from 0) for the
    symmetric P = L L', and dSigma = |P|^-(D+1) dP. A variance v = rate / A^2 has |dA^2 / dv| = A^4 / rate.
    """
    scale = data_of(problem.arrays)["prior_precision_root"]
    size, family = len(scale), problem.family
    d = np.arange(size)
    total = 0.0
    for root in parameters.roots[:1] if family.shared else parameters.roots:
        diagonal = np.diag(root)
        if family.spherical or family.diagonal:
            terms = 4.0 * np.log(diagonal) - 2.0 * np.log(np.diag(scale))
            total += terms[0] if family.spherical else terms.sum()
            continue
        log_dp_dl = size * np.log(2.0) + ((size - d) * np.log(diagonal)).sum()
        log_dl_da = ((d + 1) * np.log(np.diag(scale))).sum()
        log_dc_da = np.log(2.0 * diagonal / np.diag(scale)).sum()
        log_dsigma_dp = -(size + 1) * 2.0 * np.log(diagonal).sum()
        total += log_dc_da - log_dl_da - log_dp_dl - log_dsigma_dp
    return total


def gaps_to_pymc(problem: Problem, points: list[Parameters] | None = None) -> tuple[list[float], float]:
    """PyMC's log density in the natural parameters less the MAP objective at some points, and the latter's size."""
    arrays = problem.arrays
    model, _ = build_core_model(arrays)
    values = model.rvs_to_values
    log_density = model.compile_fn(
        model.logp(jacobian=False), inputs=list(values.values()), on_unused_input="ignore", mode="FAST_COMPILE"
    )
    gaps = []
    for parameters in points or [random_parameters(problem, seed) for seed in range(6)]:
        point = {}
        for rv in model.free_RVs:
            natural = natural_values(arrays, parameters)[rv.name]
            transform = model.rvs_to_transforms[rv]
            forward = (
                natural
                if transform is None
                else transform.forward(pt.as_tensor(natural), *rv.owner.inputs).eval(mode="FAST_COMPILE")
            )
            point[values[rv].name] = forward
        ours, _ = arrays.log_posterior_and_gradient(parameters)
        gaps.append(float(log_density(point)) + log_jacobian(problem, parameters) - ours)
    return gaps, abs(ours)


@pytest.mark.parametrize(("d", "k", "p"), [(1, 2, 1), (2, 3, 2), (3, 2, 0), (1, 1, 0)])
def test_pymc_density_equals_map_objective_up_to_one_constant(d, k, p):
    gaps, scale = gaps_to_pymc(problem_of(d, k, p))
    assert np.ptp(gaps) < 1e-8 * scale


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_pymc_density_has_the_priors_of_the_effects(family, k):
    gaps, scale = gaps_to_pymc(problem_of(1, k, 2, effects=FAMILIES[family]))
    assert np.ptp(gaps) < 1e-8 * scale


def test_pymc_density_has_another_prior_for_each_predictor():
    problem = problem_of(1, 2, 4)
    each = [problem_of(1, 2, 4, effects=prior).priors for prior in FAMILIES.values()]
    kind, shape = problem.priors.effect_kind.copy(), problem.priors.effect_shape.copy()
    for p, other in enumerate(each):
        kind[p], shape[p] = other.effect_kind[p], other.effect_shape[p]
    mixed = replace(problem, priors=replace(problem.priors, effect_kind=kind, effect_shape=shape))
    gaps, scale = gaps_to_pymc(mixed)
    assert np.ptp(gaps) < 1e-8 * scale


def test_two_components_have_distributions_of_pymc_itself():
    drawn = {
        family: build_core_model(problem_of(1, 2, 1, effects=prior).arrays)[0].free_RVs[-1].owner.op
        for family, prior in FAMILIES.items()
    }
    names_of = [type(drawn[family]).__name__.lower() for family in FAMILIES]
    assert ["studentt" in names_of[0], "laplace" in names_of[1], "mixture" in names_of[2]] == [True] * 3


def independent_likelihood(d: int):
    """Marginal log likelihood written with PyMC's own distributions: nothing of the project's kernel."""
    logits, means, covariances = pt.dmatrix("logits"), pt.dmatrix("means"), pt.dtensor3("covariances")
    traits = pt.dmatrix("traits")
    log_weights = pt.special.log_softmax(logits, axis=1)

    def one(k):
        if d == 1:
            return pm.logp(pm.Normal.dist(means[k, 0], pt.sqrt(covariances[k, 0, 0])), traits[:, 0])
        return pm.logp(pm.MvNormal.dist(means[k], cov=covariances[k]), traits)

    return one, logits, means, covariances, traits, log_weights


@pytest.mark.parametrize(("d", "k", "p"), [(1, 2, 1), (2, 3, 2)])
def test_kernel_equals_independent_graph_in_value_and_gradient(d, k, p):
    import pytensor

    from bayesgmm.inference.likelihood_op import likelihood_and_gradient, marginal_mixture_likelihood, sample_inputs

    problem = problem_of(d, k, p)
    arrays = problem.arrays
    parameters = random_parameters(problem, 1)
    one, logits, means, covariances, traits, log_weights = independent_likelihood(d)
    joint = pt.stack([one(j) for j in range(k)], axis=1) + log_weights
    value = pt.logsumexp(joint, axis=1).sum()
    gradients = pytensor.grad(value, [logits, means, covariances])
    function = pytensor.function([logits, means, covariances, traits], [value, *gradients], mode="FAST_COMPILE")
    table = np.zeros((len(arrays.sample.predictors), k))
    table[:, 1:] = parameters.alpha + arrays.sample.predictors @ parameters.beta
    sigma = covariances_from_roots(parameters.roots)
    expected = function(table[arrays.sample.pattern], parameters.means, sigma, problem.start_points().T.copy())
    given = (table, parameters.means, parameters.roots, parameters.shifts, parameters.df)
    got = likelihood_and_gradient(*given, arrays.sample)
    assert float(got[0]) == pytest.approx(float(expected[0]), rel=1e-10)
    by_pattern = np.zeros_like(table)
    np.add.at(by_pattern, arrays.sample.pattern, expected[1])
    np.testing.assert_allclose(got[1], by_pattern, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(got[2], expected[2], rtol=1e-8, atol=1e-8)
    # d/dL of f(Sigma(L)): Sigma = (L L')^-1, dSigma = -Sigma (dL L' + L dL') Sigma
    for j in range(k):
        symmetric = 0.5 * (expected[3][j] + expected[3][j].T)
        chained = np.tril(-2.0 * sigma[j] @ symmetric @ sigma[j] @ parameters.roots[j])
        np.testing.assert_allclose(got[3][j], chained, rtol=1e-8, atol=1e-8)
    graph = [pt.as_tensor(x) for x in given]
    node = marginal_mixture_likelihood(*graph, *sample_inputs(arrays.sample).values())[0]
    assert float(node.eval(mode="FAST_COMPILE")) == pytest.approx(float(expected[0]), rel=1e-10)


def test_the_sampler_starts_at_the_mode_in_units_of_the_curvature():
    problem = problem_of(2, 2, 1)
    density = FusedDensity(problem.arrays, fit_map(problem).parameters)
    value, gradient = density(np.zeros(density.size))
    assert np.abs(gradient).max() < 1e-2
    for j in range(density.size):
        step = np.zeros(density.size)
        step[j] = 1e-4
        curvature = (density(step)[1][j] - density(-step)[1][j]) / 2e-4
        assert curvature == pytest.approx(-1.0, abs=0.02)
        assert density(step)[0] < value + 1e-12


@pytest.mark.parametrize(("d", "k", "p"), [(1, 2, 1), (2, 3, 2)])
def test_both_densities_of_the_sampler_are_one(d, k, p):
    problem = problem_of(d, k, p)
    start = fit_map(problem).parameters
    fused, graph = FusedDensity(problem.arrays, start), GraphDensity(problem.arrays, start)
    rng = np.random.default_rng(0)
    gaps = []
    for _ in range(6):
        x = rng.standard_normal(graph.size)
        parameters = graph.parameters(x)
        log_density, _ = graph(x)
        # densities of different coordinates of the same point: compare them in the natural parameters
        ours, _ = problem.arrays.log_posterior_and_gradient(parameters)
        free = problem.arrays.free(parameters)
        with_jacobian, _ = problem.arrays.value_and_gradient(free, jacobian=True)
        again = fused.parameters(np.linalg.solve(fused.scale, free - fused.centre))
        np.testing.assert_allclose(again.roots, parameters.roots, rtol=1e-9)
        graph_jacobian = np.log(np.exp(parameters.log_pi)).sum() - log_jacobian_graph(parameters)
        gaps.append(log_density - (ours + graph_jacobian))
        assert np.isfinite(with_jacobian)
    assert np.ptp(gaps) < 1e-8 * abs(ours)


def log_jacobian_graph(parameters: Parameters) -> float:
    """- log |dSigma / d(log A_dd^2, A_below)| + constant: A scales with L row by row, so only the diagonal moves it."""
    size = parameters.roots.shape[1]
    d = np.arange(size)
    log_diagonal = np.log(np.diagonal(parameters.roots, axis1=1, axis2=2))
    # dSigma = |P|^-(D+1) dP, dP = 2^D prod L_dd^(D-d) dL, dL_dd = L_dd dlog(L_dd)
    return float((((size + 1) * 2.0 - (size - d) - 1.0) * log_diagonal).sum())


def test_one_compiled_graph_serves_other_data_and_priors():
    graph_density._compiled.cache_clear()
    for seed in (1, 2, 3):
        problem = problem_of(1, 2, 1, seed)
        GraphDensity(problem.arrays, random_parameters(problem, seed))
    assert graph_density._compiled.cache_info().misses == 1


def test_flat_jacobian_is_that_of_the_natural_parameters():
    problem = problem_of(2, 2, 0)
    parameters = random_parameters(problem, 4)
    flat = problem.arrays.free(parameters)

    def natural(at):
        moved = problem.arrays.of_free(at, parameters)
        sigma = covariances_from_roots(moved.roots)
        return np.concatenate(([np.exp(moved.log_pi[1])], moved.means.ravel(), sigma[:, [0, 1, 1], [0, 0, 1]].ravel()))

    def gap(at):
        matrix = np.stack([(natural(at + s) - natural(at - s)) / 2e-6 for s in 1e-6 * np.eye(len(at))], axis=1)
        with_jacobian, _ = problem.arrays.value_and_gradient(at, jacobian=True)
        without, _ = problem.arrays.value_and_gradient(at)
        return with_jacobian - without - np.linalg.slogdet(matrix)[1]

    other = flat + 0.3 * np.random.default_rng(1).standard_normal(len(flat))
    assert gap(flat) == pytest.approx(gap(other), abs=1e-6)
    value, gradient = problem.arrays.value_and_gradient(flat, jacobian=True)
    for j in range(len(flat)):
        step = np.zeros(len(flat))
        step[j] = 1e-5
        up, down = (problem.arrays.value_and_gradient(flat + s, jacobian=True)[0] for s in (step, -step))
        assert gradient[j] == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-4)
    assert np.isfinite(value)


def test_draws_through_the_pymc_graph_are_the_same_posterior(demo, demo_fit, demo_posterior):
    by_graph = bg.Mixture.from_card("two-humps").sample(
        demo, init=demo_fit, draws=500, chains=2, seed=9, density="pymc"
    )
    one, two = demo_posterior.summary().set_index("parameter"), by_graph.summary().set_index("parameter")
    error = np.hypot(one["sd"] / np.sqrt(one["ess_bulk"]), two["sd"] / np.sqrt(two["ess_bulk"]))
    assert ((one["mean"] - two["mean"]).abs() < 4 * error).all()
    np.testing.assert_allclose(one["sd"], two["sd"], rtol=0.15)


# -- references -----------------------------------------------------------------------------------


def test_design_reference_map(geno600, reference_dir):
    reference = json.loads((reference_dir / "design" / "map_geno600.json").read_text())
    for expected in reference["fits"]:
        priors = bg.Priors(weights=bg.Dirichlet(expected["dirichlet"]), effects=bg.LogOddsNormal(expected["effect_sd"]))
        formula = " + ".join(expected["predictors"]) or None
        fit = bg.Mixture(3, weights=formula, priors=priors).fit(geno600, seed=1)
        assert fit.log_posterior == pytest.approx(expected["log_posterior"], rel=1e-8)
        np.testing.assert_allclose(fit.params["means"], expected["means"], atol=1e-4)
        if formula:
            np.testing.assert_allclose(fit.params["effects"], expected["effects_vs_component_0"], atol=1e-4)


@pytest.mark.parametrize(
    ("key", "formula"),
    [("none (constant weights)", None), ("~g", "g"), ("~g+age_s", "g + age_s"), ("~factor(g)", "C(g)")],
)
def test_gating_reference_maximum_likelihood(geno600, reference_dir, key, formula):
    results = json.loads((reference_dir / "gating" / "reference_em.json").read_text())["results"]
    expected = results[f"ML VVV {key}"]
    start = pd.read_csv(reference_dir / "data" / "geno600_init.csv").iloc[:, -1].to_numpy()
    fit = bg.Mixture(3, weights=formula, priors=bg.Priors.flat()).fit(geno600, init=start)
    assert fit.log_likelihood == pytest.approx(expected["loglik"], rel=1e-8)
    if formula is None:
        return
    # the reference keeps components in the order of its start: 0, 1, 2 are our 0, 2, 1
    order = [list(np.argsort([m[0] for m in expected["mean"]])).index(k) - 1 for k in (1, 2)]
    coefficients = np.array(expected["gating_coef_baseline1"])[:, 1:].T
    errors = np.array(expected["se_observed_information"])[:, 1:].T
    np.testing.assert_allclose(fit.params["effects"].values[:, order], coefficients, atol=1e-4)
    np.testing.assert_allclose(fit.standard_errors["effects"].values[:, order], errors, atol=1e-3)


@pytest.mark.parametrize("data", ["faithful", "iris"])
@pytest.mark.parametrize("prior", ["none", "default"])
def test_mclust_reference_unrestricted_covariances(reference_dir, data, prior):
    frame = pd.read_csv(reference_dir / "data" / f"{data}.csv")
    y = frame.select_dtypes("number").to_numpy()
    starts = pd.read_csv(reference_dir / "data" / f"{data}_hcVVV_SVD_init_G1to5.csv")
    expected = json.loads((reference_dir / "mclust" / f"{data}_prior-{prior}_tol-tight.json").read_text())
    priors = bg.Priors.flat() if prior == "none" else bg.Priors(weights=bg.Dirichlet(1.0), effects=bg.Flat())
    table = pd.read_csv(reference_dir / "mclust" / f"{data}_prior-{prior}_tol-tight.csv")
    rows = table[(table["model"] == "VVV") & (~table["failed"].astype(bool))]
    assert len(rows) >= 3
    assert expected["dataset"] == data
    for row in rows.itertuples():
        fit = bg.Mixture(int(row.G), priors=priors).fit(y, init=starts[str(row.G)].to_numpy())
        tolerance = 1e-6 * abs(row.loglik)
        if prior == "none":
            assert fit.log_likelihood >= row.loglik - tolerance
            assert -fit.bic >= row.bic - 2 * tolerance
        else:
            # with a prior the mode of the posterior, not of the likelihood, is what both climb
            assert fit.log_likelihood == pytest.approx(row.loglik, rel=1e-6)


@pytest.mark.parametrize(
    ("file", "n_components", "strength", "dof", "scale_divisor"),
    [
        ("faithful_K2_NIW_kappa0.01_nu4_PsiCovOver2_alpha2.csv", 2, 0.01, 4, 2),
        ("geno600_K3_NIW_kappa2_nu10_PsiCov_alpha2_orderedby_y1.csv", 3, 2.0, 10, 1),
    ],
)
def test_posteriors_equal_gibbs_reference(reference_dir, file, n_components, strength, dof, scale_divisor):
    lines = (reference_dir / "bayesm" / file).read_text().splitlines()
    # parameters are named like Sigma[1,2,1], unquoted: numbers are the last six fields
    fields = [line.rsplit(",", 6) for line in lines[1:]]
    columns = lines[0].split(",")[1:]
    expected = pd.DataFrame([f[1:] for f in fields], index=[f[0] for f in fields], columns=columns).astype(float)
    frame = pd.read_csv(reference_dir / "data" / f"{file.split('_')[0]}.csv")
    y = frame[["y1", "y2"] if "y1" in frame else list(frame.select_dtypes("number").columns)]
    scale = np.cov(y.to_numpy().T) / scale_divisor
    priors = bg.Priors(components=bg.NormalInverseWishart(strength=strength, dof=dof, scale=scale))
    model = bg.Mixture(n_components, priors=priors)
    fit = model.fit(y, seed=4)
    sampled = model.sample(y, init=fit, draws=4000, chains=2, seed=4).summary().set_index("parameter")
    approx = fit.laplace(seed=4)
    quick = approx.summary().set_index("parameter")
    for k in range(n_components):
        # their draws are ordered by the first trait's mean, which with these separated components is our labelling
        pairs = {f"pi[{k + 1}]": f"weights[{k}]"}
        for d, trait in enumerate(y.columns):
            pairs[f"mu[{k + 1},{d + 1}]"] = f"means[{k}, {trait}]"
            for e, other in enumerate(y.columns[: d + 1]):
                pairs[f"Sigma[{k + 1},{d + 1},{e + 1}]"] = f"covariances[{k}, {trait}, {other}]"
        for theirs, ours in pairs.items():
            want, got = expected.loc[theirs], sampled.loc[ours]
            error = np.hypot(want["mcse_between_chains"], got["sd"] / np.sqrt(got["ess_bulk"]))
            assert abs(got["mean"] - want["mean"]) < 4 * error, ours
            assert got["sd"] == pytest.approx(want["sd"], rel=0.05), ours
            assert quick.loc[ours, "sd"] == pytest.approx(want["sd"], rel=0.1), ours
            assert quick.loc[ours, "mean"] == pytest.approx(want["mean"], abs=0.15 * want["sd"]), ours
    assert approx.pareto_k < 0.5
