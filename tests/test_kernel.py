"""The fused kernel against naive formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from bayesgmm.core.kernel import group_pass, group_pass_threads
from bayesgmm.core.moments import NOTHING_1D, NOTHING_2D, Moments, expectation
from bayesgmm.core.sample import CHUNK, complete_sample
from bayesgmm.core.vectormath import exp_nonpositive


def naive(y, pattern, log_weights, means, covariances):
    joint = np.column_stack([multivariate_normal(m, c).logpdf(y.T) for m, c in zip(means, covariances, strict=True)])
    joint = joint.reshape(y.shape[1], len(means)) + log_weights[pattern]
    total = logsumexp(joint, axis=1)
    return total, np.exp(joint - total[:, None])


def case(n, k, d, u, seed):
    rng = np.random.default_rng(seed)
    y = np.ascontiguousarray(rng.normal(size=(d, n)) * 2.0)
    pattern = np.sort(rng.integers(0, u, n)).astype(np.int32)
    log_weights = rng.normal(size=(u, k)) * 2.0
    log_weights -= logsumexp(log_weights, axis=1, keepdims=True)
    factor = rng.normal(size=(k, d, d))
    covariances = factor @ factor.transpose(0, 2, 1) + 0.3 * np.eye(d)
    roots = np.linalg.cholesky(np.linalg.inv(covariances))
    return y, pattern, log_weights, rng.normal(size=(k, d)), covariances, roots


def moments(y, pattern, log_weights, means, roots, *, passes=None, membership=False):
    sample = complete_sample(y.T, pattern, np.zeros((len(log_weights), 1)))
    k, d = means.shape
    counts, mass, first, second = log_weights.copy(), np.empty(k), np.empty((k, d)), np.empty((k, d, d))
    r = np.empty((y.shape[1], k)) if membership else NOTHING_2D
    pointwise = np.empty(y.shape[1]) if membership else NOTHING_1D
    address = (passes or group_pass).address
    value = expectation.compiled(
        sample, address, counts, means, roots, np.zeros((0, d)), NOTHING_1D, mass, first, second, r, pointwise
    )
    result = Moments(value, counts, mass, first, second)
    return (result, r, pointwise) if membership else result


@given(st.integers(1, 700), st.integers(1, 5), st.integers(1, 4), st.integers(1, 900), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_moments_equal_naive_sums(n, k, d, u, seed):
    y, pattern, log_weights, means, covariances, roots = case(n, k, d, u, seed)
    got = moments(y, pattern, log_weights, means, roots)
    total, r = naive(y, pattern, log_weights, means, covariances)
    diff = y.T[:, None, :] - means
    counts = np.zeros((u, k))
    np.add.at(counts, pattern, r)
    assert got.log_likelihood == pytest.approx(total.sum(), rel=1e-11, abs=1e-9)
    np.testing.assert_allclose(got.counts, counts, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(got.first, np.einsum("nk,nkd->kd", r, diff), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(got.second, np.einsum("nk,nkd,nke->kde", r, diff, diff), rtol=1e-8, atol=1e-8)


def test_pointwise_and_memberships_equal_naive():
    y, pattern, log_weights, means, covariances, roots = case(999, 3, 2, 11, 4)
    _, r, pointwise = moments(y, pattern, log_weights, means, roots, membership=True)
    total, expected = naive(y, pattern, log_weights, means, covariances)
    np.testing.assert_allclose(pointwise, total, rtol=1e-12)
    np.testing.assert_allclose(r, expected, atol=1e-12)


@pytest.mark.parametrize("u", [1, 9, 3 * CHUNK, 1000, 3 * CHUNK + 17])
def test_threads_give_the_sums_of_one_thread(u):
    y, pattern, log_weights, means, _, roots = case(3 * CHUNK + 17, 3, 1, u, 5)
    together = moments(y, pattern, log_weights, means, roots, passes=group_pass_threads)
    alone = moments(y, pattern, log_weights, means, roots)
    assert together.log_likelihood == pytest.approx(alone.log_likelihood, rel=1e-13)
    np.testing.assert_allclose(together.counts, alone.counts, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(together.second, alone.second, rtol=1e-11)


@given(st.floats(-800, 0))
@settings(deadline=None)
def test_exponential_is_accurate(x):
    assert exp_nonpositive(x) == pytest.approx(np.exp(max(x, -708.0)), rel=4e-16 * 4)


def test_far_people_do_not_underflow():
    y = np.array([[1e6, -1e6, 0.0]])
    log_weights = np.log(np.full((1, 2), 0.5))
    got = moments(y, np.zeros(3, np.int32), log_weights, np.array([[0.0], [1.0]]), np.ones((2, 1, 1)))
    assert np.isfinite(got.log_likelihood)
    np.testing.assert_allclose(got.counts.sum(), 3.0)
