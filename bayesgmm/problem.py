"""A specification and a study brought together as arrays: what every engine takes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.core.gaussian import covariances_from_roots, precision_roots
from bayesgmm.core.objective import MixtureArrays, Parameters
from bayesgmm.core.weights import log_softmax
from bayesgmm.errors import InputError, first_few
from bayesgmm.priors import ResolvedPriors

if TYPE_CHECKING:
    from bayesgmm.design_matrix import Design
    from bayesgmm.model import Mixture
    from bayesgmm.study import Study

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Problem:
    """Data, predictors and resolved priors of one fit.

    Attributes
    ----------
    traits : ndarray (n_samples, n_traits)
        In the traits' units; NaN where missing.
    predictors : ndarray (n_samples, n_predictors)
        Centred at the means over the people with traits, so that zero is the average person.
    predictor_centers : ndarray (n_predictors,)
        What was subtracted.
    sample_ids, trait_names, predictor_names : tuple of str
    n_components, reference : int
    priors : ResolvedPriors
    profiles : ndarray (n_variants, 3, n_predictors)
        Centred predictors of the average person with a variant set to genotype 0, 1 and 2.
    variant_names : tuple of str
        Variants of the weights' formula.
    variant_columns : dict
        Predictors that depend on each variant.
    imputed : dict
        Number of people whose genotype was missing and set to the mean, by variant.
    units : dict
        Units of the traits, where known.
    formula : str or None
    """

    traits: Array
    predictors: Array
    predictor_centers: Array
    sample_ids: tuple[str, ...]
    trait_names: tuple[str, ...]
    predictor_names: tuple[str, ...]
    n_components: int
    reference: int
    priors: ResolvedPriors
    profiles: Array
    variant_names: tuple[str, ...]
    variant_columns: dict[str, list[str]]
    imputed: dict[str, int]
    units: dict[str, str]
    formula: str | None
    design: Design | None = None

    @classmethod
    def build(cls, mixture: Mixture, study: Study) -> Problem:
        """Align a specification with a study.

        Raises
        ------
        InputError
            If the study cannot carry the model; the message says what and where.
        """
        traits = np.asarray(study.dataset[names.TRAITS].values, dtype=float)
        trait_names = tuple(study.trait_names)
        observed = _observed(traits, trait_names, tuple(study.sample_ids))
        n_observed = int(observed.sum())
        if n_observed < mixture.n_components:
            raise InputError(
                f"n_components = {mixture.n_components}, but only {n_observed} people have traits; ask for at most "
                f"{max(n_observed, 1)} components"
            )
        design = study.design(mixture.weights)
        matrix = design.matrix
        centers = matrix[observed].mean(axis=0) if matrix.shape[1] else np.zeros(0)
        priors = mixture.priors.resolve(
            traits[observed],
            mixture.n_components,
            trait_names=trait_names,
            predictors=design.columns,
            reference=mixture.reference,
        )
        attributes: dict[Any, Any] = study.dataset.attrs
        return cls(
            traits=traits,
            predictors=matrix - centers,
            predictor_centers=centers,
            sample_ids=tuple(study.sample_ids),
            trait_names=trait_names,
            predictor_names=tuple(design.columns),
            n_components=mixture.n_components,
            reference=mixture.reference,
            priors=priors,
            profiles=design.profiles - centers,
            variant_names=tuple(design.variants),
            variant_columns={variant: list(design.columns_of(variant)) for variant in design.variants},
            imputed={
                str(v): int(m) for v, m in zip(design.imputed["variant"], design.imputed["n_missing"], strict=True)
            },
            units=dict(attributes.get("units", {})),
            formula=mixture.weights,
            design=design,
        )

    @property
    def n_samples(self) -> int:
        """Number of people, with and without traits."""
        return len(self.sample_ids)

    @cached_property
    def observed(self) -> NDArray[np.bool_]:
        """Who has traits (n_samples,); others add nothing to the likelihood."""
        return ~np.isnan(self.traits).any(axis=1)

    @cached_property
    def contrasts(self) -> tuple[str, ...]:
        """Labels of the contrasts: each other component against the reference."""
        others = [k for k in range(self.n_components) if k != self.reference]
        return tuple(names.contrast_label(k, self.reference) for k in others)

    # -- standardised coordinates ---------------------------------------------------------------

    @cached_property
    def centre(self) -> Array:
        """Means of the traits, subtracted before any sum is formed so that no digits cancel."""
        mean: Array = self.traits[self.observed].mean(axis=0)
        return mean

    @cached_property
    def unit(self) -> Array:
        """Standard deviations of the traits, by which they are divided."""
        spread = (self.traits[self.observed] - self.centre).std(axis=0)
        unit: Array = np.where(spread > 0.0, spread, 1.0)
        return unit

    @cached_property
    def _order(self) -> tuple[NDArray[np.int64], NDArray[np.int32], Array, Array]:
        people = np.flatnonzero(self.observed)
        rows = self.predictors[people]
        if rows.shape[1] == 0:
            return people, np.zeros(len(people), dtype=np.int32), np.zeros((1, 0)), np.array([float(len(people))])
        order = np.lexsort(rows.T[::-1])
        rows = rows[order]
        new = np.concatenate(([False], (np.diff(rows, axis=0) != 0.0).any(axis=1)))
        pattern = np.cumsum(new, dtype=np.int32)
        distinct = rows[np.concatenate(([True], new[1:]))]
        return people[order], pattern, np.ascontiguousarray(distinct), np.bincount(pattern).astype(float)

    @property
    def people(self) -> NDArray[np.int64]:
        """Row of ``traits`` of each column of ``arrays.traits``."""
        return self._order[0]

    @cached_property
    def arrays(self) -> MixtureArrays:
        """Standardised data and priors, sorted for the kernel."""
        people, pattern, distinct, totals = self._order
        return MixtureArrays(
            traits=np.ascontiguousarray(((self.traits[people] - self.centre) / self.unit).T),
            pattern=pattern,
            predictors=distinct,
            totals=totals,
            weights_prior=self.priors.weights_prior(),
            niw_prior=self.priors.niw().rescaled(self.centre, self.unit),
        )

    @cached_property
    def log_likelihood_shift(self) -> float:
        """What the log likelihood gains when traits go back to their own units: minus n sum log unit."""
        return -float(self.observed.sum() * np.log(self.unit).sum())

    @cached_property
    def log_prior_shift(self) -> float:
        """The same for the prior density of means and covariances: ``-K (D + 2) sum log unit``."""
        if self.priors.components_flat:
            return 0.0
        return -float(self.n_components * (len(self.unit) + 2) * np.log(self.unit).sum())

    # -- between arrays and labelled parameters -------------------------------------------------

    def labelled(self, parameters: Parameters) -> xr.Dataset:
        """Parameters in standardised coordinates as a labelled dataset in the traits' units."""
        covariances = covariances_from_roots(parameters.roots) * np.outer(self.unit, self.unit)
        return self.dataset(
            np.exp(parameters.log_pi),
            self.centre + self.unit * parameters.means,
            covariances,
            parameters.beta,
        )

    def dataset(self, weights: Array, means: Array, covariances: Array, beta: Array) -> xr.Dataset:
        """Label arrays (with any leading dims ``chain``, ``draw``); ``beta`` is against component 0."""
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
            },
            coords={
                names.COMPONENT: np.arange(self.n_components),
                names.TRAIT: list(self.trait_names),
                names.TRAIT_BIS: list(self.trait_names),
                names.PREDICTOR: np.array(self.predictor_names, dtype=object if self.predictor_names else "<U1"),
                names.CONTRAST: np.array(self.contrasts, dtype=object if self.contrasts else "<U1"),
            },
        )

    def parameters(self, dataset: xr.Dataset) -> Parameters:
        """Parameters in standardised coordinates of one labelled set (no leading dims)."""
        log_pi = np.log(dataset[names.WEIGHTS].values)
        means = (dataset[names.MEANS].values - self.centre) / self.unit
        covariances = dataset[names.COVARIANCES].values / np.outer(self.unit, self.unit)
        beta = self.beta(dataset[names.EFFECTS].values)
        return Parameters(log_pi[1:] - log_pi[0], beta, means, precision_roots(covariances))

    def beta(self, effects: Array) -> Array:
        """Log odds ratios against component 0 from those against the reference (..., P, K-1)."""
        full = np.insert(effects, self.reference, 0.0, axis=-1)
        result: Array = full[..., 1:] - full[..., :1]
        return result

    def in_sample_order(self, values: Array, missing: Array | float = np.nan) -> Array:
        """Values of the people with traits, (n_observed, ...) in kernel order, laid out by sample."""
        out = np.empty((self.n_samples, *values.shape[1:]))
        out[:] = missing
        out[self.people] = values
        return out

    def responsibilities(self, parameters: Parameters) -> Array:
        """Membership probabilities (n_samples, K); a person without traits has the weights of their predictors."""
        inside, _ = self.arrays.membership(parameters)
        result = self.in_sample_order(inside)
        absent = ~self.observed
        if absent.any():
            result[absent] = np.exp(self.log_weights_at(self.predictors[absent], parameters))
        return result

    @staticmethod
    def log_weights_at(predictors: Array, parameters: Parameters) -> Array:
        """Log weights (m, K) at centred predictors (m, P)."""
        logits = np.zeros((len(predictors), len(parameters.alpha) + 1))
        logits[:, 1:] = parameters.alpha + predictors @ parameters.beta
        log_weights: Array = log_softmax(logits)
        return log_weights

    # -- storage --------------------------------------------------------------------------------

    def to_dataset(self) -> xr.Dataset:
        """Everything but the formula's memory of its factor levels, for NetCDF and Zarr."""
        coords = {
            names.SAMPLE: list(self.sample_ids),
            names.TRAIT: list(self.trait_names),
            names.TRAIT_BIS: list(self.trait_names),
            names.COMPONENT: np.arange(self.n_components),
        }
        data: dict[str, Any] = {
            names.TRAITS: ((names.SAMPLE, names.TRAIT), self.traits),
            "prior_concentration": ((names.COMPONENT,), self.priors.concentration),
            "prior_mean": ((names.TRAIT,), self.priors.mean),
            "prior_strength": ((), self.priors.strength),
            "prior_dof": ((), self.priors.dof),
            "prior_scale": ((names.TRAIT, names.TRAIT_BIS), self.priors.scale),
        }
        if self.predictor_names:
            coords[names.PREDICTOR] = list(self.predictor_names)
            data[names.PREDICTORS] = ((names.SAMPLE, names.PREDICTOR), self.predictors)
            data["predictor_centers"] = ((names.PREDICTOR,), self.predictor_centers)
            data["prior_effect_sd"] = ((names.PREDICTOR,), self.priors.effect_sd)
            if self.n_components > 1:
                coords[names.CONTRAST] = list(self.contrasts)
                data["prior_effect_mean"] = ((names.PREDICTOR, names.CONTRAST), self.priors.effect_mean)
        if self.variant_names:
            coords[names.VARIANT] = list(self.variant_names)
            coords[names.GENOTYPE] = list(names.GENOTYPES)
            data["genotype_profiles"] = ((names.VARIANT, names.GENOTYPE, names.PREDICTOR), self.profiles)
        about = {
            "reference": self.reference,
            "formula": self.formula,
            "variant_columns": self.variant_columns,
            "imputed": self.imputed,
            "units": self.units,
            "weights_flat": self.priors.weights_flat,
            "components_flat": self.priors.components_flat,
        }
        return xr.Dataset(data, coords=coords, attrs={"problem": json.dumps(about)})

    @classmethod
    def from_dataset(cls, stored: xr.Dataset) -> Problem:
        """Inverse of :meth:`to_dataset`."""
        about = json.loads(stored.attrs["problem"])
        trait_names = tuple(str(t) for t in stored[names.TRAIT].values)
        predictors = tuple(str(p) for p in stored[names.PREDICTOR].values) if names.PREDICTOR in stored.coords else ()
        variants = tuple(str(v) for v in stored[names.VARIANT].values) if names.VARIANT in stored.coords else ()
        n_components = stored.sizes[names.COMPONENT]

        def array(name: str, shape: tuple[int, ...]) -> Array:
            return np.asarray(stored[name].values, dtype=float) if name in stored else np.zeros(shape)

        n_predictors = len(predictors)
        priors = ResolvedPriors(
            concentration=array("prior_concentration", ()),
            mean=array("prior_mean", ()),
            strength=float(stored["prior_strength"]),
            dof=float(stored["prior_dof"]),
            scale=array("prior_scale", ()),
            effect_mean=array("prior_effect_mean", (n_predictors, n_components - 1)),
            effect_sd=array("prior_effect_sd", (n_predictors,)),
            reference=about["reference"],
            trait_names=trait_names,
            predictor_names=predictors,
            weights_flat=about["weights_flat"],
            components_flat=about["components_flat"],
        )
        return cls(
            traits=array(names.TRAITS, ()),
            predictors=array(names.PREDICTORS, (stored.sizes[names.SAMPLE], 0)),
            predictor_centers=array("predictor_centers", (0,)),
            sample_ids=tuple(str(s) for s in stored[names.SAMPLE].values),
            trait_names=trait_names,
            predictor_names=predictors,
            n_components=n_components,
            reference=about["reference"],
            priors=priors,
            profiles=array("genotype_profiles", (0, len(names.GENOTYPES), n_predictors)),
            variant_names=variants,
            variant_columns=about["variant_columns"],
            imputed=about["imputed"],
            units=about["units"],
            formula=about["formula"],
        )


def _observed(traits: Array, trait_names: tuple[str, ...], sample_ids: tuple[str, ...]) -> NDArray[np.bool_]:
    """Who has traits; a person with some traits only cannot be used yet and is named."""
    missing = np.isnan(traits)
    partial = missing.any(axis=1) & ~missing.all(axis=1)
    if partial.any():
        who = first_few(np.array(sample_ids, dtype=object)[partial])
        raise InputError(
            f"{int(partial.sum())} people have some of the traits {', '.join(trait_names)} but not all: {who}. Fill in "
            "or remove the missing values, or model fewer traits"
        )
    return ~missing.any(axis=1)
