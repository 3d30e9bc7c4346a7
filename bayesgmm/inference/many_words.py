"""What the numbers of many fits mean, in words: how far components are apart, what they are, and what to beware of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesgmm import names

if TYPE_CHECKING:
    from bayesgmm.inference.many_fits import ManyFits

Array = NDArray[np.float64]

APART = 2.0  # Ashman's D above which two components are apart (Ashman, Bird and Zepf 1994)
FEW = 5.0  # samples below which a component should not be believed


def separations(params: xr.Dataset) -> tuple[Array, Array]:
    r"""Smallest separation of two components, and the bimodality index of two, by problem; NaN where there are none.

    .. math:: D = \min_{j < k} \sqrt{(\mu_j - \mu_k)' \left(\frac{\Sigma_j + \Sigma_k}{2}\right)^{-1} (\mu_j - \mu_k)},
              \qquad BI = \sqrt{\pi_0 \pi_1} D,

    of one trait Ashman's D and, with equal variances, the index of Wang and others (2009, Cancer Informatics 7:199).
    """
    weights, means, covariances = (params[n].values for n in (names.WEIGHTS, names.MEANS, names.COVARIANCES))
    smallest = np.full(len(weights), np.inf)
    for k in range(weights.shape[1]):
        for j in range(k):
            gap = means[:, k] - means[:, j]
            both = 0.5 * (covariances[:, k] + covariances[:, j])
            known = ~np.isnan(weights[:, k])
            if gap.shape[1] == 1:
                square = gap[known, 0] ** 2 / both[known, 0, 0]
            else:
                square = np.einsum("pd,pd->p", gap[known], np.linalg.solve(both[known], gap[known, :, None])[..., 0])
            smallest[known] = np.minimum(smallest[known], np.sqrt(square))
    smallest[np.isinf(smallest)] = np.nan
    index = np.full(len(weights), np.nan)
    two = params[names.N_COMPONENTS].values == 2
    if two.any():
        index[two] = np.sqrt(weights[two, 0] * weights[two, 1]) * smallest[two]
    return smallest, index


def verdicts(params: xr.Dataset, separation: Array) -> NDArray[Any]:
    """One phrase a problem."""
    k, modes = params[names.N_COMPONENTS].values, params["n_modes"].values
    out = np.empty(len(k), dtype=object)
    people, spike = params["n_observed"].values, params["spike"].values
    spiked = params["spike_component"].values >= 0
    each = zip(k.tolist(), modes.tolist(), separation.tolist(), people.tolist(), strict=True)
    for i, (size, peaks, apart, n) in enumerate(each):
        if spiked[i] and size == 1:
            out[i] = f"most samples are at {spike[i]:g}"
        elif spiked[i]:
            out[i] = f"{size} components, one a spike at {spike[i]:g}"
        elif size == 0:
            out[i] = "no fit"
        elif n < FEW * size or n < 2 * FEW:
            out[i] = f"too few samples to tell ({n:.0f})"
        elif size == 1:
            out[i] = "one component is enough"
        elif peaks == 0:
            out[i] = f"{size} components, {'apart' if apart > APART else 'which overlap'}"
        elif peaks == 1:
            out[i] = f"{size} components, one mode: skewed or heavy-tailed rather than groups"
        else:
            out[i] = f"{size} components, {peaks} modes"
    return out


def cautions(fits: ManyFits) -> NDArray[Any]:
    """What to beware of in each chosen fit; empty where there is nothing."""
    p, chosen = fits.params, fits.chosen
    k = p[names.N_COMPONENTS].values
    out = np.full(len(k), "", dtype=object)

    def add(where: NDArray[np.bool_], words: Any) -> None:
        texts = words[where] if isinstance(words, np.ndarray) else words
        out[where] = np.where(out[where] == "", texts, out[where] + "; " + texts)

    fitted = k > 0
    add(fitted & ~chosen["converged"].values, "not converged")
    spiked = p["spike_component"].values >= 0
    told = zip(*(p[name].values.tolist() for name in ("spike_component", "spike_samples", "spike")), strict=True)
    spikes = [
        f"component {j} is a spike, with {n} samples at {x:g}: Mixture(spike={x!r}) models it" for j, n, x in told
    ]
    add(spiked, np.array(spikes, dtype=object))
    add(fitted & chosen["converged"].values & ~chosen["strict"].values, "flat at the top: components may coincide")
    with np.errstate(invalid="ignore"):
        fewest = np.nanmin(np.where(np.isnan(p[names.WEIGHTS].values), np.inf, p[names.WEIGHTS].values), axis=1)
        few = fitted & (k > 1) & (fewest * p["n_observed"].values < FEW)
    add(few, f"a component of fewer than {FEW:g} samples")
    other = "icl" if fits.criterion == "bic" else "bic"
    values = fits.scores[other].values
    flat = np.where(np.isnan(values), np.inf, values).reshape(len(k), -1)
    numbers = np.repeat(fits.scores[names.N_COMPONENTS].values, fits.scores.sizes[names.COVARIANCE])
    preferred = numbers[flat.argmin(axis=1)]
    words = np.array([f"{other.upper()} prefers {number}" for number in preferred], dtype=object)
    add(fitted & (preferred != k), words)
    largest = int(fits.scores[names.N_COMPONENTS].values.max())
    if fits.scores.sizes[names.N_COMPONENTS] > 1:
        add(k == largest, "the largest number asked for")
    return out


def most_bimodal(fits: ManyFits, n: int | None) -> pd.DataFrame:
    """Rows of the table of problems with groups that are apart, the surest first."""
    table = fits.table.copy()
    table.insert(0, "gain", fits.gain.values)
    smallest = np.nan_to_num(fits.params[names.WEIGHTS].values, nan=1.0).min(axis=1)
    table.insert(1, "smallest", smallest * table["n_observed"].to_numpy())
    apart = table["n_modes"] >= 2 if "n_modes" in table else table["separation"] > APART
    kept = apart & (table["spike_component"] < 0) & (table["smallest"] >= FEW)
    by = "gain" if table["gain"].notna().any() else "bimodality_index"
    return table[kept].sort_values(by, ascending=False, kind="stable").iloc[:n]


def shape(fits: ManyFits) -> str:
    """How many problems of how many samples, and which way they lie in the matrix."""
    rows = "pairs of rows" if "first" in fits.params else "rows"
    n, many = fits.n_problems, fits.params["n_observed"].max().item()
    of = f"{len(fits.data.samples)}" if fits.data is not None else f"up to {many:.0f}"
    return f"{n} problem{'s' if n != 1 else ''} ({rows}) of {of} sample{'s' if of != '1' else ''} (columns)"


def counted(fits: ManyFits) -> str:
    """How many problems chose each number of components, and how many have no fit and why."""
    counts = pd.Series(fits.params[names.N_COMPONENTS].values).value_counts().sort_index()
    shown = [f"{n} with {k} component{'s' if k != 1 else ''}" for k, n in counts.items() if k]
    told = f"{shape(fits)}, by {fits.criterion.upper()}: {', '.join(shown) or 'none could be fitted'}"
    if shown and 0 in counts:
        told += f"; {counts[0]} not fitted ({commonest_reason(fits)})"
    spikes = int((fits.params["spike_component"].values >= 0).sum())
    told += f"; {spikes} with a component at one value" if spikes else ""
    unsure = int((~fits.chosen["converged"].values & (fits.params[names.N_COMPONENTS].values > 0)).sum())
    return told + (f"; {unsure} not converged" if unsure else "")


def commonest_reason(fits: ManyFits) -> str:
    """Why most of the problems without a fit have none; empty where all were fitted."""
    statuses = pd.Series(fits.params["status"].values)[fits.params[names.N_COMPONENTS].values == 0]
    if statuses.empty:
        return ""
    counts = statuses.str.removeprefix("not fitted: ").value_counts()
    often = f"{counts.iloc[0]} of them: " if len(counts) > 1 else ""
    return f"{often}{counts.index[0]}"


def summary(fits: ManyFits) -> str:
    """What came of all problems, in two or three sentences."""
    k = fits.params[names.N_COMPONENTS].values
    fitted = int((k > 0).sum())
    if not fitted:
        return f"None of the {fits.n_problems:,} problems could be fitted; status says why."
    several, alone = int((k > 1).sum()), int((k == 1).sum())
    told = f"{several:,} of {fitted:,} problems have more than one component by {fits.criterion.upper()}"
    told += f", for {alone:,} one is enough. " if alone else ". "
    groups = len(most_bimodal(fits, None))
    what = "a density with two modes or more" if fits.params.sizes[names.TRAIT] == 1 else "components that are apart"
    told += f"{groups:,} have {what}, and at least {FEW:g} samples in each component; in the others more components "
    told += "describe a shape rather than groups."
    spikes = int((fits.params["spike_component"].values >= 0).sum())
    if spikes:
        told += f" {spikes:,} have a component that is but for a few samples at one value."
    return told


def kinds_of_caution(fits: ManyFits) -> pd.DataFrame:
    """How many problems have each caution, the numbers and names in it left out, and each reason for no fit."""
    parts = fits.table.loc[fits.table["caution"] != "", "caution"].str.split("; ").explode()
    parts = parts.str.replace(r"component \d+ is a spike.*", "a component is a spike at one value", regex=True)
    reasons = fits.table.loc[fits.table["n_components"] == 0, "status"]
    counts = pd.concat([reasons, parts]).value_counts()
    return pd.DataFrame({"what": counts.index, "problems": counts.to_numpy()})
