"""``fit``, ``sample`` and ``compare``: one mixture, its mode and its posterior."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayesgmm.cli.console import leave
from bayesgmm.cli.options import CardArgument, Chains, Covariates, Draws, Genotypes, Out, Seed, Traits
from bayesgmm.cli.steps import draw_posterior, fit_map, load, write_checks, write_comparison


def fit(
    card: CardArgument,
    traits: Traits,
    out: Out,
    genotypes: Genotypes = None,
    covariates: Covariates = None,
    seed: Seed = None,
    check: Annotated[bool, typer.Option("--check", help="Check whether the mixture fits; a second or two.")] = False,
) -> None:
    """Find the posterior mode (MAP) by EM; milliseconds.

    Writes fit.nc, parameters.tsv, responsibilities.tsv, associations.tsv and priors.txt; with an earlier study
    (priors.effects.earlier of the card) also earlier.tsv, how it was matched; under a spike and slab inclusion.tsv;
    with --check fit_checks.tsv.

    Example: `bayesgmm fit listeria --traits phenotypes.csv --genotypes genotypes.csv --out results`
    """
    loaded, study = load(card, traits, genotypes, covariates)
    result = fit_map(loaded, study, out, seed)
    typer.echo(repr(result))
    if check:
        write_checks(result, out, seed)
    leave(result.converged)


def sample(
    card: CardArgument,
    traits: Traits,
    out: Out,
    genotypes: Genotypes = None,
    covariates: Covariates = None,
    draws: Draws = None,
    chains: Chains = None,
    seed: Seed = None,
) -> None:
    """Fit, then draw from the full posterior (NUTS).

    Writes what `fit` writes, and posterior.nc, posterior.tsv and associations_posterior.tsv; where the prior of the
    weights empties components, occupied.tsv (how many are not).

    Example: `bayesgmm sample two-humps --traits traits.tsv --genotypes genotypes.tsv --out results --draws 2000`
    """
    loaded, study = load(card, traits, genotypes, covariates)
    if loaded.priors.weights.family == "jeffreys":
        # there is no fit to start from or to compare with
        posterior = draw_posterior(loaded, study, None, out, draws, chains, seed)
        typer.echo(repr(posterior))
        return
    start = fit_map(loaded, study, out, seed)
    posterior = draw_posterior(loaded, study, start, out, draws, chains, seed)
    typer.echo(repr(posterior))
    if start.n_emptied:
        typer.echo(f"not compared: the fit is of {start.problem.n_components} components, {start.n_emptied} emptied")
        return
    leave(write_comparison(start, posterior, out))


def compare_command(
    results: Annotated[Path, typer.Argument(help="Folder that `sample` wrote: fit.nc and posterior.nc.")],
) -> None:
    """Compare MAP and posterior of a folder of results, parameter by parameter, with verdicts.

    Writes comparison.tsv.

    Example: `bayesgmm compare results`
    """
    from bayesgmm.inference.fit_storage import read_fit
    from bayesgmm.inference.posterior import read_posterior

    start, posterior = read_fit(results / "fit.nc"), read_posterior(results / "posterior.nc")
    from bayesgmm.analysis.compare import compare

    typer.echo(repr(compare(start, posterior)))
    leave(write_comparison(start, posterior, results))
