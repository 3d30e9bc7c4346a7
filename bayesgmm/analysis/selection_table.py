"""The table of a selection: its columns, what a criterion chooses in it, and probabilities of the models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logsumexp

from bayesgmm import names
from bayesgmm.analysis.leave_one_out import alike
from bayesgmm.errors import InputError
from bayesgmm.inference.nested import Cell

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.model import Mixture

Array = NDArray[np.float64]

KIND = ["covariance", "weights", "noise", "df"]  # columns in which models of one number of components differ
CRITERIA = ("bic", "icl", "aic", "nec", "loo", "evidence", "blrt")
# what a criterion's value is
VALUE_IS = {
    "bic": "BIC",
    "icl": "ICL",
    "aic": "AIC",
    "nec": "entropy / gain",
    "loo": "-2 elpd",
    "evidence": "-2 log evidence",
    "blrt": "p-value",
}

_FEWEST = 2.0  # people that every component must hold for the normalised entropy to be of use
_NOTHING = 1e-12  # nats: less is rounding


def column_of(criterion: str) -> str:
    """Column of the table that a criterion is in."""
    return "lrt_p" if criterion == "blrt" else criterion


def chosen_values(table: pd.DataFrame, criterion: str, level: float) -> pd.Series[Any]:
    """What a criterion minimises, a row; NaN where it does not come into question.

    Leave-one-out does not compare what cannot be believed, and puts the smallest model first of those that are not
    clearly worse than the best (:func:`bayesgmm.analysis.leave_one_out.alike`); values are places. The bootstrap test
    leaves of every family and formula the smallest number of components that is not rejected against one more; BIC
    decides among these. The normalised entropy leaves out models with a component of fewer than two people.
    """
    if criterion == "loo" and "loo_diff" in table:
        return _places_by_loo(table)
    if criterion != "blrt":
        return table[criterion].astype(float)
    values = pd.Series(np.nan, index=table.index)
    fitted = table[table["status"] == "fitted"]
    for _, rows in by_kind(fitted):
        ordered = rows.sort_values(names.N_COMPONENTS)
        enough = np.flatnonzero(ordered["lrt_p"].to_numpy(dtype=float) > level)
        tested = np.flatnonzero(ordered["lrt_p"].notna().to_numpy())
        if len(tested):
            # where every test rejects, the one above the largest that was tested
            place = enough[0] if len(enough) else min(tested[-1] + 1, len(ordered) - 1)
            values[ordered.index[place]] = ordered["bic"].iloc[place]
    return values


def knows_no_formula(table: pd.DataFrame) -> pd.Series[Any]:
    """Rows of one component alone that stand for all formulas: there are no weights that a formula could move."""
    kind = [names.N_COMPONENTS, *(name for name in KIND if name != "weights")]
    one = (table[names.N_COMPONENTS] == 1) & (table["weights"] == "")
    alone = table[table["status"] == "fitted"].groupby(kind)["weights"].nunique()
    formulas = table.groupby(kind[1:])["weights"].nunique()
    each = [tuple(row) for row in table[kind].itertuples(index=False)]
    shared = [alone.get(key, 0) == 1 and formulas.get(key[1:], 0) > 1 for key in each]
    return one & pd.Series(shared, index=table.index, dtype=bool)


def by_kind(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Formula and rows of each family, formula, noise and tails; one component that knows none is with each formula."""
    shared = knows_no_formula(table)
    alone = table[shared]
    for kind, rows in table[~shared].groupby(KIND, sort=False):
        covariance, formula, noise, df = kind
        mine = (alone["covariance"] == covariance) & (alone["noise"] == noise) & (alone["df"] == df)
        yield str(formula), pd.concat([alone[mine], rows]) if mine.any() else rows


def as_good_by_loo(table: pd.DataFrame) -> pd.Series[Any]:
    """Whether each model is not clearly worse than the best by leave-one-out (-2 elpd); False where not compared."""
    pairs = zip(table["loo_diff"], table["loo_diff_se"], strict=True)
    good = [bool(np.isfinite(lower)) and alike(0.5 * lower, 0.5 * error) for lower, error in pairs]
    return pd.Series(good, index=table.index, dtype=bool)


def _places_by_loo(table: pd.DataFrame) -> pd.Series[Any]:
    compared = table[table["loo_diff"].notna()]
    good = as_good_by_loo(compared)
    smallest = compared[good].sort_values(["n_parameters", "loo"], kind="stable").index[:1]
    others = compared.drop(smallest).sort_values("loo", kind="stable").index
    places = pd.Series(np.nan, index=table.index)
    places[[*smallest, *others]] = np.arange(float(len(compared)))
    return places


def log_evidences(table: pd.DataFrame) -> tuple[NDArray[np.int64], Array, Array, str]:
    """Rows with a log evidence, these, their standard errors, and whether they are the evidence or from BIC.

    BIC is roughly -2 times a log evidence (Schwarz 1978), without an error.
    """
    if "evidence" in table and table["evidence"].notna().any():
        known = table["evidence"].notna().to_numpy()
        values = -0.5 * table["evidence"].to_numpy(dtype=float)
        return np.flatnonzero(known), values[known], 0.5 * table["evidence_se"].to_numpy(dtype=float)[known], "evidence"
    values = -0.5 * table["bic"].to_numpy(dtype=float)
    known = np.isfinite(values)
    return np.flatnonzero(known), values[known], np.zeros(int(known.sum())), "bic"


def size_probabilities(table: pd.DataFrame) -> pd.DataFrame:
    """Posterior probability of each number of components; see :attr:`Selection.n_components_probability`."""
    rows, values, errors, source = log_evidences(table)
    of_row = table[names.N_COMPONENTS].to_numpy()[rows]
    sizes = np.unique(of_row)
    log_z, se = np.empty(len(sizes)), np.empty(len(sizes))
    for j, size in enumerate(sizes):
        mine = of_row == size
        shares = np.exp(values[mine] - logsumexp(values[mine]))
        log_z[j] = logsumexp(values[mine]) - np.log(mine.sum())
        se[j] = np.sqrt(((shares * errors[mine]) ** 2).sum())
    p = np.exp(log_z - logsumexp(log_z))
    # d p_k / d log z_j = p_k ([j = k] - p_j); errors of different numbers are independent
    slopes = p[:, None] * (np.eye(len(p)) - p)
    result = pd.DataFrame({names.N_COMPONENTS: sizes, "probability": p, "error": np.sqrt(slopes**2 @ se**2)})
    result.attrs["from"] = source
    return result


def model_probabilities(table: pd.DataFrame) -> Array:
    """Posterior probability of every model: of its number of components, and of it among those of that number."""
    rows, values, _, _ = log_evidences(table)
    _, which, counts = np.unique(table[names.N_COMPONENTS].to_numpy()[rows], return_inverse=True, return_counts=True)
    log_weights = values - np.log(counts[which])
    result = np.full(len(table), np.nan)
    result[rows] = np.exp(log_weights - logsumexp(log_weights))
    return result


def numbers_of(fit: MapFit) -> dict[str, float]:
    """Columns of a row that its fit alone decides."""
    arrays = fit.problem.arrays
    r = arrays.membership(fit.parameters)[0]
    each = -(r * np.log(np.maximum(r, 1e-300))).sum(axis=1)
    repeats = arrays.sample.repeats
    entropy = float(each @ repeats if len(repeats) else each.sum())
    people = repeats @ r if len(repeats) else r.sum(axis=0)
    held = people[: arrays.n_located]
    starts = fit.starts
    return {
        "n_parameters": fit.n_parameters,
        names.LOG_LIKELIHOOD: fit.log_likelihood,
        names.LOG_POSTERIOR: fit.log_posterior,
        "bic": fit.bic,
        "icl": fit.bic + 2.0 * entropy,
        "aic": fit.aic,
        "entropy": entropy if entropy > _NOTHING else 0.0,
        # components that have died, under a prior that lets them, hold nobody
        "smallest": float(held[held > 0.0].min(initial=np.inf)),
        "converged": fit.converged,
        "starts": len(starts),
        "reached": int(starts["reached_best"].sum()) if len(starts) else 0,
    }


def told_of(weights: str | None, noise: bool | float, df: float | str | None) -> dict[str, str]:
    """Formula, noise and degrees of freedom as the table has them: empty for none."""
    told = "" if noise is False else "noise" if noise is True else f"noise in {noise:g}"
    return {
        "weights": weights or "",
        "noise": told,
        "df": "" if df is None else df if isinstance(df, str) else f"{df:g}",
    }


def differs(table: pd.DataFrame, column: str) -> bool:
    """Whether the models of a table are not all alike in a column."""
    return len(set(table[column])) > 1


def model_in_words(table: pd.DataFrame, row: Any) -> str:
    """Family of a row, and what else the table's models differ in."""
    told = str(row["covariance"])
    if differs(table, "df"):
        told += f", Student-t ({row['df']})" if row["df"] else ", Gaussian"
    if differs(table, "noise"):
        told += f", {row['noise'] or 'no noise'}"
    # one component has no weights
    if differs(table, "weights") and (row["weights"] or row["noise"] or row[names.N_COMPONENTS] > 1):
        told += f", weights {row['weights'] or 'constant'}"
    return told


def table_of_cells(cells: Sequence[Cell], bases: Sequence[Mixture]) -> pd.DataFrame:
    """One row a model; ``bases`` are the specifications that its key counts."""
    rows: list[dict[str, Any]] = []
    for cell in cells:
        if cell.same_as is not None:
            continue
        base = bases[cell.key.base]
        row: dict[str, Any] = {
            names.N_COMPONENTS: cell.key.n_components,
            "covariance": cell.key.covariance,
            **told_of(base.weights, base.noise, base.df),
        }
        if cell.fit is not None:
            row |= numbers_of(cell.fit)
        row |= {"seconds": cell.seconds, "status": "failed" if cell.fit is None else "fitted", "reason": cell.failure}
        rows.append(row)
    wanted = [names.N_COMPONENTS, *KIND, "n_parameters", names.LOG_LIKELIHOOD, names.LOG_POSTERIOR]
    wanted += ["bic", "icl", "aic", "nec", "entropy", "smallest", "converged", "starts", "reached", "seconds"]
    table = pd.DataFrame(rows).reindex(columns=[*wanted, "status", "reason"])
    table["nec"] = normalised_entropy(table)
    return table


def normalised_entropy(table: pd.DataFrame) -> pd.Series[Any]:
    """Entropy over the log likelihood gained on one component of the same kind; 1 for one component.

    NaN where a component holds fewer than two people: a person alone is told apart for certain.
    """
    result = pd.Series(np.nan, index=table.index)
    for _, rows in by_kind(table):
        heights = rows[names.LOG_LIKELIHOOD].astype(float)
        one = rows[names.N_COMPONENTS] == 1
        if not one.any():
            continue
        gained = heights - float(heights[one].iloc[0])
        told = (rows["smallest"].astype(float) >= _FEWEST) & (gained > 0.0) & ~one
        result[rows.index[told]] = rows.loc[told, "entropy"].astype(float) / gained[told]
        result[rows.index[one & heights.notna()]] = 1.0
    return result


def best_row(table: pd.DataFrame, criterion: str, level: float) -> int:
    """Row that a criterion chooses.

    Raises
    ------
    InputError
        If no row has it.
    """
    values = chosen_values(table, criterion, level).to_numpy(dtype=float)
    if np.isnan(values).all():
        none = "fewer than two numbers of components follow on each other"
        if criterion == "loo":
            none = "leave-one-out cannot be trusted of any model (high k-hats); use engine = 'nuts', or more draws"
        reason = next((r for r in table["reason"] if r), none)
        raise InputError(f"select: no model has the criterion {criterion!r}: {reason}")
    return int(np.nanargmin(values))
