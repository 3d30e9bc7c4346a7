"""What would make a mixture fit: richer mixtures of the same values, fitted, and held against it by BIC."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import yeojohnson

from bayesgmm import names
from bayesgmm.errors import FitWarning, InputError
from bayesgmm.inference.em import SingularComponentError
from bayesgmm.model import Mixture

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]

NOISE, TAILS, COMPONENT, VARIANCES, FREER = "noise", "heavy tails", "component", "variances", "family"

_ALIKE = 6.0  # BIC units within which two remedies can hardly be told apart (Kass and Raftery 1995: beyond, strong)
_SLIGHT = 2.0  # not worth more than a bare mention
_MUCH_BETTER = 10.0  # very strong
_FEW, _MANY = 0.08, 0.25  # of people who may be strays
_STRAYS = 5.0  # people, fewer of whom are strays and no component
_PEOPLE = 5000  # people among whom remedies are compared, where there are more
_HALF = 0.5  # of what a component gains, from which a transform of a skewed trait may stand for it
_RESTARTS = 5
_WORDS = {
    NOISE: "a component for strays (noise=True)",
    TAILS: "Student-t components, whose tails are heavier (df={df!r})",
    COMPONENT: "one more component",
    VARIANCES: "a variance of each component's own (covariance='V')",
    FREER: "a covariance matrix of each component's own (covariance='VVV')",
}
# transforms of a skewed trait, with the logarithm of their derivative: of positive traits Box and Cox's (1964, J. Royal
# Statist. Soc. B 26:211) powers, of others those of Yeo and Johnson (2000, Biometrika 87:954)
_POSITIVE: dict[bool, dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]]] = {
    True: {
        "the square root of the trait": (np.sqrt, lambda y: -0.5 * np.log(y) - np.log(2.0)),
        "the logarithm of the trait": (np.log, lambda y: -np.log(y)),
        "the reciprocal of the trait": (np.reciprocal, lambda y: -2.0 * np.log(y)),
    },
    False: {"the square of the trait": (np.square, lambda y: np.log(2.0 * y))},
}
_YEO_JOHNSON = {True: (0.5, 0.0), False: (1.5, 2.0)}
COLUMNS = ["remedy", "change", "words", "bic", "gain"]


@dataclass(frozen=True)
class Remedies:
    """Mixtures with one thing more, and what each gains.

    Attributes
    ----------
    table : pandas.DataFrame
        The best first: ``remedy``, ``change`` (of :class:`bayesgmm.Mixture`), ``words``, ``bic``, ``gain`` (how much
        lower BIC is than that of the mixture as it is).
    transform : tuple of str and float, or None
        A transform of a skewed trait, and how much lower BIC is with it, the density that of the trait as it was.
    note : str
        What was left out of the table, and why.
    """

    table: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=COLUMNS))
    transform: tuple[str, float] | None = None
    note: str = ""

    @property
    def best(self) -> str | None:
        """The remedy with the lowest BIC, None where none lowers it."""
        return str(self.table["remedy"].iloc[0]) if len(self.table) and self.table["gain"].iloc[0] > 0.0 else None

    def without(self, remedy: str) -> Remedies:
        """All but one."""
        return replace(self, table=self.table[self.table["remedy"] != remedy].reset_index(drop=True))

    def told(self) -> str:
        """What would serve, and what serves less, in words."""
        helping = [(str(row["words"]), float(row["gain"])) for row in self.table.to_dict("records")]
        if self.transform is not None:
            helping.append(self.transform)
        helping = sorted((each for each in helping if each[1] > 0.0), key=lambda each: -each[1])
        note = f"; {self.note}" if self.note else ""
        if not helping:
            tried = list(self.table["words"])
            if not tried:
                return self.note or "no mixture with one thing more could be fitted"
            none = f"neither {' nor '.join(tried)} lowers BIC" if len(tried) > 1 else f"{tried[0]} does not lower BIC"
            return f"{none}{note}; the misfit is not worth more parameters"
        (first, gain), *others = helping
        told = f"{first} would serve: BIC falls by {gain:.0f}"
        if gain < _SLIGHT:
            told += ", which is little: the misfit is hardly worth more parameters"
        for words, less in others:
            close = ", which is nearly as good" if gain - less < _ALIKE else ""
            told += f"; with {words} by {less:.0f}{close}"
        return told + note


def remedies_of(problem: Problem, values: Array, spike: Array | None, skewed: float = 0.0, seed: int = 0) -> Remedies:
    """Fit what might serve to the values alone.

    Predictors of the weights are left out: of one trait, and of several alike, the mixture over all people is one with
    their average weights. Priors are the defaults, so that the remedies are judged alike under any prior.

    Parameters
    ----------
    problem : Problem
        Of the mixture as it is.
    values : ndarray (n, D)
        Of one trait or of all, without what covariates shift; NaN where missing.
    spike : ndarray (D,) or None
        Where the mixture has a spike.
    skewed : float, default 0.0
        Above zero where the trait is skewed further to the right than the mixture, below where to the left: then
        transforms are tried as well.
    seed : int, default 0
    """
    weight = problem.sample_weight
    seen = np.flatnonzero(~np.isnan(values).all(axis=1))
    if len(seen) > _PEOPLE:
        seen = np.sort(np.random.default_rng(seed).choice(seen, _PEOPLE, replace=False))
    weight = None if weight is None else weight[seen]

    def fitted(options: dict[str, Any], of: Array = values[seen]) -> MapFit | None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FitWarning)  # of a mixture that nobody asked for
            try:
                return Mixture(**options).fit(of, seed=seed, restarts=_RESTARTS, sample_weight=weight)
            except (InputError, SingularComponentError):
                return None  # so few people cannot carry it

    own = _as_it_is(problem, values.shape[1], spike)
    base = fitted(own)
    if base is None:
        return Remedies()
    rows, share, lone = [], 0.0, 0.0
    for remedy, change in _changes(own, several=values.shape[1] > 1):
        found = fitted(own | change)
        if found is None:
            continue
        words = _WORDS[remedy].format(df=change.get("df"))
        if remedy == NOISE:
            share = float(found.params[names.WEIGHTS][found.problem.n_located])
        if remedy == COMPONENT and (few := _few_people(found, base)):
            lone, words = few, f"{words} (of {few:.0f} people)"
        told = ", ".join(f"{name}={value!r}" for name, value in change.items())
        rows.append((remedy, told, words, found.bic, base.bic - found.bic))
    table = pd.DataFrame(rows, columns=COLUMNS).sort_values("bic", kind="stable", ignore_index=True)
    remedies = Remedies(table)
    if not _are_strays(table, share):
        remedies = remedies.without(NOISE)
    noise = remedies.table.loc[remedies.table["remedy"] == NOISE, "gain"]
    if lone and ("noise" in own or bool((noise > 0.0).any())):
        note = f"one more component would hold {lone:.0f} people, too few for one: they are strays"
        remedies = replace(remedies.without(COMPONENT), note=note if "noise" in own else "")
    if skewed and spike is None and remedies.best in (COMPONENT, None):
        # a component that only bends a skewed trait means nothing; a transform that does far less than it is none
        transform = _best_transform(values[seen], weight, skewed, base.bic, own, fitted)
        most = float(remedies.table["gain"].max()) if len(remedies.table) else 0.0
        if transform is not None and transform[1] > max(_ALIKE, _HALF * most):
            remedies = replace(remedies, transform=transform)
    return remedies


def _few_people(found: MapFit, base: MapFit) -> float:
    """People of the smallest component, where more components have a few than in the mixture as it is; or 0."""

    def people(fit: MapFit) -> Array:
        r = fit.responsibilities.values[fit.problem.people, : fit.problem.n_located]
        weight = fit.problem.sample_weight
        each: Array = r.sum(axis=0) if weight is None else weight[fit.problem.people] @ r
        return each

    few, before = (each[each < _STRAYS] for each in (people(found), people(base)))
    return max(float(few.min()), 0.5) if len(few) > len(before) else 0.0


def _best_transform(
    values: Array,
    weight: Array | None,
    skewed: float,
    bic: float,
    own: dict[str, Any],
    fitted: Callable[[dict[str, Any], Array], MapFit | None],
) -> tuple[str, float] | None:
    """The transform under which BIC is lowest, in words, and by how much; None where none could be fitted."""
    tried: list[tuple[str, float]] = []
    for words, (transformed, log_slope) in _transforms(values, skewed > 0.0).items():
        found = fitted(own, transformed)
        if found is None:
            continue
        # of the trait as it was: the density of what it is made into, times the derivative
        jacobian = float(np.nansum(log_slope[:, 0] * (1.0 if weight is None else weight)))
        tried.append((words, bic - (found.bic - 2.0 * jacobian)))
    return max(tried, key=lambda each: each[1], default=None)


def _transforms(values: Array, to_the_right: bool) -> dict[str, tuple[Array, Array]]:
    """Transformed values (n, 1) and the logarithm of the derivative there, by what they are called."""
    if np.nanmin(values) > 0.0:
        return {words: (make(values), slope(values)) for words, (make, slope) in _POSITIVE[to_the_right].items()}
    made = {}
    for power in _YEO_JOHNSON[to_the_right]:
        words = f"a power of the trait (Yeo and Johnson's, {power:g}: scipy.stats.yeojohnson)"
        if power == 0.0 and np.nanmin(values) == 0.0:
            words = "the logarithm of one more than the trait"
        seen = ~np.isnan(values)
        transformed = np.full_like(values, np.nan)
        transformed[seen] = yeojohnson(values[seen], power)
        made[words] = transformed, (power - 1.0) * np.sign(values) * np.log1p(np.abs(values))
    return made


def _are_strays(table: pd.DataFrame, share: float) -> bool:
    """Whether noise that holds this share of people holds strays.

    An even component may serve as the flank of any shape. Where it holds more than a few it must be far better than
    anything else, and where it holds many it is no noise.
    """
    if share <= _FEW:
        return True
    of_noise, others = (table.loc[(table["remedy"] == NOISE) == is_noise, "gain"].max() for is_noise in (True, False))
    return share <= _MANY and bool(of_noise > others + _MUCH_BETTER)


def _as_it_is(problem: Problem, n_traits: int, spike: Array | None) -> dict[str, Any]:
    family = problem.family_name
    if n_traits == 1:
        family = "E" if problem.family.equal_volume and len(problem.trait_names) == 1 else "V"
    own: dict[str, Any] = {"n_components": problem.n_located, "covariance": family, "df": problem.df}
    if problem.fixed.noise is not None:
        own["noise"] = True
    if spike is not None:
        own["spike"] = spike.tolist()
    return own


def _changes(own: dict[str, Any], *, several: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """One thing more, each."""
    k = own["n_components"]
    if "noise" not in own:
        yield NOISE, {"noise": True}
    if own["df"] is None:
        yield TAILS, {"df": "each" if k == 1 else "shared"}
    yield COMPONENT, {"n_components": k + 1}
    if several and own["covariance"] != "VVV":
        yield FREER, {"covariance": "VVV"}
    if not several and own["covariance"] == "E" and k > 1:
        yield VARIANCES, {"covariance": "V"}
