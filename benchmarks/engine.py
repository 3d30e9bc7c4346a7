"""The mixture engine beside scikit-learn, StepMix and mclust: an iteration, a fit, the way to one optimum, memory.

Run as ``python -m benchmarks.engine [names]`` with any of iteration, optimum, small, weights, growth, machine.
Threads are the library's defaults on both sides. StepMix and R with mclust are used where present.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numba import njit
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

import bayesgmm as bg
from bayesgmm.core.starts import start_from
from bayesgmm.core.vectormath import exp_nonpositive
from bayesgmm.inference.em import climb
from benchmarks.run import spread, timed

REPEATS = 5
STEPS = 11
FLAT = bg.Priors.flat()


def clouds(n: int, d: int, k: int, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian clouds whose centres are ``apart`` standard deviations from each other on every trait, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    offsets = apart * rng.permuted(np.tile(np.arange(k), (d, 1)), axis=1).T
    return rng.normal(size=(n, d)) + offsets[labels], labels


def far(labels: np.ndarray, k: int) -> np.ndarray:
    """Labels of which seven in ten are random: a start from which EM does not arrive in eleven steps."""
    rng = np.random.default_rng(1)
    return np.where(rng.random(len(labels)) < 0.7, rng.integers(0, k, len(labels)), labels)


def alternately(one: Callable[[], float], other: Callable[[], float]) -> tuple[list[float], list[float]]:
    """Numbers of two sides taken in turn, so that what else the machine does falls on both.

    A pause before each lets the other's idle threads, which spin for a while, go to sleep; an untimed call wakes the
    processor again.
    """

    def rested(side: Callable[[], float]) -> float:
        time.sleep(0.2)
        side()
        return side()

    pairs = [(rested(one), rested(other)) for _ in range(REPEATS)]
    return [p[0] for p in pairs], [p[1] for p in pairs]


def ratio(slow: list[float], fast: list[float]) -> str:
    """Ratios of pairs."""
    return spread([s / f for s, f in zip(slow, fast, strict=True)])


def _peer(y: np.ndarray, labels: np.ndarray, k: int, steps: int, tolerance: float) -> GaussianMixture:
    """scikit-learn started from the M step of the labels."""
    weights = np.bincount(labels, minlength=k) / len(y)
    means = np.stack([y[labels == j].mean(axis=0) for j in range(k)])
    precisions = np.stack([np.linalg.inv(np.atleast_2d(np.cov(y[labels == j].T, bias=True))) for j in range(k)])
    return GaussianMixture(
        k,
        max_iter=steps,
        tol=tolerance,
        reg_covar=0.0,
        weights_init=weights,
        means_init=means,
        precisions_init=precisions,
    )


def _quietly(function: Callable[[], object]) -> Callable[[], object]:
    def run() -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return function()

    return run


def iteration() -> None:
    """One EM iteration: the time of eleven less the time of one, by ten."""
    print("\n| people | traits | components | bayesgmm (ms) | scikit-learn (ms) | ratio |\n" + "| --- " * 6 + "|")
    for n, d, k in ((1_000_000, 1, 3), (100_000, 5, 4), (600, 2, 3)):
        y, labels = clouds(n, d, k, 1.5)
        labels = far(labels, k)
        problem = bg.Mixture(k, priors=FLAT, compress=False).problem(y)
        start = start_from(problem.arrays, problem.start_points(), np.eye(k)[labels[problem.row_of]])
        short, long = (
            _quietly(
                lambda p=problem, s=start, m=m: climb(p.arrays, s, max_iterations=m, tolerance=1e-300, newton=False)
            )
            for m in (1, STEPS)
        )
        brief, extended = (_peer(y, labels, k, s, 0.0) for s in (1, STEPS))
        slow_short, slow_long = _quietly(lambda m=brief, x=y: m.fit(x)), _quietly(lambda m=extended, x=y: m.fit(x))
        long(), slow_long()
        ours, theirs = alternately(
            lambda a=short, b=long: 1e3 * (timed(b) - timed(a)) / (STEPS - 1),
            lambda a=slow_short, b=slow_long: 1e3 * (timed(b) - timed(a)) / (STEPS - 1),
        )
        print(f"| {n:,} | {d} | {k} | {spread(ours)} | {spread(theirs)} | {ratio(theirs, ours)} |", flush=True)


def optimum() -> None:
    """The same start, the same optimum, on overlapping components; and mclust from the same start where R is."""
    print(
        "\n| people | traits | components | bayesgmm (s) | scikit-learn (s) | ratio | passes | iterations | best less "
        "bayesgmm, a person | best less scikit-learn |\n" + "| --- " * 10 + "|"
    )
    for n, d, k, apart in ((5_000, 1, 2, 2.0), (5_000, 2, 3, 1.6), (5_000, 5, 3, 1.0)):
        y, _ = clouds(n, d, k, apart)
        labels = np.argsort(np.argsort(y[:, 0])) * k // n
        model = bg.Mixture(k, priors=FLAT, compress=False)
        fit = model.fit(y, init=labels)
        for tolerance in (1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11):
            peer = _peer(y, labels, k, 20_000, tolerance)
            _quietly(lambda m=peer, x=y: m.fit(x))()
            reached = peer.score(y)
            if fit.log_likelihood / n - reached < 1e-6:
                break
        best = max(fit.log_likelihood / n, reached)
        ours, theirs = alternately(
            lambda m=model, x=y, z=labels: timed(lambda: m.fit(x, init=z)),
            lambda m=peer, x=y: timed(_quietly(lambda: m.fit(x))),
        )
        print(
            f"| {n:,} | {d} | {k} | {spread(ours)} | {spread(theirs)} | {ratio(theirs, ours)} | {fit.n_iterations} | "
            f"{peer.n_iter_} (tol {tolerance:g}) | {best - fit.log_likelihood / n:.1e} | {best - reached:.1e} |",
            flush=True,
        )


def small() -> None:
    """A whole fit of 600 people, ten starts each."""
    print("\n| starts | bayesgmm (ms) | scikit-learn (ms) | ratio | log likelihoods |\n| --- | --- | --- | --- | --- |")
    y, _ = clouds(600, 2, 3, 2.0)
    model = bg.Mixture(3, priors=FLAT)
    for starts in (1, 10):
        for tolerance, name in ((1e-3, "default tolerance"), (1e-7, "tolerance 1e-7")):
            peer = GaussianMixture(3, n_init=starts, tol=tolerance, max_iter=5000, random_state=0)
            fit, _ = model.fit(y, restarts=starts), _quietly(lambda m=peer: m.fit(y))()
            ours, theirs = alternately(
                lambda s=starts: 1e3 * timed(lambda: model.fit(y, restarts=s)),
                lambda m=peer: 1e3 * timed(_quietly(lambda: m.fit(y))),
            )
            print(
                f"| {starts}, {name} | {spread(ours)} | {spread(theirs)} | {ratio(theirs, ours)} | "
                f"{fit.log_likelihood:.6f}, {600 * peer.score(y):.6f} |",
                flush=True,
            )


def weights() -> None:
    """Five predictors of the weights, 100,000 people, three components: StepMix in one step."""
    try:
        from stepmix.stepmix import StepMix
    except ImportError:
        print("\nStepMix is not installed: pip install stepmix")
        return
    import pandas as pd

    rng = np.random.default_rng(0)
    n = 100_000
    x = rng.normal(size=(n, 5))
    logits = np.column_stack((np.zeros(n), x @ rng.normal(scale=0.5, size=(5, 2))))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    z = (rng.random(n)[:, None] > chances.cumsum(axis=1)[:, :-1]).sum(axis=1)
    y = rng.normal(size=n) + 3.0 * z
    people = [f"P{i}" for i in range(n)]
    frame = pd.DataFrame(x, columns=[f"x{j}" for j in range(5)], index=people)
    study = bg.Study(pd.DataFrame({"y": y}, index=people), covariates=frame)
    model = bg.Mixture(3, weights=" + ".join(frame), covariance="VVI", priors=FLAT)
    fit = model.fit(study, restarts=1)

    def peer() -> object:
        made = StepMix(
            n_components=3,
            n_steps=1,
            measurement="gaussian_diag",
            structural="covariate",
            structural_params={"method": "newton-raphson", "max_iter": 1},
            max_iter=500,
            abs_tol=1e-7,
            rel_tol=0.0,
            random_state=0,
            progress_bar=0,
            verbose=0,
        )
        return made.fit(pd.DataFrame({"y": y}), frame.reset_index(drop=True))

    made = peer()
    ours, theirs = alternately(lambda: timed(lambda: model.fit(study, restarts=1)), lambda: timed(peer))
    score = made.score(pd.DataFrame({"y": y}), frame.reset_index(drop=True))  # type: ignore[attr-defined]
    print("\n| engine | seconds | log likelihood a person |\n| --- | --- | --- |")
    print(f"| bayesgmm | {spread(ours)} | {fit.log_likelihood / n:.9f} |")
    print(f"| StepMix | {spread(theirs)} | {score:.9f} |")
    print(f"| ratio | {ratio(theirs, ours)} | |", flush=True)


_GROWTH = """
import ctypes, sys, time
import numpy as np
import bayesgmm as bg
n = int(sys.argv[1])
small = np.random.default_rng(1).normal(size=50000)  # so many that threads start
bg.Mixture(3, priors=bg.Priors.flat(), compress=False).fit(small, restarts=4)
rng = np.random.default_rng(0)
y = rng.normal(size=n)
y += 3.0 * rng.integers(0, 3, n)
y = y[:, None]
def status(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key))
del small
ctypes.CDLL(None).malloc_trim(0)  # what the first fit left free would hide what this one needs
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
began = time.perf_counter()
fit = bg.Mixture(3, priors=bg.Priors.flat(), compress=False).fit(y, restarts=4)
seconds = time.perf_counter() - began
peak = status("VmHWM") - before
print(seconds, peak * 1024 / (8 * n), fit.n_iterations, fit.converged)
"""


def growth() -> None:
    """Time and peak memory of a fit as people grow, each in a process of its own; compilation is not counted."""
    print("\n| people | seconds | microseconds a person | passes of the best | peak above the data, doubles a person |")
    print("| --- | --- | --- | --- | --- |")
    for n in (10_000, 100_000, 1_000_000, 10_000_000):
        times, peaks, steps = [], [], "0"
        for _ in range(1 if n > 1_000_000 else 3):
            out = subprocess.run([sys.executable, "-c", _GROWTH, str(n)], capture_output=True, text=True, check=True)
            seconds, peak, steps, _ = out.stdout.split()[-4:]
            times.append(float(seconds))
            peaks.append(float(peak))
        print(
            f"| {n:,} | {spread(times)} | {spread([1e6 * t / n for t in times])} | {steps} | {spread(peaks)} |",
            flush=True,
        )


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _exponentials(x: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(x)):
        out[i] = exp_nonpositive(x[i])


def machine() -> None:
    """How fast this machine takes exponentials and reads memory, on one thread."""
    x, out = -np.random.default_rng(0).random(4096) * 20, np.empty(4096)
    big = np.ones(40_000_000)
    _exponentials(x, out)

    def many() -> None:
        for _ in range(5000):
            _exponentials(x, out)

    exponentials = [1e9 * timed(many) / (5000 * 4096) for _ in range(REPEATS)]
    reading = [big.nbytes / timed(big.sum) / 1e9 for _ in range(REPEATS)]
    print("\n| what | measured |\n| --- | --- |")
    print(f"| an exponential in cache | {spread(exponentials)} ns |")
    print(f"| reading doubles from memory | {spread(reading)} GB/s |", flush=True)


def mclust() -> None:
    """EM iterations of mclust's ``me`` for VVV, where R is."""
    if shutil.which("Rscript") is None:
        print("\nR is not installed")
        return
    n, d, k = 100_000, 5, 4
    y, labels = clouds(n, d, k, 1.5)
    labels = far(labels, k)
    with tempfile.TemporaryDirectory() as folder:
        np.savetxt(Path(folder) / "y.csv", y, delimiter=",")
        np.savetxt(Path(folder) / "z.csv", labels + 1, fmt="%d")
        script = f"""
suppressMessages(library(mclust))
y <- as.matrix(read.csv("{folder}/y.csv", header = FALSE)); z <- unmap(scan("{folder}/z.csv", quiet = TRUE))
run <- function(m) suppressWarnings(me(y, "VVV", z, control = emControl(itmax = m, tol = c(0, 0))))
one <- function(m) system.time(run(m))[["elapsed"]]
invisible(one(2)); cat(sapply(1:{REPEATS}, function(i) (one({STEPS}) - one(1)) / {STEPS - 1}))
"""
        out = subprocess.run(["Rscript", "-e", script], capture_output=True, text=True, check=True).stdout
    theirs = [1e3 * float(v) for v in out.split()]
    problem = bg.Mixture(k, priors=FLAT, compress=False).problem(y)
    start = start_from(problem.arrays, problem.start_points(), np.eye(k)[labels])
    climb(problem.arrays, start, max_iterations=STEPS, tolerance=1e-300, newton=False)
    ours = []
    for _ in range(REPEATS):
        short = timed(lambda: climb(problem.arrays, start, max_iterations=1, newton=False))
        long = timed(lambda: climb(problem.arrays, start, max_iterations=STEPS, tolerance=1e-300, newton=False))
        ours.append(1e3 * (long - short) / (STEPS - 1))
    print("\n| people | traits | components | bayesgmm (ms) | mclust me (ms) | ratio |\n" + "| --- " * 6 + "|")
    print(f"| {n:,} | {d} | {k} | {spread(ours)} | {spread(theirs)} | {ratio(theirs, ours)} |", flush=True)


TABLES = {f.__name__: f for f in (iteration, optimum, small, weights, growth, machine, mclust)}

if __name__ == "__main__":
    for name in sys.argv[1:] or TABLES:
        TABLES[name]()
