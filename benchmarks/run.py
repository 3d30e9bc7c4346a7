"""Measure and print the tables of ``docs/performance.md``; each peer side by side in one run.

Run as ``python -m benchmarks.run [names]`` with any of kernel, fit, first-draw, posterior,
sensitivity, select, many, bootstrap, variational.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import bayesgmm as bg
from benchmarks.data import study

REPEATS = 5


def spread(values: list[float], unit: str = "", digits: int = 3) -> str:
    """Median with the smallest and largest value: the machine's noise."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}g} ({low:.{digits}g} to {high:.{digits}g}){unit}"


def timed(function: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def kernel() -> None:
    """Time one fused pass, one thread, per person and component."""
    from bayesgmm.core.kernel import group_pass
    from bayesgmm.core.moments import NOTHING_1D, NOTHING_2D, expectation
    from bayesgmm.core.starts import start_from

    print("\n| people | traits | components | ns per person and component |\n| --- | --- | --- | --- |")
    for n, d, k in ((5_000, 1, 2), (5_000, 1, 3), (5_000, 3, 3), (100_000, 5, 4), (1_000_000, 1, 3)):
        problem = bg.Mixture(k, weights="rs1 + rs2", compress=False).problem(study(n, n_traits=d, n_components=k))
        arrays = problem.arrays
        p = start_from(arrays, problem.start_points(), np.eye(k)[np.arange(n) % k])
        weights = np.full((len(arrays.sample.predictors), k), -np.log(k))
        inputs = (arrays.sample, group_pass.address, weights, p.means, p.roots, p.shifts, p.df)
        out = (np.empty(k), np.empty((k, d)), np.empty((k, d, d)), NOTHING_2D, NOTHING_1D)

        def one(given: tuple[Any, ...] = inputs, results: tuple[Any, ...] = out) -> None:
            given[2].fill(-1.0)
            expectation.compiled(*given, *results)

        one()
        calls = max(1, 2_000_000 // n)
        seconds = [timed(lambda f=one, c=calls: [f() for _ in range(c)]) / calls for _ in range(REPEATS)]
        print(f"| {n:,} | {d} | {k} | {spread([1e9 * s / (n * k) for s in seconds])} |")


def fit() -> None:
    """Time a whole fit beside scikit-learn's, from as many starts, each to the same tolerance of the optimum."""
    from sklearn.mixture import GaussianMixture

    print("\n| people | traits | components | bayesgmm, 10 starts (s) | scikit-learn, 10 starts (s) | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    for n, d, k in ((600, 2, 3), (5_000, 1, 2), (100_000, 1, 3)):
        y = study(n, n_traits=d, n_components=k).dataset["traits"].values
        bg.Mixture(k).fit(y)
        ours, theirs = [], []
        for seed in range(REPEATS):
            ours.append(timed(partial(bg.Mixture(k).fit, y, seed=seed)))
            peer = GaussianMixture(k, n_init=10, tol=1e-9, max_iter=2000, random_state=seed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs.append(timed(partial(peer.fit, y)))
        ratio = [b / a for a, b in zip(ours, theirs, strict=True)]
        print(f"| {n:,} | {d} | {k} | {spread(ours)} | {spread(theirs)} | {spread(ratio)} |")


def first_draw() -> None:
    """Time the first draw in new processes, with nothing and with everything cached on disk."""
    print("\n| traits | caches | fit (s) | first draw (s) |\n| --- | --- | --- | --- |")
    for d in (1, 3):
        cold: list[list[float]] = []
        warm: list[list[float]] = []
        for _ in range(3):
            with tempfile.TemporaryDirectory() as folder:
                environment = os.environ | {"NUMBA_CACHE_DIR": folder}
                for times in (cold, warm):
                    command = [sys.executable, "-m", "benchmarks.first_draw", str(d)]
                    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
                    times.append([float(number) for number in out.split()])
        for label, times in (("empty", cold), ("filled", warm)):
            print(f"| {d} | {label} | {spread([t[0] for t in times])} | {spread([t[1] for t in times])} |")


def posterior() -> None:
    """Effective samples a second of the worst parameter, beside plain PyMC graphs under nutpie, in alternation."""
    import nutpie

    from benchmarks import plain_graph

    print(
        "\n| people | components | engine | compile (s) | ESS a second of sampling | ESS a second of the whole call |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for n, k, repeats in ((500, 2, REPEATS), (5_000, 2, REPEATS), (50_000, 2, 3), (5_000, 3, 3)):
        data = study(n, n_components=k)
        model = bg.Mixture(k, weights="rs1 + rs2")
        start = model.fit(data, seed=1)
        compiled, seconds_to_compile = {}, {}
        for form in plain_graph.FORMS:
            began = time.perf_counter()
            graph = plain_graph.build(start.problem, start, form)
            compiled[form] = nutpie.compile_pymc_model(graph, jitter_rvs=set())
            seconds_to_compile[form] = time.perf_counter() - began
        sampling, whole, compiling = [], [], []
        theirs: dict[str, list[float]] = {form: [] for form in plain_graph.FORMS}
        model.sample(data, init=start, draws=100, chains=2)  # compiles, the first time on a machine
        for seed in range(repeats):
            began = time.perf_counter()
            post = model.sample(data, init=start, draws=1000, chains=2, seed=seed, log_likelihood=False)
            seconds, size = time.perf_counter() - began, worst(post.posterior)
            compiling.append(post.tree.attrs["seconds_to_compile"])
            sampling.append(size / post.tree.attrs["seconds_to_sample"])
            whole.append(size / seconds)
            for form, rates in theirs.items():
                seconds, tree = plain_graph.sample(compiled[form], draws=1000, chains=2, seed=seed)
                rates.append(
                    worst(tree["posterior"].to_dataset()[["weights", "squared", "means", "effects"]]) / seconds
                )
        print(f"| {n:,} | {k} | bayesgmm | {spread(compiling)} | {spread(sampling)} | {spread(whole)} |")
        for form, rates in theirs.items():
            print(f"| {n:,} | {k} | {form} | {seconds_to_compile[form]:.3g} | {spread(rates)} | the same |")
            ratios = [spread([a / b for a, b in zip(ours, rates, strict=True)]) for ours in (sampling, whole)]
            print(f"| {n:,} | {k} | ratio | | {ratios[0]} | {ratios[1]} |", flush=True)


def worst(draws: object) -> float:
    """Smallest bulk effective sample size."""
    from arviz_stats import ess

    sizes = ess(draws, method="bulk")
    return float(min(np.nanmin(sizes[name].values) for name in sizes.data_vars if sizes[name].size))


def sensitivity() -> None:
    """Time studies of the prior and the Laplace engine; see :mod:`benchmarks.sensitivity`."""
    from benchmarks.sensitivity import main

    main()


def bootstrap() -> None:
    """Time 1,000 refits of two components with one predictor, beside scikit-learn's from the same start without any."""
    from sklearn.mixture import GaussianMixture

    print("\n| people | kind | bayesgmm, 1,000 refits (s) | scikit-learn, 1,000 refits (s) | ratio |")
    print("| --- | --- | --- | --- | --- |")
    for n in (1_000, 10_000):
        data = study(n, n_components=2)
        fit = bg.Mixture(2, weights="rs1").fit(data, seed=1)
        y = data.dataset["traits"].values
        rng = np.random.default_rng(0)
        start = fit.params
        peer = GaussianMixture(
            2,
            tol=1e-9,
            max_iter=2000,
            init_params="random_from_data",
            weights_init=start["weights"].values,
            means_init=start["means"].values,
            precisions_init=np.linalg.inv(start["covariances"].values),
        )

        def theirs(model: Any = peer, people: Any = y, draw: Any = rng) -> None:
            for _ in range(40):
                model.fit(people[draw.integers(0, len(people), len(people))])

        for kind in ("nonparametric", "weighted", "parametric"):
            bg.bootstrap(fit, kind, draws=2)
            ours, others = [], []
            for seed in range(REPEATS):
                ours.append(timed(partial(bg.bootstrap, fit, kind, draws=1000, seed=seed)))
                others.append(25 * timed(theirs))
            ratio = [b / a for a, b in zip(ours, others, strict=True)]
            print(f"| {n:,} | {kind} | {spread(ours)} | {spread(others)} | {spread(ratio)} |", flush=True)


def variational() -> None:
    """Time the variational posterior and hold its widths; see :mod:`benchmarks.variational`."""
    from benchmarks.variational import main

    main()


def select() -> None:
    """Time choosing among 14 families and 1 to 9 components beside mclust; see :mod:`benchmarks.choosing`."""
    from benchmarks.choosing import main

    main()


def many() -> None:
    """Time thousands of mixtures at once; see :mod:`benchmarks.many`."""
    from benchmarks.many import main

    main()


SECTIONS = {
    "kernel": kernel,
    "fit": fit,
    "first-draw": first_draw,
    "posterior": posterior,
    "sensitivity": sensitivity,
    "bootstrap": bootstrap,
    "variational": variational,
    "select": select,
    "many": many,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or SECTIONS:
        print(f"\n## {name}")
        SECTIONS[name]()
