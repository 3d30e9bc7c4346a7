"""Priors of effects from the summary statistics of an earlier study, matched to a study's variants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesgmm import names
from bayesgmm.errors import DataWarning, InputError, first_few, warn
from bayesgmm.io.summary_statistics import SummaryStatistics, effects_of, read_summary_statistics
from bayesgmm.knowledge.trait_scale import shift_per_log_odds
from bayesgmm.knowledge.variant_matching import (
    ABSENT,
    COLUMNS,
    DROPPED,
    OTHER,
    USED,
    Ambiguous,
    Cases,
    Choices,
    Duplicates,
    Initial,
    Match,
    Scale,
    match_variant,
    variant_facts_of,
)
from bayesgmm.priors import LogOddsNormal

if TYPE_CHECKING:
    from bayesgmm.knowledge.trait_scale import Components
    from bayesgmm.study import Study

_LARGE = 1.0  # log odds ratio beyond which the slope at the average person is not the regression's


@dataclass(frozen=True, eq=False)
class EarlierEffects:
    """What an earlier study says of a study's predictors, as a prior, and how it was matched.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a predictor. ``status``: "used", "dropped" (in the earlier table, and ``reason`` says why it is not
        used), "not in the table", or "not one variant" (a covariate, or a variant that is in several columns).
        ``mean`` and ``sd`` of the prior; ``flipped``, ``other_strand``, ``ambiguous``; the alleles and frequencies of
        both; ``effect`` and ``standard_error`` as the table has them (logarithms of odds ratios), ``log_odds_ratio``
        and ``log_odds_ratio_se`` for the study's effect allele before discount and heterogeneity; ``note``: what is
        worth a look.
    prior : LogOddsNormal
        Mean and sd of every predictor by name, for ``Priors(effects=...)``.
    source, format : str
        The table, and what it was read as.
    n_rows : int
        Rows of the table.
    options : dict
        Scale, match, discount, heterogeneity and the other choices.
    """

    table: pd.DataFrame
    prior: LogOddsNormal
    source: str
    format: str
    n_rows: int
    options: dict[str, Any]

    @property
    def summary(self) -> str:
        """What was done, in plain words."""
        table, o = self.table, self.options
        used = table[table["status"] == USED]
        lines = [
            f"Earlier effects from {self.source} ({self.format}, {self.n_rows:,} rows), matched by {o['match']}: "
            f"{len(used)} of {len(table)} predictors take their prior from it"
            + _counted(flipped=int(used["flipped"].sum()), on_the_other_strand=int(used["other_strand"].sum()))
            + "."
        ]
        for row in _records(table[table["status"] != USED]):
            why = f" ({row['reason']})" if row["reason"] else ""
            lines.append(f"  {row[names.PREDICTOR]}: {row['status']}{why}, keeps the default prior.")
        lines += [f"  {row[names.PREDICTOR]}: {row['note']}." for row in _records(used[used["note"] != ""])]
        grown = [f"each earlier standard error s becomes the sd {_sd_in_words(o['discount'], o['heterogeneity'])}"]
        if o["initial"] == "default":
            grown.append("then combined with the default prior")
        lines.append(f"Discount {o['discount']:g}, heterogeneity {o['heterogeneity']:g}: {', '.join(grown)}.")
        if o["scale"] == "trait":
            lines.append(
                f"Effects on the trait were divided by w0 w1 (mu1 - mu0) = {o['shift_per_log_odds']:.4g}, its shift "
                "per unit of log odds, which is taken as known."
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        shown = self.table[[names.PREDICTOR, "status", "flipped", "log_odds_ratio", "log_odds_ratio_se", "mean", "sd"]]
        return f"{self.summary}\n{shown.round(4).to_string(index=False, na_rep='')}"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.summary)}</pre>{self.table.round(4).to_html(index=False, na_rep='')}"


def read_earlier_effects(
    source: pd.DataFrame | str | PathLike[str],
    study: Study,
    *,
    weights: str | None = None,
    discount: float = 1.0,
    heterogeneity: float = 0.0,
    initial: Initial = "flat",
    default: LogOddsNormal | None = None,
    scale: Scale = "log_odds",
    components: Components | None = None,
    trait: str | None = None,
    trait_sd: float | None = None,
    cases: Cases = "high",
    reference: int = 0,
    n_components: int = 2,
    match: Match = "id",
    alleles: pd.DataFrame | str | PathLike[str] | None = None,
    ambiguous: Ambiguous = "drop",
    frequency_margin: float = 0.1,
    duplicates: Duplicates = "error",
    columns: Mapping[str, str | None] | None = None,
) -> EarlierEffects:
    """Make the effects' prior of an earlier study's summary statistics.

    Parameters
    ----------
    source : DataFrame or path
        GWAS-SSF, PLINK 2 ``.glm.*``, PLINK 1.9 ``.assoc.*``, GCTA ``.ma``, ``.mlma`` and ``.fastGWA``, GEMMA, REGENIE,
        or plain columns; TSV, CSV or spaces, ``.gz`` may follow. Of a large table only the study's variants are kept.
        No person may be in both studies: the data would be counted twice.
    study : Study
        Its variants, with their alleles (a PLINK ``.bed`` has them; for tables of dosages give ``alleles``).
    weights : str, optional
        The model's formula of the weights. Default: every variant of the study is a predictor. An earlier effect is
        used for a variant that is in one column, additively; beside ``dominance(rs1)`` or in an interaction the
        coefficient of ``rs1`` is another quantity.
    discount : float, default 1.0
        Above 0, at most 1: what share of itself the earlier study counts; 0.5 makes its likelihood its square root,
        as if it had half the people (power prior).
    heterogeneity : float, default 0.0
        Sd of true log odds ratios between studies. ``sd = sqrt(se^2 / discount + heterogeneity^2)``.
    initial : {"flat", "default"}
        Prior before the earlier study: none, so that a vague earlier effect makes a prior vaguer than the default; or
        the default one, with which it is combined by precision.
    default : LogOddsNormal, optional
        Prior of the predictors without an earlier effect.
    scale : {"log_odds", "odds_ratio", "trait"}
        What the effects are. A column that by its name holds odds ratios is understood under "log_odds".
    components, trait, trait_sd
        With ``scale="trait"``: the two components and the trait, as in
        :func:`bayesgmm.log_odds_from_trait_shift`; ``trait_sd`` where effects are in sds of the trait.
    cases : {"high", "low"}
        Which component the earlier study's cases are like; with "low" the signs turn. Not used on the trait.
    reference, n_components : int
        As in the model: the prior is of the log odds of each other component against the reference. With more than
        two components, each is given the earlier log odds ratio, and the reference must be the lowest or highest.
    match : {"id", "position"}
        By id (rsid or variant_id), or by contig, position and alleles, on the same genome build.
    alleles : DataFrame, path or "same", optional
        Facts that the study lacks, by variant: effect_allele, other_allele (and contig, position). "same": the table
        counts the study's effect alleles, nothing is checked nor flipped.
    ambiguous : {"drop", "frequency", "keep"}
        Variants whose alleles are each other's complement (A/T, C/G), of which letters cannot tell the strand. By
        "frequency" they are oriented where both frequencies of the effect allele are known and at least
        ``frequency_margin`` from 0.5; "keep" believes that both are on one strand.
    frequency_margin : float, default 0.1
    duplicates : {"error", "most_precise", "drop"}
        What to do with several usable rows for one variant. They are not averaged: meta-analyse before.
    columns : mapping, optional
        What the table's columns are called, e.g. ``{"id": "MarkerName", "beta": "Effect"}``; None: there is none.

    Returns
    -------
    EarlierEffects
        ``.prior`` is ready for ``Priors(effects=...)``; print the rest and read it.

    Raises
    ------
    InputError
        If the table cannot be read, no variant is in it, alleles are not known, a variant has two rows, or an option
        is out of bounds.

    Warns
    -----
    DataWarning
        When variants keep the default prior because they are not in the table or their rows cannot be used: alleles
        of another variant, ambiguous strand, a standard error of zero or missing.

    Notes
    -----
    The normal approximation of the earlier likelihood to the power ``discount`` (Ibrahim and Chen 2000, Statistical
    Science 15:46) is normal with the earlier effect as mean and ``se / sqrt(discount)`` as sd. Effects chosen because
    they were significant are too large (the winner's curse): discount does not cure that, heterogeneity softens it.

    Examples
    --------
    >>> import pandas as pd, bayesgmm as bg
    >>> made = bg.simulate_study(500, seed=1)
    >>> gwas = pd.DataFrame({"id": ["rs1"], "effect_allele": "G", "other_allele": "A", "beta": -0.4,
    ...                      "standard_error": 0.1})
    >>> known = pd.DataFrame({"effect_allele": ["A", "C"], "other_allele": ["G", "T"]}, index=["rs1", "rs2"])
    >>> earlier = bg.read_earlier_effects(gwas, made.study, weights="rs1", alleles=known, discount=0.25)
    >>> earlier.prior
    LogOddsNormal(sd={'rs1': 0.2}, mean={'rs1': 0.4})
    """
    chosen = Choices(scale, cases, match, ambiguous, duplicates, initial, discount, heterogeneity, frequency_margin)
    bridge = _bridge(scale, components, trait, trait_sd)
    sign = _direction(chosen, reference, n_components)
    predictors, of_variant, why_not = _predictors(study, weights)
    facts = variant_facts_of(study, list(of_variant.values()), alleles, match)
    table = _read(source, facts, match, columns)
    rows = table.rows.join(effects_of(table, scale))
    rows["log_odds"] = sign * rows["effect"] / bridge
    rows["log_odds_se"] = rows["effect_se"] / abs(bridge)
    base = default if default is not None else LogOddsNormal()
    mean, sd = base.resolve(predictors)[:2]
    made = []
    for p, predictor in enumerate(predictors):
        record = dict.fromkeys(COLUMNS, None) | {names.PREDICTOR: predictor, "mean": mean[p], "sd": sd[p], "note": ""}
        record |= {"flipped": False, "other_strand": False, "ambiguous": False, "reason": "", "status": OTHER}
        if predictor in of_variant:
            record |= match_variant(rows, facts, of_variant[predictor], table, chosen)
        else:
            record["reason"] = why_not[predictor]
        if record["status"] == USED:
            record |= _as_prior(record, float(mean[p]), float(sd[p]), chosen)
        made.append(record)
    result = _tidy(made)
    _tell(result, table, facts, match)
    prior = LogOddsNormal(
        sd=dict(zip(predictors, map(float, result["sd"]), strict=True)),
        mean=dict(zip(predictors, map(float, result["mean"]), strict=True)),
    )
    options = {**vars(chosen), "reference": reference, "shift_per_log_odds": bridge if scale == "trait" else None}
    return EarlierEffects(result, prior, table.where, table.format, table.n_rows, options)


def _bridge(scale: str, components: Components | None, trait: str | None, trait_sd: float | None) -> float:
    """What effects are divided by: the trait's shift per unit of log odds, or 1."""
    if scale != "trait":
        given = [n for n, v in (("components", components), ("trait", trait), ("trait_sd", trait_sd)) if v is not None]
        if given:
            raise InputError(f"{given[0]} is for effects on the trait; give scale='trait', or leave it out")
        return 1.0
    if components is None:
        raise InputError(
            "scale = 'trait' needs components: a fit of the trait without predictors, or {'weights': [w0, w1], "
            "'means': [m0, m1]}"
        )
    if trait_sd is not None and not (np.isfinite(trait_sd) and trait_sd > 0.0):
        raise InputError(f"trait_sd = {trait_sd!r}; it must be above 0 and finite")
    return shift_per_log_odds(components, trait) / (1.0 if trait_sd is None else float(trait_sd))


def _direction(chosen: Choices, reference: int, n_components: int) -> float:
    """Sign that turns the earlier effect to the model's contrast, each other component against the reference."""
    if not 0 <= reference < n_components or n_components < 2:
        raise InputError(
            f"reference = {reference}, n_components = {n_components}; the reference must be one of 2 components or more"
        )
    if chosen.scale == "trait" and n_components > 2:
        raise InputError(
            f"n_components = {n_components}: an effect on the trait determines the log odds ratio of two components "
            "only (with more, many sets of log odds ratios shift the mean alike)"
        )
    if 0 < reference < n_components - 1:
        raise InputError(
            f"reference = {reference}: an earlier effect says nothing of a component in the middle; the reference must "
            f"be 0 or {n_components - 1}"
        )
    turned = (reference > 0) != (chosen.cases == "low" and chosen.scale != "trait")
    return -1.0 if turned else 1.0


def _predictors(study: Study, weights: str | None) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """Predictors, the variant each is the additive effect of, and why the others are of none."""
    if not study.variant_names:
        raise InputError("the study has no variants, so an earlier study says nothing of its predictors")
    if weights is None:
        return study.variant_names, {v: v for v in study.variant_names}, {}
    design = study.design(weights)
    of_variant: dict[str, str] = {}
    why_not: dict[str, str] = {}
    for variant in design.variants:
        columns = design.columns_of(variant)
        if len(columns) == 1 and columns[0] in (variant, f"additive({variant})"):
            of_variant[columns[0]] = variant
        elif len(columns) > 1:
            why_not |= dict.fromkeys(columns, f"{variant} is in {len(columns)} columns, {', '.join(columns)}")
        else:
            why_not[columns[0]] = f"it is not the number of effect alleles of {variant}"
    why_not |= {c: "a covariate" for c in design.columns if c not in of_variant and c not in why_not}
    if not of_variant:
        raise InputError(f"weights = {weights!r}: no predictor is the additive effect of a variant")
    return list(design.columns), of_variant, why_not


def _read(source: Any, facts: pd.DataFrame, match: str, columns: Mapping[str, str | None] | None) -> SummaryStatistics:
    if match == "id":
        table = read_summary_statistics(source, ids=set(facts.index), columns=columns)
    else:
        placed = facts[facts["position"].notna()]
        places = {(c, int(p)) for c, p in zip(placed["contig"], placed["position"], strict=True)}
        table = read_summary_statistics(source, places=places, columns=columns)
    if "effect_allele" not in table.rows and not facts["same"].all():
        raise InputError(
            f"{table.where} (read as {table.format}) has no column of the effect allele; its columns are "
            f"{first_few(table.header, 12)}. Name it, e.g. columns={{'effect_allele': ...}}, or give alleles='same'"
        )
    return table


def _as_prior(record: dict[str, Any], default_mean: float, default_sd: float, chosen: Choices) -> dict[str, Any]:
    """Mean and sd that the earlier effect makes, and a word where it says less than no earlier study."""
    mean = float(record["log_odds_ratio"])
    sd = float(np.hypot(record["log_odds_ratio_se"] / np.sqrt(chosen.discount), chosen.heterogeneity))
    notes = [record["note"]] if record["note"] else []
    if chosen.scale == "trait" and abs(mean) > _LARGE:
        notes.append(f"a log odds ratio of {mean:.2f} is beyond where the bridge from the trait is linear ({_LARGE:g})")
    if chosen.initial == "default":
        precisions = np.array([sd**-2, default_sd**-2])
        mean = float(precisions @ [mean, default_mean] / precisions.sum())
        sd = float(precisions.sum() ** -0.5)
    elif sd > default_sd:
        notes.append(f"its sd {sd:.3g} is vaguer than the default prior's {default_sd:.3g}; initial='default' combines")
    return {"mean": mean, "sd": sd, "note": "; ".join(notes)}


def _tidy(records: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(records)[list(COLUMNS)]
    numbers = {"mean", "sd", "earlier_frequency", "study_frequency", "effect", "standard_error"}
    numbers |= {"log_odds_ratio", "log_odds_ratio_se"}
    for column in COLUMNS:
        if column in numbers:
            table[column] = table[column].astype(float)
        elif column in ("flipped", "other_strand", "ambiguous"):
            table[column] = table[column].fillna(False).astype(bool)
        else:
            table[column] = table[column].fillna("").astype(object)
    return table


def _tell(result: pd.DataFrame, table: SummaryStatistics, facts: pd.DataFrame, match: str) -> None:
    """Refuse a table without any of the variants; warn of those that keep the default prior."""
    sought = result[result["status"] != OTHER]
    if (sought["status"] == ABSENT).all():
        wanted = first_few(facts.index, 3)
        if match == "position":
            wanted += " at " + first_few(
                [f"{c}:{p:.0f}" for c, p in zip(facts["contig"], facts["position"], strict=True)], 3
            )
        others = f" ({table.n_other_tests} rows of them are of other tests than ADD)" if table.n_other_tests else ""
        raise InputError(
            f"{table.where}: none of its {table.n_rows:,} rows is of a variant of the study{others}; sought by "
            f"{match}: {wanted}. Check ids and genome build, or match by {'position' if match == 'id' else 'id'}"
        )
    for status in (DROPPED, ABSENT):
        some = sought[sought["status"] == status]
        if len(some):
            said = [r["predictor"] + (f" ({r['reason']})" if r["reason"] else "") for r in _records(some)]
            warn(
                f"earlier effects: {len(some)} of {len(sought)} variants keep the default prior, {status}: "
                f"{first_few(said)}",
                DataWarning,
            )


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in record.items()} for record in table.to_dict("records")]


def _counted(**numbers: int) -> str:
    said = [f"{count} {what.replace('_', ' ')}" for what, count in numbers.items() if count]
    return f" ({', '.join(said)})" if said else ""


def _sd_in_words(discount: float, heterogeneity: float) -> str:
    inside = "s" if discount == 1.0 else f"s / sqrt({discount:g})"
    if heterogeneity == 0.0:
        return inside
    inside = "s^2" if discount == 1.0 else f"s^2 / {discount:g}"
    return f"sqrt({inside} + {heterogeneity:g}^2)"
