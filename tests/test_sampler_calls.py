"""What the sampler calls: the C function, both roads to nutpie, and the passes over every draw."""

from __future__ import annotations

import ctypes
import gc
import sys

import numpy as np
import pandas as pd
import pytest

import bayesgmm as bg
from bayesgmm.core import callback
from bayesgmm.core.objective import Parameters, Stacked
from bayesgmm.core.passes import pass_over
from bayesgmm.core.pointers import Pointer
from bayesgmm.core.posterior import WHITENED
from bayesgmm.inference import nutpie_model
from bayesgmm.inference.density import FusedDensity, WhitenedDensity
from bayesgmm.inference.nutpie_model import FLAT, hand_over
from tests.test_families import study_of
from tests.test_objective import random_parameters, random_problem
from tests.test_options import naive_log_likelihood

NUMBERS = ctypes.POINTER(ctypes.c_double)


def call(lent, x, size=None):
    """Answer, value and gradient of the C function, called as C calls it."""
    gradient, value = np.full(len(x), 7.0), np.full(1, 7.0)
    signature = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_size_t, NUMBERS, NUMBERS, NUMBERS, ctypes.c_void_p)
    pointers = (a.ctypes.data_as(NUMBERS) for a in (x, gradient, value))
    answer = signature(callback.density_function().address)(
        len(x) if size is None else size, *pointers, lent.memory.ctypes.data
    )
    return answer, value[0], gradient


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(0)
    y = np.concatenate((rng.normal(0, 1, 60), rng.normal(4, 1, 40)))
    frame = pd.DataFrame({"y": y}, index=[f"P{i}" for i in range(100)])
    return bg.Mixture(2).fit(bg.Study(frame), seed=0)


@pytest.fixture
def density(small):
    return FusedDensity(small.problem.arrays, small.parameters)


def draws_of(density, seed=3, chains=2):
    import nutpie

    model, by_address = hand_over(density)
    tree = nutpie.sample(
        model, draws=60, tune=60, chains=chains, cores=chains, seed=seed, progress_bar=False, save_warmup=False
    )
    return tree["posterior"][FLAT].values, by_address


@pytest.mark.parametrize("family", ["VVV", "EEI", "VII", "EEE"])
def test_c_function_is_the_log_posterior_of_everything_together(family):
    """Missing traits and genotypes, sample weights, slopes and effects, through the address alone."""
    problem = study_of(family, 5)
    density = FusedDensity(problem.arrays, random_parameters(problem, 5))
    lent = density.lent()
    rng = np.random.default_rng(1)
    gaps = []
    for _ in range(3):
        x = 0.3 * rng.standard_normal(density.size)
        answer, value, gradient = call(lent, x)
        free = density.centre + density.scale @ x
        expected, slope = problem.arrays.value_and_gradient(free, jacobian=True)
        assert answer == 0
        assert value == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(gradient, density.scale.T @ slope, rtol=1e-9, atol=1e-9)
        parameters = density.parameters(x)
        without, _ = problem.arrays.value_and_gradient(free)
        likelihood = naive_log_likelihood(problem, parameters) - problem.log_likelihood_shift
        gaps.append(value - (expected - without) - likelihood - problem.arrays.log_prior(parameters))
    np.testing.assert_allclose(gaps, 0.0, atol=1e-8 * abs(value))


def test_c_function_says_what_is_wrong(density):
    lent = density.lent()
    x = np.zeros(density.size)
    assert call(lent, x)[0] == 0
    assert call(lent, x, size=density.size + 1)[0] == callback.FAILED
    assert call(lent, np.full(density.size, 1e300))[0] == callback.NOT_FINITE
    assert call(lent, np.full(density.size, np.nan))[0] == callback.NOT_FINITE


def fails(x, centre, scale, sample, engine, hyper, tie, gradient):
    raise ValueError("nothing to see")


def test_an_error_inside_reaches_neither_c_nor_the_draws(density, monkeypatch):
    monkeypatch.setattr(callback, "whitened_value_and_gradient", Pointer(fails, WHITENED))
    assert call(density.lent(), np.zeros(density.size))[0] == callback.FAILED
    with pytest.raises(RuntimeError):
        draws_of(density, chains=1)


def test_both_roads_give_the_same_draws(density, monkeypatch):
    by_address, used = draws_of(density)
    assert used
    monkeypatch.setattr(nutpie_model, "_KNOWN", ())
    by_python, used = draws_of(density)
    assert not used
    np.testing.assert_array_equal(by_address, by_python)
    assert (np.ptp(by_address, axis=1) > 0.5).all()
    assert not np.array_equal(by_address[0], by_address[1])


def without_module(monkeypatch):
    monkeypatch.setitem(sys.modules, "nutpie.compile_pymc", None)


def of_other_fields(monkeypatch):
    import nutpie.compile_pymc

    class Changed:
        def __init__(self, *, other: int) -> None:
            raise AssertionError("never made")

    monkeypatch.setattr(nutpie.compile_pymc, "CompiledPyMCModel", Changed)


def of_other_classes_beneath(monkeypatch):
    from nutpie import compile_pymc

    monkeypatch.setattr(compile_pymc, "_lib", object())


def of_another_version(monkeypatch):
    monkeypatch.setattr(nutpie_model, "version", lambda name: "0.17.2")


@pytest.mark.parametrize(
    "nutpie_is",
    [without_module, of_other_fields, of_other_classes_beneath, of_another_version],
    ids=lambda f: f.__name__,
)
def test_a_nutpie_that_is_not_known_is_handed_a_python_function(small, monkeypatch, nutpie_is):
    nutpie_is(monkeypatch)
    post = bg.Mixture(2).sample(small.problem.traits[:, 0], draws=20, tune=50, chains=1, seed=1)
    assert post.tree.attrs["called_as"] == "Python function"


class Exponential(WhitenedDensity):
    """Somebody's own density, in Python: -sum exp(z) + z, whose exp(z) is exponential with mean 1."""

    def __call__(self, x):
        z = self.centre + self.scale @ x
        return float((z - np.exp(z)).sum()), self.scale.T @ (1.0 - np.exp(z))

    def parameters(self, x):
        z = self.centre + self.scale @ x
        return Parameters(z[:1], np.empty((0, 1)), z[1:, None], np.ones((2, 1, 1)), np.empty((0, 1)))


def test_a_density_in_python_is_sampled_as_it_is():
    density = Exponential(np.array([0.3, 0.0, -0.2]))
    draws, by_address = draws_of(density, chains=4)
    assert not by_address
    z = density.centre + draws.reshape(-1, 3) @ density.scale.T
    assert np.exp(z).mean() == pytest.approx(1.0, abs=0.2)
    stacked = density.stacked(draws[0])
    np.testing.assert_allclose(stacked.means[..., 0], (density.centre + draws[0] @ density.scale.T)[:, 1:])


def test_another_density_over_the_fused_one_is_not_mistaken_for_it(small):
    class Tempered(FusedDensity):
        def __call__(self, x):
            value, gradient = super().__call__(x)
            return 0.5 * value, 0.5 * gradient

    tempered = Tempered(small.problem.arrays, small.parameters)
    assert tempered.lent() is None
    assert not draws_of(tempered, chains=1)[1]


def test_what_was_lent_is_kept_as_long_as_the_model(small):
    import nutpie

    expected, _ = draws_of(FusedDensity(small.problem.arrays, small.parameters))
    # arrays of a problem of their own, that nobody but the model holds
    frame = pd.DataFrame(small.problem.traits, index=small.problem.sample_ids)
    model, used = hand_over(FusedDensity(bg.Mixture(2).problem(bg.Study(frame)).arrays, small.parameters))
    del frame
    gc.collect()
    churn = [np.full(size, np.nan) for size in range(1, 3000)]
    tree = nutpie.sample(model, draws=60, tune=60, chains=2, cores=2, seed=3, progress_bar=False, save_warmup=False)
    assert used
    assert len(churn)
    np.testing.assert_array_equal(tree["posterior"][FLAT].values, expected)


@pytest.mark.parametrize("family", ["VVV", "EEE", "VVI", "EEI", "EII", "VII"])
def test_parameters_of_all_draws_are_those_of_each(family):
    problem = study_of(family, 2)
    density = FusedDensity(problem.arrays, random_parameters(problem, 2))
    x = 0.3 * np.random.default_rng(0).standard_normal((5, density.size))
    at_once, one_by_one = density.stacked(x), WhitenedDensity.stacked(density, x)
    for one, two in zip(at_once, one_by_one, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(density.values(x), [density(row)[0] for row in x], rtol=1e-13)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("everything", [False, True])
def test_passes_over_draws_are_those_of_each(seed, everything):
    problem = study_of("VVV", seed) if everything else random_problem(seed)
    arrays = problem.arrays
    each = [random_parameters(problem, s) for s in range(7)]
    pivot = np.random.default_rng(seed).dirichlet(np.ones(problem.n_components), arrays.n_rows)
    got, alone = (
        pass_over(arrays.sample, Stacked.of(each), pivot=pivot, pointwise=True, membership=True, threads=threads)
        for threads in (3, 1)
    )
    for one, two in zip(got, alone, strict=True):
        np.testing.assert_array_equal(one, two)
    membership = np.zeros((arrays.n_rows, problem.n_components))
    for s, parameters in enumerate(each):
        responsibilities, pointwise = arrays.membership(parameters)
        np.testing.assert_allclose(got.pointwise[s], pointwise, rtol=1e-12)
        np.testing.assert_allclose(got.agreement[s], pivot.T @ responsibilities, rtol=1e-10, atol=1e-12)
        assert got.log_likelihood[s] == pytest.approx(arrays.expectation(parameters).log_likelihood, rel=1e-12)
        membership += responsibilities
    np.testing.assert_allclose(got.membership, membership, rtol=1e-12)
    bare = pass_over(arrays.sample, Stacked.of(each))
    assert bare.pointwise.size == bare.agreement.size == bare.membership.size == 0
    np.testing.assert_array_equal(bare.log_likelihood, got.log_likelihood)


def test_shorter_steps_are_taken_where_asked_for(demo, demo_fit):
    model = bg.Mixture.from_card("two-humps")
    usual, careful = (
        model.sample(demo, init=demo_fit, draws=100, tune=200, chains=1, seed=1, target_accept=a).tree["sample_stats"]
        for a in (None, 0.99)
    )
    assert float(careful["step_size"].mean()) < 0.8 * float(usual["step_size"].mean())
    with pytest.raises(bg.InputError, match="target_accept"):
        model.sample(demo, init=demo_fit, target_accept=1.5)
