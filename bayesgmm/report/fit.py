"""The report's section on whether the mixture fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayesgmm.report.parts import Section, html_table, picture

if TYPE_CHECKING:
    from bayesgmm.analysis.fit_checks import FitChecks

_DRAWN = 4  # traits; the tables have all


def fit_section(checks: FitChecks) -> Section:
    """Verdicts as points, a picture of each of the first traits, and the tables."""
    text = (
        f"Each check of {checks.n_people} people is held against data drawn from the fit and fitted again. p_adjusted "
        f"allows for a trait's other checks, so that a mixture that is right is blamed for {100 * checks.level:g}% of "
        "traits. lower and upper hold 95% of what would be observed, given the estimates."
    )
    traits = checks.fit.problem.trait_names[:_DRAWN]
    pictures = [picture(checks.plot(t), f"{t}: residuals and shape", wide=True) for t in traits]
    tables = [html_table(checks.table), html_table(checks.chi_square)]
    if len(checks.heaps):
        tables.append(html_table(checks.heaps))
    points = [f"{trait}: {words}" for trait, words in checks.verdict.items()]
    return Section("Does the mixture fit", text, pictures, tables, points)
