"""Time a gradient of a PyMC model with the fused likelihood beside the same model with PyMC's own mixture.

Run as ``python -m benchmarks.building_block``. One thread; each side is called many times in turn.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.transforms import ordered

import bayesgmm as bg
from benchmarks.run import spread, timed

N, REPEATS, CALLS = 5_000, 15, 100


def _trait() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    genotype, age = rng.binomial(2, 0.3, N), rng.normal(size=N)
    high = rng.random(N) < 1.0 / (1.0 + np.exp(0.5 - 0.6 * genotype))
    return np.where(high, rng.normal(3.0, 0.8, N), rng.normal(0.0, 1.0, N)), genotype, age


def model(weights: str, ours: bool) -> pm.Model:
    """One trait, two components; weights shared by all, by genotype, or of every person's own."""
    y, genotype, age = _trait()
    with pm.Model() as made:
        base, effect = pm.Normal("base"), pm.Normal("effect")
        means = pm.Normal("means", [0.0, 3.0], 5.0, transform=ordered)
        sd = pm.HalfNormal("sd", 2.0, shape=2)
        columns = {"shared": np.zeros(1), "genotype": np.arange(3.0), "person": age}[weights]
        logits = pt.stack([pt.zeros(len(columns)), base + effect * columns], axis=1)
        if ours:
            pattern = {"shared": np.zeros(N, dtype=int), "genotype": genotype, "person": None}[weights]
            bg.pymc.MarginalMixture("y", logits=logits, means=means, sd=sd, pattern=pattern, observed=y)
        else:
            w = pm.math.softmax(logits, axis=1)
            w = w[0] if weights == "shared" else w[genotype] if weights == "genotype" else w
            pm.NormalMixture("y", w=w, mu=means, sigma=sd, observed=y)
    return made


def three_traits(ours: bool) -> pm.Model:
    """Three traits, three components, covariances by the entries of their Cholesky factors."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(N, 3)) + 3.0 * (rng.random(N) < 0.4)[:, None]
    with pm.Model() as made:
        w = pm.Dirichlet("w", np.ones(3))
        means = pm.Normal("means", 0.0, 3.0, shape=(3, 3))
        entries = pm.Normal("entries", shape=(3, 6))
        rows, columns = np.tril_indices(3)
        factor = pt.zeros((3, 3, 3))[:, rows, columns].set(entries) + 2.0 * np.eye(3)
        if ours:
            bg.pymc.MarginalMixture("y", logits=pt.log(w), means=means, covariance_cholesky=factor, observed=y)
        else:
            pm.Mixture("y", w=w, comp_dists=[pm.MvNormal.dist(means[k], chol=factor[k]) for k in range(3)], observed=y)
    return made


def gradient(made: pm.Model) -> Callable[[], object]:
    """A call of the compiled log density and gradient at one point."""
    function = made.logp_dlogp_function(ravel_inputs=True)
    function.set_extra_values({})
    size = sum(value.size for value in made.initial_point().values())
    point = np.linspace(-0.5, 0.5, size)
    function(point)
    return lambda: function(point)


def main() -> None:
    """Print the table of ``docs/performance.md``."""
    print("\n| weights | MarginalMixture (us) | PyMC's own (us) | ratio |\n| --- | --- | --- | --- |")
    for weights in ("shared", "genotype", "person", "three traits"):
        several = weights == "three traits"
        sides = [gradient(three_traits(ours) if several else model(weights, ours)) for ours in (True, False)]
        assert np.allclose(np.hstack(sides[0]()), np.hstack(sides[1]()), rtol=1e-8)  # type: ignore[call-overload]
        taken: list[list[float]] = [[], []]
        for _ in range(REPEATS):
            for times, side in zip(taken, sides, strict=True):
                side()
                calls = CALLS // 10 if several else CALLS
                times.append(1e6 * timed(lambda f=side, c=calls: [f() for _ in range(c)]) / calls)  # type: ignore[misc]
        ratios = [b / a for a, b in zip(*taken, strict=True)]
        print(f"| {weights} | {spread(taken[0])} | {spread(taken[1])} | {spread(ratios)} |", flush=True)


if __name__ == "__main__":
    main()
