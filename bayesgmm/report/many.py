"""The report of many fits: how many problems chose what, what to beware of, and the surest groups with pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bayesgmm import __version__, names
from bayesgmm.inference.many_words import kinds_of_caution, summary
from bayesgmm.report.parts import Section, html_table, picture, write_page

if TYPE_CHECKING:
    from bayesgmm.inference.many_fits import ManyFits

_DRAWN, _LISTED = 6, 20  # of the surest: in pictures, in the table


def write_many_report(path: Path, fits: ManyFits, title: str) -> Path:
    """Write the report of many fits; see :func:`bayesgmm.write_report`."""
    numbers = [int(k) for k in fits.scores[names.N_COMPONENTS].values]
    families = ", ".join(str(name) for name in fits.scores[names.COVARIANCE].values)
    samples = int(fits.params["n_observed"].max())
    sections = [_choice_section(fits), _bimodal_section(fits)]
    beware = kinds_of_caution(fits)
    if len(beware):
        text = "How many problems each of these is said of, in the columns caution and status of the table."
        sections.append(
            Section(
                "What to beware of",
                text,
                tables=[html_table(beware, "What was found, in how many problems", text=True)],
            )
        )
    sections.append(_provenance_section(fits))
    return write_page(
        path,
        title=title,
        subtitle=f"{fits.n_problems:,} problems of up to {samples:,} samples; {_listed(numbers)} components of "
        f"{families}, chosen by {fits.criterion.upper()}",
        verdict=summary(fits),
        sections=sections,
    )


def _choice_section(fits: ManyFits) -> Section:
    from bayesgmm.plots import plot_many_choices

    counts = fits.choices()
    and_family = " and the family" if len(counts.columns) > 1 else ""
    counts.insert(len(counts.columns), "share", counts.sum(axis=1) / fits.n_problems)
    return Section(
        "How many components",
        f"Problems by the number of components{and_family} that {fits.criterion.upper()} chooses.",
        [picture(plot_many_choices(fits), "Problems by number of components")],
        [html_table(counts.reset_index(), "Problems by number of components")],
    )


def _bimodal_section(fits: ManyFits) -> Section:
    from bayesgmm.plots import plot_many

    surest = fits.most_bimodal(_LISTED)
    if not len(surest):
        return Section("The surest groups", "No problem has groups of samples that are apart.")
    columns = ["gain", names.N_COMPONENTS, names.COVARIANCE, "n_modes", "separation", "bimodality_index", "smallest"]
    columns += [name for name in ("first", "second") if name in surest]
    surest["bimodality_index"] = surest["bimodality_index"].astype(object).where(surest["bimodality_index"].notna(), "")
    shown = surest[[name for name in columns if name in surest] + ["caution"]].reset_index()
    text = (
        f"Problems with groups of samples that are apart, by gain: how far {fits.criterion.upper()} is below that of "
        "one component (above 10 is very strong). Separation is the smallest distance of two components in standard "
        "deviations; smallest is how many samples the smallest component holds. Spikes, and components of a handful of "
        "samples, are left out."
    )
    pictures = []
    if fits.data is not None:
        drawn = plot_many(fits, list(surest.index[:_DRAWN]))
        pictures.append(picture(drawn, "The surest: components and their sum over the samples", wide=True))
    return Section("The surest groups", text, pictures, [html_table(shown, "The surest groups")])


def _provenance_section(fits: ManyFits) -> Section:
    unsure = int((~fits.chosen["converged"].values & (fits.params[names.N_COMPONENTS].values > 0)).sum())
    rows = [
        ("criterion", f"{fits.criterion.upper()}, smaller is better"),
        ("priors", "not known, as the fits were read from a file" if fits.priors is None else _in_line(fits)),
        ("not converged", f"{unsure:,}"),
        ("versions", f"bayesgmm {__version__}"),
    ]
    return Section("How this was made", tables=[html_table(pd.DataFrame(rows, columns=["what", "value"]), text=True)])


def _in_line(fits: ManyFits) -> str:
    priors = fits.priors
    assert priors is not None  # what the caller looked at
    return f"weights {priors.weights}, components {priors.components}"


def _listed(numbers: list[int]) -> str:
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return " or ".join(str(k) for k in numbers)
