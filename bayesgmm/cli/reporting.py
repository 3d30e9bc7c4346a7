"""``report`` and ``demo``: the whole analysis in one page."""

from __future__ import annotations

from pathlib import Path

import typer

from bayesgmm.cli.console import leave, status
from bayesgmm.cli.options import CardArgument, Chains, Covariates, Draws, Genotypes, Out, Seed, Traits
from bayesgmm.cli.prior import study_prior
from bayesgmm.cli.steps import draw_posterior, fit_map, load, write_checks, write_comparison
from bayesgmm.cli.testing import write_effect_tests
from bayesgmm.cli.uncertainty import write_bootstrap
from bayesgmm.errors import InputError


def demo(out: Out = Path("demo-out"), draws: Draws = None, chains: Chains = None) -> None:
    """Analyse the bundled study: MAP, posterior, comparison and report.

    Example: `bayesgmm demo --out demo-out`, then open `demo-out/report.html`.
    """
    from bayesgmm.demo import TABLES, demo_folder

    folder = demo_folder()
    traits, genotypes, covariates = (folder / f"{table}.tsv" for table in TABLES)
    report("two-humps", traits, out, genotypes, covariates, draws, chains)


def report(
    card: CardArgument,
    traits: Traits,
    out: Out,
    genotypes: Genotypes = None,
    covariates: Covariates = None,
    draws: Draws = None,
    chains: Chains = None,
    seed: Seed = None,
) -> None:
    """Fit, sample, compare, check the fit, and write one self-contained report.html with pictures, tables and priors.

    A card with a `[sensitivity]`, `[bootstrap]` or `[tests]` table has its study of the prior, its bootstrap or its
    tests of effects in the report too.

    Example: `bayesgmm report listeria --traits phenotypes.csv --genotypes genotypes.csv --out results`
    """
    from bayesgmm.analysis.compare import compare
    from bayesgmm.report import write_report

    loaded, study = load(card, traits, genotypes, covariates)
    start = fit_map(loaded, study, out, seed)
    typer.echo(repr(start))
    posterior, good = None, start.converged
    try:
        start.problem.refuse_unsampled()
        start.problem.priors.refuse_improper(start.problem.n_complete)
        if start.n_emptied:
            raise InputError("a posterior has all components, of which some are empty at the MAP: bayesgmm sample")
    except InputError as reason:
        typer.echo(f"the report is of the MAP alone: {reason}")
    else:
        posterior = draw_posterior(loaded, study, start, out, draws, chains, seed)
        good = write_comparison(start, posterior, out)
        typer.echo(compare(start, posterior).verdict)
    checks = write_checks(posterior or start, out, seed)
    studied = None if loaded.sensitivity is None else study_prior(loaded, study, start, out, seed=seed)
    refits = None if loaded.bootstrap is None else write_bootstrap(loaded, start, out, seed=seed)
    tests = None if loaded.tests is None else write_effect_tests(loaded, study, out, None, seed=seed)
    with status("writing the report"):
        path = write_report(
            out / "report.html",
            start,
            posterior,
            study=study,
            prior_study=studied,
            fit_checks=checks,
            bootstrap=refits,
            effect_tests=tests,
            title=loaded.card.name,
        )
    typer.echo(f"report: {path}")
    leave(good)
