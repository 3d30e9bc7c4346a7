"""The likelihood as a distribution of PyMC: against PyMC's own mixtures, scipy, and reference draws."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys

import arviz as az
import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from pymc.distributions.transforms import ordered
from scipy.special import log_softmax, logsumexp
from scipy.stats import f as f_distribution
from scipy.stats import kstest, multivariate_normal, multivariate_t, norm, uniform
from scipy.stats import t as student_t

import bayesgmm as bg
from bayesgmm.inference.likelihood_op import MarginalMixtureLikelihood
from bayesgmm.inference.pointwise_op import PointwiseMixtureLikelihood

K, D, N, U, Q = 3, 2, 90, 4, 2


@pytest.fixture(autouse=True)
def quick_compilation():
    """PyTensor's default backend takes seconds to compile a graph; tests that are about it name it."""
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        yield


@pytest.fixture(scope="module")
def case():
    """Two traits with gaps, covariates, patterns of weights; three components at arbitrary parameters."""
    rng = np.random.default_rng(11)
    y = rng.normal(size=(N, D)) * 2.0
    y[rng.random((N, D)) < 0.2] = np.nan
    y = y[~np.isnan(y).all(axis=1)]
    n = len(y)
    factor = np.tril(rng.normal(size=(K, D, D)))
    factor[:, np.arange(D), np.arange(D)] = rng.uniform(0.5, 1.5, (K, D))
    return {
        "y": y,
        "pattern": rng.integers(0, U, n),
        "covariates": rng.normal(size=(n, Q)),
        "weights": np.where(rng.random(n) < 0.1, 0.0, rng.uniform(0.3, 2.0, n)),
        "logits": rng.normal(size=(U, K)),
        "means": rng.normal(size=(K, D)),
        "roots": factor,
        "shifts": rng.normal(size=(Q, D)),
    }


def densities(y, logits, means, covariances, fitted):
    """Log density of each person in the traits that the person has, by scipy."""
    out = np.empty(len(y))
    for i, row in enumerate(y):
        has = ~np.isnan(row)
        joint = [
            multivariate_normal(means[k][has] + fitted[i][has], covariances[k][np.ix_(has, has)]).logpdf(row[has])
            for k in range(len(means))
        ]
        out[i] = logsumexp(log_softmax(logits[i]) + np.array(joint))
    return out


def free_model(case, **changes):
    """Every parameter a flat variable; the order of the value variables is logits, means, roots, shifts."""
    given = {name: case[name] for name in ("pattern", "covariates", "weights")} | {"observed": case["y"]} | changes
    with pm.Model() as model:
        parameters = {name: pm.Flat(name, shape=case[name].shape) for name in ("logits", "means", "roots", "shifts")}
        bg.pymc.MarginalMixture(
            "y",
            logits=parameters["logits"],
            means=parameters["means"],
            precision_cholesky=parameters["roots"],
            shifts=parameters["shifts"],
            **given,
        )
    return model


def point_of(case):
    return {name: case[name] for name in ("logits", "means", "roots", "shifts")}


def truth(case, point):
    covariances = np.linalg.inv(np.tril(point["roots"]) @ np.tril(point["roots"]).transpose(0, 2, 1))
    logits = point["logits"][case["pattern"]]
    fitted = case["covariates"] @ point["shifts"]
    return case["weights"] * densities(case["y"], logits, point["means"], covariances, fitted)


def test_density_gradient_and_pointwise_equal_scipy_with_every_option_on(case):
    model, point = free_model(case), point_of(case)
    expected = truth(case, point)
    (pointwise,) = model.compile_fn(model.logp(vars=[model["y"]], sum=False), mode="NUMBA")(point)
    np.testing.assert_allclose(pointwise, expected, rtol=1e-9, atol=1e-9)
    assert pointwise[case["weights"] == 0.0].tolist() == [0.0] * int((case["weights"] == 0.0).sum())
    total = model.compile_logp()
    assert float(total(point)) == pytest.approx(expected.sum(), rel=1e-10)
    gradient = model.compile_dlogp()(point)
    at = 0
    for name in point:
        for index in np.ndindex(point[name].shape):
            step = np.zeros(point[name].shape)
            step[index] = 1e-5
            # an entry above the diagonal is not read
            rise = truth(case, point | {name: point[name] + step}) - truth(case, point | {name: point[name] - step})
            assert gradient[at] == pytest.approx(rise.sum() / 2e-5, rel=1e-6, abs=1e-6), (name, index)
            at += 1
    assert at == len(gradient)


def test_gradient_of_weighted_people_is_the_vector_jacobian_product(case):
    """A cotangent that differs from person to person takes the place of sample weights."""
    rng = np.random.default_rng(2)
    cotangent = rng.normal(size=len(case["y"]))
    model, point = free_model(case), point_of(case)
    (pointwise,) = model.logp(vars=[model["y"]], sum=False)
    product = pytensor.grad((pointwise * cotangent).sum(), model.value_vars)
    got = model.compile_fn(product)(point)
    # weights may not be negative, cotangents may: the difference of two weighted densities
    up, down = (
        free_model(case, weights=case["weights"] * part).compile_dlogp()(point)
        for part in (np.maximum(cotangent, 0.0), np.maximum(-cotangent, 0.0))
    )
    np.testing.assert_allclose(np.concatenate([g.ravel() for g in got]), up - down, rtol=1e-8, atol=1e-8)


def test_a_sampler_evaluates_one_pass_and_every_backend_agrees(case):
    model, point = free_model(case), point_of(case)
    values = []
    for mode in ("NUMBA", "FAST_COMPILE", "CVM"):
        function = model.logp_dlogp_function(ravel_inputs=True, mode=mode)
        function.set_extra_values({})
        value, gradient = function(np.concatenate([point[v.name].ravel() for v in model.value_vars]))
        values.append((float(value), *gradient))
        nodes = [node.op for node in function._pytensor_function.maker.fgraph.apply_nodes]
        assert sum(isinstance(op, MarginalMixtureLikelihood) for op in nodes) == 1
        assert not any(isinstance(op, PointwiseMixtureLikelihood) for op in nodes)
    np.testing.assert_allclose(values[1], values[0], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(values[2], values[0], rtol=1e-10, atol=1e-10)


def one_trait_priors():
    weight = pm.Beta("weight", 5, 5)
    means = pm.Normal("means", 0, 2, shape=2, transform=ordered, initval=[-1.0, 1.0])
    return weight, means, pm.HalfNormal("sd", 2, shape=2)


def of_logits(weight):
    return pt.log(pt.stack([weight, 1.0 - weight]))


def test_one_trait_equals_normal_mixture_whichever_way_it_is_written():
    rng = np.random.default_rng(4)
    y = rng.normal(size=50) * 2.0
    slope, age = 0.3, rng.normal(size=50)
    made = []
    for form in ("plain", "sd", "precision", "covariance", "rows", "pattern"):
        with pm.Model() as model:
            weight, means, sd = one_trait_priors()
            if form == "plain":
                components = [pm.Normal.dist(means[k] + slope * age, sd[k]) for k in range(2)]
                pm.Mixture("y", w=pt.stack([weight, 1.0 - weight]), comp_dists=components, observed=y)
            else:
                spread = {
                    "precision": {"precision_cholesky": 1.0 / sd},
                    "covariance": {"covariance_cholesky": sd[:, None, None]},
                }.get(form, {"sd": sd})
                logits = of_logits(weight)
                if form == "rows":
                    logits = pt.zeros((50, 2)) + logits
                if form == "pattern":
                    spread |= {"pattern": np.arange(50) % 3}
                    logits = pt.zeros((3, 2)) + logits
                bg.pymc.MarginalMixture(
                    "y", logits=logits, means=means, shifts=[slope], covariates=age, observed=y, **spread
                )
        function = model.logp_dlogp_function(ravel_inputs=True)
        function.set_extra_values({})
        value, gradient = function(np.array([0.3, -0.7, 0.4, 0.2, -0.3]))
        made.append((float(value), *gradient))
    for other in made[1:]:
        np.testing.assert_allclose(other, made[0], rtol=1e-8, atol=1e-8)


def test_covariance_cholesky_equals_mixture_of_mvnormal(case):
    y = np.random.default_rng(5).normal(size=(40, D))
    chol = case["roots"]
    value = pm.logp(
        bg.pymc.MarginalMixture.dist(logits=case["logits"][0], means=case["means"], covariance_cholesky=chol, n=40), y
    ).eval()
    components = [pm.MvNormal.dist(case["means"][k], chol=chol[k]) for k in range(K)]
    weights = np.exp(log_softmax(case["logits"][0]))
    np.testing.assert_allclose(
        value, pm.logp(pm.Mixture.dist(weights, components), y).eval(mode="FAST_COMPILE"), rtol=1e-10
    )
    scaled = bg.pymc.MarginalMixture.dist(logits=np.zeros(K), means=case["means"], sd=np.full((K, D), 0.7), n=40)
    joint = norm.logpdf(y[:, None, :], case["means"], 0.7).sum(-1)
    np.testing.assert_allclose(
        pm.logp(scaled, y).eval(mode="FAST_COMPILE"), logsumexp(joint, axis=1) - np.log(K), rtol=1e-10
    )


def test_draws_have_the_moments_of_the_mixture(case):
    """Both ways of drawing: compiled, and by numpy's generator without compilation."""
    n = 20_000
    pattern = np.repeat([0, 1], n // 2)
    weights = np.exp(log_softmax(case["logits"], axis=1))
    for d, mode in ((D, "NUMBA"), (D, "FAST_COMPILE"), (1, "NUMBA"), (1, "CVM")):
        means, roots = case["means"][:, :d], case["roots"][:, :d, :d]
        shifts, covariates = case["shifts"][:, :d], np.tile([1.0, -0.5], (n, 1))
        rv = bg.pymc.MarginalMixture.dist(
            logits=case["logits"],
            means=means if d > 1 else means[:, 0],
            precision_cholesky=roots if d > 1 else roots[:, 0, 0],
            pattern=pattern,
            covariates=covariates,
            shifts=shifts if d > 1 else shifts[:, 0],
        )
        y = pm.draw(rv, random_seed=3, mode=mode).reshape(n, d)
        covariances = np.linalg.inv(roots @ roots.transpose(0, 2, 1))
        for u in (0, 1):
            centre = weights[u] @ means
            off = means - centre
            spread = np.einsum("k,kde->de", weights[u], covariances + off[:, :, None] * off[:, None, :])
            got = y[pattern == u] - covariates[0] @ shifts
            error = np.sqrt(np.diag(spread) / (n // 2))
            assert (np.abs(got.mean(axis=0) - centre) < 4.5 * error).all(), (d, mode, u)
            np.testing.assert_allclose(np.cov(got.T).reshape(d, d), spread, atol=0.08 * np.abs(spread).max())


@pytest.fixture(scope="module")
def humps():
    """A frame of two traits with gaps, and the model of it."""
    rng = np.random.default_rng(8)
    z = rng.random(300) < 0.4
    y = pd.DataFrame(
        rng.normal(size=(300, 2)) + 4.0 * z[:, None], columns=["a", "b"], index=[f"P{i}" for i in range(300)]
    )
    y.iloc[::7, 0] = np.nan
    with pm.Model(coords={"person": y.index, "trait": y.columns}) as model:
        weight = pm.Beta("weight", 2, 2)
        low = pm.Normal("low", 0, 3, shape=2)
        gap = pm.HalfNormal("gap", 5, shape=2)
        bg.pymc.MarginalMixture(
            "y",
            logits=of_logits(1.0 - weight),
            means=pt.stack([low, low + gap]),
            sd=np.ones((2, 2)),
            observed=y,
            dims=("person", "trait"),
        )
    return y, model


@pytest.mark.parametrize("sampler", ["pymc", pytest.param("nutpie", marks=pytest.mark.slow)])
def test_pymc_samples_scores_and_predicts(humps, sampler):
    y, model = humps
    with model:
        tree = pm.sample(
            200, tune=300, chains=2, cores=1, random_seed=1, nuts_sampler=sampler, progressbar=False, quiet=True
        )
        pm.compute_log_likelihood(tree, progressbar=False)
        pm.sample_posterior_predictive(tree, random_seed=2, extend_inferencedata=True, progressbar=False)
        prior = pm.sample_prior_predictive(3, random_seed=3)
    post = tree["posterior"].to_dataset()
    assert float(post["weight"].mean()) == pytest.approx(0.4, abs=0.1)
    assert float(post["gap"].mean()) == pytest.approx(4.0, abs=0.4)
    scores = tree["log_likelihood"]["y"]
    assert scores.dims == ("chain", "draw", "person")
    one = post.isel(chain=1, draw=7)
    low, gap, weight = one["low"].values, one["gap"].values, float(one["weight"])
    logits = np.tile(np.log([1.0 - weight, weight]), (300, 1))
    expected = densities(
        y.to_numpy(), logits, np.stack([low, low + gap]), np.tile(np.eye(2), (2, 1, 1)), np.zeros((300, 2))
    )
    np.testing.assert_allclose(scores.isel(chain=1, draw=7), expected, rtol=1e-9)
    assert np.isfinite(float(az.loo(tree, var_name="y").elpd))
    drawn = tree["posterior_predictive"]["y"]
    assert drawn.dims == ("chain", "draw", "person", "trait")
    assert np.isfinite(drawn.values).all()  # missing traits are drawn too
    np.testing.assert_allclose(drawn.mean(("chain", "draw", "person")), y.mean(), atol=0.35)
    np.testing.assert_allclose(drawn.std(("chain", "draw", "person")), y.std(), rtol=0.1)
    assert prior["prior_predictive"]["y"].shape == (1, 3, 300, 2)


def test_people_are_matched_by_id(humps):
    y, _ = humps
    weights = pd.Series(np.linspace(0.0, 2.0, 300), index=y.index)
    pattern = pd.Series(np.arange(300) % 3, index=y.index)
    given = {"logits": np.eye(3)[:, :2], "means": [[0.0, 0.0], [4.0, 4.0]], "sd": np.ones((2, 2)), "observed": y}
    totals = []
    for mixed in (False, True):
        order = np.random.default_rng(0).permutation(300) if mixed else np.arange(300)
        with pm.Model() as model:
            bg.pymc.MarginalMixture("y", weights=weights.iloc[order], pattern=pattern.iloc[order], **given)
        totals.append(float(model.compile_logp()({})))
    assert totals[0] == pytest.approx(totals[1], rel=1e-12)
    with pm.Model(), pytest.raises(bg.InputError, match="pattern lacks the samples 'P0'"):
        bg.pymc.MarginalMixture("y", pattern=pattern.iloc[1:], **given)


GOOD = {"logits": [0.0, 0.0], "means": [0.0, 1.0], "sd": [1.0, 1.0], "observed": [0.0, 1.0, 2.0]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logits": [0.0, 0.0, 0.0]}, "logits has 3 components .* and means 2"),
        ({"logits": np.zeros((2, 2))}, "logits .no pattern is given. has 2 rows, and there are 3 people"),
        ({"logits": [0.0, np.nan]}, "logits has entries that are not finite"),
        ({"sd": [1.0, 1.0, 1.0]}, r"sd has shape \(3, 1\); with these means it must be \(2,\)"),
        ({"sd": [1.0, 0.0]}, "sd has the entry 0; it must be above 0"),
        ({"precision_cholesky": [1.0, 1.0]}, "exactly one of"),
        ({"sd": None}, "exactly one of"),
        ({"sd": None, "precision_cholesky": [1.0, -1.0]}, "diagonal of precision_cholesky has the entry -1"),
        ({"means": np.zeros((2, 2)), "sd": np.ones((2, 2))}, r"observed has shape \(3,\), and means those of 2 traits"),
        ({"observed": [0.0, np.nan, 1.0]}, "no trait at all for 1 people, '1'"),
        ({"observed": [0.0, np.inf, 1.0]}, "observed is infinite for people '1'"),
        ({"observed": ["a", "b", "c"]}, "observed is not numeric"),
        ({"observed": None}, "needs observed"),
        ({"observed": pt.vector("y")}, "observed is a variable of the graph"),
        ({"pattern": [0, 0, 1]}, "logits has one dimension"),
        ({"pattern": [0, 0, 2], "logits": np.zeros((2, 2))}, "rows of logits from 0 to 1; it is not at people '2'"),
        ({"pattern": [0, 0.5, 1], "logits": np.zeros((2, 2))}, "whole numbers .*'1'"),
        ({"weights": [1.0, 1.0]}, "weights has 2 rows, and there are 3 people"),
        ({"weights": [1.0, -1.0, 1.0]}, "at least 0; they are not at rows '1'"),
        ({"weights": [0.0, 0.0, 0.0]}, "nobody is left"),
        ({"shifts": [1.0]}, "shifts without covariates"),
        ({"shifts": [1.0], "covariates": [0.0, np.nan, 1.0]}, "must be .n, Q. and finite"),
        ({"shifts": [1.0, 2.0], "covariates": [0.0, 1.0, 1.0]}, "shifts has shape"),
    ],
)
def test_what_cannot_be_used_is_named_when_the_model_is_built(changes, message):
    with pm.Model(), pytest.raises(bg.InputError, match=message):
        bg.pymc.MarginalMixture("y", **(GOOD | changes))


def test_shapes_that_are_known_only_later_are_checked_then():
    """Whatever reaches the kernel has the shape that it was built for, or the evaluation stops."""
    with pm.Model() as model:
        rows = pm.Data("rows", np.zeros((3, 2)))
        bg.pymc.MarginalMixture("y", **(GOOD | {"logits": rows, "pattern": [0, 1, 2]}))
    logp = model.compile_logp(mode="NUMBA")
    assert np.isfinite(logp({}))
    for wrong in (np.zeros((2, 2)), np.zeros((3, 3))):
        with model:
            pm.set_data({"rows": wrong})
        with pytest.raises((AssertionError, ValueError, IndexError)):
            logp({})


def test_the_ready_made_model_can_be_extended():
    """What a potential adds is what the log density of ``to_pymc``'s model gains."""
    y = np.random.default_rng(3).normal(size=(60, 1)) + 3.0 * (np.arange(60) % 2)[:, None]
    model = bg.Mixture(2)
    plain = model.to_pymc(y)
    with model.to_pymc(y) as extended:
        pm.Potential("pull", -50.0 * (extended["means"][1, 0] - 2.0) ** 2)
    point = plain.initial_point(random_seed=1)
    point = {name: value + 0.1 for name, value in point.items()}
    graph = plain.replace_rvs_by_values([plain["means"]])
    (means,) = plain.compile_fn(graph, inputs=plain.value_vars, on_unused_input="ignore")(point)
    gained = float(extended.compile_logp()(point)) - float(plain.compile_logp()(point))
    assert gained == pytest.approx(-50.0 * (means[1, 0] - 2.0) ** 2, rel=1e-9)


def test_pymc_is_imported_only_when_asked_for():
    code = "import sys, bayesgmm as bg; assert 'pymc' not in sys.modules; bg.pymc.MarginalMixture; sys.modules['pymc']"
    subprocess.run([sys.executable, "-c", code], check=True)


def gauss_mix(reference_dir, ours=True):
    """posteriordb's low_dim_gauss_mix: ordered means N(0, 2), sds half-normal(2), weight beta(5, 5)."""
    folder = reference_dir / "posteriordb"
    y = np.array(json.loads((folder / "low_dim_gauss_mix.data.json").read_text())["y"])
    with pm.Model() as model:
        weight, means, sd = one_trait_priors()
        if ours:
            bg.pymc.MarginalMixture("y", logits=of_logits(weight), means=means, sd=sd, observed=y)
        else:
            pm.NormalMixture("y", w=pt.stack([weight, 1.0 - weight]), mu=means, sigma=sd, observed=y)
    return folder, model


def test_density_of_low_dim_gauss_mix_equals_normal_mixture(reference_dir):
    functions = []
    for ours in (True, False):
        _, model = gauss_mix(reference_dir, ours)
        function = model.logp_dlogp_function(ravel_inputs=True)
        function.set_extra_values({})
        functions.append(function)
    for x in np.random.default_rng(1).normal(size=(20, 5)):
        (value, gradient), (other, other_gradient) = (f(x) for f in functions)
        assert float(value) == pytest.approx(float(other), rel=1e-10)
        np.testing.assert_allclose(gradient, other_gradient, rtol=1e-8, atol=1e-7)


@pytest.mark.slow
def test_posterior_of_low_dim_gauss_mix_agrees_with_the_reference_draws(reference_dir):
    folder, model = gauss_mix(reference_dir)
    with model:
        tree = pm.sample(2000, tune=1000, chains=2, cores=1, random_seed=1, progressbar=False, quiet=True)
    with gzip.open(folder / "low_dim_gauss_mix.reference_draws_10000.csv.gz") as file:
        draws = pd.read_csv(file)
    post = tree["posterior"].to_dataset()
    ours = {
        "mu[1]": post["means"][..., 0],
        "mu[2]": post["means"][..., 1],
        "sigma[1]": post["sd"][..., 0],
        "sigma[2]": post["sd"][..., 1],
        "theta": post["weight"],
    }
    for name, draw in ours.items():
        reference = draws[name].to_numpy()
        size, spread = float(az.ess(draw.values)), float(draw.std())
        # standard errors of the mean, and of the sd of a nearly normal sample
        error = np.hypot(spread / np.sqrt(size), reference.std() / np.sqrt(len(reference)))
        assert abs(float(draw.mean()) - reference.mean()) < 4.0 * error, name
        assert abs(spread - reference.std()) < 4.0 * error / np.sqrt(2.0), name


# -- Student-t components, noise and a spike --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strays(case):
    """The same people, some of them at a spike, and log weights of the three components, noise and the spike."""
    rng = np.random.default_rng(12)
    y = case["y"].copy()
    y[:6] = [0.5, -1.0]
    y[6, 0], y[6, 1] = np.nan, -1.0
    return case | {"y": y, "logits": rng.normal(size=(U, K + 2)), "df": np.array([2.5, 7.0, 40.0])}


def densities_beside_noise(y, logits, means, scales, fitted, df, log_noise):
    """Log density of each person who has traits, by scipy; who is at the spike has the weight."""
    out = np.empty(len(y))
    for i, row in enumerate(y):
        has = ~np.isnan(row)
        log_weights = log_softmax(logits[i])
        if (row[has] == np.array([0.5, -1.0])[has]).all():
            out[i] = log_weights[-1]
            continue
        joint = [
            multivariate_t(means[k][has] + fitted[i][has], scales[k][np.ix_(has, has)], df[k]).logpdf(row[has])
            for k in range(len(means))
        ]
        out[i] = logsumexp(log_weights[:-1] + np.array([*joint, log_noise[i]]))
    return out


def test_tails_noise_and_a_spike_by_scipy(strays):
    y, spike = strays["y"], [0.5, -1.0]
    with pm.Model() as model:
        names = ("logits", "means", "roots", "shifts", "df")
        free = {name: pm.Flat(name, shape=strays[name].shape) for name in names}
        bg.pymc.MarginalMixture(
            "y",
            logits=free["logits"],
            means=free["means"],
            precision_cholesky=free["roots"],
            shifts=free["shifts"],
            df=free["df"],
            noise=([-9.0, -8.0], [9.0, 10.0]),
            spike=spike,
            observed=y,
            **{name: strays[name] for name in ("covariates", "pattern", "weights")},
        )
    point = {name: strays[name] for name in names}
    log_noise = -np.log([18.0, 18.0]) * ~np.isnan(y)

    def expected(at):
        scales = np.linalg.inv(np.tril(at["roots"]) @ np.tril(at["roots"]).transpose(0, 2, 1))
        fitted, logits = strays["covariates"] @ at["shifts"], at["logits"][strays["pattern"]]
        found = densities_beside_noise(y, logits, at["means"], scales, fitted, at["df"], log_noise.sum(axis=1))
        return strays["weights"] * found

    (pointwise,) = model.compile_fn(model.logp(vars=[model["y"]], sum=False), mode="NUMBA")(point)
    np.testing.assert_allclose(pointwise, expected(point), rtol=1e-9, atol=1e-9)
    gradient = model.compile_dlogp()(point)
    direction = {name: np.random.default_rng(3).normal(size=strays[name].shape) for name in names}
    up, down = (expected({n: point[n] + s * 1e-5 * direction[n] for n in names}).sum() for s in (1.0, -1.0))
    flat = np.concatenate([direction[n].ravel() for n in names])
    assert gradient @ flat == pytest.approx((up - down) / 2e-5, rel=1e-6)


@pytest.mark.parametrize(
    "options", [{"df": 5.0}, {"df": "each", "noise": True}, {"noise": True, "spike": 3.0}], ids=str
)
def test_it_is_the_likelihood_of_the_fit(options):
    rng = np.random.default_rng(6)
    y = np.concatenate([rng.normal(0.0, 1.0, (60, 2)), rng.normal(4.0, 1.0, (40, 2)), rng.uniform(-9.0, 9.0, (9, 2))])
    if "spike" in options:
        y = np.concatenate([y, np.full((12, 2), 3.0)])
    fit = bg.Mixture(2, **options).fit(y, seed=1, restarts=1)
    located = fit.params.isel(component=slice(0, 2))
    df = options.get("df")
    rv = {"df": fit.params["df"].values if df == "each" else df} if df else {}
    with pm.Model() as model:
        bg.pymc.MarginalMixture(
            "y",
            logits=np.log(fit.params["weights"].values),
            means=located["means"].values,
            covariance_cholesky=np.linalg.cholesky(located["covariances"].values),
            observed=y,
            noise=options.get("noise", False),
            spike=options.get("spike"),
            **rv,
        )
    assert float(model.compile_logp()({})) == pytest.approx(fit.log_likelihood, rel=1e-10)


@pytest.mark.parametrize(("d", "mode"), [(2, "NUMBA"), (2, "FAST_COMPILE"), (1, "NUMBA"), (1, "CVM")])
def test_draws_beside_noise_and_a_spike(d, mode):
    n, weights = 20_000, np.array([0.4, 0.3, 0.2, 0.1])
    low, high, spike = [-20.0, 5.0][:d], [-10.0, 9.0][:d], [3.25, -1.0][:d]
    means, factor = np.array([[0.0, 1.0], [30.0, 20.0]])[:, :d], np.array([[1.0, 0.0], [-0.5, 0.8]])[:d, :d]
    rv = bg.pymc.MarginalMixture.dist(
        logits=np.log(weights),
        means=means if d > 1 else means[:, 0],
        precision_cholesky=np.stack([factor, 2.0 * factor]) if d > 1 else np.array([1.0, 2.0]),
        df=np.array([6.0, 8.0]),
        noise=(low, high),
        spike=spike,
        n=n,
    )
    y = pm.draw(rv, random_seed=3, mode=mode).reshape(n, d)
    at = (y == spike).all(axis=1)
    stray = (y[:, 0] < -9.0) & ~at
    second = y[:, 0] > 15.0
    share = np.array([(~at & ~stray & ~second).mean(), second.mean(), stray.mean(), at.mean()])
    assert (np.abs(share - weights) < 4.0 * np.sqrt(weights * (1.0 - weights) / n)).all()
    for e in range(d):
        assert kstest(y[stray, e], uniform(low[e], high[e] - low[e]).cdf).pvalue > 1e-3
        spread = np.sqrt(np.linalg.inv(4.0 * factor @ factor.T)[e, e])
        assert kstest(y[second, e], student_t(8.0, means[1, e], spread).cdf).pvalue > 1e-3
    if d == 2:
        # one precision for both traits: squared distances are F
        off = (y[second] - means[1]) @ (2.0 * factor)
        assert kstest(0.5 * (off**2).sum(axis=1), f_distribution(2, 8.0).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise": True}, "logits has 2 components .* and means 2, and noise beside them"),
        ({"noise": 0.0, "logits": np.zeros(3)}, "noise = 0.0; it must be True, False, the volume"),
        ({"noise": (1.0, 0.0), "logits": np.zeros(3)}, "high must be above low"),
        ({"noise": ("a", 0.0), "logits": np.zeros(3)}, "noise is not numeric"),
        ({"noise": True, "logits": np.zeros(3), "observed": [1.0, 1.0]}, "does not vary"),
        ({"spike": 5.0, "logits": np.zeros(3)}, "spike = 5.0, but nobody has this value"),
        ({"spike": [1.0, 2.0], "logits": np.zeros(3)}, "one for each of the 1 traits"),
        ({"df": -1.0}, "df has the entry -1; it must be above 0"),
        ({"df": [1.0, 2.0, 3.0]}, r"df has shape \(3\)"),
    ],
)
def test_noise_spike_and_tails_that_cannot_be_used(changes, message):
    with pm.Model(), pytest.raises(bg.InputError, match=message):
        bg.pymc.MarginalMixture("y", **(GOOD | changes))
    if changes == {"noise": True}:
        with pytest.raises(bg.InputError, match="without observed there is no box"):
            bg.pymc.MarginalMixture.dist(logits=np.zeros(3), means=[0.0, 1.0], sd=[1.0, 1.0], noise=True, n=3)


def test_people_who_stray_are_predicted_and_the_tails_are_learned():
    rng = np.random.default_rng(2)
    y = np.concatenate([rng.standard_t(4.0, 250), rng.uniform(-30.0, 30.0, 50), np.zeros(40)])
    with pm.Model():
        weights = pm.Dirichlet("weights", np.ones(3))
        df = pm.Gamma("df", 2.0, 0.1)
        bg.pymc.MarginalMixture(
            "y", logits=pt.log(weights), means=[0.0], sd=[1.0], df=df, noise=True, spike=0.0, observed=y
        )
        tree = pm.sample(300, tune=300, chains=1, random_seed=1, progressbar=False, quiet=True)
        pm.sample_posterior_predictive(tree, random_seed=2, extend_inferencedata=True, progressbar=False)
    found = tree["posterior"]["weights"].mean(("chain", "draw")).values
    np.testing.assert_allclose(found, np.array([250.0, 50.0, 40.0]) / 340.0, atol=0.05)
    assert 2.0 < float(tree["posterior"]["df"].median()) < 12.0
    drawn = tree["posterior_predictive"]["y"].values
    assert (drawn == 0.0).mean() == pytest.approx(40.0 / 340.0, abs=0.02)
    assert (np.abs(drawn) > 10.0).mean() == pytest.approx((np.abs(y) > 10.0).mean(), abs=0.04)
