"""A specification and a study brought together as arrays: what every engine takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.checks import check_traits_can_be_fitted
from bayesgmm.core.fixed import Fixed
from bayesgmm.core.gather import Uncertain
from bayesgmm.core.gaussian import covariances_from_roots, precision_roots
from bayesgmm.core.objective import MixtureArrays, Parameters, Stacked
from bayesgmm.core.one_component import mean_and_covariance, mean_and_variance
from bayesgmm.core.weights import log_softmax
from bayesgmm.errors import InputError
from bayesgmm.priors.resolved import ResolvedPriors
from bayesgmm.problem_checks import (
    box_of_noise,
    constant_columns,
    family_for,
    refuse_constant,
    refuse_units_apart,
    tell_constant,
    without_absent,
)
from bayesgmm.problem_data import ProblemData, bulk_of, count_people, has_strays, people_with_traits, total_of

if TYPE_CHECKING:
    from bayesgmm.model import Mixture
    from bayesgmm.priors import Priors
    from bayesgmm.priors.properness import Propriety
    from bayesgmm.study import Study

Array = NDArray[np.float64]

_SAME_DIGITS = 1e-6  # of a spike's value, within which the value in the data is meant

# cached properties that no prior changes
_OF_THE_DATA = frozenset(name for name, value in vars(ProblemData).items() if isinstance(value, cached_property))


@dataclass(frozen=True, eq=False, kw_only=True)
class Problem(ProblemData):
    """Data, predictors and resolved priors of one fit; see :class:`bayesgmm.problem_data.ProblemData` for the data.

    Attributes
    ----------
    n_components, reference : int
        Noise and a spike are counted among the components.
    priors : ResolvedPriors
    """

    n_components: int
    reference: int
    priors: ResolvedPriors

    @classmethod
    def build(cls, mixture: Mixture, study: Study, *, constant_traits: bool = False) -> Problem:
        """Align a specification with a study.

        Parameters
        ----------
        mixture : Mixture
        study : Study
        constant_traits : bool, default False
            Whether traits may be constant: these people are one class of many, and the prior keeps variances above
            zero.

        Raises
        ------
        InputError
            If the study cannot carry the model; the message says what and where.
        """
        study = without_absent(study)
        traits = study.trait_values
        check_traits_can_be_fitted(traits, study.trait_names, constant=constant_traits)
        weight = study.sample_weight
        observed = people_with_traits(traits)
        shares = None if weight is None else weight[observed]
        fixed, elsewhere, shares_elsewhere = _fixed_components(mixture, traits[observed], shares, study.trait_names)
        n_observed = count_people(traits, weight, observed)
        n_elsewhere = total_of(elsewhere, shares_elsewhere)
        if n_elsewhere < mixture.n_components:
            raise InputError(_too_many(mixture.n_components, n_elsewhere, fixed))
        n_components = mixture.n_components + len(fixed)
        family = family_for(mixture.covariance, traits.shape[1])
        average = mixture.missing_genotypes == "average"
        design = study.design(mixture.weights, average=average)
        means_design = study.design(mixture.means, role="means", average=False)
        bulk = bulk_of(elsewhere, shares_elsewhere, strays=has_strays(fixed, mixture.df))
        refuse_units_apart(family, study.trait_names, mean_and_variance(*bulk)[1])
        centers, spreads = mean_and_variance(design.matrix[observed], shares)
        covariate_centers, variances = mean_and_variance(means_design.matrix[observed], shares)
        tell_constant(constant_columns(design.columns, design.matrix, centers, spreads))
        refuse_constant(constant_columns(means_design.columns, means_design.matrix, covariate_centers, variances))
        covariates = means_design.matrix - covariate_centers
        spread = np.sqrt(variances)
        uncertain = design.uncertain
        priors = mixture.priors.resolve(
            *mean_and_covariance(*bulk, total_of(*bulk)),
            mixture.n_components,
            n_fixed=len(fixed),
            df=mixture.df,
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
            n_components=n_components,
            reference=mixture.reference,
            priors=priors,
            df=mixture.df,
            fixed=fixed,
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
            self.n_located,
            n_fixed=len(self.fixed),
            df=self.df,
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
        return self._shared_with(other)

    def respecified(self, n_components: int, covariance: str, priors: Priors, reference: int = 0) -> Problem:
        """The same data and formulas with another number of components, family and priors.

        Nothing of the data is computed again, unless the family needs one unit for all traits and this one does not, or
        the other way round. Noise and a spike stay, and are not in ``n_components``.

        Raises
        ------
        InputError
            If there are too few people, or family or priors do not suit the data.
        """
        n_elsewhere = total_of(*self._elsewhere)
        if n_elsewhere < n_components:
            raise InputError(_too_many(n_components, n_elsewhere, self.fixed))
        family = family_for(covariance, len(self.trait_names))
        refuse_units_apart(family, self.trait_names, self._trait_moments[1])
        size = n_components + len(self.fixed)
        other = replace(self, n_components=size, family=family, reference=min(reference, size - 1))
        of_units = frozenset(("unit", "_gather", "_floor", "_log_units", "log_likelihood_shift"))
        same = family.one_unit == self.family.one_unit
        return self._shared_with(other, but=frozenset() if same else of_units).with_priors(priors)

    def in_one_thread(self) -> Problem:
        """The same problem whose passes are not shared among threads: for fits side by side."""
        other = self._shared_with(replace(self))
        other.__dict__["arrays"] = replace(self.arrays, threads=False)
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
        return self._shared_with(other, but=frozenset(("predictor_unit", "_gather")))

    def with_components(self, order: NDArray[np.int64]) -> Problem:
        """The same data and numbers of the priors for some of the components, or all in another order.

        Effects of the predictors keep their prior, whose pairwise scale does not know how many components there are; a
        reference that is not left becomes the last of those that are.
        """
        priors, size = self.priors, len(order)
        reference = min(self.reference, size - 1)
        tails = priors.tails
        if len(tails.df):
            n_located = size - len(self.fixed)
            tails = replace(tails, df=tails.df[:n_located], n_free=min(tails.n_free, n_located))
        left = replace(
            priors,
            concentration=priors.concentration[order],
            effect_mean=priors.effect_mean[:, : size - 1],
            reference=reference,
            tails=tails,
        )
        other = replace(self, n_components=size, reference=reference, priors=left)
        return self._shared_with(other)

    def _shared_with(self, other: Problem, but: frozenset[str] = frozenset()) -> Problem:
        """The other problem, of the same people, with what is known of them already."""
        known = _OF_THE_DATA - but
        other.__dict__.update({name: value for name, value in self.__dict__.items() if name in known})
        return other

    @property
    def n_located(self) -> int:
        """Components that have a mean and a covariance of their own; noise and a spike come after them."""
        return self.n_components - len(self.fixed)

    @property
    def components_told(self) -> str:
        """How many components of what kind, in words: "2 components and spike"."""
        what = "Student-t component" if len(self.priors.tails.df) else "component"
        what += "s" * (self.n_located != 1)
        *others, last = [f"{self.n_located} {what}", *self.fixed.kinds]
        return f"{', '.join(others)} and {last}" if others else last

    @cached_property
    def component_labels(self) -> tuple[str, ...]:
        """What components are called: their number, or ``"noise"`` and ``"spike"``."""
        return (*(str(k) for k in range(self.n_located)), *self.fixed.kinds)

    def component_names(self, k: Any) -> NDArray[Any]:
        """Components (any shape of positions) as tables have them: numbers, and noise and a spike by name."""
        if not len(self.fixed):
            return np.asarray(k)
        named: NDArray[Any] = np.array([*range(self.n_located), *self.fixed.kinds], dtype=object)[np.asarray(k)]
        return named

    @cached_property
    def contrasts(self) -> tuple[str, ...]:
        """Labels of the contrasts: each other component against the reference."""
        labels = self.component_labels
        others = [k for k in range(self.n_components) if k != self.reference]
        return tuple(names.contrast_label(labels[k], labels[self.reference]) for k in others)

    def propriety(self) -> Propriety:
        """Whether the posterior has a finite integral, parameter by parameter and with reasons."""
        return self.priors.propriety(self.n_complete)

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
            tails=prior.tails,
        )

    @property
    def log_effects_shift(self) -> Array:
        """What each predictor's log prior density gains when predictors go back to their units; nothing where flat."""
        proper = np.isfinite(self.priors.effect_sd)
        shift: Array = (self.n_components - 1) * np.where(proper, np.log(self.predictor_unit), 0.0)
        return shift

    @cached_property
    def log_prior_shift(self) -> float:
        """The same for the prior density of means, covariances, effects and slopes."""
        powers = self.arrays.niw_prior.unit_power(self.n_located)
        shift = -float(powers @ np.log(self.unit)) + float(self.log_effects_shift.sum())
        proper = np.isfinite(self.priors.shift_sd)
        scale = np.log(self.unit[None, :] / self.covariate_unit[:, None])
        return shift - float(scale[proper].sum())

    # -- between arrays and labelled parameters -------------------------------------------------

    def labelled(self, parameters: Parameters) -> xr.Dataset:
        """Parameters in standardised coordinates as a labelled dataset in the traits' units."""
        p = parameters
        return self.dataset(Stacked(np.exp(p.log_pi), p.beta, p.means, p.roots, p.shifts, p.df))

    def dataset(self, stacked: Stacked) -> xr.Dataset:
        """Label standardised parameters, with any leading dims ``chain``, ``draw``.

        The means and covariances of noise and of a spike are those of their densities, which nothing changes.
        """
        means = self.centre + self.unit * stacked.means
        covariances = covariances_from_roots(stacked.roots) * np.outer(self.unit, self.unit)
        return self.label(
            stacked.pi,
            self._with_fixed(means, self.fixed.means, -2),
            self._with_fixed(covariances, self.fixed.covariances, -3),
            stacked.beta / self.predictor_unit[:, None],
            stacked.shifts * (self.unit[None, :] / self.covariate_unit[:, None]),
            stacked.df[..., : self.priors.tails.n_free],
        )

    def _with_fixed(self, located: Array, fixed: Array, axis: int) -> Array:
        """Parameters of components that have their own, and then of the others."""
        if not len(self.fixed):
            return located
        return np.concatenate((located, np.broadcast_to(fixed, (*located.shape[:axis], *fixed.shape))), axis=axis)

    def draws(self, free: Array, near: Parameters) -> xr.Dataset:
        """Label the rows of free coordinates (n, n_free) as the draws of one chain; ``near`` as for ``of_free``."""
        return self.draws_of(self.arrays.stacked(free, near))

    def draws_of(self, stacked: Stacked) -> xr.Dataset:
        """Label standardised parameters (n, ...) as the draws of one chain."""
        return self.dataset(Stacked(*(x[None] for x in stacked)))

    def label(
        self,
        weights: Array,
        means: Array,
        covariances: Array,
        beta: Array,
        shifts: Array,
        df: Array | None = None,
    ) -> xr.Dataset:
        """Label parameters in the traits' units; ``beta`` is against component 0, ``df`` those that are estimated."""
        leading = [names.CHAIN, names.DRAW][: weights.ndim - 1]
        tails = {names.DF: ((*leading, names.LOCATED), df)} if self.priors.tails.n_free else {}
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
                **tails,
            },
            coords=self.coords,
        )

    @property
    def coords(self) -> dict[str, Any]:
        """Labels of the parameters' dims."""
        kinds = {}
        if len(self.fixed):
            located = "Student-t" if len(self.priors.tails.df) else "normal"
            kinds = {names.KIND: (names.COMPONENT, [located] * self.n_located + list(self.fixed.kinds))}
        return {
            names.COMPONENT: np.arange(self.n_components),
            **kinds,
            **({names.LOCATED: self._df_labels} if self.priors.tails.n_free else {}),
            names.TRAIT: list(self.trait_names),
            names.TRAIT_BIS: list(self.trait_names),
            names.PREDICTOR: _labels(self.predictor_names),
            names.CONTRAST: _labels(self.contrasts),
            names.COVARIATE: _labels(self.covariate_names),
        }

    @property
    def _df_labels(self) -> list[str]:
        """Labels of the degrees of freedom that are estimated: those of the components, or one for all."""
        n_free = self.priors.tails.n_free
        return ["all"] if self.df == "shared" and n_free else [str(k) for k in range(n_free)]

    def _every_df(self, values: Array) -> Array:
        """Degrees of freedom (..., L) of every component from those that are estimated (..., n_free)."""
        tails = self.priors.tails
        if not tails.n_free:
            return np.broadcast_to(tails.df, (*values.shape[:-1], len(tails.df)))
        every: Array = values[..., np.arange(self.n_located) % tails.n_free]
        return every

    def parameters(self, dataset: xr.Dataset, reference: int | None = None) -> Parameters:
        """Parameters in standardised coordinates of one labelled set (no leading dims).

        ``reference`` is that of the set's effects, where it is not this problem's own.
        """
        # a weight of the average person may be too small for a number
        log_pi = np.log(np.maximum(dataset[names.WEIGHTS].values, np.finfo(float).tiny))
        located, tails = self.n_located, self.priors.tails
        means = (dataset[names.MEANS].values[:located] - self.centre) / self.unit
        covariances = dataset[names.COVARIANCES].values[:located] / np.outer(self.unit, self.unit)
        beta = self.beta(dataset[names.EFFECTS].values, reference) * self.predictor_unit[:, None]
        shifts = dataset[names.SHIFTS].values * (self.covariate_unit[:, None] / self.unit[None, :])
        df = self._every_df(dataset[names.DF].values) if tails.n_free else tails.df
        return Parameters(log_pi[1:] - log_pi[0], beta, means, precision_roots(covariances), shifts, df, tails.n_free)

    def stacked(self, draws: xr.Dataset) -> Stacked:
        """Standardised parameters of labelled draws (chain, draw, ...)."""
        located, tails = self.n_located, self.priors.tails
        covariances = draws[names.COVARIANCES].values[..., :located, :, :] / np.outer(self.unit, self.unit)
        weights = draws[names.WEIGHTS].values
        return Stacked(
            weights,
            self.beta(draws[names.EFFECTS].values) * self.predictor_unit[:, None],
            (draws[names.MEANS].values[..., :located, :] - self.centre) / self.unit,
            precision_roots(covariances),
            draws[names.SHIFTS].values * (self.covariate_unit[:, None] / self.unit[None, :]),
            self._every_df(draws[names.DF].values if tails.n_free else np.empty((*weights.shape[:-1], 0))),
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


def _as_in_the_data(spike: Array | None, traits: Array) -> Array | None:
    """The spike with every digit: the commonest value within six digits of what was given, trait by trait."""
    if spike is None or Fixed(spike=spike).at_spike(traits).any():
        return spike
    exact = spike.copy()
    for d in range(len(spike)):
        near = traits[np.abs(traits[:, d] - spike[d]) <= _SAME_DIGITS * abs(spike[d]), d]
        if len(near):
            values, counts = np.unique(near, return_counts=True)
            exact[d] = values[counts.argmax()]
    return exact


def _nearest_to(spike: Array, traits: Array) -> str:
    """The value of one trait that is nearest to the spike, in words and with every digit."""
    values = traits[~np.isnan(traits)]
    if traits.shape[1] > 1 or len(values) == 0:
        return ""
    return f" (the nearest is {float(values[np.argmin(np.abs(values - spike[0]))])!r})"


def _fixed_components(
    mixture: Mixture, traits: Array, shares: Array | None, trait_names: Sequence[str]
) -> tuple[Fixed, Array, Array | None]:
    """Noise and spike of a specification, and traits and weights of the people who are not at the spike."""
    fixed = Fixed(spike=_as_in_the_data(mixture.spike_at(len(trait_names)), traits))
    there = fixed.at_spike(traits)
    if fixed.spike is not None:
        if not there.any():
            raise InputError(
                f"spike = {mixture.spike!r}, but nobody has this value{_nearest_to(fixed.spike, traits)}; give the "
                "value as it is in the study, after any transform, or leave the spike out"
            )
        traits = traits[~there]
        shares = None if shares is None else shares[~there]
        if not len(traits):
            raise InputError(f"spike = {mixture.spike!r}, and everybody is there; nothing is left to fit")
        check_traits_can_be_fitted(traits, trait_names)
    if mixture.noise is not False:
        fixed = replace(fixed, noise=box_of_noise(mixture.noise, traits, trait_names))
    return fixed, traits, shares


def _too_many(n_components: int, n_people: float, fixed: Fixed) -> str:
    return (
        f"n_components = {n_components}, but only {n_people:g} people have traits"
        f"{'' if fixed.spike is None else ' other than the spike'}; ask for at most {max(int(n_people), 1)} components"
    )


def _labels(given: Sequence[str]) -> NDArray[Any]:
    return np.array(given, dtype=object if given else "<U1")
