"""How often `bayesgmm.check_fit` blames a right mixture and finds a wrong one: the tables of docs/fit-checks.md.

python -m benchmarks.fit_checks [data sets of a right mixture] [of a wrong one]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import bayesgmm as bg

Array = NDArray[np.float64]
Make = Callable[[np.random.Generator], Array]

DRAWS = 500
CHECKS = ("residuals", "chi-square", "skewness", "kurtosis", "modes", "far below", "far above", "heaps")


def humps(at: tuple[float, ...], sds: tuple[float, ...], weights: tuple[float, ...], n: int = 300) -> Make:
    """People of a mixture of normals."""

    def make(rng: np.random.Generator) -> Array:
        z = rng.choice(len(at), n, p=weights)
        return np.asarray(at)[z] + np.asarray(sds)[z] * rng.standard_normal(n)

    return make


ONE = humps((0.0,), (1.0,), (1.0,))
TWO = humps((0.0, 4.0), (1.0, 0.7), (0.6, 0.4))
OVERLAPPING = humps((0.0, 1.8), (1.0, 0.8), (0.7, 0.3))
THREE = humps((0.0, 3.0, 6.0), (1.0, 0.6, 1.0), (0.5, 0.3, 0.2))


def two_traits(rng: np.random.Generator) -> Array:
    """Two correlated traits of two components, a tenth of them missing."""
    high = rng.random(300) < 0.4
    y = rng.standard_normal((300, 2))
    y[:, 1] += 0.6 * y[:, 0]
    y[high] += [3.0, 1.0]
    y[rng.random((300, 2)) < 0.1] = np.nan
    return y


RIGHT: dict[str, tuple[Make, int, dict[str, object]]] = {
    "one component": (ONE, 1, {}),
    "two components, apart": (TWO, 2, {}),
    "two components, overlapping": (OVERLAPPING, 2, {}),
    "one component, fitted by two": (ONE, 2, {}),
    "two components, apart, rounded to an sd": (lambda rng: np.round(TWO(rng)), 2, {}),
    "two traits, a tenth missing": (two_traits, 2, {}),
    "two components, apart, weights 0.5, 1.5, 2.5": (TWO, 2, {"weighted": True}),
    "two components, apart, flat priors": (TWO, 2, {"priors": bg.Priors.flat()}),
    "three components": (THREE, 3, {}),
}
WRONG: dict[str, tuple[Make, int, dict[str, object]]] = {
    "two components 2.5 sds apart, fitted by one": (humps((0.0, 2.5), (1.0, 1.0), (0.5, 0.5)), 1, {}),
    "three components, fitted by two": (THREE, 2, {}),
    "Student-t, 3 degrees of freedom": (lambda rng: rng.standard_t(3, 300), 1, {}),
    "Student-t, 6 degrees of freedom": (lambda rng: rng.standard_t(6, 300), 1, {}),
    "gamma, shape 6": (lambda rng: rng.gamma(6.0, size=300), 1, {}),
    "5% zeros beside a normal of mean 3": (
        lambda rng: np.where(rng.random(300) < 0.05, 0.0, rng.normal(3.0, 1.0, 300)),
        1,
        {},
    ),
    "correlation 0.5, fitted by a diagonal family": (
        lambda rng: rng.multivariate_normal([0.0, 0.0], [[1.0, 0.5], [0.5, 1.0]], 300),
        1,
        {"covariance": "VVI"},
    ),
}


def study(cases: dict[str, tuple[Make, int, dict[str, object]]], times: int) -> pd.DataFrame:
    """Share of data sets in which the first trait is blamed, and each check alone at 5%."""
    rows = []
    for name, (make, k, options) in cases.items():
        rest = {key: value for key, value in options.items() if key != "weighted"}
        model, began = bg.Mixture(k, **rest), perf_counter()  # type: ignore[arg-type]
        blamed, jointly, alone = [], [], []
        for seed in range(times):
            rng = np.random.default_rng(seed)
            y = make(rng)
            weight = rng.choice([0.5, 1.5, 2.5], len(y)) if options.get("weighted") else None
            found = bg.check_fit(model.fit(y, seed=1, sample_weight=weight), draws=DRAWS, seed=seed).table
            own = found[found["trait"] == found["trait"].iloc[0]].set_index("check")
            level = np.where(own.index == "heaps", 1e-3, 0.05)
            blamed.append(bool((own["p_adjusted"] <= level).any()))
            alone.append((own["p_value"] <= level).reindex(list(CHECKS)).to_numpy())
            joint = found[found["trait"] == "joint"]
            jointly.append(float((joint["p_adjusted"] <= 0.05).any()) if len(joint) else np.nan)
        each = dict(zip(CHECKS, np.mean(alone, axis=0), strict=True))
        rows.append({"case": name, "found": np.mean(blamed), "joint": np.mean(jointly), **each})
        print(rows[-1], f"{(perf_counter() - began) / times:.2f} s each", file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    """Print both tables in markdown."""
    right, wrong = (int(a) for a in (*sys.argv[1:], "200", "50")[:2])
    for title, cases, times in (("Right mixtures", RIGHT, right), ("Wrong mixtures", WRONG, wrong)):
        table = study(cases, times)
        print(f"{title}, {times} data sets each\n")
        print("| case | " + " | ".join(table.columns[1:]) + " |\n| --- |" + " ---: |" * (table.shape[1] - 1))
        for row in table.itertuples(index=False):
            print(f"| {row[0]} | " + " | ".join("" if np.isnan(x) else f"{100 * x:.3g}%" for x in row[1:]) + " |")
        print()


if __name__ == "__main__":
    main()
