"""Simulation-based calibration: the truth ranks among an engine's draws as one of them, under every kind of prior.

So few people that the priors matter as much as the traits do; larger studies are in docs/calibration.md.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom

import bayesgmm as bg
from benchmarks.calibration import p_values, run
from benchmarks.calibration_cases import CASES
from benchmarks.uniformity import band, counts_below, p_value

# people and simulations of each case
TESTED = {
    "one": (4, 600),
    "two": (12, 400),
    "two-traits-equal": (12, 300),
    "missing": (12, 300),
    "shifts": (12, 300),
    "three": (12, 300),
    "student-t": (12, 300),
    "laplace-effects": (12, 300),
    "spike-slab": (12, 300),
    "groups": (12, 150),
    "horseshoe": (12, 150),
    "sparse": (12, 300),
    "jeffreys": (12, 300),
    "noise": (20, 200),
    "spike": (20, 200),
    "tails": (20, 200),
    "tails-noise-spike": (20, 200),
}
MOST = 36  # quantities of a case
# all tests of this file together fail by chance once in a thousand seeds, or less often
THRESHOLD = 0.001 / (len(TESTED) * 2 * MOST)


def test_p_values_of_ranks_are_exact():
    n, most = 5, 3
    samples = [np.array(sample) for sample in product(range(most + 1), repeat=n)]
    share = np.arange(1, most + 1) / (most + 1)

    def least_tail(ranks):
        below = np.array([(ranks < i).sum() for i in range(1, most + 1)])
        return 2 * min(np.minimum(binom.cdf(below, n, share), 1 - binom.cdf(below - 1, n, share)))

    tails = np.array([least_tail(ranks) for ranks in samples])
    for ranks, tail in zip(samples[::37], tails[::37], strict=True):
        assert p_value(ranks, most) == pytest.approx((tails <= tail * (1 + 1e-9)).mean(), abs=1e-12)
    lower, upper = band(n, most, 0.8)
    counts = np.array([counts_below(ranks, most) for ranks in samples])
    inside = ((counts >= lower) & (counts <= upper)).all(axis=1).mean()
    assert 0.8 <= inside < 1.0


def _ranks(name, **options):
    people, simulations = TESTED[name]
    return run(replace(CASES[name], n_people=people), 11, range(simulations), **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", TESTED)
def test_ranks_of_the_truth_are_uniform(name):
    for engine, table in _ranks(name).items():
        p = p_values(table, usable=True)
        assert len(p) <= MOST
        assert p.min() > THRESHOLD, f"{name}, {engine}: {p.nsmallest(5).to_dict()}"


@pytest.mark.slow
def test_a_prior_that_is_not_the_one_drawn_from_is_found():
    # the truth's dof is 8, and all else the same
    wrong = bg.Priors(components=bg.NormalInverseWishart(mean=0.0, strength=0.25, dof=10.0, scale=6.0))
    for table in _ranks("one", believed=wrong).values():
        assert p_values(table)["variance 0 of y1"] < THRESHOLD
