"""Sensitivity studies and the Laplace engine beside what they are built from: fits and sampled posteriors.

``python -m benchmarks.sensitivity`` prints one table: medians over repeats, with the range.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

import bayesgmm as bg
from bayesgmm.simulate import simulate_study

N, REPEATS = 2000, 5
GRID = {
    "effects.sd": np.geomspace(0.05, 5.0, 10).tolist(),
    "weights.concentration": np.linspace(1.0, 10.0, 10).tolist(),
}
SCALES = {"effects.sd": np.geomspace(0.05, 5.0, 20).tolist()}


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Time studies beside fits and samplings, interleaved, and print ratios."""
    study = simulate_study(
        N, allele_frequencies=[0.3, 0.4], weights=(0.6, 0.4), means=((0.0,), (3.0,)), effects=[[0.7], [-0.4]], seed=1
    ).study
    model = bg.Mixture(2, weights=" + ".join(study.variant_names))
    fit = model.fit(study, seed=1)
    fit.laplace(200)
    posterior = model.sample(study, init=fit, draws=50, tune=50, chains=2, log_likelihood=False)
    bg.sensitivity(model, study, {"effects.sd": [1.0]}, base=fit)
    rows = []

    def compare(what: str, one: Callable[[], Any], many: Callable[[], Any], repeats: int) -> None:
        pairs = [(seconds(one), seconds(many)) for _ in range(repeats)]
        ratios = [b / a for a, b in pairs]
        alone, together = np.median(pairs, axis=0)
        rows.append((what, alone, together, np.median(ratios), min(ratios), max(ratios)))

    compare(
        "MAP study of 100 settings / one cold fit",
        lambda: model.fit(study, seed=1),
        lambda: bg.sensitivity(model, study, GRID, base=fit),
        REPEATS,
    )
    compare(
        "Laplace study of 20 settings / one Laplace posterior",
        lambda: fit.laplace(2000, seed=1),
        lambda: bg.sensitivity(model, study, SCALES, base=fit, engine="laplace"),
        REPEATS,
    )
    compare(
        "NUTS study of 20 settings / one sampling",
        lambda: model.sample(study, init=fit, seed=1, log_likelihood=False),
        lambda: bg.sensitivity(model, study, SCALES, base=fit, engine="nuts", seed=1),
        2,
    )
    for draws in (1000, 2000, 4000):
        compare(
            f"NUTS as by default / Laplace of {draws} draws",
            lambda draws=draws: fit.laplace(draws, seed=1),  # type: ignore[misc]
            lambda: model.sample(study, init=fit, seed=1),
            REPEATS,
        )
    print(
        pd.DataFrame(rows, columns=["what", "one (s)", "other (s)", "ratio", "least", "most"]).to_string(
            index=False, float_format=lambda v: f"{v:.3g}"
        )
    )
    posterior = model.sample(study, init=fit, seed=1, draws=5000, log_likelihood=False)
    exact = bg.associations(posterior).set_index("predictor")
    for draws in (1000, 2000, 4000):
        approx = fit.laplace(draws, seed=1)
        table = bg.associations(approx).set_index("predictor")
        width = (table["upper"] - table["lower"]) / (exact["upper"] - exact["lower"])
        print(
            f"Laplace of {draws} draws: k-hat {approx.pareto_k:.2f}, interval width / NUTS's {width.round(3).to_dict()}"
        )


if __name__ == "__main__":
    main()
