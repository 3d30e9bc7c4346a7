"""Which row of an earlier study's table is of which variant, and which allele it counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd

from bayesgmm import names
from bayesgmm.checks import VARIANT_FACTS
from bayesgmm.errors import InputError, first_few
from bayesgmm.io.alleles import align, clean_allele, contig_name
from bayesgmm.io.tables import read_table

if TYPE_CHECKING:
    from bayesgmm.io.summary_statistics import SummaryStatistics
    from bayesgmm.study import Study

Scale = Literal["log_odds", "odds_ratio", "trait"]
Match = Literal["id", "position"]
Ambiguous = Literal["drop", "frequency", "keep"]
Duplicates = Literal["error", "most_precise", "drop"]
Initial = Literal["flat", "default"]
Cases = Literal["high", "low"]

USED, DROPPED, ABSENT, OTHER = "used", "dropped", "not in the table", "not one variant"
COLUMNS = (
    names.PREDICTOR,
    "variant",
    "status",
    "reason",
    "mean",
    "sd",
    "matched_by",
    "flipped",
    "other_strand",
    "ambiguous",
    "earlier_id",
    "earlier_effect_allele",
    "earlier_other_allele",
    "study_effect_allele",
    "study_other_allele",
    "earlier_frequency",
    "study_frequency",
    "effect",
    "standard_error",
    "log_odds_ratio",
    "log_odds_ratio_se",
    "note",
)
_FAR = 0.2  # difference of the frequencies of one allele between two studies that is worth a look


@dataclass(frozen=True)
class Choices:
    """Options of :func:`bayesgmm.read_earlier_effects` that hold for every row, checked."""

    scale: Scale
    cases: Cases
    match: Match
    ambiguous: Ambiguous
    duplicates: Duplicates
    initial: Initial
    discount: float
    heterogeneity: float
    frequency_margin: float

    def __post_init__(self) -> None:
        allowed = {
            "scale": Scale,
            "cases": Cases,
            "match": Match,
            "ambiguous": Ambiguous,
            "duplicates": Duplicates,
            "initial": Initial,
        }
        for what, kind in allowed.items():
            if getattr(self, what) not in get_args(kind):
                known = " or ".join(repr(k) for k in get_args(kind))
                raise InputError(f"{what} = {getattr(self, what)!r}; it must be {known}")
        if not 0.0 < self.discount <= 1.0:
            raise InputError(
                f"discount = {self.discount!r}; it must be above 0 and at most 1 (to count the earlier study for "
                "nothing, leave it out)"
            )
        if not (np.isfinite(self.heterogeneity) and self.heterogeneity >= 0.0):
            raise InputError(f"heterogeneity = {self.heterogeneity!r}; it must be at least 0 and finite")
        if not 0.0 <= self.frequency_margin < 0.5:
            raise InputError(f"frequency_margin = {self.frequency_margin!r}; it must be at least 0 and below 0.5")


def variant_facts_of(study: Study, variants: list[str], alleles: Any, match: str) -> pd.DataFrame:
    """What is known of the variants, by variant: alleles, frequency, and the place when it is needed."""
    facts = pd.DataFrame(index=pd.Index(variants, dtype=object))
    for fact in VARIANT_FACTS:
        if fact in study.dataset.coords:
            facts[fact] = study.dataset[fact].sel({names.VARIANT: variants}).values
    if isinstance(alleles, str) and alleles == "same":
        if match == "position":
            raise InputError("alleles = 'same' needs match='id': by position, alleles tell the variants apart")
        return facts.assign(effect_allele="", other_allele="", same=True)
    if alleles is not None:
        given = alleles if isinstance(alleles, pd.DataFrame) else read_table(alleles)
        given = given.set_axis(given.index.astype(str))
        strange = [c for c in given.columns if c not in VARIANT_FACTS]
        if strange or given.index.has_duplicates:
            raise InputError(
                f"alleles: unknown columns {first_few(strange)}; known are {', '.join(VARIANT_FACTS)}"
                if strange
                else f"alleles: duplicated variants {first_few(given.index[given.index.duplicated()].unique())}"
            )
        for fact in given.columns:
            known = facts.index.intersection(given.index)
            if fact not in facts:
                facts[fact] = pd.Series(np.nan, index=facts.index, dtype=object)
            facts.loc[known, fact] = given.loc[known, fact]
    for fact in ("effect_allele", "other_allele"):
        facts[fact] = [clean_allele(a) for a in facts[fact]] if fact in facts else ""
    if (facts["effect_allele"] == "").all():
        raise InputError(
            "the study does not name the alleles of its variants, so effects cannot be oriented; give alleles (a "
            "table with effect_allele and other_allele by variant), or alleles='same' when the earlier table counts "
            "the same alleles"
        )
    if match == "position":
        if not {"contig", "position"} <= set(facts.columns):
            raise InputError(
                "match = 'position': the study has no contig and position of its variants; give alleles "
                "with these columns, or match by id"
            )
        facts["position"] = pd.to_numeric(facts["position"], errors="coerce")
        facts["contig"] = [contig_name(c) for c in facts["contig"]]
    return facts.assign(same=False)


def match_variant(
    rows: pd.DataFrame, facts: pd.DataFrame, variant: str, table: SummaryStatistics, chosen: Choices
) -> dict[str, Any]:
    """Match one variant: what goes into its row of the table."""
    fact = {str(k): v for k, v in facts.loc[[variant]].iloc[0].items()}
    record: dict[str, Any] = {
        "variant": variant,
        "study_effect_allele": fact["effect_allele"],
        "study_other_allele": fact["other_allele"],
        "study_frequency": fact.get("effect_allele_frequency", np.nan),
    }
    if not fact["same"] and not fact["effect_allele"]:
        return record | {"status": DROPPED, "reason": "the study does not name its alleles"}
    if chosen.match == "id":
        here = rows["id"] == variant
        if "second_id" in rows:
            here |= rows["second_id"] == variant
    elif np.isnan(fact["position"]):
        return record | {"status": DROPPED, "reason": "the study has no position of it"}
    else:
        here = (rows["position"] == fact["position"]) & (rows["contig"].map(contig_name) == fact["contig"])
    found = [_candidate({str(k): v for k, v in row.items()}, fact, chosen) for row in rows[here].to_dict("records")]
    if not found:
        return record | {"status": ABSENT}
    # the order of the table's rows decides nothing
    found.sort(key=lambda c: (c["reason"], str(c["earlier_effect_allele"]), c["log_odds_ratio_se"], c["effect"]))
    usable = [c for c in found if not c["reason"]]
    record["matched_by"] = chosen.match
    if not usable:
        return record | found[0] | {"status": DROPPED}
    if len(usable) > 1:
        said = f"{len(usable)} rows of the earlier table are of it"
        if chosen.duplicates == "error":
            raise InputError(
                f"{table.where}: {len(usable)} usable rows are of variant {variant!r} (effects "
                f"{', '.join(format(c['effect'], '.4g') for c in usable)}); keep one, meta-analyse them before, "
                "or give duplicates='most_precise' or 'drop'"
            )
        if chosen.duplicates == "drop":
            return record | {"status": DROPPED, "reason": said}
        best = min(usable, key=lambda c: c["log_odds_ratio_se"])
        usable = [best | {"note": "; ".join(filter(None, [f"{said}, the most precise is used", best["note"]]))}]
    return record | usable[0] | {"status": USED}


def _candidate(row: dict[str, Any], fact: dict[str, Any], chosen: Choices) -> dict[str, Any]:
    """One row of the earlier table as it stands to a variant: oriented, or with the reason why not."""
    effect_allele, other_allele = (clean_allele(row.get(a, "")) for a in ("effect_allele", "other_allele"))
    frequency = float(row.get("effect_allele_frequency", np.nan))
    made: dict[str, Any] = {
        "earlier_id": row.get("id", ""),
        "earlier_effect_allele": effect_allele,
        "earlier_other_allele": other_allele,
        "earlier_frequency": frequency,
        "effect": float(row["effect"]),
        "standard_error": float(row["effect_se"]),
        "log_odds_ratio": np.nan,
        "log_odds_ratio_se": float(row["log_odds_se"]),
        "reason": str(row["problem"]),
        "note": "",
    }
    flipped = False
    if not fact["same"]:
        stands = align(effect_allele, other_allele, fact["effect_allele"], fact["other_allele"])
        if not stands.fits:
            theirs, ours = f"{effect_allele}/{other_allele}", f"{fact['effect_allele']}/{fact['other_allele']}"
            return made | {"reason": f"alleles {theirs} in the earlier table, {ours} in the study"}
        flipped, made["other_strand"], made["ambiguous"] = stands.flipped, stands.other_strand, stands.ambiguous
        if stands.ambiguous and chosen.ambiguous != "keep":
            flipped, why = _by_frequency(frequency, fact, chosen)
            made["reason"] = made["reason"] or why
    made["flipped"] = flipped
    if not made["reason"]:
        made["log_odds_ratio"] = -row["log_odds"] if flipped else row["log_odds"]
    if frequency == frequency:
        away = abs((1.0 - frequency if flipped else frequency) - fact.get("effect_allele_frequency", np.nan))
        if away > _FAR and not fact["same"]:
            made["note"] = f"its allele frequencies differ by {away:.2f} between the studies"
    return made


def _by_frequency(frequency: float, fact: dict[str, Any], chosen: Choices) -> tuple[bool, str]:
    """Orient an ambiguous pair by which allele is the rarer one; else say why it cannot be."""
    pair = f"{fact['effect_allele']}/{fact['other_allele']}"
    if chosen.ambiguous == "drop":
        return False, f"{pair} is strand ambiguous"
    ours = float(fact.get("effect_allele_frequency", np.nan))
    # what cannot be compared is not far from 0.5
    far = all(abs(f - 0.5) >= chosen.frequency_margin for f in (frequency, ours))
    if not far:
        shown = ", ".join("unknown" if f != f else f"{f:.2f}" for f in (frequency, ours))
        return False, f"{pair} is strand ambiguous, and its frequencies ({shown}) are too near 0.5 to tell"
    return (frequency > 0.5) != (ours > 0.5), ""
