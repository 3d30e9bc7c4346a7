"""Which mixtures a selection compares: what was asked for, read and checked, as a grid of models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bayesgmm.analysis.selection_table import CRITERIA
from bayesgmm.checks import check_share, check_whole
from bayesgmm.core.families import FAMILIES, family_of
from bayesgmm.errors import InputError
from bayesgmm.inference.nested import FAILURES, Cell, Key, cells_of
from bayesgmm.model import Mixture
from bayesgmm.priors import Priors
from bayesgmm.problem import Problem
from bayesgmm.study import Study

OF_MODEL = "as the model"  # degrees of freedom, of which None is a value
ENGINES = ("auto", "laplace", "nuts")


@dataclass(frozen=True)
class Grid:
    """Models of one study: numbers of components by families by specifications of all else.

    Attributes
    ----------
    study : Study
    sizes : list of int
    covariances : list of str
    models : list of Mixture
        Formulas of the weights by noise by degrees of freedom; of each the number of components and the family do not
        matter.
    priors : Priors
    """

    study: Study
    sizes: list[int]
    covariances: list[str]
    models: list[Mixture]
    priors: Priors

    @classmethod
    def of(
        cls,
        template: Mixture | None,
        study: Study,
        n_components: int | Iterable[int],
        covariance: str | Sequence[str],
        weights: str | Sequence[str | None] | None,
        noise: Any,
        df: Any,
        *,
        means: str | None,
        priors: Priors | None,
    ) -> Grid:
        """From the arguments of :func:`bayesgmm.select`; what is not given comes from the template."""
        template = Mixture(1) if template is None else template
        if not isinstance(template, Mixture):
            raise InputError(f"model = {template!r}; it must be a bayesgmm.Mixture, from which other options are taken")
        models = [
            replace(template, means=template.means if means is None else means, weights=formula, noise=each, df=tails)
            for formula in _formulas(weights, template)
            for each in _noises(noise, template)
            for tails in _tails(df, template)
        ]
        covariances = _covariances(covariance, len(study.trait_names))
        return cls(study, _sizes(n_components), covariances, models, template.priors if priors is None else priors)

    def cells(self) -> dict[Key, Cell]:
        """A cell of the search for every model; what the study cannot carry has its reason.

        One component has no weights and so is one model whatever the formula: its cells under the formulas are
        ``same_as`` the one without. Where that is not among the models, it is added to them.
        """

        def specify(base: Problem, size: int, family: str) -> Problem:
            return base.respecified(size, family, self.priors, self.models[0].reference)

        bases = [_base(one, self.study) for one in self.models]
        cells = cells_of(bases, self.covariances, self.sizes, specify)
        if 1 not in self.sizes:
            return cells
        for tails in dict.fromkeys(one.df for one in self.models):
            # a formula that the study cannot carry stays, for its reason
            alike = [j for j, one in enumerate(self.models) if _is_alone(one, tails) and isinstance(bases[j], Problem)]
            if len(alike) < 2:
                continue
            listed = next((j for j in alike if self.models[j].weights is None), None)
            if listed is None:
                listed = len(self.models)
                self.models.append(replace(self.models[alike[0]], weights=None))
                base = _base(self.models[listed], self.study)
                added = cells_of([base], self.covariances, [1], specify)
                cells = _renamed(added, listed) | cells
            for j in alike:
                for family in self.covariances:
                    if j != listed:
                        cells[Key(j, family, 1)].same_as = Key(listed, family, 1)
        return cells


def _is_alone(specified: Mixture, tails: Any) -> bool:
    """Whether one component of these tails is all that a model with one has: noise and a spike have weights."""
    return specified.noise is False and specified.spike is None and specified.df == tails


def _renamed(cells: dict[Key, Cell], base: int) -> dict[Key, Cell]:
    """Cells of the base 0 as those of another."""
    return {key._replace(base=base): replace(cell, key=key._replace(base=base)) for key, cell in cells.items()}


def _base(specified: Mixture, study: Any) -> Problem | str:
    """The problem of one formula and kind of components, with one component, or why there is none."""
    try:
        alone = replace(specified, n_components=1, covariance="VVV", reference=0, priors=Priors())
        return Problem.build(alone, study)
    except FAILURES as error:
        return str(error)


def _sizes(given: int | Iterable[int]) -> list[int]:
    if isinstance(given, Study | pd.DataFrame):
        raise InputError(f"n_components is a {type(given).__name__}; give the study first, then the numbers")
    if isinstance(given, str) or not isinstance(given, int | np.integer | Iterable):
        raise InputError(f"n_components = {given!r}; give numbers of components, at least 1, e.g. range(1, 6)")
    listed = list(given) if isinstance(given, Iterable) else [given]
    wrong = [k for k in listed if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1]
    if wrong or not listed:
        raise InputError(f"n_components = {given!r}; give numbers of components, at least 1, e.g. range(1, 6)")
    return sorted({int(k) for k in listed})


def _covariances(given: str | Sequence[str], n_traits: int) -> list[str]:
    if isinstance(given, str):
        if given == "all":
            return ["E", "V"] if n_traits == 1 else list(FAMILIES)
        given = [given]
    listed = list(given)
    if not listed:
        raise InputError("covariance: give at least one family, or 'all'")
    for family in listed:
        Mixture(1, covariance=family)  # which says what the families are
    if n_traits == 1:
        listed = [family_of(family).in_one_trait().name[0] for family in listed]
    return list(dict.fromkeys(listed))


def _formulas(given: str | Sequence[str | None] | None, template: Mixture) -> list[str | None]:
    if given is None:
        return [template.weights]
    listed: list[str | None] = [given] if isinstance(given, str) else list(dict.fromkeys(given))
    if not listed or any(not (f is None or isinstance(f, str)) for f in listed):
        raise InputError(f"weights = {given!r}; give formulas, e.g. [None, 'rs1', 'rs1 + rs2']")
    return listed


def _noises(given: Any, template: Mixture) -> list[bool | float]:
    if given is None:
        return [template.noise]
    listed = list(given) if isinstance(given, list | tuple) else [given]
    if not listed:
        raise InputError("noise: give at least one of False, True, or the volume of its box")
    for each in listed:
        Mixture(1, noise=each)  # which says what is allowed
    # True is 1, and both may be asked for
    return list({(type(each), each): each for each in listed}.values())


def _tails(given: Any, template: Mixture) -> list[Any]:
    if isinstance(given, str) and given == OF_MODEL:
        return [template.df]
    listed = list(given) if isinstance(given, list | tuple) else [given]
    if not listed:
        raise InputError("df: give at least one of None (Gaussian), 'each', 'shared', or a number above 0")
    for each in listed:
        Mixture(1, df=each)
    return list(dict.fromkeys(listed))


def criteria_of(criterion: str, also: Sequence[str]) -> list[str]:
    """Criteria that are asked for, checked."""
    listed = [criterion, *([also] if isinstance(also, str) else also)]
    for name in listed:
        if name not in CRITERIA:
            raise InputError(f"criterion = {name!r}; the criteria are {', '.join(CRITERIA)}")
    return listed


def check_numbers(engine: str, draws: int, bootstrap: int, level: float, restarts: int, workers: int | None) -> None:
    """Raise where a number or the engine is out of bounds."""
    if engine not in ENGINES:
        raise InputError(f"engine = {engine!r}; it must be one of {', '.join(ENGINES)}")
    for name, value, least in (
        ("draws", draws, 800),
        ("bootstrap", bootstrap, 19),
        ("restarts", restarts, 1),
        ("workers", 1 if workers is None else workers, 1),
    ):
        check_whole(name, value, least)
    check_share("level", level)
