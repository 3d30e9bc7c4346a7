"""How often each criterion finds the number of components, beside scikit-learn's and mclust's choices on the same data.

    python -m benchmarks.how_many run --out FOLDER [--sets 500] [--also evidence loo blrt]   # in blocks, resumable
    python -m benchmarks.how_many page --out FOLDER                         # docs/how-many.md from what there is

A data set has 1 to 4 components of two traits, 150 or 500 people, means on a circle or a line so that neighbours are
2.5, 3.5 or 5 sds apart, unequal weights and covariances of their own. Every method sees numbers 1 to 6 and the
unrestricted family. It tells how long is left. Criteria that take draws and bootstraps can be run apart, on as many
data sets as there is time for.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import bayesgmm as bg

SIZES = range(1, 7)
BLOCK = 10
LEVEL = 0.05
_SCRIPT = """
suppressMessages(library(mclust))
for (f in commandArgs(TRUE)) {
  y <- as.matrix(read.csv(f, header = FALSE))
  b <- suppressWarnings(Mclust(y, G = 1:6, modelNames = "VVV", verbose = FALSE))
  cat(b$G, "")
}
"""


def data_set(number: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Data set and what it was made of."""
    rng = np.random.default_rng((2024, number))
    truth = number % 4 + 1
    n = int(rng.choice([150, 500]))
    gap = float(rng.choice([2.5, 3.5, 5.0]))
    weights = rng.dirichlet(np.full(truth, 8.0))
    if truth > 2 and rng.random() < 0.5:
        angle = 2.0 * np.pi * np.arange(truth) / truth
        means = gap / (2.0 * np.sin(np.pi / truth)) * np.column_stack((np.cos(angle), np.sin(angle)))
    else:
        means = gap * np.column_stack((np.arange(truth), np.zeros(truth)))
    label = rng.choice(truth, n, p=weights)
    y = np.empty((n, 2))
    for k in range(truth):
        root = np.exp(rng.normal(0.0, 0.2, 2))
        correlation = rng.uniform(-0.6, 0.6)
        covariance = np.outer(root, root) * np.array([[1.0, correlation], [correlation, 1.0]])
        y[label == k] = rng.multivariate_normal(means[k], covariance, int((label == k).sum()))
    return y, {"number": number, "truth": truth, "people": n, "gap": gap}


def _chosen(y: np.ndarray, also: Sequence[str]) -> dict[str, int]:
    """What each criterion of ours and scikit-learn's BIC choose."""
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    # the Laplace engine's leave-one-out is not to be trusted of superfluous components; its evidence serves
    engine = "auto" if "loo" in also else "laplace"
    more: dict[str, Any] = {"also": also, "bootstrap": 99, "engine": engine, "draws": 2000}
    chosen: dict[str, int] = {}
    for label, priors in (("", bg.Priors()), (", maximum likelihood", bg.Priors.flat())):
        options = {} if label else more
        choices = bg.select(y, SIZES, priors=priors, level=LEVEL, **options).choices
        chosen |= {f"{c}{label}": int(k) for c, k in zip(choices["criterion"], choices["n_components"], strict=True)}
    # its threads spin on so few people and take a hundred times as long
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peers = [GaussianMixture(k, n_init=10, random_state=0).fit(y).bic(y) for k in SIZES]
    chosen["scikit-learn, bic"] = SIZES[int(np.argmin(peers))]
    return chosen


def run(out: Path, sets: int, also: Sequence[str]) -> None:
    """Every block that is not there yet."""
    out.mkdir(parents=True, exist_ok=True)
    has_r = shutil.which("Rscript") is not None
    began, done = time.perf_counter(), 0
    for first in range(0, sets, BLOCK):
        target = out / f"block-{first:04d}-{'-'.join(also)}.json"
        if target.exists():
            continue
        rows = []
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for number in range(first, min(first + BLOCK, sets)):
                y, about = data_set(number)
                rows.append(about | {"chosen": _chosen(y, also)})
                files.append(Path(folder) / f"{number}.csv")
                np.savetxt(files[-1], y, delimiter=",")
            if has_r:
                (Path(folder) / "m.R").write_text(_SCRIPT)
                command = ["Rscript", str(Path(folder) / "m.R"), *map(str, files)]
                told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
                for row, k in zip(rows, told, strict=True):
                    row["chosen"]["mclust, bic"] = int(k)
        beside = target.with_suffix(".partial")
        beside.write_text(json.dumps(rows))
        beside.replace(target)
        done += len(rows)
        each, left = (time.perf_counter() - began) / done, sets - first - len(rows)
        print(f"{first + len(rows)} of {sets}: {each:.1f} s each, {each * left / 60:.0f} min left", flush=True)


def results(out: Path) -> pd.DataFrame:
    """One row a data set and method."""
    rows = []
    for path in sorted(out.glob("block-*.json"), key=lambda path: path.stat().st_mtime):
        for row in json.loads(path.read_text()):
            about = {key: row[key] for key in ("number", "truth", "people", "gap")}
            rows += [about | {"method": method, "chosen": k} for method, k in row["chosen"].items()]
    # blocks of several runs have some methods twice: the latest counts
    return pd.DataFrame(rows).drop_duplicates(["number", "method"], keep="last")


def page(out: Path, target: Path) -> None:
    """The page of the documentation."""
    found = results(out)
    found["right"] = found["chosen"] == found["truth"]
    found["above"] = found["chosen"] > found["truth"]
    n = found["number"].nunique()
    columns = ["method", "data sets", "found", *(f"of {k}" for k in range(1, 5)), "2.5 sds", "3.5 sds", "5 sds"]
    columns += ["150 people", "500", "too many", "too few"]
    lines = ["| " + " | ".join(columns) + " |", "| --- " * len(columns) + "|"]
    for method in found.groupby("method")["right"].mean().sort_values(ascending=False).index:
        mine = found[found["method"] == method]
        shares = [mine["right"].mean()]
        shares += [mine.loc[mine["truth"] == k, "right"].mean() for k in range(1, 5)]
        shares += [mine.loc[(mine["gap"] == g) & (mine["truth"] > 1), "right"].mean() for g in (2.5, 3.5, 5.0)]
        shares += [mine.loc[mine["people"] == p, "right"].mean() for p in (150, 500)]
        shares += [mine["above"].mean(), (~mine["right"] & ~mine["above"]).mean()]
        lines.append(f"| {method} | {len(mine)} | " + " | ".join(f"{100 * v:.0f}%" for v in shares) + " |")
    text = f"""# How often the number of components is found

{n} data sets of 1 to 4 components (a quarter each) of two traits, 150 or 500 people, neighbouring means 2.5, 3.5 or
5 sds apart (before covariances of their own), each method choosing from 1 to 6 with the unrestricted family. Shares of
data sets in which the number chosen is the true one: of all, by the true number, by distance (of two components or
more), by people; and shares in which it is too many or too few. The standard error of a share of all is at most
{50 / np.sqrt(n):.1f}%, and more where a method saw fewer data sets.
Written by `python -m benchmarks.how_many`.

Rows without a package are `bg.select` under the default priors, or by maximum likelihood where they say so. blrt is the
bootstrap test at 5% with at most 99 data sets. The evidence is from the Laplace engine. loo is too where k-hat is at
most 0.5, and from the sampler elsewhere; it chooses the smallest model that is not clearly worse than the best. mclust
and scikit-learn (10 starts) are at their defaults.

{chr(10).join(lines)}

aic is of prediction, not of the number. icl and nec ask for clusters that can be told apart, which components
2.5 sds apart are not.

**How `bg.select` chooses.** Of bic, icl, aic, nec, loo (-2 elpd) and evidence (-2 log evidence) smaller is better.
blrt's number (`lrt_p`) is the p-value of a test of that number of components against one more, nothing to compare:
the smallest number whose p-value is above `level` (0.05) is chosen, and BIC decides among families and formulas. loo
is not a minimum either: the smallest model that is not clearly worse than the lowest is chosen (worse by less than 4
units of elpd, 8 of -2 elpd, or by less than two standard errors of the difference); models whose draws cannot be
believed are not compared, and `loo_by` says whose draws a value is from. nec does not choose a model with a component
of fewer than two people. `probability` is from the evidences where they were asked for and else from BIC
(`probability_by`); every number of components is as likely beforehand, and so are the models of each.
"""
    target.write_text(text)
    print(text)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "page"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", type=int, default=500)
    parser.add_argument("--also", nargs="*", default=["evidence", "loo", "blrt"])
    parser.add_argument("--target", type=Path, default=Path("docs/how-many.md"))
    given = parser.parse_args()
    if given.what == "run":
        run(given.out, given.sets, given.also)
    else:
        page(given.out, given.target)


if __name__ == "__main__":
    main()
