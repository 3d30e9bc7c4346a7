"""Choosing among 14 families and 1 to 9 components beside mclust: seconds, and how high each climbs.

``python -m benchmarks.run select`` prints two tables; R with mclust is needed for the second side. mclust stops at its
default relative tolerance of 1e-5; ours is 1e-8 in log likelihood units. In the second table mclust is at a relative
tolerance of 1e-10.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
import time
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd

import bayesgmm as bg
from bayesgmm.core.families import FAMILIES

SEPARATIONS = (2.5, 1.8, 1.2, 0.8)  # sds of the components' means, one data set each
REPEATS = 3
_SCRIPT = """
suppressMessages(library(mclust))
y <- as.matrix(read.csv(commandArgs(TRUE)[1], header = FALSE))
invisible(suppressWarnings(Mclust(y[1:50, ], G = 1:2, verbose = FALSE)))
tight <- emControl(tol = c(1e-10, 1e-10), itmax = c(5000, 5000))
if (commandArgs(TRUE)[2] == "tight") {
  b <- unclass(suppressWarnings(mclustBIC(y, verbose = FALSE, control = tight)))
  write.csv(matrix(as.numeric(b), nrow(b), dimnames = list(NULL, colnames(b))), stdout(), row.names = FALSE)
} else {
  t <- system.time(suppressWarnings(Mclust(y, verbose = FALSE)))
  cat(t[["elapsed"]], t[["user.self"]] + t[["sys.self"]])
}
"""


def clouds(separation: float, seed: int, n: int = 1000, size: int = 4, k: int = 4) -> np.ndarray:
    """People of four components of different covariances in four traits."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(k, size)) * separation
    label = rng.choice(k, n, p=rng.dirichlet(np.full(k, 5.0)))
    y = np.empty((n, size))
    for j in range(k):
        a = rng.normal(size=(size, size))
        covariance = a @ a.T / size + 0.3 * np.eye(size)
        y[label == j] = rng.multivariate_normal(means[j], covariance, int((label == j).sum()))
    return y


def _mclust(y: np.ndarray, how: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        np.savetxt(Path(folder) / "y.csv", y, delimiter=",")
        (Path(folder) / "m.R").write_text(_SCRIPT)
        command = ["Rscript", str(Path(folder) / "m.R"), str(Path(folder) / "y.csv"), how]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _ours(y: np.ndarray) -> tuple[float, float, bg.Selection]:
    began, used = time.perf_counter(), time.process_time()
    found = bg.select(y, range(1, 10), "all", priors=bg.Priors.flat())
    return time.perf_counter() - began, time.process_time() - used, found


def main() -> None:
    """Both tables."""
    has_r = shutil.which("Rscript") is not None
    if not has_r:
        print("\nR is not installed: ours alone")
    sets = [clouds(separation, seed) for seed, separation in enumerate(SEPARATIONS)]
    bg.select(sets[0][:100], [1, 2], "all", priors=bg.Priors.flat())  # compiles
    print("\n| separation | bayesgmm (s) | its processor time | mclust (s) | its processor time | ratio of seconds |")
    print("| --- " * 6 + "|")
    chosen = []
    for separation, y in zip(SEPARATIONS, sets, strict=True):
        pairs = []
        for _ in range(REPEATS):
            elapsed, used, found = _ours(y)
            theirs = [float(v) for v in _mclust(y, "time").split()] if has_r else [np.nan, np.nan]
            pairs.append((elapsed, used, *theirs, theirs[0] / elapsed))
        chosen.append(found)
        middle = [statistics.median(column) for column in zip(*pairs, strict=True)]
        print(f"| {separation} | " + " | ".join(f"{v:.2f}" for v in middle) + " |", flush=True)
    if not has_r:
        return
    print("\n| separation | chosen | models | ours higher (0.001) | alike (1e-6) | ours lower (1e-6) | worst |")
    print("| --- " * 7 + "|")
    for separation, y, found in zip(SEPARATIONS, sets, chosen, strict=True):
        theirs_bic = pd.read_csv(StringIO(_mclust(y, "tight")))[list(FAMILIES)].to_numpy(dtype=float)
        ours = found.table.pivot_table(index="n_components", columns="covariance", values="bic")[list(FAMILIES)]
        gained = 0.5 * (-theirs_bic - ours.to_numpy())
        gained = gained[np.isfinite(gained)]
        first = found.ranked().iloc[0]
        counts = (gained > 1e-3).sum(), (np.abs(gained) <= 1e-6).sum(), (gained < -1e-6).sum()
        print(
            f"| {separation} | {first['n_components']} {first['covariance']} | {len(gained)} | "
            + " | ".join(str(int(c)) for c in counts)
            + f" | {gained.min():.3g} |",
            flush=True,
        )
