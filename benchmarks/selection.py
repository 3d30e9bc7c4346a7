"""What choosing among predictors costs: milliseconds a subset, and effective draws under a spike and slab.

``python -m benchmarks.selection`` prints two tables. 1,000 people and up to twelve predictors; 600 people and ten.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

import bayesgmm as bg
from bayesgmm.simulate import simulate_study
from bayesgmm.study import Study

SIZES = (4, 8, 12)
SPIKES = (0.05, 0.01)


def study_of(n: int, n_predictors: int) -> Study:
    """People of two components, of whose variants the first two act."""
    effects = [[0.7], [-0.5], *([[0.0]] * (n_predictors - 2))]
    frequencies = np.linspace(0.2, 0.5, n_predictors).tolist()
    return simulate_study(n, allele_frequencies=frequencies, effects=effects, seed=1).study


def main() -> None:
    """Time the sum over subsets, and count the sampler's effective draws."""
    bg.select_predictors(bg.Mixture(2, weights="rs1 + rs2"), study_of(200, 2))  # compiles
    rows = []
    for size in SIZES:
        study = study_of(1000, size)
        found = bg.select_predictors(bg.Mixture(2, weights=" + ".join(study.variant_names)), study)
        rows.append((size, len(found.models), found.seconds, 1000.0 * found.seconds / len(found.models)))
    print(pd.DataFrame(rows, columns=["predictors", "models", "seconds", "ms a model"]).round(2).to_string(index=False))
    study = study_of(600, 10)
    rows = []
    for spike in SPIKES:
        prior = bg.Priors(effects=bg.LogOddsSpikeSlab(spike=spike))
        model = bg.Mixture(2, weights=" + ".join(study.variant_names), priors=prior)
        summary = model.sample(study, draws=500, chains=4, seed=1, log_likelihood=False).summary()
        rows.append((spike, summary["ess_bulk"].min(), summary["r_hat"].max()))
    print(pd.DataFrame(rows, columns=["spike", "fewest effective", "largest R-hat"]).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
