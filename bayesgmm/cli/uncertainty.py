"""``bootstrap`` and ``standard-errors``: how sure the estimates are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayesgmm.cli.console import is_watched, leave, show
from bayesgmm.cli.options import CardArgument, Covariates, Genotypes, Out, Seed, Traits, Workers
from bayesgmm.cli.steps import fit_map, load, write_picture

if TYPE_CHECKING:
    from bayesgmm.analysis.bootstrap import Bootstrap
    from bayesgmm.cards import Card
    from bayesgmm.inference.map_fit import MapFit

_SHOWN = ("quantity", "estimate", "bias", "se", "lower", "upper")


def bootstrap_command(
    card: CardArgument,
    traits: Traits,
    out: Out,
    genotypes: Genotypes = None,
    covariates: Covariates = None,
    kind: Annotated[
        str | None, typer.Option(help="nonparametric, weighted or parametric, instead of the card's.")
    ] = None,
    draws: Annotated[int | None, typer.Option(min=2, help="Replicates, instead of the card's (1000).")] = None,
    restarts: Annotated[int | None, typer.Option(min=1, help="Starts of each replicate (1).")] = None,
    level: Annotated[float | None, typer.Option(help="Of the intervals (0.95).")] = None,
    method: Annotated[str | None, typer.Option(help="Of the intervals: percentile, basic, bca or normal.")] = None,
    workers: Workers = None,
    seed: Seed = None,
) -> None:
    """Fit, then refit people drawn anew: standard errors, bias and intervals that need no formula.

    Writes what `fit` writes, and bootstrap.tsv (every parameter), bootstrap.nc (all replicates, which
    `bayesgmm.read_bootstrap` reads), alignment.tsv (how sure it is which component is which), bootstrap.png and, with
    predictors, associations_bootstrap.tsv.

    Example: `bayesgmm bootstrap two-humps --traits traits.tsv --genotypes genotypes.tsv --kind weighted --out results`
    """
    loaded, study = load(card, traits, genotypes, covariates)
    start = fit_map(loaded, study, out, seed)
    given = {"kind": kind, "draws": draws, "restarts": restarts, "level": level, "method": method, "seed": seed}
    write_bootstrap(loaded, start, out, workers=workers, **given)
    leave(start.converged)


def standard_errors_command(
    card: CardArgument,
    traits: Traits,
    out: Out,
    genotypes: Genotypes = None,
    covariates: Covariates = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="observed or sandwich; repeat for both, which is the default.")
    ] = None,
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    seed: Seed = None,
) -> None:
    """Fit, then tell standard errors by formula: observed information, and the sandwich, side by side.

    They differ where the model is not quite right or people are few. Writes what `fit` writes, and
    standard_errors.tsv.

    Example: `bayesgmm standard-errors two-humps --traits traits.tsv --genotypes genotypes.tsv --out results`
    """
    import pandas as pd

    from bayesgmm.analysis.standard_errors import standard_errors
    from bayesgmm.io.atomic import write_table

    loaded, study = load(card, traits, genotypes, covariates)
    start = fit_map(loaded, study, out, seed)
    kinds = list(dict.fromkeys(kind or ("observed", "sandwich")))
    tables = [standard_errors(start, which, level=level) for which in kinds]  # type: ignore[arg-type]
    write_table(out / "standard_errors.tsv", pd.concat(tables))
    shown = tables[0][["quantity", "estimate"]].copy()
    for which, table in zip(kinds, tables, strict=True):
        for column in ("se", "lower", "upper"):
            shown[f"{column}, {which}" if len(kinds) > 1 else column] = table[column]
    show(shown, f"{level:.0%} intervals")
    for note in sorted({note for table in tables for note in table["note"] if note}):
        typer.echo(note)
    typer.echo(f"written: {out / 'standard_errors.tsv'}")
    leave(start.converged)


def write_bootstrap(card: Card, fit: MapFit, out: Path, *, workers: int | None = None, **given: Any) -> Bootstrap:
    """The bootstrap that a card describes, with what was given in its place, told and in the folder."""
    from bayesgmm.analysis.association import associations
    from bayesgmm.analysis.bootstrap import bootstrap
    from bayesgmm.cards import BootstrapOptions
    from bayesgmm.io.atomic import write_table

    options = (card.bootstrap or BootstrapOptions()).model_dump()
    options |= {key: value for key, value in given.items() if value is not None}
    found = bootstrap(fit, **options, workers=workers, progress=is_watched())
    table = found.table()
    found.save(out / "bootstrap.nc")
    write_table(out / "bootstrap.tsv", table)
    write_table(out / "alignment.tsv", found.alignment)
    if fit.problem.predictor_names and fit.problem.n_components > 1:
        write_table(out / "associations_bootstrap.tsv", associations(found))
    write_picture(out / "bootstrap.png", found.plot)
    show(table[list(_SHOWN)], f"{found.level:.0%} {found.method} intervals")
    typer.echo(f"{found.summary}\nwritten: {out / 'bootstrap.tsv'}, {out / 'bootstrap.nc'}")
    return found
