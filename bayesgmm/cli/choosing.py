"""``select``: which mixture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bayesgmm.cli.console import leave
from bayesgmm.cli.numbers import noises, numbers_of_components, tails
from bayesgmm.cli.options import Covariates, Genotypes, Out, Seed, Traits
from bayesgmm.cli.steps import write_fit, write_picture

if TYPE_CHECKING:
    from bayesgmm.analysis.selection import Selection
    from bayesgmm.cards import Card


def select_command(
    traits: Traits,
    out: Out,
    card: Annotated[
        str | None, typer.Option(help="Model card: its study, priors, formulas and [select] table are used.")
    ] = None,
    genotypes: Genotypes = None,
    covariates: Covariates = None,
    components: Annotated[
        str | None, typer.Option(help="Numbers of components: 1:6 (both ends), or 1,2,4; default 1:5.")
    ] = None,
    covariance: Annotated[str | None, typer.Option(help="Families, as VVV,EEE, or all; default VVV.")] = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="Formula of the weights; repeat to compare several, '' for none.")
    ] = None,
    noise: Annotated[str | None, typer.Option(help="Without and with noise: no,yes; default as the card.")] = None,
    df: Annotated[
        str | None, typer.Option(help="Tails to compare, as gaussian,each,shared,5; default as the card, or gaussian.")
    ] = None,
    trait_columns: Annotated[str | None, typer.Option(help="Columns of the traits, as a,b; default all.")] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="Of draws for loo and evidence: auto (sampler where needed), laplace (quick), nuts."),
    ] = None,
    criterion: Annotated[
        str | None,
        typer.Option(help="bic (default), icl, aic, nec, loo, evidence (of these smaller is better) or blrt (a test)."),
    ] = None,
    also: Annotated[str | None, typer.Option(help="Further criteria that take time, as loo,evidence,blrt.")] = None,
    flat: Annotated[bool, typer.Option("--flat", help="Maximum likelihood, instead of the priors.")] = False,
    seed: Seed = None,
) -> None:
    """Choose the number of components, the covariance family and the formula of the weights.

    Writes selection.tsv (every model), selection.nc (table and chosen fit), verdict.txt, selection.png,
    parameters.tsv and responsibilities.tsv of the chosen fit, and, of two components or more, clusters.tsv: which
    components overlap so much that they make one cluster.

    Example: `bayesgmm select --traits traits.tsv --components 1:6 --covariance VVV,EEE --criterion bic --out results`
    """
    from bayesgmm.analysis.selection import select
    from bayesgmm.analysis.selection_grid import OF_MODEL
    from bayesgmm.cards import SelectOptions, load_card
    from bayesgmm.priors import Priors
    from bayesgmm.study import read_study

    loaded: Card | None = None if card is None else load_card(card)
    reading = {} if loaded is None else loaded.study_options()
    if trait_columns:
        reading["trait_columns"] = trait_columns.split(",")
    study = read_study(traits, genotypes, covariates, **reading)
    options = (None if loaded is None else loaded.select) or SelectOptions()
    model = None if loaded is None else loaded.mixture(study)
    own = "VVV" if model is None else model.covariance
    families = (covariance.split(",") if covariance else None) or options.covariance or own
    found = select(
        study,
        numbers_of_components(components) or options.n_components,
        families if families != ["all"] else "all",
        [formula or None for formula in weights] if weights else options.formulas(),
        noise=noises(noise) or options.noise,
        df=tails(df) or (OF_MODEL if options.df is None else options.tails()),
        criterion=criterion or options.criterion,
        also=also.split(",") if also else options.also,
        model=model,
        priors=Priors.flat() if flat else None,
        engine=engine or options.engine,
        bootstrap=options.bootstrap,
        seed=seed if seed is not None or loaded is None else loaded.fit.seed,
        progress=True,
    )
    _write_selection(found, out)
    typer.echo(repr(found))
    leave(found.best.converged)


def _write_selection(found: Selection, out: Path) -> None:
    from bayesgmm.analysis.combine import combine
    from bayesgmm.io.atomic import write_table, write_text

    out.mkdir(parents=True, exist_ok=True)
    found.save(out / "selection.tsv")
    found.save(out / "selection.nc")
    write_fit(found.best, out)
    words = f"{found.summary()}\n"
    if found.n_components > 1:
        clusters = combine(found.best)
        write_table(out / "clusters.tsv", clusters.table)
        words += f"{clusters}\n"
    write_text(out / "verdict.txt", words)
    write_picture(out / "selection.png", found.plot)
