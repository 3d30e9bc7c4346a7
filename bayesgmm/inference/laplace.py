r"""The Laplace engine: a Student-t at the mode, corrected to the exact posterior by importance sampling.

Draws :math:`x` come from a multivariate Student-t in the coordinates in which the posterior is close to a standard
normal (:class:`bayesgmm.inference.density.WhitenedDensity`); each has the weight :math:`p(x, y) / q(x)`. The weights'
largest are Pareto-smoothed (Vehtari, Simpson, Gelman, Yao and Gabry 2024, JMLR 25:72), and their shape, k-hat, says
whether the correction can be trusted. Their mean estimates the evidence :math:`p(y)`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import combinations, permutations, product
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

from bayesgmm import names
from bayesgmm.checks import check_above_zero, check_whole, seed_or_zero
from bayesgmm.core.objective import Stacked
from bayesgmm.errors import InputError, MissingExtraError
from bayesgmm.inference.density import FusedDensity, WhitenedDensity
from bayesgmm.inference.draws import mean_membership, tree_of_draws, versions, with_scales
from bayesgmm.inference.learned_density import LearnedDensity, posterior_density
from bayesgmm.inference.posterior import Posterior

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]

GOOD_K = 0.5  # k-hat up to which the corrected draws are as good as draws
USABLE_K = 0.7  # k-hat above which they are not to be used (Vehtari et al. 2024)

_MOST_PERMUTED = 120  # permutations up to which all of those within reach are looked at; above, exchanges of two
_FAR = 40.0  # distance of a permuted mode, in posterior sds, beyond which no draw comes near it
_MEMBERSHIPS = 100  # draws over which memberships are averaged


@dataclass(frozen=True)
class Weighted:
    """Draws of the proposal, folded to the labels of the mode, with their importance weights.

    Attributes
    ----------
    points : ndarray (n_draws, size)
        In the whitened coordinates of the density.
    log_density : ndarray (n_draws,)
        Of the target, up to the density's own constant.
    weights : ndarray (n_draws,)
        Pareto-smoothed, summing to one.
    pareto_k : float
    ess : float
        Effective number of draws, one over the sum of squared weights.
    log_evidence, log_evidence_error : float
        Log of the mean weight, and its Monte Carlo standard error. The constant of the density is not in it.
    """

    points: Array
    log_density: Array
    weights: Array
    pareto_k: float
    ess: float
    log_evidence: float
    log_evidence_error: float


@lru_cache(maxsize=4)
def student_points(n: int, size: int, df: float, seed: int) -> tuple[Array, Array]:
    """Draws (n, size) of the standard multivariate Student-t, evenly spread, and their log density.

    The underlying uniforms are a scrambled Sobol sequence, so that estimates have less noise than from as many
    independent draws (Owen 1998).
    """
    from scipy.special import ndtri
    from scipy.stats import chi2, qmc

    power = max(1, math.ceil(math.log2(n)))
    uniform = qmc.Sobol(size + 1, rng=np.random.default_rng(seed)).random_base2(power)[:n]
    uniform = np.clip(uniform, 1e-12, 1.0 - 1e-12)
    points: Array = ndtri(uniform[:, :size]) * np.sqrt(df / chi2.ppf(uniform[:, size], df))[:, None]
    log_density = student_log_density((points**2).sum(axis=1), size, df)
    # they are kept for the next fit, so nobody may write to them
    points.flags.writeable = log_density.flags.writeable = False
    return points, log_density


def student_log_density(squared: Array, size: int, df: float) -> Array:
    """Log density of the standard multivariate Student-t at a squared distance from its centre."""
    constant = gammaln(0.5 * (df + size)) - gammaln(0.5 * df) - 0.5 * size * np.log(df * np.pi)
    value: Array = constant - 0.5 * (df + size) * np.log1p(squared / df)
    return value


def importance_sample(
    density: WhitenedDensity, n: int, df: float, seed: int, exchanges: Sequence[tuple[Array, Array]], n_labels: int
) -> Weighted:
    r"""Draw from a Student-t around the density's mode and weigh.

    A mixture's posterior has as many copies of a mode as its labels have permutations. Each draw is folded to the copy
    that the mode is of, the one nearest to it, where the folded proposal has the density :math:`\sum_\pi q(\pi x)`
    over permutations. So draws carry one labelling, and nothing is counted twice where the copies run together.

    Where the prior tells components apart (unequal concentrations, effects' means other than zero) what it says is
    meant of the component in its place in the order of means. The copy at the mode is then the only one that counts,
    under a prior that is as many times higher there as there are permutations: ``n_labels`` stands for that.

    Parameters
    ----------
    density : WhitenedDensity
    n : int
    df : float
        Degrees of freedom of the proposal.
    seed : int
    exchanges : sequence of (matrix, offset)
        The permutations, other than none, that carry the mode to within reach, in whitened coordinates.
    n_labels : int
        Permutations in all: what the evidence of one labelling is multiplied by.
    """
    from arviz_stats.base import array_stats

    points, log_proposal = student_points(n, density.size, df, seed)
    if len(exchanges):
        points = folded(points, exchanges)
        squared = squared_at(points, exchanges)
        log_proposal = logsumexp(student_log_density(squared, density.size, df), axis=0)
    log_density = density.values(points)
    log_ratio = np.where(np.isfinite(log_density), log_density - log_proposal, -np.inf)
    if not np.isfinite(log_ratio).any():
        raise InputError("laplace: the posterior is zero at every draw; use NUTS (Mixture.sample)")
    # the smoothing takes differences, so a draw of no weight is given one that is nothing but a number
    floor = log_ratio[np.isfinite(log_ratio)].min() - 700.0
    smoothed, pareto_k = array_stats.psislw(-np.maximum(log_ratio, floor))
    weights = np.exp(smoothed - logsumexp(smoothed))
    raw = np.exp(log_ratio - log_ratio.max())
    error = float(raw.std() / raw.mean() / math.sqrt(n))
    return Weighted(
        points=points,
        log_density=log_density,
        weights=weights,
        pareto_k=float(pareto_k),
        ess=float(1.0 / (weights**2).sum()),
        log_evidence=float(logsumexp(log_ratio) - math.log(n) + math.log(n_labels)),
        log_evidence_error=error,
    )


def squared_at(points: Array, exchanges: Sequence[tuple[Array, Array]]) -> Array:
    """Squared distances (1 + exchanges, n) of points, and of their copies, from the mode."""
    copies = [((points @ matrix.T + offset) ** 2).sum(axis=1) for matrix, offset in exchanges]
    return np.stack([(points**2).sum(axis=1), *copies])


def folded(points: Array, exchanges: Sequence[tuple[Array, Array]]) -> Array:
    """Of every point the copy nearest to the mode."""
    nearest, folded = squared_at(points, exchanges).argmin(axis=0), points.copy()
    for j, (matrix, offset) in enumerate(exchanges):
        rows = nearest == j + 1
        folded[rows] = points[rows] @ matrix.T + offset
    return folded


def label_exchanges(fit: MapFit, density: FusedDensity | LearnedDensity) -> list[tuple[Array, Array]]:
    """Permutations of the components, other than none, that carry the mode near itself, as maps of whitened points.

    Permuting components is linear in the free coordinates.
    """
    k = fit.problem.n_located
    if k == 1:
        return []
    inverse = np.linalg.inv(density.scale)

    def moved(order: NDArray[np.int64]) -> Array:
        where: Array = inverse @ (density.permuted(density.centre, order) - density.centre)
        return where

    found = []
    for order in _orders(k, lambda order: float((moved(order) ** 2).sum()) < _FAR**2):
        zero = density.permuted(np.zeros(density.size), order)
        matrix = np.stack([density.permuted(row, order) - zero for row in np.eye(density.size)], axis=1)
        found.append((inverse @ matrix @ density.scale, moved(order)))
    return found


def _orders(k: int, in_reach: Callable[[NDArray[np.int64]], bool]) -> list[NDArray[np.int64]]:
    """Every permutation, other than none, of components that exchanges of two within reach connect.

    With none they are a group, so that points have one nearest copy whichever copy they were drawn at. Where that would
    be too many, the exchanges of two alone.
    """
    exchanges = []
    cluster = np.arange(k)
    for i, j in combinations(range(k), 2):
        order = np.arange(k)
        order[[i, j]] = order[[j, i]]
        if in_reach(order):
            exchanges.append(order)
            cluster[cluster == cluster[j]] = cluster[i]
    groups = [np.flatnonzero(cluster == label) for label in np.unique(cluster)]
    if math.prod(math.factorial(len(group)) for group in groups) > _MOST_PERMUTED:
        return exchanges
    orders = []
    for parts in product(*(permutations(group) for group in groups)):
        order = np.arange(k)
        order[np.concatenate(groups)] = np.concatenate(parts)
        if (order != np.arange(k)).any():
            orders.append(order)
    return orders


def log_evidence_constant(problem: Problem, density: WhitenedDensity) -> float:
    """What turns the integral of a fused density over whitened coordinates into the evidence in the traits' units.

    The determinant of the whitening, the constant of the coordinates' Jacobian (a factor of two for every logarithm of
    a precision's root) and the traits' units.
    """
    _, log_det = np.linalg.slogdet(density.scale)
    logs = problem.arrays.niw_prior.n_logs(problem.n_located)
    return float(log_det) + logs * math.log(2.0) + problem.log_likelihood_shift


def log_evidence_by_curvature(problem: Problem, density: WhitenedDensity) -> float:
    """Log evidence of one labelling by Laplace's approximation at the density's centre (Tierney and Kadane 1986)."""
    height, _ = density(np.zeros(density.size))
    return height + 0.5 * density.size * math.log(2.0 * math.pi) + log_evidence_constant(problem, density)


class LaplacePosterior(Posterior):
    """Draws of the Laplace engine: a :class:`Posterior` of one chain of independent draws, and how far to trust it.

    ``tree.attrs`` holds ``pareto_k``, ``ess``, ``log_evidence``, ``log_evidence_error`` and ``proposal_df``.
    """

    engine: ClassVar[str] = "laplace"

    @classmethod
    def of_run(cls, run: LaplaceRun, attrs: dict[str, Any]) -> LaplacePosterior:
        """Posterior whose tree is put together when it is first asked for: that takes longer than the draws."""
        made = cls.__new__(cls)
        made.__dict__.update(problem=run.fit.problem, map=run.fit, _run=run, _attrs=attrs)
        return made

    @cached_property
    def tree(self) -> xr.DataTree:
        """Groups as those of :class:`Posterior`, without chains' statistics and pointwise log likelihoods."""
        stacked = self._stacked
        membership = mean_membership(self.problem, stacked, _MEMBERSHIPS)
        tree = tree_of_draws(self.map, stacked, xr.Dataset(), membership, theta=self._theta)
        tree.attrs = {
            **self._told,
            "versions": versions("numpy", "numba", "arviz-stats"),
            "priors": str(self.problem.priors),
        }
        return tree

    @property
    def posterior(self) -> xr.Dataset:
        """Draws (chain, draw, ...) of weights, means, covariances, effects and shifts, in the traits' units."""
        if "_run" not in self.__dict__:
            return super().posterior
        draws = self.problem.dataset(self._stacked)
        if self._theta is not None:
            draws = with_scales(self.problem, draws, self._theta)
        return draws.assign_coords({names.CHAIN: np.arange(1), names.DRAW: np.arange(draws.sizes[names.DRAW])})

    @property
    def run(self) -> LaplaceRun | None:
        """The weighted draws behind these; None once read back from a file."""
        found: LaplaceRun | None = self.__dict__.get("_run")
        return found

    @cached_property
    def _stacked(self) -> Stacked:
        return Stacked(*(x[None] for x in self.__dict__["_run"].density.stacked(self._points)))

    @cached_property
    def _points(self) -> Array:
        run: LaplaceRun = self.__dict__["_run"]
        points: Array = run.weighted.points[run.resampled(int(self._told["seed"]))]
        return points

    @property
    def _theta(self) -> Array | None:
        """Scales of the effects (1, draw, n_scales), where they are learned."""
        density = self.__dict__["_run"].density
        return density.theta(self._points)[None] if isinstance(density, LearnedDensity) else None

    @property
    def _told(self) -> dict[str, Any]:
        if "_run" in self.__dict__:
            told: dict[str, Any] = self.__dict__["_attrs"]
            return told
        return {str(name): value for name, value in self.tree.attrs.items()}

    @property
    def pareto_k(self) -> float:
        """Shape of the tail of the importance weights: below 0.5 good, up to 0.7 usable, above: use NUTS."""
        return float(self._told["pareto_k"])

    @property
    def ess(self) -> float:
        """Effective number of independent draws behind the resampled ones."""
        return float(self._told["ess"])

    def summarised(self, values: Array) -> dict[str, float]:
        """As of every posterior, with effective sample sizes no larger than :attr:`ess`.

        What chains have of it compares draws with those before them. Resampled draws are in random order, and copies of
        one another: by that measure they are as good as new.
        """
        numbers = super().summarised(values)
        return numbers | {name: min(numbers[name], self.ess) for name in ("ess_bulk", "ess_tail")}

    @property
    def log_evidence(self) -> float:
        """Log marginal likelihood of the traits, ``log p(y)``, in the traits' units, every constant included.

        Where the prior tells components apart, of that prior given that they are in the order of their means.
        """
        return float(self._told["log_evidence"])

    @property
    def log_evidence_error(self) -> float:
        """Monte Carlo standard error of :attr:`log_evidence`; not to be believed where k-hat is above 0.7."""
        return float(self._told["log_evidence_error"])

    @property
    def advice(self) -> str:
        """Whether to use these draws, in words."""
        if self.pareto_k > USABLE_K:
            return (
                f"k-hat {self.pareto_k:.2f} is above {USABLE_K}: the posterior is too far from normal for these draws "
                "and this evidence; use NUTS (Mixture.sample)"
            )
        if self.pareto_k > GOOD_K:
            return f"k-hat {self.pareto_k:.2f}: usable; the tails of the intervals are rough"
        return f"k-hat {self.pareto_k:.2f}: the corrected draws can be trusted"

    def __repr__(self) -> str:
        sizes = self.posterior.sizes
        return (
            f"LaplacePosterior: {self.problem.components_told} of {', '.join(self.problem.trait_names)}, "
            f"{sizes[names.DRAW]} draws, worth {self.ess:.0f} independent ones\n"
            f"{self.advice}\n"
            f"log evidence {self.log_evidence:.3f} (Monte Carlo error {self.log_evidence_error:.3f})\n"
            f"{self.summary().round(4).to_string(index=False)}"
        )


def laplace(fit: MapFit, draws: int = 4000, seed: int | None = None, df: float = 5.0) -> LaplacePosterior:
    """Draws at a fit; the arguments are those of :meth:`bayesgmm.MapFit.laplace`."""
    check_whole("draws", draws, 100)
    check_above_zero("df", df)
    seed = seed_or_zero(seed)
    began = time.perf_counter()
    run = LaplaceRun.at(fit, draws, seed, df)
    weighted = run.weighted
    attrs = {
        "engine": LaplacePosterior.engine,
        "seed": int(seed),
        "proposal_df": float(df),
        "pareto_k": weighted.pareto_k,
        "ess": weighted.ess,
        "log_evidence": weighted.log_evidence,
        "log_evidence_error": weighted.log_evidence_error,
        "seconds_to_sample": time.perf_counter() - began,
    }
    return LaplacePosterior.of_run(run, attrs)


@dataclass(frozen=True)
class LaplaceRun:
    """Weighted draws at one fit: what the posterior is resampled from, and sensitivity studies read directly.

    Attributes
    ----------
    fit : MapFit
    density : FusedDensity or LearnedDensity
    weighted : Weighted
        Its log evidence has every constant.
    """

    fit: MapFit
    density: FusedDensity | LearnedDensity
    weighted: Weighted

    @classmethod
    def at(cls, fit: MapFit, draws: int, seed: int, df: float) -> LaplaceRun:
        """Weigh draws around the mode of a fit.

        Raises
        ------
        PropernessError, InputError
            If the posterior has no finite integral, or the family cannot be sampled.
        """
        try:
            import arviz_stats  # noqa: F401
        except ImportError as error:
            raise MissingExtraError(f"laplace needs the extra: pip install 'bayesgmm[sample]' ({error})") from error
        problem = fit.problem
        problem.priors.refuse_improper()
        problem.refuse_unsampled()
        if problem.priors.weights_jeffreys:
            raise InputError(
                "laplace: there is no mode under Jeffreys' prior of the weights; sample it (Mixture.sample), or use "
                "Dirichlet(0.5)"
            )
        density = posterior_density(problem, fit.parameters)
        exchanges = label_exchanges(fit, density)
        weighted = importance_sample(density, draws, df, seed, exchanges, math.factorial(problem.n_located))
        constant = log_evidence_constant(problem, density)
        return cls(fit, density, replace(weighted, log_evidence=weighted.log_evidence + constant))

    @cached_property
    def dataset(self) -> xr.Dataset:
        """Parameters of every draw, not resampled: weights are ``weighted.weights``; (chain, draw, ...)."""
        return self.fit.problem.draws_of(self.density.stacked(self.weighted.points))

    def resampled(self, seed: int) -> NDArray[np.int64]:
        """Draws that stand for the posterior with equal weight: systematic resampling (Kitagawa 1996)."""
        n = len(self.weighted.weights)
        rng = np.random.default_rng(seed)
        ladder = (rng.random() + np.arange(n)) / n
        chosen = np.minimum(np.searchsorted(np.cumsum(self.weighted.weights), ladder), n - 1)
        # neighbours would otherwise be copies of each other, which effective sample sizes read as a slow chain
        return rng.permutation(chosen).astype(np.int64)
