"""Degrees of freedom of Student-t components: given, or estimated under a gamma prior."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Tails:
    """What is known of the degrees of freedom of Student-t components.

    Attributes
    ----------
    df : ndarray (L,)
        Where they are given, or where an estimate starts; empty where components are Gaussian.
    n_free : int
        How many are estimated: none, one for all, or each.
    shape, rate : float
        Of their gamma prior; flat at shape 1 and rate 0.
    """

    df: Array = field(default_factory=lambda: np.empty(0))
    n_free: int = 0
    shape: float = 1.0
    rate: float = 0.0

    @property
    def log_constant(self) -> float:
        """Logarithm of the normalising constant of all priors; zero where flat."""
        if not self.rate > 0.0:
            return 0.0
        return self.n_free * float(self.shape * np.log(self.rate) - gammaln(self.shape))

    def log_density(self, df: Array) -> Array:
        """Log prior density of degrees of freedom (..., L), with every constant."""
        free = df[..., : self.n_free]
        value: Array = self.log_constant + ((self.shape - 1.0) * np.log(free) - self.rate * free).sum(axis=-1)
        return value
