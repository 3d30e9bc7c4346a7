"""Priors as numbers: what every engine reads, what they say in words, and whether they are proper."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import gammaincinv

from bayesgmm.core.effect_density import LAPLACE, N_SHAPES, NORMAL, SPIKE_SLAB, STUDENT_T, Pairwise
from bayesgmm.core.families import family_of
from bayesgmm.core.gaussian import NiwPrior
from bayesgmm.core.scale_model import LearnedPairwise, ScaleModel
from bayesgmm.core.tails import Tails
from bayesgmm.core.weights import WeightsPrior
from bayesgmm.errors import PropernessError
from bayesgmm.priors.properness import Propriety, judge

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]


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
        Scale of every pairwise log odds ratio, of a normal its standard deviation, of a spike and slab that of the
        slab; infinite where flat.
    reference : int
    trait_names, predictor_names : tuple of str
    weights_flat, components_flat : bool
    family : str
        Covariance family.
    covariate_names : tuple of str
        Covariates of the means.
    shift_sd : ndarray (n_covariates, n_traits)
        Prior standard deviation of each slope; infinite where flat.
    effect_kind : ndarray (n_predictors,) of int
        Family of each predictor's effects, see :mod:`bayesgmm.core.effect_density`; left out, normal.
    effect_shape : ndarray (n_predictors, 2)
        Student-t: degrees of freedom; spike and slab: prior probability of the slab, and the spike's standard deviation
        as a share of the slab's.
    scales : ScaleModel or None
        Prior of the scales of the effects where they are learned; ``effect_sd`` is then at their prior medians, or at
        those that a MAP fit was given.
    scales_at : ndarray (n_scales,) or None
        Logarithms of the latter; see :mod:`bayesgmm.core.learned_scales`.
    weights_jeffreys : bool
        The weights have Jeffreys' prior; ``concentration`` is that of the Dirichlet that bounds it.
    components_jeffreys : bool
        Each Gaussian has Jeffreys' prior given memberships; its other numbers are zero.
    tails : Tails
        Degrees of freedom of Student-t components: given, or their prior.
    n_fixed : int
        Components, the last ones, that have no mean and covariance: noise and a spike.
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
    weights_jeffreys: bool = False
    components_jeffreys: bool = False
    effect_kind: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    effect_shape: Array = field(default_factory=lambda: np.zeros((0, N_SHAPES)))
    scales: ScaleModel | None = None
    scales_at: Array | None = None
    tails: Tails = field(default_factory=Tails)
    n_fixed: int = 0

    def __post_init__(self) -> None:
        if len(self.effect_kind) != len(self.effect_sd):
            object.__setattr__(self, "effect_kind", np.full(len(self.effect_sd), NORMAL, dtype=np.int64))
            object.__setattr__(self, "effect_shape", np.zeros((len(self.effect_sd), N_SHAPES)))

    @property
    def n_components(self) -> int:
        """Number of components."""
        return len(self.concentration)

    @property
    def label_invariant(self) -> bool:
        """Whether the prior is the same whatever the components that have a mean are called."""
        located = self.concentration[: self.n_components - self.n_fixed]
        return bool(np.ptp(located) == 0.0 and (self.effect_mean == 0.0).all())

    def niw(self) -> NiwPrior:
        """Prior of the components as arrays."""
        if self.components_flat:
            return NiwPrior.flat(len(self.mean), family_of(self.family))
        if self.components_jeffreys:
            return NiwPrior.jeffreys(len(self.mean), family_of(self.family))
        return NiwPrior(self.mean, self.strength, self.dof, self.scale, family_of(self.family))

    def weights_prior(self) -> WeightsPrior:
        """Prior of the weights and effects as arrays, contrasts against component 0."""
        full = np.insert(self.effect_mean, self.reference, 0.0, axis=1)
        return WeightsPrior(
            self.concentration, full[:, 1:] - full[:, :1], self.effect_sd, self.effect_kind, self.effect_shape
        )

    def pairwise_effect(self, p: int) -> Pairwise | LearnedPairwise:
        """Prior of every pairwise log odds ratio of predictor ``p`` about its mean; of no meaning where flat."""
        if self.scales is not None and self.scales.learned[p]:
            return self.scales.pairwise(p)
        shape = tuple(float(x) for x in self.effect_shape[p])
        return Pairwise(int(self.effect_kind[p]), shape, float(self.effect_sd[p]), self.n_components)

    def propriety(self, n_people: float | None = None) -> Propriety:
        """Whether the posterior is proper, parameter by parameter and with reasons.

        Parameters
        ----------
        n_people : float, optional
            People with every trait, which can make up for an improper prior where there is one component; None: not
            known. :func:`bayesgmm.propriety` counts them.
        """
        return judge(self, n_people)

    def why_improper(self, n_people: float | None = None) -> list[str]:
        """Reasons why the posterior has no finite integral; empty when it has. See :meth:`propriety`."""
        return self.propriety(n_people).reasons

    def refuse_improper(self, n_people: float | None = None) -> None:
        """Raise when the posterior has no finite integral.

        Raises
        ------
        PropernessError
            Saying which prior is improper and why that matters for a mixture.
        """
        reasons = self.why_improper(n_people)
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
        if self.weights_jeffreys:
            rows = [("weights", "Jeffreys: sqrt(det I(weights))", "small weights for superfluous components")]
        if self.components_flat:
            rows.append(("means, covariances", "flat: maximum likelihood", "no bound on a component's narrowness"))
        elif self.components_jeffreys:
            rows.append(("means, covariances", "Jeffreys given memberships", "improper: no bound on narrowness"))
        else:
            # the mean of a standardised trait is zero but for rounding
            unit = np.sqrt(np.diag(self.scale))
            mean = ", ".join(f"{m:.4g}" for m in np.where(np.abs(self.mean) < 1e-10 * unit, 0.0, self.mean))
            rows.append(
                ("means", f"Normal(({mean}), covariance / {self.strength:g})", f"worth {self.strength:g} observations")
            )
            rows.append(self._covariance_row())
        if self.tails.n_free:
            rows.append(self._df_row())
        for p, name in enumerate(self.predictor_names):
            rows.append((f"effects[{name}]", *self._effect_row(p)))
        if self.scales is not None:
            rows += self.scales.rows()
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

    def _df_row(self) -> tuple[str, str, str]:
        shape, rate = self.tails.shape, self.tails.rate
        if not rate > 0.0:
            return "df", "flat: maximum likelihood", "no bound: a Gaussian is at infinity"
        low, high = gammaincinv(shape, [0.025, 0.975]) / rate
        return "df", f"Gamma({shape:g}, {rate:g})", f"95% of degrees of freedom within {low:.3g} to {high:.3g}"

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
        is_normal = self.effect_kind[p] == NORMAL and (self.scales is None or not self.scales.learned[p])
        reach = 1.96 * sd if is_normal else self.pairwise_effect(p).reach(0.95)
        with np.errstate(over="ignore"):
            low, high = np.exp(means.min() - reach), np.exp(means.max() + reach)
        return self._effect_density(p, centre), f"95% of odds ratios within {low:.3g} to {high:.3g}"

    def _effect_density(self, p: int, centre: str) -> str:
        """The prior of one predictor's effects by its name and numbers."""
        kind, scale, (first, second) = self.effect_kind[p], self.effect_sd[p], self.effect_shape[p]
        if kind == STUDENT_T:
            name = f"Cauchy({centre}, {scale:g})" if first == 1.0 else f"StudentT({first:g}, {centre}, {scale:g})"
        elif kind == LAPLACE:
            name = f"Laplace({centre}, {scale:.4g})"
            if self.n_components > 2:
                return f"{name} on all log odds ratios together (group lasso)"
        elif kind == SPIKE_SLAB:
            name = f"{first:g} Normal({centre}, {scale:g}) + {1.0 - first:g} Normal({centre}, {second * scale:g})"
        elif self.scales is not None and self.scales.learned[p]:
            name = f"Normal({centre}, {self.scales.words(p)})"
        else:
            name = f"Normal({centre}, {scale:g})"
        return f"{name} on every log odds ratio"

    def __str__(self) -> str:
        return self.table().to_string(index=False)

    def _repr_html_(self) -> str:
        return str(self.table().to_html(index=False))

    def plot(self, **options: Any) -> Figure:
        """Draw the prior densities of weights, means, standard deviations and odds ratios."""
        from bayesgmm.plots.priors import plot_priors

        return plot_priors(self, **options)


def _weights_meaning(concentration: Array) -> str:
    least = concentration.min()
    if least > 1:
        return "no component vanishes from the mode"
    return "uniform on the simplex" if least == 1 else "favours empty components"
