"""How often `bayesgmm.check_fit` advises what the data were drawn with: the table of advice of docs/fit-checks.md.

python -m benchmarks.fit_advice [data sets of a case]
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

import bayesgmm as bg

Array = NDArray[np.float64]

DRAWS = 60
SIZES = (300, 2000)
SPIKE = "spike"  # told by heaps, and not among the remedies that are fitted


@dataclass(frozen=True)
class Case:
    """People with something that ``n_components`` Gaussians lack, and the remedy that has it."""

    make: Callable[[np.random.Generator, int], Array]
    n_components: int
    remedy: str


def bulk(rng: np.random.Generator, n: int, k: int = 1) -> Array:
    """One component of mean 0 and sd 1, or with it a second of mean 5, 40% of people."""
    high = rng.random(n) < (0.4 if k == 2 else 0.0)
    return np.where(high, 5.0 + 0.8 * rng.standard_normal(n), rng.standard_normal(n))


def instead(rng: np.random.Generator, y: Array, share: float, others: Array) -> Array:
    """Some people's values in place of others."""
    return np.where(rng.random(len(y)) < share, others, y)


def heavy(rng: np.random.Generator, n: int) -> Array:
    """Two Student-t components of 4 degrees of freedom."""
    return np.where(rng.random(n) < 0.4, 8.0, 0.0) + rng.standard_t(4, n)


CASES = {
    "3% strays within 10 sds of one component": Case(
        lambda r, n: instead(r, bulk(r, n), 0.03, r.uniform(-10, 10, n)), 1, "noise"
    ),
    "3% strays about two components": Case(
        lambda r, n: instead(r, bulk(r, n, 2), 0.03, r.uniform(-12, 17, n)), 2, "noise"
    ),
    "3% strays, all above": Case(lambda r, n: instead(r, bulk(r, n), 0.03, r.uniform(0, 12, n)), 1, "noise"),
    "Student-t, 3 degrees of freedom": Case(lambda r, n: r.standard_t(3, n), 1, "heavy tails"),
    "Student-t, 5 degrees of freedom": Case(lambda r, n: r.standard_t(5, n), 1, "heavy tails"),
    "two Student-t components, 4 degrees of freedom": Case(heavy, 2, "heavy tails"),
    "a lump: 8% at 5 sds, sd 0.6": Case(lambda r, n: instead(r, bulk(r, n), 0.08, r.normal(5, 0.6, n)), 1, "component"),
    "a lump: 4% at 6 sds, sd 0.6": Case(lambda r, n: instead(r, bulk(r, n), 0.04, r.normal(6, 0.6, n)), 1, "component"),
    "two components, fitted by one": Case(lambda r, n: bulk(r, n, 2), 1, "component"),
    "10% zeros beside a mean of 3": Case(lambda r, n: instead(r, 3.0 + bulk(r, n), 0.1, np.zeros(n)), 1, SPIKE),
}


def advice(y: Array, case: Case, seed: int) -> tuple[str, bool]:
    """What is advised first, "" where nothing is found, and whether what is right is said to be as good."""
    found = bg.check_fit(bg.Mixture(case.n_components).fit(y, seed=1), draws=DRAWS, seed=seed)
    if found.fits:
        return "", False
    if not len(found.remedies):
        return (SPIKE, True) if "spike" in found.verdict["trait0"] else ("none", False)
    best = found.remedies.iloc[0]
    first = str(best["remedy"]) if best["gain"] > 0.0 else "none"
    right = found.remedies[found.remedies["remedy"] == case.remedy]["gain"]
    return first, bool((right > best["gain"] - 6.0).any()) and first != "none"


def main() -> None:
    """Print the table in markdown."""
    times = int((*sys.argv[1:], "100")[0])
    print("| case | right | people | found | right first | right first or as good | otherwise first |")
    print("| --- | --- | ---: | ---: | ---: | ---: | --- |")
    for n in SIZES:
        for name, case in CASES.items():
            began = perf_counter()
            told = [advice(case.make(np.random.default_rng(seed), n), case, seed) for seed in range(times)]
            found = [each for each in told if each[0]]
            first = Counter(each[0] for each in found)
            others = ", ".join(f"{what} {count}" for what, count in first.most_common() if what != case.remedy)
            named = sum(each[1] for each in found)
            print(f"| {name} | {case.remedy} | {n} | {len(found)} | {first[case.remedy]} | {named} | {others} |")
            print(f"{(perf_counter() - began) / times:.2f} s each", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
