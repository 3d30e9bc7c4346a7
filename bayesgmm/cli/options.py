"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CardArgument = Annotated[str, typer.Argument(help="Model card: a .toml file, or the name of one that comes along.")]
Traits = Annotated[Path, typer.Option(help="Traits: TSV, CSV or Parquet, one row a person.")]
Genotypes = Annotated[Path | None, typer.Option(help="Genotypes: a table of dosages, or a PLINK .bed.")]
Covariates = Annotated[Path | None, typer.Option(help="Covariates: TSV, CSV or Parquet.")]
Out = Annotated[Path, typer.Option(help="Folder for the results; made when absent.")]
Draws = Annotated[int | None, typer.Option(min=4, help="Posterior draws a chain, instead of the card's.")]
Chains = Annotated[int | None, typer.Option(min=1, help="Chains, instead of the card's.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Threads; by default one a processor. They change nothing.")]
Seed = Annotated[int | None, typer.Option(help="Seed, instead of the card's.")]
