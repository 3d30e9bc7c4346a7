"""``fit-many``: thousands of small mixtures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bayesgmm.cli.console import BAD_INPUT, INTERRUPTED, is_watched, leave, status, told_when_interrupted
from bayesgmm.cli.numbers import numbers_of_components
from bayesgmm.cli.options import Out
from bayesgmm.errors import InputError, Interrupted

if TYPE_CHECKING:
    import pandas as pd

    from bayesgmm.cards import Card, FitManyOptions
    from bayesgmm.inference.many_fits import ManyFits

_USUAL = 10  # starts with which a thread takes as many problems at a time as is usual; of more, fewer
_LEAST = 8  # problems that a thread takes at a time


def fit_many_command(
    matrix: Annotated[
        Path, typer.Option(help="Matrix: TSV, CSV (.gz) or Parquet, a row a problem, a column a sample.")
    ],
    out: Out,
    card: Annotated[
        str | None, typer.Option(help="Model card: its [fit_many] table and priors are used; options here come first.")
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(help="Mixtures of two traits: a table with two columns, names of rows of the matrix.")
    ] = None,
    components: Annotated[
        str | None, typer.Option(help="Numbers to choose from: 1:4 (unless told otherwise), or 1,2,5, or 2.")
    ] = None,
    covariance: Annotated[
        str | None,
        typer.Option(help="Families to choose from, by commas: E, V; for pairs EII, VII, EEI, VVI, EEE, VVV."),
    ] = None,
    criterion: Annotated[str | None, typer.Option(help="bic (unless told otherwise) or icl.")] = None,
    concentration: Annotated[
        float | None, typer.Option(help="Dirichlet prior of the weights, at least 1; 2 unless told otherwise.")
    ] = None,
    transpose: Annotated[
        bool | None, typer.Option("--transpose/--no-transpose", help="The file has a row a sample.")
    ] = None,
    restarts: Annotated[
        int | None, typer.Option(min=1, help="Starts of each mixture; 10 unless told otherwise.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; by default all processors.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the starts; 0 unless told otherwise.")] = None,
    report: Annotated[bool, typer.Option("--report", help="Also write report.html, with pictures.")] = False,
) -> None:
    """Fit thousands of small mixtures, one a row (or a pair of rows) of a matrix, and keep the best of each.

    Writes fits.tsv (one row a problem, with a verdict in words) and fits.nc (parameters and criteria, which
    `bayesgmm.read_many` reads to assign new samples). An interrupt (Ctrl-C) writes what was fitted by then.

    Example: `bayesgmm fit-many --matrix expression.tsv.gz --components 1:4 --covariance V --criterion bic --out modes`
    """
    from bayesgmm.inference.many import BLOCK, fit_many
    from bayesgmm.inference.many_words import counted
    from bayesgmm.io.tables import read_table
    from bayesgmm.priors import Dirichlet, Priors

    loaded, options = _of_card(card)
    table = read_table(matrix)
    turned = options.transpose if transpose is None else transpose
    table = table.T if turned else table
    listing = pairs
    if listing is None and loaded is not None and options.pairs is not None:
        listing = loaded.beside(options.pairs)
    priors = Priors() if loaded is None else loaded.priors_of_many()
    if concentration is not None:
        priors = replace(priors, weights=Dirichlet(concentration))
    starts = restarts or options.restarts
    interrupted = False
    try:
        with told_when_interrupted("stopping after the problems that are begun"):
            found = fit_many(
                table,
                numbers_of_components(components) or options.n_components,
                pairs=None if listing is None else _two_columns(listing),
                covariance=covariance.replace(" ", "").split(",") if covariance else options.covariance,
                criterion=criterion or options.criterion,  # type: ignore[arg-type]
                priors=priors,
                restarts=starts,
                seed=options.seed if seed is None else seed,
                max_iterations=options.max_iterations,
                tolerance=options.tolerance,
                threads=threads,
                # an interrupt is heeded between blocks
                block=max(_LEAST, BLOCK * _USUAL // max(_USUAL, starts)),
                progress=is_watched(),
            )
    except Interrupted as stopped:
        found, interrupted = stopped.partial, True
    out.mkdir(parents=True, exist_ok=True)
    found.write_table(out / "fits.tsv")
    found.save(out / "fits.nc")
    if report:
        from bayesgmm.report import write_report

        with status("writing the report"):
            write_report(out / "report.html", found, title=f"Mixtures of {matrix.name}")
    typer.echo(f"{counted(found)}; written to {out}")
    if interrupted:
        typer.echo(f"interrupted; what was fitted by then is in {out}", err=True)
        raise typer.Exit(INTERRUPTED)
    chosen = found.table[found.table["n_components"] > 0]
    if not len(chosen):
        typer.echo(_nothing_fitted(found, turned), err=True)
        raise typer.Exit(BAD_INPUT)
    if pairs is None and not turned and table.shape[0] < table.shape[1]:
        typer.echo("Each row was taken as a problem; if the file has a row a sample, add --transpose.")
    leave(bool(chosen["converged"].all()))


def _of_card(card: str | None) -> tuple[Card | None, FitManyOptions]:
    """The card and what it says of many mixtures."""
    from bayesgmm.cards import FitManyOptions, load_card

    if card is None:
        return None, FitManyOptions()
    loaded = load_card(card)
    if loaded.fit_many is None:
        raise InputError(
            f"the card {card} has no [fit_many] section: it is of a single mixture; add one (docs/cards.md), or leave "
            "--card out"
        )
    return loaded, loaded.fit_many


def _nothing_fitted(found: ManyFits, turned: bool) -> str:
    """Why no problem was fitted, and what may be wrong."""
    from bayesgmm.inference.many_words import commonest_reason

    told = f"error: no problem could be fitted; {commonest_reason(found)}. "
    if turned:
        return f"{told}Each column of the file was taken as a problem; if a problem is a row, leave --transpose out"
    return (
        f"{told}Each row was taken as a problem, each column as a sample; "
        "if the file has a row a sample, add --transpose"
    )


def _two_columns(path: Path) -> pd.DataFrame:
    """The pairs of rows that a table names."""
    from bayesgmm.io.tables import read_table

    listed = read_table(path, id_column=None).reset_index()
    if listed.shape[1] < 2:
        raise InputError(f"{path} has {listed.shape[1]} column; it needs two, the names of two rows of the matrix")
    return listed.iloc[:, :2]
