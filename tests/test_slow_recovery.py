"""Coverage of 95% intervals over 100 simulated studies; prints the table of docs/coverage.md (run with -s)."""

from __future__ import annotations

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.simulate import simulate_study

EFFECTS = np.array([0.6, -0.4])
STUDIES = 100


@pytest.mark.slow
def test_95_percent_intervals_cover_90_to_99_of_100():
    inside = {"map": np.zeros(2, int), "posterior": np.zeros(2, int)}
    widths: dict[str, list[float]] = {"map": [], "posterior": []}
    model = bg.Mixture(2, weights="rs1 + rs2")
    for seed in range(STUDIES):
        made = simulate_study(
            1000, means=((0.0,), (2.5,)), weights=(0.6, 0.4), effects=[[e] for e in EFFECTS], seed=1000 + seed
        )
        fit = model.fit(made.study, seed=seed)
        post = model.sample(made.study, init=fit, draws=500, chains=2, seed=seed, log_likelihood=False)
        for engine, result in (("map", fit), ("posterior", post)):
            table = bg.associations(result)
            inside[engine] += (table["lower"].to_numpy() <= EFFECTS) & (table["upper"].to_numpy() >= EFFECTS)
            widths[engine].append(float((table["upper"] - table["lower"]).mean()))
    print("\n| engine | effect | true log odds ratio | intervals that cover, of 100 | mean width |")
    print("| --- | --- | --- | --- | --- |")
    for engine, counts in inside.items():
        for j, count in enumerate(counts):
            print(f"| {engine} | rs{j + 1} | {EFFECTS[j]} | {count} | {np.mean(widths[engine]):.3f} |")
    for counts in inside.values():
        assert (counts >= 90).all()
        assert (counts <= 99).all()
