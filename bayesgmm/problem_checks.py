"""What is settled of a study before a problem is made of it: family, absent people, units, constant columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.core.families import Family, family_of
from bayesgmm.core.fixed import Box
from bayesgmm.errors import DataWarning, InputError, first_few, warn

if TYPE_CHECKING:
    from bayesgmm.study import Study

Array = NDArray[np.float64]

_UNITS_APART = 1e6  # ratio of the traits' sds up to which families that turn axes are fitted


def family_for(covariance: str, n_traits: int) -> Family:
    """Family of the specification for so many traits."""
    family = family_of(covariance)
    if covariance in ("E", "V") and n_traits > 1:
        raise InputError(
            f"covariance = {covariance!r} is for one trait and there are {n_traits}; use "
            f"{'EEE' if covariance == 'E' else 'VVV'!r} or another family of three letters"
        )
    return family.in_one_trait() if n_traits == 1 else family


def without_absent(study: Study) -> Study:
    """The study without people of weight zero: they are absent from data, predictors and results."""
    weight = study.sample_weight
    if weight is None or (weight > 0.0).all():
        return study
    return study.of_dataset(study.dataset.isel({names.SAMPLE: np.flatnonzero(weight > 0.0)}))


def refuse_units_apart(family: Family, trait_names: Sequence[str], variances: Array) -> None:
    """Raise where a family that turns axes is given traits whose units are too far apart to be turned to each other."""
    if not family.linear and variances.min() < variances.max() / _UNITS_APART**2:
        low, high = trait_names[int(variances.argmin())], trait_names[int(variances.argmax())]
        raise InputError(
            f"covariance = {family.name!r} compares directions across traits, and the sds of {low!r} and {high!r} are "
            f"{np.sqrt(variances.min()):.3g} and {np.sqrt(variances.max()):.3g}; bring the traits to comparable units"
        )


def box_of_noise(noise: float, traits: Array, trait_names: Sequence[str]) -> Box:
    """The box of the noise about the traits: of its own volume (True), or of one that is given.

    Only ``True`` itself is that; 1 is a volume.

    Raises
    ------
    InputError
        If a trait does not vary, or the volume cannot hold the traits.
    """
    known = np.nanmax(traits, axis=0) - np.nanmin(traits, axis=0)
    if not (known > 0.0).all():
        raise InputError(f"noise: {trait_names[int(known.argmin())]!r} does not vary, so its box has no volume")
    box = Box.around(traits, None if noise is True else float(noise))
    refuse_small_volume(f"noise = {noise!r}", box.volume, box)
    return box


def refuse_small_volume(given: str, volume: float, box: Box) -> None:
    """Raise where noise of a volume cannot hold the traits that a box is about: its density has no bound there."""
    # rounding of a volume that is a box's own is no reason
    if volume < box.least_volume * (1.0 - 1e-9):
        one = len(box.low) == 1
        least = "the range of the data" if one else "the volume of the ellipsoid inscribed in the box of the data"
        raise InputError(
            f"{given}: noise over a {'length' if one else 'volume'} of {volume:.6g} cannot hold the data; it must be "
            f"at least {box.least_volume:.6g}, {least}. noise=True reads the box off the data"
        )


def constant_columns(columns: Sequence[str], matrix: Array, centres: Array, variances: Array) -> list[str]:
    """Columns of a formula that do not vary among the people who have traits and weight."""
    widest = np.abs(matrix - centres).max(axis=0, initial=0.0)
    return [name for name, v, reach in zip(columns, variances, widest, strict=True) if not v > 1e-20 * reach**2]


def tell_constant(columns: Sequence[str]) -> None:
    """Warn of predictors of the weights that do not vary."""
    if columns:
        warn(
            f"weights: {first_few(columns)} does not vary among the people with traits, so its effect is the prior's",
            DataWarning,
        )


def refuse_constant(columns: Sequence[str]) -> None:
    """Raise where covariates of the means do not vary."""
    if columns:
        raise InputError(
            f"means: {columns[0]!r} does not vary among the people with traits and weight above 0; leave it out of the "
            "formula"
        )
