"""The evidence by bridge sampling and by tempering: exact values, sums over allocations, and each other."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import gammaln, logsumexp

import bayesgmm as bg
from bayesgmm.errors import InputError
from tests.test_laplace import KAPPA, log_evidence_of_one


@pytest.fixture(scope="module")
def one_component():
    rng = np.random.default_rng(3)
    y = 5.0 + 3.0 * rng.standard_normal((40, 2)) * np.array([1.0, 2.0])
    mean, dof, scale = np.full(2, 4.0), 5.0, 2.0 * np.eye(2)
    prior = bg.NormalInverseWishart(mean=mean, strength=KAPPA, dof=dof, scale=scale)
    model = bg.Mixture(1, priors=bg.Priors(components=prior))
    return model, y, log_evidence_of_one(y, "VVV", mean, dof, scale)


def test_bridge_of_one_component_is_exact(one_component):
    model, y, exact = one_component
    found = bg.evidence(model.sample(y, seed=1))
    assert found.method == "bridge sampling"
    assert found.reliable
    assert found.error < 0.02
    assert found.log_evidence == pytest.approx(exact, abs=3.0 * found.error)


def test_tempering_of_one_component_is_exact(one_component):
    model, y, exact = one_component
    found = bg.evidence(model.fit(y), "smc", particles=400, moves=8, seed=1)
    assert found.log_evidence == pytest.approx(exact, abs=max(3.0 * found.error, 0.1))
    assert found.error < 0.5


@pytest.mark.parametrize("gap", [1.5, 5.0])
def test_two_components_are_the_sum_over_all_allocations(gap):
    """Whether the two labellings of the posterior run together (1.5 sds apart) or not."""
    rng = np.random.default_rng(20260)
    y = np.concatenate([rng.normal(0.0, 1.0, 6), rng.normal(gap, 1.0, 6)])[:, None]
    mean, dof, scale, a = np.array([gap / 2]), 12.0, np.array([[10.0]]), 4.0
    prior = bg.Priors(bg.Dirichlet(a), bg.NormalInverseWishart(mean=mean, strength=KAPPA, dof=dof, scale=scale))
    inside = (np.arange(2 ** len(y))[:, None] >> np.arange(len(y))) & 1
    terms = []
    for z in inside:
        counts = np.array([(z == 0).sum(), (z == 1).sum()])
        value = gammaln(2 * a) - gammaln(2 * a + len(y)) + (gammaln(a + counts) - gammaln(a)).sum()
        terms.append(value + sum(log_evidence_of_one(y[z == k], "VVV", mean, dof, scale) for k in (0, 1) if counts[k]))
    exact = float(logsumexp(terms))
    model = bg.Mixture(2, priors=prior)
    by_bridge = bg.evidence(model.sample(y, seed=1, draws=2000))
    assert by_bridge.log_evidence == pytest.approx(exact, abs=max(3.0 * by_bridge.error, 0.03))
    by_smc = bg.evidence(model.fit(y), "smc", particles=400, moves=8, seed=2)
    assert by_smc.log_evidence == pytest.approx(exact, abs=max(3.0 * by_smc.error, 0.1))


def test_noise_has_no_label_to_exchange():
    """With noise beside it one component has one labelling: its evidence is the sum over who is noise."""
    y = np.array([-1.2, -0.4, 0.1, 0.3, 0.8, 1.1, 6.0, -5.0])[:, None]
    mean, dof, scale, volume = np.zeros(1), 8.0, np.array([[6.0]]), 15.0
    prior = bg.Priors(bg.Dirichlet(2.0), bg.NormalInverseWishart(mean=mean, strength=KAPPA, dof=dof, scale=scale))
    terms = []
    for code in range(2 ** len(y)):
        z = (code >> np.arange(len(y))) & 1
        counts = np.array([(z == 0).sum(), (z == 1).sum()])
        value = gammaln(4.0) - gammaln(4.0 + len(y)) + gammaln(2.0 + counts).sum() - counts[1] * np.log(volume)
        terms.append(value + (log_evidence_of_one(y[z == 0], "VVV", mean, dof, scale) if counts[0] else 0.0))
    exact = float(logsumexp(terms))
    model = bg.Mixture(1, noise=volume, priors=prior)
    fit = model.fit(y, seed=1)
    assert fit.laplace(8000, seed=1).log_evidence == pytest.approx(exact, abs=0.05)
    assert bg.evidence(model.sample(y, init=fit, seed=1)).log_evidence == pytest.approx(exact, abs=0.05)


@pytest.mark.slow
def test_two_components_of_faithful_against_a_long_run(reference_dir):
    """Every road to the evidence of two components under the default priors."""
    y = pd.read_csv(reference_dir / "data" / "faithful.csv")
    model = bg.Mixture(2)
    fit = model.fit(y, seed=1)
    by_bridge = bg.evidence(model.sample(y, init=fit, seed=1, draws=4000))
    by_draws = bg.evidence(fit, draws=20_000)
    by_smc = bg.evidence(fit, "smc", particles=1000, moves=30, seed=1)
    assert by_bridge.error < 0.02
    assert by_bridge.log_evidence == pytest.approx(by_draws.log_evidence, abs=0.03)
    assert by_bridge.log_evidence == pytest.approx(by_smc.log_evidence, abs=max(3.0 * by_smc.error, 0.15))


def test_what_has_no_evidence_is_refused(one_component):
    model, y, _ = one_component
    fit = model.fit(y)
    with pytest.raises(InputError, match="needs draws"):
        bg.evidence(fit, "bridge")
    with pytest.raises(InputError, match="must be one of"):
        bg.evidence(fit, "harmonic")
    with pytest.raises(InputError, match="of their own"):
        bg.evidence(fit.laplace(), "bridge")
    with pytest.raises(InputError, match="at least 200"):
        bg.evidence(model.sample(y, init=fit, draws=50))
    other = bg.Mixture(2, priors=bg.Priors(bg.Dirichlet([2.0, 3.0]))).fit(y)
    with pytest.raises(InputError, match="alike"):
        bg.evidence(other, "smc")
