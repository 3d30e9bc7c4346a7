"""The people of one problem as arrays, and the coordinates in which they are computed on: what no prior changes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesgmm.core.bulk import in_bulk
from bayesgmm.core.families import SAMPLED, Family
from bayesgmm.core.fixed import Fixed
from bayesgmm.core.gather import Uncertain, gather
from bayesgmm.core.gaussian import precision_roots
from bayesgmm.core.one_component import mean_and_covariance, mean_and_variance
from bayesgmm.core.portable import Portable
from bayesgmm.core.sample import Sample
from bayesgmm.core.starts import filled_points
from bayesgmm.core.traits import is_complete, who_has_any
from bayesgmm.errors import InputError
from bayesgmm.priors.stated import positive_definite

if TYPE_CHECKING:
    from bayesgmm.design_matrix import Design

Array = NDArray[np.float64]

_COLLAPSED = 1e-12  # conditional variance of a collapsed component, as a share of the sample's


@dataclass(frozen=True, eq=False, kw_only=True)
class ProblemData(Portable):
    """Traits, predictors and covariates of the same people.

    Attributes
    ----------
    traits : ndarray (n_samples, n_traits)
        In the traits' units; NaN where missing.
    predictors : ndarray (n_samples, n_predictors)
        Of the weights, centred at their means over the people with traits, so that zero is the average person. Where a
        genotype is not certain, what is expected.
    predictor_centers : ndarray (n_predictors,)
        What was subtracted.
    ids : ndarray or None
        Ids of the people; None when the traits came as an array and people are numbered.
    trait_names, predictor_names : tuple of str
    profiles : ndarray (n_variants, 3, n_predictors)
        Centred predictors of the average person with a variant set to genotype 0, 1 and 2.
    variant_names : tuple of str
        Variants of the weights' formula.
    variant_columns : dict
        Predictors that depend on each variant.
    genotype_account : pandas.DataFrame
        Per variant, people whose genotype was missing or uncertain and what was done about it; see
        :class:`bayesgmm.design_matrix.Design`.
    units : dict
        Units of the traits, where known.
    formula : str or None
        Of the weights.
    family : Family
        Covariance family.
    covariates : ndarray (n_samples, n_covariates)
        Of the means, centred at their means over the people with traits.
    covariate_centers : ndarray (n_covariates,)
    covariate_names : tuple of str
    means_formula : str or None
    sample_weight : ndarray (n_samples,) or None
        How many people each stands for.
    uncertain : Uncertain
        What predictors may be (centred), for people whose genotype is not certain.
    compress : bool or None
        Whether people who are alike are counted as one row; None: when that pays.
    fixed : Fixed
        Components whose density no parameter changes, after those that have a mean: noise and a spike.
    df : float, "each", "shared" or None
        Degrees of freedom of Student-t components, as in :class:`bayesgmm.Mixture`.
    """

    traits: Array
    predictors: Array
    predictor_centers: Array
    ids: NDArray[Any] | None
    trait_names: tuple[str, ...]
    predictor_names: tuple[str, ...]
    profiles: Array
    variant_names: tuple[str, ...]
    variant_columns: dict[str, list[str]]
    genotype_account: pd.DataFrame
    units: dict[str, str]
    formula: str | None
    family: Family
    covariates: Array
    covariate_centers: Array
    covariate_names: tuple[str, ...]
    means_formula: str | None
    sample_weight: Array | None
    uncertain: Uncertain
    compress: bool | None = None
    design: Design | None = None
    means_design: Design | None = None
    fixed: Fixed = field(default_factory=Fixed)
    df: float | str | None = None

    @property
    def n_samples(self) -> int:
        """Number of people, with and without traits."""
        return len(self.traits)

    @property
    def sample_ids(self) -> NDArray[Any]:
        """Ids of the people; numbers when the traits came as an array."""
        return np.arange(self.n_samples) if self.ids is None else self.ids

    @property
    def observed(self) -> NDArray[np.bool_]:
        """Who has traits, at least one (n_samples,); others add nothing to the likelihood."""
        observed: NDArray[np.bool_] = who_has_any(self.traits)
        return observed

    @cached_property
    def n_effective(self) -> float:
        """People with traits, sample weights counted: the ``n`` of BIC."""
        return count_people(self.traits, self.sample_weight, self.people)

    @property
    def family_name(self) -> str:
        """Name of the covariance family; E or V where one trait leaves only the volume."""
        return self.family.name[0] if len(self.trait_names) == 1 else self.family.name

    @property
    def n_complete(self) -> float:
        """People with every trait, sample weights counted."""
        complete = ~np.isnan(self.traits).any(axis=1)
        return float(complete.sum() if self.sample_weight is None else self.sample_weight[complete].sum())

    def refuse_unsampled(self) -> None:
        """Raise when the posterior of the covariance family cannot be sampled.

        Raises
        ------
        InputError
            Naming the families that can.
        """
        if not self.family.sampled:
            raise InputError(
                f"covariance = {self.family.name!r} cannot be sampled: its components share a part of their "
                "covariances, and the prior restricted to that has no known constant. Sample "
                f"{', '.join(SAMPLED)} (or E, V), or use the MAP fit"
            )

    # -- standardised coordinates ---------------------------------------------------------------

    @cached_property
    def people(self) -> NDArray[np.int64] | slice:
        """The people with traits, among all."""
        return people_with_traits(self.traits)

    @cached_property
    def _elsewhere(self) -> tuple[Array, Array | None]:
        """Traits and weights of the people with traits who are not at the spike: whom means and covariances are of."""
        traits, shares = self.traits[self.people], self._shares
        there = self.fixed.at_spike(traits)
        if not there.any():
            return traits, shares
        return traits[~there], None if shares is None else shares[~there]

    @cached_property
    def _bulk(self) -> tuple[Array, Array | None]:
        """Traits and weights of the people whom units and the priors' defaults are of; strays left out if modelled."""
        return bulk_of(*self._elsewhere, strays=has_strays(self.fixed, self.df))

    @cached_property
    def _trait_moments(self) -> tuple[Array, Array]:
        return mean_and_variance(*self._bulk)

    @property
    def centre(self) -> Array:
        """Means of the traits, subtracted before any sum is formed so that no digits cancel."""
        return self._trait_moments[0]

    @property
    def spread(self) -> Array:
        """Standard deviation of each trait (n_traits,); one where it is nothing, as for a single person."""
        variance = self._trait_moments[1]
        spread: Array = np.where(variance > 0.0, np.sqrt(variance), 1.0)
        return spread

    @cached_property
    def unit(self) -> Array:
        """Standard deviations of the traits, by which they are divided; one for all where the family needs that."""
        unit = self.spread
        if self.family.one_unit:
            unit = np.full(len(unit), np.sqrt((unit**2).mean()))
        return unit

    @cached_property
    def covariate_unit(self) -> Array:
        """Standard deviations of the covariates of the means, by which they are divided."""
        return np.sqrt(mean_and_variance(self.covariates[self.people], self._shares)[1])

    @cached_property
    def predictor_unit(self) -> Array:
        """Standard deviations of the predictors of the weights, by which they are divided."""
        unit = np.sqrt(mean_and_variance(self.predictors[self.people], self._shares)[1])
        return np.where(unit > 0.0, unit, 1.0)

    def has_units_of(self, other: ProblemData) -> bool:
        """Whether standardised parameters of one problem are those of the other."""
        mine, theirs = ((p.centre, p.unit, p.predictor_unit, p.covariate_unit) for p in (self, other))
        return all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))

    @property
    def _shares(self) -> Array | None:
        return None if self.sample_weight is None else self.sample_weight[self.people]

    @cached_property
    def _gather(self) -> tuple[Sample, NDArray[np.int64] | slice]:
        people = self.people
        uncertain = self.uncertain
        if not isinstance(people, slice):
            uncertain = uncertain.of(people, self.n_samples)
        uncertain = replace(uncertain, rows=uncertain.rows / self.predictor_unit)
        return gather(
            self.traits[people],
            self.predictors[people] / self.predictor_unit,
            self.covariates[people] / self.covariate_unit,
            self._shares,
            uncertain,
            centre=self.centre,
            scale=1.0 / self.unit,
            compress=self.compress,
            fixed=self.fixed,
        )

    @property
    def row_of(self) -> NDArray[np.int64] | slice:
        """Row of the sample of each person with traits; a slice when it is the person's own number."""
        return self._gather[1]

    @property
    def compression(self) -> float:
        """People with traits per row that is computed on."""
        n_people = self.n_samples if isinstance(self.people, slice) else len(self.people)
        return n_people / len(self._gather[0].pattern)

    @cached_property
    def _sample_moments(self) -> tuple[Array, Array | None]:
        """Mean and covariance of the traits of :attr:`_bulk`, in the traits' units."""
        return mean_and_covariance(*self._bulk, total_of(*self._bulk))

    @cached_property
    def _floor(self) -> Array:
        """Conditional variance of each standardised trait below which a component has collapsed."""
        _, covariance = self._sample_moments
        if covariance is None:
            return np.zeros(len(self.unit))
        covariance = covariance / np.outer(self.unit, self.unit)
        try:
            root = precision_roots(covariance)
        except np.linalg.LinAlgError:
            return np.full(len(self.unit), 1e-300)
        return _COLLAPSED / np.diag(root) ** 2

    def start_points(self, sample: Sample | None = None) -> Array:
        """Standardised traits of every row of the problem's sample, or of a thinned one (n_traits, n_rows).

        What is missing is filled by what a single Gaussian of all foretells from the others.
        """
        sample = self._gather[0] if sample is None else sample
        mean, covariance = self._sample_moments
        mean = (mean - self.centre) / self.unit
        known = np.eye(len(mean)) if covariance is None else covariance / np.outer(self.unit, self.unit)
        return filled_points(sample, mean, known)

    @cached_property
    def _log_units(self) -> Array:
        """Sum of the logarithms of the units of each person's observed traits (people with traits); none at a spike."""
        logs: Array = (~np.isnan(self.fixed.without_spike(self.traits[self.people]))) @ np.log(self.unit)
        return logs

    def pointwise(self, values: Array) -> Array:
        """Log likelihood of each person with traits, in the traits' units, from that of every row (..., n_rows)."""
        return values[..., self.row_of] - self._log_units

    @cached_property
    def log_likelihood_shift(self) -> float:
        """What the log likelihood gains when traits go back to their own units: minus the sum of log units."""
        shares = self._shares
        if is_complete(self.traits) and self.fixed.spike is None:
            return -self.n_effective * float(np.log(self.unit).sum())
        return -float(self._log_units.sum() if shares is None else self._log_units @ shares)


def has_strays(fixed: Fixed, df: float | str | None) -> bool:
    """Whether a mixture has a place for people who are far from everybody: noise, or tails."""
    return fixed.noise is not None or df is not None


def bulk_of(traits: Array, shares: Array | None, *, strays: bool) -> tuple[Array, Array | None]:
    """Traits and weights of those whose moments rule the defaults of the priors.

    That is everybody, unless the mixture has a place for strays: then the people who are not far from the others
    (:mod:`bayesgmm.core.bulk`), if they have a covariance.
    """
    inside = in_bulk(traits, shares) if strays else np.ones(0, dtype=bool)
    if inside.all():
        return traits, shares
    left = traits[inside], None if shares is None else shares[inside]
    known = (~np.isnan(left[0])).any(axis=0)
    if not (known.all() and (mean_and_variance(*left)[1] > 0.0).all()):
        return traits, shares
    _, covariance = mean_and_covariance(*left, total_of(*left))
    return left if covariance is not None and positive_definite(covariance) else (traits, shares)


def total_of(traits: Array, shares: Array | None) -> float:
    """How many people rows stand for."""
    return float(len(traits) if shares is None else shares.sum())


def people_with_traits(traits: Array) -> NDArray[np.int64] | slice:
    """The people with traits: a slice when that is everybody."""
    observed = who_has_any(traits)
    return slice(None) if observed.all() else np.flatnonzero(observed)


def count_people(traits: Array, weight: Array | None, people: NDArray[np.int64] | slice) -> float:
    """How many people there are, sample weights counted."""
    if weight is not None:
        return float(weight[people].sum())
    return float(len(traits) if isinstance(people, slice) else len(people))
