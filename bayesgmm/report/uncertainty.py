"""The report's section on how sure the estimates are: bootstrap beside standard errors by formula."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pandas as pd

from bayesgmm import names
from bayesgmm.analysis.standard_errors import standard_errors
from bayesgmm.errors import InputError
from bayesgmm.report.parts import Section, html_table, picture

if TYPE_CHECKING:
    from bayesgmm.analysis.bootstrap import Bootstrap

_KINDS = {
    "nonparametric": "people drawn with replacement",
    "weighted": "everybody with a random weight",
    "parametric": "traits of the same people drawn from the fit",
}
_APART = 1.25  # ratio of standard errors from which they are said to differ


def bootstrap_section(found: Bootstrap) -> Section:
    """What the replicates say of every parameter, beside the observed information and the sandwich."""
    table = found.table().drop(columns=["kind", "note"])
    points = [f"{found.summary}."]
    for kind in ("observed", "sandwich"):
        try:
            table[f"se, {kind}"] = standard_errors(found.map, kind)["se"]
        except InputError as reason:
            points.append(f"No standard errors by formula: {reason}.")
            break
    else:
        points.append(_compared(table, found.doubtful))
    if found.note:
        points.append(f"Read with care: {found.note}.")
    text = (
        f"{len(found.alignment)} refits of {_KINDS[found.kind]}, seed {found.seed}, with {found.level:.0%} "
        f"{found.method} intervals; bias is their mean less the estimate. Standard errors by formula are beside: "
        "observed is right where the model is, sandwich for what a wrong model tends to."
    )
    shown = names.EFFECTS if found.problem.predictor_names and found.problem.n_components > 1 else names.MEANS
    drawn = picture(
        found.plot(shown), f"Replicates of {shown}: estimate (line), interval (bar), normal curve", wide=True
    )
    return Section(
        "How sure the estimates are", text, [drawn], [html_table(table, "Estimates and their standard errors")], points
    )


def _compared(table: pd.DataFrame, doubtful: Iterable[str]) -> str:
    """Where the bootstrap and the observed information differ, but for effects whose replicates are in doubt."""
    starts = tuple(f"{names.EFFECTS}[{name}, " for name in doubtful)
    table = table[~table["quantity"].str.startswith(starts)] if starts else table
    ratio = (table["se"] / table["se, observed"]).where(table["se, observed"] > 0.0)
    far = table.loc[(ratio > _APART) | (ratio < 1.0 / _APART), "quantity"]
    if far.empty:
        which = "other standard error" if starts else "standard error"
        return f"No {which} differs from that of the observed information by more than {_APART - 1:.0%}."
    return (
        f"Standard errors of {', '.join(far)} differ from those of the observed information by more than "
        f"{_APART - 1:.0%}: skewness, a model that is not quite right, or few people; believe the bootstrap's."
    )
