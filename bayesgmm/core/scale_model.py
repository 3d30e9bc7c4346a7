r"""What a model of learned scales of the effects has to know, and the prior of one effect that follows from it.

Given the scales, the log odds ratios of predictor ``p`` are normal about their prior mean, and every pairwise one has
standard deviation :math:`s_p(\theta)`. ``theta`` are logarithms of scales, a priori independent of each other
(non-centred), so that where the data say nothing a sampler sees independent coordinates of order one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]

Variables = dict[str, tuple[tuple[str, ...], Array]]

LEARNED = -2  # in place of a family of effects (which NONE, -1, is not either): normal given a scale that is learned
_POINTS = 2**13  # of a quasi-random sequence over which a scale is integrated


@dataclass(frozen=True)
class ScaleTerms:
    r"""How squared scales and their prior depend on linear forms of the coordinates, for a normal factor of these.

    Attributes
    ----------
    rows, at : ndarray (n_predictors, R, n_scales), (n_predictors, R)
        :math:`\eta = \mathrm{rows}\, \theta + \mathrm{at}`; ``at`` is very negative where there is no such row.
    variances_add : bool
        Whether the squared scale is :math:`\sum_r e^{\eta_r}`, or its inverse is.
    constant : float
    linear : ndarray (n_scales,)
    exp_rows, exp_weights : ndarray (J, n_scales), (J,)
    soft_rows : ndarray (T, n_scales)
        The log prior density is ``constant + linear . theta - sum_j exp_weights_j exp(exp_rows_j . theta)
        - sum_t log(1 + exp(soft_rows_t . theta))``.
    """

    rows: Array
    at: Array
    variances_add: bool
    constant: float
    linear: Array
    exp_rows: Array
    exp_weights: Array
    soft_rows: Array


NOWHERE = -1e6  # in place of the logarithm of nothing: the others are within hundreds of zero


class ScaleModel(ABC):
    """A prior of scales, and the scales of the effects given it; ``theta`` (..., n_scales) are log coordinates."""

    kind: ClassVar[str]

    @property
    @abstractmethod
    def n_scales(self) -> int:
        """Number of coordinates."""

    @property
    @abstractmethod
    def learned(self) -> NDArray[np.bool_]:
        """Predictors (n_predictors,) whose scale depends on the coordinates."""

    @abstractmethod
    def sds(self, theta: Array) -> Array:
        """Standard deviation (..., n_predictors) of a pairwise log odds ratio, per unit of each predictor."""

    @abstractmethod
    def slopes(self, theta: Array) -> Array:
        """Derivatives (n_predictors, n_scales) of the logarithms of :meth:`sds` at one ``theta``."""

    @abstractmethod
    def log_density(self, theta: Array) -> Array:
        """Log prior density (...) of the coordinates themselves, with every constant."""

    @abstractmethod
    def gradient(self, theta: Array) -> Array:
        """Gradient of :meth:`log_density` at one ``theta``."""

    @abstractmethod
    def terms(self) -> ScaleTerms:
        """The same prior and scales for :mod:`bayesgmm.core.scale_factor`."""

    @abstractmethod
    def log_jacobian(self, theta: Array) -> Array:
        """Log of the derivatives of the scales (natural parameters) in the coordinates (...)."""

    @abstractmethod
    def quantiles(self, uniform: Array) -> Array:
        """Coordinates (n, n_scales) whose prior probabilities of being less are ``uniform``."""

    @abstractmethod
    def variables(self, theta: Array) -> Variables:
        """What is reported of draws (..., n_scales): dims and values by name."""

    @abstractmethod
    def theta(self, variables: Mapping[str, Array]) -> Array:
        """Inverse of :meth:`variables`."""

    @property
    @abstractmethod
    def coords(self) -> dict[str, list[str]]:
        """Labels of the dims of :meth:`variables` that are its own."""

    @abstractmethod
    def rows(self) -> list[tuple[str, str, str]]:
        """What is said of the scales in a table of priors: parameter, distribution, meaning."""

    @abstractmethod
    def told(self, theta: Array) -> str:
        """The scales at one ``theta`` in words."""

    @abstractmethod
    def words(self, p: int) -> str:
        """Scale of one predictor's effects in words."""

    @property
    def median(self) -> Array:
        """Coordinates (n_scales,) at which every scale is at its prior median given those above it."""
        result: Array = self.quantiles(np.full((1, self.n_scales), 0.5))[0]
        return result

    def simulate(self, n: int = _POINTS) -> Array:
        """Coordinates (n, n_scales) spread evenly over the prior: a scrambled Sobol sequence, always the same."""
        from scipy.stats import qmc

        power = max(1, math.ceil(math.log2(n)))
        uniform = qmc.Sobol(self.n_scales, rng=np.random.default_rng(0)).random_base2(power)[:n]
        return self.quantiles(np.clip(uniform, 1e-12, 1.0 - 1e-12))

    @cached_property
    def prior_sds(self) -> Array:
        """Scales (n, n_predictors) of the effects, spread evenly over the prior."""
        return self.sds(self.simulate())

    def pairwise(self, p: int) -> LearnedPairwise:
        """Prior of a pairwise log odds ratio of predictor ``p`` about its mean, its scale integrated out."""
        return LearnedPairwise((self.kind, float(f"{np.median(self.prior_sds[:, p]):.2g}")), self.prior_sds[:, p])

    def to_dict(self) -> dict[str, Any]:
        """Numbers and names for a file; the inverse of :func:`bayesgmm.core.learned_scales.scale_model_of`."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {"kind": self.kind, **{k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in values.items()}}


@dataclass(frozen=True)
class LearnedPairwise:
    """Prior of one pairwise log odds ratio about its mean whose scale is learned: a mixture of normals over scales.

    It has the methods of :class:`bayesgmm.core.effect_density.Pairwise`.

    Attributes
    ----------
    key : tuple
        What priors that look alike have in common.
    sds : ndarray (n,)
        Scales, spread evenly over their prior.
    """

    key: tuple[str, float]
    sds: Array = field(compare=False)

    @property
    def kind(self) -> int:
        """No family of :mod:`bayesgmm.core.effect_density`."""
        return LEARNED

    @property
    def scale(self) -> float:
        """Median of the scale."""
        return float(np.median(self.sds))

    @property
    def sd(self) -> float:
        """Standard deviation."""
        return float(np.sqrt((self.sds**2).mean()))

    def log_density(self, x: Array | float) -> Array:
        """Log density at ``x``; infinite at zero.

        Scales have a positive density at zero, so the mean of their inverse, and the density there, is infinite.
        """
        z = np.asarray(x, dtype=float)[..., None] / self.sds
        value = np.log(np.maximum((np.exp(-0.5 * z**2) / self.sds).mean(axis=-1), 1e-300)) - 0.5 * math.log(2 * math.pi)
        result: Array = np.where(np.asarray(x) == 0.0, np.inf, value)
        return result

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n,) about the mean."""
        drawn: Array = rng.choice(self.sds, n) * rng.standard_normal(n)
        return drawn

    def tail(self, x: float) -> float:
        """Probability above ``x``, which is not negative."""
        return float(ndtr(-x / self.sds).mean())

    def reach(self, probability: float) -> float:
        """Distance from the mean within which a share ``probability`` of the prior lies."""
        from scipy.optimize import brentq

        far = 40.0 * float(self.sds.max())
        return float(brentq(lambda x: self.tail(x) - 0.5 * (1.0 - probability), 0.0, far, xtol=1e-12 * far))
