"""Fixtures shared by all tests: the real data, where it is present, and small problems."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import bayesgmm as bg
from bayesgmm.demo import demo_study
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.posterior import Posterior
from bayesgmm.study import Study

mpl.use("Agg")

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _folder(variable: str, default: Path) -> Path:
    folder = Path(os.environ.get(variable, default))
    if not folder.is_dir():
        pytest.skip(f"the folder {folder} does not exist; set {variable} to run tests on real data")
    return folder


@pytest.fixture(scope="session")
def data_dir() -> Path:
    return _folder("BAYESGMM_DATA", SHARED / "data")


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    return _folder("BAYESGMM_REFERENCE", SHARED / "reference")


@pytest.fixture(scope="session")
def genetics_dir() -> Path:
    return _folder("BAYESGMM_REFERENCE_GENETICS", SHARED / "reference_genetics")


@pytest.fixture(scope="session")
def geno600(reference_dir: Path) -> Study:
    frame = pd.read_csv(reference_dir / "data" / "geno600.csv")
    return Study(frame[["y1", "y2"]], frame[["g"]], frame[["age_s"]])


@pytest.fixture(scope="session")
def listeria(data_dir: Path) -> Study:
    from bayesgmm.cards import load_card

    folder = data_dir / "rqtl_listeria"
    options = load_card("listeria").study_options()
    return bg.read_study(folder / "phenotypes.csv", folder / "genotypes.csv", **options)


@pytest.fixture(scope="session")
def demo() -> Study:
    return demo_study()


@pytest.fixture(scope="session")
def demo_fit(demo: Study) -> MapFit:
    return bg.Mixture.from_card("two-humps").fit(demo, seed=1)


@pytest.fixture(scope="session")
def demo_posterior(demo: Study, demo_fit: MapFit) -> Posterior:
    return bg.Mixture.from_card("two-humps").sample(demo, init=demo_fit, draws=500, chains=2, seed=1)


@pytest.fixture(autouse=True)
def _no_picture_stays_open() -> Iterator[None]:
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260)
