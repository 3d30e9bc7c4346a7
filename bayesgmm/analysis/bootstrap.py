"""Bootstraps: refits of people drawn anew, with components aligned to the fit and the alignment's confidence told."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import norm

from bayesgmm import names
from bayesgmm.analysis.bootstrap_cautions import ENOUGH_FOR_SE, doubtful_effects, least_draws
from bayesgmm.analysis.quantities import Asked, Quantities, jacobian, one_draw
from bayesgmm.checks import check_share, check_whole, check_workers, seed_or_zero
from bayesgmm.core.labels import order_and_margin
from bayesgmm.core.objective import Parameters, Stacked
from bayesgmm.core.sample import Sample
from bayesgmm.core.starts import start_from
from bayesgmm.errors import FitWarning, InputError, warn
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.parallel import in_parallel
from bayesgmm.inference.replicates import Refit, Resampling, Reweighted, Simulated, refit
from bayesgmm.inference.scores import row_weights, scores_by_row
from bayesgmm.inference.tidy import parameter_index
from bayesgmm.problem import Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
Kind = Literal["nonparametric", "weighted", "parametric"]
Method = Literal["percentile", "basic", "bca", "normal"]

KINDS = ("nonparametric", "weighted", "parametric")
METHODS = ("percentile", "basic", "bca", "normal")
_UNSURE = 0.25  # share of the fit's own margin below which the alignment of a replicate is in doubt
_NO_MARGIN = 0.005  # share of all people below which a margin is nothing, whatever the fit's own
_MOST_UNSURE = 0.01  # share of replicates in doubt that is passed over in silence


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Refits of people drawn anew, in the fit's labels.

    Attributes
    ----------
    map : MapFit
        The fit.
    kind : str
    posterior : xarray.Dataset
        The replicates' estimates, with the names and dims of posterior draws (chain, draw, ...), so that what takes
        draws takes them; ``draw`` is the replicate's number, and failures are left out.
    alignment : pandas.DataFrame
        One row a replicate, failures too: ``draw``, ``agreement`` (share of the people's memberships that are the
        fit's, after aligning), ``margin`` (what the next best order of the components agrees less), ``confidence``
        (the margin as a share of the fit's own with itself: near 1 as sure as can be, near 0 another order does as
        well), ``flag`` ("", "unsure", "not converged", "failed"), ``converged``, ``n_iterations``, ``failure``.
    seed : int
    level, method
        Of the intervals that are told where nothing else is asked for; see :meth:`table`.
    """

    map: MapFit
    kind: str
    posterior: xr.Dataset
    alignment: pd.DataFrame
    seed: int
    level: float = 0.95
    method: str = "percentile"
    engine: ClassVar[str] = "bootstrap"

    @property
    def problem(self) -> Problem:
        """Data and resolved priors of the fit."""
        return self.map.problem

    @property
    def draws(self) -> xr.Dataset:
        """The replicates' estimates (chain, draw, ...); the same as ``posterior``."""
        return self.posterior

    @property
    def n_failed(self) -> int:
        """Replicates without a fit."""
        return int((self.alignment["flag"] == "failed").sum())

    @property
    def n_unsure(self) -> int:
        """Replicates whose components may be another's."""
        return int((self.alignment["flag"] == "unsure").sum())

    @cached_property
    def standard_errors(self) -> xr.Dataset:
        """Standard deviations of the replicates, with the names and dims of ``params``."""
        return self.posterior.std((names.CHAIN, names.DRAW), ddof=1)

    def intervals(self, level: float | None = None, method: str | None = None) -> xr.Dataset:
        """Intervals of every parameter, with a dim ``bound`` ("lower", "upper"); arguments as for :meth:`table`."""
        table = self.table(level=level, method=method)
        low, high = (self.map.params.copy(deep=True) for _ in range(2))
        for row, (_, variable, where) in zip(table.itertuples(), parameter_index(self.map.params), strict=True):
            for bound, value in ((low, row.lower), (high, row.upper)):
                bound[variable].values[tuple(where.values())] = value
                if variable == names.COVARIANCES:
                    bound[variable].values[where[names.COMPONENT], where[names.TRAIT_BIS], where[names.TRAIT]] = value
        bounds = xr.concat([low, high], dim="bound")
        return bounds.assign_coords(bound=np.array(["lower", "upper"]))

    def table(self, quantity: Asked = None, *, level: float | None = None, method: str | None = None) -> pd.DataFrame:
        """Estimate, bias, standard error and interval of every parameter or of functions of them.

        Parameters
        ----------
        quantity : str, callable or mapping of names to callables, optional
            As in :func:`bayesgmm.standard_errors`.
        level : float, optional
            None: the result's own, 0.95 unless told otherwise.
        method : {"percentile", "basic", "bca", "normal"}, optional
            None: the result's own, percentile unless told otherwise. ``percentile``: quantiles of the replicates.
            ``basic``: these mirrored at the estimate. ``bca``: corrected for bias and for a standard error that
            changes with the parameter (Efron 1987), whose acceleration is from the people's scores. ``normal``:
            estimate and standard error. Basic and normal intervals of weights are on the logit and those of variances
            on the logarithmic scale.

        Returns
        -------
        pandas.DataFrame
            ``quantity``, ``estimate`` (of the fit), ``bias`` (mean of the replicates less the estimate), ``se``,
            ``lower``, ``upper``, ``kind``, ``note`` (what to know before reading: see :attr:`note`).
        """
        level = self.level if level is None else level
        method = self.method if method is None else method
        _check_intervals(level, method)
        asked = Quantities.resolve(self.map.params, quantity)
        estimate = asked.of(one_draw(self.map))[0]
        values = asked.of(self.posterior)
        tails = np.array([0.5 * (1.0 - level), 0.5 * (1.0 + level)])
        if method == "bca":
            lower, upper = self._accelerated(asked, estimate, values, tails)
        elif method == "percentile":
            lower, upper = np.quantile(values, tails, axis=0)
        else:
            centre, scaled = asked.near_normal(estimate), asked.near_normal(values)
            if method == "basic":
                bounds = 2.0 * centre - np.quantile(scaled, tails[::-1], axis=0)
            else:
                bounds = centre + norm.ppf(tails)[:, None] * scaled.std(axis=0, ddof=1)
            lower, upper = asked.back(bounds)
        return pd.DataFrame(
            {
                "quantity": asked.labels,
                "estimate": estimate,
                "bias": values.mean(axis=0) - estimate,
                "se": values.std(axis=0, ddof=1),
                "lower": lower,
                "upper": upper,
                "kind": f"bootstrap, {self.kind}",
                "note": self._notes(asked.labels, quantity is None or isinstance(quantity, str), level, method),
            }
        )

    def _accelerated(self, asked: Quantities, estimate: Array, values: Array, tails: Array) -> tuple[Array, Array]:
        """BCa: which quantiles of the replicates to take (Efron 1987, with the influence of people by their scores)."""
        scores = scores_by_row(self.problem, self.map.parameters)
        influence = scores @ self.map.conditional_covariance @ jacobian(self.map, asked)
        if not np.isfinite(influence).all():
            raise InputError(
                "method = 'bca' needs the curvature of the log posterior at the mode, which is not downwards in every "
                "direction; use method='percentile'"
            )
        counts, _ = row_weights(self.problem)
        cubes, squares = counts @ influence**3, counts @ influence**2
        acceleration = np.where(squares > 0.0, cubes / (6.0 * np.maximum(squares, 1e-200) ** 1.5), 0.0)
        below = (values < estimate).mean(axis=0) + 0.5 * (values == estimate).mean(axis=0)
        n = len(values)
        bias = norm.ppf(np.clip(below, 0.5 / n, 1.0 - 0.5 / n))
        bounds = []
        for tail in tails:
            z = bias + norm.ppf(tail)
            at = norm.cdf(bias + z / (1.0 - acceleration * z))
            bounds.append([float(np.quantile(values[:, j], a)) for j, a in enumerate(at)])
        return np.array(bounds[0]), np.array(bounds[1])

    @property
    def note(self) -> str:
        """What should be known before reading: failures, unsure labels, few draws, effects of few people."""
        return "; ".join([*self._of_draws(self.level, self.method), *self.doubtful.values()])

    @cached_property
    def doubtful(self) -> dict[str, str]:
        """By predictor, why the intervals of its effects are too narrow: few people inform it, or its prior does.

        People drawn anew leave out, or repeat, the few who have the rarer genotype. The estimate is then the prior's,
        and the replicates scatter less than the effect is uncertain.
        """
        if not self.problem.predictor_names or self.problem.n_components < 2:
            return {}
        kept, effects = self.posterior.sizes[names.DRAW], names.EFFECTS
        ratio = None if kept < ENOUGH_FOR_SE else self.standard_errors[effects] / self.map.standard_errors[effects]
        return doubtful_effects(self.problem, self.kind, None if ratio is None else ratio.values)

    def _of_draws(self, level: float, method: str) -> list[str]:
        """What should be known of the replicates as such, for intervals of a level."""
        told, kept, needed = [], self.posterior.sizes[names.DRAW], least_draws(level, method)
        if self.n_failed:
            told.append(f"{self.n_failed} of {len(self.alignment)} replicates failed")
        if self.n_unsure:
            told.append(f"labels unsure in {self.n_unsure} of {len(self.alignment)}")
        if kept < needed:
            told.append(
                f"{kept} draws are too few for {100 * level:.4g}% {method} intervals, which need {needed} or more"
            )
        return told

    def _notes(self, labels: list[str], of_parameters: bool, level: float, method: str) -> list[str]:
        """Of every quantity what should be known of it; what concerns one predictor only where it may matter."""
        every = self._of_draws(level, method)
        return [
            "; ".join(
                [
                    *every,
                    *(
                        words
                        for name, words in self.doubtful.items()
                        if not of_parameters or label.startswith(f"{names.EFFECTS}[{name}, ")
                    ),
                ]
            )
            for label in labels
        ]

    def plot(self, quantity: Asked = None, *, level: float | None = None, method: str | None = None) -> Figure:
        """Histograms of the replicates with the estimate and its interval; arguments as for :meth:`table`."""
        from bayesgmm.plots.bootstrap import plot_bootstrap

        return plot_bootstrap(self, quantity, level=level, method=method)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the table to ``.tsv``; or all of it to ``.nc`` or ``.zarr``, for :func:`bayesgmm.read_bootstrap`."""
        from bayesgmm.analysis.bootstrap_storage import save_bootstrap

        save_bootstrap(self, path)

    @property
    def summary(self) -> str:
        """In a sentence, how many replicates failed and how sure it is which component is which."""
        confidence = self.alignment["confidence"].median()
        return (
            f"Bootstrap ({self.kind}): {len(self.alignment)} replicates, {self.n_failed} failed, labels unsure in "
            f"{self.n_unsure} (median confidence {confidence:.2f})"
        )

    def __repr__(self) -> str:
        care = f". Read with care: {self.note}" if self.note else ""
        table = self.table().drop(columns=["kind", "note"])
        return f"{self.summary}{care}\n{table.round(4).to_string(index=False)}"


def bootstrap(
    fit: MapFit,
    kind: Kind = "nonparametric",
    *,
    draws: int = 1000,
    seed: int | None = None,
    restarts: int = 1,
    level: float = 0.95,
    method: Method = "percentile",
    workers: int | None = None,
    progress: bool = False,
) -> Bootstrap:
    """Refit people drawn anew, many times in parallel.

    Parameters
    ----------
    fit : MapFit
    kind : {"nonparametric", "weighted", "parametric"}
        ``nonparametric``: people drawn with replacement (Efron 1979). ``weighted``: everybody with a random weight,
        Dirichlet(1, ..., 1) times their number: the weighted likelihood bootstrap, which never loses a small
        component altogether (Newton and Raftery 1994; O'Hagan, Murphy, Scrucca and Gormley 2019). ``parametric``: the
        same people with traits drawn from the fit, missing where they are missing: right where the model is.
    draws : int, default 1000
        Replicates. 95% percentile intervals need 40, BCa's 400; with fewer there is a warning and a note.
    seed : int, optional
        None: 0. The number of workers changes nothing.
    restarts : int, default 1
        Starts of each replicate: the fit, and memberships drawn from those it gives. More find other modes, which a
        climb from the fit alone may leave unseen.
    level, method
        Of the intervals that the result tells where nothing else is asked for; see :meth:`Bootstrap.table`.
    workers : int, optional
        Threads; None: one a processor.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    Bootstrap
        With ``standard_errors``, ``intervals()``, ``table()``, ``plot()``, and ``alignment``: how sure it is that
        component 1 of a replicate is component 1 of the fit. :func:`bayesgmm.associations` and
        :func:`bayesgmm.penetrance` take it in place of a posterior.

    Raises
    ------
    InputError
        If an option is out of bounds, or every replicate failed.

    Notes
    -----
    The prior is part of the estimator: it stays the numbers it was for the fit, and is not resolved again from the
    people drawn. Components of a replicate are matched to the fit's by assignment of the memberships that both give to
    the original people, not by the order of their means.
    """
    if not isinstance(fit, MapFit):
        raise InputError(f"fit is a {type(fit).__name__}; give a MapFit, then the kind of the bootstrap")
    if kind not in KINDS:
        raise InputError(f"kind = {kind!r}; it must be one of {', '.join(KINDS)}")
    check_whole("draws", draws, 2)
    check_whole("restarts", restarts, 1)
    check_workers("workers", workers)
    seed = seed_or_zero(seed)
    _check_intervals(level, method)
    problem = fit.problem
    drawn: Resampling
    if kind == "parametric":
        drawn = Simulated(problem, fit.parameters)
    else:
        drawn = Reweighted(problem, "multinomial" if kind == "nonparametric" else "dirichlet")
    pivot = _Pivot(fit)

    def one(rng: np.random.Generator) -> tuple[Refit, float, float]:
        sample = drawn.sample(rng)
        starts = [fit.parameters, *_drawn_starts(fit, sample, restarts - 1, rng)]
        found = refit(problem.arrays, sample, starts, likelihood=False)
        return pivot.aligned(found)

    results = in_parallel(one, draws, seed=seed, workers=workers, progress=progress, label="bootstrap")
    posterior, alignment = _collected(fit, results, pivot)
    found = Bootstrap(fit, kind, posterior, alignment, seed, level, method)
    few = found.posterior.sizes[names.DRAW] < least_draws(level, method)
    if found.n_failed or found.n_unsure > _MOST_UNSURE * draws or few or found.doubtful:
        lost = "kind='weighted' keeps small components; " if found.n_failed and kind == "nonparametric" else ""
        see = "see the column 'flag' of .alignment" if found.n_failed or found.n_unsure else "see .note"
        warn(f"bootstrap: {found.note}; {lost}{see}", FitWarning)
    return found


def _check_intervals(level: float, method: str) -> None:
    check_share("level", level)
    if method not in METHODS:
        raise InputError(f"method = {method!r}; it must be one of {', '.join(METHODS)}")


class _Pivot:
    """Memberships of the original people under the fit, to which replicates are aligned."""

    def __init__(self, fit: MapFit) -> None:
        self._arrays = fit.problem.arrays.of_sample(fit.problem.arrays.sample)
        responsibilities, _ = self._arrays.membership(fit.parameters)
        repeats = self._arrays.sample.repeats
        counts = repeats if len(repeats) else np.ones(len(responsibilities))
        self._weighted = responsibilities * (counts / counts.sum())[:, None]
        self._n_fixed = len(fit.problem.fixed)
        _, _, self.own_margin = order_and_margin(self._weighted.T @ responsibilities, self._n_fixed)

    def aligned(self, found: Refit) -> tuple[Refit, float, float]:
        """The refit in the fit's labels, the agreement and the margin."""
        if found.parameters is None:
            return found, float("nan"), float("nan")
        theirs, _ = self._arrays.membership(found.parameters)
        order, best, margin = order_and_margin(self._weighted.T @ theirs, self._n_fixed)
        if (order != np.arange(len(order))).any():
            found = found.of(found.parameters.permuted(order))
        return found, best, margin


def _drawn_starts(fit: MapFit, sample: Sample, count: int, rng: np.random.Generator) -> list[Parameters]:
    """Starts from memberships drawn person by person from those that the fit gives the sample."""
    if count == 0:
        return []
    arrays = fit.problem.arrays.of_sample(sample)
    responsibilities, _ = arrays.membership(fit.parameters)
    cumulative = responsibilities.cumsum(axis=1)[:, :-1]
    points = fit.problem.start_points(sample)
    starts = []
    for _ in range(count):
        component = (rng.random(len(cumulative))[:, None] > cumulative).sum(axis=1)
        start = start_from(arrays, points, np.eye(arrays.n_components)[component])
        if start is not None:
            starts.append(start)
    return starts


def _collected(
    fit: MapFit, results: list[tuple[Refit, float, float]], pivot: _Pivot
) -> tuple[xr.Dataset, pd.DataFrame]:
    """Estimates of the replicates that have a fit, and the alignment of all."""
    rows = []
    for j, (found, agreement, margin) in enumerate(results):
        confidence = 1.0 if np.isinf(margin) else margin / max(pivot.own_margin, 1e-12)
        unsure = confidence < _UNSURE or margin < _NO_MARGIN
        flag = "unsure" if unsure else "" if found.converged else "not converged"
        rows.append(
            {
                names.DRAW: j,
                "agreement": agreement,
                "margin": margin,
                "confidence": confidence,
                "flag": "failed" if found.parameters is None else flag,
                "converged": found.converged,
                "n_iterations": found.n_iterations,
                "failure": found.failure,
            }
        )
    alignment = pd.DataFrame(rows)
    kept = [(j, r.parameters) for j, (r, _, _) in enumerate(results) if r.parameters is not None]
    if len(kept) < 2:
        raise InputError(
            f"bootstrap: {len(results) - len(kept)} of {len(results)} replicates failed ({rows[0]['failure']}); use "
            "kind='weighted' or a proper prior of the components"
        )
    draws = fit.problem.draws_of(Stacked.of([parameters for _, parameters in kept]))
    draws = draws.assign_coords({names.CHAIN: [0], names.DRAW: [j for j, _ in kept]})
    return draws, alignment
