r"""The mean-field posterior of a mixture, its bound on the evidence, and the ascent of that bound.

.. math:: q(z, u, y_{mis}, g)\; q(\text{weights})\; \prod_k q(\mu_k, \Sigma_k)\; q(\Delta)\; q(\nu)

with ``z`` the memberships, ``u`` the latent precisions of Student-t components (Svensen and Bishop 2005), ``y_mis`` the
traits that people lack and ``g`` the genotypes that are not certain; ``nu`` are degrees of freedom that are estimated.
Given
the other factors the first is the E step of EM with expected log densities in place of plug-in ones, so it is left to
the same pass: at the means, the roots of the expected precisions, and log weights with the constants added
(:mod:`bayesgmm.core.conjugate`). What the pass returns, less the divergences of the factors from the prior, is the
evidence lower bound with every constant; its moments update the factors.

Each update maximises the bound over one factor (that of the weights raises it), so the bound never falls; Anderson's
method (1965; Walker and Ni 2011) combines the last steps and is kept where the bound does not fall either. Any values
of the factors' numbers are a q, so every bound is one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.conjugate import ComponentFactors, DirichletFactor, ShiftFactor
from bayesgmm.core.moments import NOTHING_1D, NOTHING_2D, Moments, expectation, mixed_log_weights, pass_for
from bayesgmm.core.objective import MixtureArrays, Parameters, writable
from bayesgmm.core.row_pass import student_rows
from bayesgmm.core.sample import Sample
from bayesgmm.core.scale_factor import ScaleFactor
from bayesgmm.core.scale_model import ScaleModel
from bayesgmm.core.tail_factor import TailFactor
from bayesgmm.core.tilted import NormalFactor

Array = NDArray[np.float64]
Order = NDArray[np.int64]

_MEMORY = 8  # steps that are combined
_EARLY = 3e-3  # gain a person above which steps are not combined: a long one may land on another hill
_QUIET = 3  # steps in a row that have to gain next to nothing
_ROUNDING = 1e-13  # of the bound: what sums over people are uncertain by
_LEAST, _MOST = 1e-12, 30.0  # bounds on a number whose logarithm is combined, and on that logarithm


@dataclass(frozen=True)
class Factors:
    """Every factor but that of the memberships, which follows from them.

    Attributes
    ----------
    weights : DirichletFactor or NormalFactor
    components : ComponentFactors
    shifts : ShiftFactor
    tails : TailFactor
    scales : ScaleFactor or None
        Where scales of the effects are learned; those of the prior that ``weights`` knows are then this factor's.
    """

    weights: DirichletFactor | NormalFactor
    components: ComponentFactors
    shifts: ShiftFactor
    tails: TailFactor
    scales: ScaleFactor | None = None

    def divergence(self) -> float:
        """Kullback-Leibler divergence of all factors from the prior."""
        each = (self.weights, self.components, self.shifts, self.tails)
        of_scales = 0.0 if self.scales is None else self.scales.divergence()
        return of_scales + sum(factor.divergence() for factor in each)

    def permuted(self, order: Order) -> Factors:
        """Component ``j`` of the result is component ``order[j]`` of this object; noise and a spike stay."""
        located = order[order < len(self.components.mass)]
        return replace(
            self,
            weights=self.weights.permuted(order),
            components=self.components.permuted(located),
            tails=self.tails.permuted(located),
        )

    def _vector(self, total: float) -> Array:
        """The numbers that steps are combined in; sums over people relative to how many there are."""
        parts = [self.components.mass / total, self.components.means.ravel(), self.components.scales.ravel() / total]
        if isinstance(self.weights, NormalFactor):
            parts.append(self.weights.mean.ravel())
        else:
            parts.append((self.weights.concentration - self.weights.prior) / total)
        parts.append(self.shifts.mean.ravel())
        if self.components.precisions is not None:
            parts.append(self.components.precisions / total)
            # people are the components' own; what is left of a component that is Gaussian is near zero
            parts.append(np.log(np.maximum(-self.tails.excess, _LEAST) / total))
        if self.scales is not None:
            parts.append(self.scales.mean)
        return np.concatenate(parts)

    def _of_vector(self, vector: Array, total: float) -> Factors | None:
        """Factors at such numbers, covariances of normal factors as here; None where they are no factors."""
        k, size = self.components.means.shape
        n_weights = self.weights.mean.size if isinstance(self.weights, NormalFactor) else len(self.weights.prior)
        n_tailed = 0 if self.components.precisions is None else k
        sizes = [k, k * size, k * size * size, n_weights, self.shifts.mean.size, n_tailed, len(self.tails.excess)]
        mass, means, scales, weights, shifts, precisions, excess, theta = np.split(vector, np.cumsum(sizes))
        mass, precisions = total * mass, total * precisions
        if not ((mass > 0.0).all() and (isinstance(self.weights, NormalFactor) or (weights > 0.0).all())):
            return None
        if not ((precisions > 0.0).all() and (excess < _MOST).all()):
            return None
        components = replace(
            self.components,
            mass=mass,
            means=means.reshape(k, size),
            scales=total * scales.reshape(k, size, size),
            precisions=precisions if n_tailed else None,
        )
        try:
            components.roots  # noqa: B018  kept for the pass
        except np.linalg.LinAlgError:
            return None
        made: DirichletFactor | NormalFactor
        if isinstance(self.weights, NormalFactor):
            made = replace(self.weights, mean=weights.reshape(self.weights.mean.shape))
        else:
            made = replace(self.weights, concentration=self.weights.prior + total * weights)
        free = self.tails.tails.n_free
        people = np.array([mass[j::free].sum() for j in range(free)])
        tails = replace(self.tails, people=people, excess=-total * np.exp(excess))
        moved = replace(self.shifts, mean=shifts.reshape(self.shifts.mean.shape))
        of_scales = None if self.scales is None else replace(self.scales, mean=theta)
        return Factors(_given(made, of_scales), components, moved, tails, of_scales)


def _given(weights: DirichletFactor | NormalFactor, scales: ScaleFactor | None) -> DirichletFactor | NormalFactor:
    """The factor of the weights beside the prior of the effects that a factor of their scales makes."""
    if scales is None:
        return weights
    assert isinstance(weights, NormalFactor)
    return weights.with_effect_sds(scales.sds)


@dataclass
class Ascent:
    """Where one ascent of the bound stands.

    Attributes
    ----------
    factors : Factors
    bounds : list of float
        The bound at the start and after every step; never decreasing.
    converged : bool
    gap : float
        Most that one of the last steps gained.
    """

    factors: Factors
    bounds: list[float] = field(default_factory=list)
    converged: bool = False
    gap: float = float("inf")

    @property
    def bound(self) -> float:
        """The highest, which is the last."""
        return self.bounds[-1]


class MeanField:
    """The bound of one problem.

    Parameters
    ----------
    arrays : MixtureArrays
        With proper priors and a family that has a conjugate one.
    scales : ScaleModel, optional
        Prior of the scales of the effects, where they are learned.
    unit : ndarray (n_predictors,), optional
        Standard deviations of the predictors, which these are scales of effects per unit of.
    """

    def __init__(self, arrays: MixtureArrays, scales: ScaleModel | None = None, unit: Array = NOTHING_1D) -> None:
        self.arrays, self._scales, self._unit = arrays, scales, unit
        self.has_effects = bool(len(arrays.weights_prior.effect_mean)) and arrays.n_components > 1
        self._passes = pass_for(arrays.sample)
        self._total = max(arrays.sample.total, 1.0)
        sample = arrays.sample
        n = len(sample.pattern)
        # slopes that are not known for certain widen components by person: every row then has log weights of its own
        self._by_row = bool(len(arrays.shift_precision))
        self._rows = (
            sample._replace(
                pattern=np.arange(n, dtype=np.int32),
                mix_starts=np.empty(0, dtype=np.int64),
                mix_rows=np.empty(0, dtype=np.int32),
                mix_probabilities=np.empty(0),
                own=True,
            )
            if self._by_row
            else sample
        )

    def start(self, parameters: Parameters, theta: Array | None = None) -> Factors:
        """Factors after one E step at plug-in parameters, and at these coordinates of learned scales."""
        arrays = self.arrays
        moments = arrays.expectation(parameters)
        shifts = ShiftFactor.at(arrays.shift_precision, parameters.shifts)
        components, shifts, tails = self._of_moments(moments, parameters.means, shifts)
        weights: DirichletFactor | NormalFactor
        if self.has_effects:
            weights = NormalFactor.at(
                arrays.weights_prior, parameters.alpha, parameters.beta, moments.counts, arrays.sample.predictors
            )
        else:
            a = arrays.weights_prior.concentration
            weights = DirichletFactor(a, a + moments.mass[: len(a)])
        scales = None
        if self._scales is not None and isinstance(weights, NormalFactor):
            theta = self._scales.median if theta is None else theta
            squares = weights.expected_squares
            scales = ScaleFactor.at(self._scales, self._unit, arrays.n_components - 1, theta, squares)
        return Factors(_given(weights, scales), components, shifts, tails, scales)

    def expectation(
        self, factors: Factors, responsibilities: Array = NOTHING_2D, pointwise: Array = NOTHING_1D
    ) -> tuple[float, Moments]:
        """The bound of standardised traits, and moments of the memberships.

        ``responsibilities`` and ``pointwise`` of every row are written unless empty.
        """
        components, sample, df = factors.components, self.arrays.sample, factors.tails.df
        table = self.log_weights(factors, sample.predictors)
        widths = factors.shifts.widths(components.expected_precisions, sample.covariates) if self._by_row else None
        if widths is not None and len(df):
            moments = self._student_pass(factors, widths, responsibilities, pointwise)
        else:
            moments = self.pass_at(
                table,
                components.means,
                components.roots,
                factors.shifts.mean,
                widths,
                responsibilities,
                pointwise,
                df,
                components.widening(df),
            )
        return moments.log_likelihood - factors.divergence(), moments

    def _student_pass(self, factors: Factors, widths: Array, responsibilities: Array, pointwise: Array) -> Moments:
        """A pass where slopes of Student-t components' means are not certain; see :mod:`bayesgmm.core.row_pass`."""
        sample = self.arrays.sample
        table = by_pattern = self.log_weights_by_row(factors, sample.predictors)
        if len(sample.mix_starts):
            by_pattern = mixed_log_weights(table, sample.mix_starts, sample.mix_rows, sample.mix_probabilities)
        moments = student_rows(
            sample,
            factors.components,
            factors.tails.df,
            factors.shifts.mean,
            widths,
            by_pattern[sample.pattern],
            responsibilities,
            pointwise,
        )
        return moments._replace(counts=_counts_of(sample, moments.counts, table, by_pattern))

    def pass_at(
        self,
        table: Array,
        means: Array,
        roots: Array,
        shifts: Array,
        widths: Array | None = None,
        responsibilities: Array = NOTHING_2D,
        pointwise: Array = NOTHING_1D,
        df: Array = NOTHING_1D,
        widening: Array = NOTHING_1D,
    ) -> Moments:
        """One pass over the people at log weights (U, K) that need not add up to one.

        ``widths`` (n_rows, n_located) are what slopes that are not certain cost every row. ``df`` and ``widening``
        (n_located,) are those of Student-t components; see :mod:`bayesgmm.core.conjugate`.
        """
        sample, k = self.arrays.sample, table.shape[1]
        n_both = means.shape[1] + len(shifts)
        counts = by_pattern = writable(np.array(table))
        if widths is not None:
            widths = np.pad(widths, ((0, 0), (0, k - len(means))))
            if len(sample.mix_starts):
                by_pattern = mixed_log_weights(counts, sample.mix_starts, sample.mix_rows, sample.mix_probabilities)
            counts = writable(by_pattern[sample.pattern] - 0.5 * widths)
        mass, first = np.empty(k + 2 * len(df)), np.empty((len(means), n_both))
        second = np.empty((len(means), n_both, n_both))
        if len(df):
            roots = roots / np.sqrt(widening)[:, None, None]
        value = expectation.compiled(
            self._rows,
            self._passes,
            counts,
            writable(means),
            writable(roots),
            writable(shifts),
            writable(df),
            mass,
            first,
            second,
            responsibilities,
            pointwise,
        )
        if len(df):
            own, precisions, logs = np.split(mass, (k, k + len(df)))
            mass = np.concatenate((own, precisions / widening, logs - own[: len(df)] * np.log(widening)))
            first, second = first / widening[:, None], second / widening[:, None, None]
        if widths is not None:
            counts = _counts_of(sample, counts, table, by_pattern)
        return Moments(value, counts, mass, first, second)

    def log_weights(self, factors: Factors, predictors: Array) -> Array:
        """Expected log weights (U, K) at rows of predictors, with the constants of the expected log densities.

        The densities of noise and of a spike are known, and have none.
        """
        table = factors.weights.expected_log_weights(predictors).copy()
        components, tails = factors.components, factors.tails
        table[:, : len(components.mass)] += components.log_excess_of(tails.df)
        if len(tails.df):
            table[:, : len(components.mass)] += tails.log_excess
        return table

    def log_weights_by_row(self, factors: Factors, predictors: Array) -> Array:
        """The same without what :func:`bayesgmm.core.row_pass.student_rows` adds person by person."""
        table = factors.weights.expected_log_weights(predictors).copy()
        table[:, : len(factors.components.mass)] += factors.tails.log_excess
        return table

    def updated(self, factors: Factors, moments: Moments) -> Factors:
        """Factors that raise the bound given moments of the memberships under ``factors``."""
        components, shifts, tails = self._of_moments(moments, factors.components.means, factors.shifts)
        weights, scales = factors.weights.updated(moments.counts, self.arrays.sample.predictors), factors.scales
        if scales is not None:
            assert isinstance(weights, NormalFactor)
            scales = scales.updated(weights.expected_squares)
        return Factors(_given(weights, scales), components, shifts, tails, scales)

    def _of_moments(
        self, moments: Moments, about: Array, shifts: ShiftFactor
    ) -> tuple[ComponentFactors, ShiftFactor, TailFactor]:
        """Factors of the components given the slopes, of the slopes given these, and of the degrees of freedom."""
        size = self.arrays.n_traits
        first, second = moments.first[:, :size], moments.second[:, :size, :size]
        sums, cross = moments.first[:, size:], moments.second[:, size:, :size]
        squares = moments.second[:, size:, size:]
        scatter = second + shifts.scatter(squares) if self._by_row else second
        k, prior = self.arrays.n_components, self.arrays.niw_prior
        mass, precisions = moments.mass[: len(about)], None
        tails = TailFactor(self.arrays.tails, np.empty(0), np.empty(0))
        if len(self.arrays.tails.df):
            precisions, logs = np.split(moments.mass[k:], 2)
            tails = TailFactor.updated(self.arrays.tails, mass, precisions, logs)
        components = ComponentFactors.updated(prior, mass, about, first, scatter, precisions)
        if self._by_row:
            moved = components.means - about
            cross = cross + squares @ shifts.mean - np.einsum("kq,kd->kqd", sums, moved)
            shifts = shifts.updated(components.expected_precisions, squares, cross)
        return components, shifts, tails

    def ascend(self, factors: Factors, *, max_iterations: int, tolerance: float, memory: int = _MEMORY) -> Ascent:
        """Raise the bound to its limit.

        Parameters
        ----------
        factors : Factors
        max_iterations : int
            Most passes over the people.
        tolerance : float
            Stop when several steps in a row gain less than a tenth of this.
        memory : int
            Steps that are combined; 0 for none.
        """
        bound, moments = self.expectation(factors)
        run = Ascent(factors, [bound])
        left, quiet, gains = max_iterations - 1, 0, np.inf
        points: list[Array] = []
        steps: list[Array] = []
        rounding = _ROUNDING * abs(moments.log_likelihood)
        while left > 0 and not run.converged:
            plain = self.updated(run.factors, moments)
            trial = plain
            if memory and gains < _EARLY * self._total:
                points.append(plain._vector(self._total))
                steps.append(points[-1] - run.factors._vector(self._total))
                del points[: -memory - 1], steps[: -memory - 1]
                combined = _combined(points, steps)
                trial = (plain._of_vector(combined, self._total) if combined is not None else None) or plain
            higher, found = self.expectation(trial)
            left -= 1
            if trial is not plain and not higher >= run.bound:
                points.clear()
                steps.clear()
                trial = plain
                higher, found = self.expectation(trial)
                left -= 1
            gains = higher - run.bound
            if gains < 0.0:
                # an exact update can only fall by rounding
                run.converged, run.gap = True, abs(gains)
                break
            run.factors, moments = trial, found
            run.bounds.append(higher)
            quiet = quiet + 1 if gains <= max(0.1 * tolerance, rounding) else 0
            run.converged, run.gap = quiet >= _QUIET, gains
        return run


def _combined(points: list[Array], steps: list[Array]) -> Array | None:
    """Where the steps, combined so that what is left of them is least, lead to."""
    if len(points) < 2:
        return None
    changes = np.diff(np.array(steps), axis=0)
    scale = np.sqrt((changes**2).sum(axis=1))
    if not (scale > 0.0).all():
        return None
    weights, *_ = np.linalg.lstsq((changes / scale[:, None]).T, steps[-1], rcond=1e-10)
    moves = np.diff(np.array(points), axis=0)
    combined: Array = points[-1] - (weights / scale) @ moves
    return combined


def _counts_of(sample: Sample, by_row: Array, table: Array, by_pattern: Array) -> Array:
    """Responsibilities of every row (n, K) summed over each row of predictors (U, K)."""
    k = by_row.shape[1]
    counts = np.stack([np.bincount(sample.pattern, by_row[:, j], len(by_pattern)) for j in range(k)], axis=1)
    if not len(sample.mix_starts):
        return counts
    pattern = np.repeat(np.arange(len(by_pattern)), np.diff(sample.mix_starts))
    share = sample.mix_probabilities[:, None] * np.exp(table[sample.mix_rows] - by_pattern[pattern])
    shared = np.zeros_like(table)
    np.add.at(shared, sample.mix_rows, share * counts[pattern])
    return shared
