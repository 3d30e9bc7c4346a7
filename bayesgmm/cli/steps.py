"""Steps that several commands take: reading, fitting, drawing, comparing and checking, each with its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bayesgmm.cli.console import status
from bayesgmm.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayesgmm.analysis.fit_checks import FitChecks
    from bayesgmm.cards import Card
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.inference.posterior import Posterior
    from bayesgmm.study import Study


def load(card: str, traits: Path, genotypes: Path | None, covariates: Path | None) -> tuple[Card, Study]:
    """The card, and the study read as it says."""
    from bayesgmm.cards import load_card
    from bayesgmm.study import read_study

    loaded = load_card(card)
    return loaded, read_study(traits, genotypes, covariates, **loaded.study_options())


def fit_map(card: Card, study: Study, out: Path, seed: int | None) -> MapFit:
    """The fit that the card describes, and its files in the folder."""
    from bayesgmm.analysis.association import associations
    from bayesgmm.io.atomic import write_table, write_text

    options: dict[str, Any] = card.fit.model_dump()
    if seed is not None:
        options["seed"] = seed
    with status("fitting (the first run on a machine also compiles, 20 to 40 seconds)"):
        earlier = card.earlier_effects(study)
        result = card.mixture(study).fit(study, **options)
    out.mkdir(parents=True, exist_ok=True)
    if earlier is not None:
        write_table(out / "earlier.tsv", earlier.table)
    result.save(out / "fit.nc")
    write_fit(result, out)
    write_text(out / "priors.txt", f"{result.problem.priors}\n")
    if result.problem.predictor_names and result.problem.n_components > 1:
        table = associations(result)
        write_table(out / "associations.tsv", table)
        if table.attrs["caution"]:
            typer.echo(f"{table.attrs['caution']}.")
        _write_inclusion(result, out / "inclusion.tsv")
    return result


def write_fit(result: MapFit, out: Path) -> None:
    """Parameters and memberships."""
    import pandas as pd

    from bayesgmm.io.atomic import write_table

    write_table(out / "parameters.tsv", result.summary())
    r = result.responsibilities
    columns = [f"component_{k}" if k.isdigit() else k for k in result.problem.component_labels]
    membership = pd.DataFrame(r.values, index=pd.Index(r["sample"].values, name="sample"), columns=columns)
    write_table(out / "responsibilities.tsv", membership, index=True)


def draw_posterior(
    card: Card, study: Study, start: MapFit | None, out: Path, draws: int | None, chains: int | None, seed: int | None
) -> Posterior:
    """Draws from the posterior that the card describes, and their files in the folder."""
    from bayesgmm.analysis.association import associations
    from bayesgmm.analysis.occupied import occupied
    from bayesgmm.io.atomic import write_table

    options: dict[str, Any] = card.sample.model_dump()
    options |= {k: v for k, v in (("draws", draws), ("chains", chains), ("seed", seed)) if v is not None}
    with status("sampling (the first run on a machine also compiles, some seconds)"):
        init = None if start is None or start.n_emptied else start
        posterior = card.mixture(study).sample(study, init=init, **options)
    out.mkdir(parents=True, exist_ok=True)
    posterior.save(out / "posterior.nc")
    if posterior.problem.n_components > 1 and posterior.problem.priors.concentration.min() < 1.0:
        write_table(out / "occupied.tsv", occupied(posterior))
    write_table(out / "posterior.tsv", posterior.summary())
    if posterior.problem.predictor_names and posterior.problem.n_components > 1:
        write_table(out / "associations_posterior.tsv", associations(posterior))
        _write_inclusion(posterior, out / "inclusion_posterior.tsv")
    return posterior


def _write_inclusion(result: MapFit | Posterior, path: Path) -> None:
    """Inclusion probabilities, where the card asks for a spike and slab."""
    from bayesgmm.analysis.inclusion import inclusion
    from bayesgmm.core.effect_density import SPIKE_SLAB
    from bayesgmm.io.atomic import write_table

    if (result.problem.priors.effect_kind == SPIKE_SLAB).any():
        write_table(path, inclusion(result))


def write_picture(path: Path, draw: Callable[[], Figure]) -> None:
    """A picture in the folder; without the extra that draws it, a line that says so."""
    try:
        figure = draw()
    except MissingExtraError as absent:
        typer.echo(f"no picture: {absent}", err=True)
        return
    from bayesgmm.plots.style import pyplot

    figure.savefig(path, dpi=130)
    pyplot().close(figure)


def write_comparison(start: MapFit, posterior: Posterior, out: Path) -> bool:
    """MAP and posterior compared in the folder; whether the chains converged."""
    from bayesgmm.analysis.compare import NOT_CONVERGED, compare
    from bayesgmm.io.atomic import write_table

    comparison = compare(start, posterior)
    write_table(out / "comparison.tsv", comparison)
    return NOT_CONVERGED not in comparison.findings


def write_checks(result: MapFit | Posterior, out: Path, seed: int | None) -> FitChecks | None:
    """Whether the mixture fits, in words and as a table in the folder; None where that cannot be said."""
    from bayesgmm.analysis.fit_checks import check_fit
    from bayesgmm.io.atomic import write_table

    try:
        with status("checking the fit"):
            checks = check_fit(result, seed=seed)
    except InputError as reason:
        typer.echo(f"whether the mixture fits is not said: {reason}")
        return None
    write_table(out / "fit_checks.tsv", checks.table)
    for trait, words in checks.verdict.items():
        typer.echo(f"{trait}: {words}")
    return checks
