"""The densities of classes, and their choice by BIC: one Gaussian a class that share covariances, or a mixture each."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.checks import check_traits_can_be_fitted
from bayesgmm.core.families import FAMILIES, ONE_TRAIT, Family, family_of
from bayesgmm.errors import FitWarning, InputError, warn
from bayesgmm.inference.known_labels import LabelledFit, fit_classes
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.prediction import component_log_densities, score
from bayesgmm.inference.search import fit_map
from bayesgmm.model import Mixture
from bayesgmm.priors import Flat, NormalInverseWishart, Priors
from bayesgmm.problem import Problem
from bayesgmm.sklearn.options import counted, fit_under, of_family, variances_alone, within_classes
from bayesgmm.study import Study

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
Rows = list[dict[str, Any]]

CLASS = "class"


@dataclass(frozen=True)
class Search:
    """What is tried, and how it is fitted.

    Attributes
    ----------
    families, sizes
        Covariance families and numbers of components of a class.
    df
        Of Student-t components; None where they are Gaussian.
    priors : Priors
    shrinks : bool
        Whether the scale of the components' prior is the classes' own default; see :func:`shrunk`.
    options : dict
        Of :func:`bayesgmm.inference.search.fit_map`.
    """

    families: Sequence[str]
    sizes: Sequence[int]
    df: Any
    priors: Priors
    shrinks: bool
    options: dict[str, Any]


@dataclass(frozen=True)
class People:
    """Traits of people whose class is known.

    Attributes
    ----------
    traits : ndarray (n_samples, n_traits)
    labels : ndarray of int (n_samples,)
        Place of each person's class among ``classes``.
    classes : list
    weights : ndarray (n_samples,) or None
        Above zero.
    trait_names : sequence of str or None
    """

    traits: Array
    labels: Labels
    classes: list[Any]
    weights: Array | None
    trait_names: Sequence[str] | None

    def study(self, of_class: int | None = None) -> Study:
        """Everybody, or those of one class."""
        chosen = slice(None) if of_class is None else self.labels == of_class
        study = Study.from_array(self.traits[chosen], self.trait_names)
        return study if self.weights is None else study.with_weights(self.weights[chosen])

    def refuse_unknown(self) -> None:
        """Raise where nobody of a class has some trait, so that its mean is not known, or a trait cannot be fitted.

        Raises
        ------
        InputError
            Naming the class and the trait.
        """
        trait_names = self.study().trait_names
        check_traits_can_be_fitted(self.traits, trait_names)
        for c, label in enumerate(self.classes):
            known = ~np.isnan(self.traits[self.labels == c]).all(axis=0)
            if not known.all():
                raise InputError(
                    f"class {label!r} has nobody with the trait {trait_names[int(known.argmin())]!r}, so its mean is "
                    "not known; leave the trait or the class out"
                )

    @cached_property
    def within(self) -> tuple[Array, str]:
        """Covariance within classes (n_traits, n_traits), and what it is in words."""
        return within_classes(self.traits, self.labels, self.weights)


@dataclass(frozen=True)
class SharedFamily:
    """EDDA: one Gaussian a class, of one covariance family (Bensmail and Celeux 1996)."""

    fit: LabelledFit

    @property
    def n_parameters(self) -> int:
        """Free parameters of all classes."""
        return self.fit.n_parameters

    @property
    def log_density(self) -> float:
        """Log density of everybody's traits given their class, where it was fitted."""
        return self.fit.log_density

    def log_densities(self, traits: Array) -> Array:
        """Log density of traits under every class (m, n_classes)."""
        return component_log_densities(self.fit.problem, self.fit.parameters, traits)

    def moments(self) -> tuple[Array, Array]:
        """Mean (n_classes, n_traits) and covariance (n_classes, n_traits, n_traits) of every class."""
        params = self.fit.problem.labelled(self.fit.parameters)
        return params[names.MEANS].values, params[names.COVARIANCES].values


@dataclass(frozen=True)
class OwnMixtures:
    """MclustDA: every class is a mixture of its own (Hastie and Tibshirani 1996; Fraley and Raftery 2002)."""

    fits: list[MapFit]

    @property
    def n_parameters(self) -> int:
        """Free parameters of all classes."""
        return sum(fit.n_parameters for fit in self.fits)

    @property
    def log_density(self) -> float:
        """Log density of everybody's traits given their class, where it was fitted."""
        return sum(fit.log_likelihood for fit in self.fits)

    def log_densities(self, traits: Array) -> Array:
        """Log density of traits under every class (m, n_classes)."""
        return np.column_stack([score(fit.problem, fit.parameters, traits)[1] for fit in self.fits])

    def moments(self) -> tuple[Array, Array]:
        """Mean (n_classes, n_traits) and covariance (n_classes, n_traits, n_traits) of every class as a whole."""
        whole = []
        for fit in self.fits:
            weights, means, covariances = (fit.params[name].values for name in names.PARAMETERS[:3])
            mean = weights @ means
            apart = means - mean
            spread = covariances + apart[:, :, None] * apart[:, None, :]
            whole.append((mean, np.tensordot(weights, spread, 1)))
        return np.stack([mean for mean, _ in whole]), np.stack([covariance for _, covariance in whole])


def families_asked(covariance: Any, n_traits: int) -> list[str]:
    """Names of the families to try, of which no two are the same for so many traits.

    Raises
    ------
    InputError
        If there is no such family, or none is named.
    """
    if isinstance(covariance, str):
        every = FAMILIES if n_traits > 1 else tuple(ONE_TRAIT)
        covariance = every if covariance == "all" else [covariance]
    asked: dict[str, str] = {}
    for name in covariance:
        try:
            family = family_of(name)
        except (KeyError, TypeError):
            raise InputError(f"covariance = {name!r}; it must be a family, a list of families, or 'all'") from None
        asked.setdefault((family.in_one_trait() if n_traits == 1 else family).name, name)
    if not asked:
        raise InputError("covariance names no family; give one, a list of families, or 'all'")
    return list(asked.values())


def shrunk(priors: Priors, family: Family, size: int, within: Array) -> Priors:
    r"""The priors with a scale under which covariances are shrunk to the one within classes.

    The scale is such that the prior's own mode is the covariance :math:`W` within classes (for several components of a
    class, :math:`W / K^{2/D}`). The mode given a class's :math:`n` people with scatter :math:`S` is then

    .. math:: \Sigma = \frac{S + m W}{n + m}

    which is regularised discriminant analysis (Friedman 1989) with a weight of :math:`m` people: ``dof + D + 2`` for
    full matrices (2 D + 4 by default), ``dof + 3`` for diagonal ones, ``(dof + 2) / D + 1`` for spheres.
    """
    components = priors.components
    assert isinstance(components, NormalInverseWishart)
    n_traits = len(within)
    target = of_family(within, family) / size ** (2.0 / n_traits)
    prior = replace(components, scale=target).resolve(np.zeros(n_traits), None, size, family)
    weight = prior.mean_power + prior.covariance_power
    # the density of spheres has the scale's trace once where that of variances has it in every trait
    scale = target * weight * (n_traits if family.spherical else 1)
    return replace(priors, components=replace(components, scale=scale))


def best_shared_family(people: People, search: Search) -> tuple[SharedFamily, Rows]:
    """One Gaussian a class, of the family whose BIC is smallest."""
    n_classes = len(people.classes)
    priors = replace(search.priors, weights=Flat())
    limits = {name: search.options[name] for name in ("max_iterations", "tolerance")}
    study = people.study()

    def fitted(name: str, size: int) -> LabelledFit:
        def under(priors: Priors) -> LabelledFit:
            problem = Mixture(n_classes, name, priors=priors, compress=False, df=search.df).problem(study)
            return fit_classes(problem, people.labels, **limits)

        if search.shrinks:
            return under(shrunk(priors, family_of(name), 1, people.within[0]))
        spare = partial(variances_alone, people.traits, people.weights)
        return fit_under(under, priors, family_of(name), n_classes, spare)

    best, rows = _best(((name, 1) for name in search.families), fitted, "the classes")
    if not best.converged:
        warn(
            f"the classes' covariances did not converge in {limits['max_iterations']} steps; raise max_iterations",
            FitWarning,
        )
    return SharedFamily(best), rows


def best_mixtures(people: People, search: Search) -> tuple[OwnMixtures, Rows]:
    """A mixture for every class, of the size and family whose BIC among the class's people is smallest."""
    fits: list[MapFit] = []
    rows: Rows = []
    for c, label in enumerate(people.classes):

        def fitted(name: str, size: int, study: Study = people.study(c)) -> MapFit:  # noqa: B008
            def under(priors: Priors) -> MapFit:
                model = Mixture(size, name, priors=priors, compress=counted(people.weights), df=search.df)
                return fit_map(Problem.build(model, study, constant_traits=True), **search.options)

            if search.shrinks:
                return under(shrunk(search.priors, family_of(name), size, people.within[0]))
            return fit_under(under, search.priors, family_of(name), size, lambda: people.within)

        best, of_class = _best(_distinct(search), fitted, f"class {label!r}")
        fits.append(best)
        rows += [{CLASS: label} | row for row in of_class]
    return OwnMixtures(fits), rows


def _best[Fit: (LabelledFit, MapFit)](
    candidates: Iterable[tuple[str, int]], fitted: Callable[[str, int], Fit], who: str
) -> tuple[Fit, Rows]:
    """Fit every candidate; the one with the smallest BIC, and a table of all.

    A candidate that fails is a row of the table and no more; what the chosen one warned of is warned of.

    Raises
    ------
    InputError
        If all fail, with the first reason.
    """
    rows: Rows = []
    best: Fit | None = None
    for name, size in candidates:
        row = {"n_components": size, "covariance": name, "n_parameters": np.nan, "bic": np.nan, "chosen": False}
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", FitWarning)
            try:
                fit: Fit = fitted(name, size)
                row |= {"n_parameters": fit.n_parameters, "bic": fit.bic}
            except InputError as error:
                row["note"] = str(error)
                rows.append(row)
                continue
        row["note"] = "; ".join(str(w.message) for w in told if issubclass(w.category, FitWarning))
        if best is None or fit.bic < best.bic:
            best, chosen = fit, row
        rows.append(row)
    if best is None:
        raise InputError(f"{who} cannot be fitted: {rows[0]['note']}")
    chosen["chosen"] = True
    if chosen["note"]:
        warn(f"{who}: {chosen['note']}", FitWarning)
    return best, rows


def _distinct(search: Search) -> list[tuple[str, int]]:
    """Families and sizes to try; of one component there are only spheres, axes and full matrices."""
    chosen, seen = [], set()
    for size, name in product(search.sizes, search.families):
        family = family_of(name)
        kind = (family.spherical, family.diagonal) if size == 1 else family.name
        if (size, kind) not in seen:
            seen.add((size, kind))
            chosen.append((name, size))
    return chosen
