"""A specification and a study brought together as arrays: what every engine takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.checks import check_traits_can_be_fitted
from bayesgmm.core.families import SAMPLED, Family
from bayesgmm.core.gather import Uncertain, gather
from bayesgmm.core.gaussian import covariances_from_roots, precision_roots
from bayesgmm.core.objective import MixtureArrays, Parameters, Stacked
from bayesgmm.core.one_component import mean_and_covariance, mean_and_variance
from bayesgmm.core.sample import Sample
from bayesgmm.core.starts import filled_points
from bayesgmm.core.traits import is_complete, who_has_any
from bayesgmm.core.weights import log_softmax
from bayesgmm.errors import InputError
from bayesgmm.problem_checks import (
    constant_columns,
    family_for,
    refuse_constant,
    refuse_units_apart,
    tell_constant,
    without_absent,
)
from bayesgmm.resolved_priors import ResolvedPriors

if TYPE_CHECKING:
    from bayesgmm.design_matrix import Design
    from bayesgmm.model import Mixture
    from bayesgmm.priors import Priors
    from bayesgmm.properness import Propriety
    from bayesgmm.study import Study

Array = NDArray[np.float64]

# cached properties that no prior changes
_OF_THE_DATA = frozenset(
    (
        "n_effective",
        "contrasts",
        "people",
        "_trait_moments",
        "unit",
        "covariate_unit",
        "predictor_unit",
        "_gather",
        "_sample_moments",
        "_floor",
        "_log_units",
        "log_likelihood_shift",
    )
)
_COLLAPSED = 1e-12  # conditional variance of a collapsed component, as a share of the sample's


@dataclass(frozen=True, eq=False)
class Problem:
    """Data, predictors and resolved priors of one fit.

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
    n_components, reference : int
    priors : ResolvedPriors
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
    """

    traits: Array
    predictors: Array
    predictor_centers: Array
    ids: NDArray[Any] | None
    trait_names: tuple[str, ...]
    predictor_names: tuple[str, ...]
    n_components: int
    reference: int
    priors: ResolvedPriors
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

    @classmethod
    def build(cls, mixture: Mixture, study: Study) -> Problem:
        """Align a specification with a study.

        Raises
        ------
        InputError
            If the study cannot carry the model; the message says what and where.
        """
        study = without_absent(study)
        traits = study.trait_values
        check_traits_can_be_fitted(traits, study.trait_names)
        weight = study.sample_weight
        observed = _people(traits)
        n_observed = _count(traits, weight, observed)
        if n_observed < mixture.n_components:
            raise InputError(
                f"n_components = {mixture.n_components}, but only {n_observed:g} people have traits; ask for at most "
                f"{max(int(n_observed), 1)} components"
            )
        family = family_for(mixture.covariance, traits.shape[1])
        average = mixture.missing_genotypes == "average"
        design = study.design(mixture.weights, average=average)
        means_design = study.design(mixture.means, role="means", average=False)
        shares = None if weight is None else weight[observed]
        refuse_units_apart(family, study.trait_names, mean_and_variance(traits[observed], shares)[1])
        centers, spreads = mean_and_variance(design.matrix[observed], shares)
        covariate_centers, variances = mean_and_variance(means_design.matrix[observed], shares)
        tell_constant(constant_columns(design.columns, design.matrix, centers, spreads))
        refuse_constant(constant_columns(means_design.columns, means_design.matrix, covariate_centers, variances))
        covariates = means_design.matrix - covariate_centers
        spread = np.sqrt(variances)
        uncertain = design.uncertain
        priors = mixture.priors.resolve(
            *mean_and_covariance(traits[observed], shares, n_observed),
            mixture.n_components,
            trait_names=study.trait_names,
            predictors=design.columns,
            reference=mixture.reference,
            family=family,
            covariates=dict(zip(means_design.columns, spread.tolist(), strict=True)),
            predictor_sds=np.where(spreads > 0.0, np.sqrt(spreads), 1.0),
            n_people=n_observed,
        )
        return cls(
            traits=traits,
            predictors=design.matrix - centers,
            predictor_centers=centers,
            ids=None if study.is_bare else study.samples,
            trait_names=tuple(study.trait_names),
            predictor_names=tuple(design.columns),
            n_components=mixture.n_components,
            reference=mixture.reference,
            priors=priors,
            profiles=design.profiles - centers,
            variant_names=tuple(design.variants),
            variant_columns={variant: list(design.columns_of(variant)) for variant in design.variants},
            genotype_account=design.genotype_account,
            units=study.units,
            formula=mixture.weights,
            family=family,
            covariates=covariates,
            covariate_centers=covariate_centers,
            covariate_names=tuple(means_design.columns),
            means_formula=mixture.means,
            sample_weight=weight,
            uncertain=Uncertain(uncertain.person, uncertain.probability, uncertain.rows - centers),
            compress=mixture.compress,
            design=design,
            means_design=means_design,
        )

    def with_priors(self, priors: Priors) -> Problem:
        """The same data under other priors; nothing of the data is computed again.

        Raises
        ------
        InputError
            If a prior does not suit the data.
        """
        resolved = priors.resolve(
            *self._sample_moments,
            self.n_components,
            trait_names=self.trait_names,
            predictors=self.predictor_names,
            reference=self.reference,
            family=self.family,
            covariates=dict(zip(self.covariate_names, self.covariate_unit.tolist(), strict=True)),
            predictor_sds=self.predictor_unit,
            n_people=self.n_effective,
        )
        return self.with_resolved(resolved)

    def with_resolved(self, priors: ResolvedPriors) -> Problem:
        """The same data under priors that are numbers already."""
        other = replace(self, priors=priors)
        known = {name: value for name, value in self.__dict__.items() if name in _OF_THE_DATA}
        other.__dict__.update(known)
        return other

    def keeping(self, chosen: Sequence[int]) -> Problem:
        """The same problem with these predictors only, by their positions in order, under the same priors.

        Raises
        ------
        InputError
            If scales of the effects are learned from all predictors together.
        """
        if self.priors.scales is not None:
            raise InputError("predictors whose scales are learned together cannot be taken apart; give the scales")
        index = np.asarray(chosen, dtype=np.int64)
        kept = tuple(self.predictor_names[p] for p in index)
        prior = self.priors
        priors = replace(
            prior,
            effect_mean=prior.effect_mean[index],
            effect_sd=prior.effect_sd[index],
            effect_kind=prior.effect_kind[index],
            effect_shape=prior.effect_shape[index],
            predictor_names=kept,
        )
        uncertain = self.uncertain if len(kept) else Uncertain.nobody(0)
        other = replace(
            self,
            predictors=np.ascontiguousarray(self.predictors[:, index]),
            predictor_centers=self.predictor_centers[index],
            predictor_names=kept,
            priors=priors,
            profiles=self.profiles[:, :, index],
            variant_columns={v: [c for c in columns if c in kept] for v, columns in self.variant_columns.items()},
            formula=" + ".join(kept) or None,
            uncertain=replace(uncertain, rows=uncertain.rows[:, index]) if len(kept) else uncertain,
            design=None,
        )
        of_people = _OF_THE_DATA - {"predictor_unit", "_gather"}
        other.__dict__.update({name: value for name, value in self.__dict__.items() if name in of_people})
        return other

    def with_components(self, order: NDArray[np.int64]) -> Problem:
        """The same data and numbers of the priors for some of the components, or all in another order.

        Effects of the predictors keep their prior, whose pairwise scale does not know how many components there are; a
        reference that is not left becomes the last of those that are.
        """
        priors, size = self.priors, len(order)
        reference = min(self.reference, size - 1)
        left = replace(
            priors,
            concentration=priors.concentration[order],
            effect_mean=priors.effect_mean[:, : size - 1],
            reference=reference,
        )
        other = replace(self, n_components=size, reference=reference, priors=left)
        known = {n: v for n, v in self.__dict__.items() if n in _OF_THE_DATA and n != "contrasts"}
        other.__dict__.update(known)
        return other

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
        return _count(self.traits, self.sample_weight, self.people)

    @property
    def family_name(self) -> str:
        """Name of the covariance family; E or V where one trait leaves only the volume."""
        return self.family.name[0] if len(self.trait_names) == 1 else self.family.name

    @cached_property
    def contrasts(self) -> tuple[str, ...]:
        """Labels of the contrasts: each other component against the reference."""
        others = [k for k in range(self.n_components) if k != self.reference]
        return tuple(names.contrast_label(k, self.reference) for k in others)

    @property
    def n_complete(self) -> float:
        """People with every trait, sample weights counted."""
        complete = ~np.isnan(self.traits).any(axis=1)
        return float(complete.sum() if self.sample_weight is None else self.sample_weight[complete].sum())

    def propriety(self) -> Propriety:
        """Whether the posterior has a finite integral, parameter by parameter and with reasons."""
        return self.priors.propriety(self.n_complete)

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
        return _people(self.traits)

    @cached_property
    def _trait_moments(self) -> tuple[Array, Array]:
        return mean_and_variance(self.traits[self.people], self._shares)

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

    def has_units_of(self, other: Problem) -> bool:
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
    def arrays(self) -> MixtureArrays:
        """Standardised data and priors, gathered for the kernel."""
        sample = self._gather[0]
        prior = self.priors
        scale = self.unit[None, :] / self.covariate_unit[:, None]
        return MixtureArrays(
            sample=sample,
            weights_prior=prior.weights_prior().rescaled(self.predictor_unit),
            niw_prior=prior.niw().rescaled(self.centre, self.unit),
            shift_precision=np.ascontiguousarray((scale / prior.shift_sd) ** 2),
            floor=self._floor,
        )

    @cached_property
    def _sample_moments(self) -> tuple[Array, Array | None]:
        """Mean and covariance of the traits of the people who have any, in the traits' units."""
        return mean_and_covariance(self.traits[self.people], self._shares, self.n_effective)

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
        """Sum of the logarithms of the units of each person's observed traits (people with traits)."""
        logs: Array = (~np.isnan(self.traits[self.people])) @ np.log(self.unit)
        return logs

    def pointwise(self, values: Array) -> Array:
        """Log likelihood of each person with traits, in the traits' units, from that of every row (..., n_rows)."""
        return values[..., self.row_of] - self._log_units

    @cached_property
    def log_likelihood_shift(self) -> float:
        """What the log likelihood gains when traits go back to their own units: minus the sum of log units."""
        shares = self._shares
        if is_complete(self.traits):
            return -self.n_effective * float(np.log(self.unit).sum())
        return -float(self._log_units.sum() if shares is None else self._log_units @ shares)

    @property
    def log_effects_shift(self) -> Array:
        """What each predictor's log prior density gains when predictors go back to their units; nothing where flat."""
        proper = np.isfinite(self.priors.effect_sd)
        shift: Array = (self.n_components - 1) * np.where(proper, np.log(self.predictor_unit), 0.0)
        return shift

    @cached_property
    def log_prior_shift(self) -> float:
        """The same for the prior density of means, covariances, effects and slopes."""
        powers = self.arrays.niw_prior.unit_power(self.n_components)
        shift = -float(powers @ np.log(self.unit)) + float(self.log_effects_shift.sum())
        proper = np.isfinite(self.priors.shift_sd)
        scale = np.log(self.unit[None, :] / self.covariate_unit[:, None])
        return shift - float(scale[proper].sum())

    # -- between arrays and labelled parameters -------------------------------------------------

    def labelled(self, parameters: Parameters) -> xr.Dataset:
        """Parameters in standardised coordinates as a labelled dataset in the traits' units."""
        return self.dataset(
            np.exp(parameters.log_pi), parameters.means, parameters.roots, parameters.beta, parameters.shifts
        )

    def dataset(self, weights: Array, means: Array, roots: Array, beta: Array, shifts: Array) -> xr.Dataset:
        """Label standardised parameters, with any leading dims ``chain``, ``draw``; ``beta`` is against component 0."""
        return self.label(
            weights,
            self.centre + self.unit * means,
            covariances_from_roots(roots) * np.outer(self.unit, self.unit),
            beta / self.predictor_unit[:, None],
            shifts * (self.unit[None, :] / self.covariate_unit[:, None]),
        )

    def draws(self, free: Array, near: Parameters) -> xr.Dataset:
        """Label the rows of free coordinates (n, n_free) as the draws of one chain; ``near`` as for ``of_free``."""
        return self.draws_of(self.arrays.stacked(free, near))

    def draws_of(self, stacked: Stacked) -> xr.Dataset:
        """Label standardised parameters (n, ...) as the draws of one chain."""
        pi, beta, means, roots, shifts = (x[None] for x in stacked)
        return self.dataset(pi, means, roots, beta, shifts)

    def label(self, weights: Array, means: Array, covariances: Array, beta: Array, shifts: Array) -> xr.Dataset:
        """Label parameters in the traits' units; ``beta`` is against component 0."""
        leading = [names.CHAIN, names.DRAW][: weights.ndim - 1]
        full = np.concatenate((np.zeros((*beta.shape[:-1], 1)), beta), axis=-1)
        others = [k for k in range(self.n_components) if k != self.reference]
        effects = full[..., others] - full[..., [self.reference]]
        return xr.Dataset(
            {
                names.WEIGHTS: ((*leading, names.COMPONENT), weights),
                names.MEANS: ((*leading, names.COMPONENT, names.TRAIT), means),
                names.COVARIANCES: ((*leading, names.COMPONENT, names.TRAIT, names.TRAIT_BIS), covariances),
                names.EFFECTS: ((*leading, names.PREDICTOR, names.CONTRAST), effects),
                names.SHIFTS: ((*leading, names.COVARIATE, names.TRAIT), shifts),
            },
            coords=self.coords,
        )

    @property
    def coords(self) -> dict[str, Any]:
        """Labels of the parameters' dims."""
        return {
            names.COMPONENT: np.arange(self.n_components),
            names.TRAIT: list(self.trait_names),
            names.TRAIT_BIS: list(self.trait_names),
            names.PREDICTOR: _labels(self.predictor_names),
            names.CONTRAST: _labels(self.contrasts),
            names.COVARIATE: _labels(self.covariate_names),
        }

    def parameters(self, dataset: xr.Dataset, reference: int | None = None) -> Parameters:
        """Parameters in standardised coordinates of one labelled set (no leading dims).

        ``reference`` is that of the set's effects, where it is not this problem's own.
        """
        # a weight of the average person may be too small for a number
        log_pi = np.log(np.maximum(dataset[names.WEIGHTS].values, np.finfo(float).tiny))
        means = (dataset[names.MEANS].values - self.centre) / self.unit
        covariances = dataset[names.COVARIANCES].values / np.outer(self.unit, self.unit)
        beta = self.beta(dataset[names.EFFECTS].values, reference) * self.predictor_unit[:, None]
        shifts = dataset[names.SHIFTS].values * (self.covariate_unit[:, None] / self.unit[None, :])
        return Parameters(log_pi[1:] - log_pi[0], beta, means, precision_roots(covariances), shifts)

    def stacked(self, draws: xr.Dataset) -> Stacked:
        """Standardised parameters of labelled draws (chain, draw, ...)."""
        covariances = draws[names.COVARIANCES].values / np.outer(self.unit, self.unit)
        return Stacked(
            draws[names.WEIGHTS].values,
            self.beta(draws[names.EFFECTS].values) * self.predictor_unit[:, None],
            (draws[names.MEANS].values - self.centre) / self.unit,
            precision_roots(covariances),
            draws[names.SHIFTS].values * (self.covariate_unit[:, None] / self.unit[None, :]),
        )

    def beta(self, effects: Array, reference: int | None = None) -> Array:
        """Log odds ratios against component 0 from those against the reference (..., P, K-1)."""
        full = np.insert(effects, self.reference if reference is None else reference, 0.0, axis=-1)
        result: Array = full[..., 1:] - full[..., :1]
        return result

    def responsibilities(self, parameters: Parameters) -> Array:
        """Membership probabilities (n_samples, K); a person without traits has the weights of their predictors."""
        inside = self.arrays.membership(parameters)[0][self.row_of]
        if isinstance(self.people, slice):
            return inside
        result = np.exp(self.log_weights(parameters))
        result[self.people] = inside
        return result

    def log_weights(self, parameters: Parameters) -> Array:
        """Log mixing weights of every person (n_samples, K)."""
        return self.log_weights_at(self.predictors, parameters, self.uncertain)

    def log_weights_at(self, predictors: Array, parameters: Parameters, uncertain: Uncertain | None = None) -> Array:
        """Log weights (m, K) at centred predictors (m, P), averaged over what is not certain."""

        def at(rows: Array) -> Array:
            logits = np.zeros((len(rows), len(parameters.alpha) + 1))
            logits[:, 1:] = parameters.alpha + rows @ (parameters.beta / self.predictor_unit[:, None])
            log_weights: Array = log_softmax(logits)
            return log_weights

        certain = at(predictors)
        if uncertain is None or len(uncertain.person) == 0:
            return certain
        return uncertain.mixed(at(uncertain.rows), len(predictors), certain)


def _labels(given: Sequence[str]) -> NDArray[Any]:
    return np.array(given, dtype=object if given else "<U1")


def _people(traits: Array) -> NDArray[np.int64] | slice:
    """The people with traits: a slice when that is everybody."""
    observed = who_has_any(traits)
    return slice(None) if observed.all() else np.flatnonzero(observed)


def _count(traits: Array, weight: Array | None, people: NDArray[np.int64] | slice) -> float:
    if weight is not None:
        return float(weight[people].sum())
    return float(len(traits) if isinstance(people, slice) else len(people))
