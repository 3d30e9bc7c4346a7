"""The report's sections on what the prior does to the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesgmm import names
from bayesgmm.analysis.sensitivity import sensitivity_table
from bayesgmm.report.parts import Section, html_table, picture

if TYPE_CHECKING:
    from bayesgmm.analysis.prior_study import PriorStudy

_DRAWN = 4  # overlays and heat maps; the tables have all


def prior_sections(found: PriorStudy) -> list[Section]:
    """Sections of a study of the prior."""
    sections = [_sensitivity_section(found)]
    if found.tipping is not None:
        sections.append(_tipping_section(found))
    if found.power_scaling is not None:
        text = (
            "How far each parameter moves when the prior, or the likelihood, is made a little stronger or weaker "
            "(Kallioinen et al. 2023); from 0.05 it counts."
        )
        sections.append(Section("Power scaling", text, tables=[html_table(found.power_scaling, "Power scaling")]))
    if found.prior_checks is not None:
        text = (
            "Observed features of the traits and effects beside 95% of what the prior foretells of them. A small "
            "p-value says that prior and data disagree."
        )
        sections.append(
            Section(
                "What the prior foretells", text, tables=[html_table(found.prior_checks, "Prior predictive checks")]
            )
        )
    return sections


def _sensitivity_section(found: PriorStudy) -> Section:
    from bayesgmm.plots import plot_ridges, plot_sensitivity, plot_sensitivity_heatmap

    study = found.sensitivity
    dims = [str(d) for d in study["how"].dims]
    pictures, tables = [], []
    if names.EFFECTS in study:
        numeric = [d for d in dims if np.issubdtype(study[d].dtype, np.number) and d != "setting"]
        pictures += [picture(plot_sensitivity(study, over=d), f"Odds ratios over {d}", wide=True) for d in numeric]
        for predictor in study[names.PREDICTOR].values[:_DRAWN]:
            if len(dims) > 1:
                pictures.append(
                    picture(plot_sensitivity_heatmap(study, str(predictor)), f"{predictor} over two hyperparameters")
                )
            pictures.append(picture(plot_ridges(study, str(predictor)), f"Posterior of {predictor} by setting"))
        tables.append(html_table(sensitivity_table(study, names.ODDS_RATIOS), "Odds ratios under every setting"))
    tables += [
        html_table(sensitivity_table(study, name), f"{name.capitalize()} under every setting")
        for name in (names.WEIGHTS, names.MEANS)
    ]
    engine = {"map": "posterior modes and normal intervals", "laplace": "the Laplace engine", "nuts": "NUTS"}
    text = f"Answered by {engine[str(study.attrs['engine'])]}; the model's own: {study.attrs['base']}."
    title = "What the prior does to the answer"
    return Section(title, text, pictures, tables, found.findings)


def _tipping_section(found: PriorStudy) -> Section:
    from bayesgmm.plots import plot_bayes_factor, plot_prior_posterior

    assert found.tipping is not None
    pictures = []
    if found.bayes_factors is not None:
        pictures.append(picture(plot_bayes_factor(found.bayes_factors), "Bayes factors over the prior scale"))
    pictures += [
        picture(plot_prior_posterior(found.result, str(p)), f"Prior, likelihood and posterior of {p}")
        for p in list(dict.fromkeys(found.tipping["predictor"]))[:_DRAWN]
    ]
    return Section(
        "Tipping points",
        "The prior scale, and the prior mean, at which the interval of an association comes to include an odds ratio "
        "of 1, or to exclude it; in words above. The sceptical limit is the odds ratio up to which a sceptic's prior "
        "must reach for these data to convince them (Matthews 2001).",
        pictures,
        [html_table(found.tipping.drop(columns="verdict"), "Tipping points, association by association")],
    )
