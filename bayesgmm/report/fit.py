"""The report's section on whether the mixture fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayesgmm import names
from bayesgmm.plots.fit_checks import plot_fit_checks
from bayesgmm.report.parts import Section, html_table, picture

if TYPE_CHECKING:
    from bayesgmm.analysis.fit_checks import FitChecks

_DRAWN = 4  # traits; the tables have all


def fit_section(checks: FitChecks) -> Section:
    """Verdicts as points, a picture of each of the first traits, and the tables."""
    text = (
        f"Each check of {checks.n_people} people is held against data drawn from the fit and fitted again. A "
        f"mixture that is right is blamed for {100 * checks.level:g}% of traits."
    )
    traits = checks.fit.problem.trait_names[:_DRAWN]
    pictures = [
        picture(
            plot_fit_checks(checks, t, density=False),
            f"{t}. Above: sorted residuals less what is expected of them; a line that leaves its band upwards on the "
            "right, or downwards on the left, says that this tail is heavier than the mixture's. Below: statistics of "
            "the people (line) among those of data drawn from the mixture (bars); far is beyond three median absolute "
            "deviations from the median.",
            wide=True,
            alt=f"Residuals of {t} with their band, and its skewness, kurtosis, modes and shares far out among "
            f"replicates. In words: {checks.verdict[t]}",
        )
        for t in traits
    ]
    tables = [
        html_table(
            checks.table[[names.TRAIT, "check", "observed", "expected", "lower", "upper", "p_value", "p_adjusted"]],
            "Checks. lower and upper hold 95% of what would be observed if the mixture were right, given the "
            "estimates; p adjusted allows for the trait's other checks. residuals: the largest distance from the "
            "band's middle, in half widths; heaps: people at the value that repeats most, and how many are expected.",
        ),
        html_table(
            checks.chi_square,
            "Chi-square over bins of equal probability under the fit. p value is from replicates that were fitted "
            "again; in large samples it lies between p low and p high.",
        ),
    ]
    if len(checks.remedies):
        tables.append(
            html_table(
                checks.remedies[[names.TRAIT, "remedy", "change", "bic", "gain"]],
                "What was tried on a trait that does not fit, alone: gain is how much lower BIC is than that of the "
                "mixture as it is; change is that of bayesgmm.Mixture.",
            )
        )
    if len(checks.heaps):
        tables.append(
            html_table(
                checks.heaps,
                "Values that too many people have: expected by the mixture; beside, people with the next value; "
                "p value for all values of the trait together.",
            )
        )
    points = [f"{trait}: {words}" for trait, words in checks.verdict.items()] + list(checks.notes)
    return Section("Does the mixture fit", text, pictures, tables, points)
