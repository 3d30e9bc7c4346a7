"""Print the seconds from the call of ``sample`` to its first draws, in this process (caches as they are)."""

from __future__ import annotations

import sys
import time

import bayesgmm as bg
from benchmarks.data import study


def main(n_traits: int) -> None:
    """Fit, then time a call of ``sample`` that draws as little as it may."""
    data = study(5000, n_traits=n_traits)
    model = bg.Mixture(2, weights="rs1 + rs2")
    began = time.perf_counter()
    fit = model.fit(data, seed=1)
    fitted = time.perf_counter()
    model.sample(data, init=fit, draws=4, tune=50, chains=1, log_likelihood=False)
    print(f"{fitted - began:.3f} {time.perf_counter() - fitted:.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
