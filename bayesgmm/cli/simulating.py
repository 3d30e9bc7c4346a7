"""``simulate``: studies whose truth is known."""

from __future__ import annotations

from typing import Annotated

import typer

from bayesgmm.cli.options import Out, Seed


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
