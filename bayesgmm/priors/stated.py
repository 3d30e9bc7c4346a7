r"""Priors of the mixture: what a person states, and the numbers it resolves to once the data are known.

The families and their defaults are those of the design: Dirichlet baseline weights, Normal-Inverse-Wishart
components, and label-invariant effects on the log odds (:mod:`bayesgmm.priors.effects`), normal unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesgmm.core.effect_density import N_SHAPES, NORMAL
from bayesgmm.core.families import Family
from bayesgmm.core.gaussian import UNRESTRICTED, NiwPrior
from bayesgmm.core.tails import Tails
from bayesgmm.errors import InputError, SingularTraitsError
from bayesgmm.priors.effects import (
    EffectNumbers,
    EffectsPrior,
    LogOddsNormal,
    PredictorFacts,
    Spread,
)
from bayesgmm.priors.reference import Jeffreys, JeffreysWeights
from bayesgmm.priors.resolved import ResolvedPriors

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Dirichlet:
    """Dirichlet prior of the baseline weights.

    Parameters
    ----------
    concentration : float or sequence of float, default 2.0
        One number for every component or one each. At 2 components do not vanish from the mode; at 1 the prior is
        uniform on the simplex; at 0.5 it is Jeffreys' prior were memberships known; below 1 it favours empty
        components.

    Notes
    -----
    Below 1 the density has no highest point. The fit is then at the boundary: components die, and it is of those that
    are left (:mod:`bayesgmm.inference.boundary`).

    For an unknown number of components ask for more than there can be, with a small concentration. As people grow in
    number the superfluous ones empty if every concentration is below ``d / 2``, with ``d`` the free parameters of one
    component (D + D(D+1)/2 for VVV: 2 for one trait), and some merge instead if every one is above (Rousseau and
    Mengersen 2011, J. Royal Statist. Soc. B 73:689). That is a limit, reached slowly: with hundreds of people and one
    trait, where the bound is 1, a concentration of 0.5 still leaves components of a few people occupied, 0.1 or 0.01
    does not. The sampler pays for it: at 0.01 the log weight of an empty component has a standard deviation of 100, and
    chains no longer mix (:func:`bayesgmm.occupied` says so). Use 0.1 to 0.5 with ``tune=2000`` for a posterior, and as
    little as you like for the fit.
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
        ``m0``, in the traits' units. Default: the sample mean (of whom, see ``scale``).
    strength : float, default 0.01
        ``kappa0``: how many observations the prior mean is worth.
    dof : float, optional
        ``nu0``; above ``n_traits - 1``. Default: ``n_traits + 2``.
    scale : array_like (n_traits, n_traits) or float, optional
        ``Psi0``, in the traits' units squared; a number means that multiple of the identity. Default:
        ``S / K^(2/D)`` with ``S`` the sample covariance (Fraley and Raftery 2007, J. Classification 24:155); with noise
        or Student-t components that of the people who are not far from the others.

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
            if covariance is None or not positive_definite(covariance):
                raise SingularTraitsError(
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
class DfGamma:
    """Gamma prior of the degrees of freedom of Student-t components.

    Parameters
    ----------
    shape : float, default 2.0
    rate : float, default 0.1
        With the defaults 95% of the prior lies between 2.4 and 56, and its mode is at 10 (Juarez and Steel 2010, J.
        Business and Economic Statistics 28:52).
    """

    shape: float = 2.0
    rate: float = 0.1

    def resolve(self, n_components: int, df: float | str | None) -> Tails:
        """Numbers for so many components of these degrees of freedom.

        Raises
        ------
        InputError
            If an argument is out of bounds.
        """
        for name in ("shape", "rate"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0.0):
                raise InputError(f"df prior: {name} = {value!r}; it must be above 0 and finite")
        if isinstance(df, str) and self.shape < 1.0:
            raise InputError(f"df prior: shape = {self.shape!r}; below 1 the density has no bound at zero")
        return tails_of(n_components, df, self.shape, self.rate)


_FIRST_DF = 10.0  # where an estimate of the degrees of freedom starts


def tails_of(n_components: int, df: float | str | None, shape: float, rate: float) -> Tails:
    """What is known of degrees of freedom that are given, or estimated under a gamma prior."""
    if df is None:
        return Tails()
    if isinstance(df, str):
        free = n_components if df == "each" else 1
        return Tails(np.full(n_components, _FIRST_DF), free, float(shape), float(rate))
    return Tails(np.full(n_components, float(df)))


@dataclass(frozen=True)
class Flat:
    """No prior: maximum likelihood for this part of the model. Improper, so such a model cannot be sampled."""


@dataclass(frozen=True)
class Priors:
    """The priors of a mixture.

    Parameters
    ----------
    weights : Dirichlet, JeffreysWeights or Flat
        Baseline weights.
    components : NormalInverseWishart, Jeffreys or Flat
        Means and covariances.
    effects : LogOddsNormal, another of the ``LogOdds...`` families, or Flat
        Log odds ratios of the predictors.
    shifts : ShiftsNormal or Flat
        Slopes of the covariates of the means.
    df : DfGamma or Flat
        Degrees of freedom of Student-t components, where they are estimated.
    """

    weights: Dirichlet | JeffreysWeights | Flat = field(default_factory=Dirichlet)
    components: NormalInverseWishart | Jeffreys | Flat = field(default_factory=NormalInverseWishart)
    effects: EffectsPrior | Flat = field(default_factory=LogOddsNormal)
    shifts: ShiftsNormal | Flat = field(default_factory=ShiftsNormal)
    df: DfGamma | Flat = field(default_factory=DfGamma)

    @classmethod
    def flat(cls) -> Priors:
        """Priors under which the MAP is the maximum likelihood estimate."""
        return cls(weights=Flat(), components=Flat(), effects=Flat(), shifts=Flat(), df=Flat())

    @classmethod
    def jeffreys(cls) -> Priors:
        """Jeffreys' rule given memberships, for the weights (``Dirichlet(0.5)``) and each Gaussian (``Jeffreys()``).

        Improper: the MAP warns, a mixture cannot be sampled, one component with enough people can. Effects and slopes
        keep their proper defaults. See :mod:`bayesgmm.priors.reference`.
        """
        return cls(weights=Dirichlet(0.5), components=Jeffreys())

    def with_value(self, path: str, value: Any) -> Priors:
        """The same priors with one hyperparameter, or one whole prior, replaced.

        Parameters
        ----------
        path : str
            ``"effects.sd"``, ``"weights.concentration"``, ``"components.strength"``: a prior and its argument;
            ``"effects.sd.rs1"``: the argument of one predictor (or covariate); ``"effects"``: the prior itself.
        value
            Of the argument, or a prior.

        Raises
        ------
        InputError
            If there is no such hyperparameter.
        """
        section, *rest = path.split(".", 2)
        known = [f.name for f in fields(self)]
        if section not in known:
            raise InputError(f"hyperparameter {path!r}: there is no prior of {section!r}; there are {', '.join(known)}")
        prior = getattr(self, section)
        if not rest:
            return replace(self, **{section: value})
        argument, *member = rest
        arguments = [f.name for f in fields(prior)]
        if argument not in arguments:
            raise InputError(
                f"hyperparameter {path!r}: the prior of {section} is {type(prior).__name__}, which has "
                f"{', '.join(arguments) or 'no arguments'}"
            )
        if member:
            value = _with_member(path, getattr(prior, argument), member[0], value)
        return replace(self, **{section: replace(prior, **{argument: value})})

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
        predictor_sds: Array | None = None,
        n_people: float = 1.0,
        n_fixed: int = 0,
        df: float | str | None = None,
    ) -> ResolvedPriors:
        """Turn defaults into numbers for these data.

        Parameters
        ----------
        mean : ndarray (n_traits,)
            Of the sample.
        covariance : ndarray (n_traits, n_traits) or None
            Of the sample; None where there are too few people for one.
        n_components : int
            That have a mean and a covariance.
        trait_names, predictors : sequence of str
        reference : int
            Component against which a nonzero effect mean is stated.
        family : Family
            Covariance family.
        covariates : mapping, optional
            Covariates of the means and their standard deviations.
        predictor_sds : ndarray (n_predictors,), optional
            Standard deviations of the predictors; left out, one.
        n_people : float
            With traits.
        n_fixed : int
            Further components, noise and a spike.
        df : float, "each", "shared" or None
            Degrees of freedom of Student-t components; None: Gaussian.

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
        n_all = n_components + n_fixed
        concentration = np.ones(n_all) if isinstance(self.weights, Flat) else self.weights.resolve(n_all)
        flat_components = isinstance(self.components, Flat)
        if isinstance(self.components, Flat):
            niw = NiwPrior.flat(size, family)
        elif isinstance(self.components, Jeffreys):
            niw = self.components.resolve(size, family)
        else:
            niw = self.components.resolve(mean, covariance, n_components, family)
        jeffreys_weights = isinstance(self.weights, JeffreysWeights) and n_all > 1
        if jeffreys_weights and (n_fixed or df is not None):
            raise InputError(
                "weights prior: Jeffreys' is of weights of Gaussians alone; use Dirichlet(0.5) with noise, a spike or "
                "Student-t components"
            )
        if jeffreys_weights and predictors:
            raise InputError(
                "weights prior: Jeffreys' is of weights that are the same for everybody, and here they depend on "
                f"{', '.join(predictors)}; use Dirichlet(0.5), or leave the predictors out"
            )
        if isinstance(self.effects, Flat):
            n = len(predictors)
            kind = np.full(n, NORMAL, dtype=np.int64)
            effects = EffectNumbers(np.zeros(n), np.full(n, np.inf), kind, np.zeros((n, N_SHAPES)))
        else:
            sds = np.ones(len(predictors)) if predictor_sds is None else predictor_sds
            effects = self.effects.resolve(predictors, PredictorFacts(sds, n_people, n_all))
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
            effect_mean=np.repeat(effects.mean[:, None], n_all - 1, axis=1),
            effect_sd=effects.scale,
            effect_kind=effects.kind,
            effect_shape=effects.shape,
            scales=effects.scales,
            reference=reference,
            trait_names=names,
            predictor_names=tuple(predictors),
            weights_flat=isinstance(self.weights, Flat),
            components_flat=flat_components,
            family=family.name,
            covariate_names=tuple(covariates),
            shift_sd=shift_sd,
            weights_jeffreys=jeffreys_weights,
            components_jeffreys=isinstance(self.components, Jeffreys),
            tails=(
                tails_of(n_components, df, 1.0, 0.0) if isinstance(self.df, Flat) else self.df.resolve(n_components, df)
            ),
            n_fixed=n_fixed,
        )


def _with_member(path: str, given: Any, member: str, value: Any) -> Any:
    """One predictor's value in an argument that is one number for all, or a mapping."""
    if isinstance(given, Spread):
        return Spread(given.other, {**given, member: value})
    if isinstance(given, Mapping):
        return {**given, member: value}
    if np.ndim(given) == 0 and given is not None:
        return Spread(given, {member: value})
    raise InputError(
        f"hyperparameter {path!r}: {path.rsplit('.', 1)[0]} is given as a sequence; give it as a mapping by name"
    )


def positive_definite(covariance: Array) -> bool:
    """Whether no trait is, to twelve digits of its variance, a combination of the others."""
    unit = np.sqrt(np.diag(covariance))
    if not (unit > 0.0).all():
        return False
    return float(np.linalg.eigvalsh(covariance / np.outer(unit, unit))[0]) >= 1e-12
