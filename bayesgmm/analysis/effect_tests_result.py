"""What tests of effects say: a table with the advice which to trust, verdicts in words, a picture, a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesgmm.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

# the tests, the first that is recommended of them to be trusted most
BY_TRUST = ("permutation", "bootstrap", "score", "lr")
IN_WORDS = {
    "lr": "likelihood ratio",
    "score": "score",
    "permutation": "permutation",
    "bootstrap": "parametric bootstrap",
}
COLUMNS = ("predictors", "test", "statistic", "df", "p_value", "p_error", "draws", "recommended", "advice")
_STRENGTHS = (
    (0.001, "strong evidence of an effect"),
    (0.01, "evidence of an effect"),
    (0.05, "weak evidence of an effect"),
)
_DIGITS = {"p_value": "{:.2g}", "p_error": "{:.1g}", "statistic": "{:.2f}"}
_LEVEL = 0.05  # on the two sides of which recommended tests contradict each other
MOST_FLOOR = 19  # replicates below which the smallest p-value, 1 / (1 + replicates), is above that level
STRONG = 999  # replicates from which it can be strong evidence


class EffectTests(pd.DataFrame):
    """What :func:`test_effect` returns: one row a test of one effect, or of several that were joined.

    Columns: ``predictors`` (what was tested), ``test``, ``statistic``, ``df``, ``p_value``, ``p_error`` (Monte Carlo
    standard error; 0 for chi-square), ``draws``, ``recommended`` and ``advice``, which says why or why not.

    Attributes
    ----------
    facts : pandas.DataFrame
        One row an effect, what the advice rests on: ``predictors``, ``smallest_component``, how many ``people`` are
        expected in it, how many ``carriers`` of the rarer genotypes (or of the others, if fewer), and the share of its
        membership's information that is ``known``. Of one effect, ``attrs`` has these too.
    replicates : dict
        By (predictors, test): the statistic of every permutation, or of every simulated study (NaN without a fit).
    """

    _metadata: ClassVar[list[str]] = ["facts", "replicates"]  # pandas carries these along

    facts: pd.DataFrame
    replicates: dict[tuple[str, str], Array]

    @classmethod
    def build(
        cls, table: pd.DataFrame, facts: pd.DataFrame, replicates: Mapping[tuple[str, str], Array]
    ) -> EffectTests:
        """Attach to a table what it rests on."""
        tests = cls(table)
        tests.facts, tests.replicates = facts, dict(replicates)
        if len(facts) == 1:
            tests.attrs |= {str(k): v for k, v in facts.iloc[0].items() if k != "predictors"}
        return tests

    @classmethod
    def joined(cls, several: Sequence[EffectTests]) -> EffectTests:
        """Tests of several effects in one table.

        Raises
        ------
        InputError
            If there are none, or an effect is there twice.
        """
        strange = [type(tests).__name__ for tests in several if not isinstance(tests, EffectTests)]
        if strange:
            raise InputError(
                f"joined: given a {strange[0]}; give what bayesgmm.test_effect returned, several in a list"
            )
        tested = [name for tests in several for name in tests.effects]
        if not tested:
            raise InputError("joined: give the tests of one effect or more")
        twice = [name for i, name in enumerate(tested) if name in tested[:i]]
        if twice:
            raise InputError(f"joined: {twice[0]!r} was tested twice; keep one of them")
        tables = [pd.DataFrame({name: tests[name] for name in tests.columns}) for tests in several]
        return cls.build(
            pd.concat(tables, ignore_index=True),
            pd.concat([tests.facts for tests in several], ignore_index=True),
            {key: values for tests in several for key, values in tests.replicates.items()},
        )

    @property
    def effects(self) -> list[str]:
        """What was tested."""
        return list(dict.fromkeys(self["predictors"]))

    @property
    def verdicts(self) -> dict[str, str]:
        """Of every effect one sentence: what the most trustworthy of the recommended tests says, and who disagrees."""
        return {name: _verdict(self[self["predictors"] == name]) for name in self.effects}

    # takes the place of pandas' own plots, which say nothing about such a table
    def plot(self, **options: Any) -> Figure:  # type: ignore[override]
        """Draw every statistic beside those without an effect: chi-square, permutations, simulated studies."""
        from bayesgmm.plots.effect_tests import plot_effect_tests

        return plot_effect_tests(self, **options)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the table to ``.tsv``; or all of it to ``.nc`` or ``.zarr``, for :func:`read_effect_tests`."""
        from bayesgmm.analysis.effect_tests_storage import save_effect_tests

        save_effect_tests(self, path)

    def __repr__(self) -> str:
        if not hasattr(self, "facts") or list(self.columns) != list(COLUMNS):
            return repr(pd.DataFrame(self))  # a part of the table
        told = "\n".join(f"{name}: {words}" for name, words in self.verdicts.items())
        return f"{told}\n{self.readable.to_string(index=False)}"

    @property
    def readable(self) -> pd.DataFrame:
        """The table with as many digits as can be read."""
        columns = {name: self[name].map(_DIGITS[name].format) if name in _DIGITS else self[name] for name in COLUMNS}
        return pd.DataFrame(columns)

    def _repr_html_(self) -> str:
        if not hasattr(self, "facts") or list(self.columns) != list(COLUMNS):
            return str(pd.DataFrame(self).to_html())
        told = "".join(f"<li>{escape(f'{name}: {words}')}</li>" for name, words in self.verdicts.items())
        return f"<ul>{told}</ul>{self.readable.to_html(index=False)}"


def _verdict(table: pd.DataFrame) -> str:
    done = {
        str(test): (float(p), bool(recommended))
        for test, p, recommended in zip(table["test"], table["p_value"], table["recommended"], strict=True)
    }
    taken = {str(test): int(n) for test, n in zip(table["test"], table["draws"], strict=True)}
    short = [test for test in done if too_few(done[test][0], taken[test])]
    trusted = [test for test in BY_TRUST if test in done and done[test][1] and test not in short]
    needs = "".join(f"; {IN_WORDS[test]}: {few_words(taken[test])}" for test in short)
    if not trusted:
        why = zip(table["test"], table["advice"], strict=True)
        first = next((f"; {test}: {advice}" for test, advice in why if test not in short), "")
        return f"no test that was done is to be trusted here{first}{needs}"
    best = done[trusted[0]][0]
    strength = next((words for bound, words in _STRENGTHS if best <= bound), "no evidence of an effect")
    told = f"{strength} ({_said(trusted[0], best, taken[trusted[0]])})"
    # a p-value at its floor, the smallest that so many replicates can give, contradicts nothing
    others = [
        _said(t, done[t][0], taken[t])
        for t in trusted
        if (done[t][0] <= _LEVEL) != (best <= _LEVEL) and not at_floor(done[t][0], taken[t])
    ]
    if others:
        told += f"; on the other side of {_LEVEL}: {', '.join(others)}"
    distrusted = [IN_WORDS[test] for test in done if test not in trusted and test not in short]
    return told + needs + (f"; not to be trusted here: {', '.join(distrusted)}" if distrusted else "")


def at_floor(p: float, draws: int) -> bool:
    """Whether no replicate had so large a statistic, so that all that is known is that p is at most 1 / (1 + draws)."""
    return draws > 0 and abs(p * (1 + draws) - 1.0) < 1e-9


def too_few(p: float, draws: int) -> bool:
    """Whether so few replicates were drawn that no outcome could have been evidence of an effect.

    Fewer replicates because as many as were waited for had larger statistics (``stop_after``) are enough; their p-value
    is a share of the draws, not one plus a count by one plus the draws.
    """
    if not 0 < draws < MOST_FLOOR:
        return False
    return abs(p * draws - round(p * draws)) > 1e-9


def few_words(draws: int) -> str:
    """That so few replicates decide nothing, and how many do."""
    return (
        f"{draws} draws cannot give less than p = {1 / (1 + draws):.2g} and decide nothing: ask for {MOST_FLOOR} or "
        f"more, {STRONG} for strong evidence"
    )


def _said(test: str, p: float, draws: int) -> str:
    if at_floor(p, draws):
        return f"p at most {p:.2g}, {IN_WORDS[test]}: {draws} draws cannot give less, more may"
    return f"p = {p:.2g}, {IN_WORDS[test]}"
