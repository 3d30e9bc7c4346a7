"""Components of a Gaussian mixture whose width is made by a few people who are far from everybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.core.bulk import in_bulk
from bayesgmm.problem_data import has_strays

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit

Array = NDArray[np.float64]

_MOST = 0.5  # of the scatter in a component's width, from which it is no longer the component's own
_FEWEST = 5.0  # people of a component near the others, below which its width is the prior's anyhow


@dataclass(frozen=True)
class WideByStrays:
    """A component whose width in a trait is mostly made by people far from the others.

    Attributes
    ----------
    component : int
    trait : str
    share : float
        Of the scatter in the component's width, what comes from those people or from the prior's scale, which by
        default is the covariance of everybody, them included.
    n_far : float
        Such people.
    farthest : float
        Value of the one who is furthest.
    """

    component: int
    trait: str
    share: float
    n_far: float
    farthest: float

    @property
    def told(self) -> str:
        """What a reader should know of it."""
        who = "1 person is" if self.n_far == 1 else f"{self.n_far:g} people are"
        return (
            f"component {self.component} is wide in {self.trait} by strays: {who} far from all others (the farthest at "
            f"{self.farthest:g}), and {100 * self.share:.0f}% of the scatter in its width is theirs or, through them, "
            "the default prior's. If it is a code for missing, make it NaN; if they are strays, take noise=True; if a "
            "group, one more component. Or give the prior a scale: Priors(components=NormalInverseWishart(scale=...))"
        )


def wide_by_strays(fit: MapFit) -> list[WideByStrays]:
    """Components and traits of which that is so; none where the mixture has a place for strays."""
    problem = fit.problem
    if has_strays(problem.fixed, problem.df):
        return []
    found = []
    people = np.flatnonzero(problem.observed & ~problem.fixed.at_spike(problem.traits))
    weight = np.ones(len(people)) if problem.sample_weight is None else problem.sample_weight[people]
    held = fit.responsibilities.values[people, : problem.n_located] * weight[:, None]
    moved = problem.covariates[people] @ fit.params[names.SHIFTS].values
    for d, trait in enumerate(problem.trait_names):
        values = problem.traits[people, d]
        known = ~np.isnan(values)
        inside = in_bulk(values[known, None], weight[known])
        if inside.all():
            continue
        r, shifted = held[known], (values - moved[:, d])[known]
        n_inside, own = _scatter(r[inside], shifted[inside])
        n_all, whole = _scatter(r, shifted)
        if problem.family.shared:
            own, whole = np.full_like(own, own.sum()), np.full_like(whole, whole.sum())
        whole = whole + problem.priors.scale[d, d]
        share = 1.0 - own / np.where(whole > 0.0, whole, np.inf)
        far = values[known][~inside]
        farthest = float(far[np.argmax(np.abs(far - np.median(values[known])))])
        n_far = float(weight[known][~inside].sum())
        for k in np.flatnonzero((share > _MOST) & (n_inside > _FEWEST) & (n_inside > 0.5 * n_all)):
            found.append(WideByStrays(int(k), trait, float(share[k]), n_far, farthest))
    return found


def _scatter(held: Array, values: Array) -> tuple[Array, Array]:
    """People (K,) and their scatter (K,) about their own mean, by how much each component holds (n, K)."""
    n = held.sum(axis=0)
    mean = (values @ held) / np.maximum(n, 1e-300)
    return n, (held * (values[:, None] - mean) ** 2).sum(axis=0)
