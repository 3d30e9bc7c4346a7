"""The report's section on which mixture was chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesgmm import names
from bayesgmm.analysis.selection_table import KIND
from bayesgmm.errors import InputError
from bayesgmm.report.parts import Section, html_table, picture

if TYPE_CHECKING:
    from bayesgmm.analysis.selection import Selection
    from bayesgmm.inference.map_fit import MapFit

_SAME_MODE = 1e-3  # log likelihood units within which two fits are of one mode
_SHOWN = 12  # models in the table, the best first


def selection_section(found: Selection, fit: MapFit) -> Section:
    """Verdict, cautions, picture, what every criterion chooses, and the best models; first, whether the fit is chosen.

    Raises
    ------
    InputError
        If the selection is of other people or traits than the fit.
    """
    chosen, problem = found.best.problem, fit.problem
    if chosen.trait_names != problem.trait_names or not np.array_equal(chosen.sample_ids, problem.sample_ids):
        raise InputError(
            f"selection is of {chosen.n_samples} people with {', '.join(chosen.trait_names)}, the fit of "
            f"{problem.n_samples} with {', '.join(problem.trait_names)}; give the selection of that study"
        )
    columns = [
        names.N_COMPONENTS,
        *(c for c in KIND if c == "covariance" or found.table[c].any()),
        "n_parameters",
        names.LOG_LIKELIHOOD,
        "bic",
        "icl",
        "aic",
    ]
    columns += [c for c in ("loo", "evidence", "lrt_p") if c in found.table]
    ranked = found.ranked()[[*columns, "probability"]].head(_SHOWN)
    return Section(
        "How many components",
        f"{found.verdict} Of every criterion but the test (blrt, whose p-value is lrt p) smaller is better; "
        f"probability is the model's among those fitted, from {_source(found)}, every number of components equally "
        "likely beforehand.",
        [picture(found.plot(), "Criterion by number of components; the chosen model is ringed", alt=found.verdict)],
        [
            html_table(found.choices, "What every criterion chooses"),
            html_table(ranked, f"The {len(ranked)} lowest by {found.criterion}"),
            html_table(found.n_components_probability, "Posterior probability of each number of components"),
        ],
        [*_of_another_fit(found, fit), *found.cautions, *found.notes],
    )


def _source(found: Selection) -> str:
    """What probabilities are from."""
    by = found.n_components_probability.attrs["from"]
    return "the evidence" if by == "evidence" else "BIC"


def _of_another_fit(found: Selection, fit: MapFit) -> list[str]:
    """That the report is of another model, or of a lower mode, than the one that was chosen."""
    best = found.best
    one, other = _described(fit), _described(best)
    if one != other:
        return [f"This report is of {one}, which is not what the selection chose: {other}."]
    lower = best.log_likelihood - fit.log_likelihood
    if abs(lower) > _SAME_MODE:
        way = "lower" if lower > 0 else "higher"
        return [
            f"The log likelihood of this report's fit is {abs(lower):.3g} {way} than that of the selection's fit of "
            "the same model: it is another mode, or under other priors."
        ]
    return []


def _described(fit: MapFit) -> str:
    problem = fit.problem
    told = f"{problem.components_told} ({problem.family.name}"
    if problem.df is not None:
        told += f", df {problem.df}"
    return told + (f", weights {problem.formula})" if problem.formula else ")")
