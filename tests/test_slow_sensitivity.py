"""A study of the prior by the compiled PyMC graph: hyperparameters are its data, so it is compiled once."""

from __future__ import annotations

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.inference import graph_density
from bayesgmm.simulate import simulate_study

pytestmark = pytest.mark.slow


def test_graph_is_compiled_once_for_a_whole_study():
    study = simulate_study(
        300, allele_frequencies=[0.3], weights=(0.6, 0.4), means=((0.0,), (3.0,)), effects=[[0.6]], seed=2
    ).study
    model = bg.Mixture(2, weights=study.variant_names[0])
    fit = model.fit(study, seed=1)
    grid = {"effects.sd": [0.2, 0.6, 2.0], "weights.concentration": [1.0, 8.0]}
    options = {"engine": "nuts", "base": fit, "reweight": False, "draws": 400, "chains": 2, "seed": 1}
    graph_density._compiled.cache_clear()
    by_graph = bg.sensitivity(model, study, grid, density="pymc", **options)
    assert graph_density._compiled.cache_info().misses == 1
    assert by_graph.attrs["n_sampled"] == 7
    by_engine = bg.sensitivity(model, study, grid, **options)
    # two samplings of each setting, by two roads to one density
    for name in ("effects", "weights", "means"):
        sd = by_engine[name].sel(summary="sd").values
        apart = np.abs((by_graph[name] - by_engine[name]).sel(summary="estimate").values)
        assert (apart < 0.3 * sd).all()
