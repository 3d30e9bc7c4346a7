r"""Components whose density no parameter changes: noise spread evenly over a box, and a spike at one value.

Noise has density :math:`1/V` on the smaller of two boxes that hold the data, along the axes or along the principal
components (Banfield and Raftery 1993; Fraley and Raftery 2002, section 5.1). Outside the box it is continued, so that a
new person far from everybody is noise rather than a certain member of the nearest component.

A spike is a point mass. With respect to the measure that counts people at the spike and is Lebesgue's elsewhere, a
person at the spike has density one in it and none in the others, and its own density elsewhere is zero: who is at the
spike is of that component for certain.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import gamma, pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NOWHERE = -1e300  # logarithm of a density of zero, of which differences are still numbers


@dataclass(frozen=True, eq=False)
class Box:
    """Where noise is spread.

    Attributes
    ----------
    low, high : ndarray (D,)
        Ends along each axis, about ``centre``.
    axes : ndarray (D, D)
        Directions of the axes (columns).
    centre : ndarray (D,)
    along : ndarray (D,)
        Length of each trait's range, which is the density of people who lack some of the traits.
    volume : float
        The box's; or, of noise whose volume was given, that.
    given : bool
        Whether it was.
    """

    low: Array
    high: Array
    axes: Array
    centre: Array
    along: Array
    volume: float
    given: bool = False

    @classmethod
    def around(cls, traits: Array, volume: float | None = None) -> Box:
        """The smaller of the boxes along the axes and along the principal components.

        Parameters
        ----------
        traits : ndarray (n, D)
            NaN where missing; the box is then along the axes.
        volume : float, optional
            Taken instead of the box's.
        """
        size = traits.shape[1]
        centre = np.nanmean(traits, axis=0)
        low, high = np.nanmin(traits, axis=0) - centre, np.nanmax(traits, axis=0) - centre
        along, axes = high - low, np.eye(size)
        if size > 1 and not np.isnan(traits).any() and (along > 0.0).all():
            _, _, turned = np.linalg.svd(traits - centre, full_matrices=False)
            if len(turned) == size:
                scores = (traits - centre) @ turned.T
                ends = scores.min(axis=0), scores.max(axis=0)
                if np.log(ends[1] - ends[0]).sum() < np.log(along).sum():
                    (low, high), axes = ends, turned.T
        given = volume is not None
        return cls(low, high, axes, centre, along, float(np.prod(high - low)) if volume is None else volume, given)

    @property
    def least_volume(self) -> float:
        r"""Volume below which the noise cannot hold the data, and its density would be above any bound.

        That of the ellipsoid inscribed in the box, :math:`\pi^{D/2} / (2^D \Gamma(D/2 + 1))` of the box's: of one trait
        the range.
        """
        size = len(self.low)
        return float(np.prod(self.high - self.low)) * pi ** (0.5 * size) / (2.0**size * gamma(0.5 * size + 1.0))

    @property
    def mean(self) -> Array:
        """Mean (D,) of the noise."""
        result: Array = self.centre + self.axes @ (0.5 * (self.low + self.high))
        return result

    @property
    def covariance(self) -> Array:
        """Covariance (D, D) of the noise."""
        result: Array = (self.axes * ((self.high - self.low) ** 2 / 12.0)) @ self.axes.T
        return result

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw people (n, D)."""
        result: Array = self.centre + rng.uniform(self.low, self.high, (n, len(self.low))) @ self.axes.T
        return result

    def log_density(self, observed: NDArray[np.bool_]) -> float:
        """Log density of people who have these traits (D,), in the traits' units."""
        if observed.all():
            return -float(np.log(self.volume))
        return -float(np.log(self.along[observed]).sum())


@dataclass(frozen=True, eq=False)
class Fixed:
    """The components after those that have a mean, in this order.

    Attributes
    ----------
    noise : Box or None
    spike : ndarray (D,) or None
        The value of every trait at the spike, in the traits' units.
    """

    noise: Box | None = None
    spike: Array | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the components."""
        return ("noise",) * (self.noise is not None) + ("spike",) * (self.spike is not None)

    def __len__(self) -> int:
        return len(self.kinds)

    @cached_property
    def means(self) -> Array:
        """Mean of each, (len, D)."""
        each = [] if self.noise is None else [self.noise.mean]
        return np.array(each if self.spike is None else [*each, self.spike])

    @cached_property
    def covariances(self) -> Array:
        """Covariance of each, (len, D, D); nothing at a spike."""
        each = [] if self.noise is None else [self.noise.covariance]
        return np.array(each if self.spike is None else [*each, np.zeros((len(self.spike), len(self.spike)))])

    def at_spike(self, traits: Array) -> NDArray[np.bool_]:
        """Who is at the spike (n,): everybody whose known traits all have its value."""
        if self.spike is None:
            return np.zeros(len(traits), dtype=bool)
        missing = np.isnan(traits)
        there: NDArray[np.bool_] = ((traits == self.spike) | missing).all(axis=1) & ~missing.all(axis=1)
        return there

    def without_spike(self, traits: Array) -> Array:
        """The traits with those of people at the spike missing, as they are to the other components."""
        there = self.at_spike(traits)
        return np.where(there[:, None], np.nan, traits) if there.any() else traits

    def log_densities(self, masks: NDArray[np.bool_], unit: Array) -> Array:
        """Log density (n_groups, len) of people with these traits (n_groups, D), of traits divided by ``unit`` (D,)."""
        out = np.full((len(masks), len(self)), NOWHERE)
        if self.noise is not None:
            out[:, 0] = [self.noise.log_density(mask) + np.log(unit[mask]).sum() for mask in masks]
        return out


def fixed_to_dict(fixed: Fixed) -> dict[str, Any]:
    """Plain lists and numbers of the components, for a file."""
    noise = fixed.noise
    box = None
    if noise is not None:
        arrays = ("low", "high", "axes", "centre", "along")
        box = {**{name: getattr(noise, name).tolist() for name in arrays}, "volume": noise.volume, "given": noise.given}
    return {"noise": box, "spike": None if fixed.spike is None else fixed.spike.tolist()}


def fixed_of_dict(given: dict[str, Any]) -> Fixed:
    """Inverse of :func:`fixed_to_dict`."""
    box, spike = given.get("noise"), given.get("spike")
    noise = None
    if box is not None:
        arrays: dict[str, Any] = {
            name: np.array(value) for name, value in box.items() if name not in ("volume", "given")
        }
        noise = Box(**arrays, volume=float(box["volume"]), given=bool(box["given"]))
    return Fixed(noise, None if spike is None else np.array(spike))
