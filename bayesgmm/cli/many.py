"""``fit-many``: thousands of small mixtures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bayesgmm.cli.console import INTERRUPTED, leave, status
from bayesgmm.cli.numbers import numbers_of_components
from bayesgmm.cli.options import Out
from bayesgmm.errors import InputError, Interrupted


def fit_many_command(
    matrix: Annotated[
        Path, typer.Option(help="Matrix: TSV, CSV (.gz) or Parquet, a row a problem, a column a sample.")
    ],
    out: Out,
    pairs: Annotated[
        Path | None, typer.Option(help="Mixtures of two traits: a table with two columns, names of rows of the matrix.")
    ] = None,
    components: Annotated[str, typer.Option(help="Numbers to choose from: 1:4, or 1,2,5, or 2.")] = "1:4",
    covariance: Annotated[
        str | None,
        typer.Option(help="Families to choose from, by commas: E, V; for pairs EII, VII, EEI, VVI, EEE, VVV."),
    ] = None,
    criterion: Annotated[str, typer.Option(help="bic or icl.")] = "bic",
    concentration: Annotated[float, typer.Option(help="Dirichlet prior of the weights, at least 1.")] = 2.0,
    transpose: Annotated[bool, typer.Option("--transpose", help="The file has a row a sample.")] = False,
    restarts: Annotated[int, typer.Option(min=1, help="Starts of each mixture.")] = 10,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; by default all processors.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the starts; 0 unless told otherwise.")] = None,
    report: Annotated[bool, typer.Option("--report", help="Also write report.html, with pictures.")] = False,
) -> None:
    """Fit thousands of small mixtures, one a row (or a pair of rows) of a matrix, and keep the best of each.

    Writes fits.tsv (one row a problem, with a verdict in words) and fits.nc (parameters and criteria, which
    `bayesgmm.read_many` reads to assign new samples). An interrupt (Ctrl-C) writes what was fitted by then.

    Example: `bayesgmm fit-many --matrix expression.tsv.gz --components 1:4 --covariance V --criterion bic --out modes`
    """
    from bayesgmm.inference.many import fit_many
    from bayesgmm.io.tables import read_table
    from bayesgmm.priors import Dirichlet, Priors

    table = read_table(matrix)
    table = table.T if transpose else table
    two = None
    if pairs is not None:
        listed = read_table(pairs, id_column=None).reset_index()
        if listed.shape[1] < 2:
            raise InputError(f"{pairs} has {listed.shape[1]} column; it needs two, the names of two rows of the matrix")
        two = listed.iloc[:, :2]
    interrupted = False
    try:
        found = fit_many(
            table,
            numbers_of_components(components),
            pairs=two,
            covariance=None if covariance is None else [name.strip() for name in covariance.split(",")],
            criterion=criterion,  # type: ignore[arg-type]
            priors=Priors(weights=Dirichlet(concentration)),
            restarts=restarts,
            threads=threads,
            seed=seed,
            progress=sys.stderr.isatty(),
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
    typer.echo(repr(found))
    if interrupted:
        typer.echo(f"interrupted; what was fitted by then is in {out}", err=True)
        raise typer.Exit(INTERRUPTED)
    chosen = found.table[found.table["n_components"] > 0]
    leave(bool(chosen["converged"].all()))
