"""Whether the posterior has a finite integral, and which parameter of which component is the reason."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesgmm import names
from bayesgmm.core.families import family_of
from bayesgmm.errors import InputError

if TYPE_CHECKING:
    from bayesgmm.model import Mixture
    from bayesgmm.priors.resolved import ResolvedPriors

ALL = "all"  # stands for every component in the table


@dataclass(frozen=True, eq=False)
class Propriety:
    """Whether a posterior is proper, and why.

    Attributes
    ----------
    rows : list of tuple
        Those of :attr:`table`.
    """

    rows: list[tuple[Any, str, bool, str]]

    @property
    def proper(self) -> bool:
        """Whether it has a finite integral, so that it can be sampled."""
        return all(proper for _, _, proper, _ in self.rows)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per parameter: ``component`` (a number, or "all"), ``parameter``, ``proper`` and ``reason``."""
        return pd.DataFrame(self.rows, columns=["component", "parameter", "proper", "reason"])

    @property
    def reasons(self) -> list[str]:
        """Why the posterior has no finite integral, each reason once; empty when it has."""
        return list(dict.fromkeys(reason for _, _, proper, reason in self.rows if not proper))

    @property
    def words(self) -> str:
        """The verdict in words."""
        if self.proper:
            return "the posterior is proper: it has a finite integral and can be sampled"
        return "the posterior has no finite integral: " + "; ".join(self.reasons)

    def __bool__(self) -> bool:
        return self.proper

    def __repr__(self) -> str:
        return f"{self.words}\n{self.table.to_string(index=False)}"

    def _repr_html_(self) -> str:
        return f"<p>{self.words}</p>{self.table.to_html(index=False)}"


def propriety(model: Mixture, study: Any, sample_weight: Any = None) -> Propriety:
    """Whether the posterior of a model and a study has a finite integral.

    Parameters
    ----------
    model : Mixture
    study : Study, DataFrame or ndarray
    sample_weight
        As in :meth:`bayesgmm.Mixture.fit`.

    Returns
    -------
    Propriety
        ``proper``, ``table`` and ``words``; true where proper.

    Examples
    --------
    >>> import numpy as np, bayesgmm as bg
    >>> y = np.random.default_rng(1).normal(size=50)
    >>> bg.propriety(bg.Mixture(2, priors=bg.Priors.jeffreys()), y).proper
    False
    >>> bg.propriety(bg.Mixture(1, priors=bg.Priors.jeffreys()), y).proper
    True
    """
    if not hasattr(model, "n_components"):
        raise InputError(f"propriety: model is a {type(model).__name__}; give a bayesgmm.Mixture, and then the study")
    return model.problem(study, sample_weight).propriety()


def judge(priors: ResolvedPriors, n_people: float | None = None) -> Propriety:
    """Judge resolved priors.

    Parameters
    ----------
    priors : ResolvedPriors
    n_people : float, optional
        People with every trait. None: not known, so that a prior is judged by itself.
    """
    rows: list[tuple[Any, str, bool, str]] = []
    if priors.n_components > 1:
        rows.append((ALL, names.WEIGHTS, True, _why_weights(priors)))
    proper, reason = _components(priors, n_people)
    rows += [(k, parameter, proper, reason) for k in range(priors.n_components) for parameter in _OF_A_COMPONENT]
    if priors.n_components > 1:
        flat = [name for name, sd in zip(priors.predictor_names, priors.effect_sd, strict=True) if np.isinf(sd)]
        for name in priors.predictor_names:
            why = (
                f"the prior of the effect of {', '.join(flat)} is flat: where a predictor separates the components its "
                "log odds ratio runs to infinity"
            )
            rows.append((ALL, f"effects[{name}]", name not in flat, why if name in flat else _PROPER))
    rows += _shifts(priors, n_people)
    return Propriety(rows)


_PROPER = "the prior is proper"
_OF_A_COMPONENT = (names.MEANS, names.COVARIANCES)


def _why_weights(priors: ResolvedPriors) -> str:
    if priors.weights_jeffreys:
        return "Jeffreys' prior of the weights is at most the kernel of Dirichlet(1/2), which is proper"
    return "weights lie on the simplex, where a flat prior is Dirichlet(1)" if priors.weights_flat else _PROPER


def _components(priors: ResolvedPriors, n_people: float | None) -> tuple[bool, str]:
    if not (priors.components_flat or priors.components_jeffreys):
        return True, _PROPER
    rule = "flat" if priors.components_flat else "Jeffreys', which is improper"
    if priors.n_components > 1:
        return False, (
            f"the components' prior is {rule}: with positive probability a component receives no data, its mean and "
            "covariance are then governed by a prior without a finite integral (Grazian and Robert 2018)"
        )
    least = _people_needed(priors)
    if n_people is None:
        return False, (
            f"the components' prior is {rule}: it has no evidence, and a proper posterior only with more than {least} "
            "people with every trait (Mixture.sample counts them)"
        )
    if not n_people > least:
        return False, (
            f"the components' prior is {rule}: it takes more than {least} people with every trait to make the "
            f"posterior of mean and covariance proper, and there are {n_people:g}"
        )
    return True, f"the prior is {rule}; one component with {n_people:g} people, more than {least}, makes up for it"


def _people_needed(priors: ResolvedPriors) -> int:
    """People that one component needs more of, for a posterior with a finite integral under an improper prior.

    Of the inverse Wishart (or gamma) posterior of the covariance: dof n (Jeffreys) or n - D - 2 (flat), which has to be
    above D - 1, and a scatter of full rank, n - 1 at least D; one more of each for every slope without a prior.
    """
    family, size = family_of(priors.family), len(priors.trait_names)
    slopes = len(priors.covariate_names) if np.isinf(priors.shift_sd).any() else 0
    if family.diagonal or family.spherical:
        return slopes + (3 if priors.components_flat else 1)
    return slopes + (2 * size + 1 if priors.components_flat else size)


def _shifts(priors: ResolvedPriors, n_people: float | None) -> list[tuple[Any, str, bool, str]]:
    if not np.isinf(priors.shift_sd).any():
        return [(ALL, f"shifts[{name}]", True, _PROPER) for name in priors.covariate_names]
    listed = ", ".join(priors.covariate_names)
    enough = priors.n_components == 1 and n_people is not None and n_people > _people_needed(priors)
    why = (
        f"the prior of the slopes of {listed} is flat: where a component holds all the people who differ in a "
        "covariate, slope and mean cannot be told apart"
    )
    if priors.n_components == 1:
        why = f"the prior of the slopes of {listed} is flat: proper only with more people with every trait than slopes"
    if enough:
        why = "the prior is flat; one component, and more people than slopes"
    return [(ALL, f"shifts[{name}]", enough, why) for name in priors.covariate_names]
