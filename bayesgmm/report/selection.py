"""The report's section on which mixture was chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayesgmm import names
from bayesgmm.report.parts import Section, html_table, picture

if TYPE_CHECKING:
    from bayesgmm.analysis.selection import Selection

_SHOWN = 12  # models in the table, the best first


def selection_section(found: Selection) -> Section:
    """Verdict, cautions, picture, what every criterion chooses, and the best models."""
    columns = [names.N_COMPONENTS, "covariance", "weights", "n_parameters", names.LOG_LIKELIHOOD, "bic", "icl", "aic"]
    columns += [c for c in ("loo", "evidence", "lrt_p") if c in found.table]
    ranked = found.ranked()[[*columns, "probability"]].head(_SHOWN)
    return Section(
        "How many components",
        f"{found.verdict} Of every criterion smaller is better; probability is the model's among those fitted, every "
        "number of components equally likely beforehand.",
        [picture(found.plot(), "Criterion by number of components; the chosen model is ringed", alt=found.verdict)],
        [
            html_table(found.choices, "What every criterion chooses"),
            html_table(ranked, f"The {len(ranked)} lowest by {found.criterion}"),
            html_table(found.n_components_probability, "Posterior probability of each number of components"),
        ],
        found.cautions,
    )
