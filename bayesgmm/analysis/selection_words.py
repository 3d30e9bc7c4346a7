"""A selection in words: what was chosen, how clearly, and what should worry the reader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesgmm import names
from bayesgmm.analysis.leave_one_out import HIGH_K
from bayesgmm.analysis.selection_table import as_good_by_loo, differs, model_in_words, size_probabilities
from bayesgmm.inference.fit_words import NOT_WITHOUT_SPIKE
from bayesgmm.inference.laplace import USABLE_K

if TYPE_CHECKING:
    from bayesgmm.analysis.selection import Selection
    from bayesgmm.inference.map_fit import MapFit

_SAME_MODE = 1e-4  # log posterior units within which two starts reached the same mode
_CLOSE = 2.0  # log posterior units within which another mode is hardly lower
_FEW = 0.1  # share of starts that reach the best mode, at or below which it is hard to find
# differences of BIC (twice those of log evidences) and what they say: Kass and Raftery 1995, JASA 90:773
_STRENGTH = ((2.0, "hardly better than"), (6.0, "better than"), (10.0, "clearly better than"))
_SHOWN = 3

_WHAT = {
    "bic": "BIC",
    "icl": "ICL",
    "aic": "AIC",
    "nec": "normalised entropy",
    "loo": "leave-one-out prediction",
    "evidence": "the evidence",
    "blrt": "the bootstrap test",
}
_WHY = {
    "icl": "ICL asks that people can be told apart by component, BIC that the density is fitted: one cluster that is "
    "not Gaussian takes several components (bayesgmm.combine says which belong together)",
    "aic": "AIC keeps more components than are needed, at any sample size",
    "nec": "the normalised entropy looks at how well components are apart and not at the price of parameters",
    "loo": "leave-one-out scores prediction and takes the smallest model that does not clearly predict worse",
    "evidence": "the evidence depends on the priors of the components, of which BIC knows nothing",
    "blrt": "the test asks of each number of components whether one more is needed, and stops at the first that is "
    "enough",
    "bic": "BIC takes a price of log n a parameter",
}


@dataclass(frozen=True)
class Stability:
    """What a second search, from other starts, found of the chosen model.

    Attributes
    ----------
    starts, reached : int
        Starts of the second search, and those that came to the best mode known.
    gained : float
        Log posterior by which it was higher than the first search's mode; negative where it stayed below.
    next_mode : float
        How far below the best the next mode was, in log posterior units; infinite where there was none.
    """

    starts: int
    reached: int
    gained: float
    next_mode: float

    @classmethod
    def of(cls, first: MapFit, second: MapFit) -> Stability:
        """From the fits of both searches."""
        heights = second.starts[names.LOG_POSTERIOR].dropna().to_numpy(dtype=float)
        best = max(first.log_posterior, second.log_posterior)
        below = best - heights
        others = below[below >= _SAME_MODE]
        return cls(
            starts=len(second.starts),
            reached=int((below < _SAME_MODE).sum()),
            gained=second.log_posterior - first.log_posterior,
            next_mode=float(others.min(initial=np.inf)),
        )

    @property
    def words(self) -> str:
        """What is unstable, or nothing."""
        if self.gained > _SAME_MODE:
            return (
                f"a second search from other starts found a mode {self.gained:.2g} higher than the first did: the "
                "optimum is hard to find; raise restarts"
            )
        if self.reached <= _FEW * self.starts:
            return (
                f"of {self.starts} starts of a second search {self.reached or 'none'} came to the best mode: it is "
                "hard to find, and there may be a higher one; raise restarts"
            )
        if self.next_mode < _CLOSE:
            return (
                f"another mode is only {self.next_mode:.2g} log posterior units lower: the data allow a different "
                "mixture of as many components (fit.starts)"
            )
        return ""


def verdict_of(found: Selection) -> str:
    """The choice and how clear it is."""
    ranked = found.ranked()
    first = ranked.iloc[0]
    criterion = found.criterion
    what, k = _WHAT[criterion], int(first[names.N_COMPONENTS])
    subject = "One component is enough" if k == 1 else f"{k} components"
    fit = found.fits.get(found.best_row)
    fixed = () if fit is None else fit.problem.fixed.kinds
    beside = f" beside {' and '.join(fixed)}" if fixed else ""
    tails = "" if fit is None or fit.problem.df is None or differs(found.table, "df") else ", Student-t"
    told = f"{subject}{beside} ({_model(found, first)}{tails}), by {what}"
    if criterion == "blrt":
        p = first["lrt_p"]
        tail = f": one more is not called for (p {p:.2g})" if p > found.level else ": the largest number asked for"
        return told + tail + "."
    told += f" ({first[criterion]:.2f}; smaller is better)"
    if len(ranked) < 2:
        only = "one that can be compared" if criterion == "loo" and len(found.table) > 1 else "model"
        return f"{told}; it is the only {only}."
    second = ranked.iloc[1]
    gap = float(second[criterion] - first[criterion])
    if criterion == "loo":
        return f"{told}{_beside_by_loo(found, first, second)}."
    if criterion == "nec":
        return f"{told}; next {_model(found, second)} with {int(second[names.N_COMPONENTS])} ({second['nec']:.3f})."
    strength = next((words for limit, words in _STRENGTH if gap < limit), "much better than")
    return f"{told}; {strength} {_named(found, second)}, by {gap:.2f}."


def _beside_by_loo(found: Selection, first: Any, second: Any) -> str:
    """How the model that leave-one-out chooses stands to the one with the lowest value, or to the next."""
    table = found.table
    if "loo_diff" not in table:
        return f"; next {_named(found, second)}"
    compared = table[table["loo_diff"].notna()]
    lowest = compared.sort_values("loo").iloc[0]
    if first["loo_diff"] > 0.0:
        return (
            f": the smallest model that is not clearly worse than the lowest, {_named(found, lowest)}, which is "
            f"{first['loo_diff']:.2f} lower (standard error {first['loo_diff_se']:.2f})"
        )
    others = as_good_by_loo(compared).sum() - 1
    if others:
        return f"; {others} larger model{'s are' if others > 1 else ' is'} about as good"
    return (
        f"; clearly better than {_named(found, second)}, by {second['loo_diff']:.2f} (standard error "
        f"{second['loo_diff_se']:.2f})"
    )


def cautions_of(found: Selection) -> list[str]:
    """What should worry the reader."""
    told: list[str] = []
    table = found.table
    failed = table[table["status"] == "failed"]
    if len(failed):
        told.append(f"{len(failed)} of {len(table)} models could not be fitted; the first: {failed['reason'].iloc[0]}.")
    told += _disagreement(found)
    fitted = table[table["status"] == "fitted"]
    largest = int(fitted[names.N_COMPONENTS].max())
    if found.n_components == largest and largest > 1:
        told.append(f"{largest} is the largest number of components asked for: ask for more.")
    if len(fitted) and fitted["noise"].ne("").all():
        told.append(
            "Every model here has noise, and none without was compared, so whether it is needed is not known: noise is "
            "found where there are no strays too. Ask for noise = [False, True]."
        )
    chosen = found.fits.get(found.best_row)
    if chosen is not None and chosen.problem.fixed.spike is not None:
        told.append(f"These criteria are {NOT_WITHOUT_SPIKE}.")
    if found.stability is not None and found.stability.words:
        told.append(f"Unstable: {found.stability.words}.")
    row = table.loc[found.best_row]
    if not bool(row["converged"]):
        told.append("The chosen fit did not converge: raise max_iterations.")
    told += [f"Of the chosen fit: {message}." for message in _flags(found)]
    told += _doubtful_draws(found)
    return told


def notes_of(found: Selection) -> list[str]:
    """How the numbers of a selection are to be read."""
    table, told = found.table, []
    if "loo_diff" in table and table["loo_diff"].notna().any():
        told.append(_loo_told(found))
    if "lrt_p" in table:
        told.append(
            "blrt: the value is the p-value of a test against one component more, not a criterion to compare; the "
            f"smallest number whose p-value is above {found.level:g} is chosen, among families and formulas by BIC."
        )
    shares = size_probabilities(table)
    if len(shares) > 1:
        by_evidence = shares.attrs["from"] == "evidence"
        source = "the evidence" if by_evidence else "BIC (roughly; criterion or also = 'evidence' for the evidence)"
        listed = ", ".join(
            f"{k} {_share(p)}" for k, p in zip(shares[names.N_COMPONENTS], shares["probability"], strict=True)
        )
        told.append(f"probability of each number of components, from {source}: {listed}.")
    return told


def _share(p: float) -> str:
    """A probability to three places, none of them 0 or 1 by rounding."""
    return "<0.001" if p < 0.0005 else ">0.999" if p > 0.9995 else f"{p:.3f}"


def _loo_told(found: Selection) -> str:
    """The rule by which leave-one-out chooses, the lowest where that is another, and whose draws the values are of."""
    table = found.table
    compared = table[table["loo_diff"].notna()]
    lowest, first = compared.sort_values("loo").iloc[0], found.ranked("loo").iloc[0]
    told = "loo: the smallest model that is not clearly worse than the lowest is chosen (by less than 8, or 2 "
    told += "standard errors, of -2 elpd)"
    if first["loo_diff"] > 0.0:
        told += f"; the lowest is {_named(found, lowest)}, {lowest['loo']:.3f}"
    engines = [by for by in dict.fromkeys(compared["loo_by"]) if by]
    if len(engines) > 1:
        each = [
            f"{by} for {', '.join(_named(found, row) for _, row in compared[compared['loo_by'] == by].iterrows())}"
            for by in engines
        ]
        told += f"; values are from {'; '.join(each)}"
    return f"{told}."


def _disagreement(found: Selection) -> list[str]:
    choices = found.choices.set_index("criterion")[names.N_COMPONENTS]
    chosen = int(choices[found.criterion])
    others = {c: int(k) for c, k in choices.items() if c != found.criterion and int(k) != chosen}
    # AIC and the entropy alone are no reason to doubt
    if not set(others) - {"aic", "nec"}:
        return []
    listed = ", ".join(f"{_WHAT[str(c)]} {k}" for c, k in others.items())
    reasons = [_WHY[str(c)] for c, k in others.items() if c in _WHY and not (c == "icl" and k > chosen)][:_SHOWN]
    return [
        f"Criteria disagree: {_WHAT[found.criterion]} chooses {chosen} component{'s' if chosen > 1 else ''}, {listed}. "
        + ". ".join(reason[0].upper() + reason[1:] for reason in reasons)
        + "."
    ]


def _flags(found: Selection) -> list[str]:
    fit = found.fits.get(found.best_row)
    if fit is None:
        return []
    return [
        str(m).rstrip(".") for f, m in zip(fit.flags["flag"], fit.flags["message"], strict=True) if f != "not converged"
    ]


def _doubtful_draws(found: Selection) -> list[str]:
    table, told = found.table, []
    if "evidence" in table:
        bad = [r for r, e in found.evidences.items() if not e.reliable]
        if bad:
            models = "; ".join(_named(found, table.loc[r]) for r in bad[:_SHOWN])
            more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
            told.append(
                f"The evidence is not to be believed of {models}{more}: k-hat above {USABLE_K} or too few effective "
                "draws; use engine = 'nuts' with more draws."
            )
        lacking = int(((table["status"] == "fitted") & table["evidence"].isna()).sum())
        if lacking:
            told.append(f"{lacking} fitted models have no evidence (reason in the table) and were not compared by it.")
    if "loo_diff" in table:
        left = table[table["loo_by"].ne("") & table["loo_diff"].isna()]
        if len(left):
            models = "; ".join(_named(found, row) for _, row in left.head(_SHOWN).iterrows())
            more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
            by = " use engine = 'nuts'." if left["loo_by"].eq("Laplace").any() else " use more draws."
            told.append(
                f"Leave-one-out cannot be trusted of {models}{more} (high k-hats: it comes out too low), "
                f"which were not compared by it;{by}"
            )
        high = int(np.nan_to_num(table["loo_high_k"].to_numpy(dtype=float)[found.best_row]))
        if high and found.best_row not in left.index:
            told.append(
                f"Leave-one-out is not to be believed of {high} people (k-hat above {HIGH_K}) under the chosen model."
            )
    return told


def _model(found: Selection, row: Any) -> str:
    return model_in_words(found.table, row)


def _named(found: Selection, row: Any) -> str:
    k = int(row[names.N_COMPONENTS])
    return f"{k} component{'s' if k > 1 else ''} ({_model(found, row)})"
