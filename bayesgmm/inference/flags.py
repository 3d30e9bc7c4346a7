"""What should worry the reader of a fit: small components, spikes, separation, no convergence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bayesgmm import names
from bayesgmm.core.effect_density import SPIKE_SLAB, log_odds_of_slab
from bayesgmm.core.labels import canonical_order
from bayesgmm.core.small_facts import SPIKE_FEWEST, SPIKE_LEAST, SPIKE_NARROW, SPIKE_NEXT, SPIKE_SHARE
from bayesgmm.inference.strays import wide_by_strays
from bayesgmm.inference.trait_values import FarValue, FewValues, of_trait, spike_advice

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit

_FEW_VALUES = 3.0  # a component with fewer values of traits than this, per parameter of its own, is flagged
_MUCH_NOISE = 0.25  # of people: an even component of more is the shape of many
_SHOWN = 5  # predictors named in one message
_NO_EFFECT = 1e-2  # log odds per sd of a predictor, below which an effect is next to none
_WIDE_EFFECT = 10.0  # a log odds ratio beyond this separates the data


@dataclass(frozen=True)
class PointMass:
    """One value of a trait that most people of a component have.

    Attributes
    ----------
    component, trait : int
    value : float
    n_there, n_people : int
        People of the component with this value, and all of them.
    few : FewValues or None
        The values of the trait, where it has few.
    far : FarValue or None
        Where the value may be no measurement.
    advice : str
        How to state the point mass.
    """

    component: int
    trait: int
    value: float
    n_there: int
    n_people: int
    few: FewValues | None
    far: FarValue | None
    advice: str

    def told(self, trait_names: Sequence[str]) -> str:
        """What a reader should know of it."""
        trait = trait_names[self.trait]
        there = f"{self.n_there} of its {self.n_people} people have {self.value:g}"
        if self.few is not None:
            return (
                f"component {self.component} is one value of {trait}: {there}. {trait} takes {self.few.told}, and a "
                "mixture of normals is of a measured trait"
            )
        whole = f"component {self.component} is a spike of {trait}: {there}, and its width is set by the prior or by "
        whole += "what is near. "
        if self.far is not None:
            whole += f"{_capital(self.far.asked)} Then make it missing (NaN). If it was measured: {self.advice}"
            return whole
        return f"{whole}{_capital(self.advice)}"


def point_masses(fit: MapFit) -> list[PointMass]:
    """Components that are, but for a few people, at one value of a trait.

    Their density beside that value is a Gaussian's and there is nobody: no check of the fitted density against the
    people sees it, since the density is as high where the people are as it has to be. A trait that is rounded has
    repeated values everywhere, and is not meant.
    """
    problem = fit.problem
    likeliest = fit.responsibilities.values > 0.5
    found = []

    def mass(k: int, d: int, value: float, n_there: int, n_people: int) -> PointMass:
        few, far = of_trait(problem, d)
        here = next((each for each in far if each.value == value), None)
        advice = spike_advice(problem, d, value, problem.n_located - 1)
        return PointMass(k, d, value, n_there, n_people, few, here, advice)

    for k in range(problem.n_located):
        spread = np.sqrt(np.diag(fit.params[names.COVARIANCES].values[k])) / problem.spread
        for d in range(len(problem.trait_names)):
            values = problem.traits[likeliest[:, k] & problem.observed & ~np.isnan(problem.traits[:, d]), d]
            if len(values) < SPIKE_FEWEST:
                continue
            each, counts = np.unique(values, return_counts=True)
            order = np.argsort(counts)[::-1]
            most, next_most = counts[order[0]], counts[order[1]] if len(order) > 1 else 0
            stands_out = most >= max(SPIKE_LEAST, SPIKE_SHARE * len(values)) and next_most <= SPIKE_NEXT * most
            if len(each) == 1 or stands_out or spread[d] < SPIKE_NARROW:
                found.append(mass(k, d, float(each[order[0]]), int(most), len(values)))
    return found


def find_flags(fit: MapFit) -> list[tuple[int | None, str, str]]:
    """Findings as (component or None, flag, message)."""
    problem = fit.problem
    found: list[tuple[int | None, str, str]] = []
    if fit.emptied is not None and fit.n_emptied:
        by_score = fit.n_emptied - fit.emptied.n_by_em
        how = f", {by_score} of them since the others score higher without (fit.survivors)" if by_score else ""
        found.append((None, "emptied", f"{fit.n_emptied} of {fit.emptied.n_asked} components emptied{how}"))
    r = fit.responsibilities.values[problem.people]
    people = r.sum(axis=0) if problem.sample_weight is None else problem.sample_weight[problem.people] @ r
    size = len(problem.trait_names)
    own = size + problem.family.n_parameters(2, size) - problem.family.n_parameters(1, size)
    masses = point_masses(fit)
    for k, count in enumerate(people[: problem.n_located]):
        if count * size < _FEW_VALUES * own:
            found.append(
                (
                    k,
                    "few people",
                    f"component {k} holds {count:.1f} people for {own} parameters of its own, which lean on the prior; "
                    "compare fewer components or a family with fewer parameters",
                )
            )
        for mass in masses:
            if mass.component == k:
                found.append((k, "spike", mass.told(problem.trait_names)))
    found += [(wide.component, "wide by strays", wide.told) for wide in wide_by_strays(fit)]
    if problem.fixed.noise is not None and people[problem.n_located] > _MUCH_NOISE * people.sum():
        share = 100.0 * people[problem.n_located] / people.sum()
        found.append(
            (
                None,
                "much noise",
                f"noise holds {share:.0f}% of people, too many to be strays; compare one more component in its place",
            )
        )
    effects = fit.params[names.EFFECTS]
    for p, predictor in enumerate(problem.predictor_names):
        for c, contrast in enumerate(problem.contrasts):
            value = float(effects.values[p, c])
            if abs(value) * max(float(np.ptp(problem.predictors[:, p])), 1e-300) > 2 * _WIDE_EFFECT:
                found.append(
                    (
                        None,
                        "separation",
                        f"{predictor}, {contrast}: log odds ratio {value:.1f}; the predictor nearly separates the "
                        "components, so the size of the effect is decided by its prior",
                    )
                )
    if (canonical_order(fit.parameters.means) != np.arange(problem.n_located)).any():
        found.append(
            (
                None,
                "out of order",
                "the prior tells the components apart, and under it they are not in the order of their means: what it "
                "says of them and the data disagree",
            )
        )
    found += _held_effects(fit)
    found += _given_scales(fit)
    if (
        problem.priors.scales is not None
        and len(fit.parameters.beta)
        and np.abs(fit.parameters.beta).max() < _NO_EFFECT
    ):
        found.append(
            (
                None,
                "scales at nothing",
                "the mode of the learned scales is next to nothing, and with it every effect; that is a property of "
                "such modes and not of the data: sample the posterior",
            )
        )
    if not fit.converged:
        found.append((None, "not converged", f"not converged: {fit.reason}"))
    if not fit.strict:
        found.append((None, "no curvature", "the log posterior is flat or rises in some direction at the estimate"))
    return found


def _held_effects(fit: MapFit) -> list[tuple[int | None, str, str]]:
    """Effects at the kink of a Laplace prior or in the spike of a spike and slab: what their numbers mean."""
    prior, beta, labels = fit.problem.arrays.weights_prior, fit.parameters.beta, fit.problem.predictor_names
    found: list[tuple[int | None, str, str]] = []
    if not len(beta) or fit.problem.n_components == 1:
        return found
    kinked = [label for label, at in zip(labels, prior.at_kink(beta), strict=True) if at]
    if kinked:
        message = (
            f"{_listed(kinked)}: exactly at the Laplace prior's centre, from which the data do not pull hard enough; "
            "such an effect has no standard error at the mode, and those of the others are given that it is there. "
            "Sample the posterior for intervals"
        )
        found.append((None, "held at the prior", message))
    spiked = prior.effect_kind == SPIKE_SLAB
    if spiked.any():
        odds = np.full(len(beta), np.inf)
        shape, u = prior.effect_shape[spiked], prior.squared_lengths(beta)[spiked]
        odds[spiked] = log_odds_of_slab(u, prior.n_components - 1, shape[:, 0], shape[:, 1])
        within = [label for label, value in zip(labels, odds, strict=True) if value < 0.0]
        if within:
            message = (
                f"{_listed(within)}: in the spike of the prior at this mode, and the standard error is the spike's; "
                "other modes may have them in the slab. Sample the posterior for inclusion probabilities"
            )
            found.append((None, "in the spike", message))
    return found


def _capital(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}"


def _listed(labels: list[str]) -> str:
    shown = ", ".join(labels[:_SHOWN])
    return shown if len(labels) <= _SHOWN else f"{shown} and {len(labels) - _SHOWN} more"


def _given_scales(fit: MapFit) -> list[tuple[int | None, str, str]]:
    """Scales of the effects that the posterior learns and a MAP fit is given."""
    priors = fit.problem.priors
    if priors.scales is None:
        return []
    where = "their prior medians"
    if priors.scales_at is not None:
        told = priors.scales.told(priors.scales_at)
        where = f"the mode of their own posterior by Laplace's approximation ({told})"
    message = (
        f"the scales of the effects are learned by the posterior; this fit is given them at {where}, and its effects "
        "and errors are conditional on that. Sample the posterior"
    )
    return [(None, "scales given", message)]
