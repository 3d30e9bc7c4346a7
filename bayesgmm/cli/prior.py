"""``sensitivity``: what the prior does to the answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayesgmm.cli.console import leave, status
from bayesgmm.cli.options import CardArgument, Covariates, Genotypes, Out, Seed, Traits
from bayesgmm.cli.steps import fit_map, load
from bayesgmm.errors import InputError

if TYPE_CHECKING:
    from bayesgmm.analysis.prior_study import PriorStudy
    from bayesgmm.cards import Card
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.study import Study


def sensitivity_command(
    card: CardArgument,
    traits: Traits,
    out: Out,
    genotypes: Genotypes = None,
    covariates: Covariates = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(help="Hyperparameter and its values, instead of the card's grid; repeat for a grid of several."),
    ] = None,
    engine: Annotated[str | None, typer.Option(help="map, laplace or nuts, instead of the card's.")] = None,
    seed: Seed = None,
) -> None:
    """Study what the prior does to the answer: sensitivity, tipping points, Bayes factors, power scaling, prior checks.

    The grid is the card's `[sensitivity.grid]`, or `--vary`, or ten scales of the effects' prior. Writes
    sensitivity.nc, sensitivity.tsv, tipping.tsv, bayes_factors.tsv, power_scaling.tsv, prior_checks.tsv and
    report.html, beside what `fit` writes.

    Example: `bayesgmm sensitivity two-humps --traits traits.tsv --genotypes genotypes.tsv --out results --vary
    effects.sd=0.1,0.3,1,3 --vary weights.concentration=1,2,5`
    """
    from bayesgmm.report import write_report

    loaded, study = load(card, traits, genotypes, covariates)
    start = fit_map(loaded, study, out, seed)
    found = study_prior(loaded, study, start, out, vary, engine, seed)
    typer.echo(repr(found))
    with status("writing the report"):
        path = write_report(out / "report.html", start, study=study, prior_study=found, title=loaded.card.name)
    typer.echo(f"report: {path}")
    leave(start.converged and bool(found.sensitivity["converged"].all()))


def study_prior(
    card: Card,
    study: Study,
    start: MapFit,
    out: Path,
    vary: list[str] | None = None,
    engine: str | None = None,
    seed: int | None = None,
) -> PriorStudy:
    """The study of the prior that the card describes, and its tables in the folder."""
    from bayesgmm.analysis.prior_study import prior_study
    from bayesgmm.cards import SensitivityOptions

    options: dict[str, Any] = (card.sensitivity or SensitivityOptions()).model_dump()
    listed = options.pop("settings")
    options["grid"] = _grid(vary) or options["grid"] or listed
    options |= {k: v for k, v in (("engine", engine), ("seed", seed)) if v is not None}
    base = None if start.n_emptied else start
    found = prior_study(card.mixture(study), study, base=base, progress=True, **options)
    _write_prior_study(found, out)
    return found


def _write_prior_study(found: PriorStudy, out: Path) -> None:
    from bayesgmm import names
    from bayesgmm.analysis.sensitivity import sensitivity_table
    from bayesgmm.inference.storage import save_dataset
    from bayesgmm.io.atomic import write_table

    save_dataset(found.sensitivity, out / "sensitivity.nc")
    variable = names.ODDS_RATIOS if names.ODDS_RATIOS in found.sensitivity else names.MEANS
    write_table(out / "sensitivity.tsv", sensitivity_table(found.sensitivity, variable))
    for name, table in (
        ("tipping", found.tipping),
        ("bayes_factors", found.bayes_factors),
        ("power_scaling", found.power_scaling),
        ("prior_checks", found.prior_checks),
    ):
        if table is not None:
            write_table(out / f"{name}.tsv", table)


def _grid(vary: list[str] | None) -> dict[str, list[Any]]:
    """Hyperparameters and their values from the command line."""
    grid: dict[str, list[Any]] = {}
    for given in vary or []:
        path, _, values = given.partition("=")
        if path.strip() in grid:
            raise InputError(
                f"--vary names {path.strip()!r} twice; give all of its values at once, as effects.sd=0.1,1"
            )
        try:
            grid[path.strip()] = [float(value) for value in values.split(",")]
        except ValueError:
            raise InputError(
                f"--vary {given!r}: write a hyperparameter and its values, as effects.sd=0.1,0.3,1"
            ) from None
    return grid
