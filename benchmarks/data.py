"""Simulated studies of the benchmarks: one trait, two overlapping components, two variants on the weights."""

from __future__ import annotations

import numpy as np

from bayesgmm.simulate import simulate_study
from bayesgmm.study import Study


def study(n: int, *, n_traits: int = 1, n_components: int = 2, seed: int = 1) -> Study:
    """Components 3 sds apart on every trait in turn; variants of frequency 0.3 and 0.4 with log odds ratios."""
    means = 3.0 * np.arange(n_components)[:, None] * np.where(np.arange(n_traits) % 2 == 0, 1.0, -0.5)
    covariances = np.tile(0.7 * np.eye(n_traits) + 0.3, (n_components, 1, 1))
    effects = np.array([[0.6], [-0.4]]) * np.arange(1, n_components)
    return simulate_study(
        n,
        weights=np.full(n_components, 1.0 / n_components),
        means=means,
        covariances=covariances,
        effects=effects,
        seed=seed,
    ).study
