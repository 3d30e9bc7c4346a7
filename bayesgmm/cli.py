"""Command line: the whole analysis from files and a model card."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayesgmm import __version__
from bayesgmm.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from bayesgmm.analysis.fit_checks import FitChecks
    from bayesgmm.analysis.prior_study import PriorStudy
    from bayesgmm.analysis.selection import Selection
    from bayesgmm.cards import Card
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.inference.posterior import Posterior
    from bayesgmm.study import Study

OK, BAD_INPUT, NOT_TRUSTED, INTERRUPTED = 0, 2, 3, 130

app = typer.Typer(
    name="bayesgmm",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Gaussian mixtures of traits in which genotypes move people between components.\n\n"
    "Start with `bayesgmm demo`. For your own data, copy a model card (TOML), name your trait and variants, and run "
    "`bayesgmm report CARD --traits traits.tsv --genotypes panel.bed --out results`.\n\n"
    "Exit codes: 0 done; 2 input that cannot be used; 3 done, but not converged: do not trust it; 130 interrupted.",
)

CardArgument = Annotated[str, typer.Argument(help="Model card: a .toml file, or the name of one that comes along.")]
Traits = Annotated[Path, typer.Option(help="Traits: TSV, CSV or Parquet, one row a person.")]
Genotypes = Annotated[Path | None, typer.Option(help="Genotypes: a table of dosages, or a PLINK .bed.")]
Covariates = Annotated[Path | None, typer.Option(help="Covariates: TSV, CSV or Parquet.")]
Out = Annotated[Path, typer.Option(help="Folder for the results; made when absent.")]
Draws = Annotated[int | None, typer.Option(min=4, help="Posterior draws a chain, instead of the card's.")]
Chains = Annotated[int | None, typer.Option(min=1, help="Chains, instead of the card's.")]
Seed = Annotated[int | None, typer.Option(help="Seed, instead of the card's.")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"bayesgmm {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(out: Out = Path("demo-out"), draws: Draws = None, chains: Chains = None) -> None:
    """Analyse the bundled study: MAP, posterior, comparison and report.

    Example: `bayesgmm demo --out demo-out`, then open `demo-out/report.html`.
    """
    from bayesgmm.demo import TABLES, demo_folder

    folder = demo_folder()
    traits, genotypes, covariates = (folder / f"{table}.tsv" for table in TABLES)
    report("two-humps", traits, out, genotypes, covariates, draws, chains)


@app.command()
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
    loaded, study = _load(card, traits, genotypes, covariates)
    result = _fit(loaded, study, out, seed)
    typer.echo(repr(result))
    if check:
        _checks(result, out, seed)
    _leave(result.converged)


@app.command()
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
    loaded, study = _load(card, traits, genotypes, covariates)
    if loaded.priors.weights.family == "jeffreys":
        # there is no fit to start from or to compare with
        posterior = _sample(loaded, study, None, out, draws, chains, seed)
        typer.echo(repr(posterior))
        return
    start = _fit(loaded, study, out, seed)
    posterior = _sample(loaded, study, start, out, draws, chains, seed)
    typer.echo(repr(posterior))
    if start.n_emptied:
        typer.echo(f"not compared: the fit is of {start.problem.n_components} components, {start.n_emptied} emptied")
        return
    _leave(_compare(start, posterior, out))


@app.command("compare")
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
    _leave(_compare(start, posterior, results))


@app.command("sensitivity")
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

    loaded, study = _load(card, traits, genotypes, covariates)
    start = _fit(loaded, study, out, seed)
    found = _prior_study(loaded, study, start, out, vary, engine, seed)
    typer.echo(repr(found))
    with _status("writing the report"):
        path = write_report(out / "report.html", start, study=study, prior_study=found, title=loaded.card.name)
    typer.echo(f"report: {path}")
    _leave(start.converged and bool(found.sensitivity["converged"].all()))


@app.command()
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

    A card with a `[sensitivity]` table has its study of the prior in the report too.

    Example: `bayesgmm report listeria --traits phenotypes.csv --genotypes genotypes.csv --out results`
    """
    from bayesgmm.analysis.compare import compare
    from bayesgmm.report import write_report

    loaded, study = _load(card, traits, genotypes, covariates)
    start = _fit(loaded, study, out, seed)
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
        posterior = _sample(loaded, study, start, out, draws, chains, seed)
        good = _compare(start, posterior, out)
        typer.echo(compare(start, posterior).verdict)
    checks = _checks(posterior or start, out, seed)
    studied = None if loaded.sensitivity is None else _prior_study(loaded, study, start, out, seed=seed)
    with _status("writing the report"):
        path = write_report(
            out / "report.html",
            start,
            posterior,
            study=study,
            prior_study=studied,
            fit_checks=checks,
            title=loaded.card.name,
        )
    typer.echo(f"report: {path}")
    _leave(good)


@app.command("select")
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
    criterion: Annotated[
        str | None, typer.Option(help="bic (default), icl, aic, nec, loo, evidence or blrt; smaller is better.")
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
    from bayesgmm.cards import SelectOptions, load_card
    from bayesgmm.priors import Priors
    from bayesgmm.study import read_study

    loaded: Card | None = None if card is None else load_card(card)
    study = read_study(traits, genotypes, covariates, **({} if loaded is None else loaded.study_options()))
    options = (None if loaded is None else loaded.select) or SelectOptions()
    model = None if loaded is None else loaded.mixture(study)
    own = "VVV" if model is None else model.covariance
    families = (covariance.split(",") if covariance else None) or options.covariance or own
    found = select(
        study,
        _numbers(components) or options.n_components,
        families if families != ["all"] else "all",
        [formula or None for formula in weights] if weights else options.formulas(),
        criterion=criterion or options.criterion,
        also=also.split(",") if also else options.also,
        model=model,
        priors=Priors.flat() if flat else None,
        engine=options.engine,
        bootstrap=options.bootstrap,
        seed=seed if seed is not None or loaded is None else loaded.fit.seed,
        progress=True,
    )
    _write_selection(found, out)
    typer.echo(repr(found))
    _leave(found.best.converged)


@app.command("fit-many")
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
) -> None:
    """Fit thousands of small mixtures, one a row (or a pair of rows) of a matrix, and keep the best of each.

    Writes fits.tsv (one row a problem, with a verdict in words) and fits.nc (parameters and criteria, which
    `bayesgmm.read_many` reads to assign new samples).

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
    found = fit_many(
        table,
        _numbers(components),
        pairs=two,
        covariance=None if covariance is None else [name.strip() for name in covariance.split(",")],
        criterion=criterion,  # type: ignore[arg-type]
        priors=Priors(weights=Dirichlet(concentration)),
        restarts=restarts,
        threads=threads,
        seed=seed,
        progress=sys.stderr.isatty(),
    )
    out.mkdir(parents=True, exist_ok=True)
    found.write_table(out / "fits.tsv")
    found.save(out / "fits.nc")
    typer.echo(repr(found))
    chosen = found.table[found.table["n_components"] > 0]
    _leave(bool(chosen["converged"].all()))


@app.command()
def simulate(
    out: Out,
    n: Annotated[int, typer.Option(min=1, help="People.")] = 1000,
    frequency: Annotated[
        list[float] | None, typer.Option(help="Effect-allele frequency; repeat for each variant.")
    ] = None,
    log_odds: Annotated[
        list[float] | None, typer.Option(help="Log odds ratio per allele; repeat for each variant.")
    ] = None,
    separation: Annotated[float, typer.Option(help="Distance between the two components, in sds.")] = 3.0,
    weight: Annotated[float, typer.Option(help="Weight of the high component.")] = 0.4,
    seed: Seed = 0,
) -> None:
    """Simulate genotypes (Hardy-Weinberg), memberships given genotype, and a trait of two components.

    Writes traits.tsv, genotypes.tsv, membership.tsv (the truth) and a model card, card.toml.

    Example: `bayesgmm simulate --out sim --n 2000 --frequency 0.3 --log-odds 0.7 --frequency 0.2 --log-odds 0`
    """
    import pandas as pd

    from bayesgmm.io.atomic import write_table, write_text
    from bayesgmm.simulate import simulate_study

    effects = log_odds or [0.7, -0.4]
    made = simulate_study(
        n,
        allele_frequencies=frequency or [0.3, 0.4],
        weights=(1 - weight, weight),
        means=((0.0,), (separation,)),
        effects=[[e] for e in effects],
        traits=["trait"],
        seed=seed,
    )
    out.mkdir(parents=True, exist_ok=True)
    data, index = made.study.dataset, pd.Index(made.study.sample_ids, name="sample")
    write_table(out / "traits.tsv", pd.DataFrame({"trait": data["traits"].values[:, 0]}, index=index), index=True)
    dosages = pd.DataFrame(data["dosages"].values.astype(int), index=index, columns=made.study.variant_names)
    write_table(out / "genotypes.tsv", dosages, index=True)
    write_table(out / "membership.tsv", made.membership.rename_axis("sample").to_frame(), index=True)
    formula = " + ".join(made.study.variant_names)
    write_text(
        out / "card.toml",
        '[card]\nname = "simulated"\n\n[study]\ntrait_columns = ["trait"]\n\n'
        f'[model]\nn_components = 2\nweights = "{formula}"\n',
    )
    typer.echo(f"wrote traits.tsv, genotypes.tsv, membership.tsv and card.toml to {out}")


def _load(card: str, traits: Path, genotypes: Path | None, covariates: Path | None) -> tuple[Card, Study]:
    from bayesgmm.cards import load_card
    from bayesgmm.study import read_study

    loaded = load_card(card)
    return loaded, read_study(traits, genotypes, covariates, **loaded.study_options())


def _fit(card: Card, study: Study, out: Path, seed: int | None) -> MapFit:
    from bayesgmm.analysis.association import associations
    from bayesgmm.io.atomic import write_table, write_text

    options: dict[str, Any] = card.fit.model_dump()
    if seed is not None:
        options["seed"] = seed
    with _status("fitting (the first run on a machine also compiles, 20 to 40 seconds)"):
        earlier = card.earlier_effects(study)
        result = card.mixture(study).fit(study, **options)
    out.mkdir(parents=True, exist_ok=True)
    if earlier is not None:
        write_table(out / "earlier.tsv", earlier.table)
    result.save(out / "fit.nc")
    _write_fit(result, out)
    write_text(out / "priors.txt", f"{result.problem.priors}\n")
    if result.problem.predictor_names and result.problem.n_components > 1:
        write_table(out / "associations.tsv", associations(result))
        _write_inclusion(result, out / "inclusion.tsv")
    return result


def _write_fit(result: MapFit, out: Path) -> None:
    """Parameters and memberships."""
    import pandas as pd

    from bayesgmm.io.atomic import write_table

    write_table(out / "parameters.tsv", result.summary())
    r = result.responsibilities
    columns = [f"component_{k}" for k in r["component"].values]
    membership = pd.DataFrame(r.values, index=pd.Index(r["sample"].values, name="sample"), columns=columns)
    write_table(out / "responsibilities.tsv", membership, index=True)


def _numbers(given: str | None) -> list[int]:
    """Numbers of components from the command line: ``1:6``, both ends, or ``1,2,4``; none where nothing is given."""
    try:
        if given is None:
            return []
        first, colon, last = given.partition(":")
        numbers = list(range(int(first), int(last) + 1)) if colon else [int(k) for k in given.split(",")]
    except ValueError:
        numbers = []
    if not numbers:
        raise InputError(f"--components {given!r}; write a range as 1:6, both ends, or a list as 1,2,4")
    return numbers


def _write_selection(found: Selection, out: Path) -> None:
    from bayesgmm.analysis.combine import combine
    from bayesgmm.io.atomic import write_table, write_text

    out.mkdir(parents=True, exist_ok=True)
    found.save(out / "selection.tsv")
    found.save(out / "selection.nc")
    _write_fit(found.best, out)
    words = f"{found.summary()}\n"
    if found.n_components > 1:
        clusters = combine(found.best)
        write_table(out / "clusters.tsv", clusters.table)
        words += f"{clusters}\n"
    write_text(out / "verdict.txt", words)
    try:
        found.plot().savefig(out / "selection.png", dpi=130)
    except MissingExtraError as absent:
        typer.echo(f"no picture: {absent}", err=True)


def _sample(
    card: Card, study: Study, start: MapFit | None, out: Path, draws: int | None, chains: int | None, seed: int | None
) -> Posterior:
    from bayesgmm.analysis.association import associations
    from bayesgmm.analysis.occupied import occupied
    from bayesgmm.io.atomic import write_table

    options: dict[str, Any] = card.sample.model_dump()
    options |= {k: v for k, v in (("draws", draws), ("chains", chains), ("seed", seed)) if v is not None}
    with _status("sampling (the first run on a machine also compiles, some seconds)"):
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


def _compare(start: MapFit, posterior: Posterior, out: Path) -> bool:
    from bayesgmm.analysis.compare import NOT_CONVERGED, compare
    from bayesgmm.io.atomic import write_table

    comparison = compare(start, posterior)
    write_table(out / "comparison.tsv", comparison)
    return NOT_CONVERGED not in comparison.findings


def _checks(result: MapFit | Posterior, out: Path, seed: int | None) -> FitChecks | None:
    """Whether the mixture fits, in words and as a table in the folder; None where that cannot be said."""
    from bayesgmm.analysis.fit_checks import check_fit
    from bayesgmm.io.atomic import write_table

    try:
        with _status("checking the fit"):
            checks = check_fit(result, seed=seed)
    except InputError as reason:
        typer.echo(f"whether the mixture fits is not said: {reason}")
        return None
    write_table(out / "fit_checks.tsv", checks.table)
    for trait, words in checks.verdict.items():
        typer.echo(f"{trait}: {words}")
    return checks


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


def _prior_study(
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


def _status(text: str) -> Any:
    from rich.console import Console

    return Console(stderr=True).status(text)


def _leave(trusted: bool) -> None:
    if not trusted:
        raise typer.Exit(NOT_TRUSTED)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: errors are one line on standard error, warnings likewise."""
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    try:
        app(arguments, standalone_mode=True)
    except (InputError, MissingExtraError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from None
    except KeyboardInterrupt:
        print("interrupted; files already written are whole", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
