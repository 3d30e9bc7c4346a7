r"""Priors of the mixture: what a person states, and the numbers it resolves to once the data are known.

The families and their defaults are those of the design: Dirichlet baseline weights, Normal-Inverse-Wishart
components, and label-invariant normal effects on the log odds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from bayesgmm.core.families import Family, family_of
from bayesgmm.core.gaussian import UNRESTRICTED, NiwPrior
from bayesgmm.core.weights import WeightsPrior
from bayesgmm.errors import InputError, PropernessError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Dirichlet:
    """Dirichlet prior of the baseline weights.

    Parameters
    ----------
    concentration : float or sequence of float, default 2.0
        One number for every component or one each. At 2 components do not vanish from the mode; at 1 the prior is
        uniform on the simplex; below 1 it favours empty components.
    """

    concentration: float | Sequence[float] = 2.0

    def resolve(self, n_components: int) -> Array:
        """Concentrations (n_components,).

        Raises
        ------
        InputError
            If a concentration is not positive or their number is not the number of components.
        """
        values = np.atleast_1d(np.asarray(self.concentration, dtype=float))
        if values.size == 1:
            values = np.repeat(values, n_components)
        if values.shape != (n_components,):
            raise InputError(
                f"weights prior: concentration has {values.size} values for {n_components} components; give one number "
                "or one per component"
            )
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise InputError(f"weights prior: concentration = {self.concentration!r}; it must be above 0 and finite")
        return values


@dataclass(frozen=True)
class NormalInverseWishart:
    """Normal-Inverse-Wishart prior of each component's mean and covariance.

    Parameters
    ----------
    mean : array_like (n_traits,), optional
        ``m0``, in the traits' units. Default: the sample mean.
    strength : float, default 0.01
        ``kappa0``: how many observations the prior mean is worth.
    dof : float, optional
        ``nu0``; above ``n_traits - 1``. Default: ``n_traits + 2``.
    scale : array_like (n_traits, n_traits) or float, optional
        ``Psi0``, in the traits' units squared; a number means that multiple of the identity. Default:
        ``S / K^(2/D)`` with ``S`` the sample covariance (Fraley and Raftery 2007, J. Classification 24:155).

    Notes
    -----
    For diagonal families each variance is inverse-gamma with shape ``dof / 2`` and rate half the entry of ``scale``'s
    diagonal; for spherical families with half the mean of that diagonal. The default scale is then the diagonal of
    ``S / K^(2/D)``, or its mean: the first does not change when a trait's unit does.
    """

    mean: ArrayLike | None = None
    strength: float = 0.01
    dof: float | None = None
    scale: ArrayLike | None = None

    def resolve(
        self, mean: Array, covariance: Array | None, n_components: int, family: Family = UNRESTRICTED
    ) -> NiwPrior:
        """Numbers for traits of this sample mean and covariance; None when there are too few people for one.

        Raises
        ------
        InputError
            If a value is out of bounds; the message names it and the bound.
        """
        size = len(mean)
        if not (np.isfinite(self.strength) and self.strength > 0):
            raise InputError(
                f"components prior: strength = {self.strength!r}; it must be above 0 and finite (for no prior use "
                "bayesgmm.Flat())"
            )
        dof = size + 2.0 if self.dof is None else float(self.dof)
        least = 0 if family.spherical or family.diagonal else size - 1
        if not (np.isfinite(dof) and dof > least):
            raise InputError(
                f"components prior: dof = {dof:g}; with {size} trait(s) and covariance family {family.name} it must be "
                f"above {least} for the prior to be proper"
            )
        mean = mean if self.mean is None else np.atleast_1d(np.asarray(self.mean, dtype=float))
        if mean.shape != (size,) or not np.isfinite(mean).all():
            raise InputError(
                f"components prior: mean = {self.mean!r}; it must be {size} finite number(s), one per trait"
            )
        return NiwPrior(mean, float(self.strength), dof, self._scale(covariance, size, n_components, family), family)

    def _scale(self, covariance: Array | None, size: int, n_components: int, family: Family) -> Array:
        if self.scale is None:
            if covariance is not None and (np.diag(covariance) > 0.0).all():
                if family.spherical:
                    covariance = np.eye(size) * np.trace(covariance) / size
                elif family.diagonal:
                    covariance = np.diag(np.diag(covariance))
            # one person, or traits that repeat each other, leave no covariance to stand on
            if covariance is None or not _positive_definite(covariance):
                raise InputError(
                    "components prior: the sample covariance of the traits is not positive definite (traits that "
                    "repeat each other, or too few people), so the default scale cannot be formed; drop a trait or "
                    "give scale"
                )
            return np.asarray(covariance / n_components ** (2.0 / size))
        scale = np.asarray(self.scale, dtype=float)
        if scale.ndim == 0:
            scale = scale * np.eye(size)
        if scale.shape != (size, size) or not np.isfinite(scale).all():
            raise InputError(f"components prior: scale has shape {scale.shape}; it must be ({size}, {size}) and finite")
        if not np.allclose(scale, scale.T, rtol=1e-10, atol=0):
            raise InputError("components prior: scale is not symmetric")
        least = float(np.linalg.eigvalsh(scale)[0])
        if least <= 0:
            raise InputError(
                f"components prior: scale is not positive definite (smallest eigenvalue {least:.3g}); it must "
                "be above 0"
            )
        off_diagonal = np.abs(scale - np.diag(np.diag(scale))).max()
        if family.diagonal and off_diagonal > 0.0:
            raise InputError(f"components prior: covariance family {family.name} is diagonal; scale must be too")
        if family.spherical and (off_diagonal > 0.0 or np.ptp(np.diag(scale)) > 1e-10 * scale[0, 0]):
            raise InputError(
                f"components prior: covariance family {family.name} is spherical; scale must be a number, or a "
                "multiple of the identity"
            )
        return scale


@dataclass(frozen=True)
class LogOddsNormal:
    """Normal prior of the log odds ratios, the same whichever component is the reference.

    Every pairwise log odds ratio of a predictor has standard deviation ``sd``.

    Parameters
    ----------
    sd : float, sequence or mapping, default 1.0
        Prior standard deviation of a log odds ratio per allele (or per unit of the column): one number, one per
        predictor, or ``{predictor: sd}`` with 1.0 for those not named.
    mean : float, sequence or mapping, default 0.0
        Prior mean of the log odds ratio of each component against the reference, in the same forms.
    """

    sd: float | Sequence[float] | Mapping[str, float] = 1.0
    mean: float | Sequence[float] | Mapping[str, float] = 0.0

    def resolve(self, predictors: Sequence[str]) -> tuple[Array, Array]:
        """Means and standard deviations, each (n_predictors,).

        Raises
        ------
        InputError
            If a value is out of bounds or names a predictor that the model does not have.
        """
        sd = _per_predictor("sd", self.sd, predictors, 1.0)
        mean = _per_predictor("mean", self.mean, predictors, 0.0)
        if not (sd > 0).all() or np.isnan(sd).any():
            raise InputError(f"effects prior: sd = {self.sd!r}; every sd must be above 0")
        if not np.isfinite(mean).all():
            raise InputError(f"effects prior: mean = {self.mean!r}; every mean must be finite")
        return mean, sd


@dataclass(frozen=True)
class ShiftsNormal:
    """Normal prior of the slopes by which covariates shift every component's mean.

    Parameters
    ----------
    sd : float, default 10.0
        Prior standard deviation of a slope, in standard deviations of the trait per standard deviation of the
        covariate.
    """

    sd: float = 10.0

    def resolve(self, trait_sd: Array, covariate_sd: Array) -> Array:
        """Standard deviations (n_covariates, n_traits) in the traits' and covariates' units.

        Raises
        ------
        InputError
            If ``sd`` is not above 0 and finite.
        """
        if not (np.isfinite(self.sd) and self.sd > 0):
            raise InputError(f"shifts prior: sd = {self.sd!r}; it must be above 0 and finite")
        sd: Array = self.sd * trait_sd[None, :] / covariate_sd[:, None]
        return sd


@dataclass(frozen=True)
class Flat:
    """No prior: maximum likelihood for this part of the model. Improper, so such a model cannot be sampled."""


@dataclass(frozen=True)
class Priors:
    """The priors of a mixture.

    Parameters
    ----------
    weights : Dirichlet or Flat
        Baseline weights.
    components : NormalInverseWishart or Flat
        Means and covariances.
    effects : LogOddsNormal or Flat
        Log odds ratios of the predictors.
    shifts : ShiftsNormal or Flat
        Slopes of the covariates of the means.
    """

    weights: Dirichlet | Flat = field(default_factory=Dirichlet)
    components: NormalInverseWishart | Flat = field(default_factory=NormalInverseWishart)
    effects: LogOddsNormal | Flat = field(default_factory=LogOddsNormal)
    shifts: ShiftsNormal | Flat = field(default_factory=ShiftsNormal)

    @classmethod
    def flat(cls) -> Priors:
        """Priors under which the MAP is the maximum likelihood estimate."""
        return cls(weights=Flat(), components=Flat(), effects=Flat(), shifts=Flat())

    def resolve(
        self,
        mean: Array,
        covariance: Array | None,
        n_components: int,
        *,
        trait_names: Sequence[str] | None = None,
        predictors: Sequence[str] = (),
        reference: int = 0,
        family: Family = UNRESTRICTED,
        covariates: Mapping[str, float] | None = None,
    ) -> ResolvedPriors:
        """Turn defaults into numbers for these data.

        Parameters
        ----------
        mean : ndarray (n_traits,)
            Of the sample.
        covariance : ndarray (n_traits, n_traits) or None
            Of the sample; None where there are too few people for one.
        n_components : int
        trait_names, predictors : sequence of str
        reference : int
            Component against which a nonzero effect mean is stated.
        family : Family
            Covariance family.
        covariates : mapping, optional
            Covariates of the means and their standard deviations.

        Returns
        -------
        ResolvedPriors

        Raises
        ------
        InputError
            If a value is out of bounds.
        """
        size = len(mean)
        names = tuple(trait_names) if trait_names is not None else tuple(f"trait{d}" for d in range(size))
        concentration = np.ones(n_components) if isinstance(self.weights, Flat) else self.weights.resolve(n_components)
        flat_components = isinstance(self.components, Flat)
        niw = (
            NiwPrior.flat(size, family)
            if isinstance(self.components, Flat)
            else self.components.resolve(mean, covariance, n_components, family)
        )
        if isinstance(self.effects, Flat):
            effect_mean, sd = np.zeros(len(predictors)), np.full(len(predictors), np.inf)
        else:
            effect_mean, sd = self.effects.resolve(predictors)
        covariates = covariates or {}
        if isinstance(self.shifts, Flat) or not covariates:
            shift_sd = np.full((len(covariates), size), np.inf)
        else:
            trait_sd = np.ones(size) if covariance is None else np.sqrt(np.diag(covariance))
            shift_sd = self.shifts.resolve(trait_sd, np.array(list(covariates.values())))
        return ResolvedPriors(
            concentration=concentration,
            mean=niw.mean,
            strength=niw.strength,
            dof=niw.dof,
            scale=niw.scale,
            effect_mean=np.repeat(effect_mean[:, None], n_components - 1, axis=1),
            effect_sd=sd,
            reference=reference,
            trait_names=names,
            predictor_names=tuple(predictors),
            weights_flat=isinstance(self.weights, Flat),
            components_flat=flat_components,
            family=family.name,
            covariate_names=tuple(covariates),
            shift_sd=shift_sd,
        )


@dataclass(frozen=True, eq=False)
class ResolvedPriors:
    """Priors as numbers, in the traits' own units: the one definition that every engine reads.

    Attributes
    ----------
    concentration : ndarray (n_components,)
    mean, strength, dof, scale
        ``m0`` (n_traits,), ``kappa0``, ``nu0`` and ``Psi0`` (n_traits, n_traits).
    effect_mean : ndarray (n_predictors, n_components - 1)
        Prior mean of the log odds ratio of each other component against ``reference``.
    effect_sd : ndarray (n_predictors,)
        Prior standard deviation of every pairwise log odds ratio; infinite where flat.
    reference : int
    trait_names, predictor_names : tuple of str
    weights_flat, components_flat : bool
    family : str
        Covariance family.
    covariate_names : tuple of str
        Covariates of the means.
    shift_sd : ndarray (n_covariates, n_traits)
        Prior standard deviation of each slope; infinite where flat.
    """

    concentration: Array
    mean: Array
    strength: float
    dof: float
    scale: Array
    effect_mean: Array
    effect_sd: Array
    reference: int
    trait_names: tuple[str, ...]
    predictor_names: tuple[str, ...]
    weights_flat: bool = False
    components_flat: bool = False
    family: str = "VVV"
    covariate_names: tuple[str, ...] = ()
    shift_sd: Array = field(default_factory=lambda: np.zeros((0, 1)))

    @property
    def n_components(self) -> int:
        """Number of components."""
        return len(self.concentration)

    def niw(self) -> NiwPrior:
        """Prior of the components as arrays."""
        if self.components_flat:
            return NiwPrior.flat(len(self.mean), family_of(self.family))
        return NiwPrior(self.mean, self.strength, self.dof, self.scale, family_of(self.family))

    def weights_prior(self) -> WeightsPrior:
        """Prior of the weights and effects as arrays, contrasts against component 0."""
        full = np.insert(self.effect_mean, self.reference, 0.0, axis=1)
        return WeightsPrior(self.concentration, full[:, 1:] - full[:, :1], self.effect_sd)

    def why_improper(self) -> list[str]:
        """Reasons why the posterior has no finite integral; empty when the prior is proper."""
        reasons = []
        if self.components_flat:
            reasons.append(
                "the components' prior is flat: with positive probability a component receives no data, its mean and "
                "covariance are then governed by a prior without a finite integral (Grazian and Robert 2018)"
            )
        flat = [name for name, sd in zip(self.predictor_names, self.effect_sd, strict=True) if np.isinf(sd)]
        if flat:
            reasons.append(
                f"the prior of the effect of {', '.join(flat)} is flat: where a predictor separates the components its "
                "log odds ratio runs to infinity"
            )
        if np.isinf(self.shift_sd).any():
            reasons.append(
                f"the prior of the slopes of {', '.join(self.covariate_names)} is flat: where a component holds all "
                "the people who differ in a covariate, slope and mean cannot be told apart"
            )
        return reasons

    def refuse_improper(self) -> None:
        """Raise when the posterior has no finite integral.

        Raises
        ------
        PropernessError
            Saying which prior is improper and why that matters for a mixture.
        """
        reasons = self.why_improper()
        if reasons:
            raise PropernessError(
                "this mixture cannot be sampled, its posterior has no finite integral: "
                + "; ".join(reasons)
                + ". Give a proper prior (the defaults are), or use the MAP fit"
            )

    def table(self) -> pd.DataFrame:
        """One row per prior: parameter, distribution, and what it says in the units of the data."""
        if self.weights_flat:
            weights = "flat: maximum likelihood"
        else:
            weights = f"Dirichlet({', '.join(f'{a:g}' for a in self.concentration)})"
        rows = [("weights", weights, _weights_meaning(self.concentration))]
        if self.components_flat:
            rows.append(("means, covariances", "flat: maximum likelihood", "no bound on a component's narrowness"))
        else:
            # the mean of a standardised trait is zero but for rounding
            unit = np.sqrt(np.diag(self.scale))
            mean = ", ".join(f"{m:.4g}" for m in np.where(np.abs(self.mean) < 1e-10 * unit, 0.0, self.mean))
            rows.append(
                ("means", f"Normal(({mean}), covariance / {self.strength:g})", f"worth {self.strength:g} observations")
            )
            rows.append(self._covariance_row())
        for p, name in enumerate(self.predictor_names):
            rows.append((f"effects[{name}]", *self._effect_row(p)))
        for q, name in enumerate(self.covariate_names):
            rows.append((f"shifts[{name}]", *self._shift_row(q)))
        return pd.DataFrame(rows, columns=["parameter", "prior", "meaning"])

    def variance_prior(self, d: int) -> tuple[float, float]:
        """Shape and rate of the inverse-gamma prior of a component's variance of trait ``d``."""
        niw, size = self.niw(), len(self.mean)
        if niw.family.spherical:
            return self.dof / 2.0, float(np.trace(self.scale)) / (2.0 * size)
        freedom = self.dof if niw.family.diagonal else self.dof - size + 1.0
        return freedom / 2.0, float(self.scale[d, d]) / 2.0

    def _covariance_row(self) -> tuple[str, str, str]:
        """What the prior says of covariances, or of variances where the family has nothing else."""
        family = self.niw().family
        shapes, rates = np.array([self.variance_prior(d) for d in range(len(self.mean))]).T
        spread = np.sqrt(rates / np.maximum(shapes, 1e-9))
        if family.spherical or family.diagonal:
            shown = ", ".join(f"{r:.4g}" for r in (rates[:1] if family.spherical else rates))
            density = f"InverseGamma({0.5 * self.dof:g}, {shown})"
        else:
            scale = "; ".join(", ".join(f"{s:.4g}" for s in row) for row in self.scale)
            density = f"InverseWishart({self.dof:g}, [{scale}])"
        sds = ", ".join(f"{name}: {s:.3g}" for name, s in zip(self.trait_names, spread, strict=True))
        return f"covariances ({self.family})", density, f"a component's sd is around {sds}"

    def _shift_row(self, q: int) -> tuple[str, str]:
        sds = self.shift_sd[q]
        if np.isinf(sds).any():
            return "flat: least squares", "no bound on a slope"
        shown = ", ".join(f"{name}: {sd:.3g}" for name, sd in zip(self.trait_names, sds, strict=True))
        return f"Normal(0, sd) with sd {shown}", "slope per unit of the covariate"

    def _effect_row(self, p: int) -> tuple[str, str]:
        sd = self.effect_sd[p]
        if self.n_components == 1:
            return "none", "one component: nothing for a predictor to act on"
        if np.isinf(sd):
            return "flat: maximum likelihood", "an effect that separates the data is infinite"
        means = self.effect_mean[p]
        centre = f"{means[0]:g}" if np.ptp(means) == 0 else f"({', '.join(f'{m:g}' for m in means)})"
        low, high = np.exp(means.min() - 1.96 * sd), np.exp(means.max() + 1.96 * sd)
        return f"Normal({centre}, {sd:g}) on every log odds ratio", f"95% of odds ratios within {low:.3g} to {high:.3g}"

    def __str__(self) -> str:
        return self.table().to_string(index=False)

    def _repr_html_(self) -> str:
        return str(self.table().to_html(index=False))

    def plot(self, **options: Any) -> Figure:
        """Draw the prior densities of weights, means, standard deviations and odds ratios."""
        from bayesgmm.plots.priors import plot_priors

        return plot_priors(self, **options)


def _per_predictor(
    what: str, given: float | Sequence[float] | Mapping[str, float], predictors: Sequence[str], default: float
) -> Array:
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in predictors]
        if unknown:
            raise InputError(
                f"effects prior: {what} names {unknown[0]!r}, which is not a predictor; the predictors are "
                f"{', '.join(predictors) or '(none)'}"
            )
        return np.array([float(given.get(name, default)) for name in predictors])
    values = np.atleast_1d(np.asarray(given, dtype=float))
    if values.size == 1:
        return np.repeat(values, len(predictors))
    if values.shape != (len(predictors),):
        raise InputError(f"effects prior: {what} has {values.size} values for {len(predictors)} predictors")
    return values


def _positive_definite(covariance: Array) -> bool:
    """Whether no trait is, to twelve digits of its variance, a combination of the others."""
    unit = np.sqrt(np.diag(covariance))
    if not (unit > 0.0).all():
        return False
    return float(np.linalg.eigvalsh(covariance / np.outer(unit, unit))[0]) >= 1e-12


def _weights_meaning(concentration: Array) -> str:
    least = concentration.min()
    if least > 1:
        return "no component vanishes from the mode"
    return "uniform on the simplex" if least == 1 else "favours empty components"
