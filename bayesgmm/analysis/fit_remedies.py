"""What would make a mixture fit: richer mixtures of the same values, fitted, and held against it by BIC."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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
_PEOPLE = 5000  # people among whom remedies are compared, where there are more
_RESTARTS = 5
_WORDS = {
    NOISE: "a component for strays (noise=True)",
    TAILS: "Student-t components, whose tails are heavier (df={df!r})",
    COMPONENT: "one more component",
    VARIANCES: "a variance of each component's own (covariance='V')",
    FREER: "a covariance matrix of each component's own (covariance='VVV')",
}
COLUMNS = ["remedy", "change", "words", "bic", "gain"]


@dataclass(frozen=True)
class Remedies:
    """Mixtures with one thing more, and what each gains.

    Attributes
    ----------
    table : pandas.DataFrame
        The best first: ``remedy``, ``change`` (of :class:`bayesgmm.Mixture`), ``words``, ``bic``, ``gain`` (how much
        lower BIC is than that of the mixture as it is).
    """

    table: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=COLUMNS))

    @property
    def best(self) -> str | None:
        """The remedy with the lowest BIC, None where none lowers it."""
        return str(self.table["remedy"].iloc[0]) if len(self.table) and self.table["gain"].iloc[0] > 0.0 else None

    def told(self, besides: str = "") -> str:
        """What would serve, and what serves less, in words; ``besides`` is a remedy that is not a mixture."""
        helping = self.table[self.table["gain"] > 0.0].to_dict("records")
        if not helping:
            tried = " nor ".join(self.table["words"])
            none = f"neither {tried} lowers BIC" if tried else "no mixture with one thing more could be fitted"
            return f"{none}; {besides + ' may serve' if besides else 'the misfit is not worth more parameters'}"
        first, *others = helping
        told = f"{first['words']} would serve: BIC falls by {first['gain']:.0f}"
        if first["gain"] < _SLIGHT:
            told += ", which is little: the misfit is hardly worth more parameters"
        for row in others:
            close = ", which is nearly as good" if first["gain"] - row["gain"] < _ALIKE else ""
            told += f"; with {row['words']} by {row['gain']:.0f}{close}"
        return told + (f"; or {besides} would" if besides else "")


def remedies_of(problem: Problem, values: Array, spike: Array | None, seed: int = 0) -> Remedies:
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
    seed : int, default 0
    """
    weight = problem.sample_weight
    seen = np.flatnonzero(~np.isnan(values).all(axis=1))
    if len(seen) > _PEOPLE:
        seen = np.sort(np.random.default_rng(seed).choice(seen, _PEOPLE, replace=False))
    weight = None if weight is None else weight[seen]

    def fitted(options: dict[str, Any]) -> MapFit | None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FitWarning)  # of a mixture that nobody asked for
            try:
                return Mixture(**options).fit(values[seen], seed=seed, restarts=_RESTARTS, sample_weight=weight)
            except (InputError, SingularComponentError):
                return None  # so few people cannot carry it

    own = _as_it_is(problem, values.shape[1], spike)
    base = fitted(own)
    if base is None:
        return Remedies()
    rows, share = [], 0.0
    for remedy, change in _changes(own, several=values.shape[1] > 1):
        found = fitted(own | change)
        if found is None:
            continue
        if remedy == NOISE:
            share = float(found.params[names.WEIGHTS][found.problem.n_located])
        told = ", ".join(f"{name}={value!r}" for name, value in change.items())
        words = _WORDS[remedy].format(df=change.get("df"))
        rows.append((remedy, told, words, found.bic, base.bic - found.bic))
    table = pd.DataFrame(rows, columns=COLUMNS).sort_values("bic", kind="stable", ignore_index=True)
    return Remedies(table if _are_strays(table, share) else table[table["remedy"] != NOISE].reset_index(drop=True))


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
