"""One self-contained HTML file: verdict, pictures, tables, resolved priors, versions and seed."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesgmm import __version__, names
from bayesgmm.analysis.association import associations, penetrance
from bayesgmm.analysis.compare import Comparison, compare
from bayesgmm.analysis.enrichment import enrichment
from bayesgmm.analysis.inclusion import inclusion
from bayesgmm.analysis.scales import effective_effects, group_scales
from bayesgmm.core.effect_density import SPIKE_SLAB
from bayesgmm.core.learned_scales import GroupScales, HorseshoeScales
from bayesgmm.errors import InputError
from bayesgmm.inference.fit_words import NOT_WITHOUT_SPIKE
from bayesgmm.inference.laplace import LaplacePosterior
from bayesgmm.inference.variational_posterior import VariationalPosterior
from bayesgmm.report.effect_tests import effect_tests_section
from bayesgmm.report.fit import fit_section
from bayesgmm.report.many import write_many_report
from bayesgmm.report.parts import Section, html_table, needs_templates, picture, write_page
from bayesgmm.report.prior import prior_sections
from bayesgmm.report.selection import selection_section
from bayesgmm.report.uncertainty import bootstrap_section

if TYPE_CHECKING:
    from bayesgmm.analysis.bootstrap import Bootstrap
    from bayesgmm.analysis.effect_tests_result import EffectTests
    from bayesgmm.analysis.fit_checks import FitChecks
    from bayesgmm.analysis.prior_study import PriorStudy
    from bayesgmm.analysis.selection import Selection
    from bayesgmm.inference.many_fits import ManyFits
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.inference.posterior import Posterior
    from bayesgmm.problem import Problem
    from bayesgmm.study import Study

_MADE_BY = {
    "prior_study": "prior_study",
    "fit_checks": "check_fit",
    "selection": "select",
    "bootstrap": "bootstrap",
    "effect_tests": "test_effect",
}
_VARIANTS_DRAWN = 6  # penetrance pictures; the table has them all


def write_report(
    path: str | PathLike[str],
    fit: MapFit | ManyFits,
    posterior: Posterior | None = None,
    *,
    study: Study | None = None,
    prior_study: PriorStudy | None = None,
    fit_checks: FitChecks | None = None,
    selection: Selection | None = None,
    bootstrap: Bootstrap | None = None,
    effect_tests: EffectTests | None = None,
    title: str | None = None,
) -> Path:
    """Write the report of a fit, and of its posterior when there is one.

    Parameters
    ----------
    path : path
        The ``.html`` to write; it appears whole.
    fit : MapFit or ManyFits
        Of :func:`bayesgmm.fit_many`, whose report is one of its own.
    posterior : Posterior, optional
    study : Study, optional
        Adds enrichment of its genotypes in the components.
    prior_study : PriorStudy, optional
        From :func:`bayesgmm.prior_study`: adds what the prior does to the answer.
    fit_checks : FitChecks, optional
        From :func:`bayesgmm.check_fit`: adds whether the mixture fits.
    selection : Selection, optional
        From :func:`bayesgmm.select`: adds which mixtures were held side by side, and why this one.
    bootstrap : Bootstrap, optional
        From :func:`bayesgmm.bootstrap`: adds how sure the estimates are.
    effect_tests : EffectTests, optional
        From :func:`bayesgmm.test_effect`, several by :meth:`EffectTests.joined`: adds whether there is an effect.
    title : str

    Returns
    -------
    pathlib.Path
    """
    from bayesgmm.analysis.bootstrap import Bootstrap
    from bayesgmm.analysis.effect_tests_result import EffectTests
    from bayesgmm.analysis.fit_checks import FitChecks
    from bayesgmm.analysis.prior_study import PriorStudy
    from bayesgmm.analysis.selection import Selection
    from bayesgmm.inference.many_fits import ManyFits
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.study import Study

    given = {
        "prior_study": prior_study,
        "fit_checks": fit_checks,
        "selection": selection,
        "bootstrap": bootstrap,
        "effect_tests": effect_tests,
    }
    if isinstance(fit, ManyFits):
        if posterior is not None or any(value is not None for value in (study, *given.values())):
            raise InputError("the report of many fits has no more than these; leave out the posterior and what follows")
        return write_many_report(Path(path), fits=fit, title=title or "Many mixtures")
    if not isinstance(fit, MapFit):
        raise InputError(f"fit is a {type(fit).__name__}; write_report takes the path, then a MapFit or ManyFits")
    if study is not None and not isinstance(study, Study):
        raise InputError(f"study is a {type(study).__name__}; give the bayesgmm.Study that was fitted, or leave it out")
    wanted: dict[str, type] = {
        "prior_study": PriorStudy,
        "fit_checks": FitChecks,
        "selection": Selection,
        "bootstrap": Bootstrap,
        "effect_tests": EffectTests,
    }
    for name, value in given.items():
        if value is not None and not isinstance(value, wanted[name]):
            raise InputError(
                f"{name} is a {type(value).__name__}; give the {wanted[name].__name__} of bayesgmm.{_MADE_BY[name]}, "
                "or leave it out"
            )
    needs_templates()
    comparison = None if posterior is None else compare(fit, posterior)
    problem = fit.problem
    observed = int(problem.observed.sum())
    sections = [_trait_section(fit, posterior)]
    if fit_checks is not None:
        sections.append(fit_section(fit_checks))
    if problem.predictor_names and problem.n_components > 1:
        sections += _association_sections(fit, posterior, study)
    if effect_tests is not None:
        sections.append(effect_tests_section(effect_tests))
    sections.append(_comparison_section(fit, comparison))
    if bootstrap is not None:
        sections.append(bootstrap_section(bootstrap))
    if posterior is not None:
        sections.append(_chains_section(posterior))
    if selection is not None:
        sections.append(selection_section(selection, fit))
    if prior_study is not None:
        sections += prior_sections(prior_study)
    sections += [_priors_section(fit), _provenance_section(fit, posterior)]
    return write_page(
        Path(path),
        title=title or "Mixture of traits",
        subtitle=f"{problem.components_told} of {', '.join(problem.trait_names)}; "
        + (f"{observed} people" if observed == problem.n_samples else f"{observed} of {problem.n_samples} people")
        + " have a trait",
        found=_found(fit),
        verdict=_verdict(fit, comparison),
        flags=list(fit.flags["message"]),
        sections=sections,
    )


def _found(fit: MapFit) -> str:
    """The components in a sentence."""
    problem = fit.problem
    told = []
    for row in _components(fit).to_dict("records"):
        label = str(row[names.COMPONENT])
        where = ""
        if label != names.NOISE:
            where = ", ".join(f"{t} {row[f'mean of {t}']:.4g}" for t in problem.trait_names)
            where = f" {'at' if label == names.SPIKE else 'about'} {where}"
        share = 100.0 * row["people"] / problem.n_effective
        told.append(f"{f'component {label}' if label.isdigit() else label}: {share:.0f}% of people{where}")
    return f"{'; '.join(told)}."


def _verdict(fit: MapFit, comparison: Comparison | None) -> str:
    if comparison is not None:
        return comparison.verdict
    state = "The MAP fit converged" if fit.converged else f"The MAP fit did NOT converge ({fit.reason})"
    advice = "sample it"
    if not fit.problem.family.sampled:
        advice = f"{fit.problem.family_name} cannot be sampled, so compare a family that can"
    return f"{state}. Without a posterior nothing says whether its normal intervals can be trusted: {advice}."


def _trait_section(fit: MapFit, posterior: Posterior | None) -> Section:
    from bayesgmm.plots import plot_density, plot_membership

    pictures = []
    for trait in fit.problem.trait_names:
        band = "" if posterior is None else " and the band that holds 95% of the posterior"
        pictures.append(
            picture(
                plot_density(fit, posterior, trait=trait),
                f"{trait}: histogram of the people, the fitted components and their sum{band}",
                alt=f"Histogram of {trait} with {fit.problem.components_told}; the table below has their numbers",
            )
        )
        pictures.append(
            picture(
                plot_membership(posterior or fit, trait=trait),
                f"{trait} of every person, from the lowest to the highest, by the component that is likeliest",
            )
        )
    what = "scale" if len(fit.parameters.df) else "sd"
    caption = (
        "Components at the MAP. weight: of the average person; people: how many are expected to belong to each; mean "
        f"and {what} of each trait in its own units."
    )
    return Section("The trait and its components", figures=pictures, tables=[html_table(_components(fit), caption)])


def _components(fit: MapFit) -> pd.DataFrame:
    """One row a component: what it is called, how large it is, and where it lies; noise has a box, a spike no width."""
    problem, params = fit.problem, fit.params
    r, weight = fit.responsibilities.values[problem.people], problem.sample_weight
    people = r.sum(axis=0) if weight is None else weight[problem.people] @ r
    columns: dict[str, object] = {
        names.COMPONENT: list(problem.component_labels),
        "weight": params[names.WEIGHTS].values,
        "people": people,
    }
    what = "scale" if len(fit.parameters.df) else "sd"
    lies = np.array([label != names.NOISE for label in problem.component_labels])
    wide = np.arange(problem.n_components) < problem.n_located
    for d, trait in enumerate(problem.trait_names):
        sds = np.sqrt(params[names.COVARIANCES].values[:, d, d])
        columns[f"mean of {trait}"] = np.where(lies, params[names.MEANS].values[:, d], np.nan)
        columns[f"{what} of {trait}"] = np.where(wide, sds, np.nan)
    if len(fit.parameters.df):
        df = np.full(problem.n_components, np.nan)
        df[: problem.n_located] = fit.parameters.df
        columns["degrees of freedom"] = df
    return pd.DataFrame(columns)


def _association_sections(fit: MapFit, posterior: Posterior | None, study: Study | None) -> list[Section]:
    from bayesgmm.plots import plot_forest, plot_penetrance

    both = [associations(fit)] + ([] if posterior is None else [associations(posterior)])
    caution = str(both[0].attrs["caution"])
    # in the order of the formula, as the picture, with the engines side by side
    table = pd.concat(both).sort_index(kind="stable").replace({"bayes_factor_by": {"": np.nan}})
    table = table.dropna(axis="columns", how="all")
    table.insert(0, "engine", table.pop("engine"))
    moved = [str(column) for column in table if str(column).startswith("shift_")]
    result = posterior or fit
    sections = [
        Section(
            "Associations",
            "Odds of belonging to a component against the reference, per allele or unit of the predictor, with 95% "
            "intervals. A log10 Bayes factor above 1 is strong evidence of an effect, below -1 of none; it is the "
            "prior over the posterior density at no effect. bayes factor by says where the latter is from: the draws "
            "around it, or, of the MAP and where no effect is more than 2 sds from the posterior mean, Laplace's "
            "approximation, which is the same of both.",
            [
                picture(
                    plot_forest(fit, posterior),
                    "Odds ratios of belonging to a component against the reference; an interval clear of 1 speaks for "
                    "an effect",
                )
            ],
            [
                html_table(
                    table.drop(columns=moved),
                    "Associations. sd, lower and upper are of the log odds ratio; probability of direction: that the "
                    "effect has the sign of its estimate.",
                ),
                html_table(
                    table[["engine", "predictor", *moved]].drop_duplicates(["engine", "predictor"]),
                    "What that does to the traits: change of the mean per allele or unit, in the trait's own units.",
                ),
            ],
            [f"{caution}."] if caution else [],
        )
    ]
    if (fit.problem.priors.effect_kind == SPIKE_SLAB).any():
        text = "Probability that each predictor has an effect, of the slab and not of the spike of its prior."
        sections.append(Section("Inclusion", text, tables=[html_table(inclusion(result), "Inclusion of predictors")]))
    if posterior is not None:
        sections += _learned_scales(posterior)
    if fit.problem.variant_names:
        pictures = [
            picture(plot_penetrance(result, v), f"Probability of each component by genotype of {v}, 95% intervals")
            for v in fit.problem.variant_names[:_VARIANTS_DRAWN]
        ]
        sections.append(
            Section(
                "Penetrance",
                "Probability of each component for a person who is average but for the genotype.",
                pictures,
                [html_table(penetrance(result), "Penetrance: genotype counts effect alleles; 95% intervals.")],
            )
        )
    if study is not None and study.variant_names:
        sections.append(
            Section(
                "Enrichment",
                "Effect-allele frequency in each component with the uncertainty of membership, beside the chi-square "
                "test on hard assignments, which understates it.",
                tables=[
                    html_table(
                        enrichment(result, study),
                        "Effect-allele frequency in each component, and its difference from everybody else's; "
                        "pooled p value carries the uncertainty of membership, hard p value does not.",
                    )
                ],
            )
        )
    return sections


def _learned_scales(posterior: Posterior) -> list[Section]:
    """What was learned of the scales of the effects, where they are learned."""
    scales = posterior.problem.priors.scales
    if isinstance(scales, GroupScales):
        text = (
            "Scale of the effects in each group of predictors, as a multiple of the prior's sd. moved is the share of "
            "the prior's mass that the data have moved."
        )
        return [Section("Groups of predictors", text, tables=[html_table(group_scales(posterior), "Scales by group")])]
    if isinstance(scales, HorseshoeScales):
        text = (
            "How many effects are not shrunk to nothing, and how far each is shrunk: near 1 to nothing, near 0 hardly."
        )
        return [
            Section(
                "Effective effects", text, tables=[html_table(effective_effects(posterior), "Shrinkage of effects")]
            )
        ]
    return []


def _comparison_section(fit: MapFit, comparison: Comparison | None) -> Section:
    if comparison is None:
        return Section(
            "Parameters",
            "MAP with standard errors from the observed information.",
            tables=[html_table(fit.summary().drop(columns="variable"), "Parameters in the traits' units")],
        )
    c = comparison.classification
    text = (
        f"{100 * c['agreement']:.1f}% of people are assigned alike; membership probabilities differ by "
        f"{c['responsibility_gap']:.4f} on average; membership entropy is {100 * c['entropy']:.0f}% of the "
        "largest possible."
    )
    whose = "variational approximation" if "corrected_sd" in comparison else "posterior"
    corrected = ""
    if "corrected_sd" in comparison:
        corrected = (
            " sd and eti95 are the approximation's own, too narrow; corrected sd and corrected eti95 are with what it "
            "leaves out, to first order, and the ones to read."
        )
    return Section(
        f"MAP and {whose}",
        text,
        [
            picture(
                comparison.plot(),
                "Where the MAP falls in the posterior of every parameter, in posterior standard deviations",
                alt=f"Intervals of every parameter with the MAP among them. In words: {comparison.verdict}",
            )
        ],
        [
            html_table(
                # one interval on the page, as everywhere on it
                pd.DataFrame(comparison).drop(columns=["variable", "eti89_lb", "eti89_ub"]),
                f"Parameters in the traits' units: the MAP, and mean, sd and 95% interval (eti95) of the {whose}; "
                "ess: how many independent draws it is worth; r hat: below 1.01 where chains agree; map quantile: "
                f"share of draws below the MAP.{corrected}",
            )
        ],
    )


def _chains_section(posterior: Posterior) -> Section:
    from bayesgmm.plots import plot_rank, plot_trace

    if isinstance(posterior, LaplacePosterior):
        return Section("Laplace's posterior", f"Independent draws, without chains: {posterior.advice}.")
    if isinstance(posterior, VariationalPosterior):
        told = f"Draws of factors, without chains. Evidence lower bound {posterior.elbo:.3f}; {posterior.caution}."
        return Section("Variational posterior", told)
    pictures = [
        picture(
            plot_trace(posterior),
            "Draws of every chain: alike and without trend where the sampler has converged",
            wide=True,
        )
    ]
    text = f"{posterior.n_divergences} divergent transitions. "
    if posterior.tree["posterior"].sizes[names.CHAIN] == 1:
        return Section("Chains", text + "One chain, which has none to agree with: sample two or more.", pictures)
    told = "Ranks of every chain's draws among all: chains that agree stay within the band"
    pictures.append(picture(plot_rank(posterior), told, wide=True))
    return Section("Chains", text + "Chains that agree have ranks within the band.", pictures)


def _priors_section(fit: MapFit) -> Section:
    priors = fit.problem.priors
    return Section(
        "Priors, as resolved for these data",
        figures=[picture(priors.plot(), "Prior densities of the weights, means, sds and odds ratios")],
        tables=[html_table(priors.table(), "Priors, and what they say in the units of the data", text=True)],
    )


def _provenance_section(fit: MapFit, posterior: Posterior | None) -> Section:
    problem = fit.problem
    rows = [
        (
            "model",
            f"{problem.components_told}, covariance {problem.family_name}, weights: "
            f"{problem.formula or 'constant'}, means: {problem.means_formula or 'constant'}",
        ),
        ("people with traits", f"{int(problem.observed.sum())} of {problem.n_samples}"),
        ("genotypes not certain", _genotypes_told(problem)),
        (
            "MAP",
            f"{fit.reason}; {fit.n_iterations} steps, about {fit.gap:.1e} below the limit, gradient "
            f"{fit.gradient_norm:.1e}, seed {fit.seed}",
        ),
        ("log posterior, log likelihood", f"{fit.log_posterior:.6f}, {fit.log_likelihood:.6f}"),
        (
            "BIC, ICL, AIC (smaller is better)",
            f"{fit.bic:.2f}, {fit.icl:.2f}, {fit.aic:.2f}"
            + ("" if problem.fixed.spike is None else f"; {NOT_WITHOUT_SPIKE}"),
        ),
        ("starts that reached the best mode", f"{int(fit.starts['reached_best'].sum())} of {len(fit.starts)}"),
    ]
    if posterior is not None:
        sizes = posterior.tree["posterior"].sizes
        rows.append(
            ("posterior", f"{sizes['chain']} chains of {sizes['draw']} draws, seed {posterior.tree.attrs['seed']}")
        )
    rows.append(("versions", f"bayesgmm {__version__}" if posterior is None else str(posterior.tree.attrs["versions"])))
    return Section("How this was made", tables=[html_table(pd.DataFrame(rows, columns=["what", "value"]), text=True)])


def _genotypes_told(problem: Problem) -> str:
    """What was done about genotypes that are missing or given as probabilities."""
    told = [
        f"{row.variant}: {row.n_missing} missing, {row.n_uncertain} uncertain; {row.n_averaged} averaged over what "
        f"the genotype may be, {row.n_mean} set to what is expected"
        for row in problem.genotype_account.itertuples()
        if row.n_missing or row.n_uncertain
    ]
    return "; ".join(told) or "none"
