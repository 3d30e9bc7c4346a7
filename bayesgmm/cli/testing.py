"""``test-effect``: is there an effect, by four tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayesgmm.cli.console import is_watched, show
from bayesgmm.cli.options import CardArgument, Covariates, Genotypes, Out, Seed, Traits, Workers
from bayesgmm.cli.steps import load, write_picture
from bayesgmm.errors import InputError

if TYPE_CHECKING:
    from bayesgmm.analysis.effect_tests_result import EffectTests
    from bayesgmm.cards import Card
    from bayesgmm.study import Study

_SHOWN = ("predictors", "test", "statistic", "df", "p_value", "recommended", "advice")
_BEST = 10  # variants that are shown of all


def effect_tests_command(
    card: CardArgument,
    traits: Traits,
    out: Out,
    genotypes: Genotypes = None,
    covariates: Covariates = None,
    predictors: Annotated[
        list[str] | None,
        typer.Option(help="Variant or predictor to test; repeat for others; rs1,rs2 tests both together."),
    ] = None,
    tests: Annotated[str | None, typer.Option(help="Some of lr,score,permutation,bootstrap; default all.")] = None,
    draws: Annotated[int | None, typer.Option(min=1, help="Simulated studies of the bootstrap (999).")] = None,
    permutations: Annotated[int | None, typer.Option(min=1, help="Permutations (9999).")] = None,
    stop_after: Annotated[
        int | None, typer.Option(min=1, help="Stop at so many statistics as large as the observed one.")
    ] = None,
    every_variant: Annotated[
        bool,
        typer.Option("--every-variant", help="Score tests of every variant, each beside the card's formula, instead."),
    ] = False,
    workers: Workers = None,
    seed: Seed = None,
) -> None:
    """Test effects on the weights by likelihood ratio, score, permutation and bootstrap, with advice which to trust.

    What is tested: --predictors, or the card's `[tests]`, or each variant and predictor of its formula by itself. A
    name that the formula lacks is added to it. Writes effect_tests.tsv, effect_tests.nc (with every replicate, which
    `bayesgmm.read_effect_tests` reads) and effect_tests.png; with --every-variant score_tests.tsv.

    Example: `bayesgmm test-effect two-humps --traits traits.tsv --genotypes genotypes.tsv --predictors rs101 --out
    results`
    """
    loaded, study = load(card, traits, genotypes, covariates)
    if every_variant:
        if predictors or tests:
            raise InputError("--every-variant is of score tests of all variants; leave --predictors and --tests out")
        _write_score_tests(loaded, study, out, seed)
        return
    asked = [_listed(names) for names in predictors] if predictors else None
    given = {"draws": draws, "permutations": permutations, "stop_after": stop_after, "seed": seed}
    write_effect_tests(loaded, study, out, asked, workers=workers, tests=_listed(tests) if tests else None, **given)


def write_effect_tests(
    card: Card, study: Study, out: Path, asked: list[list[str]] | None, *, workers: int | None = None, **given: Any
) -> EffectTests:
    """The tests that a card describes, with what was given in its place, told and in the folder."""
    from bayesgmm.analysis.effect_hypotheses import effects_of
    from bayesgmm.analysis.effect_tests import test_effect as test_one
    from bayesgmm.analysis.effect_tests_result import EffectTests
    from bayesgmm.cards import TestsOptions

    options = (card.tests or TestsOptions()).model_dump()
    options |= {key: value for key, value in given.items() if value is not None}
    if options["tests"] is None:
        del options["tests"]
    of_card = options.pop("predictors")
    model = card.mixture(study)
    every = asked or of_card or effects_of(model.problem(study))
    if not every:
        raise InputError("the card's formula of the weights has no predictor; name what to test with --predictors")
    done = []
    for predictors in every:
        if is_watched():
            typer.echo(f"testing {predictors if isinstance(predictors, str) else ' + '.join(predictors)}", err=True)
        done.append(test_one(model, study, predictors, **options, workers=workers, progress=is_watched()))
    found = EffectTests.joined(done)
    out.mkdir(parents=True, exist_ok=True)
    found.save(out / "effect_tests.tsv")
    found.save(out / "effect_tests.nc")
    write_picture(out / "effect_tests.png", found.plot)
    show(found[list(_SHOWN)], "Tests of no effect on the weights")
    for name, words in found.verdicts.items():
        typer.echo(f"{name}: {words}")
    typer.echo(f"written: {out / 'effect_tests.tsv'}, {out / 'effect_tests.nc'}")
    return found


def _write_score_tests(card: Card, study: Study, out: Path, seed: int | None) -> None:
    """Score tests of every variant from the card's fit."""
    from bayesgmm.analysis.effect_tests import IN_THE_FIT, score_variants
    from bayesgmm.io.atomic import write_table

    options = card.fit.model_dump() | ({} if seed is None else {"seed": seed})
    table = score_variants(card.mixture(study).fit(study, **options), study)
    # what tests it there has another name on the command line
    told = "in the card's formula already; the command without --every-variant tests it there"
    table["note"] = table["note"].replace(IN_THE_FIT, told)
    out.mkdir(parents=True, exist_ok=True)
    write_table(out / "score_tests.tsv", table)
    tested = int((table["df"] > 0).sum())
    best = table[table["df"] > 0].nsmallest(_BEST, "p_value")
    if tested:
        show(best.drop(columns="note"), f"Smallest p-values of {tested} variants tested")
    for note, count in table.loc[table["df"] == 0, "note"].value_counts().items():
        typer.echo(f"{count} not tested: {note}")
    typer.echo(f"written: {out / 'score_tests.tsv'}")


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",")]
