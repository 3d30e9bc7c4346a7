"""The study that comes with the package: a simulated biomarker with two overlapping humps and three variants."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pandas as pd

from bayesgmm.study import Study, read_study

SEED = 20261
N_PEOPLE = 600
EFFECTS = {"rs101": 0.9, "rs202": -0.6, "rs303": 0.0}
FREQUENCIES = (0.30, 0.45, 0.20)
TABLES = ("traits", "genotypes", "covariates")


def make_demo_tables(seed: int = SEED) -> dict[str, pd.DataFrame]:
    """Simulate the bundled tables: rs101 raises, rs202 lowers the odds of the high hump, rs303 is idle."""
    from bayesgmm.simulate import simulate_study

    simulated = simulate_study(
        N_PEOPLE,
        allele_frequencies=FREQUENCIES,
        weights=(0.62, 0.38),
        means=((4.2,), (6.1,)),
        covariances=(((0.55,),), ((0.42,),)),
        effects=[[e] for e in EFFECTS.values()],
        traits=["biomarker"],
        seed=seed,
    ).study
    rng = np.random.default_rng(seed)
    index = pd.Index(simulated.sample_ids, name="sample")
    dosages = simulated.dataset["dosages"].values.astype(int)
    return {
        "traits": pd.DataFrame({"biomarker": simulated.dataset["traits"].values[:, 0].round(3)}, index=index),
        "genotypes": pd.DataFrame(dosages, index=index, columns=list(EFFECTS)),
        "covariates": pd.DataFrame(
            {"age": rng.integers(25, 75, N_PEOPLE), "sex": rng.choice(["female", "male"], N_PEOPLE)}, index=index
        ),
    }


def demo_folder() -> Path:
    """Folder of the bundled tables ``traits.tsv``, ``genotypes.tsv`` and ``covariates.tsv``."""
    with as_file(files("bayesgmm") / "data" / "demo") as folder:
        return Path(folder)


def demo_study() -> Study:
    """Read the bundled study: 600 people, one biomarker, three variants, age and sex."""
    folder = demo_folder()
    return read_study(*(folder / f"{table}.tsv" for table in TABLES), units={"biomarker": "log2 ng/mL"})
