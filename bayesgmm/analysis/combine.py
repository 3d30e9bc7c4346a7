r"""Components that make one cluster: a hierarchy of merges by entropy (Baudry, Raftery, Celeux, Lo and Gottardo 2010).

BIC chooses as many components as the density needs; a cluster that is not Gaussian takes several. Starting from the
fit's components, the two are merged whose merging lowers the entropy of the memberships,
:math:`-\sum_{ik} r_{ik} \log r_{ik}`, most: they overlap most. The density stays as it is. Entropy against the number
of clusters falls steeply while overlapping components are merged, and then no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.inference.posterior import Posterior

Array = NDArray[np.float64]

_APART = 0.01  # entropy, as a share of the largest possible, below which components are apart as they are


@dataclass(frozen=True, eq=False)
class Combination:
    """Clusters of components, from :func:`combine`.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a number of clusters, the most first: ``n_clusters``, ``entropy`` (nats), ``entropy_per_person``,
        ``merged`` (the two clusters that were merged to come here, as sets of components) and ``people_merged``.
    members : dict
        For every number of clusters, the components of each cluster, in the order of their lowest component.
    suggested : int
        Number of clusters where two straight lines through the entropies meet best (Baudry et al. 2010, section 3); the
        number of components where they are apart as they are, or where there are two, which have no elbow.
    advice : str
        In words.
    """

    table: pd.DataFrame
    members: dict[int, list[list[int]]]
    suggested: int
    advice: str
    _responsibilities: Array
    _samples: NDArray[np.generic]
    _labels: tuple[str, ...]

    def responsibilities(self, n_clusters: int | None = None) -> xr.DataArray:
        """Probability of each cluster for each person (sample, component); default: the suggested number."""
        groups = self.members[self._known(n_clusters)]
        merged = np.stack([self._responsibilities[:, group].sum(axis=1) for group in groups], axis=1)
        return xr.DataArray(
            merged,
            dims=(names.SAMPLE, names.COMPONENT),
            coords={names.SAMPLE: self._samples, names.COMPONENT: np.arange(len(groups))},
            name=names.RESPONSIBILITIES,
        )

    def assign(self, n_clusters: int | None = None) -> pd.DataFrame:
        """Likeliest cluster of each person (column ``component``) and its probability, indexed by sample id."""
        r = self.responsibilities(n_clusters).values
        return pd.DataFrame(
            {names.COMPONENT: r.argmax(axis=1), "probability": r.max(axis=1)},
            index=pd.Index(self._samples, name=names.SAMPLE),
        )

    def plot(self, *, ax: Axes | None = None) -> Figure:
        """Draw the entropy against the number of clusters, with the two lines of the suggestion."""
        from bayesgmm.plots.selection import plot_combination

        return plot_combination(self, ax=ax)

    def __repr__(self) -> str:
        told = "; ".join(_named(group, self._labels) for group in self.members[self.suggested])
        return f"{self.advice}\nclusters of components: {told}\n{self.table.round(3).to_string(index=False)}"

    def _known(self, n_clusters: int | None) -> int:
        k = self.suggested if n_clusters is None else n_clusters
        if k not in self.members:
            raise InputError(f"n_clusters = {k}; it must be from 1 to {max(self.members)}")
        return k


def combine(result: MapFit | Posterior) -> Combination:
    """Merge components that overlap into clusters, one pair after the other.

    Parameters
    ----------
    result : MapFit or Posterior

    Returns
    -------
    Combination

    Raises
    ------
    InputError
        If there is only one component.

    Examples
    --------
    >>> import numpy as np, bayesgmm as bg
    >>> rng = np.random.default_rng(1)
    >>> skewed = rng.gamma(2.0, 1.0, 400)
    >>> y = np.concatenate([skewed, rng.normal(20.0, 1.0, 300)])
    >>> found = bg.combine(bg.Mixture(3).fit(y, seed=1))
    >>> found.suggested, found.members[2]
    (2, [[0, 1], [2]])
    """
    if not hasattr(result, "problem"):
        raise InputError(f"combine: given a {type(result).__name__}; give a fit or a posterior")
    problem = result.problem
    size, labels = problem.n_components, problem.component_labels
    if size < 2:
        raise InputError("combine: one component has nothing to be combined with; fit two or more")
    r = result.responsibilities.values
    people = r[problem.people]
    weight = np.ones(len(people)) if problem.sample_weight is None else problem.sample_weight[problem.people]
    groups = [[k] for k in range(size)]
    members = {size: [list(group) for group in groups]}
    merged = people.copy()
    rows = [(size, _entropy(merged, weight).sum(), "", np.nan)]
    while len(groups) > 1:
        i, j = _closest(merged, weight)
        told = f"{_named(groups[i], labels)} and {_named(groups[j], labels)}"
        count = float(weight @ (merged[:, i] + merged[:, j]))
        merged[:, i] += merged[:, j]
        merged = np.delete(merged, j, axis=1)
        groups[i] = sorted(groups[i] + groups.pop(j))
        order = sorted(range(len(groups)), key=lambda k: groups[k][0])
        groups, merged = [groups[k] for k in order], merged[:, order]
        members[len(groups)] = [list(group) for group in groups]
        rows.append((len(groups), _entropy(merged, weight).sum(), told, count))
    table = pd.DataFrame(rows, columns=["n_clusters", "entropy", "merged", "people_merged"])
    # what rounding leaves of the entropy of one cluster
    table["entropy"] = table["entropy"].clip(lower=0.0)
    table.insert(2, "entropy_per_person", table["entropy"] / weight.sum())
    suggested, advice = _suggestion(table["entropy"].to_numpy()[::-1], float(weight.sum()))
    return Combination(table, members, suggested, advice, r, np.asarray(problem.sample_ids), labels)


def _entropy(r: Array, weight: Array) -> Array:
    """Entropy of the memberships (K,) by component."""
    result: Array = -(weight @ (r * np.log(np.maximum(r, 1e-300))))
    return result


def _closest(r: Array, weight: Array) -> tuple[int, int]:
    """The two clusters whose merging lowers the entropy most."""
    alone = _entropy(r, weight)
    best, pair = -np.inf, (0, 1)
    for i in range(r.shape[1]):
        for j in range(i + 1, r.shape[1]):
            gain = float(alone[i] + alone[j] - _entropy(r[:, [i]] + r[:, [j]], weight)[0])
            if gain > best:
                best, pair = gain, (i, j)
    return pair


def elbow(entropy: Array) -> tuple[int, tuple[Array, Array]]:
    """Where two straight lines through the entropies of 1, 2, ... clusters meet best, and the lines.

    The point in common belongs to both (Baudry et al. 2010, section 3).

    Parameters
    ----------
    entropy : ndarray (K,)
        Of three clusters or more.

    Returns
    -------
    n_clusters : int
    lines : tuple of ndarray (2,)
        Slope and intercept below and above.
    """
    x = np.arange(1.0, len(entropy) + 1.0)
    best, found = np.inf, (2, (np.zeros(2), np.zeros(2)))
    for c in range(2, len(entropy)):
        lines = np.polyfit(x[:c], entropy[:c], 1), np.polyfit(x[c - 1 :], entropy[c - 1 :], 1)
        misfit = sum(
            float(((np.polyval(line, x[part]) - entropy[part]) ** 2).sum())
            for line, part in zip(lines, (slice(0, c), slice(c - 1, None)), strict=True)
        )
        # with three clusters both lines fit exactly, and the one break there is is the answer
        if misfit < best - 1e-12 * max(best, 1.0) or not np.isfinite(best):
            best, found = misfit, (c, lines)
    return found


def _suggestion(entropy: Array, people: float) -> tuple[int, str]:
    """Number of clusters and why, from the entropies of 1, 2, ... clusters."""
    size = len(entropy)
    if entropy[-1] < _APART * people * np.log(size):
        return size, f"The {size} components are apart as they are: {size} clusters"
    if size == 2:
        share = entropy[-1] / (people * np.log(2.0))
        return 2, (
            f"The two components overlap (entropy {100 * share:.0f}% of the largest possible) and are left as they "
            "are: an elbow takes three components or more, so the entropy cannot say whether two are one cluster; ICL "
            "asks that (bayesgmm.select, criterion = 'icl')"
        )
    k, _ = elbow(entropy)
    fall = (entropy[-1] - entropy[k - 1]) / entropy[-1]
    told = (
        f"Merging {size} components into {k} clusters takes {100 * fall:.0f}% of the entropy of the memberships; what "
        "is merged after that overlaps less"
    )
    if size == 3:
        told += ". Of three components there is one place for an elbow, so look at the entropies in the table"
    return k, told


def _named(group: list[int], labels: tuple[str, ...]) -> str:
    return " + ".join(labels[k] for k in group)
