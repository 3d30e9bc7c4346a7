"""The models and priors whose calibration is studied; another one is another line of :data:`CASES`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

import bayesgmm as bg
from bayesgmm.problem import Problem
from bayesgmm.study import Study

ENGINES = ("nuts", "laplace")
_HALF_BOX = 10.0  # of noise, in units of a component's own sd
_EFFECTS, _WEIGHTS = bg.LogOddsNormal(sd=0.7), bg.Dirichlet(4.0)


@dataclass(frozen=True)
class Case:
    """One model under one prior, of simulated people.

    Attributes
    ----------
    about : str
    n_components, n_traits : int
    covariance : str
    effects, weights
        Priors of the effects and of the baseline weights.
    predictors : int
        Variants in the weights.
    means : str or None
        Formula of covariates of the means.
    missing : float
        Share of traits, and of genotypes, that are missing.
    spread : float
        Prior standard deviation of a component's mean, in units of the component's own.
    n_people : int
    engines : tuple of str
    beyond : dict
        Noise, spike and degrees of freedom of the mixture. Noise is over a box that hardly any other draw leaves.
    """

    about: str
    n_components: int = 2
    n_traits: int = 1
    covariance: str = "VVV"
    effects: Any = _EFFECTS
    weights: Any = _WEIGHTS
    predictors: int = 2
    means: str | None = None
    missing: float = 0.0
    spread: float = 2.0
    n_people: int = 100
    engines: tuple[str, ...] = ENGINES
    beyond: dict[str, Any] = field(default_factory=dict)

    def problem(self) -> Problem:
        """People without traits of their own yet, and the priors as numbers in the traits' units."""
        rng = np.random.default_rng(20)
        n, size = self.n_people, self.n_traits
        formula = " + ".join(f"rs{p + 1}" for p in range(self.predictors)) if self.n_components > 1 else ""
        model = bg.Mixture(
            self.n_components,
            covariance=self.covariance,
            weights=formula or None,
            means=self.means,
            **self.beyond,
            priors=bg.Priors(
                weights=self.weights,
                components=bg.NormalInverseWishart(
                    mean=np.zeros(size), strength=1.0 / self.spread**2, dof=size + 7.0, scale=6.0
                ),
                effects=self.effects,
                shifts=bg.ShiftsNormal(sd=0.7),
                df=bg.DfGamma(shape=6.0, rate=1.0),  # hardly ever below 1, where one person can be all of the variance
            ),
        )
        ids = [f"i{j}" for j in range(n)]
        traits = pd.DataFrame(rng.standard_normal((n, size)), index=ids, columns=[f"y{d + 1}" for d in range(size)])
        frequency = 0.4 - 0.05 * np.arange(self.predictors)
        columns = [f"rs{p + 1}" for p in range(self.predictors)]
        dosages = pd.DataFrame(
            rng.binomial(2, frequency, (n, self.predictors)).astype(float), index=ids, columns=columns
        )
        if "noise" in self.beyond:
            traits.iloc[:2] = [[-_HALF_BOX], [_HALF_BOX]]
        if "spike" in self.beyond:
            traits.iloc[2] = self.beyond["spike"]
        age = pd.DataFrame({"age": rng.normal(50.0, 10.0, n)}, index=ids)
        traits = traits.mask(rng.random(traits.shape) < self.missing)
        dosages = dosages.mask(rng.random(dosages.shape) < self.missing)
        return model.problem(Study(traits, dosages if formula else None, age))


CASES: Mapping[str, Case] = {
    "one": Case("one normal", n_components=1),
    "one-two-traits": Case("one normal of two traits", n_components=1, n_traits=2),
    "two": Case("two components"),
    "two-equal": Case("two components of equal variance", covariance="EEE"),
    "two-traits": Case("two components of two traits", n_traits=2),
    "two-traits-equal": Case("two components of two traits, one covariance for both", n_traits=2, covariance="EEE"),
    "two-traits-diagonal": Case("two components of two traits, diagonal covariances", n_traits=2, covariance="VVI"),
    "two-traits-spherical": Case("two components of two traits, spherical covariances", n_traits=2, covariance="VII"),
    "missing": Case("two components of two traits, a tenth of traits and genotypes missing", n_traits=2, missing=0.1),
    "shifts": Case("two components and a covariate that shifts both means", means="age"),
    "three": Case("three components", n_components=3, spread=4.0),
    "student-t": Case("Student-t effects", effects=bg.LogOddsStudentT(scale=0.5, df=4.0)),
    "cauchy": Case("Cauchy effects", effects=bg.LogOddsCauchy(scale=0.4)),
    "laplace-effects": Case("Laplace effects", effects=bg.LogOddsLaplace(scale=0.5)),
    "spike-slab": Case("spike and slab", effects=bg.LogOddsSpikeSlab(sd=1.5, inclusion=0.4, spike=0.1)),
    "groups": Case(
        "effects in two groups, scales learned",
        predictors=3,
        effects=bg.LogOddsGroups({"a": ["rs1", "rs2"], "b": ["rs3"]}, between=0.7),
    ),
    "horseshoe": Case("regularised horseshoe", predictors=3, effects=bg.LogOddsHorseshoe(expected=1.0)),
    "three-laplace-effects": Case(
        "Laplace effects on three components", n_components=3, spread=4.0, effects=bg.LogOddsLaplace(scale=0.5)
    ),
    "sparse": Case("weights near the boundary, Dirichlet(0.3)", weights=bg.Dirichlet(0.3), engines=("nuts",)),
    "jeffreys": Case("Jeffreys' prior of the weights", weights=bg.JeffreysWeights(), predictors=0, engines=("nuts",)),
    "two-traits-shared-axes": Case(
        "two components of two traits, one diagonal covariance for both", n_traits=2, covariance="EEI"
    ),
    "two-traits-one-sphere": Case(
        "two components of two traits, one spherical covariance for both", n_traits=2, covariance="EII"
    ),
    "noise": Case("two components and noise", predictors=1, beyond={"noise": True}),
    "spike": Case("two components and a spike", predictors=1, beyond={"spike": -20.0}),
    "tails": Case("two Student-t components", predictors=1, beyond={"df": "each"}),
    "tails-noise-spike": Case(
        "two Student-t components of one df, noise and a spike",
        predictors=1,
        beyond={"df": "shared", "noise": True, "spike": -20.0},
    ),
}
