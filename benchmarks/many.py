"""Thousands of mixtures at once beside a loop over scikit-learn, from as many starts: ratios, growth and memory.

``python -m benchmarks.run many`` prints it. The loop is timed on some of the problems, drawn anew for each repeat, and
its time for all of them is in proportion: the range over repeats is its error. scikit-learn runs at its own tolerance
(0.001 per person) and at 1e-6, which is still looser than 1e-8 of the whole log posterior.
"""

from __future__ import annotations

import resource
import statistics
import time
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bayesgmm as bg

N_GENES, N_SAMPLES = 20_000, 500
N_PAIRS, N_PAIR_SAMPLES = 100_000, 200
STARTS, SOME, REPEATS = 10, 8, 3
TOLERANCES = (1e-3, 1e-6)


def genes(n: int, n_samples: int, seed: int = 1) -> NDArray[np.float64]:
    """Rows of one to four groups, half of them of one, as far apart as 1.5 to 5 standard deviations."""
    rng = np.random.default_rng(seed)
    size = np.where(rng.random(n) < 0.5, 1, rng.integers(2, 5, n))
    group = (rng.random((n, n_samples)) * size[:, None]).astype(int)
    return group * rng.uniform(1.5, 5.0, (n, 1)) + rng.normal(size=(n, n_samples))


def loop(problems: list[NDArray[np.float64]], tolerance: float) -> float:
    """Seconds of scikit-learn for these problems."""
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    began = time.perf_counter()
    # threads of its linear algebra wait for each other on problems as small as these
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for y in problems:
            for k in range(1, 5):
                peer = GaussianMixture(k, n_init=STARTS if k > 1 else 1, tol=tolerance, max_iter=5000, random_state=0)
                peer.fit(y).bic(y)
    return time.perf_counter() - began


def told(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def beside(what: str, n: int, seconds: list[float], some: list[list[NDArray[np.float64]]]) -> None:
    """Print a line for every tolerance of the loop."""
    for tolerance in TOLERANCES:
        theirs = [loop(problems, tolerance) / len(problems) * n for problems in some]
        ratios = [b / a for a, b in zip(seconds, theirs, strict=True)]
        print(f"| {what} | {told(seconds)} | {tolerance:g} | {told(theirs)} | {told(ratios)} |", flush=True)


def peak() -> float:
    """Largest memory of this process so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Time genes and pairs beside the loop, growth with the number of problems, and memory."""
    rng = np.random.default_rng(0)
    x = genes(N_GENES, N_SAMPLES)
    bg.fit_many(x[:2])
    bg.fit_many(x[:2], pairs=[[0, 1]])
    print(f"\nmemory with the packages and the matrix: {peak():.2f} GB\n")
    print("| problems | fit_many (s) | tolerance of the loop | loop in proportion (s) | ratio |")
    print("| --- | --- | --- | --- | --- |")

    def timed(*given: Any, **options: Any) -> float:
        began = time.perf_counter()
        bg.fit_many(*given, restarts=STARTS, **options)
        return time.perf_counter() - began

    seconds = [timed(x) for _ in range(REPEATS)]
    some = [[x[i][:, None] for i in rng.choice(N_GENES, SOME, replace=False)] for _ in range(REPEATS)]
    beside(f"{N_GENES:,} genes, {N_SAMPLES} samples", N_GENES, seconds, some)
    rows = np.ascontiguousarray(x[:2000, :N_PAIR_SAMPLES])
    pairs = rng.integers(0, len(rows), (N_PAIRS, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    seconds = [timed(rows, pairs=pairs)] * REPEATS
    some = [[rows[pairs[i]].T for i in rng.choice(len(pairs), SOME, replace=False)] for _ in range(REPEATS)]
    beside(f"{len(pairs):,} pairs, {N_PAIR_SAMPLES} samples", len(pairs), seconds, some)
    print(f"\nlargest memory of all: {peak():.2f} GB\n\n| genes | ms a gene |\n| --- | --- |")
    for n in (500, 1000, 2000, 4000, 8000):
        print(f"| {n:,} | {told([1e3 * timed(x[:n]) / n for _ in range(REPEATS)])} |", flush=True)
